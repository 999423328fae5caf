"""What the recipe `noisy-natural-gradient` measures of posteriors."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro.distributions as dist
import optax
from jaxtyping import Float
from sklearn.datasets import load_diabetes

from pullback.analysis import information_gain
from pullback.optim import Full, Kronecker, fit_posterior
from pullback.recipes.noisy_natural_gradient.models import (
    METHODS,
    Config,
    Rows,
    by_backprop,
    by_nuts,
    normal,
    posterior,
    rows_of,
)

NUTS_NAME, BACKPROP = "NUTS", "Bayes by Backprop"


def patients(config: Config, seed: int) -> Rows:
    """scikit-learn's 442 patients, some of them to learn from."""
    x, y = load_diabetes(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(y))
    train, test = order[: config.train], order[config.train :]
    return rows_of(x[train], y[train], x[test], y[test])


def compared(config: Config, seed: int) -> dict[str, dict[str, Any]]:
    """Each posterior on one split: how well it predicts, and how it varies from row to row."""
    rows, key = patients(config, seed), jr.key(seed)
    drawn = {NUTS_NAME: by_nuts(config, rows, jr.fold_in(key, 0))}
    backprop = by_backprop(config, rows, jr.fold_in(key, 1))
    keys = jr.split(jr.fold_in(key, 2), config.samples)
    drawn[BACKPROP] = jax.vmap(lambda k: jax.vmap(backprop.draw(k))(jnp.asarray(rows.test_x)))(keys)
    for number, (name, curvature) in enumerate(METHODS.items()):
        fitted = posterior(config, curvature, rows.x, rows.y, jr.fold_in(key, 3 + number))
        drawn[name] = fitted.predict(rows.test_x, draws=config.samples, key=jr.fold_in(key, 9))
    reference = np.asarray(drawn[NUTS_NAME].var(axis=0))
    return {name: _judged(config, rows, found, reference) for name, found in drawn.items()}


def _judged(config: Config, rows: Rows, outputs: Any, reference: np.ndarray) -> dict[str, Any]:
    variance = np.asarray(outputs.var(axis=0))
    log_prob = normal(config)(outputs).log_prob(jnp.asarray(rows.test_y)[None])
    mean = jax.nn.logsumexp(log_prob, axis=0) - np.log(len(outputs))
    off = np.asarray(outputs.mean(axis=0)) - rows.test_y
    return {
        "correlation": float(np.corrcoef(variance, reference)[0, 1]),
        # Of a density in the units of the data.
        "log_likelihood": float(np.mean(mean)) - float(np.log(rows.unit)),
        "rmse": float(np.sqrt(np.mean(off**2))) * rows.unit,
        "variance": float(variance.mean()),
        "variances": variance,
    }


def line_gap(config: Config, seed: int) -> float:
    """How far the covariance of a linear regression's weights is from the exact one."""
    rng = np.random.default_rng(seed)
    n, d, noise = 200, 5, 0.5
    x = rng.normal(size=(n, d)) @ (np.eye(d) + 0.5)
    y = x @ rng.normal(size=d) + np.sqrt(noise) * rng.normal(size=n)
    exact = np.linalg.inv(x.T @ x / noise + np.eye(d))
    net = eqx.nn.Linear(d, "scalar", use_bias=False, key=jr.key(seed))
    scale = np.float32(np.sqrt(noise))
    fitted, _ = fit_posterior(
        net, lambda mean: dist.Normal(mean, scale), x.astype(np.float32),
        y.astype(np.float32),
        curvature=Full(rate=0.0), steps=config.line_steps, batch_size=20, statistics_every=1,
        inverse_every=20, optimiser=optax.sgd(0.01), log_every=config.line_steps, progress=False,
        key=jr.key(seed),
    )  # fmt: skip
    root = np.asarray(fitted.prepared.deviation, np.float64)
    return float(np.linalg.norm(root.T @ root - exact) / np.linalg.norm(exact))


def friedman(config: Config, seed: int, *, crowded: bool) -> Rows:
    """Friedman's function of five inputs; where crowded, nine of ten rows lie in one corner."""
    rng = np.random.default_rng(seed)
    x, test_x = (rng.uniform(size=(n, 5)) for n in (config.pool, 1000))
    if crowded:
        x = np.where(np.arange(config.pool)[:, None] % 10 > 0, 0.3 * x, x)

    def true(x: np.ndarray) -> np.ndarray:
        bent = 10 * np.sin(np.pi * x[:, 0] * x[:, 1]) + 20 * (x[:, 2] - 0.5) ** 2
        return bent + 10 * x[:, 3] + 5 * x[:, 4]

    y = true(x) + np.sqrt(config.active_noise) * rng.normal(size=len(x))
    return rows_of(x, y, test_x, true(test_x))


def active(config: Config, seed: int, *, crowded: bool = True) -> dict[str, float]:
    """Test errors after rows were asked for where most is to be learned, and at random."""
    rows = friedman(config, seed, crowded=crowded)
    config = dataclasses.replace(config, noise=config.active_noise / rows.unit**2)
    rng = np.random.default_rng(seed)
    first = rng.permutation(config.pool)[: config.first].tolist()
    taken = list(first)
    for _ in range(config.asked):
        outputs = _known(config, rows, taken, seed).predict(rows.x, draws=200, key=jr.key(seed))
        gain = np.array(information_gain(outputs.var(axis=0), config.noise))
        gain[taken] = -np.inf
        taken.append(int(gain.argmax()))
    left = np.setdiff1d(np.arange(config.pool), first)
    others = [
        [*first, *rng.choice(left, config.asked, replace=False)] for _ in range(config.repeats)
    ]
    return {
        "asked": _error(config, rows, taken, seed),
        "random": float(np.mean([_error(config, rows, each, seed) for each in others])),
        "before": _error(config, rows, first, seed),
    }


def _known(config: Config, rows: Rows, taken: Sequence[int], seed: int) -> Any:
    """The posterior of some rows, which stand there several times so that shapes stay."""
    size = 12 * (config.first + config.asked)
    again = np.resize(np.asarray(taken), size)
    return posterior(
        config, Kronecker(), rows.x[again], rows.y[again], jr.key(seed),
        steps=config.active_steps, kl_weight=size / len(taken),
    )  # fmt: skip


def _error(config: Config, rows: Rows, taken: Sequence[int], seed: int) -> float:
    outputs = _known(config, rows, taken, seed).predict(rows.test_x, draws=200, key=jr.key(seed))
    off: Float[np.ndarray, " m"] = np.asarray(outputs.mean(axis=0)) - rows.test_y
    return float(np.sqrt(np.mean(off**2)))
