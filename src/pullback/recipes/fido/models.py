"""The classifier that is explained, and the ways in which it is."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from pullback.analysis.explain import AbstractInfill, ConstantInfill, GaussianInfill
from pullback.data import Labelled
from pullback.recipes._kit.checks import check_above_zero
from pullback.recipes._kit.stack import made
from pullback.runs import Context
from pullback.train import fit

CLASSES = 10
AT_ONCE = 128


@dataclass(frozen=True)
class Search:
    """What the experiments have in common."""

    seeds: int = 3
    """Random seeds: images, first weights and masks."""
    width: int = 16
    """Channels of the first convolution; the second has twice as many."""
    training_steps: int = 3000
    """Training steps of the classifier, with 64 images each."""
    pictures: int = 16
    """Test images that are explained: the first that the classifier is right about."""
    rank: int = 80
    """Factors of the Gaussian infill: strokes are not smooth, and 32 leave them out."""
    steps: int = 120
    """Steps of the search for a mask."""
    samples: int = 8
    """Masks a step."""
    size_weight: float = 0.07
    """Log-odds that a pixel must be worth, in nats."""
    grid: int = 6
    """Rows and columns of the masks with which a black box is compared."""

    def __post_init__(self):
        check_above_zero(self)


@dataclass(frozen=True)
class Config(Search):
    copies: int = 8
    """Training scenes of each digit."""


class Net(eqx.Module):
    """Two 3 x 3 convolutions, the second in steps of 2, and two dense layers.

    The convolutions are products over patches: inside a loop XLA's own are slow on a CPU.
    """

    convolutions: tuple[eqx.nn.Linear, ...]
    dense: tuple[eqx.nn.Linear, ...]

    def __init__(self, side: int, width: int, *, key: PRNGKeyArray):
        one, two, three, four = jr.split(key, 4)
        half = -(-side // 2)
        self.convolutions = (
            eqx.nn.Linear(9, width, key=one),
            eqx.nn.Linear(9 * width, 2 * width, key=two),
        )
        self.dense = (
            eqx.nn.Linear(2 * width * half**2, 64, key=three),
            eqx.nn.Linear(64, CLASSES, key=four),
        )

    def __call__(self, x: Float[Array, "1 side side"]) -> Float[Array, " classes"]:
        """Logits."""
        for stride, layer in enumerate(self.convolutions, 1):
            seen = jnp.moveaxis(patches(x, stride), 0, -1)
            x = jnp.moveaxis(jax.nn.relu(jax.vmap(jax.vmap(layer))(seen)), -1, 0)
        return self.dense[1](jax.nn.relu(self.dense[0](jnp.ravel(x))))


def patches(
    x: Float[Array, "channels h w"], stride: int
) -> Float[Array, "9*channels rows columns"]:
    """What lies around each pixel, or each second one, with zeros beyond the border."""
    (_, h, w), padded = x.shape, jnp.pad(x, ((0, 0), (1, 1), (1, 1)))
    return jnp.concatenate(
        [padded[:, i : i + h : stride, j : j + w : stride] for i in range(3) for j in range(3)]
    )


def trained(config: Search, context: Context, data: Labelled, seed: int) -> Net:
    """The classifier of a seed."""

    def loss(net: Net, batch: Labelled, *, key: PRNGKeyArray) -> tuple[Array, dict[str, Array]]:
        del key
        logits = jax.vmap(net)(jnp.asarray(batch.x)[:, None])
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, batch.y)), {}

    net, _ = fit(
        made(Net, data.x.shape[1], config.width, key=jr.key(seed)), loss, data,
        optimiser=optax.adam(optax.cosine_decay_schedule(3e-3, config.training_steps)),
        steps=config.training_steps, batch_size=64, log_every=config.training_steps,
        key=jr.key(seed), **context.training(f"classifier-{seed}"),
    )  # fmt: skip
    return net


@eqx.filter_jit
def rows(net: Net, images: Float[Array, "n 1 side side"]) -> Float[Array, "n classes"]:
    """Logits of many images."""
    return jax.vmap(net)(images)


def as_black_box(net: Net) -> Callable[[np.ndarray], np.ndarray]:
    """The same network as a function of NumPy's, of which nothing else is known.

    It takes `AT_ONCE` images at once, so that one program serves any number of them.
    """

    def call(images: np.ndarray) -> np.ndarray:
        parts = -(-len(images) // AT_ONCE)
        filled = np.resize(images, (parts, AT_ONCE, *images.shape[1:]))
        return np.concatenate([np.asarray(rows(net, jnp.asarray(part))) for part in filled])[
            : len(images)
        ]

    return call


@dataclass(frozen=True)
class Way:
    """A way to explain."""

    infill: str
    objective: Literal["ssr", "sdr"] = "sdr"
    coarse: bool = False
    black_box: bool = False


class Behind(AbstractInfill):
    """What was behind the digit, which no infill is told."""

    background: Float[Array, "1 side side"]

    @property
    def stochastic(self) -> bool:
        """It is always the same."""
        return False

    def __call__(self, x: Array, keep: Array, *, key: PRNGKeyArray) -> Array:
        """The background, whatever is kept."""
        del x, keep, key
        return self.background


WAYS = {
    "generative": Way("generative"),
    "grey": Way("grey"),
    "black": Way("black"),
    "generative, kept": Way("generative", "ssr"),
    "grey, kept": Way("grey", "ssr"),
    "generative, coarse": Way("generative", coarse=True),
    "generative, black box": Way("generative", coarse=True, black_box=True),
}


def infills(config: Search, images: Float[np.ndarray, "n side side"]) -> dict[str, AbstractInfill]:
    """What stands where pixels are removed, learned from training images."""
    return {
        "generative": GaussianInfill.fit(images[:, None], config.rank),
        "grey": ConstantInfill(float(images.mean())),
        "black": ConstantInfill(0.0),
    }
