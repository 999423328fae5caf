"""What the recipe `jem` trains, and on what."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Float, Int

from pullback.data import Labelled, Split, two_moons
from pullback.models.energy import JEM, SGLD, BoxStart, JEMStep, ReplayBuffer
from pullback.recipes._kit.checks import check_above_zero, check_least
from pullback.recipes._kit.stack import made, stacked
from pullback.runs import Context
from pullback.train import Stream, iterate

LONG_RATE = 1e-3  # of a baseline that fits its labels closely
_UNLABELLED, _TESTED = 2000, 5000  # moons
_POINTS = 50  # of a curve of training


@dataclass(frozen=True)
class ImageConfig:
    seeds: int = 3
    """How many models are trained of each kind, side by side."""
    batch_size: int = 64
    """Examples in a training step, and chains."""
    buffer: int = 2000
    """Ends of chains that are kept."""
    learning_rate: float = 3e-4
    """Adam's learning rate."""
    image_labels: int = 200
    """Images: how many have labels."""
    image_width: int = 256
    """Images: size of the two hidden layers."""
    image_steps: int = 1500
    """Images: training steps, with the paper's cooled sampler."""
    image_tested: int = 450
    """Images: the most test images that are used."""
    attacked: int = 100
    """Images: how many test images are attacked through the sampler."""

    def __post_init__(self):
        check_above_zero(self)
        check_least(self, batch_size=2, image_labels=2, image_tested=2, attacked=2)


@dataclass(frozen=True)
class Config(ImageConfig):
    labels: int = 80
    """Moons: labelled points."""
    width: int = 128
    """Moons and tables: size of the two hidden layers."""
    steps: int = 2500
    """Moons and tables: training steps."""

    def __post_init__(self):
        super().__post_init__()
        check_least(self, labels=2)


class Problem(NamedTuple):
    """Examples and their classes, the rows of them that each seed knows, and what judges it.

    Each seed sees the classes of its `labelled` rows, and the density is of its rows `density`.
    Chains start in the range `box`.
    """

    x: Float[np.ndarray, "pool dim"]
    y: Int[np.ndarray, " pool"]
    labelled: Int[np.ndarray, "seeds n"]
    density: Int[np.ndarray, "seeds m"]
    test: Labelled
    box: tuple[float, float]

    @property
    def classes(self) -> int:
        return int(self.y.max()) + 1


class Kind(NamedTuple):
    """A way to train; without a sampler by cross-entropy alone."""

    width: int
    steps: int
    learning_rate: float
    sampler: SGLD | None = None
    limit: float = 1e3
    """Of loss and gap, beyond which a run rolls back."""


def moon_kinds(config: Config) -> dict[str, Kind]:
    """The ways to train on moons and tables, by name."""
    plain = Kind(config.width, config.steps, config.learning_rate)
    return {
        "cross-entropy": plain,
        "cross-entropy, higher rate": plain._replace(learning_rate=LONG_RATE),
        "JEM": plain._replace(sampler=SGLD(40, step_size=0.05, noise=None)),
    }


def hasty(config: Config) -> Kind:
    """JEM at too high a rate, by chains that are too short, and nothing that stops it."""
    sampler = SGLD(10, step_size=0.05, noise=None)
    return Kind(config.width, max(1, 3 * config.steps // 5), 5e-3, sampler, limit=1e30)


def image_kinds(config: ImageConfig) -> dict[str, Kind]:
    """The ways to train on images, by name."""
    plain = Kind(config.image_width, config.image_steps, config.learning_rate)
    return {"cross-entropy": plain, "JEM": plain._replace(sampler=SGLD(20))}


def moons(config: Config, seeds: Sequence[int]) -> Problem:
    """Moons that overlap, other points for each seed."""
    each = config.labels + _UNLABELLED
    drawn = [two_moons(each, noise=0.35, seed=seed) for seed in seeds]
    rows = np.arange(len(seeds))[:, None] * each
    return Problem(
        x=np.concatenate([d.x for d in drawn]),
        y=np.concatenate([d.y for d in drawn]).astype(np.int32),
        labelled=rows + np.arange(config.labels),
        density=rows + np.arange(each),
        test=two_moons(_TESTED, noise=0.35, seed=2**31 - 1),
        box=(-3.0, 3.0),
    )


def images(config: ImageConfig, split: Split, seeds: Sequence[int]) -> Problem:
    """Images scaled to [-1, 1], of which each seed sees the labels of other ones."""
    train, test = split
    flat = lambda x: 2 * x.reshape(len(x), -1) - 1
    order = [np.random.default_rng(seed).permutation(len(train.x)) for seed in seeds]
    count = min(config.image_tested, len(test.x))
    return Problem(
        x=flat(train.x),
        y=train.y,
        labelled=np.stack([rows[: config.image_labels] for rows in order]),
        density=np.stack(order),
        test=Labelled(flat(test.x[:count]), test.y[:count]),
        box=(-1.0, 1.0),
    )


def train_kinds(
    context: Context, config: ImageConfig, part: str, kinds: Mapping[str, Kind], problem: Problem,
    seeds: Sequence[int],
) -> dict[str, dict[str, Any]]:  # fmt: skip
    """Models of every kind, a stage of the run each."""
    return {
        name: context.stage(
            f"train-{part}-{place}", train, config, kind, problem, seeds, context.progress
        )
        for place, (name, kind) in enumerate(kinds.items())
    }


def train(
    config: ImageConfig, kind: Kind, problem: Problem, seeds: Sequence[int], progress: bool = False
) -> dict[str, Any]:
    """Models of all seeds, stacked, and how their training went."""
    x, y = jnp.asarray(problem.x, float), jnp.asarray(problem.y)
    step = JEMStep(
        # A number of the device: one program serves kinds that differ in it alone.
        optax.adam(jnp.asarray(kind.learning_rate, float)), sampler=kind.sampler or SGLD(),
        density_weight=0.0 if kind.sampler is None else 1.0, limit=kind.limit,
    )  # fmt: skip
    low, high = problem.box
    start = BoxStart(x.shape[1:], low=low, high=high)
    stream = lambda rows: Stream(rows, min(config.batch_size, len(jax.tree.leaves(rows)[0])))
    models, infos = [], []
    for seed, labelled, density in zip(seeds, problem.labelled, problem.density, strict=True):
        key = jr.key(seed)
        net_key, buffer_key = jr.split(key)
        net = made(eqx.nn.MLP, x.shape[1], problem.classes, kind.width, 2, jax.nn.silu, key=net_key)
        buffer = ReplayBuffer.init(start, config.buffer, key=buffer_key)
        streams = {"labelled": stream((x[labelled], y[labelled])), "unlabelled": stream(x[density])}
        state, info = iterate(
            step, step.init(JEM(net), buffer), streams, steps=kind.steps,
            log_every=max(1, kind.steps // _POINTS), rollbacks=1000, progress=progress, key=key,
        )  # fmt: skip
        models.append(state.model)
        infos.append(info)
    gap = np.stack([info.history["gap"] for info in infos])
    return {"models": stacked(models), "gap": gap, "rollbacks": [info.rollbacks for info in infos]}
