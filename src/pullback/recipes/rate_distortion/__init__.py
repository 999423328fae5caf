"""Fixing a broken ELBO (arXiv 1711.00464): models in the plane of rate and distortion.

A discrete model in which the ELBO cannot tell the truth from anything, and autoencoders of digits
with decoders that need z more and less.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pullback.recipes._kit.checks import check_least
from pullback.recipes._kit.image_vaes import binary_digits
from pullback.recipes.rate_distortion import measure, models, show
from pullback.runs import Claim, Context, Headline


@dataclass(frozen=True)
class Config(models.Sweep):
    discrete_steps: int = 15_000
    """Steps of the discrete model, on the whole distribution."""

    def __post_init__(self):
        super().__post_init__()
        check_least(self, discrete_steps=1)


def run(config: Config, context: Context) -> list[Claim]:
    """Train the models of both kinds, and draw them in the plane."""
    seeds = context.seeds(config.seeds)
    exact = context.stage(
        "discrete", measure.discrete, config.discrete_steps, [*seeds, *(s + 1000 for s in seeds)]
    )
    show.draw_discrete(context, exact["truth"], exact["found"])
    _table(context, exact["found"])
    train, test = (x.reshape(-1, 1, 8, 8) for x in binary_digits())
    sizes = models.Sizes(
        (1, 8, 8), latent=8, width=64, masked=200, channels=8, depth=1, learning_rate=2e-3
    )
    found = models.in_the_plane(config, context, sizes, train, test, "binary digits")
    discrete, *others = _claims_of_the_discrete_model(exact["found"])
    first, second, *rest = models.claims_in_the_plane(
        config, found, falls=1.0, below=1.0, less=1.0, dear=1.5
    )
    return [discrete, first, second, *others, *rest]


def _table(context: Context, found: Mapping[str, Mapping[str, np.ndarray]]) -> None:
    columns = {"rate": "R", "distortion": "D", "information": "I(x; z)", "larger": "larger p(z)",
               "off": "decoder off by"}  # fmt: skip
    context.table(
        "discrete",
        ["objective", *columns.values()],
        [[name, *(float(np.mean(row[key])) for key in columns)] for name, row in found.items()],
        "The discrete model, means over the seeds; D + R is never below the entropy of the data, "
        f"{float(found[measure.ELBO]['entropy'][0]):.4f} nats, and the true p(z) is 0.7. Off by: "
        "total variation.",
    )


def _claims_of_the_discrete_model(found: Mapping[str, Mapping[str, Any]]) -> list[Claim]:
    elbo, target = found[measure.ELBO], found[measure.TARGET]
    return [
        Claim.over_seeds(
            "Discrete model: of equal ELBO, the decoder that a target rate finds is nearer to the "
            "true one than that of the ELBO (total variation, less by)",
            elbo["off"] - target["off"],
            at_least=0.2,
            reference="0: as far off",
            headline=Headline(no_effect=0.0),
        ),
        Claim.over_seeds(
            "Discrete model: the decoder that a target rate finds is near the true one (total "
            "variation)",
            target["off"],
            at_most=0.1,
            reference="0 is the true one",
        ),
    ]


PRESETS = {
    "smoke": Config(
        seeds=1, betas=(0.3, 1.0), rates=(2.0, 5.0), steps=10, pixel_steps=5, discrete_steps=20
    ),
    "desk": Config(),
}
