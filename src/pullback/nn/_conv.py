"""A convolutional network that sees the time as one more channel."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray, ScalarLike

from pullback._inputs import positive, time_like
from pullback._key import checked_key

from ._patches import convolve as product
from ._patches import patches_of


class ConcatConvNet(eqx.Module):
    """A vector field on images: two 3x3 convolutions with the time as one more channel of each.

        f = norm(conv([relu(norm(conv([relu(norm(y)), t]))), t]))

    where `norm` is group normalisation. Channels come first, and the size of the image is kept.

    Args:
        channels: Channels of the image.
        groups: Groups of the normalisation; they divide `channels`. None is 32, or as many as
            there are channels if that is fewer.
        zero_last: Start the gain of the last normalisation at zero, so that the flow starts as the
            identity. (A zero convolution before it would have gradients of 1/sqrt(eps).)
        dtype: Of the weights; JAX's default float if None.
        key: Random key for the weights.

    Raises:
        ValueError: If `groups` does not divide `channels`, or `y` is not one image of shape
            `[channels, height, width]`.

    Example:
        >>> import jax.numpy as jnp, jax.random as jr
        >>> field = ConcatConvNet(4, key=jr.key(0))
        >>> bool((field(0.5, jnp.ones((4, 5, 5))) == 0).all())
        True

    Source:
        Chen et al., "Neural Ordinary Differential Equations", arXiv 1806.07366, section 3, and the
        MNIST example of its code.
    """

    norms: tuple[eqx.nn.GroupNorm, ...]
    convs: tuple[eqx.nn.Conv2d, ...]

    def __init__(
        self,
        channels: int,
        *,
        groups: int | None = None,
        zero_last: bool = True,
        dtype: Any = None,
        key: PRNGKeyArray,
    ):
        key = checked_key(key)
        groups = min(32, channels) if groups is None else groups
        positive(channels=channels, groups=groups)
        if channels % groups:
            raise ValueError(
                f"`groups` must divide `channels`; got {groups} groups for {channels} channels."
            )
        first, middle, last = (eqx.nn.GroupNorm(groups, channels, dtype=dtype) for _ in range(3))
        if zero_last:
            last = eqx.tree_at(lambda norm: norm.weight, last, replace_fn=jnp.zeros_like)
        self.norms = (first, middle, last)
        self.convs = tuple(
            eqx.nn.Conv2d(channels + 1, channels, 3, padding=1, dtype=dtype, key=conv_key)
            for conv_key in jr.split(key)
        )

    def __call__(
        self, t: ScalarLike, y: Float[Array, "channels height width"], args: Any = None
    ) -> Float[Array, "channels height width"]:
        """The velocity of the image `y` at time `t`; `args` is ignored."""
        t = time_like(t, y, (self.norms[0].channels, None, None))
        clock = jnp.broadcast_to(t, (1, *y.shape[1:]))
        for norm, conv in zip(self.norms[:-1], self.convs, strict=True):
            y = convolve_same(conv, jnp.concatenate([jax.nn.relu(norm(y)), clock]))
        return self.norms[-1](y)


def convolve_same(
    conv: eqx.nn.Conv2d, image: Float[Array, "channels height width"]
) -> Float[Array, "out height width"]:
    """`conv(image)` for a 3x3 convolution that keeps the image's size, as one matrix product.

    Inside a loop, such as an ODE solve, XLA's convolution is several times slower on a CPU.

    Args:
        conv: of kernels of 3x3, stride 1 and a padding of 1.
        image: one image, channels first.

    Example:
        >>> import jax.numpy as jnp, jax.random as jr
        >>> conv = eqx.nn.Conv2d(1, 4, 3, padding=1, key=jr.key(0))
        >>> image = jr.normal(jr.key(1), (1, 5, 6))
        >>> bool(jnp.allclose(convolve_same(conv, image), conv(image), atol=1e-5))
        True
    """
    out = product(conv.weight, image, ((1, 1), (1, 1)))
    return out if conv.bias is None else out + conv.bias


def convolve(
    conv: eqx.nn.Conv2d, image: Float[Array, "channels height width"]
) -> Float[Array, "out high wide"]:
    """`conv(image)` for a convolution without groups, as one matrix product.

    Inside a loop, such as that of a training, XLA's convolution is several times slower on a CPU.

    Args:
        conv: of any kernel, stride, dilation and padding.
        image: one image, channels first.

    Raises:
        ValueError: the convolution has groups.

    Example:
        >>> import jax.numpy as jnp, jax.random as jr
        >>> conv = eqx.nn.Conv2d(1, 4, 4, stride=2, padding=1, key=jr.key(0))
        >>> image = jr.normal(jr.key(1), (1, 8, 6))
        >>> bool(jnp.allclose(convolve(conv, image), conv(image), atol=1e-5))
        True
    """
    if conv.groups != 1:
        raise ValueError(f"`conv` must have 1 group, got {conv.groups}; call it instead.")
    out, channels, rows, columns = conv.weight.shape
    kernels = conv.weight.reshape(out, channels, rows * columns)
    found = jnp.tensordot(kernels, patches_of(conv, image), axes=[(1, 2), (0, 1)])
    return found if conv.bias is None else found + conv.bias
