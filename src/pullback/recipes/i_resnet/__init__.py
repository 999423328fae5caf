"""i-ResNet (arXiv 1811.00995): a residual network whose layers are bounded is invertible.

Classifiers with and without a bound on their layers, their features carried back to the images; and
a density of two moons by exact log-determinants and by a truncated series.
"""

from collections.abc import Mapping

import numpy as np

from pullback.calculus import truncation_bias_bound
from pullback.data import Split, digits, standardise, two_moons
from pullback.recipes._kit.gaussian import fitted_gaussian
from pullback.recipes.i_resnet import measure, show
from pullback.recipes.i_resnet.models import BOUND, Config, train, train_flows
from pullback.runs import Claim, Context


def run(config: Config, context: Context) -> list[Claim]:
    """Train, invert and measure on the 8 x 8 digits that come with scikit-learn."""
    split = digits(test_fraction=0.3, seed=context.seed)
    rows = Split(*(part._replace(x=2 * part.x.reshape(len(part.x), -1) - 1) for part in split))
    return on_images(config, context, rows, "digits")


def on_images(config: Config, context: Context, data: Split, what: str) -> list[Claim]:
    """Train each kind of classifier and both densities, and invert them."""
    seeds, found = context.seeds(config.seeds), {}
    for place, bound in enumerate((float("inf"), *config.bounds)):
        models = context.stage(
            f"train-{place}", train, config, bound, *data.train, seeds, context.progress
        )
        found["no bound" if place == 0 else f"c = {bound:g}"] = context.stage(
            f"score-{place}", measure.score, config, models, *data.test
        )
    points, test = (two_moons(config.points, seed=2 * context.seed + i).x for i in (0, 1))
    points, test = (part.astype(np.float32) for part in standardise(points, test)[0])
    flows = [
        context.stage(
            f"train-moons-{name}", train_flows, config, name == "exact", points, seeds,
            context.progress,
        )
        for name in ("exact", "series")
    ]  # fmt: skip
    axis = np.linspace(-show.HALF_WIDTH, show.HALF_WIDTH, show.SIDE, dtype=np.float32)
    grid = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    density = context.stage(
        "score-moons", measure.score_flows, config, *flows, test, grid, context.seed
    )
    at = measure.counts(config)
    show.draw_inverse(context, found, at)
    show.draw_images(context, data.test.x[: measure.IMAGES], found, at)
    show.draw_moons(context, test[:1000], density)
    _table(context, config, found)
    gaussian = -float(fitted_gaussian(points, test).mean())
    return [
        *_claims_of_classifiers(config, found, what),
        *_claims_of_densities(config, density, gaussian),
    ]


def _after(config: Config, row: Mapping[str, np.ndarray], n: int) -> np.ndarray:
    """The median error over images after n iterations, of each seed."""
    return np.median(row["errors"][:, measure.counts(config).index(n)], axis=1)


def _table(context: Context, config: Config, found: Mapping[str, Mapping[str, np.ndarray]]) -> None:
    columns = {
        "test accuracy": lambda row: row["accuracy"],
        "largest bound of a block": lambda row: row["norms"].max(axis=1),
        "error after 5": lambda row: _after(config, row, 5),
        "error after 20": lambda row: _after(config, row, 20),
    }
    context.table(
        "classifiers",
        ["layers", *columns],
        [
            [name, *(float(of(row).mean()) for of in columns.values())]
            for name, row in found.items()
        ],
        f"Means over {config.seeds} seeds. The bound of a block is the product of the exact norms "
        "of its layers. Errors are medians over images of the distance from the image.",
    )


def _claims_of_classifiers(
    config: Config, found: Mapping[str, Mapping[str, np.ndarray]], what: str
) -> list[Claim]:
    free, *bounded = found.values()
    loose, tight = config.bounds[0], config.bounds[-1]
    lost = lambda row: 100 * (free["accuracy"] - row["accuracy"])
    same = "the same network without a bound"
    iterations = "exact: 0, to the rounding of 32 bits; the paper: 5 to 20 iterations suffice"
    return [
        Claim.over_seeds(
            f"On {what} a bound of {loose:g} on every layer costs little accuracy (points lost)",
            lost(bounded[0]),
            at_most=2.0,
            unit="%",
            reference=same,
        ),
        Claim.over_seeds(
            f"With {loose:g}, 20 iterations of each block bring the image back (median distance)",
            _after(config, bounded[0], 20),
            at_most=1e-5,
            reference=iterations,
        ),
        Claim.over_seeds(
            f"With {tight:g}, 5 iterations do (median distance)",
            _after(config, bounded[-1], 5),
            at_most=1e-4,
            reference=iterations,
        ),
        Claim(
            "Without a bound the iteration does not bring it back (smallest median distance of the "
            "seeds, after 20)",
            value=float(_after(config, free, 20).min()),
            at_least=100.0,
            seeds=config.seeds,
            reference="two images of digits are at most 16 apart, of MNIST 56",
        ),
        Claim.over_seeds(
            f"A bound of {tight:g} costs no more than a few points (points lost)",
            lost(bounded[-1]),
            at_most=5.0,
            unit="%",
            reference=same,
        ),
    ]


def _claims_of_densities(
    config: Config, found: Mapping[str, np.ndarray], gaussian: float
) -> list[Claim]:
    allowed = config.flow_blocks * truncation_bias_bound(BOUND**3, dim=2, terms=config.terms)
    return [
        Claim.over_seeds(
            "A density of two moons fits far better than a Gaussian (nats a point, test)",
            gaussian - found["exact"],
            at_least=0.5,
            unit="nats",
            reference=f"the Gaussian of the same mean and covariance has {gaussian:.3f} nats",
        ),
        Claim.over_seeds(
            f"When not to trust it: trained on {config.terms} terms of the series, a density says "
            "of itself what is too good (its own figure below the exact one)",
            found["series"] - found["series_own"],
            at_least=0.0,
            unit="nats",
            reference="the exact 2x2 determinant of the same densities and points; what layers of "
            f"norm {BOUND:g} allow: {allowed:.2g} nats",
        ),
    ]


PRESETS = {
    "smoke": Config(
        seeds=1, bounds=(0.9,), blocks=2, width=64, steps=60, batch_size=64, images=20,
        iterations=20, terms=1, flow_blocks=1, flow_width=2, flow_steps=40, points=500,
    ),
    "desk": Config(),
}  # fmt: skip
