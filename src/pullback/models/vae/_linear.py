"""A linear autoencoder, whose rate and distortion have closed forms."""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from pullback._key import checked_key
from pullback.bounds import BatchTerms, DiagonalNormal, LatentModel, kl_divergence
from pullback.models.likelihoods import Normal, check_support, normal_log_prob
from pullback.sampling import StandardNormal


class LinearVAE(eqx.Module):
    r"""Linear encoder and decoder, a fixed noise, and one posterior variance for all data.

    $$ p(x | z) = N(W z + b, s^2 I), \qquad
       q(z | x) = N\big(V (x - b), \mathrm{diag}\, \sigma^2\big) $$

    Trained for the ELBO it is probabilistic PCA; for another $\beta$ it fills water in reverse, as
    `pullback.analysis.reverse_water_filling` tells.

    Args:
        dim: of the data.
        latent: length of z.
        noise: s, in units of the data.
        key: for the weights.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from pullback.bounds import Beta
        >>> vae = LinearVAE(5, latent=2, noise=0.5, key=jax.random.key(0))
        >>> loss, metrics = Beta(2.0)(vae.terms(jnp.ones((3, 5))))
        >>> sorted(metrics)
        ['distortion', 'elbo', 'rate']

    Source: Tipping and Bishop, Probabilistic Principal Component Analysis, J. R. Stat. Soc. B 61
    (1999); Lucas et al., Don't Blame the ELBO!, arXiv 1911.02469.
    """

    decoder: Float[Array, "dim latent"]
    encoder: Float[Array, "latent dim"]
    offset: Float[Array, " dim"]
    log_std: Float[Array, " latent"]
    noise: float = eqx.field(static=True)

    def __init__(self, dim: int, latent: int, noise: float | int, *, key: PRNGKeyArray):
        key = checked_key(key)
        if dim < 1 or latent < 1:
            raise ValueError(f"`dim` and `latent` must be 1 or more, got {dim} and {latent}.")
        if not 0 < noise < math.inf:
            raise ValueError(f"`noise` must be positive, got {noise}.")
        self.noise = float(noise)
        w, v = jr.split(key)
        self.decoder = jr.normal(w, (dim, latent)) / math.sqrt(dim)
        self.encoder = jr.normal(v, (latent, dim)) / math.sqrt(dim)
        self.offset = jnp.zeros(dim)
        self.log_std = jnp.zeros(latent)

    def check(self, x: Any) -> None:
        """Raise ValueError if data are not finite."""
        check_support(Normal(), x)

    def target(self, x: Float[Array, " dim"]) -> tuple[LatentModel, Any]:
        """The terms of the model, and the posterior, for the bounds of `pullback.bounds`."""
        latent = len(self.log_std)
        params = jnp.concatenate([self.encoder @ (x - self.offset), self.log_std])
        return LatentModel(
            lambda z: self._log_likelihood(z, x), StandardNormal(latent)
        ), DiagonalNormal(latent)(params)

    def _log_likelihood(self, z: Float[Array, " latent"], x: Float[Array, " dim"]) -> Array:
        mean = self.decoder @ z + self.offset
        return jnp.sum(normal_log_prob(x, mean, jnp.full_like(mean, math.log(self.noise))))

    def terms(self, x: Float[Array, "n dim"]) -> BatchTerms:
        r"""Rate and distortion of each row, exact: no sample of z is drawn.

        $$ D = -\log N(x; W \mu + b, s^2 I) + \frac{1}{2 s^2} \sum_j \sigma_j^2 \|W_j\|^2 $$
        """
        return jax.vmap(self._terms_of_one)(x)._replace(prior=StandardNormal(len(self.log_std)))

    def _terms_of_one(self, x: Float[Array, " dim"]) -> BatchTerms:
        model, posterior = self.target(x)
        mean = self.encoder @ (x - self.offset)
        spread = jnp.exp(2 * self.log_std) @ jnp.sum(jnp.square(self.decoder), axis=0)
        square = jnp.square(jnp.asarray(self.noise, x.dtype))
        distortion = spread / (2 * square) - model.log_likelihood(mean)
        return BatchTerms(distortion, kl_divergence(posterior, model.prior), posterior, None)
