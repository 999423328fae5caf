"""What the recipe `iwae-posterior` measures."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro.distributions as dist
from jaxtyping import Array, Float, PRNGKeyArray

from pullback.bounds import (
    ELBO,
    ImportanceWeighted,
    ImportanceWeightedPosterior,
    effective_sample_size,
    implied_posterior_density,
)
from pullback.models.vae import VAE
from pullback.sampling import draw

# The target of one dimension: two modes, with an evidence of 0.3.
LOG_EVIDENCE = float(np.log(0.3))
AXIS = np.linspace(-8, 8, 801)
REACH, POINTS = 6.0, 161  # of the grid over the latent plane


def _target(z: Float[Array, ""]) -> Float[Array, ""]:
    modes = dist.MixtureSameFamily(
        dist.Categorical(probs=jnp.array([0.6, 0.4])),
        dist.Normal(jnp.array([-1.5, 2.0]), jnp.array([0.5, 0.6])),
    )
    return LOG_EVIDENCE + modes.log_prob(z)


def _bimodal(k: int) -> ImportanceWeightedPosterior:
    return ImportanceWeightedPosterior(_target, dist.Normal(0.0, 1.8), k)


def in_one_dimension(samples: Sequence[int], sets: int, seed: int) -> dict[str, Any]:
    """The implied posterior of two modes on a grid, with its bounds, for each k."""
    step = AXIS[1] - AXIS[0]
    exact = np.exp(np.asarray(jax.vmap(_target)(jnp.asarray(AXIS, float))) - LOG_EVIDENCE)
    found: dict[str, Any] = {"exact": exact, "k": list(samples), "density": []}
    rows: dict[str, list[float]] = {
        name: [] for name in ("bound", "error", "elbo", "mass", "variation")
    }
    for k in samples:
        density, bounds = _one_dimension(k, sets, jr.fold_in(jr.key(seed), k))
        density = np.asarray(density, np.float64)
        mass = density.sum() * step
        normalised = density / mass
        found["density"].append(density)
        rows["mass"].append(float(mass))
        rows["variation"].append(float(0.5 * np.abs(density - exact).sum() * step))
        joint = np.log(exact) + LOG_EVIDENCE
        rows["elbo"].append(float(np.sum(normalised * (joint - np.log(normalised))) * step))
        rows["bound"].append(float(bounds.mean()))
        rows["error"].append(float(bounds.std() / np.sqrt(len(bounds))))
    return {**found, **rows}


@eqx.filter_jit
def _one_dimension(k: int, sets: int, key: PRNGKeyArray) -> tuple[Array, Array]:
    grid, draws = jr.split(key)
    posterior = _bimodal(k)
    density = implied_posterior_density(
        posterior, jnp.asarray(AXIS, float), num_sets=sets, batch_size=500, key=grid
    )
    bound = lambda key: ImportanceWeighted(k)(_target, posterior.base, key=key)
    return density, jax.vmap(bound)(jr.split(draws, 20_000))


def with_few_sets(counts: Sequence[int], k: int, draws: int, seed: int) -> dict[str, list[float]]:
    """The estimated ELBO of the implied posterior, by the sets that its density is found from."""
    found: dict[str, list[float]] = {"value": [], "error": []}
    for sets in counts:
        key = jr.fold_in(jr.key(seed), sets)
        estimate = eqx.filter_jit(_bimodal(k).elbo)(
            num_samples=draws, num_sets=sets, batch_size=500, key=key
        )
        found["value"].append(float(estimate.value))
        found["error"].append(float(estimate.standard_error))
    return found


# The learned models.


def _plane() -> tuple[Float[Array, "point 2"], float]:
    axis = jnp.linspace(-REACH, REACH, POINTS)
    points = jnp.stack(jnp.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    return points, 2 * REACH / (POINTS - 1)


@eqx.filter_jit
def evidence(vae: VAE, x: Float[Array, "n pixel"]) -> Float[Array, " n"]:
    """The exact log-evidence of each example, by the grid over the latent plane."""
    points, step = _plane()
    logits = jax.vmap(vae.decoder)(points)
    likelihood = x @ logits.T - jnp.sum(jax.nn.softplus(logits), axis=1)[None]
    prior = jnp.sum(dist.Normal(0.0, 1.0).log_prob(points), axis=1)
    return jax.nn.logsumexp(likelihood + prior[None], axis=1) + 2 * jnp.log(step)


@eqx.filter_jit
def gaps(
    vae: VAE, x: Float[Array, "n pixel"], k: int, sets: int, key: PRNGKeyArray
) -> dict[str, Float[Array, " n"]]:
    """Bounds and distances of each example on a grid over the latent plane."""
    points, step = _plane()
    area = step**2

    def one(pair: tuple[Array, Array]) -> dict[str, Array]:
        x, key = pair
        single, several, proposals, weights = jr.split(key, 4)
        model, q = vae.model(x), vae.posterior(x)
        joint = jax.vmap(model)(points)
        evidence = jax.nn.logsumexp(joint) + jnp.log(area)
        posterior = jnp.exp(joint - evidence)
        implied = implied_posterior_density(
            ImportanceWeightedPosterior(model, q, k), points, num_sets=sets, batch_size=20,
            key=proposals,
        )  # fmt: skip
        mass = jnp.sum(implied) * area
        normalised = implied / mass
        elbo = jnp.sum(
            jnp.where(normalised > 0, normalised * (joint - jnp.log(normalised)), 0) * area
        )
        log_w = jax.vmap(lambda z: model(z) - q.log_prob(z))(draw(q, weights, (k,)))
        apart = lambda density: 0.5 * jnp.sum(jnp.abs(density - posterior)) * area
        return {
            "evidence": evidence,
            "elbo": ELBO()(model, q, num_samples=20_000, key=single),
            "bound": ImportanceWeighted(k)(model, q, num_samples=40_000 // k, key=several),
            "implied": elbo,
            "mass": mass,
            "variation": apart(jnp.exp(jax.vmap(q.log_prob)(points))),
            "implied_variation": apart(implied),
            "effective": effective_sample_size(log_w) / k,
        }

    return jax.lax.map(one, (x, jr.split(key, len(x))))


@eqx.filter_jit
def pictures(vae: VAE, x: Float[Array, " pixel"], key: PRNGKeyArray) -> dict[str, Array]:
    """The densities over the latent plane, and what draws from each decode to, of one image."""
    points, step = _plane()
    model, q = vae.model(x), vae.posterior(x)
    joint = jax.vmap(model)(points)
    densities = {
        "exact": jax.nn.softmax(joint) / step**2,
        "q": jnp.exp(jax.vmap(q.log_prob)(points)),
    }
    decoded = {"q": jax.vmap(vae.decode)(draw(q, key, (6,)))}
    for k in (5, 50):
        posterior = ImportanceWeightedPosterior(model, q, k)
        densities[f"k{k}"] = implied_posterior_density(
            posterior, points, num_sets=300, batch_size=20, key=key
        )
        decoded[f"k{k}"] = jax.vmap(vae.decode)(posterior.sample(key, (6,)))
    shape = lambda values: values.reshape(POINTS, POINTS)
    return {
        **{f"density_{name}": shape(values) for name, values in densities.items()},
        **{f"decoded_{name}": values for name, values in decoded.items()},
    }
