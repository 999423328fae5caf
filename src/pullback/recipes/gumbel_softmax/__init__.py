"""Gumbel-softmax (arXiv 1611.01144): gradients through categories that are softened.

How biased and how noisy they are, by the temperature; an autoencoder with categorical latents on
handwritten digits, trained in five ways; and what a sum over the classes would cost.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from pullback.data import Split
from pullback.recipes._kit.discrete_vae import DiscreteVAE, Method, binary_images, train
from pullback.recipes.gumbel_softmax import measure, show
from pullback.runs import Claim, Context
from pullback.sampling import GumbelSoftmax, ScoreFunction, StraightThrough, temperature_schedule


@dataclass(frozen=True)
class Config:
    temperatures: tuple[float, ...] = (2.0, 1.0, 0.5, 0.2, 0.1, 0.05)
    """Temperatures at which bias and variance are measured, falling."""
    draws: int = 40_000
    """Gradients that each bias and variance is measured on."""
    problems: int = 5
    """Quadratic functions and starting points that are measured."""
    seeds: int = 3
    """Autoencoders of each estimator."""
    latents: tuple[int, int] = (20, 10)
    """Latents of an image, and the classes of each."""
    width: int = 128
    """Units of the one hidden layer of the encoder and of the decoder."""
    iterations: int = 1200
    """Training steps."""
    batch_size: int = 100
    """Images in a training step."""
    learning_rate: float = 3e-3
    """Adam's learning rate."""
    images: int = 10_000
    """At most so many images of each set, drawn anew for each seed."""
    floors: tuple[float, float] = (0.5, 0.2)
    """Where the annealed temperature stops: the paper's, and for one estimator further down."""
    rate: float = 1.5e-3
    """Rate, per step, at which the temperature decays from 1."""
    every: int = 100
    """Steps between two changes of the temperature."""
    classes: tuple[int, ...] = (10, 100)
    """Numbers of classes of the semi-supervised step that is timed, rising."""
    cost_width: int = 256
    """Hidden units of the networks of the step that is timed."""
    cost_batch: int = 50
    """Images of the step that is timed."""
    cost_turns: int = 10
    """How often the semi-supervised step is timed."""

    def __post_init__(self):
        for name in ("seeds", "width", "problems", "batch_size", "cost_turns", "every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.iterations < 10:
            raise ValueError(f"iterations must be at least 10, got {self.iterations}")
        falling = self.temperatures
        if len(falling) < 3 or sorted(set(falling), reverse=True) != [*falling] or falling[-1] <= 0:
            raise ValueError(
                f"temperatures must be three or more, positive and falling, got {falling}"
            )
        if len(self.classes) < 2 or sorted(set(self.classes)) != [*self.classes]:
            raise ValueError(f"classes must be two or more, rising, got {self.classes}")


def run(config: Config, context: Context) -> list[Claim]:
    """Measure the gradients, train the autoencoders, time the sum."""
    return on_images(config, context, None)


def on_images(config: Config, context: Context, of: Split | None) -> list[Claim]:
    """The same with autoencoders of images from a data set, or of digits."""
    problems = [config.problems * context.seed + i for i in range(config.problems)]
    curves = context.stage(
        "curves", measure.bias_and_variance, config.temperatures, config.draws, problems
    )
    seeds = context.seeds(config.seeds)
    images = binary_images(seeds, config.images, of)
    trained = {
        name: context.stage(f"vae-{name}", _autoencoders, config, method, *images, seeds)
        for name, method in _methods(config).items()
    }
    costs = context.stage(
        "cost", measure.cost, images[0].shape[-1], config.classes, config.cost_width,
        config.cost_batch, config.cost_turns,
    )  # fmt: skip
    show.draw_curves(context, config.temperatures, curves)
    show.draw_autoencoders(context, trained)
    show.draw_flattery(context, trained)
    _tables(context, config, trained, costs)
    return [
        *_claims_of_curves(config, curves),
        *_claims_of_autoencoders(trained),
        *_claims_of_cost(config, costs),
    ]


def _methods(config: Config) -> dict[str, Method]:
    high, low = (
        temperature_schedule(1.0, floor, config.rate, config.every) for floor in config.floors
    )
    return {
        "score": Method(lambda learned, average, step: ScoreFunction(average.value)),
        "straight_through": Method(lambda learned, average, step: StraightThrough()),
        "hard": Method(lambda learned, average, step: GumbelSoftmax(high(step), hard=True)),
        "gumbel": Method(lambda learned, average, step: GumbelSoftmax(high(step)), relaxed=True),
        "colder": Method(lambda learned, average, step: GumbelSoftmax(low(step)), relaxed=True),
    }


def _autoencoders(
    config: Config, method: Method, images: np.ndarray, test: np.ndarray, seeds: list[int]
) -> dict[str, Any]:
    return train(
        method,
        lambda key: DiscreteVAE(images.shape[-1], config.latents, config.width, 1, key=key),
        images,
        test,
        steps=config.iterations,
        every=config.iterations // 10,
        batch_size=config.batch_size,
        rate=config.learning_rate,
        draws=20,
        seeds=seeds,
    )


# What is reported.


def _tables(
    context: Context, config: Config, trained: dict[str, Any], costs: dict[str, Any]
) -> None:
    context.table(
        "autoencoders",
        ["nats an image", *(f"seed {i + 1}" for i in range(config.seeds)), "training", "relaxed"],
        [
            [
                show.NAMES[name],
                *map(float, row["test"][:, -1]),
                float(row["train"][:, -1].mean()),
                float(row["relaxed"].mean()) if "relaxed" in row else None,
            ]
            for name, row in trained.items()
        ],
        "Minus the evidence lower bound with discrete samples, held out, seed by seed; its mean "
        "on training images; and, held out, with the relaxed samples of training, which flatter.",
    )
    context.table(
        "cost",
        ["one step without labels", *(f"{k} classes" for k in costs["classes"])],
        [
            ["milliseconds, sum over classes", *(1e3 * s for s in costs["sum_seconds"])],
            ["milliseconds, one relaxed sample", *(1e3 * s for s in costs["sample_seconds"])],
            ["ratio of times", *_ratios(costs, "seconds")],
            ["ratio of operations", *_ratios(costs, "flops")],
        ],
        f"A gradient of a semi-supervised autoencoder for {config.cost_batch} images. The paper "
        "reports 2 and 9.9 times for 10 and 100 classes, on a GPU.",
    )


def _ratios(costs: dict[str, Any], what: str) -> list[float]:
    return [a / b for a, b in zip(costs[f"sum_{what}"], costs[f"sample_{what}"], strict=True)]


def _claims_of_curves(config: Config, curves: dict[str, Any]) -> list[Claim]:
    taus = np.asarray(config.temperatures)
    one, cold = int(np.argmin(np.abs(taus - 1))), len(taus) - 1
    half = int(np.argmin(np.abs(taus - 0.2)))
    soft, size = curves["gumbel"], curves["size"]
    share = [*map(float, soft["bias"][:, one] / size)]
    fall = [*map(float, soft["bias"][:, cold] / soft["bias"][:, one])]
    ratio = soft["variance"][:, cold] / soft["variance"][:, half]
    power = [*map(float, np.log(ratio) / np.log(taus[half] / taus[cold]))]
    louder = curves["hard"]["variance"] / soft["variance"]
    return [
        Claim.over_seeds(
            f"At temperature {taus[one]:g} the gradient is wrong by a large share of its size",
            share,
            at_least=0.15,
            reference="exact by enumeration: 0; four classes, a quadratic",
        ),
        Claim.over_seeds(
            f"At {taus[cold]:g} the bias is a small part of what it is at {taus[one]:g}",
            fall,
            at_most=0.4,
            reference="0.10 in plain JAX",
        ),
        Claim.over_seeds(
            f"Meanwhile the variance grows, from {taus[half]:g} to {taus[cold]:g} like the inverse "
            "temperature to the power",
            power,
            at_least=0.8,
            at_most=1.3,
            reference="1: a slope of 1/tau in a share tau of the draws",
        ),
        Claim(
            "Straight-through samples are noisier than relaxed ones at every temperature (least "
            "ratio of variances)",
            value=float(louder.min()),
            at_least=1.3,
            seeds=len(louder),
            reference="4 to 5 in plain JAX",
        ),
    ]


def _claims_of_autoencoders(trained: dict[str, Any]) -> list[Claim]:
    test = {name: row["test"][:, -1] for name, row in trained.items()}
    gain = lambda worse, better: [*map(float, test[worse] - test[better])]
    return [
        Claim.over_seeds(
            "Straight-through Gumbel-softmax beats plain straight-through, which has no noise in "
            "its backward pass, held out, by",
            gain("straight_through", "hard"),
            at_least=0.7,
            unit="nats",
            reference="1.2 to 1.8 nats in plain JAX; 3.1 in the paper",
        ),
        Claim.over_seeds(
            "It beats the score function with a moving average by",
            gain("score", "hard"),
            at_least=0.8,
            unit="nats",
            reference="0.8 to 0.9 nats in plain JAX; 2.8 in the paper",
        ),
        Claim.over_seeds(
            "Relaxed samples flatter the model that was trained on them: the score with discrete "
            "samples is worse by",
            [*map(float, test["gumbel"] - trained["gumbel"]["relaxed"])],
            at_least=1.0,
            unit="nats",
            reference="0 if the samples did not matter",
        ),
        Claim.over_seeds(
            "A lower final temperature flatters less: the gap shrinks by",
            [
                *map(
                    float,
                    (test["gumbel"] - trained["gumbel"]["relaxed"])
                    - (test["colder"] - trained["colder"]["relaxed"]),
                )
            ],
            at_least=0.5,
            unit="nats",
            reference="0 if the temperature did not matter",
        ),
    ]


def _claims_of_cost(config: Config, costs: dict[str, Any]) -> list[Claim]:
    few, many = _ratios(costs, "flops")[0], _ratios(costs, "flops")[-1]
    return [
        Claim(
            f"With {config.classes[-1]} classes the sum over them costs many times one sample "
            "(ratio of operations)",
            value=many,
            at_least=0.2 * config.classes[-1],
            reference="9.9 times in the paper, in time on a GPU; counted by the compiler",
        ),
        Claim(
            "which grows with the number of classes (that ratio, over the one with "
            f"{config.classes[0]})",
            value=many / few,
            at_least=0.5 * config.classes[-1] / config.classes[0],
            reference=f"{config.classes[-1] / config.classes[0]:g} if the networks were all",
        ),
    ]


PRESETS = {
    "smoke": Config(
        temperatures=(1.0, 0.2, 0.05), draws=400, problems=2, seeds=2, latents=(3, 4), width=8,
        iterations=20, batch_size=8, images=40, classes=(3, 6), cost_width=8, cost_batch=2,
        cost_turns=1,
    ),
    "desk": Config(),
}  # fmt: skip
