"""The residual flow on images of MNIST: bits per dimension."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Array, Float

from pullback.calculus import RouletteLogDet
from pullback.data import Split, mnist
from pullback.models.flows import (
    AbstractFlow,
    Logit,
    ResidualFlow,
    bits_per_dimension,
    dequantise,
    image_residual_flow,
    init_actnorm,
    log_prob_estimate,
    maximum_likelihood_loss,
    with_log_det,
)
from pullback.nn import update_spectral_norms
from pullback.plots import figure, image_sheet
from pullback.recipes._kit.checks import check_above_zero
from pullback.recipes._kit.gaussian import gaussian
from pullback.runs import Claim, Context
from pullback.train import fit

_SCORED = 1000  # held-out images
_BATCH = 64


@dataclass(frozen=True)
class Config:
    side: int = 14
    """Side of the images, which are averaged down to it."""
    blocks: int = 2
    """Residual blocks a scale of the flow, which has two."""
    hidden: int = 24
    """Channels inside a block."""
    iterations: int = 600
    """Training steps."""
    learning_rate: float = 2e-3
    """Adam's, at its highest; gradients are clipped to norm 1."""

    def __post_init__(self):
        check_above_zero(self)


def _noisy_loss(
    flow: AbstractFlow, x: Float[Array, "batch channel side side"], *, key: Any
) -> tuple[Array, dict[str, Array]]:
    noise_key, key = jr.split(key)
    loss, metrics = maximum_likelihood_loss(flow, dequantise(x, key=noise_key), key=key)
    return loss / x[0].size, metrics  # nats a dimension: gradients of one size for all images


def run(config: Config, context: Context) -> list[Claim]:
    """Bits per dimension of MNIST."""
    return on_images(config, context, "MNIST", mnist(context.data), 1e-6)


def on_images(
    config: Config, context: Context, name: str, sets: Split, margin: float, paper: str = ""
) -> list[Claim]:
    """Train a multi-scale flow; bits per dimension of held-out images, and samples."""
    train, test = (_levels(name, part.x, config.side) for part in sets)
    shape, test = train.shape[1:], test[:_SCORED]
    flow_key, key = jr.split(jr.key(context.seed))
    flow = image_residual_flow(
        shape, scales=2, blocks=config.blocks, hidden=config.hidden, dense_blocks=2,
        dense_width=128, before=Logit(margin), log_det=RouletteLogDet(), key=flow_key,
    )  # fmt: skip
    first = dequantise(jnp.asarray(train[:512], float), key=jr.key(0))
    flow = jax.jit(init_actnorm)(flow, first)
    schedule = optax.warmup_cosine_decay_schedule(
        0.0, config.learning_rate, min(50, config.iterations // 2), config.iterations
    )
    flow, _ = fit(
        flow,
        _noisy_loss,
        jnp.asarray(train, float),
        optimiser=optax.chain(optax.clip_by_global_norm(1.0), optax.adam(schedule)),
        steps=config.iterations,
        batch_size=_BATCH,
        log_every=25,
        **context.training("images"),
        key=key,
    )
    flow = update_spectral_norms(flow, rtol=1e-5, max_steps=5_000)
    found = context.stage("scores", _score, flow, train, test, margin, context.seed)
    _draw(context, test[:40], found["samples"])
    protocol = (
        f"{name} at {config.side}x{config.side}, 256 levels, uniform dequantisation, "
        f"{config.iterations} steps of {_BATCH}, 2 scales of {config.blocks} blocks with "
        f"{config.hidden} channels"
    )
    return [
        Claim(
            f"Bits per dimension of {len(found['bits'])} held-out images below those of a Gaussian "
            f"with full covariance ({protocol}; {found['bits'].mean():.3f} against "
            f"{found['gaussian']:.3f}; difference)",
            value=float(found["bits"].mean() - found["gaussian"]),
            at_most=0.0,
            unit="bits",
            reference=f"a Gaussian fitted to the same dequantised logits{paper}",
        ),
        Claim(
            "The noise of the unbiased estimate is small beside the figure (standard error of the "
            "mean over images and draws)",
            value=float(found["noise"] / (test[0].size * np.log(2))),
            at_most=0.01,
            unit="bits",
            reference="20 exact terms, 4 draws an image",
        ),
    ]


def _levels(
    name: str, x: Float[np.ndarray, "n ..."], side: int
) -> Float[np.ndarray, "n channel side side"]:
    """Images averaged down to `side` and rounded to 256 levels."""
    x = x if x.ndim == 4 else x[..., None]
    factor = x.shape[1] // side
    if factor * side != x.shape[1]:
        raise ValueError(f"side must divide {x.shape[1]}, the side of {name}; got {side}")
    x = x.reshape(len(x), side, factor, side, factor, x.shape[3]).mean(axis=(2, 4))
    return np.round(255 * np.moveaxis(x, 3, 1)) / 255


def _score(
    flow: ResidualFlow, train: np.ndarray, test: np.ndarray, margin: float, seed: int
) -> dict[str, Any]:
    x = dequantise(jnp.asarray(test, float), key=jr.key(1))
    better = with_log_det(flow, RouletteLogDet(exact=20))
    found = log_prob_estimate(better, x, samples=4, batch_size=250, key=jr.key(seed))
    drawn, _ = flow.invert(flow.base.sample(jr.key(seed), (40,)))
    return {
        "bits": np.asarray(bits_per_dimension(found.mean, x[0].size)),
        # Draws share their stopping indices, so their errors do not average out over images.
        "noise": float(jnp.mean(found.standard_error)),
        "gaussian": _gaussian_bits(train[:20_000], test, margin),
        "samples": np.clip(np.nan_to_num(np.asarray(drawn)), 0, 1),
    }


def _gaussian_bits(train: np.ndarray, test: np.ndarray, margin: float) -> float:
    """Of a Gaussian with full covariance of the logits of dequantised images."""
    parts = []
    for number, part in enumerate((train, test)):
        x = dequantise(jnp.asarray(part, float), key=jr.key(3 + number))
        y, log_det = jax.vmap(Logit(margin).forward_and_log_det)(x)
        parts.append((np.asarray(y, np.float64).reshape(len(part), -1), np.asarray(log_det)))
    (fitted_to, _), (rows, log_det) = parts
    covariance = np.cov(fitted_to.T) + 1e-4 * np.eye(rows.shape[1])
    log_prob = gaussian(rows - fitted_to.mean(axis=0), covariance) + log_det
    return float(np.mean(bits_per_dimension(jnp.asarray(log_prob, float), rows.shape[1])))


def _draw(context: Context, *sheets: np.ndarray) -> None:
    fig, axes = figure(1, 2, width=8.4, height=3.6)
    for ax, rows, title in zip(axes, sheets, ("held-out images", "samples"), strict=True):
        pixels = np.moveaxis(rows, 1, 3).reshape(5, 8, *rows.shape[2:], -1)
        image_sheet(ax, pixels if pixels.shape[-1] == 3 else pixels[..., 0], title=title)
    context.figure("images", fig, "Images that the flow has not seen, and samples of it.")


PRESETS = {
    "smoke": Config(side=4, blocks=1, hidden=4, iterations=4),
    "desk": Config(),
    "paper": Config(side=28, blocks=16, hidden=512, iterations=100_000, learning_rate=1e-3),
}
