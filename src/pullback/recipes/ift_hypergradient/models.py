"""Networks with very many hyperparameters: a decay for each weight, or all pixels of ten images."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Array, PRNGKeyArray, PyTree

from pullback import data
from pullback.bilevel import Bounded, Implicit, Neumann, retrain, tune, values
from pullback.recipes._kit.checks import check_above_zero, check_between, check_least
from pullback.recipes._kit.stack import made
from pullback.runs import Context
from pullback.train import evaluate

CLASSES = 10
# Log-decays stay where steps of 0.1 do not diverge: e^2.5 is 12.
LOG_DECAYS = (-10.0, 2.5)
HOW_MANY = ("one for each weight", "one for all")


@dataclass(frozen=True)
class Config:
    seeds: int = 5
    """Random seeds, each with rows of its own."""
    few: int = 50
    """Training rows, and as many validation rows, of the decays."""
    width: int = 64
    """Hidden units of the networks."""
    rate: float = 0.1
    """Learning rate of the networks, by plain gradient descent."""
    steps: int = 20
    """Training steps between two steps of the decays."""
    terms: int = 20
    """Terms of the Neumann series."""
    outer: int = 400
    """Steps of the decays, and of the learned images."""
    outer_rate: float = 0.1
    """Learning rate of the decays, by RMSprop."""
    again: int = 2000
    """Training steps of a network that starts anew."""
    images: int = 1200
    """Images that the learned ones are judged by; all that there are, if fewer."""
    image_steps: int = 50
    """Training steps between two steps of the learned images."""
    draws: int = 5
    """Draws of ten real images, to compare with the learned ones."""

    def __post_init__(self):
        check_above_zero(self, but=("terms", "lengths"))
        check_least(self, seeds=1, few=2, width=1, steps=1, terms=0, outer=10, again=1)
        check_least(self, images=CLASSES, image_steps=1, draws=1)
        check_between(self, 0, float("inf"), "rate", "outer_rate")


def cross_entropy(model: PyTree, x: Array, y: Array) -> Array:
    """Of each row."""
    return optax.softmax_cross_entropy_with_integer_labels(jax.vmap(model)(x), y)


def decay(model: PyTree, by: float) -> Array:
    """A plain decay of all weights."""
    return by / 2 * optax.tree.norm(eqx.filter(model, eqx.is_inexact_array), squared=True)


def outer(
    model: PyTree, hyper: PyTree, batch: Any, *, key: PRNGKeyArray
) -> tuple[Array, dict[str, Array]]:
    """Cross-entropy of rows held out, and the share that is classified well."""
    del hyper, key
    x, y = batch
    logits = jax.vmap(model)(x)
    loss = optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()
    return loss, {"accuracy": jnp.mean(jnp.argmax(logits, axis=-1) == y)}


def decayed(
    model: PyTree, hyper: PyTree, batch: Any, *, key: PRNGKeyArray
) -> tuple[Array, dict[str, Array]]:
    """Cross-entropy, and a decay: one log-decay for all weights, or an array of them for each."""
    del key
    weights = jax.tree.leaves(eqx.filter(model, eqx.is_inexact_array))
    logs = jax.tree.leaves(values(hyper))
    logs = logs * len(weights) if len(logs) == 1 else logs
    parts = [jnp.sum(jnp.exp(log) * w**2) / 2 for log, w in zip(logs, weights, strict=True)]
    return cross_entropy(model, *batch).mean() + sum(parts), {}


def on_images(
    model: PyTree, hyper: Array, batch: None, *, key: PRNGKeyArray
) -> tuple[Array, dict[str, Array]]:
    """Cross-entropy of the images that `hyper` is, one of each class, and a decay of 0.01."""
    del batch, key
    return cross_entropy(model, hyper, jnp.arange(CLASSES)).mean() + decay(model, 0.01), {}


def accuracy(model: PyTree, rows: Any, *, key: PRNGKeyArray) -> float:
    """The share of the rows that is classified well."""
    judged = lambda model, batch, *, key: outer(model, None, batch, key=key)
    return evaluate(model, judged, rows, batch_size=4096, key=key)["accuracy"]


def flat(part: data.Labelled) -> tuple[np.ndarray, np.ndarray]:
    """Images as rows, and their classes."""
    return part.x.reshape(len(part.x), -1), part.y


def apart(split: data.Split, seed: int, *counts: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Parts of all images of so many rows, drawn by the seed, and the rest of them (10,000)."""
    x, y = (np.concatenate(both) for both in zip(*map(flat, split), strict=True))
    rows = np.random.default_rng(seed).permutation(len(x))
    places = np.split(rows, np.cumsum(counts))
    return [(x[place[:10_000]], y[place[:10_000]]) for place in places]


def network(pixels: int, width: int, *, key: PRNGKeyArray) -> eqx.nn.MLP:
    """A network of one hidden layer."""
    return made(eqx.nn.MLP, pixels, CLASSES, width, 1, key=key)


