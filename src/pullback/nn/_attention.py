"""A conditioner that attends to all dimensions but its own."""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray, ScalarLike

from pullback._inputs import positive, time_like
from pullback._key import checked_key

from ._concat import ConcatLinear
from ._conditioner import AbstractConditioner


class AttentionConditioner(AbstractConditioner):
    """One layer of attention in which dimension `i` looks at all dimensions but itself.

        h_i = W [sum_{j != i} a_ij v_j, e_i, t],   a_ij = softmax_{j != i}(q_i . k_j / sqrt(width))

    Keys `k_j` and values `v_j` come from `y_j`, the place `e_j` and the time; the query `q_i` comes
    from the place and the time alone, since a query that saw `y_i` would let it into `h_i`. Each
    dimension may also look at an empty token, which is all that there is when `dim` is 1.

    One layer only: after a second, the row of another dimension brings `y_i` back. The cost grows
    with the square of `dim`, the number of weights with `dim` times `width`.

    Args:
        dim: Size of the state.
        features: Size of a row.
        width: Size of the places, and of all keys, queries and values of one head.
        heads: Number of heads.
        dtype: Of the weights; JAX's default float if None.
        key: Random key for the weights.

    Raises:
        ValueError: If a size is below 1, or `y` is not one example of shape `[dim]`.

    Example:
        >>> import jax.numpy as jnp, jax.random as jr
        >>> conditioner = AttentionConditioner(3, features=4, width=8, key=jr.key(0))
        >>> conditioner(0.5, jnp.ones(3)).shape
        (3, 4)

    Source:
        Chen and Duvenaud, "Neural Networks with Cheap Differential Operators", arXiv 1912.03579,
        section 2.1, with attention for masked layers.
    """

    places: Float[Array, "dim width"]
    empty_key: Float[Array, "1 heads*width"]
    empty_value: Float[Array, "1 heads*width"]
    token: ConcatLinear
    to_query: ConcatLinear
    to_key: ConcatLinear
    to_value: ConcatLinear
    out: ConcatLinear
    dim: int = eqx.field(static=True)
    size: int = eqx.field(static=True)
    heads: int = eqx.field(static=True)

    def __init__(
        self,
        dim: int,
        features: int,
        width: int,
        heads: int = 1,
        *,
        dtype: Any = None,
        key: PRNGKeyArray,
    ):
        key = checked_key(key)
        positive(dim=dim, features=features, width=width, heads=heads)
        all_heads = heads * width
        sizes = (
            (1 + width, width),
            (width, all_heads),
            (width, all_heads),
            (width, all_heads),
            (all_heads + width, features),
        )
        keys = jr.split(key, len(sizes) + 3)
        self.token, self.to_query, self.to_key, self.to_value, self.out = (
            ConcatLinear(*shape, zero=False, dtype=dtype, key=layer_key)
            for shape, layer_key in zip(sizes, keys[3:], strict=True)
        )
        self.places = jr.normal(keys[0], (dim, width), dtype)
        self.empty_key = jr.normal(keys[1], (1, all_heads), dtype)
        self.empty_value = jr.normal(keys[2], (1, all_heads), dtype)
        self.dim = dim
        self.size = features
        self.heads = heads

    def __call__(self, t: ScalarLike, y: Float[Array, " dim"]) -> Float[Array, "dim size"]:
        """The rows at the state `y` and time `t`."""
        t = time_like(t, y, (self.dim,))

        def each(layer: ConcatLinear, rows: Array) -> Array:
            return jax.vmap(layer, in_axes=(None, 0))(t, rows)

        def by_head(rows: Array) -> Array:
            return rows.reshape(len(rows), self.heads, -1)

        tokens = jnp.tanh(each(self.token, jnp.concatenate([y[:, None], self.places], axis=1)))
        queries = by_head(each(self.to_query, self.places))
        keys = by_head(jnp.concatenate([each(self.to_key, tokens), self.empty_key]))
        values = by_head(jnp.concatenate([each(self.to_value, tokens), self.empty_value]))
        scores = jnp.einsum("ihw,jhw->hij", queries, keys) / math.sqrt(queries.shape[-1])
        others = ~jnp.eye(self.dim, self.dim + 1, dtype=bool)
        weights = jax.nn.softmax(jnp.where(others[None], scores, -jnp.inf), axis=-1)
        seen = jnp.einsum("hij,jhw->ihw", weights, values).reshape(self.dim, -1)
        return each(self.out, jnp.concatenate([seen, self.places], axis=1))
