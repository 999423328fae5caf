"""What the recipe `vera` trains: energies on a ring, and classifiers of few labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Array, Float, Int
from sklearn.datasets import load_breast_cancer, load_wine
from sklearn.model_selection import train_test_split

from pullback import data
from pullback.models.energy import (
    JEM,
    BoxStart,
    JEMStep,
    LatentGenerator,
    ReplayBuffer,
    VERAState,
    VERAStep,
)
from pullback.recipes._kit.checks import check_above_zero, check_least, check_rising
from pullback.recipes._kit.stack import made
from pullback.runs import Context
from pullback.train import Stream, fit, iterate

RADIUS, DEVIATION = 2.0, 0.2
# Of the eight Gaussians, which hardly touch: no model has a lower loss.
RING_ENTROPY = float(np.log(8 * 2 * np.pi * np.e * DEVIATION**2))
BATCH = 64  # of digits
RINGS = {"with entropy": 1.0, "no entropy": 0.0}  # its weight
METHODS = ("labels alone", "JEM by VERA", "JEM by chains")


@dataclass(frozen=True)
class LabelConfig:
    seeds: int = 3
    """Runs of each kind."""
    samples: int = 10
    """Latents for the score of a sample, in training."""
    labels_per_class: int = 10
    """Rows of each class whose label is known."""
    digit_steps: int = 1000
    """Training steps on digits, or on a table of your own."""
    digit_width: int = 128
    """Size of the hidden layers of classifier and generator."""
    digit_latent: int = 16
    """Latents of a digit."""
    digit_rate: float = 3e-4
    """Adam's learning rate for classifier and generator on digits."""
    entropy_weight: float = 1e-2
    """Weight of the generator's entropy on digits, and on a table of your own."""
    images: int = 10_000
    """At most so many images of each set."""

    def __post_init__(self):
        check_above_zero(self, but=("entropy_weight",))


@dataclass(frozen=True)
class Config(LabelConfig):
    steps: int = 2500
    """Training steps on the ring."""
    width: int = 64
    """Size of the two hidden layers of the ring's networks."""
    batch_size: int = 100
    """Points of the ring in a training step."""
    draws: int = 2000
    """Samples on which the entropy's gradient is measured."""
    sizes: tuple[int, ...] = (5, 20, 80)
    """Numbers of latents for the score of a sample with which the entropy's gradient is measured,
    rising."""

    def __post_init__(self):
        super().__post_init__()
        check_least(self, draws=2)
        check_rising(self, "sizes", least=1)


def adam(rate: float) -> optax.GradientTransformation:
    """As the paper has it: two players, and no momentum."""
    return optax.adam(rate, b1=0.0, b2=0.9)


def centres() -> Float[np.ndarray, "8 2"]:
    angles = np.arange(8) * np.pi / 4
    return RADIUS * np.stack([np.cos(angles), np.sin(angles)], axis=1)


def ring(n: int, seed: int) -> Float[np.ndarray, "n 2"]:
    """Eight Gaussians on a circle."""
    generator = np.random.default_rng(seed)
    return centres()[generator.integers(8, size=n)] + DEVIATION * generator.normal(size=(n, 2))


class RingMixture(eqx.Module):
    """Eight normal densities on free places, of free widths, whose normaliser is known."""

    means: Float[Array, "8 2"]
    log_widths: Float[Array, " 8"]

    def __init__(self, *, key: Array):
        noise = 0.5 * jr.normal(key, (8, 2))
        self.means = jnp.asarray(centres(), noise.dtype) + noise
        self.log_widths = jnp.full(8, np.log(0.5), noise.dtype)

    def __call__(self, x: Float[Array, " 2"]) -> Float[Array, ""]:
        square = jnp.sum((x[None] - self.means) ** 2, axis=1)
        return jax.nn.logsumexp(-square / (2 * jnp.exp(2 * self.log_widths)))

    def log_prob(self, x: Float[Array, " 2"]) -> Float[Array, ""]:
        return self(x) - jax.nn.logsumexp(2 * self.log_widths) - np.log(2 * np.pi)


