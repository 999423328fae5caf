"""Priors that are fitted along with a variational autoencoder."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float, PRNGKeyArray

from pullback._event import require_event
from pullback._key import checked_key
from pullback.sampling import draw, log_prob


class MixturePrior(eqx.Module):
    r"""A mixture of diagonal normals, all of whose parameters are trained.

    $$ p(z) = \sum_k \pi_k \prod_i N(z_i; \mu_{ki}, \sigma_{ki}^2) $$

    Args:
        components: how many.
        latent: length of z.
        key: for the means, which start as draws from the standard normal; the standard deviations
            start at 1.
    """

    logits: Float[Array, " components"]
    mean: Float[Array, "components latent"]
    log_std: Float[Array, "components latent"]

    def __init__(self, components: int, latent: int, *, key: PRNGKeyArray):
        key = checked_key(key)
        if components < 1 or latent < 1:
            raise ValueError(
                f"`components` and `latent` must be 1 or more, got {components} and {latent}."
            )
        self.mean = jr.normal(key, (components, latent))
        self.log_std = jnp.zeros((components, latent))
        self.logits = jnp.zeros(components)

    def log_prob(self, z: Float[Array, "..."]) -> Float[Array, ""]:
        """The log-density of one z, `[latent]`."""
        require_event(z, self.mean.shape[1:], single=True)
        apart = (z[None] - self.mean) * jnp.exp(-self.log_std)
        each = -jnp.square(apart) / 2 - self.log_std - jnp.log(2 * jnp.pi).astype(z.dtype) / 2
        return logsumexp(jax.nn.log_softmax(self.logits) + jnp.sum(each, axis=1))

    def sample(self, key: PRNGKeyArray, shape: tuple[int, ...] = ()) -> Float[Array, "*all"]:
        """Draws of shape `[*shape, latent]`."""
        key = checked_key(key)
        which, noise = jr.split(key)
        chosen = jr.categorical(which, self.logits, shape=shape)
        normal = jr.normal(noise, (*shape, self.mean.shape[1]), self.mean.dtype)
        return self.mean[chosen] + jnp.exp(self.log_std[chosen]) * normal


class VampPrior(eqx.Module):
    r"""The mixture of the posteriors of inputs that are trained.

    $$ p(z) = \frac1K \sum_k q(z \mid u_k) $$

    Args:
        inputs: the pseudo-inputs $u_k$ before `transform`, `[K, ...]`, such as K of the data.
        transform: makes them what the encoder takes, such as `jax.nn.sigmoid` for pixels.

    Source: Tomczak and Welling, VAE with a VampPrior, arXiv 1705.07120.
    """

    inputs: Float[Array, "components ..."]
    transform: Callable[[Array], Array] = eqx.field(default=jnp.asarray, static=True)

    def mixture(self, posterior: Callable[[Array], Any]) -> "EvenMixture":
        """The prior, for an encoder's posteriors."""
        return EvenMixture(jax.vmap(posterior)(self.transform(self.inputs)), len(self.inputs))


class EvenMixture(eqx.Module):
    """A mixture, all of whose components weigh the same.

    Args:
        components: distributions, with a leading axis on every array.
        count: the length of that axis.
    """

    components: Any
    count: int = eqx.field(static=True)

    def log_prob(self, z: Float[Array, "..."]) -> Float[Array, ""]:
        """The log-density of one z."""
        each = jax.vmap(lambda q: log_prob(q, z))(self.components)
        return logsumexp(each) - jnp.log(jnp.asarray(self.count, each.dtype))

    def sample(self, key: PRNGKeyArray, shape: tuple[int, ...] = ()) -> Float[Array, "..."]:
        """Draws, with `shape` in front."""
        key = checked_key(key)
        which, each = jr.split(key)
        chosen = jr.randint(which, shape, 0, self.count)
        arrays, rest = eqx.partition(self.components, eqx.is_array)

        def one(index: Array, key: Array) -> Array:
            picked = jax.tree.map(lambda leaf: leaf[index], arrays)
            return draw(eqx.combine(picked, rest), key)

        if not shape:
            return one(chosen, each)
        draws = jax.vmap(one)(chosen.ravel(), jr.split(each, chosen.size))
        return draws.reshape(*shape, *draws.shape[1:])
