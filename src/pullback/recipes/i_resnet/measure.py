"""What the recipe `i-resnet` measures of its models."""

from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from pullback.nn import lipschitz_upper_bound
from pullback.recipes._kit import image_flows
from pullback.recipes._kit.stack import unstacked
from pullback.recipes.i_resnet.models import Classifier, Config

IMAGES = 8  # that are shown
_DRAWS = 8  # of an estimate
_LOST = 1e30  # an error that overflows


def counts(config: Config) -> list[int]:
    """Iterations after which an inverse is measured."""
    some = (0, 1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100, 200, 500)
    return [n for n in some if n <= config.iterations]


def score(
    config: Config, models: Classifier, x: Float[np.ndarray, "n *shape"], y: np.ndarray
) -> dict[str, np.ndarray]:
    """Of each seed: the accuracy, the bound of each block, and how the inverse goes."""
    labels, some = jnp.asarray(y), jnp.asarray(x[: config.images])

    @eqx.filter_jit
    def of_model(model: Classifier) -> dict[str, Array]:
        guess = jnp.argmax(jax.lax.map(model, jnp.asarray(x), batch_size=500), axis=1)
        z = jax.vmap(model.features)(some)

        def back(n: Array) -> tuple[Array, Array]:
            found = jax.vmap(lambda z: model.after(z, n))(z)
            distance = jnp.linalg.norm((found - some).reshape(len(some), -1), axis=1)
            return distance, found[:IMAGES]

        errors, images = jax.lax.map(back, jnp.asarray(counts(config)))
        return {
            "accuracy": jnp.mean((guess == labels).astype(some.dtype)),
            "norms": eqx.filter_vmap(lipschitz_upper_bound)(model.nets),
            "errors": errors,
            "images": images,
        }

    found = [of_model(model) for model in unstacked(models)]
    stacked = {name: np.stack([np.asarray(row[name]) for row in found]) for name in found[0]}
    stacked["errors"] = np.minimum(np.nan_to_num(stacked["errors"], nan=_LOST), _LOST)
    stacked["images"] = np.clip(np.nan_to_num(stacked["images"]), -1, 1)
    return stacked


def score_density(
    config: Config, sizes: image_flows.Sizes, models: Any, x: np.ndarray, y: np.ndarray, seed: int
) -> dict[str, Any]:
    """Of each seed: bits a dimension, exactly and by its own estimate, and the accuracy; and
    samples of the first."""
    first = unstacked(models)[0].flow
    draws = first.base.sample(jax.random.key(seed), (4 * IMAGES,))
    return {
        "bits": image_flows.exact_bits(sizes, models, x[: config.images]).mean(axis=1),
        "own": image_flows.own_bits(sizes, models, x[: config.images], _DRAWS).mean(axis=1),
        "accuracy": image_flows.accuracy(sizes, models, x, y),
        "parameters": image_flows.count(models) // config.seeds,
        "samples": np.asarray(eqx.filter_jit(lambda flow, z: flow.invert(z)[0])(first, draws)),
    }


def enough(config: Config, row: Mapping[str, np.ndarray], distance: float) -> np.ndarray:
    """Of each seed, the least iterations after which the median image is so near; inf if none."""
    near = np.median(row["errors"], axis=2) <= distance
    return np.where(near.any(axis=1), np.asarray(counts(config))[near.argmax(axis=1)], np.inf)
