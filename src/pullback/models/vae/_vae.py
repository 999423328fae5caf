"""A variational autoencoder of parts to choose."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpyro.distributions as dist
from jaxtyping import Array, Float, PRNGKeyArray

from pullback._checked_data import check_data
from pullback._key import checked_key
from pullback.bounds import AbstractFamily, DiagonalNormal, ImportanceWeighted, LatentModel
from pullback.models.likelihoods import AbstractLikelihood, check_support, require_params
from pullback.sampling import (
    FixedDistribution,
    StandardNormal,
    draw,
    fixed,
    require_distribution,
    require_inside,
    stop_gradient,
)

from ._autoregressive import AbstractAutoregressiveDecoder
from ._mixture_priors import VampPrior
from ._networks import DenseNet


class VAE(eqx.Module):
    r"""A latent-variable model and its amortised posterior, each of parts that are chosen freely.

    $$ p(x, z) = p(z)\, p(x \mid \mathrm{decoder}(z)), \qquad
       q(z | x) = \mathrm{family}(\mathrm{encoder}(x)) $$

    Methods are of one example: `jax.vmap` over more.

    Args:
        encoder: from x to the parameters of `family`.
        decoder: from z to the parameters of `likelihood`; or an `AbstractAutoregressiveDecoder`.
        family: of posteriors, of `pullback.bounds`.
        prior: of z: anything normalised with `log_prob` and `sample`, a `VampPrior`, or an
            `EnergyPrior` of `pullback.bounds`, whose mass is estimated. The floating arrays of a
            module are trained, as those of a `MixturePrior`; a distribution of NumPyro is fixed
            (`pullback.sampling.FixedDistribution`), as `StandardNormal` is.
        likelihood: of x.

    Raises:
        ValueError: the prior lacks a part of a distribution, or the family's posteriors can draw
            what it cannot.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from pullback.bounds import ELBO
        >>> from pullback.models.vae import Bernoulli
        >>> vae = mlp_vae((9,), latent=2, width=8, likelihood=Bernoulli(), key=jax.random.key(0))
        >>> model, posterior = vae.target(jnp.ones(9))
        >>> ELBO("analytic")(model, posterior, key=jax.random.key(1)).shape
        ()

    Source: Kingma and Welling, Auto-Encoding Variational Bayes, arXiv 1312.6114.
    """

    encoder: Callable[[Array], Array]
    decoder: Callable[..., Array]
    family: AbstractFamily
    prior: Any
    likelihood: AbstractLikelihood

    def __init__(
        self,
        encoder: Callable[[Array], Array],
        decoder: Callable[..., Array],
        *,
        family: AbstractFamily,
        prior: Any,
        likelihood: AbstractLikelihood,
    ):
        self.encoder = encoder
        self.decoder = decoder
        self.family = family
        if not isinstance(prior, VampPrior):
            require_distribution(prior, "prior")
        self.prior = fixed(prior)
        _require_inside(family, prior)
        self.likelihood = likelihood

    @property
    def committed_rate(self) -> float:
        """What the prior and the family keep the rate above, in nats.

        A prior commits posteriors of the mean field, a family commits to the standard normal.
        """
        by_prior = getattr(self.prior, "committed_rate", 0.0)
        by_family = getattr(self.family, "committed_rate", 0.0)
        return max(
            by_prior if isinstance(self.family, DiagonalNormal) else 0.0,
            by_family if isinstance(self.prior, StandardNormal) else 0.0,
        )

    def posterior(self, x: Array) -> Any:
        """The approximate posterior q(z | x)."""
        return self.family(self.encoder(x))

    def latent_prior(self) -> Any:
        """The distribution p(z)."""
        if isinstance(self.prior, VampPrior):
            return self.prior.mixture(self.posterior)
        if isinstance(self.prior, FixedDistribution):
            return self.prior.distribution
        return (
            stop_gradient(self.prior) if isinstance(self.prior, dist.Distribution) else self.prior
        )

    def model(self, x: Array, *, told: Array | None = None) -> LatentModel:
        """The terms of p(x, z) at x, as a function of z, for what `pullback.bounds` has.

        Args:
            x: one example.
            told: what an autoregressive decoder is told in the place of x, such as x with parts
                that are hidden.
        """
        told = x if told is None else told
        return LatentModel(
            lambda z: jnp.sum(self.likelihood.log_prob(self.outputs(z, told), x)),
            self.latent_prior(),
        )

    def check(self, x: Any) -> None:
        """Raise ValueError if data, one example or many, cannot be of the likelihood.

        Whatever scores a model on data asks it: `pb.train`, `pb.analysis`, `log_prob`.
        """
        check_support(self.likelihood, x)

    def target(self, x: Array, *, told: Array | None = None) -> tuple[LatentModel, Any]:
        """What a bound is given: the terms of the model and the posterior.

        They are those of `model` and `posterior`, with the auxiliary variables of a family that has
        such.
        """
        params = self.encoder(x)
        return self.family.augment(self.model(x, told=told), params), self.family(params)

    def outputs(self, z: Array, x: Array) -> Float[Array, "..."]:
        """What the decoder says of x; an autoregressive one is told x itself."""
        told = isinstance(self.decoder, AbstractAutoregressiveDecoder)
        params = self.decoder(z, x) if told else self.decoder(z)
        require_params(self.likelihood, params, x.shape)
        return params

    def encode(self, x: Array) -> Float[Array, "..."]:
        """The parameters of the posterior."""
        return self.encoder(x)

    def decode(self, z: Array) -> Float[Array, "..."]:
        """The mean of p(x | z).

        Raises:
            ValueError: the decoder is autoregressive, and the mean is not to be had.
        """
        if isinstance(self.decoder, AbstractAutoregressiveDecoder):
            raise ValueError(
                "`decode` gives the mean of p(x | z), which an autoregressive decoder does not "
                "have at hand: `generate` draws from it."
            )
        return self.likelihood.mean(self.decoder(z))

    def generate(self, z: Array, *, key: PRNGKeyArray) -> Array:
        """A draw from p(x | z)."""
        key = checked_key(key)
        if isinstance(self.decoder, AbstractAutoregressiveDecoder):
            return self.decoder.sample(z, self.likelihood, key=key)
        return self.likelihood.sample(self.decoder(z), key=key)

    def sample(self, key: PRNGKeyArray, shape: tuple[int, ...] = ()) -> Array:
        """Draws from p(x), with `shape` in front."""
        key = checked_key(key)
        latent, data = jr.split(key)
        count = math.prod(shape)
        z = draw(self.latent_prior(), latent, (count,))
        x = jax.vmap(lambda z, key: self.generate(z, key=key))(z, jr.split(data, count))
        return x.reshape(*shape, *x.shape[1:])

    def reconstruct(self, x: Array, *, key: PRNGKeyArray) -> Array:
        """The mean of p(x | z) at a draw of z from q(z | x); a draw, if autoregressive."""
        key = checked_key(key)
        latent, data = jr.split(key)
        z = draw(self.posterior(x), latent)
        z = z[0] if isinstance(z, tuple) else z  # without auxiliary variables
        if isinstance(self.decoder, AbstractAutoregressiveDecoder):
            return self.generate(z, key=data)
        return self.decode(z)

    def log_prob(self, x: Array, *, samples: int = 1000, key: PRNGKeyArray) -> Float[Array, ""]:
        """log p(x) in nats, estimated from below by importance samples from the posterior.

        Raises:
            ValueError: x is not what the likelihood is of.
        """
        key = checked_key(key)
        check_data(self, x)
        model, posterior = self.target(x)
        return ImportanceWeighted(samples)(model, posterior, key=key)


def _require_inside(family: AbstractFamily, prior: Any) -> None:
    if getattr(prior, "support", None) is None:
        return

    def at_zeros(family: AbstractFamily) -> Array:
        require_inside(family(jnp.zeros(family.shape)), prior)
        return jnp.zeros(())

    eqx.filter_eval_shape(at_zeros, family)


def mlp_vae(
    shape: int | tuple[int, ...],
    latent: int,
    width: int,
    depth: int = 2,
    activation: Callable = jax.nn.elu,
    *,
    likelihood: AbstractLikelihood,
    family: AbstractFamily | None = None,
    prior: Any = None,
    key: PRNGKeyArray,
) -> VAE:
    """A `VAE` whose encoder and decoder are fully connected: for rows of a table, or small images.

    Args:
        shape: of one example.
        latent: length of z.
        width: of each hidden layer.
        depth: hidden layers of the encoder, and of the decoder.
        activation: between the layers.
        likelihood: of the data.
        family: of posteriors; independent normals by default.
        prior: the standard normal by default.
        key: for the weights.

    Raises:
        ValueError: a size is below 1.
    """
    key = checked_key(key)
    shape = (shape,) if isinstance(shape, int) else tuple(shape)
    family = DiagonalNormal(latent) if family is None else family
    encoder, decoder = jr.split(key)
    outputs = likelihood.params_shape(shape)
    return VAE(
        DenseNet(shape, family.shape, width, depth, activation, key=encoder),
        DenseNet((latent,), outputs, width, depth, activation, key=decoder),
        family=family,
        prior=StandardNormal(latent) if prior is None else prior,
        likelihood=likelihood,
    )


def traverse(
    vae: VAE, x: Array, values: Float[Array, " value"], *, entries: Sequence[int] | None = None
) -> Float[Array, "entry value ..."]:
    """Decode with one entry of z moved at a time: what each latent stands for.

    Args:
        vae: the model, whose posterior has a mean.
        x: the example whose posterior mean is the place to start from.
        values: what the entry is set to, in units of the prior, such as `jnp.linspace(-2, 2, 7)`.
        entries: which entries of z; all by default.

    Returns:
        Means of p(x | z), an image or row for each entry and value.

    Raises:
        ValueError: an entry does not exist, or the decoder is autoregressive.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from pullback.models.vae import Bernoulli
        >>> vae = mlp_vae((4, 4), latent=3, width=8, likelihood=Bernoulli(), key=jax.random.key(0))
        >>> traverse(vae, jnp.ones((4, 4)), jnp.linspace(-2, 2, 5)).shape
        (3, 5, 4, 4)
    """
    z = vae.posterior(x).mean
    places = list(range(z.size)) if entries is None else list(entries)
    if not all(0 <= place < z.size for place in places):
        raise ValueError(f"`entries` must be from 0 to {z.size - 1}, got {places}.")
    move = lambda place, value: vae.decode(z.ravel().at[place].set(value).reshape(z.shape))
    over_values = jax.vmap(move, in_axes=(None, 0))
    return jax.vmap(over_values, in_axes=(0, None))(jnp.asarray(places), values)
