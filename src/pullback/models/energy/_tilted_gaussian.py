"""An energy of any net, over a Gaussian that keeps its tails."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from pullback._location_scale import location_and_scale


class TiltedGaussian(eqx.Module):
    r"""A Gaussian whose density is multiplied by the exponential of a net.

    $$ \log q(x) = g_\theta(x) + \log N\big(x; \mu, \mathrm{diag}(\sigma^2)\big) + \text{const} $$

    Far from the data the net saturates or grows slowly, and the Gaussian makes the density fall. No
    gradient flows into it.

    Args:
        net: from `[dim]` to a scalar; twice differentiable, for its score is trained.
        mean: mu, `[dim]`.
        scale: sigma, `[dim]`, above 0.

    Raises:
        ValueError: mean and scale differ in shape.

    Example:
        >>> import jax.numpy as jnp
        >>> model = TiltedGaussian(lambda x: x[0], jnp.zeros(2), jnp.ones(2))
        >>> model.score(jnp.array([1.0, 1.0]))
        Array([ 0., -1.], ...)

    Source: Grathwohl et al., arXiv 2002.05616, section 5.3.
    """

    net: Callable[[Any], Any]
    mean: Float[Array, "..."]
    scale: Float[Array, "..."]

    def __check_init__(self):
        if jnp.shape(self.mean) != jnp.shape(self.scale):
            raise ValueError(
                "`mean` and `scale` must be of one shape, got "
                f"{jnp.shape(self.mean)} and {jnp.shape(self.scale)}."
            )

    @classmethod
    def fitted(
        cls, net: Callable[[Any], Any], x: Float[Array | np.ndarray, "n dim"]
    ) -> "TiltedGaussian":
        """Over the Gaussian with the means and deviations of the columns of data.

        A column whose numbers are all the same has the deviation 1.
        """
        found = location_and_scale(jnp.asarray(x))
        return cls(net, found.mean, found.scale)

    def log_density(self, x: Float[Array, " dim"]) -> Float[Array, ""]:
        """The log-density of one point up to a constant; the Gaussian is normalised."""
        mean, scale = jax.lax.stop_gradient((self.mean, self.scale))
        base = jnp.sum(((x - mean) / scale) ** 2) / 2 + jnp.sum(jnp.log(scale))
        return self.net(x) - base - len(x) / 2 * np.log(2 * np.pi)

    def score(self, x: Float[Array, " dim"]) -> Float[Array, " dim"]:
        """The gradient of `log_density` at one point."""
        return jax.grad(self.log_density)(x)
