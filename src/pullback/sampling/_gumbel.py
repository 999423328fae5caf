"""Biased gradients through relaxed categories: Gumbel-softmax and straight-through."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, Int, Key, PRNGKeyArray

from pullback._key import checked_key
from pullback._once import once

from ._concrete import require_positive
from ._discrete import discrete
from ._distribution import Distribution
from ._estimator import AbstractEstimator, over_samples
from ._noise import gumbel, wide
from ._one_hot import finite, hardest

Scalar = Float[Array, ""] | float


def straight_through(soft: Float[Array, "..."], axis: int = -1) -> Float[Array, "..."]:
    r"""One-hot at the largest entry, with the gradient of the entries themselves.

    $$ z = e_{\arg\max_i y_i}, \qquad dz := dy $$

    Args:
        soft: points of the simplex, y.
        axis: that of the classes.

    Returns:
        Exact zeros and ones, of the shape and dtype of `soft`.

    Example:
        >>> import jax.numpy as jnp
        >>> print(straight_through(jnp.array([0.2, 0.5, 0.3])))
        [0. 1. 0.]

    Source: Jang et al., arXiv 1611.01144, section 2.2; Bengio, Leonard and Courville, arXiv
    1308.3432.
    """
    return _with_gradient_of(hardest(soft, axis), soft)


def gumbel_softmax(
    logits: Float[Array, "..."],
    temperature: Scalar,
    *,
    hard: bool = False,
    axis: int = -1,
    key: PRNGKeyArray,
) -> Float[Array, "..."]:
    r"""A sample of the Gumbel-softmax distribution.

    $$ y = \mathrm{softmax}\big((\text{logits} + g) / \tau\big), \qquad g_i \sim \mathrm{Gumbel} $$

    Noise and softmax are computed in float32 at least, so that low precision has no infinities.

    Args:
        logits: of any normalisation; -inf is a class that never comes.
        temperature: $\tau$, positive; it may be traced.
        hard: return one-hot vectors, with the gradient of y (`straight_through`).
        axis: that of the classes.
        key: a typed PRNG key.

    Returns:
        Points of the simplex, of the shape and dtype of `logits`.

    Raises:
        ValueError: `temperature` is known and not positive.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> y = gumbel_softmax(jnp.zeros((2, 5)), 0.5, hard=True, key=jax.random.key(0))
        >>> y.shape, bool(jnp.all(y.max(axis=-1) == 1))
        ((2, 5), True)

    Source: Jang, Gu and Poole, arXiv 1611.01144, equation 2.
    """
    key = checked_key(key)
    require_positive(temperature)
    logits = jnp.moveaxis(logits, axis, -1)
    dtype = wide(logits.dtype)
    noisy = finite(logits.astype(dtype)) + gumbel(key, logits.shape, dtype)
    soft = jax.nn.softmax(noisy / jnp.asarray(temperature, dtype))
    sample = _with_gradient_of(hardest(noisy), soft) if hard else soft
    return jnp.moveaxis(sample.astype(logits.dtype), -1, axis)


def temperature_schedule(
    init: float = 1.0, floor: float = 0.5, rate: float = 1e-4, every: int = 1000
) -> Callable[[Int[Array, ""] | int], Float[Array, ""]]:
    r"""The paper's temperature, annealed by steps.

    $$ \tau(s) = \max\big(\text{floor},\ \text{init} \cdot e^{-\text{rate} \cdot t}\big),
       \qquad t = \text{every} \cdot \lfloor s / \text{every} \rfloor $$

    The gradient is of size $1 / \tau$ in a share $\tau$ of the draws, so its variance grows like
    $1 / \tau$: do not let it fall below 0.1 or so, nor faster than the learning rate. With a
    negative rate and a floor below `init` it is the rising slope of a `StraightThrough`.

    Args:
        init: at the start.
        floor: below which it does not fall.
        rate: of the decay, for each step.
        every: steps between two changes.

    Returns:
        A function of the step, which may be traced.

    Raises:
        ValueError: `init` or `floor` is not positive, or `every` is below 1.

    Example:
        >>> schedule = temperature_schedule(rate=1e-4, every=1000)
        >>> [f"{schedule(step):.3f}" for step in (0, 999, 1000, 50_000)]
        ['1.000', '1.000', '0.905', '0.500']

    Source: Jang et al., arXiv 1611.01144, section 4.
    """
    for name, value in (("init", init), ("floor", floor)):
        if value <= 0:
            raise ValueError(f"`{name}` must be positive, got {value}.")
    if every < 1:
        raise ValueError(f"`every` must be 1 or more, got {every}.")

    def temperature(step: Int[Array, ""] | int) -> Float[Array, ""]:
        t = (jnp.asarray(step) // every * every).astype(float)
        return jnp.maximum(floor, init * jnp.exp(-rate * t))

    return temperature


class GumbelSoftmax(AbstractEstimator):
    r"""The gradient through a relaxed sample, in place of a discrete one.

    $$ \hat g = \nabla_\phi f\big(\mathrm{softmax}((\text{logits}_\phi + g) / \tau)\big) $$

    For `numpyro.distributions.Bernoulli` (then a sigmoid of logistic noise), `OneHotCategorical`
    and a distribution of your own with `as_discrete()` (see `Distribution`); `f` is evaluated
    inside the simplex and differentiated. Biased: towards zero temperature the bias vanishes while
    the variance grows like $1 / \tau$. The value that `expectation` gives is that of the relaxed
    sample, and can flatter a model: score with `ScoreFunction`, which draws discrete ones. Where
    many discrete variables feed a network it mostly trains best; `Relax` is for an `f` that is a
    black box, or when bias is not allowed.

    Args:
        temperature: $\tau$, positive. It is an array: annealing it does not compile anew, and it
            has a gradient, so an optimiser that is given all of this estimator would train it.
        hard: `f` sees exact zeros and ones, with the relaxed sample's gradient: straight-through
            Gumbel-softmax.

    Raises:
        ValueError: `temperature` is known and not positive; when called, if `q` is neither.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from pullback.sampling import OneHotCategorical, expectation
        >>> def loss(logits, key):
        ...     q = OneHotCategorical(logits)
        ...     f = lambda z, q: 4 * z[0]
        ...     estimator = GumbelSoftmax(0.2)
        ...     return expectation(f, q, estimator=estimator, num_samples=20_000, key=key)
        >>> print(f"{jax.grad(loss)(jnp.zeros(2), jax.random.key(0))[0]:.1f}")  # exact: 1
        1.0

    Source: Jang, Gu and Poole, arXiv 1611.01144, section 2; Maddison, Mnih and Teh, arXiv
    1611.00712.
    """

    temperature: Float[Array, ""]
    hard: bool = eqx.field(static=True)

    def __init__(self, temperature: Scalar, hard: bool = False):
        require_positive(temperature)
        self.temperature = jnp.asarray(temperature, dtype=_float_of(temperature))
        self.hard = hard

    @property
    def relaxes(self) -> bool:
        """Whether `f` sees values that no discrete distribution has a density at."""
        return not self.hard

    def __call__(
        self,
        f: Callable[[Any, Any], Float[Array, ""]],
        q: Distribution,
        keys: Key[Array, " sample"],
        batch_size: int | None,
    ) -> Float[Array, ""]:
        given = discrete(q, type(self).__name__)
        distribution = given.widened()
        temperature = self.temperature.astype(distribution.logits.dtype)

        def one(key: Array) -> Array:
            z = distribution.logits + distribution.noise(key)
            soft = distribution.soften(z, temperature)
            sample = _with_gradient_of(distribution.harden(z), soft) if self.hard else soft
            return f(sample.astype(given.logits.dtype), q)

        return jnp.mean(over_samples(one, keys, batch_size))


class StraightThrough(AbstractEstimator):
    r"""A discrete sample, with the gradient of its probabilities.

    $$ z \sim q, \qquad dz := d\,\mathrm{softmax}(\alpha \cdot \text{logits}) $$

    For `numpyro.distributions.Bernoulli` (a sigmoid then) and `OneHotCategorical`. Biased, with no
    noise in the backward pass but that of where `f` is differentiated; unbiased for a linear `f`.

    Args:
        slope: $\alpha$, positive, of the backward pass alone; annealing it upwards brings the
            surrogate nearer to a step. Samples are always those of `q`.

    Raises:
        ValueError: `slope` is known and not positive; when called, if `q` is neither.

    Example:
        >>> import jax, jax.numpy as jnp, numpyro.distributions as dist
        >>> from pullback.sampling import expectation
        >>> def loss(logit, key):
        ...     q = dist.Bernoulli(logits=logit)
        ...     return expectation(lambda z, q: 3 * z, q, estimator=StraightThrough(), key=key)
        >>> print(f"{jax.grad(loss)(0.0, jax.random.key(0)):.2f}")
        0.75

    Source: Bengio, Leonard and Courville, Estimating or Propagating Gradients Through Stochastic
    Neurons, arXiv 1308.3432; Chung, Ahn and Bengio, arXiv 1609.01704 (the slope).
    """

    slope: Float[Array, ""]

    def __init__(self, slope: Scalar = 1.0):
        if not isinstance(slope, Tracer) and not np.all(np.asarray(slope) > 0):
            raise ValueError(f"`slope` must be positive, got {slope}; 1 is the plain estimator.")
        self.slope = jnp.asarray(slope, dtype=_float_of(slope))

    def __call__(
        self,
        f: Callable[[Any, Any], Float[Array, ""]],
        q: Distribution,
        keys: Key[Array, " sample"],
        batch_size: int | None,
    ) -> Float[Array, ""]:
        given = discrete(q, type(self).__name__)
        distribution = given.widened()
        soft = distribution.soften(
            distribution.logits, 1 / self.slope.astype(distribution.logits.dtype)
        )

        def one(key: Array) -> Array:
            hard = distribution.harden(distribution.logits + distribution.noise(key))
            return f(_with_gradient_of(hard, soft).astype(given.logits.dtype), q)

        return jnp.mean(over_samples(one, keys, batch_size))


@jax.custom_jvp
def _with_gradient_of(hard: Array, soft: Array) -> Array:
    return hard


@_with_gradient_of.defjvp
def _with_gradient_of_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    # How often each hard sample comes is in no derivative of this one's: a second is not to be had.
    instead = (
        "take `GumbelSoftmax` with `hard=False`, which has every derivative of the relaxed "
        "expectation, or `ScoreFunction`, `Relax` or `Enumeration`"
    )
    gate = once("a straight-through sample", instead, primals[1])
    return _with_gradient_of(*primals), tangents[1] * gate.astype(tangents[1].dtype)


def _float_of(value: Any) -> Any:
    return value.dtype if isinstance(value, jax.Array) else float
