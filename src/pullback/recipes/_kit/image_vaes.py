"""Autoencoders of binary images, trained alike but for the bound and its gradient.

Three recipes compare them on images of a data set.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from pullback.bounds import ELBO, ImportanceWeighted
from pullback.data import Split, digits
from pullback.models.vae import VAE, Bernoulli, BoundLoss, importance_weighted_evidence, mlp_vae
from pullback.plots import figure
from pullback.runs import Claim, Context
from pullback.sampling import AbstractEstimator
from pullback.train import fit


@dataclass(frozen=True)
class Protocol:
    """How an autoencoder is trained and scored."""

    images: str
    """What the images are called."""
    steps: int
    learning_rate: float
    latent: int
    width: int
    batch_size: int = 100
    scored: int = 1000
    """How many held-out images are scored."""
    score_samples: int = 5000
    """Importance samples of each score."""


def binary_digits() -> tuple[Array, Array]:
    """Training and held-out digits as rows of zeros and ones."""
    # 0 to 16 in the file: ink is 8 and more.
    return _rows([(part.x > 7.5 / 16).astype(np.float32) for part in digits(seed=0)])


def grey_rows(images: Split) -> tuple[Array, Array]:
    """Training and held-out images as rows of grey levels in [0, 1]."""
    return _rows([part.x for part in images])


def _rows(parts: Sequence[np.ndarray]) -> tuple[Array, Array]:
    train, test = (jnp.asarray(part.reshape(len(part), -1), float) for part in parts)
    return train, test


def held_out(protocol: Protocol, test: Array) -> Float[Array, "n pixel"]:
    """The held-out images that are scored, binarised once and for all."""
    rows = np.random.default_rng(0).permutation(len(test))[: protocol.scored]
    return jr.bernoulli(jr.key(0), test[rows]).astype(test.dtype)


def compare_on_images(
    context: Context,
    protocol: Protocol,
    images: Split,
    ways: Mapping[str, tuple[Literal["elbo"] | int, AbstractEstimator]],
    *,
    seeds: Sequence[int],
) -> list[Claim]:
    """Train one autoencoder for each way and seed; their held-out log-evidence, side by side."""
    train, test = grey_rows(images)
    x = held_out(protocol, test)
    optimiser = optax.adam(optax.cosine_decay_schedule(protocol.learning_rate, protocol.steps))
    scores: dict[str, list[float]] = {}
    for number, (name, (kind, estimator)) in enumerate(ways.items()):
        bound = ELBO() if kind == "elbo" else ImportanceWeighted(kind)
        loss = BoundLoss(bound, estimator, binarise=True)
        scores[name] = []
        for index, seed in enumerate(seeds):
            model, draws = jr.split(jr.key(seed))
            vae, info = fit(
                _untrained(protocol, train.shape[1], model),
                loss,
                train,
                optimiser=optimiser,
                steps=protocol.steps,
                batch_size=min(protocol.batch_size, len(train)),
                **context.training(f"way{number}-{index}"),
                checkpoint_every=min(1000, protocol.steps // 100 * 100) or None,
                key=draws,
            )
            context.log(info.lines(), way=name, number=index)
            score = context.stage(
                f"score-{number}-{index}",
                lambda vae=vae, seed=seed: float(
                    jnp.mean(
                        importance_weighted_evidence(
                            vae, x, samples=protocol.score_samples, key=jr.key(seed)
                        )
                    )
                ),
            )
            scores[name].append(score)
    return report_scores(context, protocol, scores)


def _untrained(protocol: Protocol, pixels: int, key: PRNGKeyArray) -> VAE:
    sizes = (pixels, protocol.latent, protocol.width, 2)
    return mlp_vae(*sizes, jnp.tanh, likelihood=Bernoulli(), key=key)


def report_scores(
    context: Context, protocol: Protocol, scores: Mapping[str, Sequence[float]]
) -> list[Claim]:
    count = len(next(iter(scores.values())))
    context.table(
        "scores",
        ["held-out log-evidence, nats", "mean", *(f"seed {i + 1}" for i in range(count))],
        [[name, float(np.mean(values)), *values] for name, values in scores.items()],
        f"By {protocol.score_samples} importance samples on {protocol.scored} held-out images of "
        f"{protocol.images}, after {protocol.steps} steps.",
    )
    fig, ax = figure(width=7.0, height=0.6 + 0.5 * len(scores))
    for place, values in enumerate(scores.values()):
        ax.plot(values, [place] * len(values), "o", alpha=0.7)
    ax.set_yticks(range(len(scores)), list(scores))
    ax.invert_yaxis()
    ax.set(xlabel="held-out log-evidence (nats)")
    context.figure("scores", fig, "Held-out log-evidence of each way to train; one dot a seed.")
    first, *others = scores
    return [
        Claim.over_seeds(
            f"{name}: held-out log-evidence above that of {first}",
            [a - b for a, b in zip(scores[name], scores[first], strict=True)],
            at_least=-0.5,
            unit="nats",
            reference="a few tenths better, at times worse, is what is known of the paper",
        )
        for name in others
    ]
