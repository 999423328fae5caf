"""What the stepping loop is given and what it returns: the words in which an adjoint is written."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PyTree

from pullback._lanes import State

from ._control import Norm, PIDController
from ._runge_kutta import Tableau


class Method(eqx.Module):
    """All that is fixed about a solve except the field, the state and the times.

    `solve` makes it of its arguments and hands it to the adjoint; `eqx.tree_at` changes it (other
    tolerances for a backward solve, say).

    Attributes:
        tableau: the coefficients of the Runge-Kutta method.
        controller: of the step size, where it adapts.
        norm: from the scaled error of one lane's state to one number.
        rtol: relative tolerance: a number, or a tree of arrays like the state.
        atol: absolute tolerance, likewise.
        steps: equal steps between two successive times; None where the steps adapt.
        max_steps: the most steps that a lane tries; with `steps`, their number.
        per_sample: whether there is a lane for each entry of the leading axis.
        dt0: size of the first step where it adapts; None to find one.
        knots: where among the times steps end and the field may jump: places in increasing order,
            from the first time's to the last one's, which fills up. None where it is smooth.
    """

    tableau: Tableau = eqx.field(static=True)
    controller: PIDController = eqx.field(static=True)
    norm: Norm
    rtol: PyTree[Float[Array, "..."]]
    atol: PyTree[Float[Array, "..."]]
    steps: int | None = eqx.field(static=True)
    max_steps: int = eqx.field(static=True)
    per_sample: bool = eqx.field(static=True)
    dt0: Float[Array, ""] | None = None
    knots: Int[Array, "*lanes edges"] | None = None

    def lane_norm(self, x: PyTree) -> Float[Array, "*lanes"]:
        """The error norm of each lane."""
        return jax.vmap(self.norm)(x) if self.per_sample else self.norm(x)

    def lane_all(self, x: PyTree) -> Bool[Array, "*lanes"]:
        """Whether every entry of a lane is finite."""
        axes = lambda leaf: tuple(range(1, leaf.ndim)) if self.per_sample else None
        each = [jnp.all(jnp.isfinite(leaf), axis=axes(leaf)) for leaf in jax.tree.leaves(x)]
        return jnp.all(jnp.stack(each), axis=0)

    def lane_dot(self, x: State, y: State) -> Float[Array, "*lanes"]:
        """The inner product of two states, lane by lane."""
        axes = lambda leaf: tuple(range(1, leaf.ndim)) if self.per_sample else None
        products = jax.tree.map(lambda a, b: jnp.sum(a * b, axis=axes(a)), x, y)
        return jax.tree.reduce(jnp.add, products)

    def outputs(self, times: int) -> str:
        """Where the outputs come from: the end alone, the grid's nodes, or dense output."""
        if times == 2:
            return "end"
        return "dense" if self.steps is None else "nodes"


class Recorder(NamedTuple):
    """How much of the path `integrate` keeps.

    With `Recorder(method.max_steps, 1)` it is all of it.

    Attributes:
        segment: how many of the last states.
        checkpoints: how many earlier states, of every `segment`-th step or a multiple of that.
    """

    segment: int
    checkpoints: int


class Record(NamedTuple):
    """What was kept of the path. Only steps that some lane accepted have a number.

    Attributes:
        ring_t: the start of step n, at n modulo `segment`: `[segment, *lanes]`.
        ring_y: the state there, with the same leading axis.
        held_step: the numbers of the earlier steps that are held; -1 where there is none.
        held_t: their starts.
        held_y: the states there.
        stride: how many steps lie between two that are held.
        h: the size of every step, at its number, `[max_steps, *lanes]`; 0 for a lane that did not
            move. Step n of `Path.slots` starts at `t` and `y` and ends at `advance(tableau, field,
            t, h[n], y, params)`.
    """

    ring_t: Array
    ring_y: State
    held_step: Int[Array, " checkpoints"]
    held_t: Array
    held_y: State
    stride: Int[Array, ""]
    h: Array


class Path(NamedTuple):
    """What `integrate` returns.

    Attributes:
        t: the time that each lane reached, since the first.
        y: the state there.
        code: how each lane ended, a `Result`.
        accepted: steps accepted, for each lane.
        rejected: steps refused, for each lane.
        nfe: evaluations of the field, for each lane.
        ys: the values at the times asked for, with time as the leading axis, NaN where they were
            not reached; None where only the ends were asked for.
        record: what a recorder kept; None without one.
        slots: how many steps some lane accepted, a scalar.
    """

    t: Array
    y: State
    code: Array
    accepted: Array
    rejected: Array
    nfe: Array
    ys: State | None
    record: Record | None
    slots: Int[Array, ""]
