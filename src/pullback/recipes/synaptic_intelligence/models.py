"""The network of the recipe `synaptic-intelligence`, its loss, and its trainings."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro.distributions as dist
import optax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from pullback.data import Labelled, Split, permuted_tasks, split_tasks
from pullback.optim import (
    diagonal_fisher,
    elastic_weight_consolidation,
    fit_tasks,
    synaptic_intelligence,
)
from pullback.recipes._kit.checks import check_above_zero, check_least
from pullback.recipes._kit.stack import made
from pullback.runs import Context
from pullback.train import evaluate, fit


@dataclass(frozen=True)
class Config:
    seeds: int = 3
    """Permutations, first weights and orders of the batches."""
    tasks: int = 5
    """Permutations of the pixels, the first of which changes nothing."""
    classes: int = 2
    """New classes in each task, where classes are learned one after another."""
    train: int = 1200
    """Training images of each task, or of all together where each has other classes."""
    test: int = 597
    """Test images, or fewer where there are not so many."""
    width: int = 256
    """Units of the two hidden layers."""
    epochs: int = 20
    """Times that each training image of a task is seen."""
    batch_size: int = 64
    """Images a step."""
    rate: float = 1e-3
    """Learning rate of Adam."""
    anew: bool = True
    """Whether Adam starts anew with each permutation. With new classes it does."""
    strength: float = 0.3
    """Of synaptic intelligence, c: looked for, with the damping, by the mean accuracy of all tasks
    at the end, on the test images."""
    damping: float = 1e-3
    """Of synaptic intelligence, xi."""
    elastic: float = 100.0
    """Of elastic weight consolidation: half of its lambda, looked for in the same way."""
    looked_at: int = 1200
    """Images at the end of each task that the Fisher information is of."""
    path_images: int = 500
    """Images of the training by gradient descent whose path is measured, from Equinox's first
    weights: those of He have large gradients, which steps of this size follow less well."""
    path_steps: int = 300
    """Its steps."""
    path_rates: tuple[float, ...] = (0.1, 0.03)
    """Its learning rates."""

    def __post_init__(self):
        check_above_zero(self)
        check_least(self, tasks=2)
        if max(self.path_images, self.looked_at, self.batch_size) > self.train:
            raise ValueError(
                f"train must be at least path_images, looked_at and batch_size, got {self.train}"
            )


WAYS = ("plain", "synaptic intelligence", "elastic weights")


def network(pixels: int, width: int, classes: int, *, key: PRNGKeyArray) -> eqx.nn.MLP:
    """Three dense layers with He's first weights."""
    net = eqx.nn.MLP(pixels, classes, width, 2, key=key)
    draw = jax.nn.initializers.he_normal(in_axis=1, out_axis=0)
    keys = jr.split(key, len(net.layers))
    weights = [draw(k, layer.weight.shape) for k, layer in zip(keys, net.layers, strict=True)]
    net = eqx.tree_at(lambda net: [layer.weight for layer in net.layers], net, weights)
    zero = lambda net: [layer.bias for layer in net.layers]
    return eqx.tree_at(zero, net, replace_fn=jnp.zeros_like)


class Images(NamedTuple):
    """Images of a task.

    Attributes:
        x: as rows.
        y: their classes.
        among: the classes that each may be of.
    """

    x: Float[Array | np.ndarray, "n pixels"]
    y: Int[Array | np.ndarray, " n"]
    among: Bool[Array | np.ndarray, "n classes"]


Tasks = Sequence[tuple[Images, Images]]
"""Training and test images of each task."""


def cross_entropy(net: Any, batch: Images, *, key: PRNGKeyArray) -> tuple[Array, dict]:
    """Of a task's images: that of the data alone."""
    del key
    return jnp.mean(
        optax.softmax_cross_entropy_with_integer_labels(_logits(net, batch), batch.y)
    ), {}


def accuracy(net: Any, test: Images) -> Float[Array, ""]:
    """The share of images classified rightly, among the classes that they may be of."""
    found = jnp.argmax(_logits(net, test), axis=1)
    return jnp.mean((found == test.y).astype(test.x.dtype))


def _logits(net: Any, images: Images) -> Float[Array, "n classes"]:
    return jnp.where(images.among, jax.vmap(net)(images.x), -1e9)


def permuted(config: Config, data: Split, seed: int) -> Tasks:
    """The tasks with other pixels, of images drawn anew for each seed."""
    tasks = permuted_tasks(_drawn(config, data, seed), config.tasks, seed=seed)
    count = 1 + int(data.train.y.max())
    among = np.ones(count, bool)
    return [(_images(train, among), _images(test, among)) for train, test in tasks]


def divided(config: Config, data: Split, seed: int, told: bool) -> Tasks:
    """The tasks with other classes, each of as many images.

    Args:
        config: the settings.
        data: of all classes.
        seed: which images.
        told: whether an image comes with word of which task it is of.
    """
    every = 1 + int(data.train.y.max())
    data = _drawn(config, data, seed)
    count = len(np.unique(data.train.y)) // config.classes
    tasks = split_tasks(data, count)
    fewest = min(len(task.train.y) for task in tasks)
    if fewest < config.batch_size:
        raise ValueError(f"batch_size must be at most {fewest}, got {config.batch_size}")
    found = []
    for train, test in tasks:
        among = np.isin(np.arange(every), train.y) | (not told)
        first = Labelled(train.x[:fewest], train.y[:fewest])
        found.append((_images(first, among), _images(test, among)))
    return found


