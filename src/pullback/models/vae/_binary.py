"""A variational autoencoder of binary images."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpyro.distributions as dist
from jaxtyping import Array, Float, PRNGKeyArray

from pullback.bounds import AbstractBound, ImportanceWeighted, LatentModel
from pullback.sampling import AbstractEstimator, Reparameterised


class BinaryVAE(eqx.Module):
    r"""A latent-variable model of binary vectors, with an amortised posterior.

    $$ p(z) = N(0, I), \quad p(x | z) = \prod_i \mathrm{Bernoulli}(x_i; \mathrm{logit}_i(z)), \quad
       q(z | x) = N(\mu(x), \mathrm{diag}\, \sigma^2(x)) $$

    Args:
        pixels: length of x.
        latent: length of z.
        width: of each hidden layer.
        depth: hidden layers of the encoder, and of the decoder.
        activation: between the layers.
        key: for the weights.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from pullback.bounds import ELBO
        >>> vae = BinaryVAE(pixels=9, latent=2, width=8, key=jax.random.key(0))
        >>> x = jnp.ones(9)
        >>> ELBO("analytic")(vae.model(x), vae.posterior(x), key=jax.random.key(1)).shape
        ()

    Source: Kingma and Welling, Auto-Encoding Variational Bayes, arXiv 1312.6114.
    """

    encoder: eqx.nn.MLP
    decoder: eqx.nn.MLP
    latent: int = eqx.field(static=True)

    def __init__(
        self,
        pixels: int,
        latent: int,
        width: int,
        depth: int = 2,
        activation: Callable = jax.nn.elu,
        *,
        key: PRNGKeyArray,
    ):
        encoder, decoder = jr.split(key)
        self.latent = latent
        self.encoder = eqx.nn.MLP(pixels, 2 * latent, width, depth, activation, key=encoder)
        self.decoder = eqx.nn.MLP(latent, pixels, width, depth, activation, key=decoder)

    def posterior(self, x: Float[Array, " pixel"]) -> Any:
        """The approximate posterior q(z | x)."""
        mean, log_std = jnp.split(self.encoder(x), 2)
        return dist.Normal(mean, jnp.exp(log_std)).to_event(1)

    def model(self, x: Float[Array, " pixel"]) -> LatentModel:
        """The terms of p(x, z) at x, for the bounds of `pullback.bounds`."""
        prior = dist.Normal(jnp.zeros(self.latent, x.dtype), 1.0).to_event(1)
        return LatentModel(lambda z: bernoulli_log_prob(self.decoder(z), x), prior)

    def decode(self, z: Float[Array, " latent"]) -> Float[Array, " pixel"]:
        """The probability that each pixel is one."""
        return jax.nn.sigmoid(self.decoder(z))


def bernoulli_log_prob(
    logits: Float[Array, " pixel"], x: Float[Array, " pixel"]
) -> Float[Array, ""]:
    r"""$\sum_i x_i l_i - \log(1 + e^{l_i})$: of independent binary pixels with logits l."""
    return jnp.sum(x * logits - _softplus(logits))


# `jax.nn.softplus` minds infinities and so takes half as long again, in a loop over all pixels.
@jax.custom_jvp
def _softplus(x: Array) -> Array:
    return jnp.maximum(x, 0) + jnp.log1p(jnp.exp(-jnp.abs(x)))


_softplus.defjvp(lambda x, moved: (_softplus(*x), jax.nn.sigmoid(x[0]) * moved[0]))


def bound_loss(
    bound: AbstractBound,
    estimator: AbstractEstimator = Reparameterised(),  # noqa: B008, frozen
    *,
    binarise: bool = False,
) -> Callable[..., tuple[Float[Array, ""], dict[str, Array]]]:
    """A loss for `pullback.train.fit`: minus the mean bound over the batch, in nats.

    Args:
        bound: on each example's log-evidence.
        estimator: of its gradient.
        binarise: draw each pixel from its grey level anew at every step, the usual protocol for
            MNIST and Omniglot. Without it the batch must be binary.

    Returns:
        `loss(vae, batch, *, key) -> (scalar, {})`, with a batch of `[n, pixel]`.

    Source: Burda, Grosse and Salakhutdinov, arXiv 1509.00519 (protocol).
    """

    def loss(vae: BinaryVAE, batch: Array, *, key: PRNGKeyArray) -> tuple[Array, dict]:
        pixels, samples = jr.split(key)
        if binarise:
            batch = jr.bernoulli(pixels, batch).astype(batch.dtype)

        def one(x: Array, key: Array) -> Array:
            return bound(vae.model(x), vae.posterior(x), estimator=estimator, key=key)

        return -jnp.mean(jax.vmap(one)(batch, jr.split(samples, len(batch)))), {}

    return loss


@eqx.filter_jit
def importance_weighted_evidence(
    vae: BinaryVAE,
    x: Float[Array, "n pixel"],
    *,
    samples: int = 5000,
    batch_size: int = 20,
    key: PRNGKeyArray,
) -> Float[Array, " n"]:
    """The log-evidence of each example, estimated from below by many importance samples.

    Args:
        vae: the model.
        x: binary examples.
        samples: importance samples for each, k. The papers' figures are of 5,000.
        batch_size: the most examples held in memory at once, each with all its samples.
        key: a typed PRNG key.

    Returns:
        The bounds, in nats.
    """
    bound = ImportanceWeighted(samples)

    def one(pair: tuple[Array, Array]) -> Array:
        x, key = pair
        return bound(vae.model(x), vae.posterior(x), key=key)

    return jax.lax.map(one, (x, jr.split(key, len(x))), batch_size=batch_size)
