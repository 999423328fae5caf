"""The networks of the recipe `trajectory-length`, whole or one layer of them trained."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Array, Float, Key, PRNGKeyArray

from pullback.analysis.signals import layer_noise_sensitivity
from pullback.data import Labelled, Split, standardise
from pullback.nn import TrajectoryPenalty, gaussian_init
from pullback.recipes._kit.checks import check_above_zero, check_least, check_rising
from pullback.recipes._kit.stack import made_stack, unstacked
from pullback.runs import Context
from pullback.train import evaluate, fit

CLASSES = 10


@dataclass(frozen=True)
class Config:
    seeds: int = 3
    """Random seeds of the weights."""
    images: int = 1347
    """Images to train on; all that there are, if fewer."""
    tested: int = 2000
    """Test images; all that there are, if fewer."""
    width: int = 100
    """Units of each hidden layer of a network that is trained."""
    layers: int = 8
    """Hidden layers of a network of which one is trained."""
    trained: tuple[int, ...] = (1, 2, 3, 5, 7)
    """Which one, counted from 0, rising; 0 has another shape where it looks at the pixels."""
    variance: float = 2.0
    """Variance of the weights times their fan in, of such a network."""
    chaotic: float = 4.0
    """A larger one, at which the upper layers are too wild to learn beneath."""
    steps: int = 500
    """Training steps of one layer, on all images."""
    rate: float = 3e-3
    """Learning rate of it, of Adam: high enough for an upper layer to learn all of the images."""
    noisy_layers: int = 6
    """Hidden layers of the network that is trained whole."""
    noisy_steps: int = 1500
    """Training steps of it."""
    noisy_rate: float = 1e-3
    """Learning rate of it, of Adam."""
    batch_size: int = 128
    """Images of such a step."""
    noise: float = 0.5
    """Of a layer's weights, in their standard deviations."""
    draws: int = 50
    """Of the noise."""
    penalty: float = 0.01
    """Weight of the penalty on stretched batches."""
    penalty_variance: float = 8.0
    """Variance of the weights, times fan in, of networks with the penalty, beside `variance`."""

    def __post_init__(self):
        check_above_zero(self)
        check_least(self, layers=2, noisy_layers=4, images=self.batch_size)
        check_rising(self, "trained", count=2, least=1)
        if not self.trained[-1] < self.layers:
            raise ValueError(f"trained must be below layers, {self.layers}, got {self.trained}")
        if not self.variance < self.chaotic:
            raise ValueError(f"chaotic must be above variance, got {self.chaotic}")


class Penalised(eqx.Module):
    """A dense network with a penalty on stretched batches after each of its hidden layers."""

    net: eqx.nn.MLP
    penalties: tuple[TrajectoryPenalty, ...]

    def __call__(
        self, x: Float[Array, "batch pixels"]
    ) -> tuple[Float[Array, "batch classes"], Float[Array, ""]]:
        """Logits, and the penalties added up."""
        total = jnp.zeros((), x.dtype)
        for layer, penalty in zip(self.net.layers[:-1], self.penalties, strict=True):
            before = x
            x = jax.vmap(lambda row, layer=layer: jnp.tanh(layer(row)))(before)
            x, value = penalty(x, before)
            total = total + value
        return jax.vmap(self.net.layers[-1])(x), total


def loss(model: eqx.nn.MLP, batch: Any, *, key: PRNGKeyArray) -> tuple[Array, dict[str, Array]]:
    """Cross-entropy, and the share that is classified well."""
    del key
    return _cross_entropy(jax.vmap(model)(batch.x), batch.y)


class PenalisedLoss(eqx.Module):
    """The same, and the penalties by their weight."""

    weight: float

    def __call__(
        self, model: Penalised, batch: Any, *, key: PRNGKeyArray
    ) -> tuple[Array, dict[str, Array]]:
        logits, penalty = model(batch.x)
        value, metrics = _cross_entropy(logits, batch.y)
        return value + self.weight * penalty, {**metrics, "penalty": penalty}


def _cross_entropy(logits: Array, y: Array) -> tuple[Array, dict[str, Array]]:
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, y)
    right = jnp.mean((jnp.argmax(logits, axis=-1) == y).astype(losses.dtype))
    return jnp.mean(losses), {"accuracy": right}


