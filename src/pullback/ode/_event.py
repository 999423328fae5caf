"""Events: to stop a solve where a function of the time and the state crosses zero."""

from collections.abc import Callable
from typing import Any, Literal

import equinox as eqx
import jax
from jaxtyping import Array, Float, PyTree

from pullback._solve_arguments import check_callable, check_count
from pullback._traced import TracedCall, trace_call

from ._complex import joined, joined_shapes
from ._field import described
from ._problem import Problem

Direction = Literal["up", "down", "any"]


class Event(eqx.Module):
    r"""Where a solve is to stop: at a crossing of zero by $g(t, y, \text{args})$.

    The signs of `g` at the two ends of a step tell whether it crossed. So two crossings within one
    step are not seen, and a touch that does not cross may be none; tighter tolerances, or more
    `steps`, make steps shorter. Up and down are as the solve runs, also where times decrease.

    A `g` that is zero at the start, to rounding, is taken to have left zero already: a ball thrown
    up from the floor has not landed. The crossings are counted from there.

    Attributes:
        root: `g(t, y, args)`, one floating number; with per-sample steps of one sample. It should
            be smooth where it crosses: a distance, not a condition.
        direction: which crossings count: "up" (from below zero), "down" or "any".
        count: stop at the crossing with this number; 1 is the first.

    Raises:
        TypeError: `root` is no function of three arguments, or `count` no integer.
        ValueError: `direction` or `count` has a wrong value.

    Example:
        How long a ball falls from a height of 2, and how that time grows with the height:

        >>> import jax, jax.numpy as jnp, pullback as pb
        >>> fall = lambda t, y, gravity: jnp.stack([y[1], -gravity])
        >>> floor = pb.ode.Event(lambda t, y, gravity: y[0], direction="down")
        >>> def falls(height, gravity=jnp.array(9.81)):
        ...     y0 = jnp.stack([height, jnp.zeros(())])
        ...     return pb.ode.solve(fall, y0, [0.0, 10.0], gravity, event=floor).event.t
        >>> height = jnp.array(2.0)
        >>> bool(jnp.allclose(falls(height), jnp.sqrt(2 * height / 9.81)))
        True
        >>> bool(jnp.allclose(jax.grad(falls)(height), jnp.sqrt(1 / (2 * 9.81 * height))))
        True

    Source: Chen, Amos and Nickel, Learning Neural Event Functions for Ordinary Differential
    Equations (2021), section 3, for the derivative.
    """

    root: Callable[[Float[Array, ""], PyTree, PyTree], Float[Array, ""]]
    direction: Direction = eqx.field(default="any", static=True)
    count: int = eqx.field(default=1, static=True)

    def __check_init__(self) -> None:
        check_callable("root", self.root)
        if self.direction not in ("up", "down", "any"):
            raise ValueError(f'direction must be "up", "down" or "any", got {self.direction!r}')
        check_count("count", self.count)


class Watched(eqx.Module):
    """An event whose root is traced."""

    root: TracedCall
    direction: Direction = eqx.field(static=True)
    count: int = eqx.field(static=True)

    def __call__(self, t: Array, y: PyTree) -> Array:
        """The root's value, in the dtype of the time."""
        return self.root(t, joined(y)).astype(t.dtype)


def watched(event: Any, args: PyTree, problem: Problem) -> tuple[Watched, ...]:
    """The events of a solve, checked and traced."""
    if problem.method is None:
        raise ValueError(
            "event runs in pullback's own loop: give an explicit solver such as Dopri5(), and "
            "Replay(), Backsolve() or one of your own as adjoint; with another one use "
            "diffrax.diffeqsolve(event=...)"
        )
    events = event if isinstance(event, tuple) else (event,)
    if not events:
        raise ValueError("event is an empty tuple: give an Event, or None")
    lane = lambda x: jax.ShapeDtypeStruct(x.shape[1:] if problem.per_sample else x.shape, x.dtype)
    t, y = jax.tree.map(lane, (problem.clock.time(problem.ts[..., 0]), problem.y0))
    y = joined_shapes(y)
    found = []
    for each in events:
        if not isinstance(each, Event):
            raise TypeError(
                f"event must be pullback.ode.Event(...) or a tuple of them, got "
                f"{type(each).__name__}"
            )
        call = lambda given, t, y: given[0](t, y, given[1])
        root = trace_call("root", call, (each.root, args), t, y, same_as=each.root)
        got = described(root.program.out)
        if got not in ("float16[]", "bfloat16[]", "float32[]", "float64[]"):
            raise ValueError(f"root of an Event must return one floating number, got {got}")
        found.append(Watched(root, each.direction, each.count))
    return tuple(found)
