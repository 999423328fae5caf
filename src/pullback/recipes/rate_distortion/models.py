"""Autoencoders of binary images in the plane of rate and distortion."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Array, Float

from pullback.analysis import rate_distortion
from pullback.bounds import AbstractObjective, Beta, DiagonalNormal, TargetRate
from pullback.models.vae import VAE, Bernoulli, DenseNet, ObjectiveLoss, PixelCNN
from pullback.runs import Context
from pullback.sampling import StandardNormal
from pullback.train import fit

Decoder = Literal["independent pixels", "PixelCNN"]
DECODERS: tuple[Decoder, ...] = ("independent pixels", "PixelCNN")
FORCE = 5.0  # the weight of a target that is held by force


@dataclass(frozen=True)
class Sizes:
    """What is trained, and for how long."""

    image: tuple[int, int, int]
    latent: int
    width: int
    channels: int
    depth: int
    batch_size: int
    steps: dict[Decoder, int]
    learning_rate: float
    scored: int
    """How many held-out images are scored."""


def make(sizes: Sizes, decoder: Decoder, key: Array) -> VAE:
    """An untrained autoencoder."""
    family = DiagonalNormal(sizes.latent)
    encoder_key, decoder_key = jr.split(key)
    likelihood = Bernoulli()
    if decoder == "PixelCNN":
        net = PixelCNN(
            sizes.image, sizes.latent, likelihood, sizes.channels, sizes.depth, key=decoder_key
        )
    else:
        net = DenseNet((sizes.latent,), sizes.image, sizes.width, 2, key=decoder_key)
    return VAE(
        DenseNet(sizes.image, family.shape, sizes.width, 2, key=encoder_key), net,
        family=family, prior=StandardNormal(sizes.latent), likelihood=likelihood,
    )  # fmt: skip


def points(
    context: Context,
    sizes: Sizes,
    decoder: Decoder,
    train: Float[Array, "n ..."],
    test: Float[Array, "m ..."],
    *,
    betas: Sequence[float],
    rates: Sequence[float],
    seeds: Sequence[int],
) -> dict[str, Any]:
    """Train with every weight and every target rate, and measure on held-out images.

    Returns:
        `beta`, `target` and `forced` (the last target, with a large weight), each a dictionary of
        arrays `[setting, seed]`, and of `pictures`: for the first seed the reconstructions of the
        first held-out images, `[setting, image, h, w]`.
    """
    optimiser = optax.adam(optax.cosine_decay_schedule(sizes.learning_rate, sizes.steps[decoder]))
    out: dict[str, Any] = {}
    kinds: dict[str, tuple[Sequence[float], Callable]] = {
        "beta": (betas, Beta),
        "target": (rates, TargetRate),
        "forced": (rates[-1:], lambda rate: TargetRate(rate, FORCE * jnp.ones_like(rate))),
    }
    for kind, (settings, objective) in kinds.items():
        values, numbers = (x.ravel() for x in np.meshgrid(settings, seeds, indexing="ij"))
        keys = jnp.stack([jr.key(int(number)) for number in numbers])
        weighed: AbstractObjective = objective(jnp.asarray(values, float))
        models, info = fit(
            eqx.filter_vmap(lambda key: make(sizes, decoder, key))(keys),
            ObjectiveLoss(weighed, binarise=True),
            train, optimiser=optimiser, steps=sizes.steps[decoder], batch_size=sizes.batch_size,
            progress=None if context.progress else False, key=keys,
        )  # fmt: skip
        for number in range(len(keys)):
            for entry in info.lines():
                own = {n: v[number] if isinstance(v, list) else v for n, v in entry.items()}
                context.metrics({
                    "decoder": decoder, "kind": kind, "setting": float(values[number]),
                    "seed": int(numbers[number]), **own,
                })  # fmt: skip
        out[kind] = _measure(sizes, models, test, (len(settings), len(seeds)))
    return out


def _measure(
    sizes: Sizes, models: VAE, test: Array, shape: tuple[int, int]
) -> dict[str, np.ndarray]:
    arrays, rest = eqx.partition(models, eqx.is_array)
    rows, pictures = [], []
    for number in range(shape[0] * shape[1]):
        vae = eqx.combine(jax.tree.map(lambda leaf, i=number: leaf[i], arrays), rest)
        rows.append(rate_distortion(vae.target, test, batch_size=500, key=jr.key(number)))
        if number % shape[1] == 0:
            pictures.append(_reconstructions(vae, test[:6], jr.key(0)))
    found = {
        name: np.array([getattr(row, name) for row in rows]).reshape(shape)
        for name in ("rate", "distortion", "information_lower", "information_upper", "active")
    }
    return {**found, "pictures": np.stack(pictures)[:, :, 0]}


@eqx.filter_jit
def _reconstructions(vae: VAE, x: Array, key: Array) -> Array:
    return jax.vmap(lambda x, key: vae.reconstruct(x, key=key))(x, jr.split(key, len(x)))
