"""Ratings of low rank whose truth is known, and what each recommender makes of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax

from pullback.data import Ratings
from pullback.models.recommenders import (
    AbstractRecommender,
    fit_als,
    fit_biases,
    fit_evidence_chains,
)
from pullback.recipes._kit.checks import check_above_zero, check_between, check_least, check_rising
from pullback.runs import Context

_RANK, _MEAN = 3, 3.5
# Of each newcomer, ratings that are judged by.
_JUDGED = 20


@dataclass(frozen=True)
class Config:
    seeds: int = 2
    """Random seeds, each with ratings of its own."""
    users: tuple[int, ...] = (300, 1200)
    """Users to train on, rising: the first for most, the last to see what size costs."""
    newcomers: int = 80
    """Users of whom nothing is known in training."""
    items: int = 200
    """Items."""
    density: float = 0.145
    """The share of all pairs that is rated."""
    noise: float = 0.25
    """Standard deviation of a rating about what the factors say."""
    test: float = 0.15
    """The share of the trained users' ratings that is held out."""
    latent: int = 8
    """Numbers in a vector."""
    prototypes: int = 30
    """Users, and items, that have vectors of their own."""
    width: int = 32
    """Hidden units of the generators."""
    generators: tuple[str, ...] = ("mlp_product", "mlp", "ridge")
    """What makes a vector of evidence: in most chains, and the two that it is held against."""
    steps: int = 200
    """Training steps, whatever the number of users."""
    rate: float = 1e-2
    """Learning rate of Adam, at the start of a cosine to zero."""
    shown: tuple[int, ...] = (1, 2, 5, 10, 20)
    """Ratings that are known of a newcomer, rising; 2, 10 and 20 are claimed of."""

    def __post_init__(self):
        check_above_zero(self)
        check_least(self, seeds=1, newcomers=2, items=40, prototypes=2, steps=10)
        check_between(self, 0, 1, "density", "test")
        check_rising(self, "users", count=2, least=20)
        check_rising(self, "shown", count=3, least=1)
        if len(self.generators) != 3 or not {*self.generators} <= {"mlp", "mlp_product", "ridge"}:
            raise ValueError(
                f'generators must be three of "mlp", "mlp_product" and "ridge", got '
                f"{self.generators}"
            )
        if not {2, 10, 20} <= set(self.shown):
            raise ValueError(f"shown must hold 2, 10 and 20, got {self.shown}")


class World(NamedTuple):
    """Ratings to learn from and to be judged by, and those of newcomers in random order."""

    train: Ratings
    test: Ratings
    items: np.ndarray
    values: np.ndarray


def world(config: Config, users: int, seed: int) -> World:
    """Draw the users and items of a seed. Items and newcomers are those of every number of users.

    Who rates much, and what is rated much, is skewed: gamma and log-normal.
    """
    rng = np.random.default_rng([seed, 0])
    items, popularity = rng.normal(size=(config.items, _RANK)), rng.normal(size=config.items)
    count = max(config.shown) + _JUDGED
    gumbel = rng.gumbel(size=(config.newcomers, config.items))
    rated = np.argsort(-(popularity + gumbel), axis=1)[:, :count]
    rated = rng.permuted(rated, axis=1)
    say = lambda rng, factors, chosen: (
        _MEAN
        + (
            np.einsum("...k,...k->...", factors, items[chosen]) / _RANK**0.5
            + config.noise * rng.normal(size=chosen.shape)
        )
    )
    values = say(rng, rng.normal(size=(config.newcomers, 1, _RANK)), rated)
    rng = np.random.default_rng([seed, users])
    activity = np.log(rng.gamma(2.0, size=(users, 1)))
    gumbel = rng.gumbel(size=(users, config.items))
    cells = np.argsort(-(activity + popularity + gumbel), axis=None)
    who, what = np.divmod(cells[: round(config.density * users * config.items)], config.items)
    factors = rng.normal(size=(users, _RANK))
    names = lambda size: tuple(map(str, range(size)))
    given = say(rng, factors[who], what)
    ratings = Ratings(who, what, given, names(users), names(config.items))
    split = ratings.split(test=config.test, seed=seed)
    return World(split.train, split.test, rated, values)


