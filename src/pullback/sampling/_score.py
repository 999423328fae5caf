"""Gradients by the score of the distribution, for any integrand."""

from collections.abc import Callable
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from ._distribution import Distribution, draw, log_prob
from ._estimator import AbstractEstimator, downhill, over_samples
from ._orders import attach, reweighted


class ScoreFunction(AbstractEstimator):
    r"""The score-function estimator, REINFORCE, with a baseline b.

    $$ \hat g = \frac1n \sum_i \big(f(z_i) - b_i\big) \nabla_\phi \log q_\phi(z_i)
       + \nabla_{\phi | z_i} f(z_i; q_\phi) $$

    Unbiased for every distribution with a `log_prob`, discrete or not; `f` is never differentiated
    with respect to the sample, so it may be a black box (`jax.pure_callback`).

    Args:
        baseline: None, for none; "leave_one_out", the mean of `f` over the other samples, which
            needs two or more; a Python number; or a scalar array, from a `MovingAverage` or from a
            network of the example's context. The gradient with respect to that array is
            $b - \bar f$, also where the expectation is negated to be maximised, so that a network
            learns to predict `f` in the same backward pass.

    Raises:
        ValueError: `baseline` is another word; when called, if "leave_one_out" has one sample.

    Source: Williams, Simple Statistical Gradient-Following Algorithms (1992); Mnih and Gregor,
    Neural Variational Inference and Learning, arXiv 1402.0030 (baselines); Kool, van Hoof and
    Welling, Buy 4 REINFORCE Samples, Get a Baseline for Free! (2019; leave one out).
    """

    baseline: Float[Array, ""] | float | Literal["leave_one_out"] | None = None

    def __check_init__(self):
        if isinstance(self.baseline, str) and self.baseline != "leave_one_out":
            raise ValueError(
                f"`baseline` must be 'leave_one_out', a number or None, got {self.baseline!r}."
            )

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
        def one(key: Array) -> tuple[Array, Array]:
            z = jax.lax.stop_gradient(draw(q, key))
            return f(z, q), log_prob(q, z)

        n = len(keys)
        values, scores = over_samples(one, keys, batch_size)
        if self.baseline is None:
            return jnp.mean(reweighted(values, scores, values))
        if isinstance(self.baseline, str):
            if n < 2:
                raise ValueError(
                    "`baseline` 'leave_one_out' needs `num_samples` of 2 or more, got 1: give more "
                    "samples, or a `MovingAverage`'s value."
                )
            baseline = (jnp.sum(values) - values) / (n - 1)
            return jnp.mean(reweighted(values, scores, values - baseline))
        held = jnp.asarray(jax.lax.stop_gradient(self.baseline), values.dtype)
        value = jnp.mean(reweighted(values, scores, values - held))
        if isinstance(self.baseline, float | int):
            return value
        return fitted_baseline(value, self.baseline, value)


def fitted_baseline(value: Array, baseline: Array, target: Array) -> Array:
    """`value`, with the gradient of half the squared error of a baseline added.

    The error is not held: its slope moves with the target.
    """
    error = baseline - target.astype(baseline.dtype)
    objective = attach(jnp.zeros_like(error), baseline, error)
    return attach(value, downhill(objective), jnp.ones_like(objective))


class MovingAverage(eqx.Module):
    r"""A running mean of past values, as a baseline.

    $$ b_{s+1} = \beta\, b_s + (1 - \beta) f_s, \qquad \hat b_s = b_s / (1 - \beta^s) $$

    Args:
        decay: $\beta$, in [0, 1).

    Raises:
        ValueError: `decay` is not in [0, 1).

    Example:
        >>> average = MovingAverage(0.9).update(2.0).update(4.0)
        >>> print(f"{average.value:.3f}")  # (0.9 * 2 + 4) / 1.9
        3.053

    Source: Williams (1992), reinforcement comparison; Kingma and Ba, arXiv 1412.6980 (the start).
    """

    decay: float = eqx.field(static=True)
    _sum: Array
    _weight: Array

    def __init__(self, decay: float = 0.9):
        if not 0 <= decay < 1:
            raise ValueError(f"`decay` must be in [0, 1), got {decay}.")
        self.decay = decay
        self._sum = jnp.zeros(())
        self._weight = jnp.zeros(())

    @property
    def value(self) -> Float[Array, ""]:
        """The mean so far, zero before the first value."""
        return self._sum / jnp.where(self._weight == 0, 1, self._weight)

    def update(self, value: Float[Array, ""] | float) -> "MovingAverage":
        """With one value more."""
        value = jax.lax.stop_gradient(jnp.asarray(value, self._sum.dtype))
        new = (
            self.decay * self._sum + (1 - self.decay) * value,
            self.decay * self._weight + (1 - self.decay),
        )
        return eqx.tree_at(lambda m: (m._sum, m._weight), self, new)
