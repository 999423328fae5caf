"""`fit_evidence_chains`: ratings in, a recommender of constant size out."""

import os
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from pullback._inputs import positive
from pullback._key import checked_key
from pullback.data import Ratings
from pullback.models.recommenders._chains import EvidenceChains, embed_evidence
from pullback.models.recommenders._generators import generator_of
from pullback.models.recommenders._layers import Evidence, Side, levelled
from pullback.train import TrainingInfo, fit

# More ratings than this that differ are no levels: a generator for each rating is as fast.
_LEVELS = 20
_MOST_THINNED = 20
_NEGATIVES = 4


def choose_prototypes(
    ratings: Ratings, prototypes: int | tuple[int, ...]
) -> tuple[Int[np.ndarray, " users"], Int[np.ndarray, " items"]]:
    """The codes of the users and items with the most ratings; of equals, the first.

    Args:
        ratings: of which they are taken.
        prototypes: how many of each, or a pair; all of them where there are fewer.

    Example:
        >>> import numpy as np
        >>> from pullback.data import Ratings
        >>> users, items = np.array([0, 1, 1, 2]), np.array([0, 0, 1, 1])
        >>> ratings = Ratings(users, items, np.ones(4), ("a", "b", "c"), ("x", "y"))
        >>> choose_prototypes(ratings, 1)
        (array([1]), array([0]))

    Source: the code of "Recursive evidence chains" (arXiv 1807.02150).
    """
    sizes = prototypes if isinstance(prototypes, tuple) else (prototypes, prototypes)
    if len(sizes) != 2:
        raise ValueError(f"`prototypes` must be a number or a pair, got {prototypes}.")
    positive(prototypes=sizes[0])
    positive(prototypes=sizes[1])
    most = lambda codes, size: np.sort(np.argsort(-np.bincount(codes), kind="stable")[:size])
    return most(ratings.users, sizes[0]), most(ratings.items, sizes[1])


