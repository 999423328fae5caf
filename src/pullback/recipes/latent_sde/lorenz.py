"""The stochastic Lorenz system: what a latent SDE with a recurrent encoder learns of its paths."""

from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from scipy import stats

from pullback import data, train
from pullback.data import IrregularSeries
from pullback.models import timeseries as ts
from pullback.plots import PALETTE, figure
from pullback.recipes._kit.checks import check_least
from pullback.runs import Claim, Context


@dataclass(frozen=True)
class Config:
    series: int = 512
    """Series to train on; half as many are held out."""
    iterations: int = 2000
    """Training steps."""
    batch_size: int = 64
    """Series in a training step."""
    width: int = 64
    """Hidden units of the recurrent cell and of the nets."""

    def __post_init__(self):
        check_least(self, series=2, iterations=1, batch_size=1, width=1)


def run(config: Config, context: Context) -> list[Claim]:
    """Fit one latent SDE with a recurrent encoder, and look at its bound and at its prior."""
    whole = data.stochastic_lorenz(3 * config.series // 2, seed=context.seed).observed
    rows = np.split(np.arange(len(whole.ids)), [config.series])
    (fitted, other), _ = data.rescale_series(*(whole.take(part) for part in rows))
    key, fit_key = jr.split(jr.key(context.seed))
    width = config.width
    model, info = train.fit(
        ts.latent_sde(
            3, latent=4, encoder_size=width, context=width, width=width, steps=1, key=key
        ),
        ts.LatentSDELoss(),
        ts.TrainingSeries(ts.observations(fitted)),
        optimiser=optax.adam(optax.cosine_decay_schedule(5e-3, config.iterations)),
        steps=config.iterations,
        batch_size=min(config.batch_size, config.series),
        validation=ts.TrainingSeries(ts.observations(other)),
        clip_norm=10.0,
        log_every=min(100, config.iterations),
        **context.training("lorenz"),
        key=fit_key,
    )
    context.log(info.lines(), model="latent SDE")
    found = context.stage("measures", _measure, model, fitted, other, context.seed)
    _draw(context, other, found["prior"])
    return [
        Claim(
            "A held-out series is likelier under the latent SDE than under a Gaussian for each "
            "time and variable: ELBO minus that log-density, a value",
            value=found["elbo"] - found["normal"],
            at_least=0.5,
            unit="nats",
            reference="the Gaussians do not see that a path is continuous",
        ),
        Claim(
            "Samples of the learned prior spread as the data do: mean absolute difference of the "
            "standard deviations at each time, in those of the data",
            value=found["spread_error"],
            at_most=0.35,
            reference="0",
        ),
    ]


def _measure(
    model: ts.LatentSDE, fitted: IrregularSeries, other: IrregularSeries, seed: int
) -> dict[str, Any]:
    held, key = ts.observations(other), jr.key(seed)
    times = jnp.asarray(other.times[0], float)
    prior = eqx.filter_jit(model.sample_prior)(times, samples=len(other.ids), key=key)
    # At the first time all are standard normal before the scaling; so the data's own deviations.
    mean, std, wanted = fitted.values.mean(0), fitted.values.std(0), other.values.std(0)
    return {
        "elbo": float(jnp.mean(eqx.filter_jit(model.elbo)(held, samples=20, key=key)))
        / held.mask[0].size,
        "normal": float(np.mean(stats.norm.logpdf(other.values, mean, std))),
        "prior": np.asarray(prior),
        "spread_error": float(np.mean(np.abs(np.asarray(prior).std(0) - wanted) / wanted)),
    }


def _draw(context: Context, other: IrregularSeries, prior: np.ndarray) -> None:
    fig, axes = figure(3, 2, width=9.0, height=6.6, sharex=True)
    shown = {"Held-out data": other.values, "Samples of the learned prior": prior}
    for column, (title, paths) in zip(axes.T, shown.items(), strict=True):
        for k, ax in enumerate(column):
            ax.plot(other.times[0], paths[:60, :, k].T, color=PALETTE[k], alpha=0.35, linewidth=0.8)
            ax.set(ylabel=f"{other.variables[k]}, scaled", ylim=(-4, 4))
        column[0].set(title=title)
        column[-1].set(xlabel="t")
    context.figure(
        "prior",
        fig,
        "Sixty paths of the stochastic Lorenz system, each variable scaled to deviation 1, and "
        "sixty of the prior that the latent SDE learned from such paths.",
    )


PRESETS = {
    "smoke": Config(series=16, iterations=4, batch_size=8, width=8),
    "desk": Config(),
    "paper": Config(series=1024, iterations=5000, batch_size=1024, width=100),
}