def parts(config: Config, split: Split, seed: int) -> Split:
    """Training and test images as standardised rows, some of each."""
    rng = np.random.default_rng(seed)
    picked = []
    for part, count in zip(split, (config.images, config.tested), strict=True):
        rows = rng.permutation(len(part.y))[:count]
        picked.append(Labelled(part.x[rows].reshape(len(rows), -1), part.y[rows]))
    (train, test), _ = standardise(picked[0].x, picked[1].x)
    return Split(Labelled(train, picked[0].y), Labelled(test, picked[1].y))


def networks(
    config: Config, pixels: int, layers: int, activation: Any, variance: float,
    seeds: Sequence[int],
) -> eqx.nn.MLP:  # fmt: skip
    """Random networks of no bias, one of each seed, as a stack."""
    scale = jnp.asarray(variance**0.5)
    return made_stack(_network, keys_of(seeds), pixels, config.width, layers, activation, scale)


def keys_of(seeds: Sequence[int]) -> Key[Array, " n"]:
    """A key of each seed."""
    return jax.vmap(jr.key)(np.asarray(seeds))


def _network(
    pixels: int, width: int, layers: int, activation: Any, scale: Array, *, key: PRNGKeyArray
) -> eqx.nn.MLP:
    net = eqx.nn.MLP(pixels, CLASSES, width, layers, activation, use_bias=False, key=key)
    return gaussian_init(net, weight_scale=scale, key=key)


def one_layer(
    config: Config, context: Context, data: Split, variance: float, seeds: Sequence[int]
) -> dict[str, np.ndarray]:
    """Accuracies where one layer is trained and the rest stays random, `[seed, place]`."""
    start = networks(
        config, data.train.x.shape[1], config.layers, jax.nn.hard_tanh, variance, seeds
    )
    frozen = jax.tree.map(lambda _: False, start)
    found: dict[str, list] = {"train": [], "test": []}
    for place in config.trained:
        chosen = eqx.tree_at(lambda net, place=place: net.layers[place].weight, frozen, True)
        nets, info = fit(
            start, loss, data.train, optimiser=optax.adam(config.rate), trainable=chosen,
            steps=config.steps, batch_size=len(data.train.y), log_every=config.steps,
            sequential=True, key=keys_of(seeds),
            **context.training(f"layer-{place}-{variance:g}"),
        )  # fmt: skip
        context.log(info.lines(), layer=place, variance=variance)
        for name, part in data._asdict().items():
            found[name].append([accuracy(net, part) for net in unstacked(nets)])
    return {name: np.asarray(values).T for name, values in found.items()}


def whole(
    config: Config, context: Context, data: Split, variance: float, penalty: bool,
    seeds: Sequence[int],
) -> dict[str, Any]:  # fmt: skip
    """A network trained whole, with the penalty or without: its test accuracy, and under noise."""
    layers = config.noisy_layers
    start: Any = networks(config, data.train.x.shape[1], layers, jnp.tanh, variance, seeds)
    if penalty:
        each = lambda *, key: tuple(TrajectoryPenalty() for _ in range(layers))
        start = Penalised(start, made_stack(each, keys_of(seeds)))
    nets, info = fit(
        start, PenalisedLoss(config.penalty) if penalty else loss, data.train,
        optimiser=optax.adam(config.noisy_rate), steps=config.noisy_steps,
        batch_size=config.batch_size, log_every=min(100, config.noisy_steps), sequential=True,
        key=keys_of(seeds),
        **context.training(f"whole-{variance:g}{'-penalised' * penalty}"),
    )  # fmt: skip
    context.log(info.lines(), variance=variance, penalty=penalty)
    found = [_measured(config, net, data.test, seed) for net, seed in
             zip(unstacked(nets), seeds, strict=True)]  # fmt: skip
    return {name: np.stack([row[name] for row in found]) for name in found[0]}


def _measured(config: Config, net: Any, test: Labelled, seed: int) -> dict[str, Any]:
    if isinstance(net, Penalised):
        scales = np.asarray([penalty.scale for penalty in net.penalties])
        right = PenalisedLoss(config.penalty)
        return {"test": accuracy(net, test, right), "scales": scales}
    rows = jax.tree.map(jnp.asarray, test)
    of = lambda net: loss(net, rows, key=jr.key(0))[1]["accuracy"]
    noise = layer_noise_sensitivity(
        net, of, scale=config.noise, repeats=config.draws, key=jr.key(seed)
    )
    return {"test": noise.clean, "drop": -noise.change[:-1]}


def accuracy(net: Any, rows: Labelled, of: Any = loss) -> float:
    """The share of the images that is classified well."""
    return evaluate(net, of, rows, batch_size=len(rows.y), key=jr.key(0))["accuracy"]
