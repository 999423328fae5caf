"""How what was observed scatters about what a model says."""

import math

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


class GaussianLikelihood(eqx.Module):
    r"""Independent Gaussian noise on every observed value.

    $$ \log p(x \mid \mu) = \sum_{m} \log N(x; \mu, s^2) \qquad
       \text{over the entries that were observed} $$

    With a fixed `std` this is a scaled squared error; a learned one is found along with the model.

    Args:
        std: the standard deviation, in the units of the values; where it starts if it is learned.
        variables: how many variables have a standard deviation of their own to learn. None: `std`
            is fixed.

    Raises:
        ValueError: `std` is not positive, or `variables` is below 1.

    Example:
        >>> import jax.numpy as jnp
        >>> noise = GaussianLikelihood(0.5)
        >>> mean, x, mask = jnp.zeros(2), jnp.array([1.0, 1e6]), jnp.array([True, False])
        >>> print(noise.log_prob(mean, x, mask).round(3))
        [-2.226  0.   ]

    Source: Rubanova et al., arXiv 1907.03907, section 3.2.
    """

    fixed: float = eqx.field(static=True)
    log_std: Float[Array, " variables"] | None

    def __init__(self, std: float = 0.1, *, variables: int | None = None):
        if not 0 < std < math.inf:
            raise ValueError(f"`std` must be positive, got {std}.")
        if variables is not None and variables < 1:
            raise ValueError(f"`variables` must be 1 or more, or None, got {variables}.")
        self.fixed = float(std)
        self.log_std = None if variables is None else jnp.full(variables, math.log(std))

    def std(self, mean: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """The standard deviation of each entry of an array shaped like values."""
        if self.log_std is None:
            return jnp.full_like(mean, self.fixed)
        std = jnp.exp(self.log_std).astype(mean.dtype)
        return jnp.broadcast_to(std.reshape((1,) * (mean.ndim - 1) + std.shape), mean.shape)

    def log_prob(
        self,
        mean: Float[Array, "*shape"],
        x: Float[Array, "*shape"],
        mask: Bool[Array, "*shape"],
    ) -> Float[Array, "*shape"]:
        """The log-density of each observed value in nats; 0 where nothing was observed."""
        std = self.std(mean)
        # Both ways round, so that what lies under the mask reaches no gradient.
        error = jnp.where(mask, jnp.where(mask, x, 0.0) - mean, 0.0) / std
        density = -jnp.square(error) / 2 - jnp.log(std) - math.log(2 * math.pi) / 2
        return jnp.where(mask, density, 0.0)
