"""A variational autoencoder of sequences of tokens that predicts what was measured of them."""

import numbers
from typing import Any, cast

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, Int, PRNGKeyArray

from pullback._inputs import positive
from pullback._key import checked_key
from pullback.bounds import DiagonalNormal
from pullback.models.likelihoods import Tokens
from pullback.models.vae import VAE, TokenDecoder, TokenEncoder
from pullback.sampling import StandardNormal


class TokenVAE(eqx.Module):
    r"""A continuous code of sequences of tokens, and what is predicted from it.

    $$ z \sim N(\mu(x), \sigma^2(x)), \qquad p(x \mid z) = \prod_t p(x_t \mid x_{<t}, z), \qquad
       \hat y = c + s \odot f(\mu(x)) $$

    A sequence is of whole numbers: 0 is the stop and the padding behind it, 1 and up are the
    tokens. Methods are of one example: `jax.vmap` over more, and compile that.

    `fit_token_vae` makes one that is trained, `token_vae` one that is not: it has the arrays of a
    saved one in their places.

    Args:
        vae: with a `TokenEncoder`, a `TokenDecoder` and the likelihood `Tokens`.
        predictor: $f$, from the code to P numbers.
        centre: $c$, the mean of what was measured, in its units.
        scale: $s$, its standard deviation.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> model = token_vae(5, 12, targets=1, latent=2, width=8, key=jax.random.key(0))
        >>> mu, sd = model.encode(jnp.array([3, 1, 4, 0]))
        >>> model.predict(mu).shape, model.decode(mu, key=jax.random.key(1)).shape
        ((1,), (12,))

    Source: Gomez-Bombarelli et al., Automatic Chemical Design, arXiv 1610.02415.
    """

    vae: VAE
    predictor: Any
    centre: Float[Array, " targets"]
    scale: Float[Array, " targets"]

    @property
    def tokens(self) -> int:
        """How many tokens there are, with the stop."""
        return self._decoder.tokens

    @property
    def length(self) -> int:
        """Of what is decoded, and the most that can be encoded."""
        return self._decoder.length

    @property
    def latent(self) -> int:
        """The size of the code."""
        return self._decoder.latent

    def encode(
        self, codes: Int[Array | np.ndarray, " time"]
    ) -> tuple[Float[Array, " latent"], Float[Array, " latent"]]:
        """The mean and the standard deviation of the posterior of z.

        Raises:
            ValueError: `codes` are longer than `length`, or have a token that there is not; within
                `jit` and `vmap` nobody looks at those.
            TypeError: they are no whole numbers.
        """
        posterior = self.vae.posterior(jnp.asarray(codes))
        return posterior.mean, jnp.sqrt(posterior.variance)

    def decode(
        self,
        z: Float[Array, " latent"],
        *,
        temperature: Float[Array, ""] | float | int = 1.0,
        key: PRNGKeyArray,
    ) -> Int[Array, " time"]:
        """A sequence drawn given z, `length` tokens with zeros after the stop.

        Args:
            z: the code.
            temperature: by which the logits are divided; at 0 each token is the likeliest, and the
                key means nothing.
            key: a typed PRNG key.

        Raises:
            ValueError: `temperature` is negative, z of another size or, where it is not traced, not
                finite.
        """
        key = checked_key(key)
        if not isinstance(z, Tracer) and not np.isfinite(z).all():
            raise ValueError(f"`z` must be finite, got {z}.")
        return self._decoder.sample(z, Tokens(self.tokens, temperature), key=key)

    def predict(self, mu: Float[Array, " latent"]) -> Float[Array, " targets"]:
        """What would be measured, in the units of what it was fitted to.

        Raises:
            ValueError: mu has another size.
        """
        if mu.shape != (self.latent,):
            raise ValueError(
                f"`mu` must have the shape {(self.latent,)}, got {mu.shape}. For a batch use "
                "`jax.vmap`."
            )
        return self.centre + self.scale * self.predictor(mu)

    def log_prob(
        self, z: Float[Array, " latent"], codes: Int[Array | np.ndarray, " time"]
    ) -> Float[Array, ""]:
        """log p(x | z) in nats, of the tokens up to the stop and with it."""
        return self.vae.model(jnp.asarray(codes)).log_likelihood(z)

    @property
    def _decoder(self) -> TokenDecoder:
        return cast(TokenDecoder, self.vae.decoder)


def token_vae(
    tokens: int,
    length: int,
    *,
    targets: int = 0,
    latent: int = 32,
    width: int = 128,
    key: PRNGKeyArray,
) -> TokenVAE:
    """A `TokenVAE` that is not trained.

    Args:
        tokens: how many there are, with the stop.
        length: of the longest sequence.
        targets: how many numbers are predicted of each.
        latent: the size of the code.
        width: of the decoder's cell; the predictor is half as wide.
        key: for the weights.

    Raises:
        ValueError: a size is below 1, or `targets` below 0.
        TypeError: a size is no whole number.

    Example:
        >>> import equinox as eqx, jax
        >>> empty = lambda: token_vae(5, 12, latent=2, width=8, key=jax.random.key(0))
        >>> eqx.filter_eval_shape(empty).length  # no array is made: for those of a file
        12
    """
    key = checked_key(key)
    if isinstance(targets, bool) or not isinstance(targets, numbers.Integral):
        raise TypeError(f"`targets` must be a whole number, got {targets!r}.")
    if targets < 0:
        raise ValueError(f"`targets` must be 0 or more, got {targets}.")
    positive(tokens=tokens, length=length, latent=latent, width=width)
    family = DiagonalNormal(latent)
    encoder, decoder, predictor = jr.split(key, 3)
    vae = VAE(
        TokenEncoder(tokens, length, family.shape, key=encoder),
        TokenDecoder(tokens, length, latent=latent, width=width, key=decoder),
        family=family,
        prior=StandardNormal(latent),
        likelihood=Tokens(tokens),
    )
    net = eqx.nn.MLP(latent, targets, max(1, width // 2), 1, jax.nn.relu, key=predictor)
    return TokenVAE(vae, net, jnp.zeros(targets), jnp.ones(targets))
