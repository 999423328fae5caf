"""A generator whose samples have a density: a network of normal noise, plus noise on its output."""

import math
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from pullback._key import checked_key


class LatentGenerator(eqx.Module):
    r"""A network of normal latents, with normal noise on what it puts out.

    $$ x = g(z) + \sigma \varepsilon, \qquad z \sim N(0, I), \quad \varepsilon \sim N(0, I) $$

    Its density $q(x) = \int N(z; 0, I)\, N(x; g(z), \sigma^2 I)\, dz$ has no closed form, but its
    samples come with the latent that made each: an exact draw from $q(z|x)$. Keep normalisation
    over a batch out of the network: the density of one sample would hang on the others.

    Args:
        net: g, from `[latent]` to the shape of one example.
        latent: length of z.
        sigma: the noise at the start, above 0. It is learned, as `log_sigma`.

    Raises:
        ValueError: `latent` is below 1, or `sigma` is not above 0.

    Example:
        >>> import jax
        >>> generator = LatentGenerator(lambda z: 3 * z, 2, sigma=0.1)
        >>> x, z = generator.sample(key=jax.random.key(0))
        >>> x.shape, z.shape
        ((2,), (2,))

    Source: Grathwohl et al., No MCMC for me, arXiv 2010.04230, section 3.1.
    """

    net: Callable
    log_sigma: Float[Array, "..."]
    latent: int = eqx.field(static=True)

    def __init__(self, net: Callable, latent: int, *, sigma: float | int = 0.1):
        if latent < 1:
            raise ValueError(f"`latent` must be at least 1, got {latent}.")
        if not sigma > 0:
            raise ValueError(f"`sigma` must be above 0, got {sigma}.")
        self.net = net
        self.latent = latent
        self.log_sigma = jnp.asarray(math.log(sigma), float)

    @property
    def sigma(self) -> Float[Array, "..."]:
        """The standard deviation of the noise."""
        return jnp.exp(self.log_sigma)

    def sample(self, *, key: PRNGKeyArray) -> tuple[Float[Array, "..."], Float[Array, " latent"]]:
        """One example and the latent that made it, both with a gradient to the generator."""
        key = checked_key(key)
        z_key, noise_key = jr.split(key)
        z = jr.normal(z_key, (self.latent,), self.log_sigma.dtype)
        mean = self.net(z)
        return mean + self.sigma.astype(mean.dtype) * jr.normal(
            noise_key, mean.shape, mean.dtype
        ), z

    def log_joint(self, x: Float[Array, "..."], z: Float[Array, " latent"]) -> Float[Array, ""]:
        """log q(x, z), in nats."""
        return self.log_likelihood(x, self.net(z)) + standard_normal(z)

    def log_likelihood(self, x: Float[Array, "..."], mean: Float[Array, "..."]) -> Float[Array, ""]:
        """The log-density of x around a mean g(z), in nats."""
        sigma = self.sigma.astype(x.dtype)
        return standard_normal((x - mean) / sigma) - x.size * jnp.log(sigma)

    def clamp(self, low: float | int, high: float | int) -> "LatentGenerator":
        """The generator with its noise put back into `[low, high]`."""
        log_sigma = jnp.clip(self.log_sigma, math.log(low), math.log(high))
        return eqx.tree_at(lambda generator: generator.log_sigma, self, log_sigma)


def standard_normal(x: Float[Array, "..."]) -> Float[Array, ""]:
    """The log-density of all entries together."""
    return -jnp.sum(jnp.square(x)) / 2 - x.size / 2 * math.log(2 * math.pi)


def detach(tree):
    """The same values, through which no gradient flows."""
    return jax.tree.map(
        lambda leaf: jax.lax.stop_gradient(leaf) if eqx.is_inexact_array(leaf) else leaf, tree
    )
