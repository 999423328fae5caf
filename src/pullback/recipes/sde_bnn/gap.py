"""A regression with a gap in its inputs: the negative result of the recipe `sde-bnn`."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from pullback.data import Labelled
from pullback.models.bayes import SDEBNN, OUPrior, mlp_sde_bnn
from pullback.recipes.sde_bnn.stack import unstacked

SIGMAS = (0.1, 0.3, 0.6)
EDGES, GAP, NOISE = (0.5, 1.5), 0.35, 0.1


def points(seed: int, n: int = 40) -> Labelled:
    """Inputs on both sides of the origin, and a noisy cubic of them."""
    generator = np.random.default_rng(seed)
    x = generator.uniform(*EDGES, (n, 1)) * np.where(np.arange(n) % 2, 1.0, -1.0)[:, None]
    y = x**3 / 2 - x / 2 + NOISE * generator.normal(size=x.shape)
    return Labelled(x.astype(np.float32), y.astype(np.float32))


def network(key: PRNGKeyArray, sigma: Array) -> SDEBNN:
    """One block of a tanh field between a linear stem and a linear head."""
    return mlp_sde_bnn(1, 1, prior=OUPrior(sigma=sigma), dim=8, width=24, bottleneck=(8,), key=key)


def measure(models: SDEBNN, seeds: int, seed: int) -> dict[str, Any]:
    """What each network predicts on a line, and its spread in the gap over that at the data."""
    line = np.linspace(-2, 2, 161, dtype=np.float32)[:, None]
    inside = np.abs(line[:, 0]) < GAP
    at_data = (np.abs(line[:, 0]) >= EDGES[0]) & (np.abs(line[:, 0]) <= EDGES[1])
    means, spreads = np.zeros((2, seeds, len(SIGMAS), len(line)))
    for i in range(seeds):
        for j in range(len(SIGMAS)):
            key = jr.fold_in(jr.fold_in(jr.key(seed), i), j)
            values = np.asarray(_outputs(unstacked(models, i, j), jnp.asarray(line), key))
            means[i, j], spreads[i, j] = values.mean(axis=0), values.std(axis=0, ddof=1)
    ratio = spreads[..., inside].mean(axis=-1) / spreads[..., at_data].mean(axis=-1)
    return {"line": line[:, 0], "mean": means, "std": spreads, "ratio": ratio}


@eqx.filter_jit
def _outputs(model: SDEBNN, x: Array, key: PRNGKeyArray) -> Array:
    return model(x, paths=256, kl=None, throw=False, key=key).values[..., 0]
