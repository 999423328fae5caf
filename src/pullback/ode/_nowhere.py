"""Lanes whose times are all the first: no step is taken, and yet $dy(t_i)/dt_i$ is $f$.

The values are those of the start, so nothing is computed for them; what is here adds to their
derivatives by the times, for those who take them in forward mode (over reverse, say).
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, PyTree

from pullback._lanes import State, add, filled, spread

from ._runge_kutta import Field


def goes_nowhere(fixed: bool, ts: Array, slots: Array) -> Bool[Array, "*lanes"]:
    """Which lanes take no step, of a solve of `slots` steps."""
    still = ts[..., -1] == ts[..., 0]
    # Beside others they take fixed steps, of size zero, which have their derivatives.
    return still & (slots == 0) if fixed else still


@eqx.filter_custom_jvp
def rising(
    found: tuple[State, State | None],
    ts: Array,
    slots: Array,
    y0: State,
    params: PyTree,
    field: Field,
    fixed: bool,
) -> tuple[State, State | None]:
    """The end and the outputs of lanes, of which those that go nowhere rise with their times."""
    del ts, slots, y0, params, field, fixed
    return found


@rising.def_jvp
def _rising_jvp(primals: tuple, tangents: tuple) -> tuple:
    (y, ys), ts, slots, y0, params, field, fixed = primals
    (y_dot, ys_dot), ts_dot, *_ = tangents
    y_dot, ys_dot = filled(y_dot, y), filled(ys_dot, ys)
    if ts_dot is None:
        return (y, ys), (y_dot, ys_dot)
    gap = _gap(ts_dot, goes_nowhere(fixed, ts, slots))
    rate = field(ts[..., 0], y0, params)
    rise = lambda gap: jax.tree.map(lambda k: spread(gap, k) * k, rate)
    y_dot = add(y_dot, rise(gap[-1]))
    return (y, ys), (y_dot, None if ys is None else add(ys_dot, jax.vmap(rise)(gap)))


@eqx.filter_custom_jvp
def rising_gradient(
    found: tuple[State, PyTree],
    ts: Array,
    still: Array,
    cotangent: State,
    y0: State,
    params: PyTree,
    field: Field,
) -> tuple[State, PyTree]:
    """The gradient by the start and the parameters, where that by the times was not asked for.

    That of $y_0 + (t_i - t_0) f$ is that of $y_0$, but its derivative by $t_i$ is that of $f$.
    """
    del ts, still, cotangent, y0, params, field
    return found


@rising_gradient.def_jvp
def _rising_gradient_jvp(primals: tuple, tangents: tuple) -> tuple:
    found, ts, still, cotangent, y0, params, field = primals
    found_dot, ts_dot, *_ = tangents
    found_dot = filled(found_dot, found)
    if ts_dot is None:
        return found, found_dot
    gap = _gap(ts_dot, still)
    bar = jax.tree.map(lambda c: jnp.sum(jax.vmap(spread)(gap, c) * c, axis=0), cotangent)
    _, pull = jax.vjp(lambda y, p: field(ts[..., 0], y, p), y0, params)
    return found, add(found_dot, pull(bar))


def _gap(ts_dot: Array, still: Array) -> Array:
    """How fast each time leaves the first, with time as the leading axis."""
    return jnp.moveaxis(jnp.where(still[..., None], ts_dot - ts_dot[..., :1], 0.0), -1, 0)
