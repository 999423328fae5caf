"""The numbers of a training, and whether they fit together."""

import dataclasses
import operator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from jaxtyping import Array, Key, PRNGKeyArray, PyTree

from pullback._leading_axis import leading_axis
from pullback._lock import FolderLock
from pullback._on_device import on_device
from pullback.train._sources import Stream, check_stream, native


class Keys(NamedTuple):
    """What the caller's key is split into, for one run."""

    order: PRNGKeyArray
    loss: PRNGKeyArray
    evaluation: PRNGKeyArray

    @property
    def seed(self) -> tuple[int, ...]:
        """The seed of the examples' order, which NumPy draws."""
        return tuple(jr.key_data(self.order).ravel().tolist())


def split_key(key: PRNGKeyArray) -> Keys:
    """Keys for the order of the examples, for the loss, and for the evaluations."""
    # One split for all three: fold_in(key, 1) can equal split(key)[1].
    return Keys(*jr.split(key, 3))


_COUNTS = ("steps", "log_every", "evaluate_every", "checkpoint_every", "snapshot_every")


def whole(value: Any, *, name: str) -> Any:
    """An integer of any kind as Python's, which a checkpoint can name; None as it is."""
    if value is None:
        return None
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(f"`{name}` must be an integer, got {value!r}.") from None


@dataclasses.dataclass(frozen=True)
class Plan:
    """The numbers of a training. `stack`: how several runs go, None for one; see `Program`."""

    steps: int
    log_every: int
    evaluate_every: int
    checkpoint_every: int
    snapshot_every: int
    rollbacks: int
    patience: int | None
    folder: Path | None
    resume: bool
    progress: bool | None
    mesh: jax.sharding.Mesh | None
    key: Key[Array, "*runs"]
    stack: str | None
    lock: FolderLock | None = None  # while the folder is held

    def __post_init__(self) -> None:
        for name in (*_COUNTS, "rollbacks", "patience"):
            object.__setattr__(self, name, whole(getattr(self, name), name=name))

    def check_folder(self) -> None:
        """See that nobody else has the folder, before something is written to it."""
        if self.lock is not None:
            self.lock.check()

    @property
    def runs(self) -> tuple[int, ...]:
        return self.key.shape

    @property
    def keys(self) -> list[Keys]:
        """Those of each run."""
        return [split_key(key) for key in jnp.ravel(self.key)]

    @property
    def log(self) -> Path | None:
        return None if self.folder is None else self.folder / "metrics.jsonl"

    def each(self, keys: list[PRNGKeyArray]) -> Array:
        """One key, or as many as there are runs."""
        return jnp.stack(keys).reshape(self.runs)

    def place(self, tree: PyTree) -> PyTree:
        """Arrays to the device, or to every device of the mesh; other leaves stay as they are."""

        def move(leaf: Any) -> Any:
            if not isinstance(leaf, jax.Array | np.ndarray | np.generic):
                return leaf
            leaf = native(leaf) if isinstance(leaf, np.ndarray) else leaf
            if self.mesh is None:
                return on_device(leaf)
            # Copied as `on_device` says; a copy of the host, for the mesh may be of many hosts.
            leaf = leaf if isinstance(leaf, jax.Array) else np.array(leaf)
            return jax.device_put(leaf, NamedSharding(self.mesh, PartitionSpec()))

        return jax.tree.map(move, tree)


def check_plan(
    plan: Plan, streams: dict[str, Stream], *, sequential: bool, has_validation: bool
) -> None:
    """Raise a ValueError for what does not fit together."""
    _check_numbers(plan)
    for name, stream in streams.items():
        check_stream(stream, name=name)
    if plan.patience is not None and (plan.patience < 1 or not has_validation):
        raise ValueError(
            f"`patience` must be at least 1 and needs `validation`; got {plan.patience} "
            f"{'with' if has_validation else 'without'} it."
        )
    if plan.resume and plan.folder is None:
        raise ValueError("`resume` needs the `folder` that holds the checkpoint.")
    if sequential and plan.stack is None:
        raise ValueError("`sequential` is for several runs: give `key` as many keys, [n].")
    if plan.mesh is None:
        return
    if any(kind != AxisType.Auto for kind in plan.mesh.axis_types):
        raise ValueError(
            f"`mesh` must have Auto axes, got {plan.mesh.axis_types}. Make it with "
            "jax.make_mesh(shape, names, axis_types=(jax.sharding.AxisType.Auto,) * len(shape))."
        )
    for stream in streams.values():
        if stream.batch_size is not None and stream.batch_size % plan.mesh.size != 0:
            raise ValueError(
                f"`batch_size` ({stream.batch_size}) must be a multiple of the number of devices "
                f"in `mesh` ({plan.mesh.size})."
            )


def _check_numbers(plan: Plan) -> None:
    for name in _COUNTS:
        value = getattr(plan, name)
        if value < 1:
            raise ValueError(f"`{name}` must be at least 1, got {value}.")
        if name.endswith("_every") and value % plan.log_every != 0:
            raise ValueError(
                f"`{name}` must be a multiple of `log_every` ({plan.log_every}), since the host "
                f"looks in only then; got {value}."
            )
    if plan.rollbacks < 0:
        raise ValueError(f"`rollbacks` must be 0 or more, got {plan.rollbacks}.")


def check_stack(plan: Plan, tree: PyTree, *, name: str) -> None:
    """Raise a ValueError where a stack has not one row for each key."""
    if plan.stack is not None:
        rows = leading_axis(tree, name=name)
        if rows != plan.runs[0]:
            raise ValueError(
                f"`{name}` must have one row for each of the {plan.runs[0]} keys, got {rows}."
            )
