"""Reinterpreting importance-weighted autoencoders (arXiv 1704.02916).

The bound of k samples is the objective of another posterior: on two modes of one dimension, and of
autoencoders of handwritten digits with a latent plane, where everything can be integrated. With
`--data`, autoencoders of MNIST or Omniglot.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Array

from pullback.bounds import ImportanceWeighted
from pullback.models.vae import VAE, Bernoulli, BoundLoss, mlp_vae
from pullback.recipes._kit.checks import check_above_zero, check_rising
from pullback.recipes._kit.image_vaes import binary_digits
from pullback.recipes._kit.stack import made
from pullback.recipes.iwae_posterior import measure, show
from pullback.runs import Claim, Context, Headline
from pullback.sampling import Reparameterised
from pullback.train import fit

# What is measured of a model, by the number of samples that it is scored with.
_COLUMNS = {
    "evidence": "log p(x)",
    "elbo": "ELBO of q",
    "bound": "weighted bound",
    "implied": "ELBO of implied",
    "variation": "variation, q",
    "implied_variation": "variation, implied",
    "effective": "effective samples / k",
}


@dataclass(frozen=True)
class Config:
    seeds: int = 3
    """How many models are trained with each number of samples."""
    samples: tuple[int, ...] = (1, 2, 5, 10, 50, 200)
    """Numbers of samples, k, in one dimension, rising."""
    sets: int = 20_000
    """Sets of proposals that the density in one dimension is averaged over."""
    few: tuple[int, ...] = (1, 10, 100)
    """Sets of proposals, rising, for the bias of an estimated density in one dimension."""
    trained: tuple[int, ...] = (1, 5, 50)
    """Numbers of samples that the models are trained with, rising."""
    scored: tuple[int, int] = (5, 50)
    """Numbers of samples that the trained models are scored with, rising."""
    steps: int = 2000
    """Training steps."""
    learning_rate: float = 1e-3
    """Adam's learning rate."""
    width: int = 64
    """Size of the two hidden layers of the encoder, and of the decoder."""
    images_scored: int = 10
    """Held-out images that are scored on the grid."""
    grid_sets: int = 300
    """Sets of proposals that each density on the grid is averaged over."""

    def __post_init__(self):
        check_above_zero(self)
        check_rising(self, "few", least=1)
        for name in ("samples", "trained", "scored"):
            check_rising(self, name, count=2, least=1)


def run(config: Config, context: Context) -> list[Claim]:
    """Measure in one dimension, train the models, and score them on the grid."""
    simple = context.stage(
        "one-dimension", measure.in_one_dimension, config.samples, config.sets, context.seed
    )
    few = context.stage("few-sets", measure.with_few_sets, config.few, 5, 4000, context.seed)
    train, test = binary_digits()
    seeds = context.seeds(config.seeds)
    models = {k: [_train(config, context, k, train, s) for s in seeds] for k in config.trained}
    evidence = {
        k: context.stage(f"evidence-{k}", _evidence, models[k], test) for k in config.trained
    }
    x = test[: config.images_scored]
    gaps = {
        (trained, k): context.stage(
            f"gaps-{trained}-{k}", _gaps, models[trained], x, k, config.grid_sets, context.seed
        )
        for trained, k in itertools.product(config.trained, config.scored)
    }
    show.draw_one_dimension(context, simple, config.few, few)
    show.draw_gaps(context, gaps)
    show.draw_planes(context, config.trained[-1], *config.scored, gaps)
    _table(context, gaps, evidence)
    headline, *others = _claims_of_one_dimension(simple, few)
    return [headline, *_claims_of_models(config, gaps, evidence), *others]


def _train(config: Config, context: Context, k: int, train: Array, seed: int) -> VAE:
    model, draws = jr.split(jr.key(seed))
    vae, info = fit(
        made(mlp_vae, train.shape[1], 2, config.width, likelihood=Bernoulli(), key=model),
        BoundLoss(ImportanceWeighted(k), Reparameterised()),
        train,
        optimiser=optax.adam(config.learning_rate),
        steps=config.steps,
        batch_size=min(100, len(train)),
        **context.training(f"vae-{k}-{seed}"),
        key=draws,
    )
    context.log(info.lines(), trained=k, seed=seed)
    return vae


def _evidence(models: Sequence[VAE], x: Array) -> np.ndarray:
    return np.array([measure.PLANE.log_evidence(vae, x).mean() for vae in models])


