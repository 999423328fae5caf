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
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int

from pullback.data import Labelled, two_moons
from pullback.models.energy import JEM, SGLD, BoxStart, JEMState, JEMStep, ReplayBuffer
from pullback.runs import Context
from pullback.train import Stream, iterate

_POINTS = 50  # of a curve of training


@dataclass(frozen=True)
class Config:
    seeds: int = 3
    """How many models are trained of each kind, side by side."""
    batch_size: int = 64
    """Examples in a training step, and chains."""
    buffer: int = 2000
    """Ends of chains that are kept."""
    labels: int = 80
    """Moons: labelled points."""
    points: int = 2000
    """Moons: further points without labels."""
    tested: int = 5000
    """Moons: points that the models are judged on."""
    width: int = 128
    """Moons and tables: size of the two hidden layers."""
    steps: int = 2500
    """Moons and tables: training steps."""
    chain: int = 40
    """Moons and tables: sampler's steps in a training step, with honest noise."""
    learning_rate: float = 3e-4
    """Adam's learning rate."""
    long_rate: float = 1e-3
    """Moons and tables: Adam's rate for a second baseline, which fits its labels closely."""
    hasty_steps: int = 1500
    """Moons: training steps of the runs that are meant to explode."""
    hasty_chain: int = 10
    """Moons: the sampler's steps in the runs that are meant to explode."""
    hasty_rate: float = 5e-3
    """Moons: Adam's learning rate in the runs that are meant to explode."""
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
        for name in ("seeds", "steps", "hasty_steps", "image_steps", "chain", "hasty_chain"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("labels", "points", "image_labels", "batch_size", "tested", "attacked"):
            if getattr(self, name) < 2:
                raise ValueError(f"{name} must be at least 2, got {getattr(self, name)}")


class Problem(NamedTuple):
    """Examples, and which of them each seed learns from.

    Attributes:
        x: all of them, `[pool, dim]`.
        y: their classes, `[pool]`.
        labelled: the rows whose labels are shown, `[seeds, n]`.
        density: the rows that the density is of, `[seeds, m]`.
        test: what the models are judged on.
        box: the range that fresh chains start in.
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
    """A way to train.

    Attributes:
        width: of the network.
        steps: of training.
        learning_rate: Adam's.
        sampler: None: cross-entropy alone.
        l2_energy: the penalty.
        limit: of loss and gap, beyond which a run rolls back.
    """

    width: int
    steps: int
    learning_rate: float
    sampler: SGLD | None = None
    l2_energy: float = 0.0
    limit: float = 1e3


def moon_kinds(config: Config) -> dict[str, Kind]:
    """The ways to train on moons and tables, by name."""
    plain = Kind(config.width, config.steps, config.learning_rate)
    return {
        "cross-entropy": plain,
        "cross-entropy, higher rate": plain._replace(learning_rate=config.long_rate),
        "JEM": plain._replace(sampler=SGLD(config.chain, step_size=0.05, noise=None)),
    }


def hasty_kinds(config: Config) -> dict[str, Kind]:
    """The same at too high a rate: without a guard, with one, and with a penalty instead."""
    sampler = SGLD(config.hasty_chain, step_size=0.05, noise=None)
    hasty = Kind(config.width, config.hasty_steps, config.hasty_rate, sampler)
    return {
        "no guard": hasty._replace(limit=1e30),
        "guard": hasty._replace(limit=2.0),
        "penalty": hasty._replace(limit=1e30, l2_energy=0.01),
    }


def image_kinds(config: Config) -> dict[str, Kind]:
    """The ways to train on images, by name."""
    plain = Kind(config.image_width, config.image_steps, config.learning_rate)
    return {"cross-entropy": plain, "JEM": plain._replace(sampler=SGLD(20))}


def moons(config: Config, seeds: Sequence[int]) -> Problem:
    """Moons that overlap, other points for each seed."""
    each = config.labels + config.points
    drawn = [two_moons(each, noise=0.35, seed=seed) for seed in seeds]
    rows = np.arange(len(seeds))[:, None] * each
    return Problem(
        x=np.concatenate([d.x for d in drawn]),
        y=np.concatenate([d.y for d in drawn]).astype(np.int32),
        labelled=rows + np.arange(config.labels),
        density=rows + np.arange(each),
        test=two_moons(config.tested, noise=0.35, seed=2**31 - 1),
        box=(-3.0, 3.0),
    )


def images(config: Config, train: Labelled, test: Labelled, seeds: Sequence[int]) -> Problem:
    """Images scaled to [-1, 1], of which each seed sees the labels of other ones."""
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


class OwnRows(eqx.Module):
    """A step of which each run of a stack has its own rows of one pool of examples."""

    step: JEMStep
    x: Float[Array, "pool dim"]
    y: Int[Array, " pool"]

    def __call__(
        self, state: tuple[JEMState, Array, Array], batch: dict[str, Array], *, key: Array
    ) -> tuple[tuple[JEMState, Array, Array], dict[str, Array]]:
        inner, labelled, density = state
        rows, others = labelled[batch["labelled"]], density[batch["density"]]
        examples = {"labelled": (self.x[rows], self.y[rows]), "unlabelled": self.x[others]}
        inner, metrics = self.step(inner, examples, key=key)
        return (inner, labelled, density), metrics


def slug(name: str) -> str:
    """A name of a kind as a part of a file's."""
    return name.replace(",", "").replace(" ", "-")


def train_kinds(
    context: Context, config: Config, part: str, kinds: Mapping[str, Kind], problem: Problem,
    seeds: Sequence[int],
) -> dict[str, dict[str, Any]]:  # fmt: skip
    """Models of every kind, a stage of the run each."""
    return {
        name: context.stage(
            f"train-{part}-{slug(name)}", train, config, kind, problem, seeds, context.progress
        )
        for name, kind in kinds.items()
    }


def train(
    config: Config, kind: Kind, problem: Problem, seeds: Sequence[int], progress: bool = False
) -> dict[str, Any]:
    """Models of all seeds, a row of parameters each, and how their training went."""
    x, y = jnp.asarray(problem.x, jnp.result_type(float)), jnp.asarray(problem.y)
    step = JEMStep(
        optax.adam(kind.learning_rate),
        sampler=kind.sampler or SGLD(),
        density_weight=0.0 if kind.sampler is None else 1.0,
        l2_energy=kind.l2_energy,
        input_noise=0.03,
        limit=kind.limit,
    )
    low, high = problem.box
    start = BoxStart(x.shape[1:], low=low, high=high)

    def begin(key: Array) -> JEMState:
        net_key, buffer_key = jr.split(key)
        buffer = ReplayBuffer.init(start, config.buffer, key=buffer_key)
        return step.init(JEM(network(kind.width, x.shape[1], problem.classes, net_key)), buffer)

    keys = jnp.stack([jr.key(seed) for seed in seeds])
    rows = jnp.asarray(problem.labelled), jnp.asarray(problem.density)
    labelled, density = rows[0].shape[1], rows[1].shape[1]
    (state, *_), info = iterate(
        OwnRows(step, x, y),
        (eqx.filter_vmap(begin)(keys), *rows),
        {
            "labelled": Stream(jnp.arange(labelled), min(config.batch_size, labelled)),
            "density": Stream(jnp.arange(density), min(config.batch_size, density)),
        },
        steps=kind.steps,
        log_every=max(1, kind.steps // _POINTS),
        rollbacks=1000,
        progress=progress,
        key=keys,
    )
    params = eqx.filter(state.model, eqx.is_inexact_array)
    return {
        "params": np.asarray(jax.vmap(lambda tree: ravel_pytree(tree)[0])(params)),
        "steps": info.history["step"],
        "gap": info.history["gap"].T,
        "rollbacks": info.rollbacks,
        "good": info.good,
    }


def network(width: int, dim: int, classes: int, key: Array) -> eqx.nn.MLP:
    """Two hidden layers, smooth and without normalisation."""
    return eqx.nn.MLP(dim, classes, width, 2, jax.nn.silu, key=key)


def model_of(width: int, problem: Problem, row: Float[Any, " params"]) -> JEM:
    """The model of a row of trained parameters."""
    net = JEM(network(width, problem.x.shape[1], problem.classes, jr.key(0)))
    params, rest = eqx.partition(net, eqx.is_inexact_array)
    return eqx.combine(ravel_pytree(params)[1](jnp.asarray(row)), rest)
