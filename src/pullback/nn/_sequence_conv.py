"""A convolution along a sequence, as one matrix product."""

import math
from typing import Any, Literal

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from pullback._inputs import positive
from pullback._key import checked_key

Padding = Literal["same", "valid"]


class SequenceConv(eqx.Module):
    r"""A convolution along a sequence of rows, the same at every row.

    $$ y_t = b + \sum_{j=0}^{k-1} x_{t+j-o}\, W_j, \qquad o = (k-1)/2 $$

    with rows of zeros beyond the ends, or o = 0 and no row beyond them for `padding="valid"`. The
    weights are drawn for a ReLU: uniform, within $\sqrt{12 / k(n_{in} + n_{out})}$.

    Args:
        in_size: the size of a row that goes in.
        out_size: the size of a row that comes out.
        kernel: k, the rows that are seen at a time.
        padding: "same" keeps the number of rows; "valid" leaves k - 1 fewer.
        use_bias: add b, which is zero to begin with.
        dtype: of the weights; JAX's default float if None.
        key: for the weights.

    Raises:
        ValueError: a size is below 1, `kernel` is even with "same", or `padding` is neither. When
            called, the rows have another size, or are fewer than k with "valid".

    Example:
        >>> import jax, jax.numpy as jnp
        >>> conv = SequenceConv(4, 8, kernel=5, key=jax.random.key(0))
        >>> conv(jnp.ones((36, 4))).shape
        (36, 8)

    Source: He et al., arXiv 1502.01852 (the size of the weights); Glorot and Bengio, AISTATS 2010
        (the mean of both sides).
    """

    weight: Float[Array, "kernel in_size out_size"]
    bias: Float[Array, " out_size"] | None
    padding: Padding = eqx.field(static=True)

    def __init__(
        self,
        in_size: int,
        out_size: int,
        kernel: int,
        *,
        padding: Padding = "same",
        use_bias: bool = True,
        dtype: Any = None,
        key: PRNGKeyArray,
    ):
        key = checked_key(key)
        positive(in_size=in_size, out_size=out_size, kernel=kernel)
        _check_padding(padding, kernel)
        bound = math.sqrt(12 / (kernel * (in_size + out_size)))
        self.weight = jr.uniform(key, (kernel, in_size, out_size), dtype, -bound, bound)
        self.bias = jnp.zeros(out_size, dtype) if use_bias else None
        self.padding = padding

    def __call__(self, x: Float[Array, "time in_size"]) -> Float[Array, "rows out_size"]:
        """The result of every row; `jax.vmap` over sequences."""
        out = convolve_sequence(self.weight, x, self.padding)
        return out if self.bias is None else out + self.bias[None]


def convolve_sequence(
    weight: Float[Array, "kernel in_size out_size"],
    x: Float[Array, "time in_size"],
    padding: Padding = "valid",
) -> Float[Array, "rows out_size"]:
    r"""What each kernel finds at each place of a sequence: a scan with motifs, for example.

    $$ y_{t} = \sum_{j=0}^{k-1} x_{t+j}\, W_j $$

    Inside a loop XLA's convolution is several times slower on a CPU than this matrix product, and
    its second derivatives slower still.

    Args:
        weight: $W_j$, a row of which is for a number of a row of `x`.
        x: one sequence.
        padding: "valid" for the places where the kernel lies within the sequence; "same" for as
            many rows as go in, with zeros beyond the ends.

    Raises:
        ValueError: the shapes do not fit, a size is 0, or `kernel` is even with "same".

    Example:
        >>> import jax.numpy as jnp
        >>> motif = jnp.eye(2)[:, :, None]  # the first letter, then the second
        >>> convolve_sequence(motif, jnp.eye(2)[jnp.asarray([1, 0, 1, 1])])[:, 0].tolist()
        [0.0, 2.0, 1.0]
    """
    if weight.ndim != 3 or 0 in weight.shape:
        raise ValueError(
            "`weight` must be of the shape (kernel, in_size, out_size), each 1 or more; got "
            f"{weight.shape}."
        )
    kernel, in_size, out_size = weight.shape
    _check_padding(padding, kernel)
    if x.ndim != 2 or x.shape[1] != in_size:
        raise ValueError(
            f"`x` must be one sequence of rows of {in_size} numbers; got the shape {x.shape}. For "
            "a batch use `jax.vmap`."
        )
    if padding == "same":
        x = jnp.pad(x, ((kernel // 2, kernel // 2), (0, 0)))
    elif len(x) < kernel:
        raise ValueError(
            f"a sequence of {len(x)} rows is shorter than the kernel, {kernel}: pad it, or take "
            "a smaller `kernel`."
        )
    rows = len(x) - kernel + 1
    seen = jnp.concatenate([x[at : at + rows] for at in range(kernel)], axis=1)
    # Transposed, for then the weights' gradient is the quicker one of two equal products.
    matrix = jnp.moveaxis(weight, 2, 0).reshape(out_size, kernel * in_size)
    return seen @ matrix.T


def _check_padding(padding: str, kernel: int) -> None:
    if padding not in ("same", "valid"):
        raise ValueError(f'`padding` must be "same" or "valid", got {padding!r}.')
    if padding == "same" and kernel % 2 == 0:
        raise ValueError(
            f'`kernel` must be odd for `padding="same"`, which has a middle; got {kernel}.'
        )
