"""What a recommender offers."""

import abc

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from pullback.models.recommenders._codes import Flags, Numbers, Rows, given_ratings, rows_of


class AbstractRecommender(eqx.Module):
    """Predicts how users take to items, and knows a newcomer from ratings by a forward pass.

    Users and items are rows, those of `pullback.data.Ratings`. A user is known by a vector; that of
    a newcomer is computed from what they have rated, and no parameter changes.

    The four methods check what they are given, and raise ValueError for a row that is not there,
    a row twice in one user's ratings, a value that is not finite, one that is not above 0 where
    values are counts, or lengths that differ, and
    TypeError for rows that are no whole numbers. A compiled call cannot raise for what the arrays
    hold: where a row is not there, it says NaN.

    A recommender of your own says `sizes`, `_embed`, `_pieces`, `_rate` and `_predict`, which get
    arrays that have been checked.
    """

    @property
    @abc.abstractmethod
    def sizes(self) -> tuple[int, int, int]:
        """How many users there are, how many items, and how many numbers in a user's vector."""

    @property
    def counts(self) -> bool:
        """Whether values say how often or how much, above 0, and are no ratings."""
        return False

    def embed(
        self, items: Rows, values: Numbers, known: Flags | None = None
    ) -> Float[Array, " size"]:
        """The vector of a user who has rated these; of one who has rated none, that of anyone.

        Args:
            items: the rows of the items, each at most once.
            values: as many ratings, or how often or how much.
            known: False for padding, which has no weight; None takes all. With it `jax.vmap` takes
                users who have rated more and fewer.
        """
        given = given_ratings("items", items, values, known, self.sizes[1], counts=self.counts)
        row = self._embed(*given[:3])
        return row if given.wrong is None else jnp.where(given.wrong.any(), jnp.nan, row)

    def pieces(
        self, items: Rows, values: Numbers, known: Flags | None = None
    ) -> Float[Array, "k size"]:
        """What each rating brings to the vector: they add up to it, but for what all users share.

        What a user would give is affine in the vector, so that each piece has its part in a
        prediction. Arguments as for `embed`; padding brings nothing.
        """
        given = given_ratings("items", items, values, known, self.sizes[1], counts=self.counts)
        found = self._pieces(*given[:3])
        return found if given.wrong is None else jnp.where(given.wrong.any(), jnp.nan, found)

    def rate(self, user: Float[Array, " size"], items: Rows) -> Float[Array, " n"]:
        """What a user of this vector would give to these items, or how they rank.

        Args:
            user: the vector, as by `embed`.
            items: the rows of the items.
        """
        size = self.sizes[2]
        if jnp.shape(user) != (size,):
            raise ValueError(
                f"`user` must be one vector of {size} numbers, as `embed` gives, got "
                f"{jnp.shape(user)}; `jax.vmap` takes several users."
            )
        rows, wrong = rows_of("items", items, self.sizes[1])
        found = self._rate(jnp.asarray(user), rows)
        return found if wrong is None else jnp.where(wrong, jnp.nan, found)

    def predict(self, users: Rows, items: Rows) -> Float[Array, " n"]:
        """What these users would give to these items, pair by pair.

        Args:
            users: the rows of users that it was fitted to.
            items: the rows of as many items.
        """
        whose, wrong = rows_of("users", users, self.sizes[0])
        what, too = rows_of("items", items, self.sizes[1])
        if whose.shape != what.shape:
            raise ValueError(
                f"`users` and `items` must be as long, got {whose.shape} and {what.shape}."
            )
        found = self._predict(whose, what)
        for each in (wrong, too):
            found = found if each is None else jnp.where(each, jnp.nan, found)
        return found

    @abc.abstractmethod
    def _embed(
        self, items: Int[Array, " k"], values: Float[Array, " k"], known: Bool[Array, " k"] | None
    ) -> Float[Array, " size"]:
        """`embed`, of what has been checked."""

    @abc.abstractmethod
    def _pieces(
        self, items: Int[Array, " k"], values: Float[Array, " k"], known: Bool[Array, " k"] | None
    ) -> Float[Array, "k size"]:
        """`pieces`, of what has been checked."""

    @abc.abstractmethod
    def _rate(self, user: Float[Array, " size"], items: Int[Array, " n"]) -> Float[Array, " n"]:
        """`rate`, of what has been checked."""

    @abc.abstractmethod
    def _predict(self, users: Int[Array, " n"], items: Int[Array, " n"]) -> Float[Array, " n"]:
        """`predict`, of what has been checked."""


def weights_of(
    values: Float[Array, " k"], known: Bool[Array, " k"] | None
) -> tuple[Float[Array, " k"], Float[Array, " k"]]:
    """Weights 1 and 0 of ratings and padding, and the ratings with 0 for padding."""
    if known is None:
        return jnp.ones_like(values), values
    return known.astype(values.dtype), jnp.where(known, values, 0)
