"""Autoencoders and belief networks with categorical latents, trained by seven estimators."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

from pullback.data import Split
from pullback.recipes._kit.checks import check_above_zero, check_least
from pullback.recipes._kit.discrete_vae import DiscreteVAE, Method, binary_images, compare
from pullback.recipes.gumbel_softmax import show
from pullback.recipes.gumbel_softmax.models import BeliefNet
from pullback.runs import Claim, Context, Headline
from pullback.sampling import (
    DARN,
    GumbelSoftmax,
    MuProp,
    ScoreFunction,
    StraightThrough,
    temperature_schedule,
)

_GUMBEL = ("gumbel", "colder")
_OTHERS = ("score", "darn", "muprop", "straight_through", "annealed")
_WAYS = (*_OTHERS, "hard", *_GUMBEL)


@dataclass(frozen=True)
class Config:
    seeds: int = 4
    """Networks of each kind and estimator."""
    ways: tuple[str, ...] = _WAYS
    """The estimators: gumbel, and some that it is compared with."""
    latents: tuple[int, int] = (10, 8)
    """Latents of an image, and the classes of each; of a belief network, in each layer."""
    width: int = 128
    """Units of the one hidden layer of the encoder and of the decoder."""
    iterations: int = 1000
    """Training steps."""
    batch_size: int = 50
    """Images in a training step."""
    learning_rates: tuple[float, ...] = (3e-3,)
    """Adam's; of each estimator the one that trains furthest counts."""
    images: int = 10_000
    """At most so many images of each set."""
    floors: tuple[float, float] = (0.5, 0.2)
    """Where the annealed temperature of an autoencoder stops: the paper's, and further down."""
    rate: float = 1.5e-3
    """Rate, per step, at which the temperature decays from 1."""
    every: int = 100
    """Steps between two changes of the temperature."""

    def __post_init__(self):
        check_above_zero(self)
        check_least(self, iterations=10)
        others = {*self.ways} & {*_OTHERS}
        if (
            "gumbel" not in self.ways
            or not others
            or sorted({*self.ways} & {*_WAYS}) != sorted(self.ways)
        ):
            raise ValueError(
                f"ways must be gumbel and others, each once, of {', '.join(_WAYS)}; got {self.ways}"
            )
        if self.latents[1] < 2:
            raise ValueError(f"latents must be a number, and 2 or more classes, got {self.latents}")


def on_images(config: Config, context: Context, of: Split | None) -> list[Claim]:
    """Train on images of a data set, or on handwritten digits."""
    images = binary_images(config.images, of, context.seed)
    pixels = images[0].shape[1]
    makes = {
        "vae": functools.partial(DiscreteVAE, pixels, config.latents, config.width, 1),
        "belief": functools.partial(BeliefNet, pixels, config.latents),
    }
    trained = {
        name: compare(config, context, _methods(config, name), make, images, name=name)
        for name, make in makes.items()
    }
    for name, rows in trained.items():
        show.draw_networks(context, name, rows)
        show.table_of_networks(context, name, rows)
    show.draw_flattery(context, trained["vae"])
    return [
        _headline(
            trained["vae"], "an autoencoder", 5.5,
            "107.0 by MuProp and 101.5 by Gumbel-softmax: minus the bound, MNIST, 20 latents of "
            "10 classes",
        ),
        _headline(
            trained["belief"], "a belief network", 2.1,
            "61.1 by slope-annealed straight-through and 59.0 by Gumbel-softmax: lower halves of "
            "MNIST, two layers of 20 latents of 10 classes",
        ),
        *_further(trained["vae"]),
    ]  # fmt: skip


def _last(rows: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Held-out scores at the end, seed by seed: the mean of the last three of ten.

    The learning rate does not fall, so that one score alone says little.
    """
    return {name: row["test"][:, -3:].mean(axis=1) for name, row in rows.items()}


def _headline(rows: Mapping[str, Any], what: str, paper: float, words: str) -> Claim:
    test = _last(rows)
    best = {
        of: min({*of} & {*test}, key=lambda name: float(test[name].mean()))
        for of in (_OTHERS, _GUMBEL)
    }
    return Claim.over_seeds(
        f"Gumbel-softmax, at the better of two schedules, trains {what} to a better held-out score "
        "with discrete samples than the best of five other estimators, by",
        test[best[_OTHERS]] - test[best[_GUMBEL]],
        at_least=0.1,
        unit="nats",
        reference=f"paper: {paper:g} ({words}); here the best other is {show.NAMES[best[_OTHERS]]}",
        headline=Headline(no_effect=0.0, paper=paper),
    )


def _further(rows: Mapping[str, Any]) -> list[Claim]:
    test = _last(rows)
    flattery = {
        name: row["test"][:, -1] - row["relaxed"] for name, row in rows.items() if "relaxed" in row
    }
    claim = lambda sentence, values, least, reference: Claim.over_seeds(
        sentence, values, at_least=least, unit="nats", reference=reference
    )
    claims = [
        claim(
            "When not to trust it: relaxed samples flatter the model that was trained on them. The "
            "score with discrete samples is worse by",
            flattery["gumbel"],
            1.0,
            "0 if the samples did not matter",
        )
    ]
    if "colder" in rows:
        claims += [
            claim(
                "A lower final temperature flatters less: the gap shrinks by",
                flattery["gumbel"] - flattery["colder"],
                0.5,
                "0 if the temperature did not matter",
            )
        ]
    if {"hard", "straight_through"} <= {*rows}:
        claims += [
            claim(
                "Straight-through Gumbel-softmax beats plain straight-through, which has no noise "
                "in its backward pass, held out, by",
                test["straight_through"] - test["hard"],
                0.7,
                "paper: 3.1 (110.9 and 107.8 nats, MNIST, 20 latents of 10 classes)",
            )
        ]
    return claims


def _methods(config: Config, model: str) -> dict[str, Method]:
    to_paper, to_low = (
        temperature_schedule(1.0, floor, config.rate, config.every) for floor in config.floors
    )
    # As in the paper, the temperature of a belief network stays at 1.
    high, low = (to_paper, to_low) if model == "vae" else (lambda step: 1.0, to_paper)
    of_all = lambda build, **settings: Method(
        lambda learned, average, step: lambda x: build(learned, average, step), **settings
    )
    methods = {
        "score": of_all(lambda learned, average, step: ScoreFunction(average.value)),
        "darn": of_all(lambda learned, average, step: DARN()),
        # Scaled, for Adam's steps are of the size of its learning rate.
        "muprop": of_all(
            lambda learned, average, step: MuProp(20.0 * learned),
            learned=lambda key: jnp.zeros(()),
        ),
        "straight_through": of_all(lambda learned, average, step: StraightThrough()),
        "annealed": of_all(lambda learned, average, step: StraightThrough(1 / to_paper(step))),
        "hard": of_all(lambda learned, average, step: GumbelSoftmax(high(step), hard=True)),
        "gumbel": of_all(lambda learned, average, step: GumbelSoftmax(high(step)), relaxed=True),
        "colder": of_all(lambda learned, average, step: GumbelSoftmax(low(step)), relaxed=True),
    }
    return {name: method for name, method in methods.items() if name in config.ways}
