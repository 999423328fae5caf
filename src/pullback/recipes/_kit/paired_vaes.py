"""Autoencoders of binary images that differ in nothing but the bound and its gradient.

Of one seed they start from the same weights and see the same batches, so that the difference of
their scores is that of the two ways to train.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from pullback.bounds import AbstractBound
from pullback.data import Split
from pullback.models.vae import VAE, Bernoulli, BoundLoss, importance_weighted_evidence, mlp_vae
from pullback.plots import figure
from pullback.recipes._kit.checks import check_above_zero, check_least, check_rising
from pullback.recipes._kit.image_vaes import grey_rows, held_out
from pullback.recipes._kit.images import in_blocks
from pullback.recipes._kit.stack import made
from pullback.runs import Context
from pullback.sampling import AbstractEstimator
from pullback.train import fit

Ways = Mapping[str, tuple[AbstractBound, AbstractEstimator]]
Scores = dict[str, Float[np.ndarray, " seed"]]


@dataclass(frozen=True)
class Config:
    seeds: int = 4
    """How many autoencoders are trained in each way."""
    samples: tuple[int, ...] = (5,)
    """Importance samples of the bounds that are trained with, rising."""
    steps: int = 2000
    """Training steps of each autoencoder."""
    learning_rate: float = 8e-3
    """Adam's at the start; it falls to zero along a cosine."""
    batch_size: int = 50
    """Images of a training step."""
    block: int = 2
    """Images are averaged in blocks of this many pixels along either axis; 1: as they are."""
    width: int = 100
    """Size of the two hidden layers of the encoder, and of the decoder."""
    latent: int = 20
    """Latent variables."""
    scored: int = 500
    """Held-out images that are scored."""
    score_samples: int = 1000
    """Importance samples of each, by which its log-evidence is estimated."""

    def __post_init__(self):
        check_above_zero(self)
        check_rising(self, "samples", least=1)
        check_least(self, seeds=2)


def held_out_scores(config: Config, context: Context, images: Split, ways: Ways) -> Scores:
    """Train in every way; the negative log-likelihood of held-out images, shown side by side."""
    grey, test = grey_rows(in_blocks(images, config.block))
    x = held_out(test, config.scored)
    scores: Scores = {}
    for number, (name, way) in enumerate(ways.items()):
        vaes = [
            _train(config, context, f"way{number}-{index}", grey, *way, seed)
            for index, seed in enumerate(context.seeds(config.seeds))
        ]
        scores[name] = context.stage(
            f"scores-{number}", _scores, vaes, x, config.score_samples, context.seed
        )
    _show(context, scores, f"{len(x)} held-out images of {x.shape[1]} pixels", config)
    return scores


def _train(
    config: Config, context: Context, label: str, grey: Array, bound: AbstractBound,
    estimator: AbstractEstimator, seed: int,
) -> VAE:  # fmt: skip
    weights, draws = jr.split(jr.key(seed))
    vae, info = fit(
        made(
            mlp_vae, grey.shape[1], config.latent, config.width, 2, jnp.tanh,
            likelihood=Bernoulli(), key=weights,
        ),
        BoundLoss(bound, estimator, binarise=True),
        grey,
        optimiser=optax.adam(optax.cosine_decay_schedule(config.learning_rate, config.steps)),
        steps=config.steps,
        batch_size=min(config.batch_size, len(grey)),
        **context.training(label),
        checkpoint_every=min(1000, config.steps // 100 * 100) or None,
        key=draws,
    )  # fmt: skip
    context.log(info.lines(), way=label)
    return vae


def _scores(vaes: Sequence[VAE], x: Array, samples: int, seed: int) -> Float[np.ndarray, " seed"]:
    key = jr.key(seed)  # the same proposals' noise for all
    return np.array([_score(vae, x, samples, key) for vae in vaes])


def _score(vae: VAE, x: Array, samples: int, key: PRNGKeyArray) -> Array:
    return -jnp.mean(importance_weighted_evidence(vae, x, samples=samples, key=key))


def _show(context: Context, scores: Scores, images: str, config: Config) -> None:
    seeds = range(1, config.seeds + 1)
    context.table(
        "scores",
        ["held-out -log p(x), nats", "mean", *(f"seed {i}" for i in seeds)],
        [[name, float(each.mean()), *map(float, each)] for name, each in scores.items()],
        f"By {config.score_samples} importance samples on {images}, after {config.steps} steps. "
        "Those of a seed have the same start and batches.",
    )
    fig, ax = figure(width=7.0, height=0.8 + 0.4 * len(scores))
    for line in np.stack(list(scores.values())).T:
        ax.plot(line, range(len(scores)), "o-", alpha=0.6, linewidth=0.8)
    ax.set_yticks(range(len(scores)), list(scores))
    ax.invert_yaxis()
    ax.set(xlabel="held-out -log p(x), nats (less is better)")
    context.figure("scores", fig, "Held-out likelihood of each way to train; a line a seed.")
