"""Fixed steps for solves that Diffrax runs."""

from typing import Any

import diffrax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from pullback._lanes import take


class Nodes(diffrax.AbstractStepSizeController):
    """Step to each of the given times in turn, once to times that are equal.

    `diffrax.StepTo` refuses equal times, and a solve of a part of them, as its backward solve is.
    """

    times: Float[Array, " nodes"]

    def wrap(self, direction: Any) -> "Nodes":
        """The same times where time runs forward."""
        times = self.times * jnp.asarray(direction, self.times.dtype)
        return Nodes(jnp.where(times[0] > times[-1], times[::-1], times))

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
    ) -> tuple[Array, Array]:
        """The end of the first step, and its place among the times."""
        del terms, t1, y0, dt0, args, func, error_order
        return self._after(t0, jnp.sum(self.times <= jnp.asarray(t0, self.times.dtype)))

    def adapt_step_size(
        self,
        t0: Any,
        t1: Any,
        y0: Any,
        y1_candidate: Any,
        args: Any,
        y_error: Any,
        error_order: Any,
        controller_state: Array,
    ) -> tuple[bool, Any, Array, bool, Array, diffrax.RESULTS]:
        """Keep the step; the next one ends at the next time."""
        del t0, y0, y1_candidate, args, y_error, error_order
        end, place = self._after(t1, controller_state)
        return True, t1, end, False, place, diffrax.RESULTS.successful

    def _after(self, t: Any, place: Array) -> tuple[Array, Array]:
        t, times = lax.stop_gradient((jnp.asarray(t, self.times.dtype), self.times))
        last = times.shape[0] - 1
        passed = lambda place: (place < last) & (take(times, place) <= t)
        place = lax.while_loop(passed, lambda place: place + 1, jnp.minimum(place, last))
        return take(self.times, place), place
