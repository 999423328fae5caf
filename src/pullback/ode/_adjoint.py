"""What an adjoint is: how the forward pass is kept, and how a cotangent is pulled back."""

import abc
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from pullback._lanes import State

from ._field import described
from ._method import Method, Path
from ._result import Stats
from ._runge_kutta import Field


class Pulled(NamedTuple):
    """The gradient of a solve, as an adjoint returns it.

    Attributes:
        y0: with respect to the start, shaped like it.
        ts: with respect to the times, shaped like them.
        params: with respect to the parameters, shaped like them; None where these are None.
        stats: what the backward pass cost; scalars, or an entry for each lane.
    """

    y0: State
    ts: Float[Array, "*lanes times"]
    params: PyTree
    stats: Stats


class AbstractAdjoint(eqx.Module):
    r"""How a solve is differentiated in reverse mode; subclass it to write one of your own.

    An adjoint solves, with `integrate`, and pulls back the map

    $$ (y_0, t_0, \ldots, t_T, \theta) \mapsto (y(t_0), \ldots, y(t_T)). $$

    `solve` checks its arguments, hands them over as below, and makes of the three methods a rule
    for reverse mode, which works under `jax.jit`, `jax.vmap` and `jax.grad`. All three methods are
    traced, so they are written in JAX. Forward mode differentiates `primal`.

    - `method` is a `Method`: the tableau, `steps` or the tolerances, and so on.
    - `field(t, y, params)` is the right-hand side. It reads nothing but its arguments, so
      `jax.vjp` of it is the whole derivative.
    - `ts`, `[times]`, are counted from the first, which is 0; so is the field's `t`.
    - `params` are the arrays that the user's field reads: a PyTree, whose leaves an adjoint need
      not look at. In `backward` only those that are to be differentiated are there, all of them
      floating, and the others are None; `field` knows the rest.
    - With `stepping="per_sample"` each entry of the leading axis of the state, a *lane*, has times
      and steps of its own: `ts` is `[lanes, times]`, the field takes times `[lanes]` and all lanes
      at once, and every number that is kept for each lane has that leading axis.
    - What was not reached may have any value in `ys`: `solve` makes it NaN. A solve that fails in
      `backward` should return NaN, for there is nobody to raise.

    What steps are made of: `advance` (the end of one step), `stages` and `interpolation` (its
    stages, and the outputs that lie in it), `tableau_of`.

    Example:
        Discretise-then-optimise as plainly as can be: fixed steps again, in a scan that JAX
        differentiates. It keeps every stage of every step.

        >>> import jax, jax.numpy as jnp, pullback as pb
        >>> class Plain(pb.ode.AbstractAdjoint):
        ...     def primal(self, method, field, y0, ts, params):
        ...         return pb.ode.integrate(method, field, y0, ts, params)
        ...
        ...     def forward(self, method, field, y0, ts, params):
        ...         return self.primal(method, field, y0, ts, params), y0
        ...
        ...     def backward(self, method, field, y0, ts, params, cotangent, *, times_too):
        ...         def ys(y0, ts, params):
        ...             def interval(y, ends):
        ...                 h = (ends[1] - ends[0]) / method.steps
        ...                 def step(y, i):
        ...                     t = ends[0] + i * h
        ...                     return pb.ode.advance(method.tableau, field, t, h, y, params), None
        ...                 y, _ = jax.lax.scan(step, y, jnp.arange(method.steps, dtype=ts.dtype))
        ...                 return y, y
        ...             _, ys = jax.lax.scan(interval, y0, (ts[:-1], ts[1:]))
        ...             return jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), y0, ys)
        ...         _, pull = jax.vjp(ys, y0, ts, params)
        ...         n = jnp.array(method.max_steps)
        ...         return pb.ode.Pulled(*pull(cotangent), pb.ode.Stats(n, n, jnp.array(0)))
        >>> def end(rate, adjoint):
        ...     f = lambda t, y, rate: -rate * y
        ...     return pb.ode.solve(f, 1.0, [0.0, 1.0], rate, steps=8, adjoint=adjoint).ys[-1]
        >>> plain, exact = (jax.grad(end)(0.5, a) for a in (Plain(), pb.ode.Replay()))
        >>> bool(jnp.allclose(plain, exact))
        True
    """

    @abc.abstractmethod
    def primal(
        self,
        method: Method,
        field: Field,
        y0: State,
        ts: Float[Array, "*lanes times"],
        params: PyTree,
    ) -> Path:
        """Solve where no gradient is asked for.

        Returns:
            What `integrate` returns; its `record` is not looked at.
        """

    @abc.abstractmethod
    def forward(
        self,
        method: Method,
        field: Field,
        y0: State,
        ts: Float[Array, "*lanes times"],
        params: PyTree,
    ) -> tuple[Path, Any]:
        """Solve, and keep what `backward` needs.

        Returns:
            The path, with the same numbers as that of `primal`; and the residuals, any PyTree of
            arrays, which `backward` is given. Their size is the adjoint's memory.
        """

    @abc.abstractmethod
    def backward(
        self,
        method: Method,
        field: Field,
        residuals: Any,
        ts: Float[Array, "*lanes times"],
        params: PyTree,
        cotangent: State,
        *,
        times_too: bool,
    ) -> Pulled:
        """Pull back a cotangent of the outputs.

        Args:
            method: as in `forward`.
            field: as in `forward`, of the parameters that are to be differentiated.
            residuals: what `forward` kept.
            ts: as in `forward`.
            params: the leaves that are to be differentiated; the others are None.
            cotangent: of the values at `ts`: the structure of the state with `[times]` as leading
                axis, before that of the lanes. Times may be equal, also to the first: every row
                counts.
            times_too: whether the gradient with respect to `ts` is wanted; where not, it may be
                zero.

        Returns:
            The gradients.
        """


def split(params: PyTree) -> tuple[PyTree, PyTree]:
    """The floating leaves of `params`, and the rest."""
    return eqx.partition(params, eqx.is_inexact_array)


def checked_cotangent(cotangent: PyTree, ys: PyTree) -> PyTree:
    """A cotangent that a user gave, as arrays."""
    arrays = jax.tree.map(lambda x: jnp.asarray(x) if eqx.is_array_like(x) else x, cotangent)
    got, want = described(arrays), described(ys)
    if got != want:
        raise ValueError(f"the cotangent must be like Solution.ys, {want}, got {got}")
    return arrays


def checked_gradient(
    adjoint: AbstractAdjoint, pulled: Any, y0: PyTree, ts: Array, wanted: PyTree
) -> Pulled:
    """What an adjoint returned, which may be a user's."""
    name = f"{type(adjoint).__name__}.backward"
    if not isinstance(pulled, Pulled):
        raise TypeError(f"{name} must return pullback.ode.Pulled, got {type(pulled).__name__}")
    for part, like in (("y0", y0), ("ts", ts), ("params", wanted)):
        got, want = described(getattr(pulled, part)), described(like)
        if got != want:
            raise ValueError(f"{name} must return Pulled.{part} like {part}, {want}, got {got}")
    return pulled
