"""The convolutional field of the paper's image networks."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray, ScalarLike

from pullback._inputs import positive, time_like
from pullback._key import checked_key
from pullback.nn import convolve_same


class ConvField(eqx.Module):
    """A vector field on images without normalisation, whose gains would be random weights too.

        f = conv([softplus(conv([y, t])), t])

    with 3 x 3 convolutions that keep the image's size and see the time as one more channel.

    Args:
        channels: of the image, which come first.
        dtype: of the weights; JAX's default float if None.
        key: for the weights.

    Raises:
        ValueError: `channels` is below 1, or `y` is not one image.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> field = ConvField(4, key=jax.random.key(0))
        >>> field(0.5, jnp.ones((4, 5, 6))).shape
        (4, 5, 6)

    Source: Xu et al., arXiv 2102.06559, the code's block type 2.
    """

    convs: tuple[eqx.nn.Conv2d, eqx.nn.Conv2d]

    def __init__(self, channels: int, *, dtype: Any = None, key: PRNGKeyArray):
        key = checked_key(key)
        positive(channels=channels)
        first, second = (
            eqx.nn.Conv2d(channels + 1, channels, 3, padding=1, dtype=dtype, key=k)
            for k in jr.split(key)
        )
        self.convs = (first, second)

    def __call__(
        self, t: ScalarLike, y: Float[Array, "channels height width"], args: Any = None
    ) -> Float[Array, "channels height width"]:
        """The velocity of the image `y` at time `t`; `args` is ignored."""
        t = time_like(t, y, (self.convs[0].out_channels, None, None))
        clock = jnp.broadcast_to(t, (1, *y.shape[1:]))
        hidden = jax.nn.softplus(convolve_same(self.convs[0], jnp.concatenate([y, clock])))
        return convolve_same(self.convs[1], jnp.concatenate([hidden, clock]))
