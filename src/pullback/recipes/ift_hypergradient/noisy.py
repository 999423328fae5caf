"""Two things that a validation set may teach: which labels are wrong, and how to disturb inputs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from pullback import data
from pullback.analysis import auroc
from pullback.bilevel import Bounded, Implicit, Neumann, retrain, tune
from pullback.recipes._kit.checks import check_least
from pullback.recipes._kit.stack import made
from pullback.recipes.ift_hypergradient import models
from pullback.recipes.ift_hypergradient.models import (
    CLASSES,
    accuracy,
    apart,
    cross_entropy,
    decay,
    network,
    outer,
    stacked,
)
from pullback.runs import Context

MISTAKES = ("a fifth at random", "half of the even digits as the next")
# Decay of the inner losses; sizes of the noise and the hidden layer of the augmentation.
_DECAY, _NOISE, _HIDDEN = 0.01, 8, 32


@dataclass(frozen=True)
class Config(models.Config):
    labelled: int = 500
    """Training rows, of which some have a wrong label."""
    noisy_seeds: int = 3
    """Random seeds of the weights of rows and of the augmentation."""
    clean: int = 100
    """Validation rows, of which none has; and both the training and the validation rows of the
    augmentation."""
    label_outer: int = 100
    """Steps of the weights of the rows."""
    augment_steps: int = 50
    """Training steps between two steps of the augmentation."""
    augment_outer: int = 200
    """Steps of the augmentation."""

    def __post_init__(self):
        super().__post_init__()
        check_least(
            self,
            noisy_seeds=1,
            labelled=20,
            clean=2,
            label_outer=10,
            augment_steps=1,
            augment_outer=10,
        )


def even_weights(rows: int) -> Bounded:
    """Weights between 0 and 2 that start at 1."""
    return made(Bounded, np.ones(rows), 0, 2)


def weighted(
    model: eqx.nn.MLP, hyper: Bounded, batch: Any, *, key: PRNGKeyArray
) -> tuple[Array, dict[str, Array]]:
    """Cross-entropy with a weight for each row."""
    del key
    return jnp.mean(hyper.value * cross_entropy(model, *batch)) + decay(model, _DECAY), {}


def wrong_labels(kind: str, y: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels of which some are wrong, and which those are."""
    rng = np.random.default_rng(seed)
    if kind == MISTAKES[0]:
        wrong = rng.permutation(len(y)) < len(y) // 5
        other = (y + rng.integers(1, CLASSES, len(y))) % CLASSES
    else:
        wrong = (y % 2 == 0) & (rng.random(len(y)) < 0.5)
        other = (y + 1) % CLASSES
    return np.where(wrong, other, y).astype(y.dtype), wrong


def find_wrong(
    config: Config, context: Context, kind: str, split: data.Split, seeds: Sequence[int]
) -> dict[str, np.ndarray]:
    """Learn a weight for each row from clean ones: how well it, and plain losses, tell mistakes."""
    return stacked([_find_wrong(config, context, kind, split, seed) for seed in seeds])


def _find_wrong(
    config: Config, context: Context, kind: str, split: data.Split, seed: int
) -> dict[str, Any]:
    (x, y), clean, test = apart(split, seed, config.labelled, config.clean)
    labels, wrong = wrong_labels(kind, y, seed)
    rows = (x, labels)
    model_key, key = jr.split(jr.key(seed))
    start, sgd = network(x.shape[1], config.width, key=model_key), optax.sgd(config.rate)
    model, hyper, info = tune(
        start, even_weights(len(x)), weighted, outer, rows, clean, optimiser=sgd,
        hyper_optimiser=optax.adam(config.outer_rate),
        method=Implicit(Neumann(config.terms, config.rate)), inner_steps=config.steps,
        outer_steps=config.label_outer, key=key,
        **context.training(f"labels-{MISTAKES.index(kind)}-{seed}"),
    )  # fmt: skip
    context.log(info.training.lines(), labels=kind, seed=seed)

    def trained(hyper: Bounded, rows: Any) -> eqx.nn.MLP:
        return retrain(
            start, hyper, weighted, rows, optimiser=sgd, steps=config.again, progress=False,
            key=key,
        )[0]  # fmt: skip

    networks = {
        "again": trained(hyper, rows), "plain": trained(even_weights(len(x)), rows),
        "clean": trained(even_weights(len(clean[0])), clean),
    }  # fmt: skip
    told = lambda score: auroc(np.asarray(score)[wrong], np.asarray(score)[~wrong])
    loss = lambda name: cross_entropy(networks[name], jnp.asarray(x), jnp.asarray(labels))
    return {
        "weights": told(-hyper.value),
        "by_plain": told(loss("plain")),
        "by_clean": told(loss("clean")),
        "test": accuracy(model, test, key=key),
        **{f"test_{name}": accuracy(each, test, key=key) for name, each in networks.items()},
        "wrong": wrong,
        "weight": hyper.value,
    }


