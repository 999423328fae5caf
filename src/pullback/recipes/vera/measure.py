"""What the recipe `vera` measures: densities, samples, gradients of entropy, and predictions."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, Int

from pullback.models.energy import (
    AbstractProposal,
    DiagonalProposal,
    GaussNewtonProposal,
    LatentGenerator,
    entropy_score,
)
from pullback.recipes._kit.calibration import calibration
from pullback.recipes._kit.stack import one_by_one
from pullback.recipes.vera.models import Config, RingMixture, centres, ring

HALF_WIDTH, GRID = 5.0, 201
_NEAR = 0.6  # three standard deviations of a Gaussian of the ring

PROPOSALS: dict[str, tuple[Callable[[Array], AbstractProposal], float]] = {
    "around z0": (DiagonalProposal, 1.0),
    "around z0, twice as wide": (DiagonalProposal, 2.0),
    "tangent": (lambda log_widths: GaussNewtonProposal(keep=False), 1.0),
    "tangent, with z0": (lambda log_widths: GaussNewtonProposal(), 1.0),
}


def score(probs: Float[np.ndarray, "m k"], y: Int[np.ndarray, " m"]) -> dict[str, float]:
    """Whether the classes are right, and the probabilities mean what they say."""
    accuracy = float((probs.argmax(axis=1) == y).mean())
    found = calibration(probs, y)
    return {"accuracy": accuracy, **{name: float(found[name]) for name in ("nll", "brier", "ece")}}


def _lattice(half_width: float, points: int) -> Float[Array, "n 2"]:
    line = jnp.linspace(-half_width, half_width, points)
    return jnp.stack(jnp.meshgrid(line, line), axis=-1).reshape(-1, 2)


def on_ring(models: tuple[Any, LatentGenerator], seed: int) -> dict[str, Array]:
    """Of each energy its loss, density, and share near a Gaussian; of each generator samples."""
    test = jnp.asarray(ring(2000, 10_000 + seed), float)
    keys = jr.split(jr.key(seed), len(models[1].log_sigma))
    return one_by_one(_on_ring, (models, keys), test)


def of_known(models: Mapping[str, RingMixture], seed: int) -> dict[str, Array]:
    """The loss of each mixture on held-out points, by its own normaliser."""
    test = jnp.asarray(ring(2000, 10_000 + seed), float)
    return {name: one_by_one(_nll, stack, test) for name, stack in models.items()}


def _nll(model: RingMixture, test: Float[Array, "n 2"]) -> Float[Array, ""]:
    return -jnp.mean(jax.vmap(model.log_prob)(test))


def _on_ring(pair: tuple[tuple[Any, LatentGenerator], Array], test: Array) -> dict[str, Array]:
    (energy, generator), key = pair
    grid, cell = _lattice(HALF_WIDTH, GRID), (2 * HALF_WIDTH / (GRID - 1)) ** 2
    values = jax.lax.map(energy, grid, batch_size=5000)
    log_z = jax.nn.logsumexp(values) + jnp.log(jnp.asarray(cell, values.dtype))
    x = jax.vmap(lambda key: generator.sample(key=key)[0])(jr.split(key, 2000))
    density = jnp.exp(values - log_z)
    counts = jnp.bincount(jnp.argmin(_distances(x), axis=1), length=8)
    return {
        "loss": log_z - jnp.mean(jax.vmap(energy)(test)),
        "modes": jnp.sum(counts > 0.02 * len(x)),
        "near": jnp.sum(density * (jnp.min(_distances(grid), axis=1) < _NEAR)) * cell,
        "samples": x,
        "density": density.reshape(GRID, GRID),
    }


def _distances(x: Float[Array, "n 2"]) -> Float[Array, "n 8"]:
    return jnp.linalg.norm(x[:, None] - jnp.asarray(centres(), x.dtype)[None], axis=2)


class _Linear(eqx.Module):
    weight: Float[Array, "d k"]

    def __call__(self, z: Float[Array, " k"]) -> Float[Array, " d"]:
        return self.weight @ z


def linear_gradients(config: Config, seeds: Sequence[int]) -> dict[str, Array]:
    """How far the gradient of the entropy to the scale of a linear generator is off.

    `bias`, relative to the exact one, `error` of the score and `ess`, `[seeds, proposals, sizes]`.
    """
    keys = jnp.stack([jr.key(seed) for seed in seeds])
    of = lambda key: LatentGenerator(_Linear(jr.normal(key, (5, 3))), 3, sigma=0.3)
    generators = eqx.filter_vmap(of)(keys)
    return one_by_one(_of_linear, (generators, keys), config.draws, config.sizes)


def _of_linear(
    pair: tuple[LatentGenerator, Array], draws: int, sizes: tuple[int, ...]
) -> dict[str, Array]:
    generator, key = pair
    net: Any = generator.net
    weight, variance = net.weight, generator.sigma**2
    posterior = jnp.linalg.inv(jnp.eye(3) + weight.T @ weight / variance)
    spread = weight @ weight.T + variance * jnp.eye(5)
    score = lambda x: -jnp.linalg.solve(spread, x.T).T
    widths = jnp.log(jnp.diag(posterior)) / 2
    return _gradients(generator, score, widths, draws, sizes, jr.fold_in(key, 1))


def ring_gradients(config: Config, generators: LatentGenerator, seed: int) -> dict[str, Array]:
    """The same of trained generators, whose score is a sum over a grid of latents."""
    keys = jr.split(jr.key(seed), len(generators.log_sigma))
    return one_by_one(_of_trained, (generators, keys), config.draws, config.sizes)


def _of_trained(
    pair: tuple[LatentGenerator, Array], draws: int, sizes: tuple[int, ...]
) -> dict[str, Array]:
    generator, key = pair
    latents = _lattice(4.5, 181)
    means = jax.vmap(generator.net)(latents)
    log_prior, variance = -jnp.sum(latents**2, axis=1) / 2, generator.sigma**2

    def posterior(x: Array) -> Array:
        return jax.nn.softmax(log_prior - jnp.sum((x - means) ** 2, axis=1) / (2 * variance))

    def score(x: Array) -> Array:
        of = lambda x: (posterior(x) @ means - x) / variance
        return jax.lax.map(of, x, batch_size=20)

    draw_key, key = jr.split(key)
    x = jax.vmap(lambda key: generator.sample(key=key)[0])(jr.split(draw_key, 100))
    weights = jax.lax.map(posterior, x, batch_size=20)
    spread = weights @ latents**2 - (weights @ latents) ** 2
    widths = jnp.mean(jnp.log(spread), axis=0) / 2
    return _gradients(generator, score, widths, draws, sizes, key)


def _gradients(
    generator: LatentGenerator, score: Callable[[Array], Array],
    log_widths: Float[Array, " latent"], draws: int, sizes: tuple[int, ...], key: Array,
) -> dict[str, Array]:  # fmt: skip
    draw_key, key = jr.split(key)
    x, z0 = jax.vmap(lambda key: generator.sample(key=key))(jr.split(draw_key, draws))
    true, means, keys = score(x), jax.vmap(generator.net)(z0), jr.split(key, draws)
    exact = -jnp.mean(jnp.sum(true * means, axis=1))

    def of(proposal: AbstractProposal, inflate: float, size: int) -> dict[str, Array]:
        one = lambda row: entropy_score(
            generator, proposal, *row[:2], samples=size, inflate=inflate, key=row[2]
        )
        found, ess = jax.lax.map(one, (x, z0, keys), batch_size=500)
        # Of the same samples both ways: what they share drops out of the difference.
        return {
            "bias": -jnp.mean(jnp.sum((found - true) * means, axis=1)) / exact,
            "error": jnp.sqrt(jnp.mean((found - true) ** 2) / jnp.mean(true**2)),
            "ess": jnp.mean(ess),
        }

    rows = [
        [of(make(log_widths), inflate, size) for size in sizes]
        for make, inflate in PROPOSALS.values()
    ]
    return {
        name: jnp.stack([jnp.stack([one[name] for one in row]) for row in rows])
        for name in rows[0][0]
    }
