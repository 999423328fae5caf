"""A transformer along a sequence that attends to the past only."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from pullback._inputs import positive
from pullback._key import checked_key

from ._causal import AbstractSequenceNet


class CausalAttentionNet(AbstractSequenceNet):
    r"""A transformer whose rows attend to the rows up to their own.

    $$ h \leftarrow h + \mathrm{Attention}_{\le t}(\mathrm{norm}(h)), \qquad
       h \leftarrow h + \mathrm{MLP}(\mathrm{norm}(h)) $$

    The place of a row is told by sines and cosines, so that any length will do. The cost grows with
    the square of the length.

    Args:
        in_size: the size of a row that goes in.
        out_size: the size of a row that comes out.
        width: the size of a row between; a multiple of `heads`, and even.
        depth: blocks.
        heads: of the attention.
        dtype: of the weights; JAX's default float if None.
        key: for the weights.

    Raises:
        ValueError: a size is below 1, or `heads` or 2 does not divide `width`.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> net = CausalAttentionNet(3, 2, width=8, depth=2, heads=2, key=jax.random.key(0))
        >>> net(jnp.ones((5, 3))).shape
        (5, 2)

    Source: Vaswani et al., Attention Is All You Need, arXiv 1706.03762; the norms come first, as in
    Radford et al., Language Models are Unsupervised Multitask Learners.
    """

    first: eqx.nn.Linear
    blocks: "_Block"  # Stacked along a leading axis: one compiled body for any depth.
    norm: eqx.nn.LayerNorm
    last: eqx.nn.Linear
    in_size: int = eqx.field(static=True)
    out_size: int = eqx.field(static=True)

    def __init__(
        self,
        in_size: int,
        out_size: int,
        width: int,
        depth: int,
        *,
        heads: int = 1,
        dtype: Any = None,
        key: PRNGKeyArray,
    ):
        key = checked_key(key)
        positive(in_size=in_size, out_size=out_size, width=width, depth=depth, heads=heads)
        if width % heads or width % 2:
            raise ValueError(
                f"`width` must be even and a multiple of `heads`, got {width} for {heads} heads."
            )
        first, last, blocks = jr.split(key, 3)
        self.first = eqx.nn.Linear(in_size, width, dtype=dtype, key=first)
        self.last = eqx.nn.Linear(width, out_size, dtype=dtype, key=last)
        self.norm = eqx.nn.LayerNorm(width, dtype=dtype)
        make = lambda key: _Block(width, heads, dtype=dtype, key=key)
        self.blocks = eqx.filter_vmap(make)(jr.split(blocks, depth))
        self.in_size, self.out_size = in_size, out_size

    def __call__(self, x: Float[Array, "time in_size"]) -> Float[Array, "time out_size"]:
        """The result of every row."""
        h = jax.vmap(self.first)(x)
        h = h + jnp.asarray(_places(*h.shape), h.dtype)
        arrays, rest = eqx.partition(self.blocks, eqx.is_array)
        body = lambda h, arrays: (eqx.combine(arrays, rest)(h), None)
        h, _ = jax.lax.scan(body, h, arrays)
        return jax.vmap(lambda row: self.last(self.norm(row)))(h)


class _Block(eqx.Module):
    norms: tuple[eqx.nn.LayerNorm, eqx.nn.LayerNorm]
    attention: eqx.nn.MultiheadAttention
    mlp: eqx.nn.MLP

    def __init__(self, width: int, heads: int, *, dtype: Any, key: PRNGKeyArray):
        attention, mlp = jr.split(key)
        self.norms = (eqx.nn.LayerNorm(width, dtype=dtype), eqx.nn.LayerNorm(width, dtype=dtype))
        self.attention = eqx.nn.MultiheadAttention(heads, width, dtype=dtype, key=attention)
        self.mlp = eqx.nn.MLP(width, width, 4 * width, 1, jax.nn.gelu, dtype=dtype, key=mlp)

    def __call__(self, h: Float[Array, "time width"]) -> Float[Array, "time width"]:
        before, between = self.norms
        rows = jax.vmap(before)(h)
        past = jnp.tri(len(h), dtype=bool)
        h = h + self.attention(rows, rows, rows, past)
        return h + jax.vmap(lambda row: self.mlp(between(row)))(h)


def _places(length: int, width: int) -> np.ndarray:
    rates = 10_000.0 ** (-np.arange(0, width, 2) / width)
    angles = np.outer(np.arange(length), rates)
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1)
