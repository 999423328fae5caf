"""What the recipe `i-resnet` measures of its models."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from pullback.calculus import ExactLogDet, TruncatedLogDet
from pullback.models.flows import ResidualFlow, with_log_det
from pullback.nn import lipschitz_upper_bound
from pullback.recipes._kit.stack import unstacked
from pullback.recipes.i_resnet.models import Classifier, Config, settled

IMAGES = 8  # that are shown
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


def score_flows(
    config: Config, exact: ResidualFlow, series: ResidualFlow, test: Float[np.ndarray, "n 2"],
    grid: Float[np.ndarray, "m 2"], seed: int,
) -> dict[str, np.ndarray]:  # fmt: skip
    """Of each seed, what both densities say of the test points; of the first, the density that was
    trained exactly on a grid, and samples of it."""
    log_prob = eqx.filter_jit(lambda flow, x, key: flow.log_prob(x, key=key))
    keys = jax.random.split(jax.random.key(seed), 3)
    # The grid comes with the points, so that one program serves for both.
    x, all_points = jnp.asarray(test), jnp.asarray(np.concatenate([test, grid]))
    both = [unstacked(settled(with_log_det(flow, ExactLogDet()))) for flow in (exact, series)]
    rows: list[dict[str, Any]] = []
    for own, other in zip(*both, strict=True):
        rough = with_log_det(other, TruncatedLogDet(config.terms))
        of_own, of_other = (np.asarray(log_prob(flow, all_points, None)) for flow in (own, other))
        rows.append({
            "exact": -of_own[: len(x)].mean(),
            "series": -of_other[: len(x)].mean(),
            "series_own": -np.mean([log_prob(rough, x, key) for key in keys]),
            "density": np.exp(of_own[len(x) :]),
        })  # fmt: skip
    first = both[0][0]
    start = first.base.sample(keys[0], (1000,))
    return {
        **{name: np.stack([np.asarray(row[name]) for row in rows]) for name in rows[0]},
        "density": rows[0]["density"],
        "samples": np.asarray(eqx.filter_jit(lambda flow, z: flow.invert(z)[0])(first, start)),
    }
