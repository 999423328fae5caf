"""The posteriors of `noisy-natural-gradient` on UCI's tables, by their published splits."""

from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro.distributions as dist
import optax
from jaxtyping import Array

from pullback.data import uci_regression
from pullback.optim import fit_posterior
from pullback.recipes._kit.checks import check_above_zero
from pullback.recipes.noisy_natural_gradient.models import METHODS, rows_of
from pullback.runs import Claim, Context


@dataclass(frozen=True)
class Config:
    tables: tuple[str, ...] = ("yacht", "bostonHousing", "energy", "concrete", "wine-quality-red")
    """UCI's tables, by their names."""
    splits: int = 4
    """Of each table so many of the published splits, from the first."""
    width: int = 50
    """Hidden units, as in the paper."""
    steps: int = 6000
    """Training steps."""
    batch_size: int = 50
    """Rows a step."""
    rate: float = 0.01
    """Learning rate, and a tenth of it in the second half; momentum is 0.9."""
    damping: float = 0.01
    """Of the steps."""
    draws: int = 100
    """Networks that predict, as in the paper."""

    def __post_init__(self):
        check_above_zero(self)


class Measured(eqx.Module):
    """A network and the scale of the noise, one for all rows, which is inferred beside."""

    net: eqx.nn.MLP
    log_scale: Array

    def __call__(self, x: Array) -> tuple[Array, Array]:
        return self.net(x), self.log_scale


def likelihood(output: tuple[Array, Array]) -> dist.Normal:
    """Of a mean and the logarithm of a scale."""
    return dist.Normal(output[0], jnp.exp(output[1]))


def fold(config: Config, context: Context, table: str, split: int) -> dict[str, dict[str, float]]:
    """Test log-likelihood and RMSE of each method on one split, in the units of the table."""
    train, test = uci_regression(table, split, folder=context.data)
    rows = rows_of(train.x, train.y, test.x, test.y)
    fall = optax.piecewise_constant_schedule(config.rate, {max(1, config.steps // 2): 0.1})
    found = {}
    for number, (name, curvature) in enumerate(METHODS.items()):
        keys = jr.split(jr.fold_in(jr.key(context.seed), 100 * split + number), 3)
        net = eqx.nn.MLP(rows.x.shape[1], "scalar", config.width, 1, jax.nn.relu, key=keys[0])
        posterior, _ = fit_posterior(
            Measured(net, jnp.asarray(-1.0)), likelihood, rows.x, rows.y, curvature=curvature,
            damping=config.damping, steps=config.steps, batch_size=config.batch_size,
            optimiser=optax.chain(optax.ema(0.9), optax.scale_by_learning_rate(fall)),
            inverse_every=20, draws="batch", log_every=config.steps, progress=False, key=keys[1],
        )  # fmt: skip
        log_prob = posterior.log_prob(rows.test_x, rows.test_y, draws=config.draws, key=keys[2])
        means, _ = posterior.predict(rows.test_x, draws=config.draws, key=keys[2])
        off = np.asarray(means.mean(axis=0)) - rows.test_y
        found[name] = {
            "log_likelihood": float(log_prob.mean()) - float(np.log(rows.unit)),
            "rmse": float(np.sqrt(np.mean(off**2))) * rows.unit,
        }
    return found


def run(config: Config, context: Context) -> list[Claim]:
    """Fit every table, and compare the two methods."""
    found = {
        table: context.stage(
            table,
            lambda table=table: [
                fold(config, context, table, split) for split in range(config.splits)
            ],
        )
        for table in config.tables
    }
    of = lambda table, method, name: np.asarray([row[method][name] for row in found[table]])
    kfac, adam = METHODS
    context.table(
        "tables",
        ["table", *(f"{name}, {what}" for name in METHODS for what in ("log-likelihood", "RMSE"))],
        [
            [table, *(_told(of(table, name, what)) for name in METHODS
                      for what in ("log_likelihood", "rmse"))]
            for table in config.tables
        ],
        f"Means over the first {config.splits} published splits and their standard errors, in the "
        "units of each table.",
    )  # fmt: skip
    ratios = [of(t, kfac, "rmse").mean() / of(t, adam, "rmse").mean() for t in config.tables]
    gains = [
        (of(t, kfac, "log_likelihood") - of(t, adam, "log_likelihood")).mean()
        for t in config.tables
    ]
    return [
        _claim(
            "Noisy K-FAC gives rows held out a higher log-likelihood than noisy Adam (mean over "
            "tables)",
            gains, at_least=0, unit="nats", reference="0: noisy Adam",
        ),
        _claim(
            "It predicts them with a smaller error (ratio of RMSEs, mean over tables)",
            ratios, at_most=1, reference="1: noisy Adam",
        ),
    ]  # fmt: skip


def _claim(sentence: str, values: Any, **settings: Any) -> Claim:
    return Claim(sentence, value=float(np.mean(values)), **settings)


def _told(values: np.ndarray) -> str:
    error = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else 0.0
    return f"{values.mean():.3f} +- {error:.3f}"


PRESETS = {
    "smoke": Config(tables=("yacht",), splits=1, width=3, steps=10, draws=3),
    "desk": Config(),
    "paper": Config(
        tables=(
            "bostonHousing", "concrete", "energy", "kin8nm", "naval-propulsion-plant",
            "power-plant", "wine-quality-red", "yacht",
        ),
        splits=20, steps=60_000,
    ),
}  # fmt: skip
