"""Where a run stands on the host: its numbers, its best model, and how both are kept on disk."""

import dataclasses
import time
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from jaxtyping import PRNGKeyArray, PyTree

from pullback.train._checkpoint import (
    CheckpointError,
    check_same,
    load_part,
    read_header,
    save_checkpoint,
)
from pullback.train._identity import (
    another_optimiser,
    check_computes_the_same,
    loss_identity,
    optimiser_identity,
)
from pullback.train._info import Ending, FitInfo
from pullback.train._log import restart_log
from pullback.train._loop import Setup, State, is_array_of
from pullback.train._structure import digests, fixed


class Keys(NamedTuple):
    """The caller's key, and what it is split into."""

    whole: PRNGKeyArray
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
    return Keys(key, *jr.split(key, 3))


@dataclasses.dataclass(frozen=True)
class Plan:
    """The numbers of a run."""

    steps: int
    batch_size: int
    log_every: int
    evaluate_every: int
    checkpoint_every: int
    patience: int | None
    clip_norm: float | None
    folder: Path | None
    resume: bool
    size: int
    keys: Keys

    @property
    def checkpoint(self) -> Path | None:
        return None if self.folder is None else self.folder / "checkpoint.npz"

    @property
    def log(self) -> Path | None:
        return None if self.folder is None else self.folder / "metrics.jsonl"


@dataclasses.dataclass(frozen=True)
class Best:
    """The lowest validation loss so far, its model, and the evaluations since."""

    params: PyTree
    loss: float | None = None
    step: int | None = None
    stale: int = 0


@dataclasses.dataclass(frozen=True)
class Run:
    """Where a run has come to."""

    state: State
    best: Best
    history: tuple[dict[str, Any], ...]
    started: float
    described: dict[str, Any]


def check_plan(plan: Plan, *, mesh: jax.sharding.Mesh | None, has_validation: bool) -> None:
    """Raise a ValueError for what does not fit together."""
    for name in ("steps", "batch_size", "log_every", "evaluate_every", "checkpoint_every"):
        if getattr(plan, name) < 1:
            raise ValueError(f"`{name}` must be at least 1, got {getattr(plan, name)}.")
    for name in ("evaluate_every", "checkpoint_every"):
        if getattr(plan, name) % plan.log_every != 0:
            raise ValueError(
                f"`{name}` must be a multiple of `log_every` ({plan.log_every}), since the host "
                f"looks in only then; got {getattr(plan, name)}."
            )
    if plan.batch_size > plan.size:
        raise ValueError(
            f"`batch_size` is {plan.batch_size}, but `data` holds {plan.size} examples. Take "
            f"{plan.size} or less."
        )
    if plan.patience is not None and (plan.patience < 1 or not has_validation):
        raise ValueError(
            f"`patience` must be at least 1 and needs `validation` data; got {plan.patience} "
            f"{'with' if has_validation else 'without'} validation data."
        )
    if plan.clip_norm is not None and not plan.clip_norm > 0:
        raise ValueError(f"`clip_norm` must be above 0, got {plan.clip_norm}.")
    if plan.resume and plan.folder is None:
        raise ValueError("`resume` needs the `folder` that holds the checkpoint.")
    if mesh is None:
        return
    if any(kind != AxisType.Auto for kind in mesh.axis_types):
        raise ValueError(
            f"`mesh` must have Auto axes, got {mesh.axis_types}. Make it with "
            "jax.make_mesh(shape, names, axis_types=(jax.sharding.AxisType.Auto,) * len(shape))."
        )
    if plan.batch_size % mesh.size != 0:
        raise ValueError(
            f"`batch_size` ({plan.batch_size}) must be a multiple of the number of devices in "
            f"`mesh` ({mesh.size})."
        )


def place(tree: PyTree, mesh: jax.sharding.Mesh | None) -> PyTree:
    """Arrays to the device, or to every device of the mesh; other leaves stay as they are."""

    def move(leaf: Any) -> Any:
        if not isinstance(leaf, jax.Array | np.ndarray):
            return leaf
        if mesh is None:
            return jnp.asarray(leaf)
        return jax.device_put(leaf, NamedSharding(mesh, PartitionSpec()))

    return jax.tree.map(move, tree)


def _identity(plan: Plan) -> dict[str, Any]:
    """What has to be the same for a run to go on from a checkpoint as if it had never stopped."""
    return {
        "batch_size": plan.batch_size,
        "examples": plan.size,
        "key": jr.key_data(plan.keys.whole).tolist(),
        "patience": plan.patience,
        "clip_norm": plan.clip_norm,
    }


