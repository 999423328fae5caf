"""`EvidenceChains`: users and items whose vectors are computed from ratings, not stored."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from pullback.data import Ratings
from pullback.models.recommenders._codes import Flags, Numbers, Rows, given_ratings, rows_of
from pullback.models.recommenders._layers import Evidence, Side, biases, layers, levelled, rests
from pullback.models.recommenders._recommender import AbstractRecommender, weights_of


class EvidenceChains(eqx.Module):
    r"""A recommender that stores vectors of few prototypes, and computes all others from ratings.

    $$\hat r_{ij} = \mu + b_i + b_j + u_i^\top v_j, \qquad
    u_i = G_U\big(\{(v_j, r_{ij} - \mu - b_j)\}_{j \in J(i)}\big), \qquad
    v_j = G_V\big(\{(u_i, r_{ij} - \mu - b_i)\}_{i \in I(j)}\big)$$

    The two definitions call each other; a chain of evidence ends in a prototype, whose vector is a
    row of a table, or after `depth` links. Layer d makes every vector of those of layer d - 1, and
    layer 0 has the prototypes alone. The biases are computed too, as shrunk means. So the model has
    as many parameters for a hundred users as for a million, and a newcomer's vector is one call.

    `fit_evidence_chains` makes one from ratings.

    Attributes:
        users: the prototypes among users, and what makes users out of items.
        items: the prototypes among items, and what makes items out of users.
        offset: the mean rating $\mu$; of implicit feedback a logit.
        popularity: of implicit feedback, the item bias for a unit of the log of its users.
        depth: the most links of a chain.
        feedback: "explicit" for ratings, "implicit" for counts of what was used.
        levels: the ratings that occur where they are few; else empty. A generator that is evaluated
            once for each node and level is the same as one evaluated for each rating, but faster.

    Example:
        >>> import jax, numpy as np, optax
        >>> from pullback.data import Ratings
        >>> from pullback.models.recommenders import fit_evidence_chains
        >>> users, items = np.divmod(np.arange(400)[np.arange(400) % 3 > 0], 20)
        >>> names = lambda of: tuple(f"{of}{i}" for i in range(20))
        >>> likes = np.where(users % 2 == items % 2, 5.0, 1.0)
        >>> ratings = Ratings(users, items, likes, names("u"), names("i"))
        >>> chains, info = fit_evidence_chains(
        ...     ratings, latent=4, prototypes=6, generator="ridge", steps=60,
        ...     optimiser=optax.adam(0.03), progress=False, key=jax.random.key(0))
        >>> embedded = chains.embed(ratings)
        >>> seen = np.array([0, 1])  # a newcomer rates two items, and no parameter is changed
        >>> newcomer = embedded.embed(seen, np.array([5.0, 1.0]))
        >>> scores = embedded.rate(newcomer, np.arange(2, 20))
        >>> bool(scores[::2].min() > scores[1::2].max())
        True

    Source: "Recursive evidence chains" (arXiv 1807.02150); the layers, the computed biases and the
    generators "mlp_product" and "ridge" are of this library.
    """

    users: Side
    items: Side
    offset: Float[Array, ""]
    popularity: Float[Array, ""]
    depth: int = eqx.field(static=True)
    feedback: str = eqx.field(static=True)
    levels: tuple[float, ...] = eqx.field(static=True)

    @property
    def latent(self) -> int:
        """The size of a vector, K."""
        return self.users.table.shape[1]

    def embed(self, ratings: Ratings) -> "EmbeddedChains":
        """The recommender of all users and items of `ratings`, from these ratings alone.

        They may be more, fewer or others than those of the training, but for the prototypes, which
        must have the codes that they had there.

        Raises:
            ValueError: as by `Ratings.well_formed`, or a prototype is missing.
        """
        return _embed_ratings(self, ratings.well_formed(self.feedback))


class Why(NamedTuple):
    """What a prediction is made of: `base + sum(contributions)` is `prediction`.

    Attributes:
        base: the offset and the item's bias; of a prototype also the product of its own row of the
            table with the item.
        contributions: of each rating that the user gave, through its bias and its vector.
        prediction: their sum.
    """

    base: Float[Array, ""]
    contributions: Float[Array, " n"]
    prediction: Float[Array, ""]


class EmbeddedChains(AbstractRecommender):
    """Evidence chains and the ratings that they have read: what predicts.

    A user is known by `[u, 1, b_u]` and an item by `[v, b_v, 1]`, of K + 2 numbers, where u and v
    are the vectors of the chain and b the biases. So a prediction is the offset and the product of
    two rows, and the best items of a user are those with the largest product. Made by
    `EvidenceChains.embed`.

    Attributes:
        chains: the parameters.
        users: the row of each user.
        items: the row of each item.
        user_hops: how many links the shortest chain from each user to a prototype has: 0 for a
            prototype, -1 where none is within the depth, whose vector is 0.
        item_hops: the same of items.
        user_below: the user vectors of the layer below, of which newly come items are made.
        item_below: the item vectors of the layer below, of which newly come users are made.
        user_known: 1 for the rows of `user_below` that a chain reaches, and 0.
        item_known: 1 for the rows of `item_below` that a chain reaches, and 0.
    """

    chains: EvidenceChains
    users: Float[Array, "M K2"]
    items: Float[Array, "N K2"]
    user_hops: Int[Array, " M"]
    item_hops: Int[Array, " N"]
    user_below: Float[Array, "M K"]
    item_below: Float[Array, "N K"]
    user_known: Float[Array, " M"]
    item_known: Float[Array, " N"]

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Users, items, and the vector with the 1 and the bias."""
        return len(self.users), len(self.items), self.items.shape[1]

    @property
    def counts(self) -> bool:
        """Of implicit feedback they do."""
        return self.chains.feedback == "implicit"

    def _embed(
        self, items: Int[Array, " k"], values: Float[Array, " k"], known: Bool[Array, " k"] | None
    ) -> Float[Array, " size"]:
        """The row of a newcomer: what a user with these ratings has, whom no item has seen."""
        return _newcomer(self, items, values, known, of_user=True)[0]

    def _pieces(
        self, items: Int[Array, " k"], values: Float[Array, " k"], known: Bool[Array, " k"] | None
    ) -> Float[Array, "k size"]:
        """What each rating brings to the row of a newcomer: they add up to all but its 1."""
        _, pieces, shares = _newcomer(self, items, values, known, of_user=True)
        none = jnp.zeros_like(shares)
        return jnp.concatenate([pieces, none[:, None], shares[:, None]], axis=1)

    def embed_item(
        self, users: Rows, values: Numbers, known: Flags | None = None
    ) -> Float[Array, " size"]:
        """The row of a new item, from its ratings by users whose vectors are at hand.

        Args:
            users: the rows of the users, each at most once.
            values: as many ratings.
            known: False for padding; None takes all.

        Raises:
            ValueError, TypeError: as for `embed`. A compiled call says NaN for a row not there.
        """
        given = given_ratings("users", users, values, known, len(self.users), counts=self.counts)
        row = _newcomer(self, *given[:3], of_user=False)[0]
        return row if given.wrong is None else jnp.where(given.wrong.any(), jnp.nan, row)

    def _rate(self, user: Float[Array, " size"], items: Int[Array, " n"]) -> Float[Array, " n"]:
        """The offset and the products: ratings, not clipped, or logits of implicit feedback."""
        return self.chains.offset + self.items[items] @ user

    def _predict(self, users: Int[Array, " n"], items: Int[Array, " n"]) -> Float[Array, " n"]:
        """The same for these users."""
        return self.chains.offset + jnp.sum(self.users[users] * self.items[items], axis=1)

    def why(self, items: Rows, values: Numbers, item: int, *, user: int | None = None) -> Why:
        """What each of a user's ratings adds to the prediction for an item: exact, adds up.

        Args:
            items: the rows of the items that the user rated.
            values: the ratings.
            item: the row of the item that is predicted.
            user: the row of the user, by which a prototype is known; None for a newcomer.
        """
        given = given_ratings("items", items, values, None, len(self.items), counts=self.counts)
        rows_of("item", [item], len(self.items))
        if user is not None:
            rows_of("user", [user], len(self.users))
        latent, side = self.chains.latent, self.chains.users
        row, pieces, shares = _newcomer(self, *given[:3], of_user=True)
        target = self.items[item]
        base = self.chains.offset + target[latent]
        found = np.zeros(0, int) if user is None else np.flatnonzero(side.codes == user)
        if len(found):
            own = side.table[found[0]]
            base, row = base + own @ target[:latent], row.at[:latent].set(own)
        else:
            shares = shares + pieces @ target[:latent]
        return Why(base, shares, self.chains.offset + row @ target)


