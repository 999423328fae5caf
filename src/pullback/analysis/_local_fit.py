"""The best posterior of a family for each example, found by optimisation."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Array, Float, Int, Key, PRNGKeyArray, PyTree

from pullback._checked_data import check_data
from pullback._key import checked_key
from pullback._leading_axis import leading_axis
from pullback._promotion import standard_promotion
from pullback.bounds import ELBO, AbstractFamily, LatentModel
from pullback.sampling import AbstractEstimator, PathDerivative, draw, log_prob

from ._chunks import over_chunks

# Samples of an evaluation that are in memory at once, for each example.
_TOGETHER = 250


class LocalSearch(eqx.Module):
    """How a posterior is fitted to one example.

    Args:
        steps: of Adam, whose rate falls to zero along a cosine.
        samples: of the bound in each step.
        learning_rate: the first.
        weights_learning_rate: the first of the weights that a family has of its own; that of the
            parameters when None. The networks of a flow over many variables want a smaller one.
        evaluation_samples: of the bound by which the best start is chosen, and as many others of
            the bound that is reported.
        estimator: of the gradient. That of `PathDerivative` has no noise where the posterior is in
            the family.

    Raises:
        ValueError: a number is below 1, or the rate is not positive.
    """

    steps: int = eqx.field(default=600, static=True)
    samples: int = eqx.field(default=20, static=True)
    learning_rate: float = eqx.field(default=0.02, static=True)
    evaluation_samples: int = eqx.field(default=2000, static=True)
    weights_learning_rate: float | None = eqx.field(default=None, static=True, kw_only=True)
    estimator: AbstractEstimator = PathDerivative()

    def __check_init__(self):
        for name in ("steps", "samples", "evaluation_samples"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be 1 or more, got {getattr(self, name)}.")
        for name in ("learning_rate", "weights_learning_rate"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"`{name}` must be positive, got {value}.")


class LocalFit(NamedTuple):
    """The best posterior that was found for each example.

    Attributes:
        params: of the family, `[n, *shape]`.
        family: the family, each of whose arrays has `[n]` in front: its weights were free as well.
            `jax.vmap(lambda family, params: family(params).sample(key))` draws from each.
        elbo: of each, in nats, by samples that it was not chosen by.
        standard_error: of `elbo`.
        start: which of the starts it came from.
        log_weights: $\\log p(x, z) - \\log q(z)$ of those samples, `[n, sample]`.
    """

    params: Float[Array, "n ..."]
    family: AbstractFamily
    elbo: Float[Array, " n"]
    standard_error: Float[Array, " n"]
    start: Int[Array, " n"]
    log_weights: Float[Array, "n sample"]


def fit_local(
    model: Callable[[Any], LatentModel],
    family: AbstractFamily,
    x: PyTree,
    starts: Float[Array, "n start ..."],
    *,
    search: LocalSearch = LocalSearch(),  # noqa: B008, frozen
    batch_size: int | None = None,
    progress: bool | None = None,
    key: PRNGKeyArray,
) -> LocalFit:
    r"""Fit a posterior to each example by itself.

    $$ q^*_x = \operatorname{argmax}_{q \in Q} L_x[q], \qquad
       L_x[q] = \mathbb{E}_{q(z)}[\log p(x, z) - \log q(z)] $$

    One compiled program fits a chunk of examples from all starts at once, each with noise of its
    own; the starts of one example have the same noise. The result is the best of the fitted and of
    the starts themselves, so that it is not below any of them but by chance.

    Args:
        model: from one example to its `LatentModel`. A method of an `eqx.Module` is a PyTree, and
            shares its compiled program with that of another model of the same shape.
        family: of the posteriors. Its own arrays, such as a flow's weights, start as they are and
            are fitted for each example apart.
        x: examples, with a leading axis.
        starts: parameters to start from, `[n, start, *family.shape]`. More than one is wise: from
            the prior alone, a fit may end in a worse mode than an encoder would give.
        search: steps, samples, rate and estimator.
        batch_size: the most examples in one chunk; all when None.
        progress: show a bar on stderr. None: where stderr is a terminal.
        key: a typed PRNG key.

    Returns:
        A `LocalFit`.

    Raises:
        ValueError: the shapes do not fit, or a bound is not finite.

    Example:
        >>> import jax, jax.numpy as jnp, numpyro.distributions as dist
        >>> from pullback.bounds import DiagonalNormal
        >>> prior = dist.Normal(jnp.zeros(1), 1.0).to_event(1)
        >>> def model(x):
        ...     return LatentModel(lambda z: dist.Normal(z[0], 1.0).log_prob(x), prior)
        >>> found = fit_local(model, DiagonalNormal(1), jnp.array([2.0, -1.0]),
        ...     jnp.zeros((2, 1, 2)), search=LocalSearch(steps=200, learning_rate=0.1),
        ...     key=jax.random.key(0))
        >>> print(jnp.round(found.params[:, 0], 1), jnp.round(found.elbo, 2))  # log N(x; 0, 2)
        [ 1.  -0.5] [-2.27 -1.52]

    Source: Cremer, Li and Duvenaud, Inference Suboptimality in Variational Autoencoders, arXiv
    1801.03558, section 4.
    """
    key = checked_key(key)
    check_data(model, x)
    count = leading_axis(x, name="x")
    if starts.ndim < 2 or starts.shape[0] != count or starts.shape[2:] != family.shape:
        raise ValueError(
            f"`starts` must have the shape [{count}, start, *{family.shape}], an array of "
            f"parameters for each example and start, got {starts.shape}."
        )
    fit_key, evaluate_key = jr.split(key)
    data = (x, starts, jr.split(fit_key, count))
    params, weights, chosen = over_chunks(
        _fit,
        model,
        family,
        search,
        data=data,
        batch_size=batch_size,
        progress=progress,
        what="local posteriors",
    )
    family = eqx.combine(weights, eqx.filter(family, eqx.is_inexact_array, inverse=True))
    log_weights = log_weights_of(
        model, family, x, params, stacked=True, samples=search.evaluation_samples,
        batch_size=batch_size, progress=progress, key=evaluate_key,
    )  # fmt: skip
    elbo, error = mean_and_error(log_weights)
    return LocalFit(params, family, elbo, error, chosen, log_weights)


def _fit(
    model: Callable[[Any], LatentModel],
    family: AbstractFamily,
    search: LocalSearch,
    x: PyTree,
    starts: Float[Array, "n start ..."],
    keys: Key[Array, " n"],
) -> tuple[Array, PyTree, Int[Array, " n"]]:
    """The best parameters and weights for each example, and where they started."""
    weights, rest = eqx.partition(family, eqx.is_inexact_array)
    optimiser = optax.adam(optax.cosine_decay_schedule(search.learning_rate, search.steps))
    # Adam's steps are as long as its rate.
    slower = (search.weights_learning_rate or search.learning_rate) / search.learning_rate

    def climb(x: Any, start: Array, key: Array) -> tuple[Array, PyTree]:
        def loss(free: tuple[Array, PyTree], key: Array) -> Array:
            params, weights = free
            here = eqx.combine(weights, rest)
            return -ELBO()(
                here.augment(model(x), params), here(params), estimator=search.estimator,
                num_samples=search.samples, key=key,
            )  # fmt: skip

        def step(carry: tuple, key: Array) -> tuple[tuple, None]:
            free, state = carry
            grads = jax.grad(loss)(free, key)
            with standard_promotion():
                found, state = optimiser.update(grads, state)
            rises: Any = found
            updates = rises[0], jax.tree.map(lambda leaf: slower * leaf, rises[1])
            return (optax.apply_updates(free, updates), state), None

        free = (start, weights)
        keys = jr.split(key, search.steps)
        (free, _), _ = jax.lax.scan(step, (free, optimiser.init(free)), keys)
        return free

    def one(x: Any, starts: Array, key: Array) -> tuple[Array, PyTree, Array]:
        walk, choose = jr.split(key)
        ends = jax.vmap(lambda start: climb(x, start, walk))(starts)
        still = (
            starts,
            jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (len(starts), *leaf.shape)), weights),
        )
        both = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), ends, still)
        noise = jr.split(choose, search.evaluation_samples)

        def value(free: tuple[Array, PyTree]) -> Array:
            here = eqx.combine(free[1], rest)
            return jnp.mean(_log_weights(model(x), here, free[0], noise))

        values = jax.lax.map(value, both)
        best = jnp.argmax(jnp.where(jnp.isnan(values), -jnp.inf, values))
        params, chosen = jax.tree.map(lambda leaf: leaf[best], both)
        return params, chosen, best % len(starts)

    return jax.vmap(one)(x, starts, keys)


def log_weights_of(
    model: Callable[[Any], LatentModel],
    family: AbstractFamily,
    x: PyTree,
    params: Float[Array, "n ..."],
    *,
    stacked: bool,
    samples: int,
    batch_size: int | None,
    progress: bool | None,
    key: PRNGKeyArray,
) -> Float[Array, "n sample"]:
    """The log-weights of samples of each example's posterior.

    With the same key, two posteriors of one family are compared on the same noise.

    Args:
        stacked: whether the arrays of `family` have the examples in front.

    Raises:
        ValueError: a bound is not finite; the message names the example.
    """
    keys = jr.split(key, len(params))
    arrays, rest = eqx.partition(family, eqx.is_inexact_array)
    none = eqx.filter(arrays, False)
    shared, own = (none, arrays) if stacked else (arrays, none)
    found = over_chunks(
        _evaluate,
        model,
        rest,
        shared,
        samples,
        data=(x, params, own, keys),
        batch_size=batch_size,
        progress=progress,
        what="bounds",
    )
    bad = ~np.isfinite(np.asarray(jnp.mean(found, axis=1)))
    if bad.any():
        raise ValueError(
            f"the ELBO of example {int(np.argmax(bad))} is not finite, nor are those of "
            f"{int(bad.sum()) - 1} others: check `model` and the parameters of its posterior."
        )
    return found


def _evaluate(
    model: Callable[[Any], LatentModel],
    rest: PyTree,
    shared: PyTree,
    samples: int,
    x: PyTree,
    params: Float[Array, "n ..."],
    own: PyTree,
    keys: Key[Array, " n"],
) -> Float[Array, "n sample"]:
    def one(x: Any, params: Array, own: PyTree, key: Array) -> Array:
        family = eqx.combine(shared, own, rest)
        return _log_weights(model(x), family, params, jr.split(key, samples))

    return jax.vmap(one)(x, params, own, keys)


def _log_weights(
    model: LatentModel, family: AbstractFamily, params: Array, keys: Key[Array, " sample"]
) -> Float[Array, " sample"]:
    target, q = family.augment(model, params), family(params)

    def one(key: Array) -> Array:
        z = draw(q, key)
        return target(z) - log_prob(q, z)

    return jax.lax.map(one, keys, batch_size=min(_TOGETHER, len(keys)))


def mean_and_error(values: Float[Array, "n sample"]) -> tuple[Array, Array]:
    """The mean of each row, and its standard error."""
    count = values.shape[1]
    if count < 2:
        return jnp.mean(values, axis=1), jnp.full(len(values), jnp.nan, values.dtype)
    return jnp.mean(values, axis=1), jnp.std(values, axis=1, ddof=1) / count**0.5
