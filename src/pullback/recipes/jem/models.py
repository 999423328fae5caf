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
from jaxtyping import Array, Float, Int

from pullback.data import Labelled, Split, two_moons
from pullback.models.energy import JEM, SGLD, BoxStart, JEMStep, ReplayBuffer
from pullback.nn import convolve_same
from pullback.recipes._kit.checks import check_above_zero, check_least, check_rising
from pullback.recipes._kit.stack import made, stacked, unstacked
from pullback.runs import Context
from pullback.train import Stream, iterate

LONG_RATE = 1e-3  # of a baseline that fits its labels closely
GUARD = 30.0  # nats of loss or gap, beyond which a run in a hurry goes back
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
    image_labels: int = 1200
    """Images: how many a model is trained on, all of them with their labels."""
    image_held: int = 140
    """Images: how many more choose the rate and the temperature of cross-entropy alone."""
    image_width: int = 256
    """Images: size of the two hidden layers, or channels of the two convolutions."""
    image_steps: int = 1500
    """Images: training steps."""
    chain_steps: int = 20
    """Images: steps of the paper's cooled sampler in one of training."""
    density_weight: float = 1.0
    """Images: of the density's term beside cross-entropy."""
    plain_rates: tuple[float, ...] = (3e-4, 1e-3, 3e-3)
    """Images: learning rates of cross-entropy alone, of which each seed takes the best."""
    image_tested: int = 450
    """Images: the most test images that are used."""
    attacked: int = 450
    """Images: how many of these are attacked."""
    radii: tuple[float, ...] = (0.5, 1.0, 1.5)
    """Images: of attacks, in a range of values of 2, by Euclid's distance."""

    def __post_init__(self):
        check_above_zero(self)
        check_least(self, batch_size=2, image_labels=2, image_held=2, image_tested=2, attacked=2)
        check_rising(self, "radii")
        check_rising(self, "plain_rates")


@dataclass(frozen=True)
class Config(ImageConfig):
    labels: int = 80
    """Moons: labelled points."""
    width: int = 128
    """Moons: size of the two hidden layers."""
    steps: int = 2500
    """Moons: training steps."""
    refined: int = 100
    """Digits: how many test images are attacked through the sampler."""

    def __post_init__(self):
        super().__post_init__()
        check_least(self, labels=2, refined=2)


class Problem(NamedTuple):
    """Examples and their classes, the rows of them that each seed knows, and what judges it.

    Each seed sees the classes of its `labelled` rows, the density is of its rows `density`, and its
    rows `held` choose. Chains start in the range `box`.
    """

    x: Float[np.ndarray, "pool ..."]
    y: Int[np.ndarray, " pool"]
    labelled: Int[np.ndarray, "seeds n"]
    density: Int[np.ndarray, "seeds m"]
    test: Labelled
    box: tuple[float, float]
    held: Int[np.ndarray, "seeds held"] = np.zeros((1, 0), int)

    @property
    def classes(self) -> int:
        return int(self.y.max()) + 1


class Kind(NamedTuple):
    """A way to train; without a sampler by cross-entropy alone."""

    width: int
    steps: int
    learning_rate: float
    sampler: SGLD | None = None
    weight: float = 1.0
    """Of the density's term beside cross-entropy."""
    limit: float = 1e3
    """Of loss and gap, beyond which a run rolls back."""


