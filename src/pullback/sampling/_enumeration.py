"""Exact expectations over few discrete variables."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jaxtyping import Array, Float, Key

from pullback._in_batches import over_rows
from pullback._promotion import standard_promotion

from ._distribution import (
    Distribution,
    listed,
    log_prob_of_parts,
    probability,
    probability_of_parts,
)
from ._estimator import AbstractEstimator


class Enumeration(AbstractEstimator):
    r"""The expectation itself, by a sum over all outcomes: $\sum_z q(z) f(z; q)$.

    No sample is drawn, so `key` and `num_samples` do not matter; `batch_size` bounds how many
    outcomes are held in memory at once. For discrete distributions that can list their support,
    with independent variables along their batch shape: n of them with s states have $s^n$
    outcomes.

    Args:
        max_outcomes: more than that are refused.

    Raises:
        ValueError: when called, if `q` cannot list its outcomes, or there are too many.
    """

    max_outcomes: int = eqx.field(default=2**16, static=True)

    def __call__(
        self,
        f: Callable[[Any, Any], Float[Array, ""]],
        q: Distribution,
        keys: Key[Array, " sample"],
        batch_size: int | None,
    ) -> Float[Array, ""]:
        distribution = listed(q)
        outcomes = self._outcomes(distribution)

        def term(z: Array) -> Array:
            share, value = probability(distribution, z), f(z, q)
            # Not of what never comes; but at 0 a probability has a slope, and f counts there.
            return share * jnp.where((share == 0) & ~jnp.isfinite(value), 0, value)

        return jnp.sum(over_rows(term, outcomes, batch_size, recompute=True))

    def _outcomes(self, q: Any) -> Array:
        """Every outcome of the whole batch shape, `[outcome, *batch, *event]`."""
        points = outcomes(q)
        if points is None:
            raise ValueError(
                "`estimator` Enumeration needs a discrete distribution that can list its support, "
                f"and `q` is a {type(q).__name__}: take `ScoreFunction`, or `Reparameterised` if "
                "its samples have gradients."
            )
        batch = eqx.filter_eval_shape(log_prob_of_parts, q, points[0]).shape
        states, event = points.shape[0], points.shape[1:]
        n = int(np.prod(batch))
        if states**n > self.max_outcomes:
            raise ValueError(
                f"`q` has {states}^{n} outcomes, more than `max_outcomes` {self.max_outcomes}: "
                "take `ScoreFunction`, `Relax` or `GumbelSoftmax`."
            )
        choices = np.indices((states,) * n).reshape(n, -1).T
        return points[choices].reshape(-1, *batch, *event)


def outcomes(q: Any) -> Array | None:
    """What one variable can be, `[outcome, *event]`; None if q cannot list it."""
    q = listed(q)
    if isinstance(q, dist.ExpandedDistribution | dist.MaskedDistribution):
        return outcomes(q.base_dist)
    if not getattr(q, "has_enumerate_support", False):
        return None
    with standard_promotion():
        points = q.enumerate_support(expand=False)
    return points.reshape(points.shape[0], *points.shape[points.ndim - len(q.event_shape) :])


def enumerated_kl(q: Any, p: Any) -> Float[Array, ""] | None:
    r"""$\sum_z q(z) \log q(z) / p(z)$ over the outcomes of every variable, all of them together.

    The batch shapes of the two are broadcast to their common one first.

    Returns:
        The divergence in nats, infinite where q has an outcome that p has not; None if q cannot
        list its outcomes, or p has one density of several of its variables together.
    """
    points = outcomes(q)
    if points is None:
        return None
    q, p = listed(q), listed(p)
    # The outcomes are those of each variable by itself, and p is asked for the same.
    apart = isinstance(p, dist.Distribution) and p.event_shape == q.event_shape
    if not apart and q.batch_shape:
        return None

    def term(z: Array) -> Array:
        share = probability_of_parts(q, z)
        log_q, log_p = log_prob_of_parts(q, z), log_prob_of_parts(p, z)
        with standard_promotion():
            # 0 log 0 is 0, and so is its gradient.
            return share * jnp.where(share == 0, 0, log_q - log_p)

    return jnp.sum(jax.vmap(term)(points))
