"""Latent ODEs for irregularly-sampled time series (arXiv 1907.03907).

Sinusoids of which some points are seen: autoregressive models go on between them, and latent ODEs
with three encoders fill them in and continue them.
"""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from pullback.recipes.latent_ode import models, show
from pullback.recipes.latent_ode.models import Config
from pullback.runs import Claim, Context

_PREDICTORS = {
    "gru": "GRU",
    "gru-gap": "GRU + time gap",
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
    show.draw_predictors(context, predictors, _PREDICTORS)
    show.draw_latent_odes(context, latent, models.WINDOW)
    _tables(config, context, predictors, latent)
    return _claims(config, predictors, latent)


def _tables(config: Config, context: Context, predictors: dict, latent: dict) -> None:
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


def _claims(config: Config, predictors: dict[str, list], latent: dict[str, list]) -> list[Claim]:
    values = lambda rows, name: np.array([row[name] for row in rows])
    predicted = {kind: values(rows, "error") for kind, rows in predictors.items()}
    inside = {kind: values(rows, "error") for kind, rows in latent.items()}
    by_share, beyond = values(latent["ode"], "by_share"), values(latent["ode"], "beyond")
    carried = values(latent["ode"], "carried")
    few, many = (f"{100 * models.SHARES[k]:g} %" for k in (0, -1))
    over = lambda a, b: f"1: no better; errors {a.mean():.2g} and {b.mean():.2g}"
    return [
        *(
            Claim.over_seeds(
                f"Between observations of a sinusoid the ODE-RNN errs less than {name}: ratio of "
                "held-out mean squared errors",
                predicted[kind] / predicted["ode"],
                at_least=least,
                reference=over(predicted[kind], predicted["ode"]),
            )
            for kind, name, least in (("decay", "RNN-Decay", 10), ("gru", "a GRU", 40))
        ),
        Claim.over_seeds(
            f"From {100 * config.kept:g} % of the points, a latent ODE with an ODE encoder "
            "reconstructs better than with an RNN encoder: ratio of held-out mean squared errors",
            inside["rnn"] / inside["ode"],
            at_least=4,
            reference=over(inside["rnn"], inside["ode"]) + "; the paper, MuJoCo with 30 %: 2.768 "
            "over 0.300",
        ),
        Claim.over_seeds(
            "Not all of that is the encoder's cell: ratio with the ODE-RNN's cell, told the gaps, "
            "without an ODE",
            inside["gated"] / inside["ode"],
            at_least=1.5,
            reference=over(inside["gated"], inside["ode"]),
        ),
        Claim.over_seeds(
            "Beyond the window of training the latent ODE errs less than the last value carried "
            "on: ratio of mean squared errors",
            carried / beyond,
            at_least=3,
            reference=over(carried, beyond),
        ),
        Claim.over_seeds(
            f"When not to use it: on few points. The latent ODE's error from {few} of them over "
            f"that from {many}",
            by_share[:, 0] / by_share[:, -1],
            at_least=2,
            reference="1: as good; a sinusoid's variance is 0.5, the error from "
            f"{few} {by_share[:, 0].mean():.2g}",
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
        solver_steps=1,
    ),
    "desk": Config(),
    "paper": Config(
        predictor_epochs=500,
        latent=10,
        encoder_size=20,
        gate_width=100,
        width=100,
        epochs=500,
    ),
}