def _images(part: Labelled, among: Bool[np.ndarray, " classes"]) -> Images:
    return Images(part.x, part.y, np.tile(among, (len(part.y), 1)))


def _drawn(config: Config, data: Split, seed: int) -> Split:
    """Some of the images, as rows."""
    if config.train > len(data.train.y):
        raise ValueError(f"train must be at most {len(data.train.y)}, got {config.train}")
    rows = np.random.default_rng(seed).permutation(len(data.train.y))[: config.train]
    flat = lambda x: x.reshape(len(x), -1)
    return Split(
        Labelled(flat(data.train.x[rows]), data.train.y[rows]),
        Labelled(flat(data.test.x[: config.test]), data.test.y[: config.test]),
    )


def one_after_another(
    config: Config,
    context: Context,
    name: str,
    ways: Sequence[str],
    of_seed: dict[int, Tasks],
) -> dict[str, list[dict[str, Any]]]:
    """Each way of training on the tasks of each seed, and what became of each task."""
    return {
        way: [_learned(config, context, name, way, tasks, seed) for seed, tasks in of_seed.items()]
        for way in ways
    }


def _learned(
    config: Config, context: Context, name: str, way: str, tasks: Tasks, seed: int
) -> dict[str, Any]:
    adam = optax.adam(config.rate)
    fisher = None
    if way == "elastic weights":
        optimiser = elastic_weight_consolidation(adam, strength=config.elastic)
        fisher = lambda net, data, *, key: diagonal_fisher(
            net,
            lambda logits: dist.Categorical(logits=logits),
            data.x[: config.looked_at],
            key=key,
        )
    else:
        strength = config.strength if way == "synaptic intelligence" else 0.0
        optimiser = synaptic_intelligence(adam, strength=strength, damping=config.damping)
    _, _, info = fit_tasks(
        _first(config, tasks, seed), cross_entropy, [train for train, _ in tasks],
        optimiser=optimiser, steps=_steps(config, tasks), batch_size=config.batch_size,
        metric=accuracy, tests=[test for _, test in tasks], fisher=fisher,
        reset_inner=config.anew or name != "permutations", log_every=_steps(config, tasks),
        key=jr.key(seed),
        **context.training(f"{name}-{way.replace(' ', '-')}-{seed}"),
    )  # fmt: skip
    return {"before": info.before, "accuracy": info.metrics}


def together(
    config: Config, context: Context, name: str, of_seed: dict[int, Tasks]
) -> list[np.ndarray]:
    """Accuracy on each task of a network that was trained on all of them at once."""
    found = []
    for seed, tasks in of_seed.items():
        steps = len(tasks) * _steps(config, tasks)
        data = Images(*map(np.concatenate, zip(*(train for train, _ in tasks), strict=True)))
        net, _ = fit(
            _first(config, tasks, seed), cross_entropy, data, optimiser=optax.adam(config.rate),
            steps=steps, batch_size=config.batch_size, log_every=steps, key=jr.key(seed),
            **context.training(f"{name}-{seed}"),
        )  # fmt: skip
        measure = eqx.filter_jit(accuracy)
        found.append(np.asarray([float(measure(net, test)) for _, test in tasks]))
    return found


def falls(config: Config, context: Context, of_seed: dict[int, Tasks]) -> np.ndarray:
    """The sum of omega over the fall of the loss, by gradient descent with all images a step.

    A row a seed, and a column for each of `path_rates`.
    """
    found: list[list[float]] = []
    for seed, tasks in of_seed.items():
        data = Images(*(leaf[: config.path_images] for leaf in tasks[0][0]))
        shape = data.x.shape[1], data.among.shape[1], config.width, 2
        net = made(eqx.nn.MLP, *shape, key=jr.key(seed))
        found.append([])
        for rate in config.path_rates:
            end, info = fit(
                net, cross_entropy, data, batch_size=config.path_images, steps=config.path_steps,
                optimiser=synaptic_intelligence(optax.sgd(rate), strength=0.0),
                log_every=config.path_steps, key=jr.key(seed),
                **context.training(f"path-{rate:g}-{seed}"),
            )  # fmt: skip
            omega = sum(
                float(jnp.sum(leaf)) for leaf in jax.tree.leaves(info.optimiser_state.omega)
            )
            found[-1].append(omega / (_loss(net, data) - _loss(end, data)))
    return np.asarray(found)


def _loss(net: Any, data: Images) -> float:
    return evaluate(net, cross_entropy, data, batch_size=len(data.y), key=jr.key(0))["loss"]


def _first(config: Config, tasks: Tasks, seed: int) -> eqx.nn.MLP:
    pixels = tasks[0][0].x.shape[1]
    classes = tasks[0][0].among.shape[1]
    return made(network, pixels, config.width, classes, key=jr.key(seed))


def _steps(config: Config, tasks: Tasks) -> int:
    return max(1, config.epochs * len(tasks[0][0].y) // config.batch_size)
