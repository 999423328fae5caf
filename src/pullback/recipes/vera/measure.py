"""What the recipe `vera` measures in the plane: densities, samples, and gradients of entropy."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float

from pullback.models.energy import (
    AbstractProposal,
    DiagonalProposal,
    GaussNewtonProposal,
    LatentGenerator,
    entropy_score,
    refine,
)
from pullback.recipes.vera.models import Config, centres, ring, state_of

HALF_WIDTH, GRID = 5.0, 201
NEAR = 0.6  # three standard deviations of a Gaussian of the ring

PROPOSALS: dict[str, tuple[Callable[[Array], AbstractProposal], float]] = {
    "around z0": (DiagonalProposal, 1.0),
    "around z0, twice as wide": (DiagonalProposal, 2.0),
    "tangent": (lambda log_widths: GaussNewtonProposal(keep=False), 1.0),
    "tangent, with z0": (lambda log_widths: GaussNewtonProposal(), 1.0),
}


def grid() -> Float[Array, "points 2"]:
    line = jnp.linspace(-HALF_WIDTH, HALF_WIDTH, GRID)
    return jnp.stack(jnp.meshgrid(line, line), axis=-1).reshape(-1, 2)


def on_ring(
    config: Config, name: str, rows: Float[np.ndarray, "seeds params"], seed: int
) -> dict[str, np.ndarray]:
    """Of each energy its loss and density; of each generator samples, and where they lie."""
    test = jnp.asarray(ring(2000, 10_000 + seed), float)
    cell = (2 * HALF_WIDTH / (GRID - 1)) ** 2

    def of(row: Array, key: Array) -> dict[str, Array]:
        state = state_of(config, name, row)
        values = jax.lax.map(state.energy, grid(), batch_size=5000)
        log_z = jax.nn.logsumexp(values) + jnp.log(jnp.asarray(cell, values.dtype))
        x = jax.vmap(lambda key: state.generator.sample(key=key)[0])(jr.split(key, 2000))
        density = jnp.exp(values - log_z)
        counts = jnp.bincount(jnp.argmin(_distances(x), axis=1), length=8)
        return {
            "loss": log_z - jnp.mean(jax.vmap(state.energy)(test)),
            "modes": jnp.sum(counts > 0.02 * len(x)),
            "near": jnp.mean(near(x)),
            "own_near": jnp.sum(density * near(grid())) * cell,
            "samples": x,
            "density": density.reshape(GRID, GRID),
        }

    keys = jr.split(jr.key(seed), len(rows))
    found = jax.jit(lambda pairs: jax.lax.map(lambda pair: of(*pair), pairs))(
        (jnp.asarray(rows), keys)
    )
    return {name: np.asarray(value) for name, value in found.items()}


def near(x: Float[Array, "n 2"]) -> Float[Array, " n"]:
    """1 where a point is near one of the ring's Gaussians."""
    return (jnp.min(_distances(x), axis=1) < NEAR).astype(x.dtype)


def _distances(x: Float[Array, "n 2"]) -> Float[Array, "n 8"]:
    return jnp.linalg.norm(x[:, None] - jnp.asarray(centres(), x.dtype)[None], axis=2)


def refined(
    config: Config, rows: Float[np.ndarray, "seeds params"], seed: int
) -> dict[str, np.ndarray]:
    """Samples of each generator after a walk in the space of the data, and in that of the latents.

    Each with the share of them near a Gaussian, and the share of accepted steps.
    """

    def of(pair: tuple[Array, Array]) -> dict[str, Array]:
        state = state_of(config, "tangent", pair[0])
        found = {}
        for space in ("data", "latent"):
            x, info = refine(
                state.energy, state.generator, samples=2000, steps=config.refine_steps,
                space=space, key=pair[1],
            )  # fmt: skip
            found |= {space: x, f"{space}_near": jnp.mean(near(x))}
            found[f"{space}_accepted"] = info.accepted
        return found

    pairs = (jnp.asarray(rows), jr.split(jr.key(seed), len(rows)))
    found = jax.jit(lambda pairs: jax.lax.map(of, pairs))(pairs)
    return {name: np.asarray(value) for name, value in found.items()}