def chains(
    config: Config,
    context: Context,
    seeds: Sequence[int],
    users: int,
    generator: str,
    thinned: float,
) -> dict[str, np.ndarray]:
    """Train chains of evidence on the ratings of each seed, and judge them."""
    found = []
    for seed in seeds:
        of = world(config, users, seed)
        name = f"{generator.replace('_', '-')}-{users}-{thinned:g}-{seed}"
        model, info = fit_evidence_chains(
            of.train, latent=config.latent, prototypes=config.prototypes, generator=generator,
            width=config.width, steps=config.steps, thinned=thinned,
            optimiser=optax.adam(optax.cosine_decay_schedule(config.rate, config.steps)),
            validation=of.test, log_every=max(1, config.steps // 12), key=jr.key(seed),
            **context.training(name),
        )  # fmt: skip
        context.log(info.lines(), generator=generator, users=users, thinned=thinned, seed=seed)
        parts = jax.tree.leaves(eqx.filter(model, eqx.is_inexact_array))
        size = sum(part.size for part in parts)
        curve = {"step": info.history["step"], "curve": info.history["validation_rmse"]}
        found.append(judged(config, model.embed(of.train), of) | {"parameters": size} | curve)
    return _stacked(found)


def baselines(
    config: Config, context: Context, seeds: Sequence[int], users: int
) -> dict[str, dict[str, np.ndarray]]:
    """The mean, the biases, and least squares with fold-in of newcomers. By name."""
    del context
    found: dict[str, list[dict[str, Any]]] = {"mean": [], "biases": [], "ALS, fold-in": []}
    for seed in seeds:
        of = world(config, users, seed)
        mean = of.train.values.mean()
        off = lambda values, mean=mean: float(np.sqrt(np.mean((values - mean) ** 2)))
        found["mean"].append(
            {"warm": off(of.test.values), "new": [off(of.values[:, -_JUDGED:])] * len(config.shown)}
        )
        biases = fit_biases(of.train)
        factors = fit_als(of.train, rank=5, key=jr.key(seed))
        found["biases"].append(judged(config, biases, of))
        found["ALS, fold-in"].append(judged(config, factors, of))
    return {name: _stacked(rows) for name, rows in found.items()}


def judged(config: Config, recommender: AbstractRecommender, of: World) -> dict[str, Any]:
    """Root mean squared errors: of held-out ratings, and of newcomers by what is known of them."""
    left = np.asarray(recommender.predict(jnp.asarray(of.test.users), jnp.asarray(of.test.items)))
    return {
        "warm": float(np.sqrt(np.mean((left - of.test.values) ** 2))),
        "new": newcomers(recommender, of.items, of.values, config.shown),
    }


def newcomers(
    recommender: AbstractRecommender, items: np.ndarray, values: np.ndarray, shown: Sequence[int]
) -> list[float]:
    """The error of each newcomer's last ratings, for each number of their first that are known."""
    floats = jnp.result_type(float)
    given = (jnp.asarray(items), jnp.asarray(values[:, :-_JUDGED], floats))
    left = [
        np.asarray(_predicted(recommender, *given, jnp.asarray(count))) - values[:, -_JUDGED:]
        for count in shown
    ]
    return [float(np.sqrt(np.mean(each**2))) for each in left]


@eqx.filter_jit
def _predicted(
    recommender: AbstractRecommender, items: jax.Array, values: jax.Array, count: jax.Array
) -> jax.Array:
    """The last of the items, for users of whom so many of the first are known."""
    known = jnp.arange(values.shape[1]) < count
    embed = lambda items, values: recommender.embed(items, values, known)
    rows = jax.vmap(embed)(items[:, :-_JUDGED], values)
    return jax.vmap(recommender.rate)(rows, items[:, -_JUDGED:])


def _stacked(rows: Sequence[dict[str, Any]]) -> dict[str, np.ndarray]:
    return {name: np.stack([np.asarray(row[name]) for row in rows]) for name in rows[0]}
