"""A convolution whose operator norm is bounded."""

from typing import Any, Literal, get_args

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from pullback._inputs import positive
from pullback._key import checked_key
from pullback._power_method import singular_vector

from ._lipschitz import AbstractSpectralLayer, checked_bound
from ._patches import convolve
from ._warm import stamp_of

Border = Literal["SAME", "VALID"]


class LipschitzConv2d(AbstractSpectralLayer):
    r"""A convolution of images of one size, of Euclidean operator norm at most c.

    $$ y = \bar W * x + b, \qquad \bar W = W / \max(1, |W * v| / c) $$

    The norm is that of the map from image to image, at the size, the padding and the stride that
    are used. The norm of the kernel laid out as a matrix is another number: for a 3x3 kernel the
    map can stretch three times as much.

    The bound holds for the weights as they are; see `AbstractLipschitzLayer`.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel_size: rows, and columns, of the kernel.
        size: height and width of the input.
        stride: 1 or more.
        padding: "SAME" or "VALID".
        bound: c, above 0; infinity leaves the kernel alone.
        through_norm: let the gradient go through the norm.
        dtype: of the weights; JAX's default float if None.
        key: for the weights.

    Raises:
        ValueError: a size is below 1, the kernel does not fit the image, `bound` is not above 0,
            there is no such `padding`, or `x` does not fit.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> layer = LipschitzConv2d(1, 2, 3, size=(4, 4), bound=0.5, key=jax.random.key(0))
        >>> layer(jnp.ones((1, 4, 4))).shape
        (2, 4, 4)
        >>> bool(layer.certified() < 0.5001)
        True

    Source: Gouk et al., arXiv 1804.04368, section 3.2; Behrmann et al., Invertible Residual
        Networks, arXiv 1811.00995, section 2.1.
    """

    weight: Float[Array, "*stack out channels rows columns"]
    bias: Float[Array, "*stack out"]
    vector: Float[Array, "*stack channels height width"]
    stamp: Float[Array, "*stack 4"]
    bound: float = eqx.field(static=True)
    through_norm: bool = eqx.field(static=True)
    size: tuple[int, int] = eqx.field(static=True)
    stride: int = eqx.field(static=True)
    padding: Border = eqx.field(static=True)

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        size: tuple[int, int],
        stride: int = 1,
        padding: Border = "SAME",
        bound: float = 0.97,
        through_norm: bool = True,
        dtype: Any = None,
        key: PRNGKeyArray,
    ):
        key = checked_key(key)
        positive(in_channels=in_channels, out_channels=out_channels, kernel_size=kernel_size)
        positive(height=size[0], width=size[1], stride=stride)
        if padding not in get_args(Border):
            raise ValueError(f"`padding` must be one of {get_args(Border)}, got {padding!r}.")
        if padding == "VALID" and kernel_size > min(size):
            raise ValueError(
                f"`kernel_size` must fit the image without padding: {kernel_size} for {size}."
            )
        self.size, self.stride, self.padding = (size[0], size[1]), stride, padding
        self.bound, self.through_norm = checked_bound(bound), through_norm
        limit = (in_channels * kernel_size**2) ** -0.5
        dtype = jnp.zeros(()).dtype if dtype is None else dtype
        weight_key, bias_key, vector_key = jr.split(key, 3)
        shape = (out_channels, in_channels, kernel_size, kernel_size)
        self.weight = jr.uniform(weight_key, shape, dtype, -limit, limit)
        self.bias = jr.uniform(bias_key, (out_channels,), dtype, -limit, limit)
        # A kernel of one pixel stretches every pixel alike.
        seen = (1, 1) if kernel_size == 1 else self.size
        vector = jr.normal(vector_key, (in_channels, *seen), dtype)
        self.vector = _first_vector(self.weight, vector, stride, padding)
        self.stamp = stamp_of(self.weight)

    def _convolve(self, weight: Array, image: Array) -> Array:
        return _convolve(weight, image, self.stride, self.padding)

    def stacked(self) -> int:
        """Axes of the kernel beyond four."""
        return self.weight.ndim - 4

    def apply_weight(
        self, v: Float[Array, "channels height width"]
    ) -> Float[Array, "out high wide"]:
        """`W * v`."""
        return self._convolve(self.weight, v)

    def certified(self) -> Float[Array, ""]:
        """The largest singular value of the map, as a dense matrix: for small images."""
        kernel = self.effective_weight()
        eye = jnp.eye(self.vector.size, dtype=kernel.dtype).reshape(-1, *self.vector.shape)
        rows = jax.vmap(lambda v: self._convolve(kernel, v).reshape(-1))(eye)
        return jnp.linalg.norm(rows, 2)

    def __call__(self, x: Float[Array, "channels height width"]) -> Float[Array, "out high wide"]:
        """Apply the layer to one image."""
        want = (self.weight.shape[1], *self.size)
        if x.shape != want:
            raise ValueError(
                f"`x` must be one image of shape {want}, got {x.shape}: the norm is that at one "
                "size. For a batch, use `jax.vmap(layer)`."
            )
        return self._convolve(self.effective_weight(), x) + self.bias[:, None, None]


def _convolve(weight: Array, image: Array, stride: int, padding: Border) -> Array:
    pads = jax.lax.padtype_to_pads(image.shape[1:], weight.shape[2:], (stride, stride), padding)
    return convolve(weight, image, pads, stride)


@eqx.filter_jit
def _first_vector(weight: Array, start: Array, stride: int, padding: Border) -> Array:
    push = lambda v: _convolve(weight, v, stride, padding)
    return singular_vector(push, start, rtol=5e-4, max_steps=5000, least=2)
