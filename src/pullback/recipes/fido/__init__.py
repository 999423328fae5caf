"""FIDO (arXiv 1807.08024): which pixels decide, when what is removed is filled in.

A classifier of digits in front of smooth backgrounds, where it is known which pixels are strokes.
The smallest region is sought whose removal destroys the class, with removed pixels drawn by a
Gaussian model of the scenes, in grey, and in black; the smallest that keeps it; and the same with
the classifier as a black box.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pullback.recipes.fido import measure, show
from pullback.recipes.fido.models import Config
from pullback.runs import Claim, Context, Headline

Found = Sequence[Mapping[str, Any]]


def run(config: Config, context: Context) -> list[Claim]:
    """Explain scenes in each way, one seed after another."""
    found = [
        context.stage(f"seed-{seed}", measure.explained, config, context, seed)
        for seed in context.seeds(config.seeds)
    ]
    show.draw_maps(context, found[0])
    show.draw_curves(context, found)
    accuracy = np.mean([one["accuracy"] for one in found])
    columns = ("area", "precision", "covered", "without", "only")
    context.table(
        "ways",
        ["way", "pixels", "precision", "covered", "log-odds without", "log-odds of it alone"],
        [
            [name, *(float(np.mean(of(found, name, column))) for column in columns)]
            for name in found[0]["ways"]
        ],
        f"The region of each way, of {config.pictures} scenes of 12 x 12 pixels and {config.seeds} "
        "seeds: how many pixels, the share of them that are strokes "
        f"({_chance(found):.2f} by chance), the share of strokes in it, and the classifier's "
        "log-odds without it and of it alone, under fresh draws of the same infill. The classifier "
        f"is right on {accuracy:.1%} of test scenes.",
    )
    return _claims(config, found)


def of(found: Found, way: str, name: str) -> np.ndarray:
    """What each seed found in one way."""
    return np.asarray([one["ways"][way][name] for one in found])


def _chance(found: Found) -> float:
    """The share of strokes among all pixels."""
    return float(np.mean([one["scenes"]["strokes"] for one in found]))


def _claims(config: Config, found: Found) -> list[Claim]:
    area, precision = (lambda way, n=n: of(found, way, n) for n in ("area", "precision"))
    chance = f"{_chance(found):.2f} by chance"
    curve = lambda way: np.asarray([one["curves"][way]["area"] for one in found])
    ways = [one["ways"] for one in found]
    pair = ("generative, coarse", "generative, black box")
    agree = [measure.agreement(*(each[name]["map"] for name in pair)) for each in ways]
    calls = f"{ways[0][pair[0]]['evaluations']} calls of the classifier a scene"
    return [
        Claim.over_seeds(
            "The region that destroys the class is smaller when removed pixels are drawn by a "
            "generative model than in grey (ratio of pixels)",
            area("generative") / area("grey"),
            at_most=0.7,
            reference="1: grey; paper, ImageNet: more compact maps, no figure",
            headline=Headline(no_effect=1.0),
        ),
        Claim.over_seeds(
            "And it lies on what decides: the share of it that is strokes, less grey's",
            precision("generative") - precision("grey"),
            at_least=0.1,
            reference=f"grey: {precision('grey').mean():.2f}; {chance}",
            headline=Headline(no_effect=0.0),
        ),
        Claim.over_seeds(
            "In black, a region is hardly better than chance (the share of it that is strokes)",
            precision("black"),
            at_most=0.28,
            reference=chance,
        ),
        Claim.over_seeds(
            f"Without gradients the same pixels are found, roughly: on {config.grid} x "
            f"{config.grid} masks, with {calls} in both cases (rank correlation of maps)",
            agree,
            at_least=0.4,
            reference="1: the map by gradients; 0: unrelated",
        ),
        Claim.over_seeds(
            "When not to: where gradients can be had, a black box's map is worse for as many calls "
            "(the share of strokes, less that by gradients)",
            precision(pair[1]) - precision(pair[0]),
            at_most=-0.1,
            reference=f"by gradients: {precision(pair[0]).mean():.2f}",
        ),
        Claim.over_seeds(
            "When not to judge by it: a deletion curve prefers grey's maps, even where what was "
            "really behind the digit is put in (area under the curve of log-odds, less grey's, "
            "nats)",
            curve("generative") - curve("grey"),
            at_least=0.5,
            reference=f"grey: {curve('grey').mean():.1f}; fragments of strokes fool the classifier",
        ),
        Claim.over_seeds(
            "When not to: for the region that suffices, a generative model gains little over grey "
            "(the share of strokes, less grey's)",
            precision("generative, kept") - precision("grey, kept"),
            at_most=0.1,
            reference=f"grey: {precision('grey, kept').mean():.2f}",
        ),
    ]


PRESETS = {
    "smoke": Config(
        seeds=1, copies=1, width=4, training_steps=60, pictures=2, rank=8, steps=10, samples=2,
        size_weight=1e-3, grid=12,
    ),
    "desk": Config(),
    "paper": Config(seeds=5, copies=20, width=64, training_steps=10_000, pictures=100, rank=144,
                    steps=300),
}  # fmt: skip
