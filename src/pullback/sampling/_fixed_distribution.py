"""NumPyro's distributions as parts of a model that is trained."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, PRNGKeyArray

from pullback._key import checked_key
from pullback.nn import Constant

from ._distribution import draw, log_prob_of_parts


class FixedDistribution(eqx.Module):
    """One of NumPyro's distributions, none of whose numbers is trained.

    As a PyTree a NumPyro distribution shows its numbers bare: an optimiser would move a scale
    below zero, and some distributions hold a number twice. So a model keeps the distribution with
    each of its floats as a `pullback.nn.Constant`, and gives it back by `distribution`. What is to
    be trained is written as a module whose arrays may take any value, as
    `pullback.models.vae.MixturePrior` is.

    Args:
        distribution: the one that was given.

    Example:
        >>> import equinox as eqx, jax.numpy as jnp, numpyro.distributions as dist
        >>> fixed = FixedDistribution(dist.Normal(jnp.zeros(2), 1.0))
        >>> print(fixed.distribution.loc, jax.tree.leaves(eqx.filter(fixed, eqx.is_inexact_array)))
        [0. 0.] []
    """

    parts: Any

    def __init__(self, distribution: dist.Distribution):
        self.parts = jax.tree.map(_held, distribution)

    @property
    def distribution(self) -> Any:
        """The distribution."""
        is_held = lambda part: isinstance(part, Constant)
        given = lambda part: part.values if is_held(part) else part
        leaves, structure = jax.tree.flatten(self.parts, is_leaf=is_held)
        return jax.tree.unflatten(structure, [given(leaf) for leaf in leaves])

    @property
    def support(self) -> Any:
        """That of the given one."""
        return self.distribution.support

    @property
    def has_rsample(self) -> bool:
        """Whether gradients flow through a sample."""
        return bool(self.distribution.has_rsample)

    def log_prob(self, value: Any) -> Array:
        """As the given one has it, over its batch shape."""
        return log_prob_of_parts(self.distribution, value)

    def sample(self, key: PRNGKeyArray, sample_shape: tuple[int, ...] = ()) -> Array:
        """Draws with `sample_shape` in front."""
        key = checked_key(key)
        return draw(self.distribution, key, sample_shape)


def fixed(q: Any) -> Any:
    """A distribution of NumPyro as a `FixedDistribution`; anything else as it is."""
    return FixedDistribution(q) if isinstance(q, dist.Distribution) else q


def _held(number: Any) -> Any:
    number = jnp.asarray(number)
    return Constant(number) if jnp.issubdtype(number.dtype, jnp.inexact) else number
