"""What the recipe `beta-tcvae` measures of its models."""

from collections.abc import Mapping, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, Int

from pullback.analysis import mig
from pullback.bounds import (
    aggregate_log_weights,
    exact_total_correlation_split,
    kl_divergence,
    total_correlation_split,
)
from pullback.models.vae import VAE, traverse
from pullback.recipes._kit.stack import one_by_one
from pullback.recipes.beta_tcvae.models import Config
from pullback.sampling import draw

_DRAWS = 8  # of each posterior, for the distortion
_TABLE = 50_000  # densities of samples under the posteriors of all images, held in memory at once


def score(
    config: Config,
    models: VAE,
    x: Float[np.ndarray, "n ..."],
    factors: Int[np.ndarray, "n factors"],
    seed: int,
) -> dict[str, np.ndarray]:
    """Of each of stacked models: rate, distortion, the exact parts, and the gap, over the data."""
    images = jnp.asarray(x, float)
    at_once = max(1, _TABLE // len(images))
    arrays, rest = eqx.partition(models, eqx.is_array)

    def of_model(pair: tuple[VAE, Array]) -> dict[str, Array]:
        vae = eqx.combine(pair[0], rest)
        draw_key, split_key, mig_key = jr.split(pair[1], 3)

        def of_image(pair: tuple[Array, Array]) -> tuple[Array, Array, Array]:
            model, posterior = vae.target(pair[0])
            z = draw(posterior, pair[1], (_DRAWS,))
            distortion = -jnp.mean(jax.vmap(model.log_likelihood)(z))
            return vae.encode(pair[0]), distortion, kl_divergence(posterior, model.prior)

        pairs = (images, jr.split(draw_key, len(images)))
        params, distortion, rate = jax.lax.map(of_image, pairs, batch_size=500)
        posterior = jax.vmap(vae.family)(params)
        split = exact_total_correlation_split(
            posterior, vae.prior, num_samples=config.samples, batch_size=at_once, key=split_key
        )
        gap = mig(posterior, factors, num_samples=config.samples, batch_size=at_once, key=mig_key)
        return {
            "distortion": jnp.mean(distortion),
            "rate": jnp.mean(rate),
            **split._asdict(),
            "mig": gap.mig,
            "per_factor": gap.per_factor,
            "information": gap.mutual_information,
            "entropy": gap.entropy,
        }

    keys = jr.split(jr.key(seed), len(jax.tree.leaves(arrays)[0]))
    found = jax.jit(lambda pairs: jax.lax.map(of_model, pairs))((arrays, keys))
    return {name: np.asarray(value) for name, value in found.items()}


def estimates(
    config: Config, models: VAE, x: Float[np.ndarray, "n ..."], seed: int
) -> Float[np.ndarray, "models batches"]:
    """The total correlation that each of many batches says each of stacked models has."""
    images, keys = jnp.asarray(x, float), jr.split(jr.key(seed), config.batches)
    return np.asarray(one_by_one(_of_batches, models, images, config.batch_size, keys))


def _of_batches(vae: VAE, images: Array, batch_size: int, keys: Array) -> Array:
    posterior, size = jax.vmap(vae.posterior)(images), min(batch_size, len(images))
    weights = aggregate_log_weights(size, len(images), "symmetric")

    def of_batch(key: Array) -> Array:
        rows_key, draw_key = jr.split(key)
        rows = jr.permutation(rows_key, len(images))[:size]
        some = jax.tree.map(lambda leaf: leaf[rows], posterior)
        z = jax.vmap(draw)(some, jr.split(draw_key, size))
        return total_correlation_split(some, z, vae.prior, weights).total_correlation

    return jax.lax.map(of_batch, keys)


def at_distortion(
    wanted: Float[np.ndarray, " seeds"], rows: Sequence[Mapping[str, np.ndarray]]
) -> Float[np.ndarray, " seeds"]:
    """The gap at a distortion, of each seed, on the line through models of several weights.

    Outside of their distortions it is that of the nearest.
    """
    found = []
    for place, distortion in enumerate(wanted):
        points = np.asarray(sorted((row["distortion"][place], row["mig"][place]) for row in rows))
        found.append(np.interp(distortion, points[:, 0], points[:, 1]))
    return np.asarray(found)


def walk(
    vae: VAE,
    information: Float[np.ndarray, "factors latents"],
    x: Float[np.ndarray, "n ..."],
    factors: Int[np.ndarray, "n factors"],
) -> dict[str, np.ndarray]:
    """The middle image as one latent moves and the others stay, most telling latent first.

    `images` is `[latent, step, ...]`, and `order` says which latents.
    """
    order = np.argsort(-information.sum(axis=0))
    apart = np.abs(factors - factors.mean(axis=0)) / factors.std(axis=0)
    middle = jnp.asarray(x[apart.sum(axis=1).argmin()], float)
    move = eqx.filter_jit(traverse)
    images = move(vae, middle, jnp.linspace(-2, 2, 9), entries=order.tolist())
    return {"images": np.asarray(images), "order": order}
