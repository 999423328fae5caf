"""Inference suboptimality in variational autoencoders (arXiv 1801.03558).

How much of the log-evidence a posterior loses because of its family, and how much because one
encoder serves all examples: on handwritten digits with a latent plane, where everything can be
integrated.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array

from pullback.analysis import Annealing
from pullback.bounds import CouplingFlow
from pullback.models.vae import VAE
from pullback.recipes._kit.checks import check_between
from pullback.recipes._kit.image_vaes import binary_digits
from pullback.recipes.inference_gaps import measure, show
from pullback.runs import Claim, Context

_BASE, _LINEAR, _LARGE, _FLAT = (kind.name for kind in measure.KINDS)
_FLOW = f"{_BASE}, best flow"


@dataclass(frozen=True)
class Config(measure.Scoring):
    seeds: int = 3
    """How many autoencoders of each kind are trained."""
    steps: int = 4000
    """Training steps."""
    shrink: int = 1
    """What the widths of all networks are divided by, down to 4."""
    annealed: int = 16
    """Held-out images whose evidence is annealed, of those that are scored."""

    def __post_init__(self):
        super().__post_init__()
        check_between(self, 0, self.scored + 1, "annealed")


def run(config: Config, context: Context) -> list[Claim]:
    """Train the models, split their gaps on the grid, and put annealing beside it."""
    seeds, scored = context.seeds(config.seeds), config.scored
    search = config.search()
    train, test = binary_digits()
    x = jnp.concatenate([train[:scored], test[:scored]])
    models, found = {}, {}
    for kind in measure.KINDS:
        slug = kind.name.replace(" ", "-")
        models[kind.name] = context.stage(
            f"train-{slug}", measure.train, config, context, kind, train, seeds
        )
        found[kind.name] = context.stage(
            f"gaps-{slug}", measure.gaps, models[kind.name], x, None, search, seeds
        )
    base = models[_BASE]
    flow = CouplingFlow(2, 4, max(4, 32 // config.shrink), key=jr.key(0))
    found[_FLOW] = context.stage("gaps-flow", measure.gaps, base, x, flow, search, seeds)
    annealing = Annealing(config.temperatures, config.chains, 5)
    annealed = context.stage(
        "annealed", measure.annealed, base, test[: config.annealed], annealing, seeds
    )
    show.draw_gaps(context, {k.name: found[k.name] for k in measure.KINDS}, scored)
    _draw_planes(context, base[0], x, found[_BASE], scored)
    gap_table(
        context, found, scored,
        "log p(x) is exact, by the grid, and q* the best diagonal normal of each image, or flow",
    )  # fmt: skip
    return _claims(found, annealed, scored)


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


def parts(scored: int) -> dict[str, slice]:
    """The images of each part."""
    return {"train": slice(0, scored), "held out": slice(scored, None)}


def gap_table(context: Context, found: Mapping[str, show.Row], scored: int, caption: str) -> None:
    """The gaps of each model, means over images and seeds."""
    columns = {
        "log_evidence": "log p(x)", "importance_weighted": "weighted bound",
        "elbo_local": "L[q*]", "elbo": "L[q]",
        "approximation": "approximation gap", "amortisation": "amortisation gap",
    }  # fmt: skip
    context.table(
        "gaps",
        ["autoencoder", "images", *columns.values()],
        [
            [name, split, *(float(row[column][:, part].mean()) for column in columns)]
            for name, row in found.items()
            for split, part in parts(scored).items()
        ],
        f"Nats, means over {scored} images of each part, and over seeds; {caption}.",
    )


def _claims(found: Mapping[str, show.Row], annealed: np.ndarray, scored: int) -> list[Claim]:
    train, held_out = parts(scored).values()
    base, seeds = found[_BASE], len(annealed)
    amortisation = {name: row["amortisation"][:, train].mean(1) for name, row in found.items()}
    # Of the mean gaps over images and seeds: a seed's own ratio has a small denominator.
    ratio = lambda part: float(
        base["amortisation"][:, part].mean() / base["approximation"][:, part].mean()
    )
    short = lambda name, bound, part: (found[name]["log_evidence"] - found[name][bound])[:, part]
    some = base["log_evidence"][:, held_out][:, : annealed.shape[1]]
    return [
        Claim(
            f"{_BASE}: the encoder loses more than the family, on training images (ratio of mean "
            "gaps)",
            value=ratio(train),
            at_least=2,
            seeds=seeds,
            reference="the paper's abstract: amortisation is often the larger part; 1 is as much",
        ),
        Claim(
            f"{_BASE}: on held-out images the encoder loses far more (ratio of mean gaps)",
            value=ratio(held_out),
            at_least=4,
            seeds=seeds,
            reference=f"{ratio(train):.1f} on training images",
        ),
        Claim.over_seeds(
            "A linear encoder loses more than one of two layers, on training images (ratio of "
            "amortisation gaps)",
            amortisation[_LINEAR] / amortisation[_BASE],
            at_least=1.4,
            reference="1 if depth did not matter",
        ),
        Claim.over_seeds(
            "An encoder of 256-256 gains nothing over one of 64-64 that seeds agree on (ratio of "
            "amortisation gaps, training images)",
            amortisation[_LARGE] / amortisation[_BASE],
            at_least=0.5,
            at_most=1.4,
            reference="1 if width did not matter",
        ),
        Claim.over_seeds(
            "Under a linear decoder, whose posteriors are near normal, all is small (inference "
            "gap, training images)",
            short(_FLAT, "elbo", train).mean(1),
            at_most=0.15,
            unit="nats",
            reference=f"{float(short(_BASE, 'elbo', train).mean()):.2f} nats under the decoder of "
            "two layers",
        ),
        Claim.over_seeds(
            "A flow fitted to each image leaves less of the approximation gap (ratio to the "
            "diagonal normal's, all images)",
            found[_FLOW]["approximation"].mean(1) / base["approximation"].mean(1),
            at_most=0.75,
            reference="1 would be no gain",
        ),
        Claim(
            "When not to trust an importance-weighted bound: where the encoder is wrong, it falls "
            "short of the exact log p(x) by nats (largest shortfall of a held-out image)",
            value=float(
                max(
                    np.max(short(name, "importance_weighted", held_out)) for name in (_BASE, _LARGE)
                )
            ),
            at_least=1.0,
            unit="nats",
            seeds=seeds,
            reference="0 with endless samples",
        ),
        Claim.over_seeds(
            "Annealing, which needs no encoder, finds the exact log p(x) of held-out images "
            "(distance of the means)",
            np.abs(np.mean(annealed - some, axis=1)),
            at_most=0.05,
            unit="nats",
            reference="0, by the grid",
        ),
    ]


PRESETS = {
    "smoke": Config(
        seeds=1, steps=20, shrink=64, scored=4, search_steps=10, search_samples=2,
        evaluation_samples=20, annealed=2, temperatures=5, chains=2,
    ),
    "desk": Config(),
    "paper": Config(steps=20_000, scored=400),
}  # fmt: skip
