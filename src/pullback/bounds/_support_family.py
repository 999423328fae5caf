"""Families of posteriors with the support of a prior."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from pullback._event import require_event
from pullback._key import checked_key
from pullback.sampling import SupportMap, draw, is_reparameterised, log_prob

from ._families import AbstractFamily
from ._flow_families import AuxiliaryFlow
from ._model import LatentModel


class SupportFamily(AbstractFamily):
    r"""A family on the line, mapped to the support of a prior.

    $$ z = T(y), \quad y \sim q_\lambda, \qquad
       \log q(z) = \log q_\lambda(T^{-1}(z)) + \ln |\det \partial T^{-1} / \partial z| $$

    T is `pullback.sampling.SupportMap`, the same as for the data of a flow: exp, sigmoid and
    stick-breaking for what is positive, in an interval, or on the simplex.

    Args:
        family: of vectors y, such as `DiagonalNormal(d)`. On the simplex of k shares d is k - 1.
        support: that of the prior: the prior itself, a constraint or its name, or a mapping from
            columns to such; as for `SupportMap`.
        size: entries of z, where not those of y.

    Raises:
        ValueError: the support is not known, or of whole numbers, or the family is of vectors of
            another size or of auxiliary variables.

    Example:
        >>> import jax, jax.numpy as jnp, numpyro.distributions as dist
        >>> from pullback.bounds import DiagonalNormal, ELBO
        >>> prior = dist.Exponential(jnp.ones(1)).to_event(1)
        >>> family = SupportFamily(DiagonalNormal(1), prior)
        >>> model = LatentModel(lambda z: dist.Poisson(z[0]).log_prob(3), prior)
        >>> bound = ELBO()(model, family(jnp.array([0.5, -0.5])), num_samples=1000,
        ...                key=jax.random.key(0))
        >>> bool(bound < -4 * jnp.log(2.0))  # the evidence, 2 ** -4
        True

    Source: Kucukelbir et al., Automatic Differentiation Variational Inference, arXiv 1603.00788,
        section 2.3.
    """

    family: AbstractFamily
    map: SupportMap
    shape: tuple[int, ...] = eqx.field(static=True)

    def __init__(self, family: AbstractFamily, support: Any, *, size: int | None = None):
        if isinstance(family, AuxiliaryFlow):
            raise ValueError(
                "`family` must be of z alone, got AuxiliaryFlow, whose draws are pairs: take "
                "`DiagonalNormal`, `FullCovarianceNormal` or `CouplingFlow`."
            )
        line = _line(family)
        self.map = _fitting(line, support, size)
        if self.map.whole:
            raise ValueError(
                "`support` must be of numbers, which gradients flow through, got whole numbers: "
                "take `pullback.sampling.Enumeration` or `ScoreFunction` with a discrete "
                "distribution."
            )
        if self.map.line != line:
            raise ValueError(
                f"`family` must be of vectors of {self.map.line} entries for {self.map.size} with "
                f"this support, got one of {line}."
            )
        self.family, self.shape = family, family.shape

    def __call__(self, params: Float[Array, "..."]) -> "MappedDistribution":
        """The distribution over z."""
        return MappedDistribution(self.family(params), self.map)

    def augment(self, model: LatentModel, params: Float[Array, "..."]) -> LatentModel:
        """The model itself."""
        return model


class MappedDistribution(eqx.Module):
    """A distribution of vectors on the line, mapped to a support."""

    base: Any
    map: SupportMap

    @property
    def has_rsample(self) -> bool:
        """Whether gradients flow through a sample."""
        return is_reparameterised(self.base)

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """One distribution; `jax.vmap` over more."""
        return ()

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Of one sample."""
        return (self.map.size,)

    @property
    def support(self) -> Any:
        """That of the map."""
        return self.map.support

    def sample(
        self, key: PRNGKeyArray, sample_shape: tuple[int, ...] = ()
    ) -> Float[Array, "*sample size"]:
        """Draws of shape `[*sample_shape, size]`."""
        key = checked_key(key)
        y = draw(self.base, key, sample_shape)
        rows = jax.vmap(self.map.from_line)(y.reshape(-1, self.map.line))
        return rows.reshape(*sample_shape, self.map.size)

    def log_prob(self, value: Any) -> Float[Array, "*sample"]:
        """Of any points, `[..., size]`."""
        value = jnp.asarray(value)
        require_event(value, self.event_shape, name="value")

        def one(z: Array) -> Array:
            y, log_det = self.map.to_line(z)
            return log_prob(self.base, y) + log_det

        return jax.vmap(one)(value.reshape(-1, self.map.size)).reshape(value.shape[:-1])


def _line(family: AbstractFamily) -> int:
    """How long the vectors of a family are."""

    def one(family: AbstractFamily) -> Array:
        return draw(family(jnp.zeros(family.shape)), jr.key(0))

    shape = eqx.filter_eval_shape(one, family).shape
    if len(shape) != 1:
        raise ValueError(f"`family` must be of vectors, got one of shape {shape}.")
    return shape[0]


def _fitting(line: int, support: Any, size: int | None) -> SupportMap:
    shape = getattr(support, "event_shape", ()) or getattr(support, "batch_shape", ())
    own = shape[-1] if shape else line
    return SupportMap(own if size is None else size, support)
