"""The loop on the host: from one point of the history to the next, whatever is trained."""

import abc
import dataclasses
import time
from collections.abc import Callable
from typing import Any, NoReturn

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Int, PyTree

from pullback._solve_failures import failures_are_nan
from pullback.train._checkpoint import Stored
from pullback.train._engine import Program, Report, Setup, choose, run_chunk
from pullback.train._folder import checkpoints
from pullback.train._info import Ending, TrainingError, TrainingInfo, history_of
from pullback.train._interrupt import deferred_interrupt
from pullback.train._log import append_line
from pullback.train._plan import Plan
from pullback.train._progress import progress_bar
from pullback.train._sources import Chunk, Feed


class AbstractJob(abc.ABC):
    """What is trained, as the loop on the host sees it. Its state is a PyTree of arrays."""

    # Whether a step that fails leaves the state as it was before.
    keeps_state: bool
    # The function that it is the job of, and what of it a resume compares by what it computes.
    face: str
    compared: str
    identity: dict[str, Any]
    setup: Setup
    program: Program
    feed: Feed
    # The validation of each run, by name; None where there is none.
    measure: Callable[[PyTree], dict[str, np.ndarray]] | None

    @abc.abstractmethod
    def parts(self, arrays: PyTree) -> dict[str, PyTree]:
        """What a checkpoint holds of a state."""

    @abc.abstractmethod
    def arrays(self, parts: dict[str, PyTree]) -> PyTree:
        """The state that a checkpoint held."""

    @abc.abstractmethod
    def kept(self, arrays: PyTree) -> PyTree:
        """What is kept of the state of the lowest validation loss."""

    @abc.abstractmethod
    def header(self) -> dict[str, Any]:
        """What has to be the same on a resume beside the numbers."""

    @abc.abstractmethod
    def load(self, stored: Stored, start: PyTree) -> dict[str, PyTree]:
        """The parts in a checkpoint, if it was written by the same job, or a CheckpointError."""

    @abc.abstractmethod
    def model(self, arrays: PyTree) -> PyTree:
        """What the caller is given of a state."""

    @abc.abstractmethod
    def fail(self, plan: Plan, run: "Run", failure: "Failure | None") -> NoReturn:
        """Raise the TrainingError of a step, or without one of the validation."""
        ...

    @abc.abstractmethod
    def info(self, plan: Plan, run: "Run", ending: Ending) -> TrainingInfo:
        """What the caller is told."""


@dataclasses.dataclass(frozen=True)
class Failure:
    """The last step that could not be taken."""

    chunk: Chunk
    step: int
    report: Report


@dataclasses.dataclass(frozen=True)
class Best:
    """The lowest validation loss of each run, what is kept of it, and the evaluations since."""

    kept: PyTree
    loss: np.ndarray
    step: Int[np.ndarray, "*runs"]
    stale: Int[np.ndarray, "*runs"]

    @classmethod
    def none(cls, kept: PyTree, runs: tuple[int, ...]) -> "Best":
        """Before the first evaluation."""
        return cls(kept, np.full(runs, np.inf), np.zeros(runs, int), np.zeros(runs, int))


@dataclasses.dataclass(frozen=True)
class Run:
    """Where training has come to."""

    step: int
    arrays: PyTree
    snapshot: PyTree
    best: Best
    rollbacks: Int[np.ndarray, "*runs"]
    good: Bool[np.ndarray, "*runs"]
    history: tuple[dict[str, Any], ...]
    started: float


def train(
    plan: Plan, job: AbstractJob, run: Run, save: Callable[[Run], None]
) -> tuple[Run, Ending]:
    """From where a run stands to its end."""
    with (
        failures_are_nan(),
        progress_bar(plan.progress, steps=plan.steps, done=run.step) as show,
        deferred_interrupt() as interrupted,
    ):
        ending = ending_of(plan, run)
        while ending is None:
            run, entry, failure = _advance(plan, job, run)
            if not np.any(run.good):
                job.fail(plan, run, failure)
            if job.measure is not None and _evaluates(plan, run):
                run, values = _validated(plan, job, run)
                entry |= {f"validation_{name}": value for name, value in values.items()}
            run = dataclasses.replace(run, history=(*run.history, entry))
            show(run.step, entry["steps_per_second"], _shown(entry))
            ending, stop = ending_of(plan, run), interrupted()
            try:
                plan.check_folder()
                if plan.log is not None:
                    append_line(plan.log, entry)
                if ending is not None or stop or run.step % plan.checkpoint_every == 0:
                    save(run)
            except OSError as error:
                _stop_unwritten(plan, job, run, error)
            if stop:
                raise KeyboardInterrupt
    return run, ending


def ending_of(plan: Plan, run: Run) -> Ending | None:
    """Why training is over, or None while it is not."""
    if plan.patience is not None and np.all(~run.good | (run.best.stale >= plan.patience)):
        return Ending.EARLY
    return Ending.DONE if run.step >= plan.steps else None