def fit_evidence_chains(
    ratings: Ratings,
    *,
    latent: int = 16,
    prototypes: int | tuple[int, ...] = 50,
    depth: int = 2,
    generator: str = "mlp_product",
    feedback: str = "explicit",
    width: int = 32,
    steps: int = 1000,
    batch_size: int = 100_000,
    targets: float = 0.15,
    thinned: float = 0.2,
    optimiser: optax.GradientTransformation | None = None,
    validation: Ratings | None = None,
    log_every: int = 100,
    folder: str | os.PathLike[str] | None = None,
    resume: bool = False,
    progress: bool | None = None,
    key: PRNGKeyArray,
) -> tuple[EvidenceChains, TrainingInfo]:
    r"""Train prototypes and generators by predicting ratings that are hidden from their evidence.

    At each step a share of the ratings are the targets, and all others of the batch the evidence:
    so no prediction sees its own answer. Some users are thinned: 1 to 20 of their ratings, by the
    log as likely, are all that is known of them, and these count for no item. That is what a
    newcomer looks like, so newcomers are learned. The loss is the squared error, or of implicit
    feedback the logistic loss of the targets and of four items for each, drawn at random.

    Args:
        ratings: of users and items by codes.
        latent: the size of a vector, K.
        prototypes: how many users and items have rows of a table, or a pair. See
            `choose_prototypes`.
        depth: the most links of a chain.
        generator: what makes a vector out of evidence. "mlp": the mean of a network's answers, as
            in the paper; "mlp_product": with a bilinear part, for a network learns products slowly;
            "ridge": a ridge regression, without a network.
        feedback: "explicit" for ratings; "implicit" for counts of what was used, above 0.
        width: hidden units of the networks, in two layers.
        steps: training steps.
        batch_size: ratings a step, targets and evidence; of fewer, all. It bounds the memory.
        targets: the share of them that are targets.
        thinned: the share of the users that are thinned.
        optimiser: None: Adam, from 3e-3 to 0 along a cosine.
        validation: held-out ratings by the same codes; their error is in the history, as
            `validation_rmse` or `validation_log_loss`.
        log_every: steps between two points of the history.
        folder: for checkpoints and `metrics.jsonl`; None: nowhere.
        resume: go on from the checkpoint in `folder`.
        progress: show a bar on stderr. None: where stderr is a terminal.
        key: a typed PRNG key.

    Returns:
        The recommender, and a `TrainingInfo`.

    Raises:
        ValueError: an argument is out of its range, there are fewer than 10 ratings, or they are
            as `Ratings.checked` says.
        TrainingError: the loss became non-finite.

    Example:
        See `EvidenceChains`.

    Source: arXiv 1807.02150; hiding the targets, thinning, the computed biases and the generators
    "mlp_product" and "ridge" are of this library.
    """
    key = checked_key(key)
    positive(latent=latent, depth=depth, width=width, steps=steps, batch_size=batch_size)
    for name, share, low in (("targets", targets, False), ("thinned", thinned, True)):
        if not (0 <= share if low else 0 < share) or not share < 1:
            raise ValueError(f"`{name}` must be a share below 1, got {share}.")
    ratings = ratings.checked(feedback)
    if len(ratings.values) < 10:
        raise ValueError(
            f"{ratings.source}: {len(ratings.values)} ratings are too few to hide some from the "
            "rest; 10 at least."
        )
    model_key, key = jr.split(key)
    model = untrained_chains(
        ratings, latent=latent, prototypes=prototypes, depth=depth, generator=generator,
        feedback=feedback, width=width, key=model_key,
    )  # fmt: skip
    dtype = model.offset.dtype
    shape = (len(ratings.user_names), len(ratings.item_names))
    size = min(batch_size, len(ratings.values))
    count = min(max(1, round(targets * size)), size - 1)
    prediction = HiddenTargets(count, shape, jnp.asarray(thinned, dtype))
    data = (ratings.users.astype(np.int32), ratings.items.astype(np.int32),
            ratings.values.astype(dtype))  # fmt: skip
    held_out = None
    if validation is not None:
        held_out = _held_out(ratings, validation)
    schedule = optax.cosine_decay_schedule(3e-3, steps)
    return fit(
        model, prediction, data,
        optimiser=optax.adam(schedule) if optimiser is None else optimiser, steps=steps,
        batch_size=size, validation=held_out, log_every=min(log_every, steps), folder=folder,
        resume=resume, progress=progress, key=key,
    )  # fmt: skip


class HiddenTargets(eqx.Module):
    """The error of targets that the evidence does not hold."""

    targets: int = eqx.field(static=True)
    shape: tuple[int, int] = eqx.field(static=True)
    thinned: Float[Array, ""]

    def __call__(
        self,
        model: EvidenceChains,
        batch: tuple[Int[Array, " B"], Int[Array, " B"], Float[Array, " B"]],
        *,
        key: PRNGKeyArray,
    ) -> tuple[Array, dict[str, Array]]:
        thin_key, negative_key = jr.split(key)
        # The batch is in random order: its first rows are a random choice.
        users, items, values = (column[: self.targets] for column in batch)
        embedded = embed_evidence(model, self.evidence(model, batch, key=thin_key), self.shape)
        predicted = embedded.predict(users, items)
        if model.feedback == "explicit":
            square = jnp.mean(jnp.square(predicted - values))
            return square, {"rmse": jnp.sqrt(square)}
        drawn = jr.randint(negative_key, (_NEGATIVES, len(users)), 0, self.shape[1])
        others = jax.vmap(lambda items: embedded.predict(users, items))(drawn)
        each = jnp.mean(jax.nn.softplus(-predicted)), jnp.mean(jax.nn.softplus(others))
        return each[0] + _NEGATIVES * each[1], {}

    def evidence(self, model: EvidenceChains, batch: Any, *, key: PRNGKeyArray) -> Evidence:
        """What is no target, sorted by users; of thinned users a few ratings, for them alone."""
        users, items, values = (column[self.targets :] for column in batch)
        order = jnp.argsort(users, stable=True)  # within a user in random order, as the batch is
        users, items, values = users[order], items[order], values[order]
        who_key, count_key = jr.split(key)
        size = self.shape[0]
        thin = jr.bernoulli(who_key, self.thinned, (size,)).at[model.users.codes].set(False)
        log = jr.uniform(count_key, (size,), values.dtype, 0, np.log(_MOST_THINNED + 1))
        kept = jnp.floor(jnp.exp(log)).astype(users.dtype)
        first = jnp.searchsorted(users, jnp.arange(size, dtype=users.dtype)).astype(users.dtype)
        place = jnp.arange(len(users), dtype=users.dtype) - first[users]
        few = thin[users]
        found = Evidence(
            users, items, values,
            (~few | (place < kept[users])).astype(values.dtype), (~few).astype(values.dtype),
        )  # fmt: skip
        levels = jnp.asarray(model.levels, values.dtype) if model.levels else None
        return levelled(found, levels)


