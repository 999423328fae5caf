"""What the estimators ask of a distribution."""

from typing import Any, Protocol, TypeVar, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpyro.distributions as dist
from jaxtyping import Array, Float, PRNGKeyArray

from pullback._promotion import standard_promotion

Q = TypeVar("Q")


@runtime_checkable
class Distribution(Protocol):
    """One of `numpyro.distributions`, or anything else with these two methods.

    Gradients flow through its array leaves: a class of one's own is an `eqx.Module`, or is
    registered as a PyTree otherwise.
    """

    def sample(self, key: PRNGKeyArray, sample_shape: tuple[int, ...], /) -> Any: ...

    def log_prob(self, value: Any, /) -> Array: ...


class Replicated(eqx.Module):
    r"""`count` independent draws from one distribution: $q^k(z_{1..k}) = \prod_i q(z_i)$.

    Args:
        base: the distribution of each.
        count: k, their number; samples have it as their first axis.

    Raises:
        ValueError: `count` is below 1.
    """

    base: Any
    count: int = eqx.field(static=True)

    def __check_init__(self):
        if self.count < 1:
            raise ValueError(f"`count` must be 1 or more, got {self.count}.")

    @property
    def has_rsample(self) -> bool:
        """Whether gradients flow through a sample."""
        return is_reparameterised(self.base)

    def sample(self, key: PRNGKeyArray, sample_shape: tuple[int, ...] = ()) -> Any:
        """Draws of shape `[*sample_shape, k, ...]`."""
        return draw(self.base, key, (*sample_shape, self.count))

    def log_prob(self, value: Any) -> Float[Array, ""]:
        """Of one draw of all k, `[k, ...]`."""
        return jnp.sum(jax.vmap(lambda z: log_prob(self.base, z))(value))


def draw(q: Distribution, key: PRNGKeyArray, shape: tuple[int, ...] = ()) -> Any:
    """A sample; gradients flow through it where `is_reparameterised`."""
    with standard_promotion():
        return q.sample(key, shape)


def log_prob(q: Distribution, z: Any) -> Float[Array, ""]:
    """The log-probability of one draw, all its independent parts together."""
    with standard_promotion():
        return jnp.sum(q.log_prob(z))


def hold(q: Q) -> Q:
    """The same PyTree with its floating arrays held: no gradient flows into them.

    Raises:
        ValueError: it is no PyTree, so that its parameters cannot be reached.
    """
    if any(leaf is q for leaf in jax.tree.leaves(q)) and not eqx.is_array_like(q):
        raise ValueError(
            f"`q` must be a PyTree, so that its parameters can be held, and {type(q).__name__} is "
            "none: make it an `eqx.Module`, or register it with JAX."
        )
    arrays, rest = eqx.partition(q, eqx.is_inexact_array)
    return eqx.combine(jax.lax.stop_gradient(arrays), rest)


def is_mixture(q: Any) -> bool:
    """Whether it is a mixture of NumPyro's whose components are of one family."""
    return isinstance(q, dist.MixtureSameFamily)


def is_reparameterised(q: Any) -> bool:
    """Whether gradients flow from a sample to every parameter.

    A distribution that does not say so by `has_rsample` is trusted when its samples are floats.
    """
    if hasattr(q, "has_rsample"):
        return bool(q.has_rsample)
    sample = eqx.filter_eval_shape(draw, q, jr.key(0))
    return all(jnp.issubdtype(leaf.dtype, jnp.inexact) for leaf in jax.tree.leaves(sample))


def require_reparameterised(q: Any, estimator: str) -> None:
    """Refuse a distribution through whose samples no gradient flows."""
    if is_reparameterised(q):
        return
    what = type(q.base if isinstance(q, Replicated) else q).__name__
    if isinstance(q, Replicated) and is_mixture(q.base):
        fits = "draw one sample at a time, or take `ScoreFunction`"
    else:
        fits = "take `ScoreFunction`, `Enumeration`, `GumbelSoftmax` or `Relax`"
    raise ValueError(
        f"`estimator` {estimator} needs samples that gradients flow through, and `q` is a {what}, "
        f"whose samples have none: {fits}."
    )


def independent_parts(q: Any) -> Any:
    """The distribution of each variable, where some of its batch axes were declared as the event's.

    NumPyro lists the support of a variable, and not of `Independent` ones.
    """
    while isinstance(q, dist.Independent):
        q = q.base_dist
    return q