def _net(config: Config, key: Array) -> eqx.nn.MLP:
    return eqx.nn.MLP(2, "scalar", config.width, 2, _leaky, key=key)


def _mixture(config: Config, key: Array) -> RingMixture:
    return RingMixture(key=key)


def train_ring(
    config: Config, context: Context, name: str, seeds: Sequence[int], make: Any = _net
) -> tuple[Any, LatentGenerator]:
    """Energies and generators of all seeds, stacked."""
    step = VERAStep(
        adam(1e-3), adam(1e-3), entropy_weight=jnp.asarray(RINGS[name], float),
        gradient_penalty=0.1, samples=config.samples,
    )  # fmt: skip

    def begin(key: Array) -> VERAState:
        energy_key, net_key = jr.split(jr.fold_in(key, 0))
        energy = make(config, energy_key)
        net = eqx.nn.MLP(2, 2, config.width, 2, jax.nn.relu, key=net_key)
        return step.init(energy, LatentGenerator(net, 2))

    keys = jnp.stack([jr.key(seed) for seed in seeds])
    state, _ = iterate(
        step, made(eqx.filter_vmap(begin), keys),
        Stream(jnp.asarray(ring(10_000, seeds[0]), float), config.batch_size),
        steps=config.steps, log_every=min(250, config.steps),
        **context.training(f"ring-{RINGS[name]:g}{make.__name__}"),
        key=jax.vmap(lambda key: jr.fold_in(key, 1))(keys),
    )  # fmt: skip
    return state.energy, state.generator


def train_known(config: Config, context: Context, seeds: Sequence[int]) -> dict[str, Any]:
    """Mixtures whose normaliser VERA is not told, beside maximum likelihood; of all seeds."""
    keys = jnp.stack([jr.key(seed) for seed in seeds])
    # As `train_ring` begins.
    first = lambda key: RingMixture(key=jr.split(jr.fold_in(key, 0))[0])
    start = made(eqx.filter_vmap(first), keys)

    def likelihood(model: RingMixture, batch: Array, *, key: Array) -> tuple[Array, dict]:
        return -jnp.mean(jax.vmap(model.log_prob)(batch)), {}

    best, _ = fit(
        start, likelihood, jnp.asarray(ring(10_000, seeds[0]), float), optimiser=optax.adam(1e-2),
        steps=config.steps, batch_size=config.batch_size, progress=context.progress, key=keys,
    )  # fmt: skip
    ours, _ = train_ring(config, context, "with entropy", seeds, _mixture)
    return {"start": start, "maximum likelihood": best, "VERA": ours}


def _leaky(x: Array) -> Array:
    return jax.nn.leaky_relu(x, 0.2)


class Task(NamedTuple):
    """Rows that may be seen, those of them that have a label, and rows to judge by."""

    x: Float[np.ndarray, "n d"]
    labelled: data.Labelled
    rows: Float[np.ndarray, "m d"]
    classes: int


def flat(split: data.Split) -> data.Split:
    """Images of grey levels in [0, 1] as rows in [-1, 1]."""
    return data.Split(*(data.Labelled(2 * x.reshape(len(x), -1) - 1, y) for x, y in split))


def tables() -> dict[str, data.Split]:
    """The tables of classes that come with scikit-learn, standardised, a quarter held out."""
    found = {}
    for name, load in {"breast cancer": load_breast_cancer, "wine": load_wine}.items():
        x, y = load(return_X_y=True)
        train, test, y_train, y_test = train_test_split(
            x, y.astype(np.int32), test_size=0.25, random_state=0, stratify=y
        )
        (train, test), _ = data.standardise(train, test)
        found[name] = data.Split(data.Labelled(train, y_train), data.Labelled(test, y_test))
    return found