def _embed_ratings(chains: EvidenceChains, ratings: Ratings) -> EmbeddedChains:
    shape = (len(ratings.user_names), len(ratings.item_names))
    for name, side, size in zip(("user", "item"), (chains.users, chains.items), shape, strict=True):
        last = None if isinstance(side.codes, jax.core.Tracer) else int(side.codes.max())
        if last is not None and last >= size:
            raise ValueError(
                f"`ratings` must name every prototype by the code that it had in training: "
                f"{name} {last} is one, and there are {size} {name}s. Add new names behind "
                "those of the training."
            )
    values = np.asarray(ratings.values)
    order = np.argsort(ratings.users, kind="stable")
    dtype = chains.offset.dtype
    levels = jnp.asarray(chains.levels, dtype) if np.isin(values, chains.levels).all() else None
    ones = jnp.ones(len(values), dtype)
    evidence = Evidence(
        jnp.asarray(ratings.users[order]), jnp.asarray(ratings.items[order]),
        jnp.asarray(values[order], dtype), ones, ones,
    )  # fmt: skip
    return _embed(chains, levelled(evidence, levels), shape)


@eqx.filter_jit
def _embed(chains: EvidenceChains, evidence: Evidence, shape: tuple[int, int]) -> EmbeddedChains:
    return embed_evidence(chains, evidence, shape)


