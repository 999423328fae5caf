"""One training of plain SGD, and at some of its steps the variance of many estimators."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Array, PRNGKeyArray

from pullback.analysis import gradient_variance, normalised_variance
from pullback.data import Labelled
from pullback.nn import Factors, layer_factors
from pullback.optim import cluster_gradients
from pullback.recipes._kit.checks import (
    check_above_zero,
    check_between,
    check_least,
    check_rising,
)
from pullback.recipes._kit.stack import made
from pullback.runs import Context
from pullback.train import fit

CLASSES = 10


@dataclass(frozen=True)
class Config:
    seeds: int = 5
    """Random seeds, each with images and weights of its own."""
    images: int = 1000
    """Images to train on."""
    repeated: int = 10
    """Images of which copies make up half of the set, where it has duplicates."""
    wrong: float = 0.2
    """Share of the labels that are drawn at random, where some are wrong."""
    width: int = 64
    """Hidden units of the network."""
    rate: float = 0.1
    """Learning rate."""
    small_rate: float = 0.01
    """Learning rate of the training that is slower."""
    momentum: float = 0.9
    """Momentum of SGD."""
    batch_size: int = 32
    """Images of a batch; as many clusters are made."""
    snapshots: tuple[int, ...] = (100, 300, 600)
    """Steps at which is measured, rising; step 0 comes before."""

    def __post_init__(self):
        check_above_zero(self)
        check_between(self, 0, 1, "wrong", "momentum")
        check_rising(self, "snapshots", count=2, least=1)
        check_least(self, images=max(self.batch_size, 2 * self.repeated))
        if self.images % (2 * self.repeated):
            raise ValueError(f"images must be a multiple of twice repeated, got {self.images}")
        if not self.small_rate < self.rate:
            raise ValueError(f"small_rate must be below rate, got {self.small_rate}")


@dataclass(frozen=True)
class Kind:
    """What is trained on, and how fast."""

    title: str
    rate: float
    duplicates: bool = False
    wrong: float = 0.0


def kinds(config: Config) -> dict[str, Kind]:
    """By a short name: as the images come, with duplicates, with wrong labels, and slower."""
    return {
        "plain": Kind("as they come", config.rate),
        "duplicates": Kind("half duplicates", config.rate, duplicates=True),
        "wrong": Kind(f"{config.wrong:.0%} of labels drawn", config.rate, wrong=config.wrong),
        "slow": Kind(f"as they come, rate {config.small_rate:g}", config.small_rate),
    }


def images_of(config: Config, kind: Kind, source: Labelled, seed: int) -> tuple[Array, Array]:
    """Images as rows and their labels, drawn by the seed: of all kinds the same, at first."""
    rng = np.random.default_rng(seed)
    if config.images > len(source.y):
        raise ValueError(f"images must be at most {len(source.y)}, got {config.images}")
    rows = rng.permutation(len(source.y))[: config.images]
    if kind.duplicates:
        half = config.images // 2
        copied = rows[half : half + config.repeated]
        rows = np.concatenate([rows[:half], np.repeat(copied, half // config.repeated)])
    x, y = source.x[rows].reshape(len(rows), -1), source.y[rows]
    drawn = rng.random(len(y)) < kind.wrong
    return jnp.asarray(x), jnp.asarray(np.where(drawn, rng.integers(0, CLASSES, len(y)), y), int)


def loss(model: eqx.nn.MLP, batch: Any, *, key: PRNGKeyArray) -> tuple[Array, dict[str, Array]]:
    """Cross-entropy."""
    del key
    x, y = batch
    return optax.softmax_cross_entropy_with_integer_labels(jax.vmap(model)(x), y).mean(), {}


def followed(
    config: Config, context: Context, source: Labelled, name: str, kind: Kind, seeds: Sequence[int]
) -> dict[str, np.ndarray]:
    """What was measured, `[seed, snapshot]` by name, step 0 among the snapshots."""
    found = [_follow(config, context, source, name, kind, seed) for seed in seeds]
    return {key: np.asarray([[at[key] for at in one] for one in found]) for key in found[0][0]}


def _follow(
    config: Config, context: Context, source: Labelled, name: str, kind: Kind, seed: int
) -> list[dict[str, float]]:
    data = images_of(config, kind, source, seed)
    model_key, key = jr.split(jr.key(seed))
    model = made(eqx.nn.MLP, data[0].shape[1], CLASSES, config.width, 1, key=model_key)
    optimiser, state = optax.sgd(kind.rate, config.momentum), None
    found, before, last = [], None, 0
    for step in (0, *config.snapshots):
        if step:
            model, info = fit(
                model, loss, data, optimiser=optimiser, optimiser_state=state, steps=step - last,
                batch_size=config.batch_size, log_every=step - last, key=jr.fold_in(key, step),
                **context.training(f"{name}-{seed}-{step}"),
            )  # fmt: skip
            state, last = info.optimiser_state, step
            context.log(info.lines(), kind=name, seed=seed, until=step)
        factors = layer_factors(loss, model, data, key=key)
        row, strata = measured(config, factors, data[1], before, jr.fold_in(key, step))
        found.append({"step": step, **row})
        before = factors, strata
    return found


def measured(
    config: Config,
    factors: Factors,
    labels: Array,
    before: tuple[Factors, Array] | None,
    key: PRNGKeyArray,
) -> tuple[dict[str, float], Array]:
    """Variances of a batch at these weights, and the clusters that are fresh.

    Args:
        config: the settings.
        factors: of all images.
        labels: of all images.
        before: factors and clusters of the snapshot before.
        key: where the clustering starts.
    """
    size = config.batch_size
    strata = cluster_gradients(factors, size, key=key).assignment
    stratified = lambda strata, size=size: gradient_variance(
        factors, batch_size=size, estimator="stratified", strata=strata
    )
    classes = len(np.unique(labels))
    found: Mapping[str, Any] = {
        "loss": factors.losses.mean(),
        "uniform": gradient_variance(factors, batch_size=size),
        "double": gradient_variance(factors, batch_size=2 * size),
        "normalised": normalised_variance(factors, batch_size=size),
        "bounded": normalised_variance(factors, batch_size=size, per_coordinate=True),
        "fresh": stratified(strata),
        "classes": stratified(labels, classes) / gradient_variance(factors, batch_size=classes),
        "stale": np.nan,
        "svrg": np.nan,
    }
    if before is not None:
        svrg = {"estimator": "svrg", "snapshot": before[0]}
        found = {
            **found,
            "stale": stratified(before[1]),
            "svrg": gradient_variance(factors, batch_size=size, **svrg),
        }
    return {name: float(value) for name, value in found.items()}, strata
