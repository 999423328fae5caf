"""The distribution that latent variables and flows start from."""

import math
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpyro.distributions as dist
from jaxtyping import Array, Float, PRNGKeyArray

from pullback._event import require_event
from pullback._key import checked_key
from pullback._promotion import standard_promotion

from ._distribution import independent_parts


class StandardNormal(eqx.Module):
    r"""The Gaussian of mean zero and unit covariance.

    $$ \log p(x) = -\tfrac12 \|x\|^2 - \tfrac{d}{2} \log 2\pi $$

    Unlike one of NumPyro's it has no arrays, so that as a part of a model it is not trained.

    Args:
        shape: of a draw; a number d is the shape `[d]`.
        dtype: of the samples; JAX's default float if None.

    Raises:
        ValueError: an entry of `shape` is below 1.

    Example:
        >>> import jax.numpy as jnp
        >>> round(float(StandardNormal(2).log_prob(jnp.zeros(2))), 4)
        -1.8379
    """

    shape: tuple[int, ...] = eqx.field(static=True)
    dtype: Any = eqx.field(static=True)

    def __init__(self, shape: int | tuple[int, ...], dtype: Any = None):
        shape = (shape,) if isinstance(shape, int) else tuple(shape)
        if any(size < 1 for size in shape):
            raise ValueError(f"`shape` must be of sizes of 1 or more, got {shape}.")
        self.shape = shape
        self.dtype = dtype

    def log_prob(self, x: Float[Array, "*batch_and_shape"]) -> Float[Array, "*batch"]:
        """The log-density of `[*batch, *shape]`, in nats."""
        require_event(x, self.shape)
        axes = tuple(range(-len(self.shape), 0))
        entries = math.prod(self.shape)
        return -jnp.sum(jnp.square(x), axis=axes) / 2 - entries / 2 * math.log(2 * math.pi)

    def sample(self, key: PRNGKeyArray, shape: tuple[int, ...] = ()) -> Float[Array, "*all"]:
        """Draws of shape `[*shape, *self.shape]`."""
        key = checked_key(key)
        return jr.normal(key, (*shape, *self.shape), self.dtype)

    def kl_from(self, q: Any) -> Float[Array, ""]:
        r"""$\mathrm{KL}(q \| N(0, I))$ of one q, all its entries together.

        Args:
            q: NumPyro's `Normal`, independent entries, or `MultivariateNormal`.

        Raises:
            ValueError: q is neither, and there is no closed form.
        """
        parts: Any = independent_parts(q)
        if isinstance(parts, dist.ExpandedDistribution) and isinstance(
            independent_parts(parts.base_dist), dist.Normal
        ):
            each = normal_kl(independent_parts(parts.base_dist))
            return jnp.sum(jnp.broadcast_to(each, parts.batch_shape + parts.event_shape))
        if isinstance(parts, dist.Normal):
            return jnp.sum(normal_kl(parts))
        if isinstance(parts, dist.MultivariateNormal):
            root: Any = parts.scale_tril
            log_det = jnp.sum(jnp.log(jnp.diagonal(root)))
            square = jnp.sum(jnp.square(root)) + jnp.sum(jnp.square(parts.loc))
            return (square - len(parts.loc)) / 2 - log_det
        raise ValueError(
            f"there is no closed form for KL({type(parts).__name__} || StandardNormal): take "
            '`kl="sampled"`.'
        )


def normal_kl(q: Any) -> Float[Array, "..."]:
    r"""$\mathrm{KL}(q_i \| N(0, 1))$ of each entry of NumPyro's `Normal`."""
    with standard_promotion():
        return (jnp.square(q.scale) + jnp.square(q.loc) - 1) / 2 - jnp.log(q.scale)
