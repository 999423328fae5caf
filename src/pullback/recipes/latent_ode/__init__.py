"""Latent ODEs for irregularly-sampled time series (arXiv 1907.03907).

On sinusoids and events whose truth is known.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from pullback.recipes.latent_ode import models, show
from pullback.recipes.latent_ode.models import Config
from pullback.runs import Claim, Context

_PREDICTORS = {
    "gru": "GRU",
    "gru-gap": "GRU + time gap",
    "gru-d": "GRU-D",
    "decay": "RNN-Decay",
    "ode": "ODE-RNN",
}

_ENCODERS = {
    "ode": "ODE-RNN",
    "rnn": "GRU + time gap, as in the paper",
    "gated": "the ODE-RNN's cell, told the gaps, no ODE",
}


def run(config: Config, context: Context) -> list[Claim]:
    """Train the models, and measure what is claimed of them."""
    seeds = context.seeds(config.seeds)
    predictors = {
        kind: [
            context.stage(
                f"predictor-{kind}-{i}", models.score_predictor, config, context, kind, seed
            )
            for i, seed in enumerate(seeds)
        ]
        for kind in _PREDICTORS
    }
    latent = {
        encoder: [
            context.stage(
                f"latent-{encoder}-{i}", models.score_latent_ode, config, context, encoder, seed
            )
            for i, seed in enumerate(seeds)
        ]
        for encoder in _ENCODERS
    }
    poisson = [
        context.stage(f"poisson-{i}", models.score_poisson, config, context, seed)
        for i, seed in enumerate(seeds)
    ]
    grid = np.linspace(0.0, models.WINDOW, models.GRID)
    show.draw_shares(context, latent, _ENCODERS, models.SHARES)
    show.draw_latent_odes(context, latent, models.WINDOW)
    show.draw_predictors(context, grid, predictors, _PREDICTORS)
    show.draw_poisson(context, poisson, models.intensity(np.asarray(poisson[0]["times"])))
    show.draw_losses(context, latent)
    _tables(context, predictors, latent)
    return [
        *_claims_about_predictors(predictors),
        *_claims_about_latent_odes(config, latent),
        *_claims_about_events(poisson),
    ]


def _mean(rows: Sequence[dict[str, Any]], name: str) -> float:
    return float(np.mean([row[name] for row in rows]))


def _tables(context: Context, predictors: dict, latent: dict) -> None:
    context.table(
        "predictors",
        ["model", "not observed", "next observation", "in training"],
        [
            [
                name,
                *(_mean(predictors[kind], column) for column in ("error", "one_step", "training")),
            ]
            for kind, name in _PREDICTORS.items()
        ],
        "Autoregressive models on sinusoids with 20 % of the points: mean squared error of "
        "held-out series in their second half, where nothing was observed and one step ahead.",
    )
    context.table(
        "latent",
        ["encoder", "inside the window", "beyond it", "last value carried on"],
        [
            [name, *(_mean(latent[kind], column) for column in ("error", "beyond", "carried"))]
            for kind, name in _ENCODERS.items()
        ],
        "Latent ODEs on sinusoids with 30 % of the points: mean squared error of the posterior "
        "mean against the noiseless held-out series. A sinusoid's variance is 0.5.",
    )
    context.table(
        "shares",
        ["points seen", *_ENCODERS.values()],
        [
            [
                f"{100 * share:g} %",
                *(
                    float(np.mean([each["by_share"][k][0] for each in latent[encoder]]))
                    for encoder in _ENCODERS
                ),
            ]
            for k, share in enumerate(models.SHARES)
        ],
        "The same models inside the window, from more or fewer of the points than in training.",
    )


def _claims_about_predictors(found: dict[str, list[dict]]) -> list[Claim]:
    ode = [row["error"] for row in found["ode"]]
    ratios = {
        kind: [row["error"] / own for row, own in zip(found[kind], ode, strict=True)]
        for kind in ("decay", "gru")
    }
    measured = "the same experiment in plain Equinox"
    return [
        Claim.over_seeds(
            "Between observations of a sinusoid the ODE-RNN errs less than RNN-Decay: ratio of "
            f"held-out mean squared errors ({_mean(found['decay'], 'error'):.3g} over "
            f"{np.mean(ode):.2g})",
            ratios["decay"],
            at_least=10,
            reference=f"{measured}: 13 and 18",
        ),
        Claim.over_seeds(
            f"and than a GRU ({_mean(found['gru'], 'error'):.3g} over {np.mean(ode):.2g})",
            ratios["gru"],
            at_least=40,
            reference=f"{measured}: 45 and 68",
        ),
    ]


def _claims_about_latent_odes(config: Config, found: dict[str, list[dict]]) -> list[Claim]:
    ode, rnn, gated = (found[encoder] for encoder in _ENCODERS)
    return [
        Claim.over_seeds(
            f"From {100 * config.kept:g} % of the points, a latent ODE with an ODE encoder "
            "reconstructs better than with an RNN encoder: ratio of held-out mean squared errors "
            f"({_mean(rnn, 'error'):.3g} over {_mean(ode, 'error'):.2g})",
            [a["error"] / b["error"] for a, b in zip(rnn, ode, strict=True)],
            at_least=4,
            reference="1: no better; the same experiment in plain Equinox: 5.3, 5.8, 5.7",
        ),
        Claim.over_seeds(
            "Part of that is the encoder's cell: with the same cell, told the gaps, no ODE, the "
            f"ratio is ({_mean(gated, 'error'):.3g} over {_mean(ode, 'error'):.2g})",
            [a["error"] / b["error"] for a, b in zip(gated, ode, strict=True)],
            at_least=1.5,
            reference="1: the ODE adds nothing",
        ),
        Claim.over_seeds(
            f"More points help: its error from {100 * models.SHARES[0]:g} % of them over that from "
            f"{100 * models.SHARES[-1]:g} %",
            [row["by_share"][0][0] / row["by_share"][-1][0] for row in ode],
            at_least=2,
            reference="1: no better",
        ),
        Claim.over_seeds(
            "Beyond the window of training it errs less than the last value carried on: ratio of "
            f"mean squared errors ({_mean(ode, 'carried'):.3g} over {_mean(ode, 'beyond'):.2g})",
            [row["carried"] / row["beyond"] for row in ode],
            at_least=3,
            reference="1: no better",
        ),
    ]


def _claims_about_events(found: list[dict]) -> list[Claim]:
    return [
        Claim.over_seeds(
            "The Poisson head recovers a known intensity: largest error of its integral, relative "
            "to the expected number of events",
            [row["error"] for row in found],
            at_most=0.1,
            reference="lambda = exp(1 + sin(2 pi t / 5)), integrated by the trapezoidal rule",
        ),
        Claim.over_seeds(
            "and its held-out log-likelihood is above that of a constant rate: nats a series, of "
            f"{_mean(found, 'most'):.3g} that the true intensity gains",
            [row["gain"] for row in found],
            at_least=0.0,
            unit="nats",
            reference="the rate of the training set, held constant",
        ),
    ]


PRESETS = {
    "smoke": Config(
        seeds=2,
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
        event_series=20,
        event_steps=5,
    ),
    "desk": Config(),
    "paper": Config(
        predictor_epochs=500,
        latent=10,
        encoder_size=20,
        gate_width=100,
        width=100,
        epochs=500,
        event_series=1000,
        event_steps=2000,
    ),
}
