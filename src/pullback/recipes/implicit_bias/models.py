"""Ten learned images with soft labels, and the network that is trained on them alone."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from pullback import data
from pullback.bilevel import Implicit, Neumann, retrain, tune
from pullback.recipes._kit.checks import check_above_zero, check_between, check_least, check_rising
from pullback.recipes._kit.stack import made
from pullback.runs import Context
from pullback.train import evaluate

CLASSES = 10


@dataclass(frozen=True)
class Config:
    seeds: int = 3
    """Random seeds, each with a split of its own."""
    images: int = 1200
    """Images that the outer loss is measured on; all that there are, if fewer."""
    width: int = 128
    """Hidden units of the network."""
    rate: float = 0.05
    """Learning rate of the network, by plain gradient descent."""
    warm_steps: tuple[int, ...] = (5, 50)
    """Training steps before each step of the images, of the warm starts."""
    warm_terms: tuple[int, ...] = (5, 20)
    """Terms of the Neumann series of the warm starts, one for each of `warm_steps`."""
    warm_outer: int = 600
    """Steps of the images in a warm start."""
    warm_rate: float = 0.02
    """Learning rate of the images in a warm start, by Adam; it falls to 0 along a cosine."""
    cold_steps: int = 200
    """Training steps before each step of the images, of the cold start."""
    cold_terms: int = 50
    """Terms of the Neumann series of the cold start."""
    cold_outer: int = 200
    """Steps of the images in a cold start."""
    cold_rate: float = 0.05
    """Learning rate of the images in a cold start, by Adam; it falls to 0 along a cosine."""
    decays: tuple[float, ...] = (0.01, 0.03, 0.1)
    """Weight decays of the inner loss, rising; the last of the warm starts is made with each."""
    again: int = 3000
    """Training steps of a network that starts anew on the learned images."""
    points: int = 10
    """Times at which a network is trained anew, for the curves."""

    def __post_init__(self):
        check_above_zero(self, but=("terms", "cold_terms", "warm_terms"))
        check_least(self, seeds=1, images=CLASSES, width=1, again=1, points=2)
        check_least(self, warm_outer=10, cold_outer=10, cold_steps=1, cold_terms=0)
        check_between(self, 0, float("inf"), "rate", "warm_rate", "cold_rate")
        check_rising(self, "warm_steps", least=1)
        check_rising(self, "decays", above=0)
        if len(self.warm_terms) != len(self.warm_steps) or min(self.warm_terms) < 0:
            raise ValueError(
                f"warm_terms must be {len(self.warm_steps)} numbers from 0, one for each of "
                f"warm_steps, got {self.warm_terms}"
            )


@dataclass(frozen=True)
class Way:
    """One way to learn the images."""

    title: str
    steps: int
    terms: int
    outer: int
    rate: float
    cold: bool = False
    decay: float = 0.0


def ways(config: Config) -> dict[str, Way]:
    """The warm starts, the cold one, and the last of the warm ones with decays."""
    warm = [
        Way(f"warm, {steps} steps", steps, terms, config.warm_outer, config.warm_rate)
        for steps, terms in zip(config.warm_steps, config.warm_terms, strict=True)
    ]
    cold = Way(
        "cold", config.cold_steps, config.cold_terms, config.cold_outer, config.cold_rate, cold=True
    )
    last = warm[-1]
    decayed = [
        Way(f"{last.title}, decay {decay:g}", last.steps, last.terms, last.outer, last.rate,
            decay=decay)
        for decay in config.decays
    ]  # fmt: skip
    return {way.title: way for way in (*warm, cold, *decayed)}


class Inner(eqx.Module):
    """Cross-entropy of the learned images with their soft labels, and a decay of the weights."""

    decay: Float[Array, ""]

    def __call__(
        self, model: eqx.nn.MLP, hyper: PyTree, batch: None, *, key: PRNGKeyArray
    ) -> tuple[Array, dict[str, Array]]:
        del batch, key
        logits = jax.vmap(model)(hyper["images"])
        loss = optax.softmax_cross_entropy(logits, jax.nn.softmax(hyper["labels"])).mean()
        size = optax.tree.norm(eqx.filter(model, eqx.is_inexact_array), squared=True)
        return loss + self.decay / 2 * size, {}


def outer(
    model: eqx.nn.MLP, hyper: PyTree, batch: Any, *, key: PRNGKeyArray
) -> tuple[Array, dict[str, Array]]:
    """Cross-entropy of real images, and the share that is classified well."""
    del hyper, key
    x, y = batch
    logits = jax.vmap(model)(x)
    loss = optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()
    return loss, {"accuracy": jnp.mean(jnp.argmax(logits, axis=-1) == y)}


def flat(split: data.Split, count: int, seed: int) -> tuple[Any, Any]:
    """Images as rows: `count` of the training set, drawn by the seed, and the whole test set."""
    train, test = ((part.x.reshape(len(part.x), -1), part.y) for part in split)
    rows = np.random.default_rng(seed).permutation(len(train[0]))[:count]
    return (train[0][rows], train[1][rows]), test


def distil(
    config: Config,
    context: Context,
    way: Way,
    split: Callable[[int], data.Split],
    seeds: Sequence[int],
    curve: bool,
) -> dict[str, np.ndarray]:
    """Learn the images; what the network is worth at the end, and one that starts anew. By seed.

    With `curve`, of the first seed as well what one that starts anew was worth on the way.
    """
    found = [
        _distil(config, context, way, split(seed), seed, curve=curve and seed == seeds[0])
        for seed in seeds
    ]
    curves = {name: found[0][name] for name in ("step", "current", "times", "anew")}
    values = [name for name in found[0] if name not in curves]
    return {name: np.stack([np.asarray(row[name]) for row in found]) for name in values} | {
        name: np.asarray(value) for name, value in curves.items()
    }


def _distil(
    config: Config, context: Context, way: Way, split: data.Split, seed: int, *, curve: bool
) -> dict[str, Any]:
    train, test = flat(split, config.images, seed)
    model_key, image_key, key = jr.split(jr.key(seed), 3)
    pixels = train[0].shape[1]
    start = made(eqx.nn.MLP, pixels, CLASSES, config.width, 1, key=model_key)
    hyper = {
        "images": 0.1 * jr.normal(image_key, (CLASSES, pixels)),
        "labels": 5 * jnp.eye(CLASSES),
    }
    inner, optimiser = Inner(jnp.asarray(way.decay)), optax.sgd(config.rate)
    name = "-".join(way.title.replace(",", "").split())
    model, tuned, info = tune(
        start, hyper, inner, outer, None, train, optimiser=optimiser,
        hyper_optimiser=optax.adam(optax.cosine_decay_schedule(way.rate, way.outer)),
        method=Implicit(Neumann(way.terms, config.rate)),
        inner_steps=way.steps, outer_steps=way.outer, restart_every=1 if way.cold else None,
        key=key, **context.training(f"{name}-{seed}"),
    )  # fmt: skip
    context.log(info.training.lines(), way=way.title, seed=seed)

    def anew(hyper: PyTree) -> eqx.nn.MLP:
        return retrain(
            start, hyper, inner, None, optimiser=optimiser, steps=config.again, progress=False,
            key=key,
        )[0]  # fmt: skip

    times = np.linspace(0, way.outer, config.points).round().astype(int)
    on_way = [info.schedule.at(int(time) * way.steps) for time in times] if curve else []
    return {
        "tuned": accuracy(model, test, key=key),
        "retrained": accuracy(anew(tuned), test, key=key),
        "outer": info.history["outer"][-1],
        "slope": info.history["gradient_norm"][-1],
        "ratio": info.history["ratio"][-1],
        "moved": optax.tree.norm(_difference(model, start)),
        "images": tuned["images"],
        "step": info.history["step"],
        "current": info.history["outer_accuracy"],
        "times": times,
        "anew": [accuracy(anew(hyper), train, key=key) for hyper in on_way],
    }


def accuracy(model: eqx.nn.MLP, rows: Any, *, key: PRNGKeyArray) -> float:
    """The share of the images that is classified well."""
    judged = lambda model, batch, *, key: outer(model, None, batch, key=key)
    return evaluate(model, judged, rows, batch_size=4096, key=key)["accuracy"]


def _difference(one: PyTree, other: PyTree) -> PyTree:
    return jax.tree.map(
        lambda a, b: a - b, *(eqx.filter(m, eqx.is_inexact_array) for m in (one, other))
    )
