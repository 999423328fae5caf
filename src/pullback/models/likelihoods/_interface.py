"""The contract of a likelihood."""

import abc
from typing import Any, Literal

import equinox as eqx
from jaxtyping import Array, Float, PRNGKeyArray

Kind = Literal["real", "whole", "classes"]


class AbstractLikelihood(eqx.Module):
    r"""The distribution of data given an array of parameters, which a decoder emits.

    $$ \log p(x \mid \mathrm{params}) = \sum_i \log p(x_i \mid \mathrm{params}_i) $$

    All entries of the data are independent given the parameters. One likelihood serves a `VAE`,
    which sums over the entries, and the models of series, which leave out those that were not
    observed (`masked_log_prob`). Floating arrays in it, such as a deviation for each variable, are
    trained with the model that holds it.

    To write one, give `kind`, `support` and four methods. All is plain JAX, of arrays of any shape:
    no loop over entries, no `vmap`. Parameters are any real numbers, so a rate or a deviation is
    emitted as its logarithm, and zeros are always good ones. What else models ask for follows from
    these: the check that refuses data outside of the support by their row, the sum over what was
    observed, the bands of a prediction.

    Attributes:
        kind: what x is: "real" numbers; "whole" numbers, whose bands end on whole numbers;
            "classes" by number, of which the order means nothing and `mean` has probabilities. A
            class attribute, `kind: ClassVar[Kind] = "real"`.

    Example:
        Waiting times, of which the decoder emits the logarithm of the rate:

        >>> from typing import ClassVar
        >>> import jax, jax.numpy as jnp
        >>> from numpyro.distributions import constraints
        >>> from pullback.models.likelihoods import AbstractLikelihood, Kind, within_support
        >>> class Exponential(AbstractLikelihood):
        ...     kind: ClassVar[Kind] = "real"
        ...     @property
        ...     def support(self):
        ...         return constraints.positive
        ...     def params_shape(self, shape):
        ...         return shape
        ...     def log_prob(self, params, x):
        ...         return within_support(self.support, x, params - jnp.exp(params) * x)
        ...     def mean(self, params):
        ...         return jnp.exp(-params)
        ...     def sample(self, params, *, key):
        ...         return jax.random.exponential(key, params.shape) * jnp.exp(-params)
        >>> Exponential().log_prob(jnp.zeros(3), jnp.array([0.5, 2.0, -1.0])).tolist()
        [-0.5, -2.0, -inf]
        >>> from pullback.models.timeseries import latent_ode
        >>> model = latent_ode(3, likelihood=Exponential(), key=jax.random.key(0))
    """

    kind: eqx.AbstractClassVar[Kind]

    @property
    @abc.abstractmethod
    def support(self) -> Any:
        """What an entry of the data may be: a constraint of `numpyro.distributions.constraints`.

        Data on the host are compared with it before they are scored, and its `feasible_like` is put
        where nothing was observed.
        """

    @abc.abstractmethod
    def params_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of the parameters of data of `shape`: `shape` itself, with or without axes behind.

        Args:
            shape: of one example; of the variables at one time.
        """

    @abc.abstractmethod
    def log_prob(self, params: Float[Array, "..."], x: Array) -> Float[Array, "..."]:
        r"""$\log p(x_i)$ of each entry in nats, normalised, and with a finite slope by `params`.

        Args:
            params: of the shape `params_shape(x.shape)`.
            x: data of any shape; whole numbers may be floating or integers.

        Returns:
            An array shaped like `x`: minus infinity where an entry is outside of the support
            (`within_support`), because in a compiled program nothing else says so.
        """

    @abc.abstractmethod
    def mean(self, params: Float[Array, "..."]) -> Float[Array, "..."]:
        """The mean of each entry, shaped like x; of classes their probabilities, `[..., K]`."""

    @abc.abstractmethod
    def sample(self, params: Float[Array, "..."], *, key: PRNGKeyArray) -> Array:
        """A draw of x, of each entry.

        Args:
            params: of the shape `params_shape(shape)`.
            key: a typed PRNG key.

        Returns:
            An array of `shape`.
        """
