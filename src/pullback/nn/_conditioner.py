"""What every conditioner of a hollow net is, and the check that it is hollow."""

import abc
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, ScalarLike


class AbstractConditioner(eqx.Module):
    """A map from the state to one row for each dimension, which does not see that dimension.

        h_i = c_i(t, y_1, ..., y_{i-1}, y_{i+1}, ..., y_dim),   dh_i/dy_i = 0

    Attributes:
        dim: Size of the state.
        size: Size of a row `h_i`.
    """

    dim: eqx.AbstractVar[int]
    size: eqx.AbstractVar[int]

    @abc.abstractmethod
    def __call__(self, t: ScalarLike, y: Float[Array, " dim"]) -> Float[Array, "dim size"]:
        """The rows at the state `y` and time `t`."""


def check_hollow(
    conditioner: Callable[[Any, Any], Any],
    t: ScalarLike,
    y: Float[Array, " dim"],
    *,
    atol: float = 0.0,
) -> None:
    """Raise unless row `i` of a conditioner has no derivative by entry `i` of the state.

    Two layers of attention or of a convolution without its centre leak, as does a norm over the
    dimensions or a skip connection: row `i` sees `y_i` by way of another row. A hollow net that is
    built on such a conditioner has a wrong divergence, and nothing else tells.

    Use random weights and a random `y`: weights that start at zero hide a leak.

    Args:
        conditioner: A map `c(t, y)` to `[dim, size]`, such as `TwoSidedConditioner`.
        t: Time.
        y: Where the derivatives are taken.
        atol: The largest derivative that is let pass.

    Raises:
        ValueError: If a row depends on its own entry; the message says which and how much. Also if
            the conditioner does not return one row for each entry of `y`.

    Example:
        >>> import jax.numpy as jnp, jax.random as jr, pullback as pb
        >>> conditioner = pb.nn.TwoSidedConditioner(3, features=4, width=8, key=jr.key(0))
        >>> check_hollow(conditioner, 0.5, jnp.array([0.3, -1.0, 2.0]))
        >>> check_hollow(lambda t, y: jnp.outer(y, y), 0.5, jnp.array([0.3, -1.0, 2.0]))
        Traceback (most recent call last):
        ValueError: `conditioner` is not hollow: the derivative of row 2 by entry 2 of `y` is 4...

    Source:
        Chen and Duvenaud, "Neural Networks with Cheap Differential Operators", arXiv 1912.03579,
        section 2.
    """
    jacobian = jax.jit(jax.jacfwd(lambda y: conditioner(t, y)))(y)
    if jacobian.ndim != 3 or jacobian.shape[0] != y.size:
        raise ValueError(
            f"`conditioner` must return one row for each of the {y.size} entries of `y`; got the "
            f"shape {jacobian.shape[:-1]}."
        )
    own = jnp.max(jnp.abs(jnp.diagonal(jacobian, axis1=0, axis2=2)), axis=0)
    # A derivative that is not a number is no proof.
    if not bool(jnp.all(own <= atol)):
        row = int(jnp.argmax(own))
        raise ValueError(
            f"`conditioner` is not hollow: the derivative of row {row} by entry {row} of `y` is "
            f"{float(own[row]):.3g}, and the most that `atol` allows is {atol:.3g}."
        )