@eqx.filter_jit
def log_decays(model: PyTree, how_many: str) -> PyTree:
    """Log-decays that start at -5."""
    if how_many == HOW_MANY[1]:
        return Bounded(-5.0, *LOG_DECAYS)
    params = eqx.filter(model, eqx.is_inexact_array)
    return jax.tree.map(lambda w: Bounded(jnp.full_like(w, -5), *LOG_DECAYS), params)


def tune_decays(
    config: Config, context: Context, how_many: str, split: data.Split, seeds: Sequence[int]
) -> dict[str, np.ndarray]:
    """Tune decays on few validation rows. Accuracies by seed, tuned and re-trained."""
    return stacked([_decays(config, context, how_many, split, seed) for seed in seeds])


def _decays(
    config: Config, context: Context, how_many: str, split: data.Split, seed: int
) -> dict[str, Any]:
    train, validation, test = apart(split, seed, config.few, config.few)
    model_key, key = jr.split(jr.key(seed))
    start = network(train[0].shape[1], config.width, key=model_key)
    sgd = optax.sgd(config.rate)
    name = "-".join(how_many.split())
    model, hyper, info = tune(
        start, log_decays(start, how_many), decayed, outer, train, validation, optimiser=sgd,
        hyper_optimiser=optax.rmsprop(config.outer_rate),
        method=Implicit(Neumann(config.terms, config.rate)), inner_steps=config.steps,
        outer_steps=config.outer, key=key, **context.training(f"decays-{name}-{seed}"),
    )  # fmt: skip
    context.log(info.training.lines(), decays=how_many, seed=seed)
    again, _ = retrain(
        start, hyper, decayed, train, optimiser=sgd, steps=config.again, progress=False, key=key
    )
    logs = [np.asarray(leaf) for leaf in jax.tree.leaves(eqx.filter_jit(values)(hyper))]
    return {
        "validation": accuracy(model, validation, key=key),
        "train": accuracy(model, train, key=key),
        "test": accuracy(model, test, key=key),
        "validation_again": accuracy(again, validation, key=key),
        "test_again": accuracy(again, test, key=key),
        "ratio": info.history["ratio"][-1],
        "step": info.history["step"],
        "outer": info.history["outer"],
        "accuracy": info.history["outer_accuracy"],
        "logs": np.concatenate([leaf.ravel() for leaf in logs]),
        "pixels": np.mean(np.atleast_2d(logs[0]), axis=0),
    }


def distil(
    config: Config, context: Context, split: data.Split, seeds: Sequence[int]
) -> dict[str, np.ndarray]:
    """Learn ten images; accuracies of a linear model that starts anew on them, and on real ones."""
    return stacked([_distil(config, context, split, seed) for seed in seeds])


def _distil(config: Config, context: Context, split: data.Split, seed: int) -> dict[str, Any]:
    (x, y), test = map(flat, split)
    rng = np.random.default_rng(seed)
    rows = rng.permutation(len(x))[: config.images]
    image_key, key = jr.split(jr.key(seed))
    pixels, sgd = x.shape[1], optax.sgd(3 * config.rate)
    linear = made(eqx.nn.Linear, pixels, CLASSES, key=key)
    start = jax.tree.map(jnp.zeros_like, linear)
    begin = 0.1 * jr.normal(image_key, (CLASSES, pixels))
    model, images, info = tune(
        start, begin, on_images, outer, None, (x[rows], y[rows]), optimiser=sgd,
        hyper_optimiser=optax.adam(optax.cosine_decay_schedule(0.02, config.outer)),
        method=Implicit(Neumann(config.terms, 3 * config.rate)), inner_steps=config.image_steps,
        outer_steps=config.outer, key=key, **context.training(f"images-{seed}"),
    )  # fmt: skip
    context.log(info.training.lines(), images="learned", seed=seed)

    def worth(images: Any) -> float:
        found, _ = retrain(
            start, jnp.asarray(images), on_images, None, optimiser=sgd, steps=config.again,
            progress=False, key=key,
        )  # fmt: skip
        return accuracy(found, test, key=key)

    of_class = [x[y == c] for c in range(CLASSES)]
    drawn = [np.stack([rng.choice(each) for each in of_class]) for _ in range(config.draws)]
    return {
        "tuned": accuracy(model, test, key=key),
        "learned": worth(images),
        "real": np.mean([worth(each) for each in drawn]),
        "means": worth(np.stack([each.mean(axis=0) for each in of_class])),
        "images": images,
        "drawn": drawn[0],
    }


def stacked(rows: Sequence[dict[str, Any]]) -> dict[str, np.ndarray]:
    """Values of several seeds, along a first axis."""
    return {name: np.stack([np.asarray(row[name]) for row in rows]) for name in rows[0]}
