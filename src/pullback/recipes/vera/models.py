"""What the recipe `vera` trains on points in the plane."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from pullback.models.energy import (
    DiagonalProposal,
    GaussNewtonProposal,
    LatentGenerator,
    VERAState,
    VERAStep,
)
from pullback.runs import Context
from pullback.train import Stream, iterate

RADIUS, DEVIATION = 2.0, 0.2


@dataclass(frozen=True)
class Config:
    seeds: int = 3
    """Runs of each kind."""
    steps: int = 2500
    """Training steps on the ring."""
    width: int = 64
    """Size of the two hidden layers of the ring's networks."""
    batch_size: int = 100
    """Points of the ring in a training step."""
    learning_rate: float = 1e-3
    """Adam's learning rate for the ring's energy and generator."""
    samples: int = 10
    """Latents for the score of a sample, in training."""
    draws: int = 2000
    """Samples on which the entropy's gradient is measured."""
    sizes: tuple[int, ...] = (5, 20, 80)
    """Numbers of latents for the score of a sample with which the entropy's gradient is measured,
    rising."""
    refine_steps: int = 200
    """Steps of the walk that refines samples of the ring."""
    labels_per_class: int = 10
    """Digits of each class whose label is known."""
    digit_steps: int = 1000
    """Training steps on digits, or on a table of your own."""
    digit_width: int = 128
    """Size of the hidden layers of classifier and generator."""
    digit_latent: int = 16
    """Latents of a digit."""
    digit_batch: int = 64
    """Digits in a training step."""
    digit_rate: float = 3e-4
    """Adam's learning rate for classifier and generator on digits."""
    entropy_weight: float = 1e-2
    """Weight of the generator's entropy on digits, and on a table of your own."""
    label_weight: float = 1.0
    """Weight of the cross-entropy of the labelled rows, beside the energy's loss."""
    prediction_entropy_weight: float = 0.1
    """Weight of the entropy of the predictions for all rows."""
    images: int = 10_000
    """At most so many images of each set."""

    def __post_init__(self):
        for name in (
            "seeds", "steps", "width", "batch_size", "samples", "refine_steps", "labels_per_class",
            "digit_steps", "digit_width", "digit_latent", "digit_batch", "images",
        ):  # fmt: skip
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.draws < 2:
            raise ValueError(f"draws must be at least 2, got {self.draws}")
        if not self.sizes or sorted(set(self.sizes)) != [*self.sizes] or self.sizes[0] < 1:
            raise ValueError(f"sizes must be at least 1, rising, got {self.sizes}")


class Kind(NamedTuple):
    """A way to train on the ring."""

    weight: float
    tangent: bool = True


KINDS = {
    "tangent": Kind(1.0),
    "around z0": Kind(1.0, tangent=False),
    "no entropy": Kind(0.0),
}


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


def ring_entropy() -> float:
    """Of the ring's distribution, by its density on a grid: no model has a lower loss."""
    line = np.linspace(-4, 4, 801)
    x = np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 1, 2)
    squares = np.sum((x - centres()) ** 2, axis=2) / (2 * DEVIATION**2)
    p = np.exp(-squares).mean(axis=1) / (2 * np.pi * DEVIATION**2)
    return float(-np.sum(p * np.log(np.maximum(p, 1e-300))) * (line[1] - line[0]) ** 2)


def step_of(config: Config, kind: Kind) -> VERAStep:
    return VERAStep(
        adam(config.learning_rate), adam(config.learning_rate), adam(1e-3),
        entropy_weight=jnp.asarray(kind.weight, float), gradient_penalty=0.1,
        samples=config.samples, inflate=1.0,
    )  # fmt: skip


def new_state(config: Config, kind: Kind, key: Array) -> VERAState:
    energy_key, net_key = jr.split(key)
    leaky = lambda x: jax.nn.leaky_relu(x, 0.2)
    energy = eqx.nn.MLP(2, "scalar", config.width, 2, leaky, key=energy_key)
    net = eqx.nn.MLP(2, 2, config.width, 2, jax.nn.relu, key=net_key)
    around = DiagonalProposal(jnp.full(2, jnp.log(0.1)))
    proposal = GaussNewtonProposal() if kind.tangent else around
    return step_of(config, kind).init(energy, LatentGenerator(net, 2), proposal)


def train_ring(
    config: Config, context: Context, name: str, seeds: Sequence[int]
) -> dict[str, np.ndarray]:
    """Energies and generators of all seeds, a row of parameters each, and means in training."""
    kind, keys = KINDS[name], jax.vmap(jr.key)(jnp.asarray(seeds))
    state = eqx.filter_vmap(lambda key: new_state(config, kind, jr.fold_in(key, 0)))(keys)
    folder = f"ring-{name.replace(' ', '-')}"
    points = jnp.asarray(ring(10_000, seeds[0]), float)
    state, info = iterate(
        step_of(config, kind), state, Stream(points, config.batch_size),
        steps=config.steps, log_every=min(250, config.steps), **context.training(folder),
        key=jax.vmap(lambda key: jr.fold_in(key, 1))(keys),
    )  # fmt: skip
    rows = eqx.filter_vmap(lambda state: ravel_pytree(_params(state))[0])(state)
    return {"rows": np.asarray(rows), "steps": info.history["step"], **info.history}


def state_of(config: Config, name: str, row: Float[Any, " params"]) -> VERAState:
    """The energy and the generator of a row of `train_ring`."""
    state = new_state(config, KINDS[name], jr.key(0))
    energy, generator = ravel_pytree(_params(state))[1](jnp.asarray(row))
    put = lambda new, old: eqx.combine(new, old)
    return eqx.tree_at(
        lambda s: (s.energy, s.generator),
        state,
        (put(energy, state.energy), put(generator, state.generator)),
    )


def _params(state: VERAState) -> Any:
    return eqx.filter((state.energy, state.generator), eqx.is_inexact_array)
