"""How training is kept on disk, and how it is taken up again."""

import dataclasses
import time
import warnings
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import PyTree

from pullback.train._checkpoint import (
    CheckpointError,
    load_part,
    names_of,
    read_header,
    save_checkpoint,
)
from pullback.train._log import restart_log
from pullback.train._plan import Plan
from pullback.train._run import AbstractJob, Best, Run

# What decides where a run goes back to, and matters to those that may.
_OF_ROLLBACKS = ("log_every", "snapshot_every")


def begin(plan: Plan, job: AbstractJob, start: PyTree, *, snapshots: bool) -> Run:
    """The start of training, or the place where its checkpoint left off.

    Args:
        plan: the numbers.
        job: what is trained.
        start: the state's arrays.
        snapshots: whether a snapshot is kept.
    """
    file, header = plan.checkpoint, None
    kept = None if plan.patience is None else job.kept(start)
    snapshot = start if snapshots else None
    if file is not None and plan.resume and file.exists():
        header = _checked_header(plan, job, file)
        start = job.arrays(job.load(file, header, start))
        kept = load_part(file, ("best",), kept)
        # Where a run had none, it may go on with them.
        held = bool(names_of(file, ("snapshot",)))
        snapshot = load_part(file, ("snapshot",), snapshot) if snapshots and held else None
        snapshot = start if snapshots and not held else snapshot
    elif file is not None:
        # Else a run killed before its first checkpoint would resume from an older run's.
        put_away(file)
    # Donated buffers must be nobody else's: neither the caller's nor two leaves' at once.
    # `device_put` and not `jnp.copy`, which is a program for each shape.
    copied = lambda x: jax.device_put(jnp.asarray(x, x.dtype), may_alias=False)
    own = lambda tree: plan.place(jax.tree.map(copied, tree))
    best = Best.none(own(kept), plan.runs)
    rollbacks, good, step = np.zeros(plan.runs, int), np.ones(plan.runs, bool), 0
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
        history=() if plan.log is None else tuple(restart_log(plan.log, step=step)),
        started=time.perf_counter(),
    )


def save(plan: Plan, job: AbstractJob, run: Run, *, failed: bool = False) -> None:
    """Write the checkpoint, where there is a folder for it."""
    if plan.checkpoint is None:
        return
    loss = jax.tree.map(lambda x: x if np.isfinite(x) else None, run.best.loss.tolist())
    best = {"loss": loss, "step": run.best.step.tolist(), "stale": run.best.stale.tolist()}
    save_checkpoint(
        plan.checkpoint,
        {**job.parts(run.arrays), "best": run.best.kept, "snapshot": run.snapshot},
        {
            "step": run.step,
            "best": best,
            "rollbacks": run.rollbacks.tolist(),
            "good": run.good.tolist(),
            "failed": failed,
            "identity": _identity(plan, job),
            **job.header(),
        },
    )


def _with_inf(loss: Any) -> Any:
    if isinstance(loss, list):
        return [_with_inf(each) for each in loss]
    return np.inf if loss is None else loss


def _identity(plan: Plan, job: AbstractJob) -> dict[str, Any]:
    """What has to be the same to go on from a checkpoint as if training had never stopped."""
    found = {**job.identity, "key": jr.key_data(plan.key).tolist(), "patience": plan.patience}
    if plan.rollbacks:
        found |= {name: getattr(plan, name) for name in _OF_ROLLBACKS}
    return found


def _checked_header(plan: Plan, job: AbstractJob, file: Path) -> dict[str, Any]:
    """The header of a checkpoint whose numbers are those of this training."""
    header = read_header(file)
    if job.mark not in header or "identity" not in header or "rollbacks" not in header:
        raise CheckpointError(f"{file}: not written by `{job.face}`; use another folder.")
    wanted = _identity(plan, job)
    for name in dict.fromkeys([*header["identity"], *wanted]):
        if name in _OF_ROLLBACKS and not (name in wanted and name in header["identity"]):
            continue
        before, now = (each.get(name) for each in (header["identity"], wanted))
        if before != now and name not in mendable(header):
            raise CheckpointError(
                f"{file}: written by another run: it has {name} = {before}, and this one has "
                f"{now}. Resume with the same, or start again in another folder."
            )
    return header


def mendable(header: dict[str, Any]) -> tuple[str, ...]:
    """What may be another after a step that could not be taken: it may have been to blame."""
    return ("clip_norm", "loss", "optimiser", "step") if header["failed"] else ()


def put_away(file: Path) -> None:
    """Remove an older run's checkpoint, and say so."""
    try:
        step = read_header(file).get("step")
    except CheckpointError:
        step = None
    file.unlink(missing_ok=True)
    if step:
        warnings.warn(
            f"{file.parent} held the checkpoint of a run of {step} steps, which is replaced: "
            "training starts afresh, at step 0 and with a new state of the optimiser. To go on "
            "from a checkpoint, give `resume=True`.",
            stacklevel=4,
        )
