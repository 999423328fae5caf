"""What pullback itself keeps: checkpoints, stages, saved models and the folders of runs.

Each is made once, when it is asked for: some of them are trained.
"""

import functools
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from outcomes import Case

from pullback._archive import ArchiveError, read_archive, write_archive
from pullback.runs import Claim, Context, Experiment, read_record, run, write_page
from pullback.runs._stage import StageError, load_stage, save_stage
from pullback.tasks import ModelError, Recommender
from pullback.tasks import load as load_task
from pullback.train import CheckpointError, fit, load_checkpoint, load_model, save_checkpoint


def _files(make: Callable[[Path], Any]) -> dict[str, bytes]:
    """What is left in a folder, by the paths within it."""
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder))
        found = sorted(path for path in Path(folder).rglob("*") if path.is_file())
        return {str(path.relative_to(folder)): path.read_bytes() for path in found}


_TREE = {
    "w": jnp.arange(6, dtype=jnp.float32).reshape(2, 3),
    "half": jnp.ones(3, jnp.bfloat16),
    "key": jr.key(3),
    "counts": np.arange(4, dtype=np.int16),
    "empty": jnp.zeros((0, 2)),
    "net": eqx.nn.Linear(2, 1, key=jr.key(0)),
}


def _kept(
    name: str,
    files: dict[str, bytes],
    load: Callable[[Path], Any],
    *errors: type[Exception],
    read: str = "",
) -> Case:
    """A case whose digest covers the files whose names begin with `read`."""
    whole = tuple(each for each in files if not each.startswith(read))
    return Case(name, files, load, errors, guarded=True, whole=whole)


def archive() -> Case:
    arrays = {"w": np.arange(6.0).reshape(2, 3), "text": np.array(["é", ""]), "c": np.array([1j])}
    files = _files(lambda at: write_archive(at / "a.safetensors", {"step": 7}, arrays))
    load = lambda at: read_archive(at / "a.safetensors")
    return _kept("archive", files, load, ArchiveError)


def checkpoint() -> Case:
    files = _files(lambda at: save_checkpoint(at / "a.safetensors", _TREE, {"step": 7}))
    load = lambda at: load_checkpoint(at / "a.safetensors", _TREE)
    return _kept("checkpoint", files, load, CheckpointError)


def _loss(model, batch, *, key):
    x, y = batch
    return jnp.mean((jax.vmap(model)(x)[:, 0] - y) ** 2), {}


_ROWS = (np.arange(12.0, dtype=np.float32).reshape(6, 2), np.arange(6.0, dtype=np.float32))
_NET = eqx.nn.Linear(2, 1, dtype=jnp.float32, key=jr.key(0))


def _fit(folder: Path, **settings: Any) -> Any:
    return fit(
        _NET, _loss, _ROWS, optimiser=_ADAM, steps=6, batch_size=3, log_every=2,
        checkpoint_every=2, folder=folder, key=jr.key(1), **settings,
    )  # fmt: skip


_ADAM = optax.adam(0.1)


# What a folder of a training may say, where the last of its two checkpoints is damaged, or its log.
_TOLD = "is taken up: the state after 4 steps|damaged and left out of the history"


def training() -> Case:
    """With both of the last checkpoints: where the last is damaged, a warning says so."""
    load = lambda at: load_model(at, _NET)
    case = _kept("load_model", _files(_fit), load, CheckpointError, read="checkpoint")
    return case._replace(told=_TOLD, newest="checkpoint-6.safetensors")


def alone() -> Case:
    """With one checkpoint."""
    files = {name: content for name, content in _files(_fit).items() if "-4." not in name}
    load = lambda at: load_model(at, _NET)
    return _kept("load_model, of one", files, load, CheckpointError, read="checkpoint")


def resumed() -> Case:
    load = lambda at: _fit(at, resume=True)[0]
    return _kept("fit, resumed", _files(_fit), load, CheckpointError)._replace(told=_TOLD)


def stage() -> Case:
    value = {**_TREE, "claim": ("a", 1.5, None, [True]), "text": np.array(["é", ""])}
    files = _files(lambda at: save_stage(at / "a.safetensors", value))
    load = lambda at: load_stage(at / "a.safetensors")
    return _kept("stage", files, load, StageError)


def model() -> Case:
    draws = np.random.default_rng(0)
    pairs = sorted({(int(u), int(i)) for u, i in draws.integers(0, (20, 8), (150, 2))})
    rows = "".join(f"u{user},i{item},{1 + user * item % 5}\n" for user, item in pairs)

    def make(folder: Path) -> None:
        with tempfile.TemporaryDirectory() as data:
            (file := Path(data) / "ratings.csv").write_text(f"user,item,rating\n{rows}")
            Recommender(method="als", random_state=0).fit(file).save(folder)

    def load(folder: Path) -> Any:
        found = load_task(folder)
        return found.predict(["u1", "u2"], ["i1", "i2"]), found.report_, found.get_params()

    # The others are copies for people, which are not read.
    return _kept("saved model", _files(make), load, ModelError, read="model.safetensors")


@dataclass(frozen=True)
class _Config:
    parts: int = 2
    """How many parts to sum."""


def _sum(config: _Config, context: Context) -> list[Claim]:
    total = 0.0
    for index in range(config.parts):
        total += float(context.stage(f"part{index}", lambda: {"x": np.arange(3.0)})["x"].sum())
        context.metrics({"part": index, "sum": total})
    context.table("total", ["what", "value"], [["total", total]], "The total.")
    context.note("A sum.")
    return [Claim("The sum is not large", value=total, at_most=10.0, reference="nothing")]


_EXPERIMENT = Experiment(
    name="sum", arxiv="0000.00000", title="A Sum", summary="Sums.", config=_Config,
    presets={name: _Config() for name in ("smoke", "desk", "paper")}, run=_sum,
)  # fmt: skip


def _run(folder: Path, **settings: Any) -> Any:
    found = run(_EXPERIMENT, _Config(), preset="desk", folder=folder, **settings)
    return found["claims"], found["config"], found["seed"]


def resumed_run() -> Case:
    """A run that goes on from its stages: they, and what it was, are what may not change."""
    load = lambda at: _run(at, resume=True)
    return _kept("run, resumed", _files(_run), load, ValueError)


def page() -> Case:
    files = _files(_run)
    whole = tuple(name for name in files if name not in ("claims.json", "contents.json"))
    return Case("page of a run", files, _page, (ValueError,), whole=whole)


def _page(folder: Path) -> Any:
    write_page(folder)
    return [str(claim) for claim in read_record(folder)["claims"]]


MADE = {
    make.__name__: functools.cache(make)
    for make in (archive, checkpoint, alone, training, resumed, stage, model, resumed_run, page)
}
# Small enough to damage every bit of them.
BITS = ("archive", "checkpoint", "stage")
