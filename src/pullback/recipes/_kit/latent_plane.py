"""The plane of an autoencoder's latents, over which everything is integrated by a sum."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from pullback.models.vae import VAE


class Plane(NamedTuple):
    """A square grid, `side` points from `-reach` to `reach` along either axis."""

    side: int
    reach: float = 6.0

    @property
    def points(self) -> Float[Array, "point 2"]:
        axis = jnp.linspace(-self.reach, self.reach, self.side)
        return jnp.stack(jnp.meshgrid(axis, axis), axis=-1).reshape(-1, 2)

    @property
    def area(self) -> float:
        """Of the square around a point."""
        return (2 * self.reach / (self.side - 1)) ** 2

    def log_joint(self, vae: VAE, x: Float[Array, "n pixel"]) -> Float[Array, "n point"]:
        """log p(x, z) of each binary example at each point: the plane is decoded once."""
        return _log_joint(self, vae, x)

    def log_evidence(self, vae: VAE, x: Float[Array, "n pixel"]) -> Float[Array, " n"]:
        """log p(x) of each example."""
        return _log_evidence(self, vae, x)


@eqx.filter_jit
def _log_evidence(plane: Plane, vae: VAE, x: Array) -> Array:
    return jax.nn.logsumexp(plane.log_joint(vae, x), axis=1) + np.log(plane.area)


@eqx.filter_jit
def _log_joint(plane: Plane, vae: VAE, x: Array) -> Array:
    logits = jax.vmap(vae.decoder)(plane.points)
    likelihood = x @ logits.T - jnp.sum(jax.nn.softplus(logits), axis=1)[None]
    return likelihood + jax.vmap(vae.latent_prior().log_prob)(plane.points)[None]