def _gaps(models: Sequence[VAE], x: Array, k: int, sets: int, seed: int) -> dict[str, np.ndarray]:
    """Means over the images, one entry a seed."""
    keys = [jr.fold_in(jr.key(seed), number) for number in range(len(models))]
    found = [measure.gaps(vae, x, k, sets, key) for vae, key in zip(models, keys, strict=True)]
    return jax.tree.map(lambda *each: np.stack(each), *found)


def _table(
    context: Context,
    gaps: Mapping[tuple[int, int], Mapping[str, np.ndarray]],
    evidence: Mapping[int, np.ndarray],
) -> None:
    means = lambda row: [float(row[name].mean()) for name in _COLUMNS]
    context.table(
        "gaps",
        ["trained with k", "scored with k", *_COLUMNS.values(), "log p(x), all images"],
        [
            [trained, k, *means(row), float(evidence[trained].mean())]
            for (trained, k), row in gaps.items()
        ],
        "Held-out digits, on a grid over the latent plane: means over images and seeds, in nats; "
        "total variation is from the exact posterior.",
    )
    for (trained, k), row in gaps.items():
        for number in range(len(row["evidence"])):
            values = {name: float(row[name][number]) for name in _COLUMNS}
            context.metrics({"trained": trained, "k": k, "number": number, **values})


def _claims_of_models(
    config: Config,
    gaps: Mapping[tuple[int, int], Mapping[str, np.ndarray]],
    evidence: Mapping[int, np.ndarray],
) -> list[Claim]:
    few, many, (least, most) = config.trained[0], config.trained[-1], config.scored
    first, last, loose = gaps[few, most], gaps[many, most], gaps[many, least]
    return [
        Claim.over_seeds(
            f"Digits, trained with k = {many}: the bound of {least} samples is an ELBO that is "
            "more than it says, for that of the posterior which it implies is above it by",
            loose["implied"] - loose["bound"],
            at_least=0.2,
            unit="nats",
            reference="a theorem has 0 or more; 0 is a bound that says it all",
            headline=Headline(no_effect=0.0),
        ),
        Claim.over_seeds(
            f"Digits, trained with k = {many}: the posterior implied at k = {most} is close to the "
            "exact one where q is not (total variation of q over its own)",
            last["variation"] / last["implied_variation"],
            at_least=5,
            reference="1: q itself",
            headline=Headline(no_effect=1.0),
        ),
        Claim.over_seeds(
            f"Training with k = {many} in place of {few} makes the model better (gain in exact "
            "log p(x), all held-out images)",
            evidence[many] - evidence[few],
            at_least=0.3,
            unit="nats",
            reference=f"0: the model trained with k = {few}",
        ),
        Claim.over_seeds(
            f"When not to: q alone is worse after training with k = {many} in place of {few} (loss "
            "of its ELBO)",
            first["elbo"] - last["elbo"],
            at_least=3.0,
            unit="nats",
            reference=f"0: q of the model trained with k = {few}",
        ),
    ]


def _claims_of_one_dimension(simple: dict[str, Any], few: np.ndarray) -> list[Claim]:
    return [
        Claim(
            "Two modes: the implied posterior becomes the exact one, its total variation falls "
            f"from k = {simple['k'][0]} to {simple['k'][-1]} (ratio)",
            value=float(simple["variation"][0] / simple["variation"][-1]),
            at_least=60,
            reference="1: q itself; the note shows this as pictures",
            headline=Headline(no_effect=1.0),
        ),
        Claim(
            "When not to trust it: from few sets of proposals the ELBO of the implied posterior is "
            "estimated above log p(x) by (4 standard errors taken off)",
            value=float(few[0, 0] - 4 * few[0, 1]) - measure.LOG_EVIDENCE,
            at_least=0.0,
            unit="nats",
            reference="the log of a noisy density is biased low, so its ELBO is biased high",
        ),
    ]


PRESETS = {
    "smoke": Config(
        seeds=1, samples=(1, 5), sets=500, few=(1,), trained=(1, 5), scored=(2, 5), steps=100,
        width=8, images_scored=2, grid_sets=10,
    ),
    "desk": Config(),
    "long": Config(seeds=8, steps=5000, images_scored=20),
    "paper": Config(steps=20_000, images_scored=100, grid_sets=1000),
}  # fmt: skip
