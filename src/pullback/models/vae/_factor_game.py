"""A total correlation that a discriminator estimates, and an autoencoder that makes it small."""

from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from pullback._key import checked_key
from pullback.games import AbstractGame, discriminator_loss
from pullback.models.vae._losses import batch_terms
from pullback.models.vae._vae import VAE
from pullback.sampling import draw


class FactorGame(AbstractGame):
    r"""The ELBO, with a weight on the total correlation of the latents, by a ratio: FactorVAE.

    $$ \min_V\; \mathrm{E}_{q(z)} \log(1 + e^{-V(z)}) +
       \mathrm{E}_{\bar q(z)} \log(1 + e^{V(z)}), \qquad
       \min_{\text{VAE}}\; D + R + \gamma\, \mathrm{E}_{q(z)} V(z), \qquad
       \bar q(z) = \prod_j q(z_j) $$

    The discriminator tells latents of a batch from latents whose entries come from different
    examples each; its best logit V is the log ratio of both, whose mean is the total correlation.
    What is made small is that of `pullback.bounds.TotalCorrelation(1 + gamma, size=N)`, of which
    this needs neither N nor the densities of posteriors, but a second network that keeps up. Play
    it by `pullback.games.GANStep`, with the autoencoder for a generator. The metric
    `total_correlation` is the mean logit: a guess as good as the discriminator.

    Args:
        gamma: of the total correlation above its weight of 1 in the rate, 0 or more.

    Raises:
        ValueError: `gamma` is negative; when called, there are fewer than 2 latents or examples.

    Example:
        >>> import equinox as eqx, jax, jax.numpy as jnp, optax
        >>> from pullback.games import GANStep, fit_gan
        >>> from pullback.models.vae import Bernoulli, mlp_vae
        >>> keys = jax.random.split(jax.random.key(0), 3)
        >>> vae = mlp_vae(4, latent=2, width=8, likelihood=Bernoulli(), key=keys[0])
        >>> discriminator = eqx.nn.MLP(2, "scalar", 8, 1, key=keys[1])
        >>> step = GANStep(optax.adam(1e-3), optax.adam(1e-3), FactorGame(6.0))
        >>> vae, _, info = fit_gan(
        ...     vae, discriminator, jnp.eye(4), step, steps=2, batch_size=4, key=keys[2])
        >>> info.step
        2

    Source: Kim and Mnih, Disentangling by Factorising, arXiv 1802.05983, algorithm 2; here both
        kinds of latents are of the same images, with noise of their own.
    """

    gamma: Float[Array, "..."] | float | int

    def __check_init__(self):
        if isinstance(self.gamma, int | float) and not self.gamma >= 0:
            raise ValueError(f"`gamma` must be 0 or more, got {self.gamma}.")

    def show(
        self, generator: VAE, batch: Float[Array, "batch ..."], *, key: PRNGKeyArray
    ) -> dict[str, Array]:
        """Distortion and rate of each example, its latents, and latents of mixed examples."""
        key = checked_key(key)
        terms_key, draw_key, order_key = jr.split(key, 3)
        terms = batch_terms(generator, batch, key=terms_key)
        fresh = jax.vmap(draw)(terms.posterior, jr.split(draw_key, len(batch)))
        if jnp.ndim(fresh) != 2 or min(fresh.shape) < 2:
            raise ValueError(
                "`generator` must have 2 latents or more in a row, and `batch` 2 examples, whose "
                f"latents can be mixed; got latents of shape {jnp.shape(fresh)}."
            )
        mixed = jax.vmap(jr.permutation, in_axes=(0, 1), out_axes=1)(
            jr.split(order_key, fresh.shape[1]), fresh
        )
        return {"distortion": terms.distortion, "rate": terms.rate, "z": terms.z, "mixed": mixed}

    def losses(
        self, discriminator: Any, shown: dict[str, Array], *, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], Float[Array, ""], dict[str, Array]]:
        """The cross entropy of the discriminator, and the weighted ELBO of the autoencoder."""
        checked_key(key)
        both = jnp.concatenate([shown["z"], shown["mixed"]])
        logits = jax.vmap(discriminator)(both)
        if logits.size != len(both):
            raise ValueError(
                "`discriminator` must give one logit for a row of latents, without a sigmoid; got "
                f"the shape {logits.shape[1:]}."
            )
        real, mixed = jnp.split(jnp.reshape(logits, -1), 2)
        correlation = jnp.mean(real)
        distortion, rate = jnp.mean(shown["distortion"]), jnp.mean(shown["rate"])
        return (
            discriminator_loss(real, mixed),
            distortion + rate + self.gamma * correlation,
            {
                "distortion": distortion,
                "rate": rate,
                "elbo": -distortion - rate,
                "total_correlation": correlation,
            },
        )
