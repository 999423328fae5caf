"""One step of an explicit Runge-Kutta method, for one time or for a time per lane."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, PyTree

from pullback._clock import Clock, wider

from ._lanes import State, Time, spread

Field = Callable[[Time, State, PyTree], State]


class OnClock(eqx.Module):
    """A field of the time since the first, in which all stepping is done, from one of the time.

    Its arrays have an entry for each lane.
    """

    field: Field
    clock: Clock

    def __call__(self, since: Time, y: State, params: PyTree) -> State:
        """The field."""
        return self.field(self.clock.time(since), y, params)


class Tableau(NamedTuple):
    """The coefficients of an explicit method, as Python floats so that they take any dtype."""

    a: tuple[tuple[float, ...], ...]
    b: tuple[float, ...]
    b_error: tuple[float, ...] | None
    c: tuple[float, ...]
    order: int
    # The last stage is f at the end of the step, so it is the first stage of the next.
    fsal: bool
    # From the ends of a step and its stages to Diffrax's interpolation of it.
    dense: Callable

    @property
    def stages(self) -> int:
        """The number of stages, the shared one included."""
        return len(self.b)

    @property
    def evaluations(self) -> int:
        """New evaluations of `f` that an accepted step costs."""
        return self.stages - self.fsal


# A subclass, or a solver that wraps another, may step in its own way: those are Diffrax's to run.
_OWN = (
    diffrax.Heun,
    diffrax.Midpoint,
    diffrax.Ralston,
    diffrax.Bosh3,
    diffrax.Dopri5,
    diffrax.Tsit5,
    diffrax.Dopri8,
)


def tableau_of(solver: diffrax.AbstractSolver) -> Tableau | None:
    """The tableau of an explicit method that is run here, or None when Diffrax is to run it."""
    term = diffrax.ODETerm(lambda t, y, args: y)
    if type(solver) is diffrax.Euler:
        return Tableau((), (1.0,), None, (0.0,), 1, False, _linear)
    if type(solver) not in _OWN:
        return None
    t: Any = solver.tableau  # pyright: ignore[reportAttributeAccessIssue]
    a = tuple(tuple(map(float, row)) for row in t.a_lower)
    fsal = bool(t.fsal and t.ssal)
    return Tableau(
        a=a,
        # Tsit5's two copies of these weights differ in the thirteenth digit.
        b=(*a[-1], 0.0) if fsal else tuple(map(float, t.b_sol)),
        b_error=tuple(map(float, t.b_error)),
        c=(0.0, *map(float, t.c)),
        order=int(solver.order(term) or 1),
        fsal=fsal,
        dense=solver.interpolation_cls,
    )


def _linear(
    *, t0: Array, t1: Array, y0: State, y1: State, k: State
) -> diffrax.LocalLinearInterpolation:
    del k
    return diffrax.LocalLinearInterpolation(t0=t0, t1=t1, y0=y0, y1=y1)


def _weighted(coefficients: Sequence[float], ks: Sequence[Array]) -> Array:
    terms = [c * k for c, k in zip(coefficients, ks, strict=True) if c != 0.0]
    return sum(terms[1:], terms[0]) if terms else jnp.zeros_like(ks[0])


def combination(h: Time, coefficients: Sequence[float], ks: Sequence[State]) -> State:
    """`h * sum_j coefficients_j k_j`."""
    return jax.tree.map(
        lambda *k: spread(h, k[0]) * _weighted(coefficients, k), *ks[: len(coefficients)]
    )


def add(x: State, y: State) -> State:
    """The sum of two states."""
    return jax.tree.map(jnp.add, x, y)


def stages(
    tableau: Tableau, field: Field, t: Time, h: Time, y: State, k1: State, params: PyTree
) -> tuple[list[State], State]:
    """All stages `k_i = f(t + c_i h, y + h sum_j a_ij k_j)` of a step, and its end `y1`."""
    ks, argument = [k1], y
    for row, c in zip(tableau.a, tableau.c[1:], strict=True):
        argument = add(y, combination(h, row, ks))
        ks.append(field(t + c * h, argument, params))
    y1 = argument if tableau.fsal else add(y, combination(h, tableau.b, ks))
    return ks, y1


def advance(tableau: Tableau, field: Field, t: Time, h: Time, y: State, params: PyTree) -> State:
    """The end of a step from `y`, without the stage that only the error estimate needs."""
    ks = [field(t, y, params)]
    last = len(tableau.a) - tableau.fsal
    for row, c in zip(tableau.a[:last], tableau.c[1 : last + 1], strict=True):
        ks.append(field(t + c * h, add(y, combination(h, row, ks)), params))
    return add(y, combination(h, tableau.b[: len(ks)], ks))


def advance_compactly(
    tableau: Tableau, field: Field, t: Time, h: Time, y: State, params: PyTree
) -> State:
    """`advance` with its stages in a loop: slower to run, but `field` is compiled once."""
    used = tableau.stages - tableau.fsal
    rows = np.zeros((used, used))
    for i, row in enumerate(tableau.a[: used - 1]):
        rows[i + 1, : len(row)] = row

    def shifted(weights: Array, ks: State) -> State:
        total = jax.tree.map(lambda k: jnp.tensordot(weights.astype(k.dtype), k, axes=1), ks)
        return jax.tree.map(lambda y, k: y + spread(h, k) * k, y, total)

    def stage(i: Array, ks: State) -> State:
        c = jnp.asarray(tableau.c[:used], t.dtype)[i]
        k = field(t + c * h, shifted(jnp.asarray(rows)[i], ks), params)
        return jax.tree.map(lambda ks, k: ks.at[i].set(k), ks, k)

    ks = jax.tree.map(lambda y: jnp.zeros((used, *y.shape), y.dtype), y)
    return shifted(jnp.asarray(tableau.b[:used]), lax.fori_loop(0, used, stage, ks))


def interpolation(
    tableau: Tableau, t: Time, h: Time, y: State, y1: State, ks: Sequence[State], at: Time
) -> State:
    """The dense output at time `at` of the step of size `h` that starts at `t`."""
    # Counted from the start of the step, so that the dtype of the state is fine enough for it.
    wide = lambda x: x.astype(wider(x.dtype, jnp.float32))
    k = jax.tree.map(lambda *k: jnp.stack([wide(spread(h, ki) * ki) for ki in k]), *ks)

    def one(h: Array, y0: State, y1: State, k: State, since: Array) -> State:
        dtype = jax.tree.leaves(k)[0].dtype
        ends = {"t0": jnp.zeros((), dtype), "t1": h.astype(dtype)}
        dense = tableau.dense(**ends, y0=jax.tree.map(wide, y0), y1=jax.tree.map(wide, y1), k=k)
        value = dense.evaluate(since.astype(dtype))
        return jax.tree.map(lambda x, y: x.astype(y.dtype), value, y0)

    each = one if t.ndim == 0 else jax.vmap(one, in_axes=(0, 0, 0, 1, 0))
    return each(h, y, y1, k, at - t)
