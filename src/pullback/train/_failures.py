"""What went wrong in a step that could not be taken, in words."""

import math
from collections.abc import Callable
from typing import Any, NoReturn

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from pullback._solve_failures import Told, failures_are_told
from pullback.train._advice import Batch, what_to_try
from pullback.train._engine import REASONS, drawn, step_again
from pullback.train._info import TrainingError, TrainingInfo
from pullback.train._plan import Plan
from pullback.train._run import AbstractJob, Failure, Run


def what_failed(
    plan: Plan, job: AbstractJob, run: Run, failure: Failure
) -> tuple[str, dict[str, float]]:
    """What to say of the step that was the last straw, and what was measured in it."""
    which = int(np.argmax(np.ravel(failure.report.reason) != 0))
    of_run = lambda value: float(np.ravel(value)[which])
    code = int(of_run(failure.report.reason))
    values, reason = jax.tree.map(of_run, failure.report.metrics), REASONS[code]
    step = failure.step - 1
    own, places = job.program.own, {}
    for name, at in failure.chunk.places.items():
        places[name] = at[step - int(failure.chunk.start)]
    if plan.stack is not None:
        own, places = jax.tree.map(lambda leaf: leaf[which], (own, places))
    at = jnp.asarray(step, jnp.int32)
    finite = math.isfinite(values.get("loss", 0.0))
    if plan.stack is None and job.keeps_state and not finite and "result" not in values:
        told = failed_solves(
            lambda: step_again(job.setup, failure.chunk.data, places, own, run.arrays, at)
        )
        if told.lines:
            reason = f"a solver failed inside of the loss ({told.lines[0]})"
            values |= {"result": float(told.codes[0])} if told.codes else {}
    examples = lambda name: jax.tree.map(lambda x: x[places[name]], failure.chunk.data[name])
    batches = [Batch(n, examples(n), job.feed.rows(n, step)[which]) for n in places]
    for name, rows in drawn(job.setup, own, at).items():
        if name in dict(job.setup.batches):
            rows = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), rows)
        batches.append(Batch(name, rows, None))
    advice = what_to_try(batches, step=step, reason=code)
    often = ""
    if plan.rollbacks or not job.keeps_state:
        count = int(np.max(run.rollbacks))
        often = f" It diverged {count} times, and `rollbacks` allows {plan.rollbacks}."
    return f"Training stopped at step {step + 1}: {reason}. {advice}{often}", values


def failed_solves(run_again: Callable[[], Any]) -> Told:
    """What the solves say of themselves when all is run once more, the first cause first."""
    with failures_are_told() as told:
        try:
            jax.block_until_ready(run_again())
        except RuntimeError as error:  # of what can tell by raising alone
            told.lines.append(str(error).strip().splitlines()[-1])
    return told


def raise_failure(
    text: str, *, step: int, values: dict[str, float], model: PyTree, info: TrainingInfo,
    unwritten: OSError | None,
) -> NoReturn:  # fmt: skip
    """Raise the TrainingError of a step, whose state may not have come to the disk."""
    shown = ", ".join(f"{name} = {value:g}" for name, value in values.items())
    file = "" if info.checkpoint is None else f" and in {info.checkpoint}"
    if unwritten is not None:
        file = f", and could not be written to the folder ({unwritten.strerror})"
    raise TrainingError(
        f"{text} in the `model` of this error{file}. What was measured: {shown}.",
        step=step,
        loss=values.get("loss", math.nan),
        metrics={name: value for name, value in values.items() if name != "loss"},
        model=model,
        info=info,
    )
