"""The continuous adjoint: a second ODE, solved backwards, with memory that does not grow."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, PyTree

from pullback._clock import Clock, beside
from pullback._lanes import State, add

from ._adjoint import AbstractAdjoint, Pulled
from ._control import Norm, rms_norm
from ._loop import integrate
from ._method import Method, Path
from ._result import Result, Stats
from ._runge_kutta import Field, OnClock


class Backsolve(AbstractAdjoint):
    r"""Solve the adjoint ODE backwards in time, together with the state itself.

    With $a(t) = \partial L / \partial y(t)$,

    $$ \frac{da}{dt} = -a^\top \frac{\partial f}{\partial y}, \qquad
       \frac{dL}{d\theta} = \int_{t_0}^{t_1} a^\top \frac{\partial f}{\partial \theta} \, dt, \qquad
       \frac{dL}{dt_i} = \frac{\partial L}{\partial y(t_i)}^\top f(y(t_i), t_i, \theta). $$

    Memory is a few states, whatever the number of steps. The gradient is that of the true
    solution, up to the error of two solves: it agrees with the one of the returned numbers only as
    the tolerances fall. Where trajectories converge (a stiff problem) the state cannot be traced
    back, and the gradient is wrong: that is why `Replay` is the default.

    With steps per sample every sample integrates a parameter gradient of its own, so memory grows
    with batch size times number of parameters; `Replay` has no such cost.

    Forward mode carries slopes along the forward solve's steps, as with `Replay`. Second
    derivatives: forward over reverse (`jax.jvp` of `jax.grad`, `jax.hessian`), or over forward.

    Attributes:
        rtol: relative tolerance of the backward solve; that of the forward solve when None.
        atol: absolute tolerance of the backward solve; that of the forward solve when None.
        seminorm: leave the parameter gradient out of the error control. It is a pure integral,
            so it cannot spoil the rest, and thousands of its entries would force tiny steps.

    Example:
        >>> import jax, jax.numpy as jnp, pullback as pb
        >>> end = lambda y0: pb.ode.solve(
        ...     lambda t, y, args: -y, y0, jnp.array([0.0, 1.0]), rtol=1e-6, atol=1e-6,
        ...     adjoint=pb.ode.Backsolve(),
        ... ).ys[-1]
        >>> bool(abs(jax.grad(end)(jnp.array(2.0)) - jnp.exp(-1.0)) < 1e-5)
        True

    Source: Chen et al. (2018), section 2 and appendix B; the seminorm is Kidger, Chen and Lyons,
    "Hey, that's not an ODE" (2020).
    """

    rtol: float | None = None
    atol: float | None = None
    seminorm: bool = True

    def __check_init__(self) -> None:
        for name in ("rtol", "atol"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"Backsolve({name}=...) must be positive, got {value}")

    def _check_tolerances(self, method: Method) -> None:
        for name in ("rtol", "atol"):
            own, given = getattr(self, name), getattr(method, name)
            if own is None and not (isinstance(given, Array) and given.ndim == 0):
                raise ValueError(
                    f"Backsolve solves for an adjoint and a gradient too, which have no {name} of "
                    f"a leaf of the state: give Backsolve({name}=...), one number"
                )

    def primal(self, method: Method, field: Field, y0: State, ts: Array, params: PyTree) -> Path:
        """Solve, and keep nothing."""
        return integrate(method, field, y0, ts, params)

    def forward(
        self, method: Method, field: Field, y0: State, ts: Array, params: PyTree
    ) -> tuple[Path, State]:
        """Solve, and keep the outputs alone."""
        path = integrate(method, field, y0, ts, params)
        ys = path.ys
        if ys is None:
            ys = jax.tree.map(lambda a, b: jnp.stack([a, b]), y0, path.y)
        return path, ys

    def backward(
        self,
        method: Method,
        field: Field,
        residuals: State,
        ts: Array,
        params: PyTree,
        cotangent: State,
        *,
        times_too: bool,
    ) -> Pulled:
        """Integrate the adjoint from the last time to the first, one interval after another."""
        ys, times = residuals, ts.shape[-1]
        self._check_tolerances(method)
        back = _BackwardField(field, method.per_sample)
        dtype = jax.tree.leaves(method.rtol)[0].dtype
        method = eqx.tree_at(
            lambda m: (m.rtol, m.atol),
            method,
            (
                method.rtol if self.rtol is None else jnp.asarray(self.rtol, dtype),
                method.atol if self.atol is None else jnp.asarray(self.atol, dtype),
            ),
        )
        knots = method.knots
        method = _with_norm(method, _backward_norm(method.norm, self.seminorm))
        forward = ts[..., -1] >= ts[..., 0]

        def interval(carry: _Loop, i: Array) -> tuple[_Loop, Array]:
            row = lambda tree, i: jax.tree.map(lambda x: x[i], tree)
            y, bar = row(ys, i), row(cotangent, i)
            span = jnp.stack([ts[..., i], ts[..., i - 1]], axis=-1)
            a = add(carry.a, bar)
            t_bar = (
                method.lane_dot(bar, field(ts[..., i], y, params)) if times_too else span[..., 0]
            )
            if times_too and knots is not None:
                before, after = (
                    field(t, y, params)
                    for t in (ts[..., i], beside(lax.stop_gradient(ts[..., i]), forward))
                )
                step = jax.tree.map(jnp.subtract, before, after)
                jumps = _at_a_jump(knots, i, times - 1)
                t_bar += jnp.where(jumps, method.lane_dot(carry.a, step), 0.0)
            path = integrate(method, back, (y, a, carry.params), span, params)
            _, a, grad = path.y
            # A gradient that could not be computed must not look like one.
            failed = path.code != Result.SUCCESSFUL
            a = jax.tree.map(lambda x: _poison(failed, x), a)
            return _Loop(
                a,
                grad,
                carry.nfe + path.nfe,
                carry.accepted + path.accepted,
                carry.rejected + path.rejected,
            ), t_bar

        lanes = ts.shape[:-1]
        zero = jnp.zeros(lanes, jnp.int32)
        start = jax.tree.map(lambda x: jnp.zeros(x.shape[1:], x.dtype), cotangent)
        grads = jax.tree.map(lambda p: jnp.zeros((*lanes, *p.shape), p.dtype), params)
        loop, t_bars = lax.scan(
            interval,
            _Loop(start, grads, zero, zero, zero),
            jnp.arange(times - 1, 0, -1),
        )
        ts_bar = jnp.zeros_like(ts)
        if times_too:
            y0 = jax.tree.map(lambda y: y[0], ys)
            t0_bar = -method.lane_dot(loop.a, field(ts[..., 0], y0, params))
            ts_bar = jnp.moveaxis(jnp.concatenate([t0_bar[None], t_bars[::-1]]), 0, -1)
            ts_bar = ts_bar.astype(ts.dtype)  # times may be wider than the state
        y0_bar = add(loop.a, jax.tree.map(lambda x: x[0], cotangent))
        if lanes:
            loop = loop._replace(params=jax.tree.map(lambda g: jnp.sum(g, axis=0), loop.params))
        return Pulled(y0_bar, ts_bar, loop.params, Stats(loop.nfe, loop.accepted, loop.rejected))


class _Loop(NamedTuple):
    a: State
    params: PyTree
    nfe: Array
    accepted: Array
    rejected: Array


class _BackwardField(eqx.Module):
    """The right-hand side for (y, a, gradient): (f, -vjp_y(a), -vjp_params(a))."""

    field: Field
    per_sample: bool = eqx.field(static=True)

    def __call__(self, t: Array, state: tuple, params: PyTree) -> tuple:
        y, a, _ = state
        if not self.per_sample:
            return self._one(self.field, t, y, a, params)

        field = self.field
        if not isinstance(field, OnClock):
            raise TypeError("with steps per sample Backsolve takes the field that solve gave it")
        # The field takes lanes; a sample is a batch of one.
        lone = lambda x: jax.tree.map(lambda v: v[None], x)
        bare = lambda x: jax.tree.map(lambda v: v[0], x)

        def sample(clock: Clock, t: Array, y: State, a: State) -> tuple:
            own = OnClock(field.field, clock)
            one = lambda t, y, params: bare(own(t[None], lone(y), params))
            return self._one(one, t, y, a, params)

        return jax.vmap(sample)(field.clock, t, y, a)

    @staticmethod
    def _one(field: Field, t: Array, y: State, a: State, params: PyTree) -> tuple:
        f, pull = jax.vjp(lambda y, p: field(t, y, p), y, params)
        return f, *jax.tree.map(jnp.negative, pull(a))


def _backward_norm(norm: Norm, seminorm: bool) -> Norm:
    """The largest error among the state, its adjoint and (unless `seminorm`) the gradient.

    The forward solve's own norm judges the first two, for it may leave parts of the state out.
    """

    def largest(x: tuple) -> Array:
        y, a, grad = x
        error = jnp.maximum(norm(y), norm(a))
        return error if seminorm else jnp.maximum(error, rms_norm(grad).astype(error.dtype))

    return largest


def _with_norm(method: Method, norm: Norm) -> Method:
    return Method(
        tableau=method.tableau,
        controller=method.controller,
        norm=norm,
        rtol=method.rtol,
        atol=method.atol,
        steps=method.steps,
        max_steps=method.max_steps,
        per_sample=method.per_sample,
        # The size that suits the forward solve's start.
        dt0=None,
        knots=None if method.knots is None else _whole(method.knots),
    )


def _whole(knots: Array) -> Array:
    """The knots of one interval, which has no jump within."""
    return jnp.broadcast_to(jnp.arange(2, dtype=knots.dtype), (*knots.shape[:-1], 2))


def _at_a_jump(knots: Array, i: Array, last: int) -> Array:
    return jnp.any(knots[..., 1:-1] == i, axis=-1) & (i != last)


def _poison(failed: Array, x: Array) -> Array:
    m = failed if failed.ndim == 0 else jnp.reshape(failed, failed.shape + (1,) * (x.ndim - 1))
    return jnp.where(m, jnp.nan, x)
