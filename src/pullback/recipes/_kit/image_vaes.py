"""Autoencoders of binary images, trained alike but for the bound and its gradient.

Three recipes compare them on images of a data set.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from pullback.bounds import AbstractBound
from pullback.data import Split, digits
from pullback.models.vae import VAE, Bernoulli, BoundLoss, importance_weighted_evidence, mlp_vae
from pullback.plots import figure
from pullback.recipes._kit.checks import check_above_zero, check_rising
from pullback.recipes._kit.stack import made
from pullback.runs import Claim, Context
from pullback.sampling import AbstractEstimator
from pullback.train import fit

SCORE_SAMPLES = 5000


@dataclass(frozen=True)
class Config:
    seeds: int = 3
    """How many autoencoders are trained in each way."""
    samples: tuple[int, ...] = (5,)
    """Importance samples of the bounds that are trained with, rising."""
    steps: int = 20_000
    """Training steps of each autoencoder."""
    learning_rate: float = 1e-3
    """Adam's at the start; it falls to zero along a cosine."""
    scored: int = 1000
    """Held-out images that are scored."""

    def __post_init__(self):
        check_above_zero(self)
        check_rising(self, "samples", least=1)


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


def held_out(test: Array, count: int) -> Float[Array, "n pixel"]:
    """Some held-out images, binarised once and for all."""
    rows = np.random.default_rng(0).permutation(len(test))[:count]
    return jr.bernoulli(jr.key(0), test[rows]).astype(test.dtype)


def untrained(pixels: int, key: PRNGKeyArray) -> VAE:
    """One stochastic layer of 50 between two of 200, as in the papers on weighted bounds."""
    return made(mlp_vae, pixels, 50, 200, 2, jnp.tanh, likelihood=Bernoulli(), key=key)


def score(vae: VAE, x: Float[Array, "n pixel"], key: PRNGKeyArray) -> float:
    """Mean log-evidence, by `SCORE_SAMPLES` importance samples an image."""
    return float(jnp.mean(importance_weighted_evidence(vae, x, samples=SCORE_SAMPLES, key=key)))


def compare_on_images(
    config: Config,
    context: Context,
    images: Split,
    ways: Mapping[str, tuple[AbstractBound, AbstractEstimator]],
) -> list[Claim]:
    """Train one autoencoder for each way and seed; their held-out log-evidence, side by side."""
    train, test = grey_rows(images)
    x = held_out(test, config.scored)
    optimiser = optax.adam(optax.cosine_decay_schedule(config.learning_rate, config.steps))
    scores: dict[str, list[float]] = {}
    for number, (name, (bound, estimator)) in enumerate(ways.items()):
        loss = BoundLoss(bound, estimator, binarise=True)
        scores[name] = []
        for index, seed in enumerate(context.seeds(config.seeds)):
            model, draws = jr.split(jr.key(seed))
            vae, info = fit(
                untrained(train.shape[1], model), loss, train, optimiser=optimiser,
                steps=config.steps, batch_size=min(100, len(train)),
                **context.training(f"way{number}-{index}"),
                checkpoint_every=min(1000, config.steps // 100 * 100) or None, key=draws,
            )  # fmt: skip
            context.log(info.lines(), way=name, number=index)
            scores[name].append(
                context.stage(f"score-{number}-{index}", score, vae, x, jr.key(seed))
            )
    return report_scores(context, scores, config.steps, len(x))


def report_scores(
    context: Context, scores: Mapping[str, Sequence[float]], steps: int, scored: int
) -> list[Claim]:
    """The scores of each way and seed as a table, a figure, and claims against the first way."""
    count = len(next(iter(scores.values())))
    context.table(
        "scores",
        ["held-out log-evidence, nats", "mean", *(f"seed {i + 1}" for i in range(count))],
        [[name, float(np.mean(values)), *values] for name, values in scores.items()],
        f"By {SCORE_SAMPLES} importance samples on {scored} held-out images, after {steps} steps.",
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
            np.subtract(scores[name], scores[first]),
            at_least=-0.5,
            unit="nats",
            reference=f"0: {first}, trained alike",
        )
        for name in others
    ]