def few_rows(
    config: LabelConfig, split: data.Split, seed: int
) -> tuple[Task, Int[np.ndarray, " m"]]:
    """A few labels of each class, and the classes of the rows to judge by."""
    generator = np.random.default_rng(seed)
    train, test = (data.Labelled(*(a[: config.images] for a in part)) for part in split)
    classes = int(train.y.max()) + 1
    known = np.concatenate([
        generator.choice(np.flatnonzero(train.y == k), config.labels_per_class, replace=False)
        for k in range(classes)
    ])  # fmt: skip
    return Task(train.x, data.Labelled(train.x[known], train.y[known]), test.x, classes), test.y


def train_classifiers(
    config: LabelConfig, method: str, tasks: Sequence[Task], seeds: Sequence[int], progress: bool
) -> dict[str, Any]:
    """Probabilities and log-densities of the rows of each task, and some generated rows.

    One program serves all tasks, if they are of one size: `seconds` is what a step of the last
    takes, which waits for no compiler where there are two tasks or more.
    """
    if method == "JEM by VERA":
        step = VERAStep(
            adam(config.digit_rate), adam(2 * config.digit_rate), samples=config.samples,
            entropy_weight=config.entropy_weight, gradient_penalty=0.1,
            prediction_entropy_weight=0.1,
        )  # fmt: skip
    else:
        weight = 1.0 if method == "JEM by chains" else 0.0
        step = JEMStep(optax.adam(config.digit_rate), density_weight=weight)
    pairs = zip(tasks, seeds, strict=True)
    found = [_train(config, step, task, seed, progress) for task, seed in pairs]
    kept = {name: np.stack([row[name] for row in found]) for name in found[0]}
    return {**kept, "seconds": float(found[-1]["seconds"])}


def _train(config: LabelConfig, step: Any, task: Task, seed: int, progress: bool) -> dict[str, Any]:
    model_key, buffer_key, key, draw_key = jr.split(jr.key(seed), 4)
    first, second = jr.split(model_key)
    x, width = jnp.asarray(task.x, float), config.digit_width
    mlp = lambda size, out, key: made(eqx.nn.MLP, size, out, width, 2, jax.nn.silu, key=key)
    model = JEM(mlp(x.shape[1], task.classes, key=first))
    net = mlp(config.digit_latent, x.shape[1], key=second)
    generator, by_chains = LatentGenerator(net, config.digit_latent), isinstance(step, JEMStep)
    start = BoxStart(x.shape[1:], low=float(task.x.min()), high=float(task.x.max()))
    buffer = ReplayBuffer.init(start, 2000, key=buffer_key)
    batch = min(BATCH, len(x))
    labelled = (jnp.asarray(task.labelled.x, float), jnp.asarray(task.labelled.y, jnp.int32))
    state: Any
    state, info = iterate(
        step, step.init(model, buffer if by_chains else generator),
        {
            "labelled": Stream(labelled, min(batch, len(labelled[0]))),
            "unlabelled": Stream(x, batch),
        },
        steps=config.digit_steps, log_every=min(100, config.digit_steps), rollbacks=10,
        progress=progress, key=key,
    )  # fmt: skip
    logits = _logits(state.model if by_chains else state.energy, jnp.asarray(task.rows, float))
    drawn = np.zeros((0, x.shape[1]))
    if not by_chains:
        drawn = jax.vmap(lambda key: state.generator.sample(key=key)[0])(jr.split(draw_key, 40))
    return {
        "probs": np.asarray(jax.nn.softmax(logits)),
        "log_density": np.asarray(jax.nn.logsumexp(logits, axis=1)),
        "made": np.asarray(drawn),
        "rollbacks": int(info.rollbacks),
        "seconds": info.seconds / config.digit_steps,
    }


@eqx.filter_jit
def _logits(model: JEM, rows: Array) -> Array:
    return jax.lax.map(model.logits, rows, batch_size=1000)
