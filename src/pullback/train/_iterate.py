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
import jax.random as jr
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from pullback._key import checked_key_or_keys
from pullback._leading_axis import leading_axis
from pullback._solve_failures import failures_are_nan
from pullback._traced import TracedCall
from pullback.train._advice import refuse_traced
from pullback.train._batches import batches
from pullback.train._checkpoint import CheckpointError, check_same, load_checkpoint, read_header
from pullback.train._checkpoint import save_checkpoint as save
from pullback.train._info import TrainingError
from pullback.train._interrupt import deferred_interrupt
from pullback.train._iterate_loop import (
    RESERVED,
    Chunk,
    Setup,
    fall_back,
    run_chunk,
    traced_step,
)
from pullback.train._log import append_line, restart_log
from pullback.train._progress import progress_bar
from pullback.train._run import split_key
from pullback.train._structure import fixed

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

    A step that diverged is not taken: one whose metrics are not finite, or whose metric `diverged`
    is true (an energy explodes long before it overflows). The run then falls back to its last
    snapshot and goes on, with new noise and new batches; the steps since the snapshot are lost and
    are not made up for. Batches are those of `fit`, and depend on `key` and the step alone.

    `log_every` steps run as one compiled program. With a batch of keys, `[n]`, every array of
    `state` has a leading axis n, and n runs go side by side under `jax.vmap`.

    Args:
        step: `step(state, batch, *, key) -> (state, dict of scalar metrics)`. Where it is an
            `eqx.Module`, its arrays stay as they are and are shared by the runs of a stack.
        state: any PyTree of arrays: models, optimisers' states, buffers. It is copied.
        streams: where the batches come from: one `Stream`, whose rows `step` is given, or several
            by name, of which it is given a dictionary.
        steps: how many in all, those before a resume included.
        log_every: steps between two points of the history, and two looks of the host.
        restarts: how often a run may fall back; beyond that it has failed.
        snapshot_every: steps between snapshots, a multiple of `log_every`; default `log_every`.
        folder: where `metrics.jsonl` and `checkpoint.npz` are written. None: nowhere.
        resume: go on from the checkpoint in `folder`, if there is one.
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
    plan = _Plan(
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
    _check(plan, state)
    data = jax.tree.map(jnp.asarray, {name: s.data for name, s in named.items()})
    each = [split_key(k) for k in jnp.ravel(key)]
    keys = jnp.stack([k.loss for k in each]).reshape(key.shape)
    setup = Setup(step, data, keys, plan.stacked, single)
    orders = [
        {name: (*k.seed, number) for number, name in enumerate(named)} for k in each
    ]  # of the examples, one for each run and stream
    run = _begin(plan, state)
    tick = time.perf_counter()
    with (
        failures_are_nan(),
        progress_bar(progress, steps=steps, done=run.step) as show,
        deferred_interrupt() as interrupted,
    ):
        traced = None
        while run.step < steps:
            if traced is None:
                chunk = _chunk(plan, orders, run.step)
                traced = traced_step(setup, run.rest, chunk, run.state, chunk.start)
                refuse_traced("iterate", traced)
            run, entry = _advance(plan, traced, orders, run)
            shown = next((v for name, v in entry.items() if name not in RESERVED), np.nan)
            show(run.step, entry["steps_per_second"], float(np.mean(shown)))
            stop = interrupted()
            if plan.checkpoint is not None and plan.log is not None:
                append_line(plan.log, {name: _listed(value) for name, value in entry.items()})
                save(plan.checkpoint, run.tree(), run.header(plan))
            if not np.any(run.good):
                raise _failure(plan, run, tick)
            if stop:
                raise KeyboardInterrupt
    return eqx.combine(run.state, run.rest), _info(plan, run, tick)


@dataclasses.dataclass(frozen=True)
class _Plan:
    """The numbers of a run."""

    steps: int
    log_every: int
    restarts: int
    snapshot_every: int
    folder: Path | None
    resume: bool
    key: Array
    sizes: dict[str, int]
    batch_sizes: dict[str, int]

    @property
    def stacked(self) -> bool:
        return self.key.ndim > 0

    @property
    def checkpoint(self) -> Path | None:
        return None if self.folder is None else self.folder / "checkpoint.npz"

    @property
    def log(self) -> Path | None:
        return None if self.folder is None else self.folder / "metrics.jsonl"

    def identity(self) -> dict[str, Any]:
        """What has to be the same for a run to go on from a checkpoint."""
        return {
            "examples": self.sizes,
            "batch sizes": self.batch_sizes,
            "key": jr.key_data(self.key).tolist(),
            "log_every": self.log_every,
            "snapshot_every": self.snapshot_every,
        }


@dataclasses.dataclass(frozen=True)
class _Run:
    """Where a run has come to."""

    step: int
    state: PyTree
    snapshot: PyTree
    rest: PyTree
    restarts: np.ndarray
    good: np.ndarray
    history: tuple[dict[str, Any], ...]

    def tree(self) -> PyTree:
        return {"state": self.state, "snapshot": self.snapshot}

    def header(self, plan: _Plan) -> dict[str, Any]:
        return {
            "step": self.step,
            "restarts": self.restarts.tolist(),
            "good": self.good.tolist(),
            "identity": plan.identity(),
            "fixed": fixed(self.rest),
        }


def _check(plan: _Plan, state: PyTree) -> None:
    counts = {name: getattr(plan, name) for name in ("steps", "log_every", "snapshot_every")}
    for name, value in counts.items():
        if value < 1:
            raise ValueError(f"`{name}` must be at least 1, got {value}.")
    if plan.restarts < 0:
        raise ValueError(f"`restarts` must be 0 or more, got {plan.restarts}.")
    if plan.snapshot_every % plan.log_every:
        raise ValueError(
            f"`snapshot_every` must be a multiple of `log_every` ({plan.log_every}), got "
            f"{plan.snapshot_every}."
        )
    for name, size in plan.sizes.items():
        wanted = plan.batch_sizes[name]
        if not 1 <= wanted <= size:
            which = f" of the stream {name!r}" if name else ""
            raise ValueError(f"`batch_size`{which} must be from 1 to {size}, got {wanted}.")
    if plan.key.ndim > 1:
        raise ValueError(f"`key` must be one key or a row of them, got the shape {plan.key.shape}.")
    if plan.stacked:
        arrays = eqx.filter(state, eqx.is_array)
        if leading_axis(arrays, name="state") != plan.key.shape[0]:
            raise ValueError(
                f"`state` must have one row for each of the {plan.key.shape[0]} keys, got "
                f"{leading_axis(arrays, name='state')}."
            )
    if plan.resume and plan.folder is None:
        raise ValueError("`resume` needs the `folder` that holds the checkpoint.")


def _begin(plan: _Plan, state: PyTree) -> _Run:
    arrays, rest = eqx.partition(state, eqx.is_array)
    tree, step = {"state": arrays, "snapshot": arrays}, 0
    restarts, good = np.zeros(plan.key.shape, int), np.ones(plan.key.shape, bool)
    if plan.resume and plan.checkpoint is not None and plan.checkpoint.exists():
        header = read_header(plan.checkpoint)
        if header.get("identity") != plan.identity():
            raise CheckpointError(
                f"{plan.checkpoint}: written by another run: it has {header.get('identity')}, and "
                f"this one {plan.identity()}. Resume with the same, or use another folder."
            )
        check_same(plan.checkpoint, stored=header["fixed"], wanted=fixed(rest))
        tree, _ = load_checkpoint(plan.checkpoint, tree)
        step = header["step"]
        restarts, good = np.asarray(header["restarts"]), np.asarray(header["good"])
    elif plan.checkpoint is not None:
        plan.checkpoint.unlink(missing_ok=True)
    # Donated buffers must be nobody else's.
    tree = jax.tree.map(lambda leaf: jnp.array(leaf, copy=True), tree)
    history = ()
    if plan.log is not None:
        lines = restart_log(plan.log, step=step)
        history = tuple(jax.tree.map(_array, line, is_leaf=_is_list) for line in lines)
    return _Run(step, tree["state"], tree["snapshot"], rest, restarts, good, history)


def _advance(
    plan: _Plan, traced: TracedCall, orders: list[dict], run: _Run
) -> tuple[_Run, dict[str, Any]]:
    """To the next point of the history, falling back as often as is needed."""
    tick, start = time.perf_counter(), run.step
    chunk = _chunk(plan, orders, start)
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


def _chunk(plan: _Plan, orders: list[dict], start: int) -> Chunk:
    """From a step to the next point of the history."""
    end = min(plan.steps, (start // plan.log_every + 1) * plan.log_every)
    examples = {name: _examples(plan, orders, name, start, end) for name in plan.sizes}
    return Chunk(jnp.asarray(start), jnp.asarray(end), jax.tree.map(jnp.asarray, examples))


def _examples(
    plan: _Plan, orders: list[dict], name: str, start: int, end: int
) -> Int[np.ndarray, "steps *runs batch"]:
    size, batch = plan.sizes[name], plan.batch_sizes[name]
    rows = np.zeros((plan.log_every, len(orders), batch), np.int32)
    for number, order in enumerate(orders):
        rows[: end - start, number] = batches(
            start, end, size=size, batch_size=batch, seed=order[name]
        )
    return rows if plan.stacked else rows[:, 0]


def _info(plan: _Plan, run: _Run, tick: float) -> IterateInfo:
    names = [name for name in run.history[0] if name not in RESERVED] if run.history else []
    return IterateInfo(
        steps=np.asarray([entry["step"] for entry in run.history]),
        history={n: np.stack([np.asarray(e[n], float) for e in run.history]) for n in names},
        restarts=run.restarts,
        good=run.good,
        seconds=time.perf_counter() - tick,
        checkpoint=plan.checkpoint,
    )


def _failure(plan: _Plan, run: _Run, tick: float) -> TrainingError:
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


def _listed(value: Any) -> Any:
    """As JSON has it, which knows no NaN."""
    value = np.asarray(value)
    return np.asarray(np.where(np.isfinite(value), value.astype(object), None)).tolist()


def _is_list(value: Any) -> bool:
    return isinstance(value, list) or value is None


def _array(value: Any) -> Any:
    return np.asarray(value, float) if _is_list(value) else value
