"""Deferred penalties: what only a gradient needs is left to the backward pass."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from pullback._dependence import depends_on
from pullback._lanes import State

from ._adjoint import AbstractAdjoint, Pulled
from ._backsolve import Backsolve
from ._method import Method, Path
from ._replay import Replay
from ._runge_kutta import Field


class DeferredPenalty(AbstractAdjoint):
    r"""Leave what rides along with the state out of the forward pass.

    The state is `(y, r)`, as `Regularised` has it, and the rates depend on `y` and `t` alone:

    $$ \frac{dy}{dt} = f(t, y), \qquad \frac{dr}{dt} = g(t, y). $$

    So $r$ has no influence on anything but the loss, its cotangent $c = \partial L/\partial r(t_1)$
    is constant along the whole solve, and

    $$ \frac{da}{dt} = -a^\top \frac{\partial f}{\partial y} - c^\top \frac{\partial g}{\partial y},
       \qquad \frac{dL}{d\theta} = \int_{t_0}^{t_1} \Big( a^\top \frac{\partial f}{\partial \theta}
       + c^\top \frac{\partial g}{\partial \theta} \Big) dt $$

    needs no value of $r$. The forward pass evaluates $f$ only; the backward pass, `Replay` or
    `Backsolve`, sees both rates. The gradient of `task loss + weight * r` is that of the full
    solve: to rounding with `Replay`, to the tolerance of the solves with `Backsolve`.

    **`r` keeps its first value at every time**, for `Regularised` zero: it was not integrated. So
    the loss that is shown is the task's alone, and a loss that is not linear in `r`, or a weight
    that is learned, gets a wrong gradient. To log the true value, solve the same field with
    `adjoint=Replay()`; outside of a gradient that costs one forward pass.

    Steps are those of the full solve with the same `norm`, when that is `state_norm`.

    What it saves is the evaluations of $g$ in the forward pass: 5 to 20 % of the time of a training
    step with `TaylorEnergy` of order 2 to 4 (benchmarks/bench_taynode.py), the most with `Replay`;
    nothing with order 1, whose rate is the velocity that is known anyway.

    Attributes:
        adjoint: how the backward pass runs: `Replay()` (the default) or `Backsolve()`.

    Raises:
        ValueError: the state is not a pair `(y, r)`, a rate depends on `r`, or `adjoint` is
            neither of the two.

    Example:
        >>> import jax, jax.numpy as jnp, pullback as pb
        >>> field = pb.ode.Regularised(lambda t, y, rate: rate * y, (pb.ode.KineticEnergy(),))
        >>> def loss(rate, adjoint):
        ...     start = field.start(jnp.ones(2))
        ...     y, (energy,) = pb.ode.solve(
        ...         field, start, [0.0, 1.0], rate, norm=pb.ode.state_norm, adjoint=adjoint
        ...     ).ys
        ...     return jnp.sum(y[-1]) + 0.1 * energy[-1]
        >>> deferred, full = (
        ...     jax.grad(loss)(jnp.array(0.5), adjoint)
        ...     for adjoint in (pb.ode.DeferredPenalty(), pb.ode.Replay())
        ... )
        >>> bool(jnp.allclose(deferred, full))
        True

    Source: Kelly et al., Learning Differential Equations that are Easy to Solve (2020), whose code
    does so with its continuous adjoint.
    """

    adjoint: AbstractAdjoint = Replay()

    def __check_init__(self) -> None:
        if not isinstance(self.adjoint, Replay | Backsolve):
            raise ValueError(
                f"DeferredPenalty(adjoint=...) must be Replay() or Backsolve(), got "
                f"{self.adjoint!r}"
            )

    def primal(self, method: Method, field: Field, y0: State, ts: Array, params: PyTree) -> Path:
        """Solve for `y`."""
        return self.adjoint.primal(method, _quiet(field, y0, ts, params), y0, ts, params)

    def forward(
        self, method: Method, field: Field, y0: State, ts: Array, params: PyTree
    ) -> tuple[Path, Any]:
        """Solve for `y`, and keep what the backward pass of `adjoint` needs."""
        return self.adjoint.forward(method, _quiet(field, y0, ts, params), y0, ts, params)

    def backward(
        self,
        method: Method,
        field: Field,
        residuals: Any,
        ts: Array,
        params: PyTree,
        cotangent: State,
        *,
        times_too: bool,
    ) -> Pulled:
        """Pull back through the full field."""
        return self.adjoint.backward(
            method, field, residuals, ts, params, cotangent, times_too=times_too
        )


def _quiet(field: Field, y0: State, ts: Array, params: PyTree) -> Field:
    """The field with a rate of zero for what rides along, which the compiler then leaves out."""
    if not isinstance(y0, tuple) or len(y0) != 2:
        raise ValueError(
            "DeferredPenalty takes a state (y, what rides along), as Regularised.start gives it; "
            f"got {jax.tree.structure(y0)}"
        )
    if _reads_what_rides_along(field, y0, ts, params):
        raise ValueError(
            "DeferredPenalty leaves out what rides along with the state, but a rate of f depends "
            "on it"
        )

    def quiet(t: Array, state: State, params: PyTree) -> State:
        y_rate, rates = field(t, state, params)
        return y_rate, jax.tree.map(jnp.zeros_like, rates)

    return quiet


def _reads_what_rides_along(field: Field, y0: State, ts: Array, params: PyTree) -> bool:
    y, rest = y0
    return depends_on(lambda rest: field(ts[..., 0], (y, rest), params), rest)
