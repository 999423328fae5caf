"""Exact expectations over few discrete variables."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from pullback._promotion import standard_promotion

from ._estimator import AbstractEstimator
from ._law import Distribution, independent_parts, log_prob


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
        outcomes = self._outcomes(q)

        def term(z: Array) -> Array:
            share = jnp.exp(log_prob(q, z))
            return share * jnp.where(share == 0, 0, f(z, q))

        if batch_size is None or batch_size >= len(outcomes):
            return jnp.sum(jax.vmap(term)(outcomes))
        return jnp.sum(jax.lax.map(jax.checkpoint(term), outcomes, batch_size=batch_size))

    def _outcomes(self, q: Any) -> Array:
        """Every outcome of the whole batch shape, `[outcome, *batch, *event]`."""
        q = independent_parts(q)
        if not getattr(q, "has_enumerate_support", False):
            raise ValueError(
                "`estimator` Enumeration needs a discrete distribution that can list its support, "
                f"and `q` is a {type(q).__name__}: take `ScoreFunction`, or `Reparameterised` if "
                "its samples have gradients."
            )
        with standard_promotion():
            support = q.enumerate_support(expand=False)
        event = support.shape[support.ndim - len(q.event_shape) :]
        states, n = support.shape[0], int(np.prod(q.batch_shape))
        if states**n > self.max_outcomes:
            raise ValueError(
                f"`q` has {states}^{n} outcomes, more than `max_outcomes` {self.max_outcomes}: "
                "take `ScoreFunction`, `Relax` or `GumbelSoftmax`."
            )
        choices = np.indices((states,) * n).reshape(n, -1).T
        return support.reshape(states, *event)[choices].reshape(-1, *q.batch_shape, *event)
