"""Gradients of discrete variables by a straight line through the integrand: MuProp and DARN."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from ._discrete import Discrete, discrete
from ._distribution import Distribution
from ._estimator import AbstractEstimator, over_samples
from ._orders import attach, likelihood_ratio, weighted_later
from ._score import fitted_baseline


class MuProp(AbstractEstimator):
    r"""The score-function gradient beside a straight line through the integrand at the mean.

    $$ \hat g = \big(f(z) - f(\mu) - f'(\mu)^\top (z - \mu) - b\big) \nabla \log q(z)
       + \nabla \big( f'(\mu)^\top \mu \big)_{f'(\mu)}, \qquad \mu = \mathbb{E}_q[z] $$

    Unbiased for every f, and without noise for a linear one. For `numpyro.distributions.Bernoulli`,
    `OneHotCategorical` and a distribution of your own with `as_discrete()` (see `Distribution`);
    `f` must be differentiable, and make sense between zero and one. It is evaluated once a sample,
    and once with its gradient at the mean.

    Args:
        baseline: b, of what the line leaves; a Python number or a scalar array. The gradient with
            respect to an array is that of half its squared error, also where the expectation is
            negated, as for `ScoreFunction`.

    Raises:
        ValueError: when called, if `q` is another distribution.

    Example:
        >>> import jax, jax.numpy as jnp, numpyro.distributions as dist
        >>> from pullback.sampling import expectation
        >>> def loss(logit, key):
        ...     q = dist.Bernoulli(logits=logit)
        ...     return expectation(lambda z, q: 3 * z, q, estimator=MuProp(), key=key)
        >>> print(f"{jax.grad(loss)(0.0, jax.random.key(0)):.2f}")
        0.75

    Source: Gu et al., MuProp: Unbiased Backpropagation for Stochastic Neural Networks, arXiv
    1511.05176.
    """

    baseline: Float[Array, ""] | float = 0.0

    @property
    def relaxes(self) -> bool:
        """`f` is evaluated at the mean, at which no discrete distribution has a density."""
        return True

    @property
    def learned_parts(self) -> Float[Array, ""] | None:
        """The baseline, where it is an array."""
        return self.baseline if isinstance(self.baseline, jax.Array) else None

    def __call__(
        self,
        f: Callable[[Any, Any], Float[Array, ""]],
        q: Distribution,
        keys: Key[Array, " sample"],
        batch_size: int | None,
    ) -> Float[Array, ""]:
        wide, dtype = _widened(q, type(self).__name__)
        mean = wide.mean()
        # NumPyro's check of what is outside of the support is lost by the way.
        anywhere = jax.tree.map(lambda leaf: leaf, q)
        # Neither is held: the second derivative moves them.
        at_mean, slope = jax.value_and_grad(lambda z: f(z.astype(dtype), anywhere))(mean)

        def one(key: Array) -> tuple[Array, Array]:
            z = _hard(wide, key)
            value, score = f(z.astype(dtype), q), wide.log_prob(z)
            left = value - at_mean - jnp.sum(slope * (z - mean)).astype(value.dtype)
            gap = left - jnp.asarray(jax.lax.stop_gradient(self.baseline), left.dtype)
            weight = likelihood_ratio(score) * gap.astype(score.dtype)
            return attach(weighted_later(value, score), score, weight), left

        values, left = over_samples(one, keys, batch_size)
        value = attach(jnp.mean(values), mean, slope)
        if isinstance(self.baseline, float | int):
            return value
        return fitted_baseline(value, self.baseline, jnp.mean(left))


class DARN(AbstractEstimator):
    r"""The score-function gradient beside a straight line through the integrand at the sample.

    $$ \hat g_i = f'_i(z)^\top (z_i - \bar z) \, \nabla \log q(z_i) $$

    for each variable i, whose centre $\bar z$ is one half for `numpyro.distributions.Bernoulli` and
    1 / K for `OneHotCategorical`. It needs one evaluation of `f` and its slope. Biased: exact on
    average for an `f` that is quadratic in each binary variable, or linear in each one-hot one,
    given the others; further derivatives are those of the biased gradient. Noisier than
    `StraightThrough`, which is exact for a linear `f` alone.

    Raises:
        ValueError: when called, if `q` is another distribution.

    Example:
        >>> import jax, jax.numpy as jnp, numpyro.distributions as dist
        >>> from pullback.sampling import expectation
        >>> def loss(logit, key):
        ...     q = dist.Bernoulli(logits=logit)
        ...     f = lambda z, q: 3 * z**2
        ...     return expectation(f, q, estimator=DARN(), num_samples=10_000, key=key)
        >>> print(f"{jax.grad(loss)(0.0, jax.random.key(0)):.2f}")  # exact: 0.75
        0.75

    Source: Gregor et al., Deep AutoRegressive Networks, arXiv 1310.8499; Gu et al., arXiv
    1511.05176.
    """

    def __call__(
        self,
        f: Callable[[Any, Any], Float[Array, ""]],
        q: Distribution,
        keys: Key[Array, " sample"],
        batch_size: int | None,
    ) -> Float[Array, ""]:
        wide, dtype = _widened(q, type(self).__name__)
        centre = 1 / wide.logits.shape[-1] if wide.one_hot else 0.5

        def one(key: Array) -> Array:
            z = _hard(wide, key)
            value, slope = jax.value_and_grad(lambda z: f(z.astype(dtype), q))(z)
            scores = wide.log_probs(z)
            gaps = slope * (z - centre)
            gaps = jnp.sum(gaps, axis=-1) if wide.one_hot else gaps
            score = jnp.sum(scores)
            return attach(weighted_later(value, score), scores, likelihood_ratio(score) * gaps)

        return jnp.mean(over_samples(one, keys, batch_size))


def _widened(q: Any, estimator: str) -> tuple[Discrete, Any]:
    """With logits of 32 bits at least, and the dtype that a sample has."""
    found = discrete(q, estimator)
    return found.widened(), found.logits.dtype


def _hard(distribution: Discrete, key: Array) -> Array:
    """A sample, as floats, without a gradient."""
    z = distribution.logits + distribution.noise(key)
    return jax.lax.stop_gradient(distribution.harden(z))
