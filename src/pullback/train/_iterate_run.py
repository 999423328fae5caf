"""Where a run of `iterate` stands on the host: its numbers, and how it is kept on disk."""

import dataclasses
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Int, PyTree

from pullback._leading_axis import leading_axis
from pullback.train._batches import batches
from pullback.train._checkpoint import CheckpointError, check_same, load_checkpoint, read_header
from pullback.train._identity import check_computes_the_same
from pullback.train._iterate_loop import Chunk
from pullback.train._log import restart_log
from pullback.train._run import put_away
from pullback.train._structure import fixed


@dataclasses.dataclass(frozen=True)
class Plan:
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
class Run:
    """Where a run has come to."""

    step: int
    state: PyTree
    snapshot: PyTree
    rest: PyTree
    restarts: np.ndarray
    good: np.ndarray
    history: tuple[dict[str, Any], ...]
    computes: dict[str, Any]

    def tree(self) -> PyTree:
        return {"state": self.state, "snapshot": self.snapshot}

    def header(self, plan: Plan) -> dict[str, Any]:
        return {
            "step": self.step,
            "restarts": self.restarts.tolist(),
            "good": self.good.tolist(),
            "identity": plan.identity(),
            "fixed": fixed(self.rest),
            "computes": self.computes,
        }


def check(plan: Plan, state: PyTree) -> None:
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


def begin(plan: Plan, state: PyTree, computes: dict[str, Any]) -> Run:
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
        check_computes_the_same(plan.checkpoint, "step", stored=header["computes"], wanted=computes)
        tree, _ = load_checkpoint(plan.checkpoint, tree)
        step = header["step"]
        restarts, good = np.asarray(header["restarts"]), np.asarray(header["good"])
    elif plan.checkpoint is not None:
        put_away(plan.checkpoint)
    # Donated buffers must be nobody else's.
    tree = jax.tree.map(lambda leaf: jnp.array(leaf, copy=True), tree)
    history = ()
    if plan.log is not None:
        lines = restart_log(plan.log, step=step)
        history = tuple(jax.tree.map(_array, line, is_leaf=_is_list) for line in lines)
    return Run(step, tree["state"], tree["snapshot"], rest, restarts, good, history, computes)


def chunk_of(plan: Plan, orders: list[dict], start: int) -> Chunk:
    """From a step to the next point of the history."""
    end = min(plan.steps, (start // plan.log_every + 1) * plan.log_every)
    examples = {name: _examples(plan, orders, name, start, end) for name in plan.sizes}
    return Chunk(jnp.asarray(start), jnp.asarray(end), jax.tree.map(jnp.asarray, examples))


def _examples(
    plan: Plan, orders: list[dict], name: str, start: int, end: int
) -> Int[np.ndarray, "steps *runs batch"]:
    size, batch = plan.sizes[name], plan.batch_sizes[name]
    rows = np.zeros((plan.log_every, len(orders), batch), np.int32)
    for number, order in enumerate(orders):
        rows[: end - start, number] = batches(
            start, end, size=size, batch_size=batch, seed=order[name]
        )
    return rows if plan.stacked else rows[:, 0]


def listed(value: Any) -> Any:
    """As JSON has it, which knows no NaN."""
    value = np.asarray(value)
    return np.asarray(np.where(np.isfinite(value), value.astype(object), None)).tolist()


def _is_list(value: Any) -> bool:
    return isinstance(value, list) or value is None


def _array(value: Any) -> Any:
    return np.asarray(value, float) if _is_list(value) else value
