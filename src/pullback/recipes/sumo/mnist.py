"""Autoencoders of MNIST, trained on by SUMO and by a bound of the same expected cost.

All of a seed go on from one model, that was trained by the bound: from the start, and at the rate
that is best for the bound, the noise of SUMO's early terms keeps it from learning.
"""

from dataclasses import dataclass

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from pullback.bounds import SUMO, AbstractBound, ImportanceWeighted
from pullback.data import Split, mnist
from pullback.models.vae import VAE, Bernoulli, BoundLoss, importance_weighted_evidence, mlp_vae
from pullback.recipes._kit.checks import check_above_zero, check_least
from pullback.recipes._kit.image_vaes import grey_rows, held_out
from pullback.recipes._kit.images import in_blocks
from pullback.recipes._kit.stack import made
from pullback.recipes.sumo.measure import TRUNCATION
from pullback.runs import Claim, Context, Headline
from pullback.sampling import AbstractEstimator, DoublyReparameterised, PathDerivative
from pullback.train import fit

BOUND, SERIES = "bound", "SUMO"


@dataclass(frozen=True)
class Config:
    seeds: int = 3
    """How many models there are, each trained on in either way."""
    samples: int = 15
    """Samples of the bound, and those that SUMO takes on average; it takes 6.1 and more."""
    first_steps: int = 1000
    """Training steps of the model that both go on from, by the bound."""
    first_rate: float = 8e-3
    """Adam's learning rate there; it falls to zero along a cosine."""
    steps: int = 800
    """Training steps of each way."""
    learning_rate: float = 1e-3
    """Adam's learning rate there, which falls likewise."""
    clip_norm: float = 10.0
    """The largest norm of a gradient there; a larger one is scaled down."""
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
        check_least(self, seeds=2, samples=6)

    @property
    def exact(self) -> int:
        """The samples that SUMO always takes."""
        return round(self.samples - float(TRUNCATION.mean()))

    @property
    def ways(self) -> dict[str, tuple[AbstractBound, AbstractEstimator]]:
        """Bounds, with what their gradient is estimated by."""
        return {
            BOUND: (ImportanceWeighted(self.samples), DoublyReparameterised()),
            SERIES: (SUMO(TRUNCATION, exact=self.exact), PathDerivative(allow_bias=True)),
        }


def run(config: Config, context: Context) -> list[Claim]:
    """Held-out likelihood of each way to train on."""
    return on_images(config, context, mnist(context.data))


def on_images(config: Config, context: Context, images: Split) -> list[Claim]:
    """Train a model for each seed, train it on in either way, and compare."""
    grey, test = grey_rows(in_blocks(images, config.block))
    x = held_out(test, config.scored)
    rows = []
    for index, seed in enumerate(context.seeds(config.seeds)):
        weights, draws, more = jr.split(jr.key(seed), 3)
        start = made(
            mlp_vae, grey.shape[1], config.latent, config.width, 2, jnp.tanh,
            likelihood=Bernoulli(), key=weights,
        )  # fmt: skip
        first = config.first_rate, config.first_steps
        start = _train(config, context, f"{index}-first", start, grey, BOUND, *first, draws)
        then = config.learning_rate, config.steps
        models = [start]
        for way in config.ways:
            label = f"{index}-{way}"
            models.append(_train(config, context, label, start, grey, way, *then, more))
        rows.append(context.stage(f"scores-{index}", _scores, models, x, config.score_samples))
    return _claims(config, context, np.stack(rows), len(x))


def _train(
    config: Config, context: Context, label: str, start: VAE, grey: Array, way: str, rate: float,
    steps: int, key: PRNGKeyArray,
) -> VAE:  # fmt: skip
    vae, info = fit(
        start,
        BoundLoss(*config.ways[way], binarise=True),
        grey,
        optimiser=optax.adam(optax.cosine_decay_schedule(rate, steps)),
        steps=steps,
        batch_size=min(config.batch_size, len(grey)),
        clip_norm=config.clip_norm,
        **context.training(label),
        checkpoint_every=min(1000, steps // 100 * 100) or None,
        key=key,
    )
    context.log(info.lines(), model=label)
    return vae


def _scores(models: list[VAE], x: Array, samples: int) -> Float[np.ndarray, " model"]:
    score = lambda vae: importance_weighted_evidence(vae, x, samples=samples, key=jr.key(0))
    return -np.array([jnp.mean(score(vae)) for vae in models])


def _claims(
    config: Config, context: Context, rows: Float[np.ndarray, "seed model"], scored: int
) -> list[Claim]:
    start, bound, series = rows.T
    names = {
        f"the start: bound of {config.samples}": start,
        f"on by the bound of {config.samples}": bound,
        f"on by SUMO, m = {config.exact}": series,
    }
    context.table(
        "scores",
        ["held-out -log p(x), nats", "mean", *(f"seed {i + 1}" for i in range(config.seeds))],
        [[name, float(each.mean()), *map(float, each)] for name, each in names.items()],
        f"By {config.score_samples} importance samples on {scored} held-out images; "
        f"{config.first_steps} steps, then {config.steps}.",
    )
    return [
        Claim.over_seeds(
            "An autoencoder trained on by SUMO has the higher held-out likelihood (gain over the "
            f"bound of as many samples, {config.samples}, from the same model)",
            bound - series,
            at_least=0.02,
            unit="nats",
            reference="0: the bound; the paper: SUMO is the better one at equal average cost",
            headline=Headline(no_effect=0.0),
        ),
        Claim.over_seeds(
            "Trained on by the bound it gains (over the model that both go on from)",
            start - bound,
            at_least=0.02,
            unit="nats",
            reference="0: the start",
        ),
    ]


PRESETS = {
    "smoke": Config(
        seeds=2, samples=6, first_steps=20, steps=20, block=4, width=10, latent=2, scored=8,
        score_samples=20,
    ),
    "desk": Config(),
    "long": Config(
        seeds=2, first_steps=10_000, first_rate=2e-3, steps=4000, batch_size=20, block=1,
        width=200, latent=50, scored=1000, score_samples=5000,
    ),
    "paper": Config(
        first_steps=4_000_000, first_rate=1e-3, steps=4_000_000, batch_size=20, block=1, width=200,
        latent=50, scored=10_000, score_samples=5000,
    ),
}  # fmt: skip
