"""How training is kept on disk, and how it is taken up again."""

import dataclasses
import time
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import PyTree

from pullback.train._checkpoint import CheckpointError, Stored, save_checkpoint
from pullback.train._folder import (
    check_face,
    check_none_by_hand,
    file_of,
    keep_two,
    newest,
    put_away,
    unusable,
)
from pullback.train._identity import versions
from pullback.train._log import restart_log
from pullback.train._plan import Plan
from pullback.train._run import AbstractJob, Best, Run

# What decides where a run goes back to, and matters to those that may.
_OF_ROLLBACKS = ("log_every", "snapshot_every")

_OF_DIGESTS = " The same numbers of another dtype, shape or name are other data."


def begin(plan: Plan, job: AbstractJob, start: PyTree, *, snapshots: bool) -> Run:
    """The start of training, or the place where its checkpoint left off.

    Args:
        plan: the numbers.
        job: what is trained.
        start: the state's arrays.
        snapshots: whether a snapshot is kept.

    Raises:
        CheckpointError: what is in the folder is damaged or of another run, or the folder cannot be
            written to.
    """
    header = None
    kept = None if plan.patience is None else job.kept(start)
    snapshot = start if snapshots else None
    stored = None
    if plan.folder is not None:
        stored = newest(plan.folder, stacklevel=3) if plan.resume else None
        check_none_by_hand(job.face, plan.folder, but=None if stored is None else stored.path)
        if stored is None:
            # Else a run killed before its first checkpoint would resume from an older run's.
            put_away(plan.folder, stacklevel=3)
    if stored is not None:
        header = _checked_header(plan, job, stored)
        start = job.arrays(job.load(stored, start))
        kept = stored.part(kept, "best")
        # Where a run had none, it may go on with them.
        held = bool(stored.names("snapshot"))
        snapshot = stored.part(snapshot, "snapshot") if snapshots and held else None
        snapshot = start if snapshots and not held else snapshot
    # Donated buffers must be nobody else's: neither the caller's nor two leaves' at once.
    # `device_put` and not `jnp.copy`, which is a program for each shape.
    copied = lambda x: jax.device_put(jnp.asarray(x, x.dtype), may_alias=False)
    own = lambda tree: plan.place(jax.tree.map(copied, tree))
    best = Best.none(own(kept), plan.runs)
    rollbacks, good, step = np.zeros(plan.runs, int), np.ones(plan.runs, bool), 0
    del stored
    if header is not None:
        best = dataclasses.replace(
            best,
            loss=np.asarray(_with_inf(header["best"]["loss"]), float),
            step=np.asarray(header["best"]["step"]),
            stale=np.asarray(header["best"]["stale"]),
        )
        step = header["step"]
        if not header["failed"]:
            rollbacks, good = np.asarray(header["rollbacks"]), np.asarray(header["good"])
    return Run(
        step=step,
        arrays=own(start),
        snapshot=own(snapshot),
        best=best,
        rollbacks=rollbacks,
        good=good,
        history=_history(plan, step, stacklevel=3),
        started=time.perf_counter(),
    )


def save(plan: Plan, job: AbstractJob, run: Run, *, failed: bool = False) -> None:
    """Write the checkpoint, where there is a folder for it, and keep the one before."""
    if plan.folder is None:
        return
    plan.check_folder()
    loss = jax.tree.map(lambda x: x if np.isfinite(x) else None, run.best.loss.tolist())
    best = {"loss": loss, "step": run.best.step.tolist(), "stale": run.best.stale.tolist()}
    save_checkpoint(
        file_of(plan.folder, run.step),
        {**job.parts(run.arrays), "best": run.best.kept, "snapshot": run.snapshot},
        {
            "step": run.step,
            "best": best,
            "rollbacks": run.rollbacks.tolist(),
            "good": run.good.tolist(),
            "failed": failed,
            "face": job.face,
            "versions": versions(),
            "identity": _identity(plan, job),
            **job.header(),
        },
    )
    keep_two(plan.folder, run.step)


def save_failed(plan: Plan, job: AbstractJob, run: Run) -> OSError | None:
    """Write the checkpoint of a training that has failed, or say why that cannot be written."""
    try:
        save(plan, job, run, failed=True)
    except OSError as error:
        return error
    return None


def _with_inf(loss: Any) -> Any:
    if isinstance(loss, list):
        return [_with_inf(each) for each in loss]
    return np.inf if loss is None else loss


def _identity(plan: Plan, job: AbstractJob) -> dict[str, Any]:
    """What has to be the same to go on from a checkpoint as if training had never stopped."""
    # First, for where the numbers are of another kind all the rest is as well.
    found = {"jax_enable_x64": jax.dtypes.canonicalize_dtype(float) == np.float64}
    found |= {**job.identity, "key": jr.key_data(plan.key).tolist(), "patience": plan.patience}
    if plan.rollbacks:
        found |= {name: getattr(plan, name) for name in _OF_ROLLBACKS}
    return found


def _checked_header(plan: Plan, job: AbstractJob, stored: Stored) -> dict[str, Any]:
    """The header of a checkpoint whose numbers are those of this training."""
    file, header = stored.path, stored.header
    check_face(job.face, file, header, also=job.header())
    wanted = _identity(plan, job)
    for name in dict.fromkeys([*header["identity"], *wanted]):
        if name in _OF_ROLLBACKS and not (name in wanted and name in header["identity"]):
            continue
        before, now = (each.get(name) for each in (header["identity"], wanted))
        if before != now and name not in mendable(header):
            raise CheckpointError(
                f"{file}: written by another run: it has {name} = {before}, and this one has "
                f"{now}. Resume with the same, or start again in another folder."
                + _OF_DIGESTS
                * (name in ("data", "validation"))
            )
    _tell(plan, job, stored, stacklevel=4)
    return header


def _tell(plan: Plan, job: AbstractJob, stored: Stored, *, stacklevel: int) -> None:
    """What is another than it was and no reason to refuse."""
    header, now = stored.header, versions()
    others = {name: text for name, text in header["versions"].items() if now.get(name) != text}
    if others:
        named = lambda texts: ", ".join(f"{name} {texts.get(name)}" for name in others)
        warnings.warn(
            f"{stored.path}: written with {named(others)}, and this is {named(now)}. Training goes "
            f"on, not to the same bits; whether {job.compared} the same is not known.",
            stacklevel=stacklevel + 1,
        )
    step = header["step"]
    if step > plan.steps:
        warnings.warn(
            f"{stored.path}: {step} steps were taken, and `steps` = {plan.steps} asks for fewer: "
            f"no step is taken now, and what is returned is as it was after {step} steps. To have "
            "it after fewer, train in another folder.",
            stacklevel=stacklevel + 1,
        )


def mendable(header: dict[str, Any]) -> tuple[str, ...]:
    """What may be another after a step that could not be taken: it may have been to blame."""
    return ("clip_norm", "loss", "optimiser", "step") if header["failed"] else ()


def _history(plan: Plan, step: int, *, stacklevel: int) -> tuple[dict[str, Any], ...]:
    """The points of the log up to a step; the file is made anew."""
    if plan.log is None:
        return ()
    try:
        history, damaged = restart_log(plan.log, step=step, runs=plan.runs)
    except OSError as error:
        raise unusable(plan.folder, error) from error
    if damaged:
        lines = "1 line is" if damaged == 1 else f"{damaged} lines are"
        warnings.warn(
            f"{plan.log}: {lines} damaged and left out of the history.", stacklevel=stacklevel + 1
        )
    return tuple(history)
