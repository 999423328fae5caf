"""What the recipe `beta-tcvae` measures of its models."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, Int

from pullback.analysis import mig
from pullback.bounds import (
    aggregate_log_prob,
    aggregate_log_weights,
    exact_total_correlation_split,
    kl_divergence,
    total_correlation_split,
)
from pullback.models.vae import VAE, traverse
from pullback.recipes.beta_tcvae.models import Config, vae_of
from pullback.sampling import draw, log_prob

_DRAWS = 8  # of each posterior, for the distortion


def score(
    config: Config,
    rows: Float[np.ndarray, "models params"],
    x: Float[np.ndarray, "n ..."],
    factors: Int[np.ndarray, "n factors"],
    seed: int,
) -> dict[str, np.ndarray]:
    """Of each model: rate, distortion, the exact parts, and the gap, all over the data."""
    images = jnp.asarray(x, float)
    at_once = _at_once(len(images))

    def of_model(pair: tuple[Array, Array]) -> dict[str, Array]:
        row, key = pair
        vae = vae_of(config, row, images.shape[1:])
        draw_key, split_key, mig_key = jr.split(key, 3)

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

    keys = jr.split(jr.key(seed), len(rows))
    found = jax.jit(lambda pairs: jax.lax.map(of_model, pairs))((jnp.asarray(rows), keys))
    return {name: np.asarray(value) for name, value in found.items()}


def _at_once(size: int) -> int:
    """Samples whose densities under the posteriors of all images are held in memory."""
    return max(1, 50_000 // size)


def as_published(batch: int, size: int) -> Float[np.ndarray, "batch batch"]:
    """The stratified weights of the authors' code: it strides a flat matrix by B, not by B + 1."""
    others = batch - 1
    weights = np.full((batch, batch), 1 / others)
    weights.reshape(-1)[::batch] = 1 / size
    weights.reshape(-1)[1::batch] = (size - others) / (size * others)
    weights[others - 1, 0] = (size - others) / (size * others)
    return np.log(weights)


WEIGHTS = ("symmetric", "stratified", "average", "published code", "weighted")


def log_weights(name: str, batch: int, size: int) -> Float[Array, "batch batch"]:
    """Ways to weigh a batch, those that go wrong included."""
    if name == "average":
        return jnp.full((batch, batch), -math.log(batch))
    if name == "published code":
        return jnp.asarray(as_published(batch, size), float)
    return aggregate_log_weights(batch, size, name)  # pyright: ignore[reportArgumentType]


def estimates(
    config: Config, row: Float[np.ndarray, " params"], x: Float[np.ndarray, "n ..."], seed: int
) -> dict[str, np.ndarray]:
    """What batches say of one model, by each of `WEIGHTS`.

    Returns the `sizes` of the batches, `total_correlation` and `ratio`, of the estimated density to
    the exact one, mean over a batch, `[size, weights, batch]`; and `apart`, by how much the sum of
    the parts differs from the sampled rate, the largest of all.
    """
    images = jnp.asarray(x, float)
    most = min(config.batch_size, len(images))
    sizes = sorted({max(2, most // 6), max(2, most // 2), most})

    def of_batch(vae: VAE, posterior: Any, size: int, key: Array) -> tuple[Array, ...]:
        rows_key, draw_key = jr.split(key)
        rows = jr.permutation(rows_key, len(images))[:size]
        some = jax.tree.map(lambda leaf: leaf[rows], posterior)
        z = jax.vmap(draw)(some, jr.split(draw_key, size))
        rate = jax.vmap(lambda q, z: log_prob(q, z) - log_prob(vae.prior, z))(some, z)
        log_size = jnp.log(jnp.asarray(len(images), z.dtype))
        exact = aggregate_log_prob(posterior, z, -log_size, batch_size=_at_once(len(images))).joint

        def of_weights(weights: Array) -> tuple[Array, Array, Array]:
            split = total_correlation_split(some, z, vae.prior, weights)
            found = aggregate_log_prob(some, z, weights).joint
            apart = jnp.abs(split.rate - jnp.mean(rate))
            return split.total_correlation, jnp.mean(jnp.exp(found - exact)), apart

        weights = jnp.stack([log_weights(name, size, len(images)) for name in WEIGHTS])
        return jax.vmap(of_weights)(weights)

    @jax.jit
    def of_sizes(row: Array, keys: Array) -> list[tuple[Array, ...]]:
        vae = vae_of(config, row, images.shape[1:])
        posterior = jax.vmap(vae.posterior)(images)
        return [
            jax.lax.map(lambda key, size=size: of_batch(vae, posterior, size, key), keys)
            for size in sizes
        ]

    found = of_sizes(jnp.asarray(row), jr.split(jr.key(seed), config.batches))
    # In the order in which a file gives them back, for the last digits of a sum depend on it.
    correlation, ratio, apart = (
        np.ascontiguousarray([np.asarray(each[place], float).T for each in found])
        for place in range(3)
    )
    return {
        "sizes": np.asarray(sizes),
        "total_correlation": correlation,
        "ratio": ratio,
        "apart": apart.max(),
    }


def walk(
    config: Config,
    row: Float[np.ndarray, " params"],
    information: Float[np.ndarray, "factors latents"],
    x: Float[np.ndarray, "n ..."],
    factors: Int[np.ndarray, "n factors"],
) -> dict[str, np.ndarray]:
    """The middle image as one latent moves and the others stay, most telling latent first.

    `images` is `[latent, step, ...]`, and `order` says which latents.
    """
    vae = vae_of(config, jnp.asarray(row), x.shape[1:])
    order = np.argsort(-information.sum(axis=0))
    apart = np.abs(factors - factors.mean(axis=0)) / factors.std(axis=0)
    middle = jnp.asarray(x[apart.sum(axis=1).argmin()], float)
    images = traverse(vae, middle, jnp.linspace(-2, 2, 9), entries=order.tolist())
    return {"images": np.asarray(images), "order": order}
