"""Inference suboptimality in variational autoencoders (arXiv 1801.03558).

How much of the log-evidence a posterior loses because of its family, and how much because one
encoder serves all examples; whether the model adapts to the family that it is trained with, and
whether a richer one helps the encoder more than the fit: on handwritten digits with a latent
plane, where everything can be integrated.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array

from pullback.analysis import Annealing
from pullback.models.vae import VAE
from pullback.recipes._kit.checks import check_least
from pullback.recipes._kit.image_vaes import binary_digits
from pullback.recipes.inference_gaps import claims, measure, show
from pullback.recipes.inference_gaps.measure import FLOW, KINDS, NORMAL
from pullback.runs import Claim, Context


@dataclass(frozen=True)
class Config(measure.Scoring):
    seeds: int = 6
    """How many autoencoders of each kind are trained."""
    scored: int = 60
    """Training images whose gaps are measured, and as many held-out ones."""
    steps: int = 4000
    """Training steps."""
    shrink: int = 1
    """What the widths of all networks are divided by, down to 4."""
    simulated: int = 8
    """Images drawn from each model, whose evidence is bracketed by annealing both ways."""

    def __post_init__(self):
        super().__post_init__()
        check_least(self, simulated=1)


def run(config: Config, context: Context) -> list[Claim]:
    """Train the models, split their gaps on the grid, and put annealing beside it."""
    seeds, scored = context.seeds(config.seeds), config.scored
    search = config.search()
    train, test = binary_digits()
    x = jnp.concatenate([train[:scored], test[:scored]])
    base = KINDS[0]
    trained = {kind.name: (kind, NORMAL) for kind in KINDS} | {claims.ADAPTED: (base, FLOW)}
    models, found = {}, {}
    for name, (kind, family) in trained.items():
        slug = name.replace(" ", "-").replace(",", "")
        models[name] = context.stage(
            f"train-{slug}", measure.train, config, context, kind, family, train, seeds
        )
        local = None if family == NORMAL else measure.family_of(NORMAL, config.shrink, jr.key(0))
        found[name] = context.stage(
            f"gaps-{slug}", measure.gaps, models[name], x, local, search, seeds
        )
    plain = models[base.name]
    flow = measure.family_of(FLOW, config.shrink, jr.key(0))
    best = {
        NORMAL: found[base.name],
        FLOW: context.stage("gaps-flow", measure.gaps, plain, x, flow, search, seeds),
    }
    encoders = {}
    for family in (NORMAL, FLOW):
        slug = family.replace(" ", "-")
        again = context.stage(
            f"encoder-{slug}", measure.train, config, context, base, family, train, seeds, plain
        )
        # Of all held-out images, for which no local fit is asked: a few lose most of the nats.
        every = jnp.concatenate([x, test[scored:]])
        bound = context.stage(f"bounds-{slug}", measure.bounds, again, every, seeds)
        encoders[family] = measure.with_encoder(best[family], bound)
    brackets = context.stage(
        "brackets", measure.brackets, plain, config.simulated,
        Annealing(config.temperatures, config.chains, 5), seeds,
    )  # fmt: skip
    show.draw_gaps(context, found, scored)
    _draw_planes(context, plain[0], x, found[base.name], scored)
    gap_table(
        context, "gaps", found, scored,
        "log p(x) is exact, by the grid, and q* the best diagonal normal of each image",
    )  # fmt: skip
    gap_table(
        context, "encoders", encoders, scored,
        f"the decoders of {base.name}, frozen, and encoders trained anew with either family; q* is "
        "the best of that family for each image",
    )  # fmt: skip
    return claims.on_the_plane(found, encoders, brackets, scored)


def _draw_planes(context: Context, vae: VAE, x: Array, row: show.Row, scored: int) -> None:
    """Of two training images and two held-out ones: of each the median gap, and a large one."""
    family, encoder, local = (row[name][0] for name in ("approximation", "amortisation", "local"))
    shown = np.concatenate([
        np.argsort(encoder[start : start + scored])[[scored // 2, (95 * (scored - 1)) // 100]]
        + start
        for start in (0, scored)
    ])  # fmt: skip
    titles = [
        f"{'train' if place < scored else 'held out'}\n"
        f"family {family[place]:.2f}, encoder {encoder[place]:.2f}"
        for place in shown
    ]
    found = context.stage("planes", measure.densities, vae, x[shown], jnp.asarray(local[shown]))
    show.draw_planes(context, np.asarray(x[shown]), found, titles)


def gap_table(
    context: Context, name: str, found: Mapping[str, show.Row], scored: int, caption: str
) -> None:
    """The gaps of each model, means over images and seeds."""
    columns = {
        "log_evidence": "log p(x)", "importance_weighted": "weighted bound",
        "elbo_local": "L[q*]", "elbo": "L[q]",
        "approximation": "approximation gap", "amortisation": "amortisation gap",
    }  # fmt: skip
    context.table(
        name,
        ["autoencoder", "images", *columns.values()],
        [
            [model, split, *(float(row[column][:, part].mean()) for column in columns)]
            for model, row in found.items()
            for split, part in claims.parts(scored).items()
        ],
        f"Nats, means over {scored} images of each part, and over seeds; {caption}.",
    )


PRESETS = {
    "smoke": Config(
        seeds=1, steps=20, shrink=64, scored=4, search_steps=10, search_samples=2,
        evaluation_samples=20, simulated=2, temperatures=5, chains=2,
    ),
    "desk": Config(),
    "long": Config(seeds=10, steps=20_000, scored=200, simulated=32),
    "paper": Config(seeds=10, steps=20_000, scored=400, simulated=100),
}  # fmt: skip