def begin(
    plan: Plan, setup: Setup, params: PyTree, batch: PyTree, mesh: jax.sharding.Mesh | None
) -> Run:
    """The start of a run, or the place where its checkpoint left off."""
    with jax.numpy_dtype_promotion("standard"):
        start = {"optimiser": setup.optimiser.init(params)}
    start |= {"params": params, "best": None if plan.patience is None else params}
    header, described = {"step": 0, "best": {}}, {}
    file = plan.checkpoint
    if file is not None:
        described = {"fixed": fixed(setup.rest), "trained": _which(params, setup.rest)}
        resumes = plan.resume and file.exists()
        if resumes:
            header = _checked_header(plan, file, described)
            model = load_part(file, "model", eqx.combine(params, setup.rest))
            start["params"] = eqx.filter(model, is_array_of(params))
            start["best"] = load_part(file, "best", start["best"])
        model = eqx.combine(params, setup.rest)
        computes = {
            "loss": loss_identity(setup.loss, model, batch, plan.keys.loss),
            "optimiser": optimiser_identity(setup.optimiser, params, start["optimiser"]),
        }
        described |= computes
        if resumes:
            for what in set(computes) - set(_mendable(header)):
                check_computes_the_same(file, what, stored=header[what], wanted=computes[what])
            try:
                start["optimiser"] = load_part(file, "optimiser", start["optimiser"])
            except CheckpointError as error:
                raise another_optimiser(error) from None
        else:
            # Else a run killed before its first checkpoint would resume from an older run's.
            put_away(file)
    # Donated buffers must be nobody else's: neither the caller's nor two leaves' at once.
    start = place(jax.tree.map(lambda x: jnp.array(x, x.dtype, copy=True), start), mesh)
    counter = place(jnp.asarray(header["step"], jnp.int32), mesh)
    return Run(
        state=State(start["params"], start["optimiser"], counter),
        best=Best(start["best"], **header["best"]),
        history=() if plan.log is None else tuple(restart_log(plan.log, step=header["step"])),
        started=time.perf_counter(),
        described=described,
    )


def _which(params: PyTree, rest: PyTree) -> dict[str, str]:
    """Of each floating array, whether it is trained."""
    frozen = digests(eqx.filter(rest, eqx.is_inexact_array))
    return dict.fromkeys(digests(params), "trained") | dict.fromkeys(frozen, "frozen")


def _checked_header(plan: Plan, file: Path, described: dict[str, Any]) -> dict[str, Any]:
    """The header of a checkpoint whose numbers and model are those of this run."""
    header = fit_header(file)
    for name, value in _identity(plan).items():
        before = header["identity"][name]
        if before != value and name not in _mendable(header):
            raise CheckpointError(
                f"{file}: written by a run with {name} = {before}, and this one has {value}. "
                "Resume with the same, or start again in another folder."
            )
    check_same(
        file,
        stored=header["trained"],
        wanted=described["trained"],
        remedy="Give the same `trainable`, or train the model on afresh: see `load_model`.",
    )
    check_same(file, stored=header["fixed"], wanted=described["fixed"])
    return header


def _mendable(header: dict[str, Any]) -> tuple[str, ...]:
    """What may be another after a step that could not be taken: it may have been to blame."""
    return ("clip_norm", "loss", "optimiser") if header["failed"] else ()


def fit_header(file: Path) -> dict[str, Any]:
    """What `fit` wrote in the header of a checkpoint."""
    header = read_header(file)
    if "identity" not in header or "trained" not in header:
        raise CheckpointError(f"{file}: not written by `fit`; use another folder.")
    return header


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


def update_best(plan: Plan, run: Run, loss: float) -> Best:
    """The best model so far, given the validation loss of the present one."""
    if plan.patience is None:
        return run.best
    if run.best.loss is None or loss < run.best.loss:
        return Best(jax.tree.map(jnp.copy, run.state.params), loss, int(run.state.step))
    return dataclasses.replace(run.best, stale=run.best.stale + 1)


def ending_of(plan: Plan, run: Run) -> Ending | None:
    """Why the run is over, or None while it is not."""
    if plan.patience is not None and run.best.stale >= plan.patience:
        return Ending.EARLY
    return Ending.DONE if int(run.state.step) >= plan.steps else None


def save(plan: Plan, setup: Setup, run: Run, *, failed: bool = False) -> None:
    """Write the checkpoint, where there is a folder for it."""
    if plan.checkpoint is None:
        return
    best = {"loss": run.best.loss, "step": run.best.step, "stale": run.best.stale}
    save_checkpoint(
        plan.checkpoint,
        {
            "model": eqx.combine(run.state.params, setup.rest),
            "optimiser": run.state.optimiser,
            "best": run.best.params,
        },
        {
            "step": int(run.state.step),
            "best": best,
            "failed": failed,
            "identity": _identity(plan),
            **run.described,
        },
    )


def info_of(plan: Plan, run: Run, ending: Ending) -> FitInfo:
    """What the run tells its caller."""
    return FitInfo(
        ending=ending,
        step=int(run.state.step),
        history=run.history,
        seconds=time.perf_counter() - run.started,
        best_step=run.best.step,
        best_loss=run.best.loss,
        checkpoint=plan.checkpoint,
    )


def save_as_failed(plan: Plan, setup: Setup, run: Run) -> FitInfo:
    """Save the last good state, and tell what had been done."""
    save(plan, setup, run, failed=True)
    return info_of(plan, run, Ending.FAILED)
