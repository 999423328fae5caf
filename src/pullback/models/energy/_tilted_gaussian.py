"""An energy of any net, over a Gaussian that keeps its tails."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from pullback._event import require_event
from pullback._location_scale import location_and_scale
from pullback.nn import Constant


class TiltedGaussian(eqx.Module):
    r"""A Gaussian whose density is multiplied by the exponential of a net.

    $$ \log q(x) = g_\theta(x) + \log N\big(x; \mu, \mathrm{diag}(\sigma^2)\big) + \text{const} $$

    Far from the data the net saturates or grows slowly, and the Gaussian makes the density fall. It
    is no parameter: neither a gradient nor a decay of weights moves it.

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
    gaussian: Constant

    def __init__(
        self, net: Callable[[Any], Any], mean: Float[Array, "..."], scale: Float[Array, "..."]
    ):
        if jnp.shape(mean) != jnp.shape(scale):
            raise ValueError(
                "`mean` and `scale` must be of one shape, got "
                f"{jnp.shape(mean)} and {jnp.shape(scale)}."
            )
        self.net, self.gaussian = net, Constant(jnp.stack([mean, scale], axis=-1))

    @property
    def mean(self) -> Float[Array, "..."]:
        """mu."""
        return self.gaussian.values[..., 0]

    @property
    def scale(self) -> Float[Array, "..."]:
        """sigma."""
        return self.gaussian.values[..., 1]

    @classmethod
    def fitted(
        cls, net: Callable[[Any], Any], x: Float[Array | np.ndarray, "n dim"]
    ) -> "TiltedGaussian":
        """Over the Gaussian with the means and deviations of the columns of data.

        A column whose numbers are all the same has the deviation 1.
        """
        found = location_and_scale(jnp.asarray(x))
        return cls(net, found.mean, found.scale)

    def log_density(self, x: Float[Array, "..."]) -> Float[Array, ""]:
        """The log-density of one point `[dim]` up to a constant; the Gaussian is normalised."""
        require_event(x, self.mean.shape[-1:], single=True, name="x")
        base = jnp.sum(((x - self.mean) / self.scale) ** 2) / 2 + jnp.sum(jnp.log(self.scale))
        return self.net(x) - base - len(x) / 2 * np.log(2 * np.pi)

    def score(self, x: Float[Array, " dim"]) -> Float[Array, " dim"]:
        """The gradient of `log_density` at one point."""
        return jax.grad(self.log_density)(x)