def embed_evidence(chains: Any, evidence: Evidence, shape: tuple[int, int]) -> EmbeddedChains:
    """The layered pass, in one trace."""
    bias = biases(chains, evidence, shape)
    users, items = layers(chains, evidence, bias, shape)
    one = lambda table: jnp.ones((len(table), 1), table.dtype)
    return EmbeddedChains(
        chains,
        jnp.concatenate([users.vectors, one(users.vectors), bias.users[:, None]], axis=1),
        jnp.concatenate([items.vectors, bias.items[:, None], one(items.vectors)], axis=1),
        users.hops,
        items.hops,
        users.below,
        items.below,
        users.known_below,
        items.known_below,
    )


def _newcomer(
    embedded: EmbeddedChains, codes: Array, values: Array, known: Array | None, *, of_user: bool
) -> tuple[Array, Array, Array]:
    """The row, and what each piece brings to its vector and to its bias."""
    chains, latent = embedded.chains, embedded.chains.latent
    table, below, reached, side = (
        (embedded.items, embedded.item_below, embedded.item_known, chains.users)
        if of_user
        else (embedded.users, embedded.user_below, embedded.user_known, chains.items)
    )
    dtype = chains.offset.dtype
    weights, values = weights_of(jnp.asarray(values, dtype), known)
    x, shares = rests(chains, values), jnp.zeros_like(values)
    if chains.feedback == "explicit":
        above = x
        x = x - table[codes, latent if of_user else latent + 1]
        # As in `biases`: a user's is of what items leave, and an item's of the ratings themselves.
        above = x if of_user else above
        shares = weights * above / (jnp.sum(weights) + jnp.exp(side.log_shrinkage))
    bias = jnp.sum(shares)
    if chains.feedback == "implicit" and not of_user:
        bias = chains.popularity * jnp.log1p(jnp.sum(weights))
    pieces = side.generator.pieces(below[codes], x, weights * reached[codes], bias)
    one = jnp.ones(1, dtype)
    ends = [one, bias[None]] if of_user else [bias[None], one]
    return jnp.concatenate([jnp.sum(pieces, axis=0), *ends]), pieces, shares
