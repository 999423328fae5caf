"""`iterate`: training that is more than a gradient step of one loss, with a way back."""

import dataclasses
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from pullback._key import checked_key_or_keys
from pullback._leading_axis import leading_axis
from pullback._solve_failures import failures_are_nan
from pullback._traced import TracedCall
from pullback.train._advice import refuse_traced
from pullback.train._checkpoint import save_checkpoint as save
from pullback.train._identity import identity_of
from pullback.train._info import TrainingError
from pullback.train._interrupt import deferred_interrupt
from pullback.train._iterate_loop import RESERVED, Setup, fall_back, run_chunk, traced_step
from pullback.train._iterate_run import Plan, Run, begin, check, chunk_of, listed
from pullback.train._log import append_line
from pullback.train._progress import progress_bar
from pullback.train._run import split_key

S = TypeVar("S")


class Stream(NamedTuple):
    """Examples that come in batches.

    Attributes:
        data: a PyTree of arrays that share their leading axis.
        batch_size: examples a step.
    """

    data: PyTree
    batch_size: int


class IterateInfo(NamedTuple):
    """What a call of `iterate` did. For a stack every array has a last axis, the runs.

    Attributes:
        steps: after which the history was written, `[points]`.
        history: each metric, the mean over the steps since the last point, `[points]`; NaN where
            none was taken.
        restarts: how often the state fell back to its snapshot.
        good: False for a run that diverged more often than `restarts` allowed; its state is the
            last snapshot.
        seconds: wall-clock time of this call, compilation included.
        checkpoint: the file with the last state, or None without a folder.
    """

    steps: Int[np.ndarray, " points"]
    history: dict[str, Float[np.ndarray, "points *runs"]]
    restarts: Int[np.ndarray, "*runs"]
    good: Bool[np.ndarray, "*runs"]
    seconds: float
    checkpoint: Path | None


def iterate(
    step: Callable[..., tuple[Any, dict[str, Any]]],
    state: S,
    streams: Stream | Mapping[str, Stream],
    *,
    steps: int,
    log_every: int = 100,
    restarts: int = 0,
    snapshot_every: int | None = None,
    folder: str | os.PathLike[str] | None = None,
    resume: bool = False,
    progress: bool | None = None,
    key: Key[Array, "*runs"],
) -> tuple[S, IterateInfo]:
    r"""Take steps that change a state: two players, a sampler's buffer, whatever `fit` is not for.

    $$ s_{t+1} = \text{step}(s_t, b_t, \xi_t) $$

    A step that diverged is not taken: one whose metrics are not finite, whose metric `diverged` is
    true (an energy explodes long before it overflows), or whose metric `result`, the code of a
    solver, is not zero. The run then falls back to its last snapshot and goes on, with new noise
    and new batches; the steps since the snapshot are lost and are not made up for. Batches are
    those of `fit`, and depend on `key` and the step alone.

    `log_every` steps run as one compiled program. With a batch of keys, `[n]`, every array of
    `state` has a leading axis n, and n runs go side by side under `jax.vmap`.

    Args:
        step: `step(state, batch, *, key) -> (state, dict of scalar metrics)`, of one run: a stack
            maps it. The new state has the structure, shapes and dtypes of the old; what in it is no
            array stays as it was. `key` is another one at every step. Metrics go to the history and
            the log by their names; `step`, `restarts` and `steps_per_second` are taken, `diverged`
            and `result` mean what is said above. It is traced once a call, and reads what it closes
            over as it is then. Where it is an `eqx.Module`, its arrays stay as they are and are
            shared by the runs of a stack. `apply_gradient` takes an optimiser's step in it.
        state: any PyTree of arrays: models, optimisers' states, buffers. It is copied.
        streams: where the batches come from: one `Stream`, whose rows `step` is given, or several
            by name, of which it is given a dictionary.
        steps: how many in all, those before a resume included.
        log_every: steps between two points of the history, and two looks of the host.
        restarts: how often a run may fall back; beyond that it has failed.
        snapshot_every: steps between snapshots, a multiple of `log_every`; default `log_every`.
        folder: where `metrics.jsonl` and `checkpoint.npz` are written. None: nowhere.
        resume: go on from the checkpoint in `folder`, if there is one, with the same step, streams
            and numbers. Without it the run starts afresh, with a warning where that replaces the
            checkpoint of another one.
        progress: show a bar on stderr. None: where stderr is a terminal.
        key: a typed PRNG key, or `[n]` of them.

    Returns:
        The state after the last step, and an `IterateInfo`.

    Raises:
        ValueError: an argument does not fit; the message says which and how.
        CheckpointError: `resume` found a broken checkpoint, or one of another run.
        TrainingError: a single run diverged more than `restarts` times, or all of a stack did. The
            last snapshot is in the error and, with `folder`, in the checkpoint.
        KeyboardInterrupt: on Ctrl-C, at the next log line and after a checkpoint.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> def step(mean, batch, *, key):
        ...     return mean + 0.1 * jnp.mean(batch - mean), {"mean": mean}
        >>> mean, info = iterate(step, jnp.asarray(0.0), Stream(jnp.asarray([1.0, 2.0, 3.0]), 3),
        ...                      steps=50, key=jax.random.key(0))
        >>> print(f"{mean:.2f}", info.restarts)
        1.99 0
    """
    key = checked_key_or_keys(key)
    refuse_traced("iterate", state, streams, key)
    single = isinstance(streams, Stream)
    named = {"": streams} if single else dict(streams)
    plan = Plan(
        steps=steps,
        log_every=log_every,
        restarts=restarts,
        snapshot_every=log_every if snapshot_every is None else snapshot_every,
        folder=None if folder is None else Path(folder),
        resume=resume,
        key=key,
        sizes={name: leading_axis(s.data, name="streams") for name, s in named.items()},
        batch_sizes={name: s.batch_size for name, s in named.items()},
    )
    check(plan, state)
    data = jax.tree.map(jnp.asarray, {name: s.data for name, s in named.items()})
    each = [split_key(k) for k in jnp.ravel(key)]
    keys = jnp.stack([k.loss for k in each]).reshape(key.shape)
    setup = Setup(step, data, keys, plan.stacked, single)
    orders = [
        {name: (*k.seed, number) for number, name in enumerate(named)} for k in each
    ]  # of the examples, one for each run and stream
    arrays, rest = eqx.partition(state, eqx.is_array)
    with failures_are_nan():
        chunk = chunk_of(plan, orders, 0)
        traced = traced_step(setup, rest, chunk, arrays, chunk.start)
    refuse_traced("iterate", traced)
    run = begin(plan, state, {} if folder is None else identity_of(step, traced))
    tick = time.perf_counter()
    with (
        failures_are_nan(),
        progress_bar(progress, steps=steps, done=run.step) as show,
        deferred_interrupt() as interrupted,
    ):
        while run.step < steps:
            run, entry = _advance(plan, traced, orders, run)
            shown = next((v for name, v in entry.items() if name not in RESERVED), np.nan)
            show(run.step, entry["steps_per_second"], float(np.mean(shown)))
            stop = interrupted()
            if plan.checkpoint is not None and plan.log is not None:
                append_line(plan.log, {name: listed(value) for name, value in entry.items()})
                save(plan.checkpoint, run.tree(), run.header(plan))
            if not np.any(run.good):
                raise _failure(plan, run, tick)
            if stop:
                raise KeyboardInterrupt
    return eqx.combine(run.state, run.rest), _info(plan, run, tick)


