"""Vector fields whose weights are themselves functions of the time."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray, ScalarLike

from pullback._inputs import positive, time_like
from pullback._key import checked_key


class HyperPlanarField(eqx.Module):
    """A planar field whose weights come from a network of the time; its divergence is cheap.

        f = (1/n) sum_i u_i(t) * sigmoid(g_i(t)) tanh(w_i(t) . y + b_i(t))

    A tanh network with two hidden layers maps `t` to all `w_i`, `u_i`, `g_i` (each of size `dim`)
    and `b_i`. The divergence is the sum of those of the `n` units, and costs as little as the
    field.

    Args:
        dim: Size of the state.
        units: Number `n` of units.
        width: Size of the hidden layers of the network of the time.
        dtype: Of the weights; JAX's default float if None.
        key: Random key for the weights.

    Raises:
        ValueError: If a size is below 1, or `y` is not one example of shape `[dim]`.

    Example:
        >>> import jax.numpy as jnp, jax.random as jr
        >>> field = HyperPlanarField(2, units=4, width=8, key=jr.key(0))
        >>> velocity, divergence = field.with_divergence(0.5, jnp.ones(2))
        >>> bool((velocity == field(0.5, jnp.ones(2))).all())
        True

    Source:
        Chen et al., "Neural Ordinary Differential Equations", arXiv 1806.07366, section 4.1, and
        the density example of the torchdiffeq code, which adds the gate.
    """

    hyper: tuple[eqx.nn.Linear, ...]
    dim: int = eqx.field(static=True)
    units: int = eqx.field(static=True)

    def __init__(
        self,
        dim: int,
        units: int = 64,
        width: int = 32,
        *,
        dtype: Any = None,
        key: PRNGKeyArray,
    ):
        key = checked_key(key)
        positive(dim=dim, units=units, width=width)
        keys = jr.split(key, 3)
        self.hyper = (
            eqx.nn.Linear("scalar", width, dtype=dtype, key=keys[0]),
            eqx.nn.Linear(width, width, dtype=dtype, key=keys[1]),
            eqx.nn.Linear(width, units * (3 * dim + 1), dtype=dtype, key=keys[2]),
        )
        self.dim = dim
        self.units = units

    def __call__(
        self, t: ScalarLike, y: Float[Array, " dim"], args: Any = None
    ) -> Float[Array, " dim"]:
        """The velocity of the state `y` at time `t`; `args` is ignored."""
        return self.with_divergence(t, y)[0]

    def with_divergence(
        self, t: ScalarLike, y: Float[Array, " dim"]
    ) -> tuple[Float[Array, " dim"], Float[Array, ""]]:
        """The velocity at time `t` and its exact divergence, in closed form."""
        t = time_like(t, y, (self.dim,))
        first, second, last = self.hyper
        weights = last(jnp.tanh(second(jnp.tanh(first(t)))))
        rows, b = jnp.split(weights, [3 * self.units * self.dim])
        w, u, gate = rows.reshape(3, self.units, self.dim)
        u = u * jax.nn.sigmoid(gate)
        h = jnp.tanh(w @ y + b)
        slope = (1 - h) * (1 + h) * jnp.sum(w * u, axis=1)
        return h @ u / self.units, jnp.mean(slope)