class Augmentation(eqx.Module):
    """An image and what a small network, which is given noise too, adds to it."""

    net: eqx.nn.MLP

    def __init__(self, pixels: int, *, key: PRNGKeyArray):
        net = eqx.nn.MLP(pixels + _NOISE, pixels, _HIDDEN, 1, jax.nn.tanh, key=key)
        # At first next to nothing.
        last = jax.tree.map(lambda leaf: 0.1 * leaf, net.layers[-1])
        self.net = eqx.tree_at(lambda net: net.layers[-1], net, last)

    def __call__(self, x: Float[Array, " pixels"], *, key: PRNGKeyArray) -> Float[Array, " pixels"]:
        return x + self.net(jnp.concatenate([x, jr.normal(key, (_NOISE,))]))


def augmented(
    model: eqx.nn.MLP, hyper: Augmentation, batch: Any, *, key: PRNGKeyArray
) -> tuple[Array, dict[str, Array]]:
    """Cross-entropy of images that are disturbed."""
    x, y = batch
    x = jax.vmap(lambda x, key: hyper(x, key=key))(x, jr.split(key, len(x)))
    return cross_entropy(model, x, y).mean() + decay(model, _DECAY), {}


def augment(
    config: Config, context: Context, split: data.Split, seeds: Sequence[int]
) -> dict[str, np.ndarray]:
    """Learn an augmentation; accuracies with it, re-trained with it, and without any."""
    return stacked([_augment(config, context, split, seed) for seed in seeds])


def _augment(config: Config, context: Context, split: data.Split, seed: int) -> dict[str, Any]:
    train, validation, test = apart(split, seed, config.clean, config.clean)
    model_key, hyper_key, key = jr.split(jr.key(seed), 3)
    pixels, sgd = train[0].shape[1], optax.sgd(config.rate)
    start = network(pixels, config.width, key=model_key)
    model, hyper, info = tune(
        start, made(Augmentation, pixels, key=hyper_key), augmented, outer, train, validation,
        optimiser=sgd, hyper_optimiser=optax.adam(config.outer_rate / 10),
        method=Implicit(Neumann(config.terms, config.rate)), inner_steps=config.augment_steps,
        outer_steps=config.augment_outer, key=key, **context.training(f"augmentation-{seed}"),
    )  # fmt: skip
    context.log(info.training.lines(), augmentation="learned", seed=seed)
    settings = {"optimiser": sgd, "steps": config.again, "progress": False, "key": key}
    again, _ = retrain(start, hyper, augmented, train, **settings)
    none, _ = retrain(start, even_weights(len(train[0])), weighted, train, **settings)
    shown = jnp.asarray(train[0][:10])
    return {
        name: accuracy(each, rows, key=key)
        for each, of in ((model, "tuned"), (again, "again"), (none, "none"))
        for name, rows in ((f"{of}_validation", validation), (f"{of}_test", test))
    } | {
        "shown": shown,
        "disturbed": jax.vmap(lambda x, key: hyper(x, key=key))(shown, jr.split(key, len(shown))),
    }