def _advance(
    plan: Plan, traced: TracedCall, orders: list[dict], run: Run
) -> tuple[Run, dict[str, Any]]:
    """To the next point of the history, falling back as often as is needed."""
    tick, start = time.perf_counter(), run.step
    chunk = chunk_of(plan, orders, start)
    end = int(chunk.end)
    state, restarts, good = run.state, run.restarts.copy(), run.good.copy()
    step, reports = start, []
    while step < end:
        fixed = (traced, chunk, jnp.asarray(good))
        state, step, report = run_chunk(fixed, (state, jnp.asarray(step)))
        step, report = int(step), jax.device_get(report)
        reports.append(report)
        fallen = report.bad & good
        restarts = np.asarray(restarts + fallen)
        good = np.asarray(good & ~(fallen & (restarts > plan.restarts)))
        if np.any(fallen):
            state = fall_back(state, run.snapshot, jnp.asarray(fallen))
        if not np.any(good):
            break
    taken = sum(report.taken for report in reports)
    entry = {
        name: np.where(taken > 0, sum(r.sums[name] for r in reports) / np.maximum(taken, 1), np.nan)
        for name in reports[0].sums
    }
    rate = (step - start) / (time.perf_counter() - tick)
    entry = {"step": step, **entry, "restarts": restarts, "steps_per_second": rate}
    lost = jnp.asarray(~good)
    # A run that has failed went on computing beside the others; nothing of that is kept.
    state = fall_back(state, run.snapshot, lost) if np.any(lost) else state
    snapshot = run.snapshot
    if step % plan.snapshot_every == 0 or step == plan.steps:
        snapshot = jax.tree.map(jnp.copy, state)
    run = dataclasses.replace(
        run,
        step=step,
        state=state,
        snapshot=snapshot,
        restarts=restarts,
        good=good,
        history=(*run.history, entry),
    )
    return run, entry


def _info(plan: Plan, run: Run, tick: float) -> IterateInfo:
    names = [name for name in run.history[0] if name not in RESERVED] if run.history else []
    return IterateInfo(
        steps=np.asarray([entry["step"] for entry in run.history]),
        history={n: np.stack([np.asarray(e[n], float) for e in run.history]) for n in names},
        restarts=run.restarts,
        good=run.good,
        seconds=time.perf_counter() - tick,
        checkpoint=plan.checkpoint,
    )


def _failure(plan: Plan, run: Run, tick: float) -> TrainingError:
    values = {
        name: float(np.mean(v)) for name, v in run.history[-1].items() if name not in RESERVED
    }
    where = "" if plan.checkpoint is None else f" and in {plan.checkpoint}"
    return TrainingError(
        f"Training stopped near step {run.step}: it diverged {int(np.max(run.restarts))} times, "
        f"and `restarts` allows {plan.restarts}. Try a smaller learning rate, more restarts, or a "
        f"penalty. The last snapshot is in the `model` of this error{where}.",
        step=run.step,
        loss=values.get("loss", float("nan")),
        metrics=values,
        model=eqx.combine(run.state, run.rest),
        info=_info(plan, run, tick),
    )