def untrained_chains(
    ratings: Ratings,
    *,
    latent: int = 16,
    prototypes: int | tuple[int, ...] = 50,
    depth: int = 2,
    generator: str = "mlp_product",
    feedback: Any = "explicit",
    width: int = 32,
    key: PRNGKeyArray,
) -> EvidenceChains:
    """The chains that training starts from, or whose arrays those of trained ones replace.

    Arguments as for `fit_evidence_chains`.

    Example:
        >>> import jax, numpy as np
        >>> from pullback.data import Ratings
        >>> ratings = Ratings(np.array([0, 1]), np.array([0, 0]), np.array([4.0, 2.0]),
        ...                   ("ann", "bob"), ("Alien",))
        >>> chains = untrained_chains(ratings, latent=4, key=jax.random.key(0))
        >>> chains.users.table.shape, chains.items.table.shape
        ((2, 4), (1, 4))
    """
    key = checked_key(key)
    codes = choose_prototypes(ratings, prototypes)
    dtype = jnp.result_type(float)
    keys = jr.split(key, 4)
    # Products of two rows have variance one: with smaller tables the loss has a plateau at first.
    side = lambda at, table_key, net_key: Side(
        jr.normal(table_key, (len(at), latent), dtype) * latent**-0.25,
        jnp.asarray(at),
        generator_of(generator, latent, width, dtype=dtype, key=net_key),
        jnp.asarray(np.log(5.0), dtype),
    )
    levels = np.unique(ratings.values)
    explicit = feedback == "explicit"
    # Of implicit feedback the logit starts at the share of what was used among what is scored.
    popularity = np.log1p(np.bincount(ratings.items, minlength=len(ratings.item_names)))
    offset = ratings.values.mean() if explicit else -np.log(_NEGATIVES) - popularity.mean()
    return EvidenceChains(
        users=side(codes[0], keys[0], keys[1]),
        items=side(codes[1], keys[2], keys[3]),
        offset=jnp.asarray(offset, dtype),
        popularity=jnp.asarray(0.0 if explicit else 1.0, dtype),
        depth=depth,
        feedback=feedback,
        levels=tuple(map(float, levels)) if len(levels) <= _LEVELS else (),
    )


def _held_out(ratings: Ratings, validation: Ratings) -> Any:
    """The error of the validation ratings, by the evidence of the training's."""

    def error(model: EvidenceChains, *, key: PRNGKeyArray) -> dict[str, Any]:
        del key
        found = model.embed(ratings)
        predicted = found.predict(validation.users, validation.items)
        if model.feedback == "implicit":
            return {"log_loss": jnp.mean(jax.nn.softplus(-predicted))}
        left = predicted - jnp.asarray(validation.values, predicted.dtype)
        return {"rmse": jnp.sqrt(jnp.mean(jnp.square(left)))}

    return error
