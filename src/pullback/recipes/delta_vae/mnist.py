"""The recipe `delta-vae` on images: each is a sequence of its rows, drawn from top to bottom."""

from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Array

from pullback.analysis import rate_distortion
from pullback.bounds import Beta
from pullback.data import mnist
from pullback.models.vae import VAE, AR1Prior, ObjectiveLoss, aggregate_normal
from pullback.plots import figure, image_sheet
from pullback.recipes._kit.checks import check_between, check_least
from pullback.recipes.delta_vae.measure import probe
from pullback.recipes.delta_vae.models import autoencoder
from pullback.recipes.delta_vae.show import draw_probes
from pullback.runs import Claim, Context
from pullback.sampling import StandardNormal, draw
from pullback.train import fit

_SCORED, _DRAWN = 5000, 10
_PICTURES = ("originals", "reconstructions", "samples")


@dataclass(frozen=True)
class Config:
    seeds: int = 1
    """How many models are trained in each way."""
    steps: int = 2000
    """Training steps."""
    width: int = 96
    """Size of the recurrent states."""
    channels: int = 4
    """Latents of each row of an image."""
    rate: float = 20.0
    """The committed rate, in nats."""

    def __post_init__(self):
        check_least(self, seeds=1, steps=1, width=1, channels=1)
        check_between(self, 0, float("inf"), "rate")


def run(config: Config, context: Context) -> list[Claim]:
    """The VAE and the delta-VAE with one decoder: rate, distortion, and the digit in z."""
    sets = mnist(context.data)
    train, test = (jnp.asarray(part.x >= 0.5, float) for part in sets)
    labels = [part.y[:_SCORED] for part in sets]
    priors = {
        "VAE": StandardNormal((28, config.channels)),
        "delta-VAE": AR1Prior.from_committed_rate(config.rate, 28, config.channels),
    }
    rows: dict[str, list[dict[str, Any]]] = {way: [] for way in priors}
    for way, prior in priors.items():
        for seed in context.seeds(config.seeds):
            vae = _fit(config, context, f"{way}-{seed}", prior, seed, train)
            rows[way].append(context.stage(
                f"measure-{way}-{seed}", _measure, vae, train[:_SCORED], test[:_SCORED], labels,
                jr.key(seed),
            ))  # fmt: skip
    found = {
        way: {name: np.array([row[name] for row in each]) for name in each[0]}
        for way, each in rows.items()
    }
    _report(config, context, found)
    plain, delta = found.values()
    return [
        Claim.over_seeds(
            "The digit can be told from a draw of the delta-VAE's latents more often than from the "
            "VAE's (difference of the shares told correctly)",
            delta["digit_from_draw"] - plain["digit_from_draw"],
            at_least=0.3,
            reference="0 if the prior did not matter",
        ),
        Claim.over_seeds(
            "The VAE collapses: its rate is a small fraction of the delta-VAE's (rate over rate)",
            plain["rate"] / delta["rate"],
            at_most=0.3,
            reference="0 where the decoder is strong enough to do without",
        ),
        Claim.over_seeds(
            "The price of that, under priors fitted after training (minus the ELBO of the "
            "delta-VAE above that of the VAE)",
            delta["distortion"] + delta["fitted_rate"] - plain["distortion"] - plain["fitted_rate"],
            at_most=6,
            unit="nats",
            reference="about 80 nats are an image's",
        ),
    ]


def _fit(config: Config, context: Context, name: str, prior: Any, seed: int, train: Array) -> VAE:
    model, draws = jr.split(jr.key(seed))
    vae, info = fit(
        autoencoder((28, 28), prior, config.width, key=model),
        ObjectiveLoss(Beta(1.0)), train,
        optimiser=optax.adam(optax.cosine_decay_schedule(3e-3, config.steps)),
        steps=config.steps, batch_size=64, clip_norm=10.0, log_every=min(100, config.steps),
        checkpoint_every=min(500, config.steps // 100 * 100) or None,
        **context.training(name), key=draws,
    )  # fmt: skip
    context.log(info.lines(), model=name)
    return vae


def _measure(
    vae: VAE, train: Array, test: Array, labels: list[np.ndarray], key: Array
) -> dict[str, Any]:
    found = rate_distortion(vae.target, test, batch_size=250, key=key)
    posteriors = eqx.filter_jit(lambda vae, x: jax.vmap(vae.posterior)(x))
    both = [posteriors(vae, train), posteriors(vae, test)]
    fitted = aggregate_normal(both[0])
    tuned = eqx.tree_at(lambda vae: vae.prior, vae, fitted)
    # A key for each example: with one for all, their noise is the same, and a draw tells as much
    # as a mean.
    keys = jr.split(key, (2, len(train)))
    draws = [jax.vmap(draw)(q, keys) for q, keys in zip(both, keys, strict=True)]
    reconstruct = lambda x, key: vae.reconstruct(x, key=key)
    flat = lambda several: [np.asarray(each).reshape(len(each), -1) for each in several]
    return {
        **{name: float(value) for name, value in found._asdict().items()},
        "fitted_rate": float(jnp.mean(fitted.kl_from(both[1]))),
        "digit_from_draw": probe(flat(draws), labels),
        "digit_from_mean": probe(flat([q.base_dist.loc for q in both]), labels),
        "originals": test[:_DRAWN],
        "reconstructions": jax.vmap(reconstruct)(test[:_DRAWN], jr.split(key, _DRAWN)),
        "samples": tuned.sample(key, (_DRAWN,)),
    }


def _report(config: Config, context: Context, found: dict[str, dict[str, np.ndarray]]) -> None:
    columns = {
        "distortion": "distortion", "rate": "rate", "fitted_rate": "rate, fitted prior",
        "information_lower": "information, at least", "digit_from_draw": "digit from a draw",
        "digit_from_mean": "digit from the mean",
    }  # fmt: skip
    context.table(
        "images",
        ["", *columns.values()],
        [[way, *(float(row[name].mean()) for name in columns)] for way, row in found.items()],
        f"Binary MNIST as 28 rows of 28 bits, after {config.steps} steps: nats an image on "
        f"{_SCORED} held-out images; the delta-VAE commits to {config.rate:g}. The decoder draws a "
        "row given the rows above; the encoder sees a row and those below. The lower bound on the "
        "information is at most log 250 = 5.52.",
    )
    fig, axes = figure(len(found), 1, width=7.0, height=5.0)
    for ax, (way, row) in zip(axes, found.items(), strict=True):
        image_sheet(ax, np.stack([row[kind][0] for kind in _PICTURES]), rows=_PICTURES, title=way)
    context.figure(
        "images",
        fig,
        "Images drawn row by row. A reconstruction is drawn given the latents of the image "
        "above it, a sample given latents from the fitted prior: what a collapsed model calls "
        "a reconstruction is another digit.",
    )
    draw_probes(context, found, "digit", 0.1)


PRESETS = {
    "smoke": Config(steps=4, width=4, channels=1, rate=2.0),
    "desk": Config(),
    "paper": Config(seeds=3, steps=50_000, width=512, channels=8),
}
