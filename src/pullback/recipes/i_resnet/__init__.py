"""i-ResNet (arXiv 1811.00995): a residual network whose layers are bounded is invertible.

Classifiers with and without a bound on their layers, their features carried back to the images; and
networks that are a density and a classifier in one, of residual blocks and of couplings whose
halves of the channels change in turn, as RealNVP's do. Glow's, with 1x1 convolutions between, need
fewer bits than either in the paper; here too they needed fewer than the i-ResNet (by 0.059 a
dimension, digits, 3 seeds).
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from pullback.data import Split, digits
from pullback.recipes._kit.image_flows import Sizes
from pullback.recipes.i_resnet import measure, show
from pullback.recipes.i_resnet.models import Config, densities, train, train_density
from pullback.runs import Claim, Context, Headline

_NEAR = 1e-3  # of the image; its pixels lie in [-1, 1]


def run(config: Config, context: Context) -> list[Claim]:
    """Train, invert and measure on the 8 x 8 digits that come with scikit-learn."""
    split = digits(test_fraction=0.3, seed=context.seed)
    rows = Split(*(part._replace(x=2 * part.x.reshape(len(part.x), -1) - 1) for part in split))
    pictures = Split(*(part._replace(x=part.x[:, None]) for part in split))
    return on_images(config, context, rows, pictures, 17, 0.01, "digits")


def on_images(
    config: Config, context: Context, data: Split, pictures: Split, levels: int, margin: float,
    what: str,
) -> list[Claim]:  # fmt: skip
    """Train each kind of classifier and of density, and invert them."""
    seeds, found = context.seeds(config.seeds), {}
    for place, bound in enumerate((float("inf"), *config.bounds)):
        models = context.stage(
            f"train-{place}", train, config, bound, *data.train, seeds, context.progress
        )
        found["no bound" if place == 0 else f"c = {bound:g}"] = context.stage(
            f"score-{place}", measure.score, config, models, *data.test
        )
    shape: Any = pictures.train.x.shape[1:]
    sizes = Sizes(
        shape, 1, config.flow_blocks, config.flow_hidden, config.flow_dense, config.flow_width,
        levels, margin,
    )  # fmt: skip
    both = {}
    for name, make in densities(config, sizes).items():
        models = context.stage(
            f"train-{name}", train_density, config, sizes, make, *pictures.train, seeds,
            context.progress,
        )  # fmt: skip
        both[name] = context.stage(
            f"score-{name}", measure.score_density, config, sizes, models, *pictures.test,
            context.seed,
        )  # fmt: skip
    at = measure.counts(config)
    show.draw_inverse(context, found, at)
    show.draw_images(context, data.test.x[: measure.IMAGES], found, at)
    show.draw_samples(context, pictures.test.x, both["i-ResNet"]["samples"])
    _tables(context, config, found, both)
    return [*_claims(config, found, both, what), *_claims_of_inverses(config, found)]


def _after(config: Config, row: Mapping[str, np.ndarray], n: int) -> np.ndarray:
    """The median error over images after n iterations, of each seed."""
    return np.median(row["errors"][:, measure.counts(config).index(n)], axis=1)


def _tables(
    context: Context, config: Config, found: Mapping[str, Mapping[str, np.ndarray]],
    both: Mapping[str, Mapping[str, Any]],
) -> None:  # fmt: skip
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
    columns = {
        "bits a dimension": lambda row: row["bits"],
        "by its own estimate": lambda row: row["own"],
        "accuracy": lambda row: row["accuracy"],
    }
    context.table(
        "densities",
        ["density and classifier in one", "parameters", *columns],
        [
            [name, row["parameters"], *(float(of(row).mean()) for of in columns.values())]
            for name, row in both.items()
        ],
        f"Means over {config.seeds} seeds, after {config.flow_steps} steps of each. Bits by exact "
        f"log-determinants of {config.images} held-out images.",
    )


def _claims(
    config: Config, found: Mapping[str, Mapping[str, np.ndarray]],
    both: Mapping[str, Mapping[str, Any]], what: str,
) -> list[Claim]:  # fmt: skip
    free, *bounded = found.values()
    ours, theirs = both["i-ResNet"], both["couplings"]
    lost = lambda row: 100 * (free["accuracy"] - row["accuracy"])
    return [
        Claim.over_seeds(
            f"On {what} a bound of {config.bounds[0]:g} on every layer costs little accuracy "
            "(points lost)",
            lost(bounded[0]),
            at_most=1.5,
            unit="%",
            reference="the same network without a bound",
            headline=Headline(no_effect=1.5),
        ),
        Claim.over_seeds(
            "The same blocks are a density: a network that classifies too needs no more bits a "
            f"dimension than one of RealNVP's couplings with as many parameters ({what}, exact, "
            "difference)",
            ours["bits"] - theirs["bits"],
            at_most=0.0,
            unit="bits",
            reference="0: no better; paper, CIFAR-10 at full size: 3.45 against 3.49 of RealNVP; "
            "Glow, with 1x1 convolutions between its couplings, beats both: 3.35",
            headline=Headline(no_effect=0.0, paper=-0.04),
        ),
        Claim.over_seeds(
            "It classifies as well as the one of RealNVP's couplings (accuracy above theirs)",
            100 * (ours["accuracy"] - theirs["accuracy"]),
            at_least=0.0,
            unit="%",
            reference="couplings trained alike, for the same sum of both losses",
        ),
        Claim.over_seeds(
            f"With layers of norm 0.9, {config.terms} terms of the series are enough: what the "
            "density says of itself is true (distance from the exact figure)",
            np.abs(ours["own"] - ours["bits"]),
            at_most=0.01,
            unit="bits",
            reference="exact log-determinants of the same densities and images",
        ),
        Claim.over_seeds(
            f"When not to: a bound of {config.bounds[-1]:g} costs accuracy (points lost)",
            lost(bounded[-1]),
            at_least=0.5,
            unit="%",
            reference="the same network without a bound",
        ),
    ]


def _claims_of_inverses(
    config: Config, found: Mapping[str, Mapping[str, np.ndarray]]
) -> list[Claim]:
    free, loose, *_ = found.values()
    return [
        Claim.over_seeds(
            f"With {config.bounds[0]:g}, few iterations of each block bring the image back "
            f"(iterations to a median distance of {_NEAR:g})",
            measure.enough(config, loose, _NEAR),
            at_most=20,
            reference="paper: 5 to 20 suffice",
        ),
        Claim.over_seeds(
            "Without a bound the iteration does not bring it back (median distance after 20, in "
            "powers of ten)",
            np.log10(_after(config, free, 20)),
            at_least=2.0,
            reference="two images of digits are at most 16 apart, of MNIST 56",
        ),
    ]


PRESETS = {
    "smoke": Config(
        seeds=1, bounds=(0.9,), blocks=2, width=64, steps=60, batch_size=64, images=20,
        iterations=20, terms=1, flow_blocks=1, flow_hidden=2, flow_dense=1, flow_width=64,
        flow_steps=20,
    ),
    "desk": Config(),
    "long": Config(
        seeds=10, steps=2000, flow_blocks=4, flow_dense=4, flow_width=128, flow_steps=1000
    ),
}  # fmt: skip