def _stop_unwritten(plan: Plan, job: AbstractJob, run: Run, error: OSError) -> NoReturn:
    """Raise the TrainingError of a full disk, a folder that is gone and the like."""
    info = job.info(plan, run, Ending.UNWRITTEN)
    last = "there is no checkpoint" if info.checkpoint is None else f"{info.checkpoint} is whole"
    where = error.filename or plan.log
    raise TrainingError(
        f"Training stopped after step {run.step}: {where} could not be written "
        f"({error.strerror}); {last}. The state after step {run.step} is kept in the `model` of "
        "this error. Make room, or mend the folder, and go on with `resume=True`.",
        step=run.step,
        loss=float(np.ravel(run.history[-1].get("loss", np.nan))[0]),
        metrics={},
        model=job.model(run.arrays),
        info=info,
    ) from error


def _advance(plan: Plan, job: AbstractJob, run: Run) -> tuple[Run, dict[str, Any], Failure | None]:
    """To the next point of the history, going back as often as is needed."""
    tick, failure = time.perf_counter(), None
    arrays, snapshot = run.arrays, run.snapshot
    rollbacks, good = run.rollbacks, run.good
    reports, reached = [], run.step
    for chunk in job.feed.chunks(run.step):
        end = int(chunk.end)
        step: Any = np.int32(chunk.start)
        while np.any(step < end) and np.any(good):
            if plan.stack == "sequential":
                step = np.where(good, step, end).astype(np.int32)
            fixed = (job.program, chunk, jnp.asarray(good))
            arrays, step, report = run_chunk(fixed, arrays, plan.place(step))
            step, report = np.asarray(step), jax.device_get(report)
            reports.append(report)
            bad = (report.reason != 0) & good
            if np.any(bad):
                failure = Failure(chunk, int(np.max(np.where(bad, step, 0))), report)
                rollbacks = np.asarray(rollbacks + bad)
                lost = bad & (rollbacks > plan.rollbacks)
                good = np.asarray(good & ~lost)
                back = bad & ~lost
                if np.any(back):
                    arrays = choose(jnp.asarray(back), snapshot, arrays)
                if snapshot is not None and job.keeps_state and np.any(lost):
                    snapshot = choose(jnp.asarray(lost), arrays, snapshot)
        reached = end
        if not np.any(good):
            reached = failure.step - 1 if failure and job.keeps_state else int(np.max(step))
            break
    taken = np.sum([report.taken for report in reports], axis=0)
    entry = {
        name: np.where(
            taken > 0,
            sum(r.sums[name].astype(float) for r in reports) / np.maximum(taken, 1),
            np.nan,
        )
        for name in reports[0].sums
    }
    rate = (reached - run.step) / (time.perf_counter() - tick)
    told = {"rollbacks": rollbacks} if plan.rollbacks else {}
    entry = {"step": reached, **entry, **told, "steps_per_second": rate}
    if not np.all(good) and snapshot is not None:
        # A run that has failed went on computing beside the others; nothing of that is kept.
        arrays = choose(jnp.asarray(good), arrays, snapshot)
    if snapshot is not None and (reached % plan.snapshot_every == 0 or reached == plan.steps):
        snapshot = jax.tree.map(jnp.copy, arrays)
    run = dataclasses.replace(
        run, step=reached, arrays=arrays, snapshot=snapshot, rollbacks=rollbacks, good=good
    )
    return run, entry, failure


def _evaluates(plan: Plan, run: Run) -> bool:
    return run.step % plan.evaluate_every == 0 or run.step == plan.steps


def _validated(plan: Plan, job: AbstractJob, run: Run) -> tuple[Run, dict[str, np.ndarray]]:
    assert job.measure is not None
    values = job.measure(run.arrays)
    bad = (np.asarray(values.get("result", 0)) != 0) | ~np.isfinite(values.get("loss", 0.0))
    run = dataclasses.replace(run, good=np.asarray(run.good & ~bad))
    if not np.any(run.good):
        job.fail(plan, run, None)
    if plan.patience is None:
        return run, values
    loss, best = values["loss"], run.best
    watched = run.good & (best.stale < plan.patience)
    better = watched & (loss < best.loss)
    return dataclasses.replace(
        run,
        best=Best(
            choose(jnp.asarray(better), job.kept(run.arrays), best.kept),
            np.where(better, loss, best.loss),
            np.where(better, run.step, best.step),
            np.where(better, 0, best.stale + watched),
        ),
    ), values


def _shown(entry: dict[str, Any]) -> float:
    measured = (v for n, v in entry.items() if n not in ("step", "rollbacks", "steps_per_second"))
    return float(np.mean(next(measured, np.nan)))


def info_of(
    plan: Plan, run: Run, ending: Ending, *, optimiser_state: PyTree = None, state: PyTree = None
) -> TrainingInfo:
    """What training tells its caller."""
    plain = lambda x: x if plan.stack is not None else x.item()
    found = plan.patience is not None and bool(np.any(np.isfinite(run.best.loss)))
    return TrainingInfo(
        ending=ending,
        step=run.step,
        history=history_of(run.history),
        rollbacks=run.rollbacks,
        good=run.good,
        seconds=time.perf_counter() - run.started,
        best_step=plain(run.best.step) if found else None,
        best_loss=plain(run.best.loss) if found else None,
        optimiser_state=optimiser_state,
        state=state,
        checkpoint=None if plan.folder is None else next(iter(checkpoints(plan.folder)), None),
    )
