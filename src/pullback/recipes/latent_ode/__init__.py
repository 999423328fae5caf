"""Latent ODEs for irregularly-sampled time series (arXiv 1907.03907).

Sinusoids of which some points are seen, the toy of the paper: latent ODEs with two encoders fill
them in, a latent ODE and an RNN-VAE continue them, and autoregressive models go on between points.
"""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from pullback.recipes.latent_ode import models, show
from pullback.recipes.latent_ode.models import Config
from pullback.runs import Claim, Context, Headline

_PREDICTORS = {
    "decay": "RNN-Decay",
    "ode": "ODE-RNN",
}

_ENCODERS = {
    "ode": "ODE-RNN",
    "rnn": "GRU + time gap, as in the paper",
}

_FORECASTERS = {"ode": "latent ODE", "rnn-vae": "RNN-VAE"}


def run(config: Config, context: Context) -> list[Claim]:
    """Train the models, and measure what is claimed of them."""

    def measured(name: str, score: Callable[..., Any], kinds: Iterable[str]) -> dict[str, list]:
        """One stage for each kind and seed."""
        return {
            kind: [
                context.stage(f"{name}-{kind}-{i}", score, config, context, kind, seed)
                for i, seed in enumerate(context.seeds(config.seeds))
            ]
            for kind in kinds
        }

    predictors = measured("predictor", models.score_predictor, _PREDICTORS)
    latent = measured("latent", models.score_latent_ode, _ENCODERS)
    forecasts = measured("forecast", models.score_forecast, _FORECASTERS)
    show.draw_predictors(context, predictors, _PREDICTORS)
    show.draw_latent_odes(context, latent, models.WINDOW)
    show.draw_forecasts(context, forecasts, _FORECASTERS, models.HALF)
    _tables(config, context, predictors, latent, forecasts)
    return _claims(config, predictors, latent, forecasts)


def _tables(
    config: Config, context: Context, predictors: dict, latent: dict, forecasts: dict
) -> None:
    mean = lambda rows, name: float(np.mean([row[name] for row in rows]))
    context.table(
        "predictors",
        ["model", "not observed", "next observation"],
        [
            [name, *(mean(predictors[kind], column) for column in ("error", "one_step"))]
            for kind, name in _PREDICTORS.items()
        ],
        f"Autoregressive models on sinusoids with {100 * config.predictor_kept:g} % of the points: "
        "mean squared error of held-out series in their second half, where nothing was observed "
        "and one step ahead.",
    )
    context.table(
        "latent",
        ["encoder", *(f"inside, {100 * share:g} % seen" for share in models.SHARES),
         "beyond the window", "last value carried on"],
        [
            [name, *np.mean([row["by_share"] for row in latent[kind]], axis=0).tolist(),
             *(mean(latent[kind], column) for column in ("beyond", "carried"))]
            for kind, name in _ENCODERS.items()
        ],
        f"Latent ODEs trained on sinusoids with {100 * config.kept:g} % of the points: mean "
        "squared error of the posterior mean against the noiseless held-out series, inside the "
        "window of training by the share of points that is seen, and beyond it. A sinusoid's "
        "variance is 0.5.",
    )  # fmt: skip
    context.table(
        "forecasts",
        ["model", "second half"],
        [
            *([name, mean(forecasts[kind], "error")] for kind, name in _FORECASTERS.items()),
            ["last value carried on", mean(forecasts["ode"], "carried")],
        ],
        f"Trained to write the second half of a sinusoid from {100 * config.kept:g} % of the "
        "points of its first half: mean squared error of the posterior mean against the noiseless "
        "second half of held-out series.",
    )


def _claims(config: Config, predictors: dict, latent: dict, forecasts: dict) -> list[Claim]:
    values = lambda rows, name: np.array([row[name] for row in rows])
    errors = lambda found: {kind: values(rows, "error") for kind, rows in found.items()}
    predicted, inside, ahead = map(errors, (predictors, latent, forecasts))
    few = values(latent["ode"], "by_share")[:, 0]
    beyond, carried = (values(latent["ode"], name) for name in ("beyond", "carried"))
    over = lambda a, b: f"1: no better; errors {a.mean():.2g} and {b.mean():.2g}"
    return [
        Claim.over_seeds(
            f"Interpolation from {100 * config.kept:g} % of the points: what an ODE encoder leaves "
            "of a latent ODE's error with an RNN encoder, held-out mean squared errors",
            inside["ode"] / inside["rnn"],
            at_most=0.25,
            reference=over(inside["ode"], inside["rnn"]) + "; the paper, MuJoCo with 30 %: 0.300 "
            "over 2.768",
            headline=Headline(no_effect=1.0, paper=0.300 / 2.768),
        ),
        Claim.over_seeds(
            f"Extrapolation from {100 * config.kept:g} % of the points of a first half: a latent "
            "ODE's error over the second half as a share of an RNN-VAE's, held-out mean squared "
            "errors",
            ahead["ode"] / ahead["rnn-vae"],
            at_most=0.58,
            reference=over(ahead["ode"], ahead["rnn-vae"]) + "; the paper, MuJoCo with 30 %: 1.175 "
            "over 2.021, which is the bound",
            headline=Headline(no_effect=1.0, paper=1.175 / 2.021),
        ),
        Claim.over_seeds(
            "Between observations of a sinusoid the ODE-RNN errs less than RNN-Decay: ratio of "
            "held-out mean squared errors",
            predicted["decay"] / predicted["ode"],
            at_least=10,
            reference=over(predicted["decay"], predicted["ode"]),
        ),
        Claim.over_seeds(
            "Beyond the window of training the latent ODE errs less than the last value carried "
            "on: ratio of mean squared errors",
            carried / beyond,
            at_least=3,
            reference=over(carried, beyond),
        ),
        Claim.over_seeds(
            f"When not to use it: on few points. From {100 * models.SHARES[0]:g} % of them the "
            "latent ODE errs more than the constant 0: ratio of mean squared errors",
            few / 0.5,
            at_least=1,
            reference=f"1: as the constant; errors {few.mean():.2g} and 0.5, a sinusoid's variance",
        ),
    ]


PRESETS = {
    "smoke": Config(
        seeds=1,
        series=40,
        held_out=10,
        batch_size=20,
        predictor_size=4,
        predictor_epochs=1,
        latent=2,
        encoder_size=4,
        gate_width=4,
        width=4,
        epochs=1,
        forecast_epochs=1,
        solver_steps=1,
    ),
    "desk": Config(),
    "long": Config(seeds=5, predictor_epochs=100, epochs=200, forecast_epochs=200),
    "paper": Config(
        predictor_epochs=500,
        latent=10,
        encoder_size=20,
        gate_width=100,
        width=100,
        epochs=500,
        forecast_epochs=500,
    ),
}
