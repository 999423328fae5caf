"""What a solve returns, and how it says that it failed."""

import dataclasses
import enum
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, Inexact, Int, PyTree

from pullback._solve_failures import on_failure


class Result(enum.IntEnum):
    """How a solve ended. `Result(code).sentence` says what went wrong and what to try.

    Example:
        >>> import pullback as pb
        >>> pb.ode.Result(1).sentence
        'the limit of `max_steps` steps was reached; raise `max_steps`, ...'
    """

    SUCCESSFUL = 0
    MAX_STEPS_REACHED = 1
    STEP_UNDERFLOW = 2
    NON_FINITE = 3
    TIMES_NOT_MONOTONE = 4
    SOLVER_FAILED = 5
    INFINITE_KL = 6

    @property
    def sentence(self) -> str:
        """The cause, and what to try."""
        return _SENTENCES[self]

    @staticmethod
    def from_diffrax(result: diffrax.RESULTS) -> Int[Array, ""]:
        """The code of how a solve of Diffrax's ended, as an array."""
        code = jnp.asarray(int(Result.SOLVER_FAILED))
        for theirs, ours in (
            (diffrax.RESULTS.successful, Result.SUCCESSFUL),
            (diffrax.RESULTS.max_steps_reached, Result.MAX_STEPS_REACHED),
            (diffrax.RESULTS.dt_min_reached, Result.STEP_UNDERFLOW),
        ):
            code = jnp.where(result == theirs, int(ours), code)
        return code.astype(jnp.int32)


_SENTENCES = {
    Result.SUCCESSFUL: "the solve reached the last time",
    Result.MAX_STEPS_REACHED: (
        "the limit of `max_steps` steps was reached; raise `max_steps`, loosen `rtol` and `atol`, "
        "or, if the problem is stiff, use an implicit solver such as `diffrax.Kvaerno5()`"
    ),
    Result.STEP_UNDERFLOW: (
        "the step size fell below the resolution of the time; the problem may be stiff or singular "
        "there: loosen `rtol` and `atol`, use float64, a smoother `f` (tanh or softplus instead of "
        "relu), weight decay, or an implicit solver such as `diffrax.Kvaerno5()`"
    ),
    Result.NON_FINITE: (
        "`f` (of an SDE: the drift, the diffusion or the prior; or the root of an event) gave a "
        "value that is not finite, or `y0` has one; look for overflow, log or sqrt of a negative "
        "number, or parameters that have diverged, at the state where the solve stopped"
    ),
    Result.TIMES_NOT_MONOTONE: (
        "`ts` must be finite and all increasing or all decreasing, and times that differ must "
        "still do so when they are counted from the first in the dtype of the solve"
    ),
    Result.SOLVER_FAILED: (
        "the inner solver of the method failed (Diffrax reported it); loosen the tolerances or "
        "shorten the steps"
    ),
    Result.INFINITE_KL: (
        "the path-space KL is infinite, for the diffusion does not span the difference of `drift` "
        "and `prior`: where there is no noise the two must be equal; write the drift as "
        "`prior + sigma u`, or give noise to every direction in which they differ"
    ),
}

RUNNING = -1


class Stats(eqx.Module):
    """What a solve cost: scalars, or one entry a sample when steps are per sample.

    `nfe` counts evaluations of `f` (for a backward pass: evaluations of `f` or of its
    vector-Jacobian product, whichever are more); it is -1 where a Diffrax solver does not tell.
    """

    nfe: Int[Array, "..."]
    accepted: Int[Array, "..."]
    rejected: Int[Array, "..."]


class Stop(eqx.Module):
    r"""Where a solve with events stopped: at an event, or at the last time where none happened.

    Of an event at time $t^*$ and state $y^*$ both are differentiable, to second order, by the
    implicit function theorem for the flow:

    $$ dt^* = -\frac{g_y \, dy + g_\theta \, d\theta}{g_t + g_y f}, \qquad
       dy^* = dy + f \, dt^*, $$

    with $dy$ the derivative of the state at a time that is held. Where `g` has no slope along the
    path, $t^*$ has no derivative, and what is returned for it is huge.

    Attributes:
        t: the time, shaped like `Solution.t_reached`; NaN where the solve failed.
        y: the state there, like `y0`; NaN where the solve failed.
        happened: whether an event happened.
        which: the number of the event in the tuple that was given; -1 where none happened. Of two
            in one step it is the one that is earlier.
    """

    t: Float[Array, "..."]
    y: PyTree[Inexact[Array, "..."]]
    happened: Bool[Array, "..."]
    which: Int[Array, "..."]


