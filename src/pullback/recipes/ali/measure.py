"""What the recipe `ali` measures of its models."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray
from sklearn.linear_model import LogisticRegression

from pullback.analysis.samples import mode_coverage
from pullback.data import Labelled, Split
from pullback.games import ALI
from pullback.recipes._kit.stack import one_by_one
from pullback.recipes.ali import models
from pullback.recipes.ali.models import CENTRES, SPREAD, Config, Images, nine_modes
from pullback.runs import Context

POINTS = 4000
# x = 1.5 z + 0.8 e: the posterior's slope is 0.519.
WORLD = (1.5, 0.8)


def on_the_plane(config: Config, context: Context, keys: Array) -> dict[str, Array]:
    """Modes covered by samples, reconstructions in the mode of their point, latents of data."""
    trained = models.trained_on_the_plane(config, context, keys)
    return one_by_one(lambda both: _one(*both), (trained, keys))


def _one(model: ALI, key: PRNGKeyArray) -> dict[str, Array]:
    keys = jr.split(key, 5)
    x = nine_modes(POINTS, keys[0])
    samples = model.sample(POINTS, key=keys[1])
    found = mode_coverage(samples, CENTRES, radius=4 * SPREAD)
    again = model.reconstruct(x, key=keys[2])
    z = model.infer(x, key=keys[3])
    corners = jnp.asarray(CENTRES)
    path = model.interpolate(corners[:1], corners[-1:], 40, key=keys[4])[0]
    same = jnp.mean((_mode(again) == _mode(x)).astype(x.dtype))
    return {
        "modes": found.covered, "near": found.share, "same": same,
        "deviations": jnp.std(z, axis=0), "x": x, "samples": samples, "reconstructions": again,
        "latents": z, "path": path,
    }  # fmt: skip


def _mode(x: Float[Array, "n 2"]) -> Array:
    return jnp.argmin(jnp.sum((x[:, None] - jnp.asarray(CENTRES)[None]) ** 2, axis=-1), axis=1)


def inverses(config: Config, context: Context, keys: Array) -> dict[str, Array]:
    """Of a GAN and the inverse that was regressed: the same."""

    def one(both: tuple[Any, Any], key: PRNGKeyArray) -> dict[str, Array]:
        generator, inverse = (jax.vmap(net) for net in both)
        keys = jr.split(key)
        x, z = nine_modes(POINTS, keys[0]), jr.normal(keys[1], (POINTS, 2))
        found = mode_coverage(generator(z), CENTRES, radius=4 * SPREAD)
        latents = inverse(x)
        same = jnp.mean((_mode(generator(latents)) == _mode(x)).astype(x.dtype))
        return {
            "modes": found.covered, "near": found.share, "same": same,
            "deviations": jnp.std(latents, axis=0), "latents": latents,
        }  # fmt: skip

    both = models.inverted(config, context, keys)
    return one_by_one(lambda of: one(*of), (both, keys))


def lines(config: Config, context: Context, keys: Array, weight: float) -> dict[str, Any]:
    """Slopes: of the encoder, of the learned decoder's posterior, and of the world's."""
    found = models.trained_lines(config, context, keys, WORLD, weight)
    slope, scale = np.asarray(found.decoder.slope), np.exp(np.asarray(found.decoder.log_scale))
    posterior = lambda a, s: a / (a**2 + s**2)
    encoder = np.asarray(found.encoder.slope)
    return {"encoder": encoder, "learned": posterior(slope, scale), "true": posterior(*WORLD)}


def images(config: Images, context: Context, data: Split, seed: int, levels: int) -> dict[str, Any]:
    """A model of images, and what it is beside classifiers that see the labels alone."""
    labels = models.few_labels(data.train, config.labels, seed)
    model = models.trained_on_images(config, context, data.train, labels, seed, levels)
    alone = models.labels_alone(config, data.train, labels, seed, levels)
    x, train = middle(data.test, levels), np.asarray(middle(data.train, levels))
    told, again, samples, paths, latents = _shown(model, x, jr.key(seed))
    fitted = lambda rows: LogisticRegression(max_iter=2000).fit(train[rows], data.train.y[rows])
    judge, few = fitted(slice(0, 5000)), fitted(labels >= 0)
    right = lambda told: float(np.mean(np.asarray(told) == data.test.y))
    classes = np.bincount(judge.predict(np.asarray(samples)), minlength=told.shape[1])
    return {
        "accuracy": right(np.argmax(told, axis=1)),
        "alone": right(np.argmax(eqx.filter_jit(eqx.filter_vmap(alone))(x), axis=1)),
        "logistic": right(few.predict(np.asarray(x))),
        "same": right(judge.predict(np.asarray(again))),
        "classes": int(np.sum(classes >= 20)),
        "deviation": float(jnp.mean(jnp.std(latents, axis=0))),
        "x": x[:80], "again": again[:80], "samples": samples[:80], "paths": paths,
    }  # fmt: skip


@eqx.filter_jit
def _shown(model: ALI, x: Array, key: PRNGKeyArray) -> tuple[Array, ...]:
    """Classes, reconstructions, samples, paths and latents."""
    keys = jr.split(key, 5)
    return (
        model.class_log_prob(x, key=keys[0]),
        model.reconstruct(x, key=keys[1]),
        model.sample(1000, key=keys[2]),
        model.interpolate(x[:8], x[8:16], 10, key=keys[3]),
        model.infer(x, key=keys[4]),
    )


def middle(images: Labelled, levels: int) -> Float[Array, "n pixels"]:
    """Images as those that are trained on, each grey level at its middle."""
    return (jnp.asarray(images.x.reshape(len(images.x), -1)) * levels + 0.5) / (levels + 1)
