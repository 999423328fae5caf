"""Fixed steps for solves that Diffrax runs."""

from typing import Any

import diffrax
import jax.numpy as jnp
from jaxtyping import Array, Float


class Nodes(diffrax.AbstractStepSizeController):
    """Step to each of the given times in turn, once to times that are equal.

    `diffrax.StepTo` refuses equal times, and a solve of a part of them, as its backward solve is.
    """

    times: Float[Array, " nodes"]

    def wrap(self, direction: Any) -> "Nodes":
        """The same times where time runs forward."""
        return Nodes(jnp.sort(self.times * jnp.asarray(direction, self.times.dtype)))

    def init(
        self,
        terms: Any,
        t0: Any,
        t1: Any,
        y0: Any,
        dt0: Any,
        args: Any,
        func: Any,
        error_order: Any,
    ) -> tuple[Array, None]:
        """The end of the first step."""
        del terms, t1, y0, dt0, args, func, error_order
        return self._after(t0), None

    def adapt_step_size(
        self,
        t0: Any,
        t1: Any,
        y0: Any,
        y1_candidate: Any,
        args: Any,
        y_error: Any,
        error_order: Any,
        controller_state: None,
    ) -> tuple[bool, Any, Array, bool, None, diffrax.RESULTS]:
        """Keep the step; the next one ends at the next time."""
        del t0, y0, y1_candidate, args, y_error, error_order
        return True, t1, self._after(t1), False, controller_state, diffrax.RESULTS.successful

    def _after(self, t: Any) -> Array:
        place = jnp.searchsorted(self.times, jnp.asarray(t, self.times.dtype), side="right")
        return self.times[jnp.minimum(place, self.times.shape[0] - 1)]
