"""Implicit bias of bilevel problems (arXiv 2212.14032): what a path does not tell.

Ten images are learned so that a network trained on them alone classifies real ones: from a warm
start, which never begins anew, and from a cold one, which does each time; then what each set of
images is worth to a network that starts anew, and what weight decay does to it. Of an outer problem
with many solutions, which one a truncated series comes to.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pullback import data
from pullback.recipes._kit.checks import check_least, check_rising
from pullback.recipes.implicit_bias import measure, models, show
from pullback.recipes.implicit_bias.models import Way
from pullback.runs import Claim, Context, Headline

_TABLE = "[abs: table extracted by a third-party summary]"
Found = Mapping[str, Mapping[str, np.ndarray]]


@dataclass(frozen=True)
class Config(models.Config):
    terms: tuple[int, ...] = (0, 1, 3, 10, 30, 100)
    """Lengths of the Neumann series for the problem with many outer solutions, rising from 0."""
    problems: int = 3
    """Problems with many outer solutions."""
    outer_steps: int = 2000
    """Steps of their hyperparameters."""

    def __post_init__(self):
        super().__post_init__()
        check_least(self, problems=1, outer_steps=1)
        check_rising(self, "terms", count=2, least=0)


def run(config: Config, context: Context) -> list[Claim]:
    """Learn images in each way, train anew on them; solve the outer problem at each length."""
    halves = lambda seed: data.digits(test_fraction=1 / 3, seed=seed)
    claims = on_images(config, context, halves, "digits")
    problems = context.seeds(config.problems)
    bias = context.stage(
        "outer-bias", measure.outer_bias, config.terms, config.outer_steps, problems
    )
    show.draw_norms(context, config.terms, bias)
    return [*claims, *_claims_of_bias(config, bias)]


def on_images(
    config: models.Config, context: Context, split: Callable[[int], data.Split], source: str
) -> list[Claim]:
    """Learn ten images in each way, and train anew on them."""
    seeds = context.seeds(config.seeds)
    ways = models.ways(config)
    found = {
        name: context.stage(
            f"images-{place}", models.distil, config, context, way, split, seeds, not way.decay
        )
        for place, (name, way) in enumerate(ways.items())
    }
    show.draw_images(context, found, ways)
    show.draw_curves(context, found, ways, source)
    context.table(
        "ways",
        ["way", "tuned", "re-trained", "gap", "outer loss", "inner gradient", "ratio", "moved"],
        [
            [name, *(float(np.mean(values)) for values in (
                row["tuned"], row["retrained"], row["retrained"] - row["tuned"], row["outer"],
                row["slope"], row["ratio"], row["moved"],
            ))]
            for name, row in found.items()
        ],
        f"Ten images learned from {source}: accuracy on test images of the network that was "
        "trained while they were learned, and of one that starts anew, as it did, with "
        f"{config.again} steps on the learned images; means over {config.seeds} seeds. The "
        "outer loss, the size of the inner gradient and what the series leaves over are means over "
        "the last steps; moved is how far the weights are from where they started.",
    )  # fmt: skip
    return _claims_of_images(config, found, ways, source)


def _claims_of_images(
    config: models.Config, found: Found, ways: Mapping[str, Way], source: str
) -> list[Claim]:
    warm = [found[name] for name, way in ways.items() if not (way.cold or way.decay)]
    [cold] = [found[name] for name, way in ways.items() if way.cold]
    cured = found[list(ways)[-1]]
    gap = lambda row: row["tuned"] - row["retrained"]
    steps = " and ".join(map(str, config.warm_steps))
    start = f"Ten images learned from {source}"
    worth = np.max([row["retrained"] for row in warm], axis=0)
    return [
        Claim.over_seeds(
            f"{start} from a warm start are worth little to a network that starts anew (accuracy "
            "lost by it, the least)",
            np.min([gap(row) for row in warm], axis=0),
            at_least=0.55,
            reference=f"0: nothing is lost; it has {worth.mean():.3f} at most, 0.1 by chance; "
            f"MNIST: 97.5 and 17.1 % {_TABLE}",
            headline=Headline(no_effect=0.0, paper=0.804),
        ),
        Claim.over_seeds(
            f"{start} from a cold start are worth more to it (accuracy, above the better warm one)",
            cold["retrained"] - worth,
            at_least=0.5,
            reference=f"0: as little; {cold['retrained'].mean():.3f}; MNIST: 89.1 and 17.1 % "
            f"{_TABLE}",
            headline=Headline(no_effect=0.0, paper=0.72),
        ),
        Claim.over_seeds(
            f"{start}: a warm start looks good (accuracy, the least of those with {steps} steps "
            "between)",
            np.min([row["tuned"] for row in warm], axis=0),
            at_least=0.85,
            reference=f"0.1 by chance; MNIST, warm start: 97.5 % {_TABLE}",
        ),
        Claim.over_seeds(
            f"The cure: with a weight decay of {config.decays[-1]:g} in the inner loss a warm "
            "start loses little when it starts anew (accuracy, tuned less re-trained)",
            gap(cured),
            at_most=0.15,
            reference=f"without: {gap(warm[-1]).mean():.2f}, by the same steps",
        ),
        Claim.over_seeds(
            "The cure costs little: re-trained on the images of a warm start with that decay "
            "(accuracy)",
            cured["retrained"],
            at_least=0.75,
            reference=f"cold start without: {cold['retrained'].mean():.3f}",
        ),
    ]


def _claims_of_bias(config: Config, bias: Mapping[str, Any]) -> list[Claim]:
    falls = -np.diff(bias["norm"], axis=1)
    return [
        Claim(
            "With many outer solutions a series of K terms comes to the one that the closed form "
            "says (distance, over the size of the least solution, the worst)",
            value=float(np.max(bias["error"])),
            at_most=1e-8,
            reference="the closed form: 0",
        ),
        Claim.over_seeds(
            f"Its norm is above the least one at K = {config.terms[0]}, and falls with every "
            f"longer series (of the fall to K = {config.terms[-1]}, in units of the least norm, "
            "nothing where it rises once)",
            np.where((falls > -1e-9).all(axis=1), bias["norm"][:, 0] - bias["norm"][:, -1], 0),
            at_least=0.01,
            reference="0: every series would come to the least solution",
        ),
    ]


PRESETS = {
    "smoke": Config(
        seeds=1, images=60, width=8, warm_steps=(3,), warm_terms=(2,), warm_outer=20, cold_steps=5,
        cold_terms=3, cold_outer=10, decays=(0.1,), again=20, points=2, terms=(0, 5), problems=1,
        outer_steps=300,
    ),
    "desk": Config(),
}  # fmt: skip
