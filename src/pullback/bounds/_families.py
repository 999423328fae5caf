"""Families of posteriors: from an array of parameters to a distribution.

An encoder gives the array (amortised inference), or it is free (local inference): the family is the
same.
"""

import abc
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, Float

from pullback._promotion import standard_promotion

from ._model import LatentModel


class AbstractFamily(eqx.Module):
    """A family of distributions $q_\\lambda(z)$.

    What is shared by all of its members, such as the weights of a flow, is in its own arrays.

    To write one of your own, give it `shape`, a static field, and the two methods. An encoder that
    ends in `shape` makes it a `VAE`'s, by `family=`.

    Attributes:
        shape: of the parameters $\\lambda$, which may be any real numbers.

    Example:
        >>> import equinox as eqx, jax.numpy as jnp, numpyro.distributions as dist
        >>> from pullback import bounds
        >>> class Laplace(bounds.AbstractFamily):
        ...     shape: tuple[int, ...] = eqx.field(static=True)
        ...
        ...     def __call__(self, params):
        ...         loc, log_scale = jnp.split(params, 2)
        ...         return dist.Laplace(loc, jnp.exp(log_scale)).to_event(1)
        ...
        ...     def augment(self, model, params):
        ...         return model
        >>> q = Laplace(shape=(4,))(jnp.zeros(4))
        >>> print(f"{q.log_prob(jnp.zeros(2)):.4f}")  # -2 log 2
        -1.3863
    """

    shape: eqx.AbstractVar[tuple[int, ...]]

    @abc.abstractmethod
    def __call__(self, params: Float[Array, "..."]) -> Any:
        """The member with these parameters: a distribution with `sample` and `log_prob`."""

    @abc.abstractmethod
    def augment(self, model: LatentModel, params: Float[Array, "..."]) -> LatentModel:
        """The model of what a member draws.

        It is `model` itself, save for a family that draws auxiliary variables v along with z: then
        it is $p(x, z)\\, r(v | z)$.
        """


class DiagonalNormal(AbstractFamily):
    r"""Independent normals: the mean field.

    $$ q(z) = \prod_i N(z_i; \mu_i, \sigma_i^2), \qquad \lambda = (\mu, \log \sigma) $$

    Args:
        latent: shape of z; a number d is the shape `[d]`. The parameters have its shape, with the
            last axis twice as long: the means, then the log standard deviations.

    Example:
        >>> import jax.numpy as jnp
        >>> q = DiagonalNormal(2)(jnp.array([1.0, 2.0, 0.0, 0.0]))
        >>> print(f"{q.log_prob(jnp.array([1.0, 2.0])):.4f}")  # minus the log of 2 pi
        -1.8379
    """

    shape: tuple[int, ...] = eqx.field(static=True)

    def __init__(self, latent: int | tuple[int, ...]):
        latent = (latent,) if isinstance(latent, int) else tuple(latent)
        _positive(latent=latent)
        self.shape = (*latent[:-1], 2 * latent[-1])

    def __call__(self, params: Float[Array, "..."]) -> Any:
        _check_params(self, params)
        mean, log_std = jnp.split(params, 2, axis=-1)
        return dist.Normal(mean, jnp.exp(log_std)).to_event(len(self.shape))

    def augment(self, model: LatentModel, params: Float[Array, "..."]) -> LatentModel:
        return model


class FullCovarianceNormal(AbstractFamily):
    r"""A normal with any covariance.

    $$ q(z) = N(z; \mu, L L^\top), \qquad
       \lambda = (\mu, \log \mathrm{diag}\, L, \text{the rest of } L) $$

    Args:
        latent: size d of z. There are $2 d + d (d - 1) / 2$ parameters.

    Example:
        >>> import jax.numpy as jnp
        >>> q = FullCovarianceNormal(2)(jnp.array([0.0, 0.0, 0.0, 0.0, 1.0]))
        >>> q.covariance_matrix.tolist()
        [[1.0, 1.0], [1.0, 2.0]]
    """

    shape: tuple[int, ...] = eqx.field(static=True)
    latent: int = eqx.field(static=True)

    def __init__(self, latent: int):
        _positive(latent=(latent,))
        self.latent = latent
        self.shape = (2 * latent + latent * (latent - 1) // 2,)

    def __call__(self, params: Float[Array, "..."]) -> Any:
        _check_params(self, params)
        mean, log_diagonal, rest = jnp.split(params, [self.latent, 2 * self.latent])
        below = jnp.tril_indices(self.latent, -1)
        root = jnp.diag(jnp.exp(log_diagonal)).at[below].set(rest)
        with standard_promotion():
            return dist.MultivariateNormal(mean, scale_tril=root)

    def augment(self, model: LatentModel, params: Float[Array, "..."]) -> LatentModel:
        return model


class NormalMixture(AbstractFamily):
    r"""A mixture of diagonal normals.

    $$ q(z) = \sum_k \pi_k \prod_i N(z_i; \mu_{ki}, \sigma_{ki}^2), \qquad
       \lambda_k = (\log \pi_k, \mu_k, \log \sigma_k) $$

    Its weights have gradients through samples too, since one is taken of each component; see
    `pullback.sampling.Reparameterised`. Where all components have the same parameters, they stay
    alike: let an encoder, or a random start, tell them apart.

    Args:
        components: how many, k.
        latent: size d of z. There are `components` rows of $1 + 2 d$ parameters.
    """

    shape: tuple[int, ...] = eqx.field(static=True)

    def __init__(self, components: int, latent: int):
        _positive(components=(components,), latent=(latent,))
        self.shape = (components, 1 + 2 * latent)

    def __call__(self, params: Float[Array, "..."]) -> Any:
        _check_params(self, params)
        mean, log_std = jnp.split(params[:, 1:], 2, axis=-1)
        with standard_promotion():
            return dist.MixtureSameFamily(
                dist.Categorical(logits=params[:, 0]),
                dist.Normal(mean, jnp.exp(log_std)).to_event(1),
            )

    def augment(self, model: LatentModel, params: Float[Array, "..."]) -> LatentModel:
        return model


def _check_params(family: AbstractFamily, params: Array) -> None:
    if params.shape != family.shape:
        raise ValueError(
            f"`params` must have the family's `shape`, {family.shape}, got {params.shape}: does "
            "the encoder end in it?"
        )


def _positive(**sizes: tuple[int, ...]) -> None:
    for name, value in sizes.items():
        if not value or any(size < 1 for size in value):
            raise ValueError(f"`{name}` must be 1 or more, got {value}.")
