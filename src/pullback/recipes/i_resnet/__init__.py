"""i-ResNet (arXiv 1811.00995): a residual network whose layers are bounded is invertible.

Classifiers with and without a bound on their layers, their features carried back to the images; and
a density of two moons by exact log-determinants and by a truncated series.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from pullback.data import Split, digits
from pullback.recipes.i_resnet import measure, show
from pullback.recipes.i_resnet.models import Config, kinds, moons, train, train_flows, vectors
from pullback.runs import Claim, Context

_IMAGES = 8  # columns of a picture


def run(config: Config, context: Context) -> list[Claim]:
    """Train, invert and measure on the 8 x 8 digits that come with scikit-learn."""
    return on_images(
        config, context, vectors(digits(test_fraction=0.3, seed=context.seed)), "digits"
    )


def on_images(config: Config, context: Context, data: Split, what: str) -> list[Claim]:
    """Train each kind of classifier and both densities, and invert them."""
    seeds = context.seeds(config.seeds)
    ways = kinds(config)
    trained = {
        name: context.stage(
            f"train-{place}", train, config, kind, data.train.x, data.train.y, seeds,
            context.progress,
        )
        for place, (name, kind) in enumerate(ways.items())
    }  # fmt: skip
    found = {
        name: context.stage(
            f"score-{place}", measure.score, config, ways[name], arrays, data.test.x, data.test.y
        )
        for place, (name, arrays) in enumerate(trained.items())
    }
    bounded = [name for name in ways if name != "no bound"]
    rates = {
        name: context.stage(
            f"rates-{name.removeprefix('c = ')}", measure.rates, config, ways[name], trained[name],
            data.test.x,
        )
        for name in bounded
    }  # fmt: skip
    shown = ["no bound", *bounded]
    walked = context.stage(
        "images", measure.walk, config, {name: (ways[name], trained[name]) for name in shown},
        data.test.x[:_IMAGES],
    )  # fmt: skip
    points, test = moons(config, context.seed)
    flows = [
        context.stage(
            f"train-moons-{name}", train_flows, config, name == "exact", points, seeds,
            context.progress,
        )
        for name in ("exact", "series")
    ]  # fmt: skip
    density = context.stage("score-moons", measure.score_flows, config, *flows, test, context.seed)
    show.draw_inverse(context, found, measure.counts(config))
    show.draw_images(context, walked, shown)
    show.draw_rates(context, rates)
    show.draw_moons(context, density)
    _table(context, config, found)
    return [
        *_claims_of_classifiers(config, found, rates, what),
        *_claims_of_densities(config, density, points, test),
    ]


def _at(config: Config, row: Mapping[str, np.ndarray], n: int) -> np.ndarray:
    """The median error over images after n iterations, of each seed."""
    return np.median(row["errors"][:, measure.counts(config).index(n)], axis=1)


def _table(context: Context, config: Config, found: Mapping[str, Mapping[str, np.ndarray]]) -> None:
    rows: list[list[Any]] = []
    for name, row in found.items():
        values = {
            "accuracy": row["accuracy"],
            "norm_of_layer": row["layers"].max(axis=(1, 2)),
            "norm_of_block": row["blocks"].max(axis=1),
            "error_5": _at(config, row, 5),
            "error_20": _at(config, row, 20),
            "converged": row["converged"].mean(axis=1),
            "steps": row["steps"].mean(axis=1),
            "missed": row["missed"].max(axis=1),
        }
        for number in range(len(row["accuracy"])):
            each = {key: float(value[number]) for key, value in values.items()}
            context.metrics({"model": name, "number": number, **each})
        rows.append([name, *(float(value.mean()) for value in values.values())])
    context.table(
        "classifiers",
        [
            "layers", "test accuracy", "largest norm of a layer", "of a block (product)",
            "error after 5", "error after 20", "share that converged", "iterations of a block",
            "largest error of one that converged",
        ],
        rows,
        f"Means over {config.seeds} seeds. Norms are exact singular values of the trained weights. "
        "Errors are medians over images of the distance from the image. The last three columns "
        "are of a solver that stops at 1e-5 or says that it has not converged. Without a bound a "
        "net may carry two points to one, and an inverse that converged may be another point.",
    )  # fmt: skip


def _claims_of_classifiers(
    config: Config,
    found: Mapping[str, Mapping[str, np.ndarray]],
    rates: Mapping[str, Mapping[str, np.ndarray]],
    what: str,
) -> list[Claim]:
    free, *bounded = found.values()
    loose, tight = config.bounds[0], config.bounds[-1]
    lost = lambda row: (100 * (free["accuracy"] - row["accuracy"])).tolist()
    missed = max(float(row["missed"].max()) for row in bounded)
    over = lambda row, c: float(row["layers"].max() - c)
    return [
        Claim.over_seeds(
            f"On {what} a bound of {loose:g} on every layer costs little accuracy (points lost "
            "against no bound)",
            lost(bounded[0]),
            at_most=2.0,
            unit="%",
            reference="0 and 1.3 points on digits in plain JAX",
        ),
        Claim.over_seeds(
            f"A bound of {tight:g} costs no more than a few points (points lost)",
            lost(bounded[-1]),
            at_most=5.0,
            unit="%",
            reference="1.3 points on digits in plain JAX",
        ),
        Claim.over_seeds(
            f"With {loose:g}, 20 iterations of each block bring the image back (median distance)",
            _at(config, bounded[0], 20).tolist(),
            at_most=1e-4,
            reference="2e-6 in plain JAX",
        ),
        Claim.over_seeds(
            f"With {tight:g}, 5 iterations do (median distance)",
            _at(config, bounded[-1], 5).tolist(),
            at_most=1e-3,
            reference="5e-6 in plain JAX",
        ),
        Claim(
            "Without a bound the iteration does not bring it back (smallest median distance of the "
            "seeds, after 20)",
            value=float(_at(config, free, 20).min()),
            at_least=10.0,
            seeds=config.seeds,
            reference="3e3 to 1e6 in plain JAX",
        ),
        Claim(
            "The bound is kept: the largest exact singular value of a layer, over its bound",
            value=max(over(row, c) for row, c in zip(bounded, config.bounds, strict=True)),
            at_most=1e-4,
            seeds=config.seeds,
            reference="exact: 0",
        ),
        Claim(
            "Iterates of every block lie within the bound of the contraction (largest error over "
            "its bound, all n)",
            value=max(float(row["ratio"].max()) for row in rates.values()),
            at_most=1.0,
            seeds=config.seeds,
            reference="theorem: at most 1, with exact singular values",
        ),
        Claim(
            "Where the solver says that it has converged, the image is back (largest distance)",
            value=missed,
            at_most=1e-2,
            seeds=config.seeds,
            reference="tolerance 1e-5 in each block",
        ),
        Claim(
            "Where a net without a bound has its weights tripled, the solver says that it has "
            "failed (share of images)",
            value=float(1 - free["wild"].mean()),
            at_least=0.99,
            seeds=config.seeds,
            reference="1: garbage is never returned without a flag",
        ),
    ]


def _claims_of_densities(
    config: Config, found: Mapping[str, np.ndarray], points: np.ndarray, test: np.ndarray
) -> list[Claim]:
    cov = np.cov(points.T)
    centred = test - points.mean(axis=0)
    quadratic = np.einsum("ni,ij,nj->n", centred, np.linalg.inv(cov), centred).mean()
    gaussian = float(0.5 * (quadratic + np.log(np.linalg.det(2 * np.pi * cov))))
    return [
        Claim.over_seeds(
            "A density of two moons fits far better than a Gaussian (nats a point, test)",
            (gaussian - found["exact"]).tolist(),
            at_least=0.5,
            unit="nats",
            reference=f"the Gaussian of the same mean and covariance has {gaussian:.3f} nats",
        ),
        Claim.over_seeds(
            "It is a density: its sum over a grid, less 1, in size",
            abs(found["mass"] - 1).tolist(),
            at_most=0.02,
            reference="exact: 0, but for the cells of the grid",
        ),
        Claim(
            "Its inverse is one (largest distance over test points after both ways)",
            value=float(found["round_trip"].max()),
            at_most=1e-3,
            seeds=config.seeds,
            reference="tolerance 1e-6 in each of the blocks, and 32 bits",
        ),
        Claim(
            "What the truncated series leaves out is within its bound, for 1 to "
            f"{measure.TERMS[-1]} terms (largest error over bound)",
            value=float((found["left_out"] / np.maximum(found["left_out_bound"], 1e-3)).max()),
            at_most=1.0,
            seeds=config.seeds,
            reference="theorem: at most 1, with exact singular values",
        ),
        Claim.over_seeds(
            f"When not to trust it: trained on {config.terms} terms of the series, a density says "
            "of itself what is too good (its own figure below the exact one)",
            (found["series"] - found["series_own"]).tolist(),
            at_least=0.0,
            unit="nats",
            reference="0.8 nats with 4 terms on a checkerboard in plain JAX",
        ),
    ]


PRESETS = {
    "smoke": Config(
        seeds=2, bounds=(0.9,), blocks=2, width=16, steps=60, batch_size=64, images=20,
        iterations=20, terms=2, flow_blocks=2, flow_width=8, flow_steps=40, points=500, grid=40,
    ),
    "desk": Config(),
}  # fmt: skip
