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
from pullback.recipes._kit.latent_plane import Plane
from pullback.sampling import draw

# The target of one dimension: two modes, with an evidence of 0.3.
LOG_EVIDENCE = float(np.log(0.3))
AXIS = np.linspace(-8, 8, 801)
PLANE = Plane(161)


def _target(z: Float[Array, ""]) -> Float[Array, ""]:
    modes = dist.MixtureSameFamily(
        dist.Categorical(probs=jnp.array([0.6, 0.4])),
        dist.Normal(jnp.array([-1.5, 2.0]), jnp.array([0.5, 0.6])),
    )
    return LOG_EVIDENCE + modes.log_prob(z)


def _bimodal(k: int) -> ImportanceWeightedPosterior:
    return ImportanceWeightedPosterior(_target, dist.Normal(0.0, 1.8), k)


def in_one_dimension(samples: Sequence[int], sets: int, seed: int) -> dict[str, Any]:
    """The implied posterior of two modes on a grid, with its bounds, an entry for each k."""
    step = AXIS[1] - AXIS[0]
    exact = np.exp(np.asarray(jax.jit(jax.vmap(_target))(jnp.asarray(AXIS, float))) - LOG_EVIDENCE)
    rows = []
    for k in samples:
        density, bound = _one_dimension(k, sets, jr.fold_in(jr.key(seed), k))
        density = np.asarray(density, np.float64)
        normalised = density / (density.sum() * step)
        ratio = np.log(exact) + LOG_EVIDENCE - np.log(normalised)
        rows.append(
            {
                "k": k,
                "density": density,
                "bound": bound,
                "elbo": np.sum(normalised * ratio) * step,
                "variation": 0.5 * np.abs(density - exact).sum() * step,
            }
        )
    return {"exact": exact, **{name: np.stack([row[name] for row in rows]) for name in rows[0]}}


@eqx.filter_jit
def _one_dimension(k: int, sets: int, key: PRNGKeyArray) -> tuple[Array, Array]:
    grid, draws = jr.split(key)
    posterior = _bimodal(k)
    density = implied_posterior_density(
        posterior, jnp.asarray(AXIS, float), num_sets=sets, batch_size=500, key=grid
    )
    bound = lambda key: ImportanceWeighted(k)(_target, posterior.base, key=key)
    return density, jnp.mean(jax.vmap(bound)(jr.split(draws, 20_000)))


def with_few_sets(
    counts: Sequence[int], k: int, draws: int, seed: int
) -> Float[np.ndarray, "counts 2"]:
    """The estimated ELBO of the implied posterior and its error, by the sets of its density."""
    elbo = eqx.filter_jit(_bimodal(k).elbo)
    of = lambda sets, key: elbo(num_samples=draws, num_sets=sets, batch_size=500, key=key)
    return np.array([of(sets, jr.fold_in(jr.key(seed), sets)) for sets in counts])


# The learned models, whose latents lie in a plane.


@eqx.filter_jit
def gaps(
    vae: VAE, x: Float[Array, "n pixel"], k: int, sets: int, key: PRNGKeyArray
) -> dict[str, Array]:
    """Bounds and distances on a grid over the latent plane, means over examples.

    `planes` are the densities of the first one: exact, of q, and of the implied posterior.
    """
    points, area = PLANE.points, PLANE.area

    def one(pair: tuple[Array, Array]) -> dict[str, Array]:
        x, key = pair
        single, several, proposals, weights = jr.split(key, 4)
        model, q = vae.model(x), vae.posterior(x)
        joint = jax.vmap(model)(points)
        evidence = jax.nn.logsumexp(joint) + jnp.log(area)
        exact, own = jnp.exp(joint - evidence), jnp.exp(jax.vmap(q.log_prob)(points))
        implied = implied_posterior_density(
            ImportanceWeightedPosterior(model, q, k), points, num_sets=sets, batch_size=20,
            key=proposals,
        )  # fmt: skip
        normalised = implied / (jnp.sum(implied) * area)
        ratio = jnp.where(normalised > 0, joint - jnp.log(normalised), 0)
        apart = lambda density: 0.5 * jnp.sum(jnp.abs(density - exact)) * area
        log_w = jax.vmap(lambda z: model(z) - q.log_prob(z))(draw(q, weights, (k,)))
        return {
            "evidence": evidence,
            "elbo": ELBO()(model, q, num_samples=20_000, key=single),
            "bound": ImportanceWeighted(k)(model, q, num_samples=40_000 // k, key=several),
            "implied": jnp.sum(normalised * ratio) * area,
            "variation": apart(own),
            "implied_variation": apart(implied),
            "effective": effective_sample_size(log_w) / k,
            "planes": jnp.stack([exact, own, implied]).reshape(3, PLANE.side, PLANE.side),
        }

    found = jax.lax.map(one, (x, jr.split(key, len(x))))
    planes = found.pop("planes")[0]
    return {**{name: jnp.mean(values) for name, values in found.items()}, "planes": planes}