class Solution(eqx.Module):
    """The solution of an ODE at the times asked for.

    Attributes:
        ts: the times as they were given, `[T]` (or `[batch, T]` where every sample has its own). A
            NumPy array where JAX's dtype would change the gaps between them, as float32 does with
            seconds since 1970.
        ys: the values, with a time axis added to every leaf: `[T, ...]` for joint steps,
            `[batch, T, ...]` for per-sample steps. What a failed solve did not reach, and what
            lies after an event, is NaN.
        stats: evaluations and steps.
        result: a `Result` code; one for each sample when steps are per sample.
        t_reached: the time at which the solve ended.
        event: where a solve with events stopped; None without.
    """

    ts: Float[Array | np.ndarray, "..."]
    ys: PyTree[Inexact[Array, "..."]]
    stats: Stats
    result: Int[Array, "..."]
    t_reached: Float[Array, "..."]
    event: Stop | None = None

    @property
    def ok(self) -> Bool[Array, "..."]:
        """Whether the solve reached the last time, or an event."""
        return self.result == int(Result.SUCCESSFUL)

    @property
    def end(self) -> PyTree[Inexact[Array, "..."]]:
        """The state where the solve stopped: at the event, or at the last time.

        Shaped like `y0`, whichever axis of `ys` is that of time.
        """
        if self.event is not None:
            return self.event.y
        return jax.tree.map(lambda y: jnp.take(y, -1, axis=self.result.ndim), self.ys)

    def explain(self) -> str:
        """A line for each way in which the solve failed: which samples, where, what to try."""
        return _explain(np.asarray(self.result), np.asarray(self.t_reached))


class SolveError(RuntimeError):
    """A solve failed. The message has the reason, the time it reached, and what to try."""


def _explain(result: np.ndarray, t_reached: np.ndarray) -> str:
    while result.ndim and result.shape[-1] == 1:  # a row of one in a mapped function
        result, t_reached = result[..., 0], t_reached[..., 0]
    if result.ndim == 0:
        code = Result(int(result))
        return f"t = {float(t_reached):.6g}: {code.sentence}"
    lines = []
    for code in sorted(set(result.ravel().tolist())):
        samples = np.argwhere(result == code)
        if code == Result.SUCCESSFUL:
            continue
        named = [str(row[0]) if len(row) == 1 else str(tuple(row.tolist())) for row in samples[:8]]
        shown = ", ".join(named) + (", ..." if len(samples) > 8 else "")
        times = t_reached[result == code]
        lines.append(
            f"{len(samples)} of {result.size} samples (index {shown}), stopped between "
            f"t = {times.min():.6g} and {times.max():.6g}: {Result(code).sentence}"
        )
    return "\n".join(lines) or Result.SUCCESSFUL.sentence


def raise_if_failed(solution: Solution) -> Solution:
    """Raise `SolveError` if any solve failed: at once where values are known, else at run time.

    `solve(..., throw=True)` ends with it. It returns the solution, which must be used: what is not
    used is not checked. In a training loop of `pullback.train` the values are NaN instead, and the
    loop stops with its state kept.
    """
    if not isinstance(solution.result, Tracer):
        if not bool(np.all(np.asarray(solution.result) == Result.SUCCESSFUL)):
            raise SolveError(solution.explain())
        return solution
    if on_failure() == "nan":
        # Where the last time was not reached it is NaN already; a part of a path may have none.
        zero = jnp.where(solution.result == int(Result.SUCCESSFUL), 0, jnp.nan)
        zero = jnp.sum(zero.astype(solution.t_reached.dtype))
    else:
        zero = _zero_or_raise(solution.result, solution.t_reached)
    # Added to the values, so that no compiler can drop the check.
    add = lambda tree: jax.tree.map(lambda x: x + zero.astype(x.dtype), tree)
    event = solution.event
    if event is not None:
        event = dataclasses.replace(event, t=add(event.t), y=add(event.y))
    return dataclasses.replace(solution, ys=add(solution.ys), event=event)


class _Fail:
    """The callback of a check; equal to another that tells the same, so that a program is known."""

    def __init__(self, whom: Any, own: int) -> None:
        self.whom, self.own = whom, own

    def __hash__(self) -> int:
        return hash((id(self.whom), self.own))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Fail) and self.whom is other.whom and self.own == other.own

    def __call__(self, result: Array, t_reached: Array) -> np.ndarray:
        codes, times = np.asarray(result), np.asarray(t_reached)
        # Under vmap both branches of a cond run, for all that is mapped at once.
        if not np.all(codes == Result.SUCCESSFUL):
            if self.whom is None:
                raise SolveError(_explain(codes, times))
            self.whom.codes.append(int(codes.max()))
            self.whom.lines.append(_explain(codes, times))
        mapped = codes.shape[: codes.ndim - self.own]
        return np.zeros(mapped, times.dtype)


# A callback has no derivative, so the check is told that its own is zero.
@jax.custom_jvp
def _zero_or_raise(result: Array, t_reached: Array) -> Array:
    fail = _Fail(on_failure(), result.ndim)
    shape = jax.ShapeDtypeStruct((), t_reached.dtype)
    return jax.lax.cond(
        jnp.all(result == int(Result.SUCCESSFUL)),
        lambda: jnp.zeros((), t_reached.dtype),
        lambda: jax.pure_callback(fail, shape, result, t_reached, vmap_method="broadcast_all"),
    )


@_zero_or_raise.defjvp
def _zero_or_raise_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    del tangents
    zero = _zero_or_raise(*primals)
    return zero, jnp.zeros_like(zero)