class ConvNet(eqx.Module):
    """Logits of an image without normalisation: blocks of pixels, two convolutions, a dense end."""

    convs: tuple[eqx.nn.Conv2d, eqx.nn.Conv2d]
    last: eqx.nn.Linear
    block: int = eqx.field(static=True)

    def __init__(self, shape: tuple[int, ...], classes: int, channels: int, *, key: Any):
        colours, height, width = shape
        first, second, last = jr.split(key, 3)
        self.block = max(1, height // 7)  # the convolutions see 7 by 7 or 8 by 8 places
        places = (height // self.block) * (width // self.block)
        conv = lambda into, key: eqx.nn.Conv2d(into, channels, 3, padding=1, key=key)
        self.convs = (conv(colours * self.block**2, first), conv(channels, second))
        self.last = eqx.nn.Linear(channels * places, classes, key=last)

    def __call__(self, x: Float[Array, "colours height width"]) -> Float[Array, " classes"]:
        (colours, height, width), b = x.shape, self.block
        x = x.reshape(colours, height // b, b, width // b, b).transpose(0, 2, 4, 1, 3)
        x = x.reshape(-1, height // b, width // b)
        for conv in self.convs:
            x = jax.nn.silu(convolve_same(conv, x))
        return self.last(x.reshape(-1))


def _network(shape: tuple[int, ...], classes: int, width: int, *, key: Any) -> Any:
    """Convolutional for images that have their shape, dense for rows of numbers."""
    if len(shape) == 3:
        return ConvNet(shape, classes, width, key=key)
    return eqx.nn.MLP(shape[0], classes, width, 2, jax.nn.silu, key=key)


def moon_kinds(config: Config) -> dict[str, Kind]:
    """The ways to train on moons, by name."""
    plain = Kind(config.width, config.steps, config.learning_rate)
    return {
        "cross-entropy": plain,
        "cross-entropy, higher rate": plain._replace(learning_rate=LONG_RATE),
        "JEM": plain._replace(sampler=SGLD(40, step_size=0.05, noise=None)),
    }


def hasty_kinds(config: Config) -> dict[str, Kind]:
    """JEM at too high a rate, by chains that are too short, and with what sends it back or not."""
    sampler = SGLD(10, step_size=0.05, noise=None)
    hasty = Kind(config.width, max(1, 3 * config.steps // 5), 5e-3, sampler, limit=1e30)
    return {"JEM, in a hurry": hasty, "JEM, in a hurry, guarded": hasty._replace(limit=GUARD)}


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
    """Images scaled to [-1, 1], of which each seed sees other ones."""
    train, test = split
    order = [np.random.default_rng(seed).permutation(len(train.x)) for seed in seeds]
    count = min(config.image_tested, len(test.x))
    seen = np.stack([rows[: config.image_labels] for rows in order])
    kept = slice(config.image_labels, config.image_labels + config.image_held)
    return Problem(
        x=2 * train.x - 1,
        y=train.y,
        labelled=seen,
        density=seen,
        test=Labelled(2 * test.x[:count] - 1, test.y[:count]),
        box=(-1.0, 1.0),
        held=np.stack([rows[kept] for rows in order]),
    )


def train_on_images(
    context: Context, config: ImageConfig, problem: Problem, seeds: Sequence[int]
) -> dict[str, dict[str, Any]]:
    """Models by cross-entropy alone, each by the rate that is best for it, and JEMs."""
    plain = Kind(config.image_width, config.image_steps, config.learning_rate)
    kinds = {f"rate {rate:g}": plain._replace(learning_rate=rate) for rate in config.plain_rates}
    sampler, weight = SGLD(config.chain_steps), config.density_weight
    ours = {"JEM": plain._replace(sampler=sampler, weight=weight)}
    *tried, jem = train_kinds(context, config, "images", kinds | ours, problem, seeds).values()
    right = np.stack([_right_of_held(problem, row["models"]) for row in tried])
    best = right.argmax(axis=0)
    models = [unstacked(tried[place]["models"])[run] for run, place in enumerate(best)]
    rates = [config.plain_rates[place] for place in best]
    return {"cross-entropy": {"models": stacked(models), "rates": rates}, "JEM": jem}


def _right_of_held(problem: Problem, models: JEM) -> Float[np.ndarray, " seeds"]:
    rows = problem.held
    pairs = zip(unstacked(models), problem.x[rows], problem.y[rows], strict=True)
    return np.array([np.mean(logits_of(model, x).argmax(axis=1) == y) for model, x, y in pairs])


def logits_of(model: JEM, x: Float[np.ndarray, "n ..."]) -> Float[np.ndarray, "n classes"]:
    """Logits of a few images."""
    return np.asarray(_logits(model, jnp.asarray(x, float)))


@eqx.filter_jit
def _logits(model: JEM, x: Array) -> Array:
    return jax.vmap(model.logits)(x)


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
        density_weight=0.0 if kind.sampler is None else kind.weight, limit=kind.limit,
    )  # fmt: skip
    low, high = problem.box
    start = BoxStart(x.shape[1:], low=low, high=high)
    stream = lambda rows: Stream(rows, min(config.batch_size, len(jax.tree.leaves(rows)[0])))
    models, infos = [], []
    for seed, labelled, density in zip(seeds, problem.labelled, problem.density, strict=True):
        key = jr.key(seed)
        net_key, buffer_key = jr.split(key)
        net = made(_network, x.shape[1:], problem.classes, kind.width, key=net_key)
        buffer = ReplayBuffer.init(start, config.buffer, key=buffer_key)
        both = (x[labelled], y[labelled])
        same = np.array_equal(labelled, density)
        streams = (
            stream(both) if same else {"labelled": stream(both), "unlabelled": stream(x[density])}
        )
        state, info = iterate(
            step, step.init(JEM(net), buffer), streams, steps=kind.steps,
            log_every=max(1, kind.steps // _POINTS), rollbacks=1000, progress=progress, key=key,
        )  # fmt: skip
        models.append(state.model)
        infos.append(info)
    gap = np.stack([info.history["gap"] for info in infos])
    return {"models": stacked(models), "gap": gap, "rollbacks": [info.rollbacks for info in infos]}
