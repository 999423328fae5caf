"""A vector field that does not see the time."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray, ScalarLike

from pullback._inputs import positive
from pullback._key import checked_key


class TanhField(eqx.Module):
    r"""An autonomous vector field: a fully connected net of the state alone, smooth throughout.

    $$ f(h) = W_L \tanh(W_{L-1} \tanh(\cdots) + b_{L-1}) + b_L, \qquad
       W \sim N(0, 0.1^2), \quad b = 0 $$

    The small weights let the state nearly stand still at first. A net with kinks, as of ReLU, would
    force short steps.

    Args:
        dim: size of the state.
        width: size of a hidden layer.
        depth: number of hidden layers.
        dtype: of the weights; JAX's default float if None.
        key: for the weights.

    Raises:
        ValueError: a size is below 1.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> field = TanhField(3, width=8, key=jax.random.key(0))
        >>> field(0.0, jnp.zeros(3)).tolist()
        [0.0, 0.0, 0.0]

    Source: Rubanova et al., arXiv 1907.03907, section 5, and its code's initialisation.
    """

    net: eqx.nn.MLP

    def __init__(
        self,
        dim: int,
        *,
        width: int = 50,
        depth: int = 1,
        dtype: Any = None,
        key: PRNGKeyArray,
    ):
        key = checked_key(key)
        positive(dim=dim, width=width, depth=depth)
        net = eqx.nn.MLP(dim, dim, width, depth, jnp.tanh, dtype=dtype, key=key)
        weights, rest = eqx.partition(net, eqx.is_inexact_array)
        leaves, structure = jax.tree.flatten(weights)
        drawn = [
            0.1 * jr.normal(k, w.shape, w.dtype) if w.ndim == 2 else jnp.zeros_like(w)
            for k, w in zip(jr.split(key, len(leaves)), leaves, strict=True)
        ]
        self.net = eqx.combine(jax.tree.unflatten(structure, drawn), rest)

    def __call__(
        self, t: ScalarLike, y: Float[Array, " dim"], args: Any = None
    ) -> Float[Array, " dim"]:
        """The velocity at the state `y`; `t` and `args` are ignored."""
        return self.net(y)
