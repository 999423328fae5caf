"""The stochastic Lorenz system: the recipe `latent-sde` with `--system lorenz`."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Float
from scipy import stats

from pullback import data, train
from pullback.data import IrregularSeries
from pullback.models.timeseries import (
    LatentSDE,
    LatentSDELoss,
    TrainingSeries,
    latent_sde,
    observations,
)
from pullback.plots import PALETTE, figure
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
    learning_rate: float = 5e-3
    """Adam's, at the start; it falls to zero along a cosine."""

    def __post_init__(self):
        for name in ("iterations", "batch_size", "width"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.series < 2:
            raise ValueError(f"series must be at least 2, got {self.series}")


def run(config: Config, context: Context) -> list[Claim]:
    """Fit one latent SDE with a recurrent encoder, and look at its bound and at its prior."""
    held = config.series // 2
    series = data.stochastic_lorenz(config.series + held, seed=context.seed).observed
    fitted, other = (
        series.take(np.arange(start, stop))
        for start, stop in ((0, config.series), (config.series, len(series.ids)))
    )
    (fitted, other), _ = data.rescale_series(fitted, other)
    model = _trained(config, context, fitted, other)
    found = context.stage("measures", _measure, model, fitted, other, jr.key(context.seed))
    _draw(context, other, found["prior"])
    context.table(
        "bounds",
        ["distribution of a held-out series", "log-density, nats a value"],
        [
            ["latent SDE, ELBO", round(found["elbo"], 3)],
            ["latent SDE, importance-weighted with 20 paths", round(found["iwae"], 3)],
            ["independent Gaussians, one for each time and variable", round(found["normal"], 3)],
        ],
        f"{held} held-out series of 41 times and 3 variables, each scaled to deviation 1.",
    )
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


def _trained(
    config: Config, context: Context, fitted: IrregularSeries, other: IrregularSeries
) -> LatentSDE:
    key, fit_key = jr.split(jr.key(context.seed))
    model = latent_sde(
        3,
        latent=4,
        encoder_size=config.width,
        context=config.width,
        width=config.width,
        steps=1,
        key=key,
    )
    settings: dict[str, Any] = {
        "optimiser": optax.adam(
            optax.cosine_decay_schedule(config.learning_rate, config.iterations)
        ),
        "batch_size": min(config.batch_size, config.series),
        "validation": TrainingSeries(observations(other)),
        "clip_norm": 10.0,
        "log_every": min(100, config.iterations),
        "resume": context.resume,
        "progress": None if context.progress else False,
        "key": fit_key,
    }
    model, info = train.fit(
        model, LatentSDELoss(), TrainingSeries(observations(fitted)),
        steps=config.iterations, folder=context.folder("lorenz"), **settings,
    )  # fmt: skip
    context.log(info.lines(), model="latent SDE")
    return model


def _measure(
    model: LatentSDE, fitted: IrregularSeries, other: IrregularSeries, key: Any
) -> dict[str, Any]:
    held, times = observations(other), jnp.asarray(other.times[0], float)
    bound = lambda method, samples: float(
        jnp.mean(jax.jit(lambda key: method(held, samples=samples, key=key))(key))
    )
    prior = jax.jit(lambda key: model.sample_prior(times, samples=len(other.ids), key=key))(key)
    # At the first time all are standard normal before the scaling; so the data's own deviations.
    mean, std = fitted.values.mean(axis=0), fitted.values.std(axis=0)
    number = held.mask[0].size
    spread = np.abs(np.asarray(prior).std(axis=0) - other.values.std(axis=0))
    return {
        "elbo": bound(model.elbo, 20) / number,
        "iwae": bound(model.iwae, 20) / number,
        "normal": float(np.mean(stats.norm.logpdf(other.values, mean, std))),
        "prior": np.asarray(prior),
        "spread_error": float(np.mean(spread / other.values.std(axis=0))),
    }


def _draw(
    context: Context, other: IrregularSeries, prior: Float[np.ndarray, "sample time variable"]
) -> None:
    fig, axes = figure(3, 2, width=9.0, height=6.6, sharex=True)
    for column, (title, paths) in enumerate(
        (("Held-out data", other.values), ("Samples of the learned prior", prior))
    ):
        for k, ax in enumerate(axes[:, column]):
            ax.plot(other.times[0], paths[:60, :, k].T, color=PALETTE[k], alpha=0.35, linewidth=0.8)
            ax.set(ylabel=f"{other.variables[k]}, scaled", ylim=(-4, 4))
        axes[0, column].set(title=title)
        axes[-1, column].set(xlabel="t")
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
