"""On the expressive power of deep networks (arXiv 1606.05336): paths that get longer, and layers.

Circles of inputs are pushed through random networks: how much longer each layer makes them, beside
mean-field theory, and how often units change on the way. What is left of a network after a layer
decides what that layer can do: what labelings its weights reach, what the network learns where it
alone is trained, and what noise in it costs. And a penalty on the stretching.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pullback import data
from pullback.recipes._kit.checks import check_least
from pullback.recipes.trajectory_length import measure, models, show
from pullback.runs import Claim, Context, Headline

Found = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Config(models.Config):
    nets: int = 4
    """Random networks of each seed that circles are pushed through."""
    random_width: int = 400
    """Units of each of their layers."""
    random_layers: int = 8
    """Their hidden layers."""
    points: int = 2048
    """Points on each circle."""
    labelled: int = 15
    """Inputs that are labelled, by networks of width `width`."""
    label_variance: float = 8.0
    """Variance of their weights times the fan in."""
    label_points: int = 4096
    """Points on each circle through the weights of a layer."""

    def __post_init__(self):
        super().__post_init__()
        check_least(self, random_layers=3, points=2)


def run(config: Config, context: Context) -> list[Claim]:
    """Measure random networks, and train on the 8 x 8 digits that come with scikit-learn."""
    seeds = context.seeds(config.seeds)
    paths = context.stage(
        "paths", measure.stretched, config.random_width, config.random_layers, config.nets,
        config.points, seeds,
    )  # fmt: skip
    labelings = context.stage(
        "labelings", measure.labelings, config.width, config.layers, config.label_variance**0.5,
        config.labelled, config.label_points, seeds,
    )  # fmt: skip
    show.draw_paths(context, paths)
    show.draw_labelings(context, labelings, config)
    show.tell_growth(context, paths, config.nets * config.seeds)
    headline, *others = _claims_of_paths(config, paths)
    trained = on_images(config, context, data.digits(seed=context.seed), "digits")
    lower, *rest = trained
    return [headline, _claim_of_labelings(config, labelings), lower, *others, *rest]


def on_images(
    config: models.Config, context: Context, split: data.Split, source: str
) -> list[Claim]:
    """Train one layer, or the whole network with the penalty and without."""
    seeds, images = context.seeds(config.seeds), models.parts(config, split, context.seed)
    single = {
        variance: context.stage(
            f"layers-{place}", models.one_layer, config, context, images, variance, seeds
        )
        for place, variance in enumerate((config.variance, config.chaotic))
    }
    whole = {
        (variance, penalty): context.stage(
            f"whole-{place}{'-penalised' * penalty}",
            models.whole, config, context, images, variance, penalty, seeds,
        )
        for place, variance in enumerate((config.variance, config.penalty_variance))
        for penalty in (False, True)
    }  # fmt: skip
    show.draw_layers(context, config, single, whole, source)
    show.tell_accuracies(context, config, single, whole, source)
    return _claims_of_images(config, single, whole, source)


def _claims_of_paths(config: Config, paths: Mapping[str, Found]) -> list[Claim]:
    off = [np.abs(row["growth"] / row["theory"] - 1).max(axis=1) for row in paths.values()]
    ordered = [name for name in paths if not name.startswith("ReLU")]
    still = max(float(np.max(1 - 1 / row["theory"])) for row in paths.values())  # no growth at all
    alike = [_correlations(paths[name]) for name in ordered]
    relu = np.mean([_correlations(row) for name, row in paths.items() if name not in ordered])
    return [
        Claim.over_seeds(
            "A random network stretches a circle of inputs by the root of chi a layer (largest "
            f"relative error of {', '.join(paths)}, all layers, width {config.random_width})",
            np.max(off, axis=0),
            at_most=0.04,
            reference="0: mean-field theory; the paper shows that growth is exponential in depth",
            headline=Headline(no_effect=still),
        ),
        Claim.over_seeds(
            "Units change their sign the more often the longer the image is (least correlation "
            "over layers, of units that saturate)",
            np.min(alike, axis=0),
            at_least=0.97,
            reference="1: paper, transitions are linear in length. When not to: of ReLU, "
            f"{relu:.2f}",
        ),
    ]


def _correlations(row: Found) -> list[float]:
    return [
        float(np.corrcoef(*of)[0, 1]) for of in zip(row["length"], row["transitions"], strict=True)
    ]


def _claim_of_labelings(config: Config, labelings: np.ndarray) -> Claim:
    behind = np.arange(labelings.shape[1])[::-1]
    slopes = [np.polyfit(behind, np.log(row), 1)[0] for row in labelings]
    theory = measure.stretch(config.label_variance**0.5)
    return Claim.over_seeds(
        f"Each layer more behind a swept one multiplies the labelings of {config.labelled} inputs "
        "that it reaches (factor a layer)",
        np.exp(slopes),
        at_least=1.3,
        reference=f"1: depth does not matter; the root of chi: {theory:.2f}; paper: exponential in "
        "the depth that is left",
        headline=Headline(no_effect=1.0),
    )


def _claims_of_images(
    config: models.Config,
    single: Mapping[float, Found],
    whole: Mapping[tuple[float, bool], Found],
    source: str,
) -> list[Claim]:
    first, last = config.trained[0], config.trained[-1]
    gap = {variance: row["test"][:, 0] - row["test"][:, -1] for variance, row in single.items()}
    drop = whole[config.variance, False]["drop"].mean(axis=0)
    variances = (config.variance, config.penalty_variance)
    gains = [whole[v, True]["test"] - whole[v, False]["test"] for v in variances]
    fits = single[config.variance]["train"].mean(axis=0)
    return [
        Claim.over_seeds(
            f"One layer of {config.layers} trained, {source}: a low one does better than a high "
            f"one (test accuracy, that of layer {first} less layer {last})",
            gap[config.variance],
            at_least=0.08,
            reference="0: layers are alike, as their numbers of weights are; paper: lower is "
            f"better; training accuracies {fits[0]:.3f} and {fits[-1]:.3f}",
            headline=Headline(no_effect=0.0),
        ),
        Claim(
            f"Noise in the first layer of a trained network, {source}, costs more than in the "
            "fourth (ratio of the losses of test accuracy)",
            value=float(drop[0] / max(drop[3], 1e-3)),
            at_least=3.0,
            seeds=config.seeds,
            reference=f"1: layers are alike; accuracies lost {drop[0]:.3f} and {drop[3]:.3f}",
        ),
        Claim.over_seeds(
            f"When not to: with weights of variance {config.chaotic:g} the order reverses, for "
            f"what is frozen above is too wild (test accuracy, {source}, layer {last} less "
            f"{first})",
            -gap[config.chaotic],
            at_least=0.2,
            reference=f"{-gap[config.variance].mean():.2f}: at variance {config.variance:g}",
        ),
        Claim.over_seeds(
            f"When not to: the penalty on stretched batches gains nothing, {source} (test "
            f"accuracy, with less without, mean of variances {variances[0]:g} and "
            f"{variances[1]:g})",
            np.mean(gains, axis=0),
            at_most=0.005,
            reference="0: none; " + " and ".join(f"{gain.mean():.3f}" for gain in gains),
        ),
    ]


PRESETS = {
    "smoke": Config(
        seeds=1, images=64, tested=40, width=10, layers=3, trained=(1, 2), steps=3, noisy_layers=4,
        noisy_steps=4, batch_size=16, draws=2, nets=1, random_width=12, random_layers=3, points=40,
        labelled=5, label_points=64,
    ),
    "desk": Config(),
}  # fmt: skip