class _Linear(eqx.Module):
    """g(z) = W z."""

    weight: Float[Array, "d k"]

    def __call__(self, z: Float[Array, " k"]) -> Float[Array, " d"]:
        return self.weight @ z


def linear_gradients(config: Config, seeds: list[int]) -> dict[str, Any]:
    """How far the gradient of the entropy to the scale of a linear generator is off.

    Relative to the exact one, by seed, proposal and number of latents.
    """
    found = []
    for seed in seeds:
        key = jr.key(seed)
        weight = jr.normal(key, (5, 3))
        generator = LatentGenerator(_Linear(weight), 3, sigma=0.3)
        variance = generator.sigma**2
        posterior = jnp.linalg.inv(jnp.eye(3) + weight.T @ weight / variance)
        spread = weight @ weight.T + variance * jnp.eye(5)
        score = lambda x, root=spread: -jnp.linalg.solve(root, x.T).T
        log_widths = jnp.log(jnp.diag(posterior)) / 2
        found.append(_gradients(config, generator, score, log_widths, jr.fold_in(key, 1)))
    return {name: np.stack([row[name] for row in found]) for name in found[0]}


def ring_gradients(
    config: Config, rows: Float[np.ndarray, "seeds params"], seed: int
) -> dict[str, Any]:
    """The same of trained generators, whose score is a sum over a grid of latents."""
    keys = jr.split(jr.key(seed), len(rows))
    found = [_of_trained(config, row, key) for row, key in zip(rows, keys, strict=True)]
    return {name: np.stack([row[name] for row in found]) for name in found[0]}


def _of_trained(config: Config, row: Float[np.ndarray, " params"], key: Array) -> dict[str, Any]:
    generator = state_of(config, "tangent", row).generator
    line = jnp.linspace(-4.5, 4.5, 181)
    latents = jnp.stack(jnp.meshgrid(line, line), axis=-1).reshape(-1, 2)
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
    return _gradients(config, generator, score, jnp.mean(jnp.log(spread), axis=0) / 2, key)


def _gradients(
    config: Config,
    generator: LatentGenerator,
    score: Callable[[Array], Array],
    log_widths: Float[Array, " latent"],
    key: Array,
) -> dict[str, np.ndarray]:
    """`bias`, `error` of the score and `ess`, `[proposal, size]`; and `exact`."""
    draw_key, key = jr.split(key)
    x, z0 = jax.vmap(lambda key: generator.sample(key=key))(jr.split(draw_key, config.draws))
    true, means = jax.jit(score)(x), jax.vmap(generator.net)(z0)
    exact = -jnp.mean(jnp.sum(true * means, axis=1))
    keys, rows = jr.split(key, config.draws), []
    for make, inflate in PROPOSALS.values():
        for size in config.sizes:
            found, ess = _scores(generator, make(log_widths), x, z0, keys, size, inflate)
            # Of the same samples both ways: what they share drops out of the difference.
            off = -jnp.sum((found - true) * means, axis=1)
            rows.append(
                {
                    "bias": jnp.mean(off) / exact,
                    "bias_error": jnp.std(off) / np.sqrt(config.draws) / exact,
                    "error": jnp.sqrt(jnp.mean((found - true) ** 2) / jnp.mean(true**2)),
                    "ess": jnp.mean(ess),
                }
            )
    shape = (len(PROPOSALS), len(config.sizes))
    table = {name: np.asarray([row[name] for row in rows]).reshape(shape) for name in rows[0]}
    return {**table, "exact": np.asarray(exact)}


@eqx.filter_jit
def _scores(
    generator: LatentGenerator,
    proposal: AbstractProposal,
    x: Float[Array, "n d"],
    z0: Float[Array, "n k"],
    keys: Array,
    size: int,
    inflate: float,
) -> tuple[Array, Array]:
    def of(row: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        x, z, key = row
        return entropy_score(generator, proposal, x, z, samples=size, inflate=inflate, key=key)

    return jax.lax.map(of, (x, z0, keys), batch_size=500)
