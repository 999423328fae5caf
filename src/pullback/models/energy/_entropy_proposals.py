"""Where to look for the latents that may have made a sample, given the one that did."""

import math
from abc import abstractmethod
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from pullback._key import checked_key
from pullback.models.energy._latent_generator import LatentGenerator, detach, standard_normal

Draws = tuple[Float[Array, "samples latent"], Float[Array, " samples"]]


class AbstractProposal(eqx.Module):
    """A proposal for the posterior q(z|x) over the latents of a generator's sample x."""

    @abstractmethod
    def draw(
        self,
        generator: LatentGenerator,
        x: Float[Array, "..."],
        z0: Float[Array, " latent"],
        *,
        samples: int,
        inflate: float | int = 1.0,
        key: PRNGKeyArray,
    ) -> Draws:
        """Latents and the log-density of each, in nats.

        Args:
            generator: which made x.
            x: one example.
            z0: the latent that made it.
            samples: how many.
            inflate: what the standard deviations are multiplied by.
            key: a typed PRNG key.
        """


class DiagonalProposal(AbstractProposal):
    r"""A normal distribution around the latent that made the sample, with a width for each entry.

    $$ \xi(z | z_0) = N(z;\ z_0, \mathrm{diag}(\eta^2)) $$

    What the paper takes. The widths are learned by `proposal_objective`, and serve all samples
    alike.

    Args:
        log_eta: the logarithms of the widths, `[latent]`; the paper starts at 0.1.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> generator = LatentGenerator(lambda z: z, 2)
        >>> z, _ = DiagonalProposal(jnp.full(2, jnp.log(0.1))).draw(
        ...     generator, jnp.ones(2), jnp.ones(2), samples=3, key=jax.random.key(0))
        >>> z.shape
        (3, 2)

    Source: Grathwohl et al., No MCMC for me, arXiv 2010.04230, section 3.2.
    """

    log_eta: Float[Array, "..."]

    def draw(
        self,
        generator: LatentGenerator,
        x: Float[Array, "..."],
        z0: Float[Array, " latent"],
        *,
        samples: int,
        inflate: float | int = 1.0,
        key: PRNGKeyArray,
    ) -> Draws:
        """See `AbstractProposal.draw`."""
        key = checked_key(key)
        u = jr.normal(key, (samples, len(z0)), z0.dtype)
        log_scale = self.log_eta.astype(z0.dtype) + math.log(inflate)
        z = z0[None] + jnp.exp(log_scale)[None] * u
        return z, jax.vmap(standard_normal)(u) - jnp.sum(log_scale)


class GaussNewtonProposal(AbstractProposal):
    r"""The posterior of the generator's tangent at the latent that made the sample.

    With J the derivative of g at $z_0$,

    $$ P = I + J^\top J / \sigma^2, \qquad
       \xi = N\big(z_0 + P^{-1} (J^\top (x - g(z_0)) / \sigma^2 - z_0),\; P^{-1}\big) $$

    Nothing is learned. For a linear g it is the posterior itself and hardly depends on $z_0$. It
    costs a Jacobian: as many forward passes as there are latents.

    Args:
        keep: whether $z_0$, an exact draw, is one latent more. Where the tangent misleads, the
            score is then that of $z_0$, and stays bounded.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> generator = LatentGenerator(lambda z: 3 * z, 1, sigma=1.0)
        >>> z, _ = GaussNewtonProposal().draw(
        ...     generator, jnp.full(1, 2.0), jnp.zeros(1), samples=9999, key=jax.random.key(0))
        >>> print(f"{jnp.mean(z):.2f} {jnp.var(z):.2f}")  # exactly 0.6 and 0.1
        0.60 0.10

    Source: this library. Where z0 is kept: Andrieu, Doucet and Holenstein, Particle Markov Chain
    Monte Carlo Methods (2010), on conditional importance sampling.
    """

    keep: bool = eqx.field(default=True, static=True)

    def draw(
        self,
        generator: LatentGenerator,
        x: Float[Array, "..."],
        z0: Float[Array, " latent"],
        *,
        samples: int,
        inflate: float | int = 1.0,
        key: PRNGKeyArray,
    ) -> Draws:
        """See `AbstractProposal.draw`; with `keep`, z0 comes after the samples."""
        key = checked_key(key)
        sigma = generator.sigma.astype(z0.dtype)
        net = lambda z: jnp.ravel(generator.net(z)).astype(z0.dtype) / sigma
        slope = jax.jacfwd(net)(z0)
        precision = jnp.eye(len(z0), dtype=z0.dtype) + slope.T @ slope
        root = jnp.linalg.cholesky(precision)
        pull = slope.T @ (jnp.ravel(x).astype(z0.dtype) / sigma - net(z0)) - z0
        move = jax.scipy.linalg.cho_solve((root, True), pull)
        u = jr.normal(key, (samples, len(z0)), z0.dtype)
        if self.keep:
            u = jnp.concatenate([u, -(root.T @ move)[None] / inflate])
        away = jax.scipy.linalg.solve_triangular(root, u.T, trans="T", lower=True).T
        log_scale = len(z0) * math.log(inflate) - jnp.sum(jnp.log(jnp.diag(root)))
        return (z0 + move)[None] + inflate * away, jax.vmap(standard_normal)(u) - log_scale


def proposal_objective(
    proposal: AbstractProposal,
    generator: LatentGenerator,
    x: Float[Array, "..."],
    z0: Float[Array, " latent"],
    *,
    samples: int = 1,
    key: PRNGKeyArray,
) -> Float[Array, ""]:
    r"""Minus a lower bound of log q(x): what the widths of a proposal are learned by.

    $$ -\mathrm{E}_{z \sim \xi} [\log q(x, z) - \log \xi(z | z_0)] $$

    Least where $\xi$ is nearest to the posterior in $\mathrm{KL}(\xi \| q(z|x))$, which rather
    looks for a mode than spreads. The gradient is to the proposal alone.

    Args:
        proposal: whose widths are learned.
        generator: which made x.
        x: one example.
        z0: the latent that made it.
        samples: over which the mean is taken.
        key: a typed PRNG key.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> generator = LatentGenerator(lambda z: z, 1, sigma=1.0)  # the posterior has variance 1/2
        >>> x, key = jnp.zeros(1), jax.random.key(0)
        >>> loss = lambda eta: proposal_objective(
        ...     DiagonalProposal(jnp.log(eta)[None]), generator, x, x, samples=9999, key=key)
        >>> [round(float(jax.grad(loss)(eta))) for eta in (0.4, 0.5**0.5, 2.0)]
        [-2, 0, 4]

    Source: Grathwohl et al., No MCMC for me, arXiv 2010.04230, section 3.2.
    """
    key = checked_key(key)
    generator, x, z0 = detach((generator, x, z0))
    z, log_density = proposal.draw(generator, x, z0, samples=samples, key=key)
    return jnp.mean(log_density - log_joints(generator, x, z)[0])


def log_joints(
    generator: LatentGenerator, x: Float[Array, "..."], z: Float[Array, "samples latent"]
) -> tuple[Float[Array, " samples"], Float[Array, "samples ..."]]:
    """log q(x, z) of several latents, and what the network makes of each."""

    def of(z: Array) -> Any:
        mean = generator.net(z)
        return generator.log_likelihood(x, mean) + standard_normal(z), mean

    return jax.vmap(of)(z)
