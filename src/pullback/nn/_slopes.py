"""Activations of bounded slope."""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ._lipschitz import AbstractLipschitz


class LipSwish(AbstractLipschitz):
    r"""Swish with a learned sharpness, of slope at most 1.

    $$ \phi(x) = \frac{x}{1.1} \, \sigma\big(\mathrm{softplus}(b)\, x\big) $$

    The slope of $x \sigma(cx)$ is at most 1.0998 for every c. Its second derivative does not vanish
    where its slope is near 1, as that of ELU or ReLU does: the gradient of a log-determinant needs
    both.

    Args:
        sharpness: the first b.
        dtype: of b; JAX's default float if None.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> slopes = jax.vmap(jax.grad(LipSwish()))(jnp.linspace(-10, 10, 1001))
        >>> bool(slopes.max() < 1)
        True

    Source: Chen et al., Residual Flows for Invertible Generative Modeling, arXiv 1906.02735,
        section 3.3.
    """

    sharpness: Float[Array, "*stack"]

    def __init__(self, sharpness: float = 0.5, *, dtype: Any = None):
        self.sharpness = jnp.asarray(sharpness, jnp.zeros(()).dtype if dtype is None else dtype)

    def lipschitz(self) -> float:
        """1."""
        return 1.0

    def certified(self) -> Float[Array, ""]:
        """1."""
        return jnp.ones((), self.sharpness.dtype)

    def __call__(self, x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """Apply it to every entry."""
        return x * jax.nn.sigmoid(jax.nn.softplus(self.sharpness) * x) / 1.1


class MaxMin(AbstractLipschitz):
    r"""Sort the channels two by two: a map that keeps every norm and every gradient's length.

    $$ (x_1, x_2) \mapsto (\max(x_1, x_2), \min(x_1, x_2)) $$

    Raises:
        ValueError: the first axis has an odd number of entries.

    Example:
        >>> import jax.numpy as jnp
        >>> MaxMin()(jnp.array([1.0, 2.0, 4.0, 3.0])).tolist()
        [2.0, 1.0, 4.0, 3.0]

    Source: Anil, Lucas and Grosse, Sorting out Lipschitz function approximation, arXiv 1811.05381.
    """

    def lipschitz(self) -> float:
        """1."""
        return 1.0

    def certified(self) -> Float[Array, ""]:
        """1."""
        return jnp.ones(())

    def __call__(self, x: Float[Array, "channels *shape"]) -> Float[Array, "channels *shape"]:
        """Sort pairs of neighbours of the first axis."""
        if x.shape[0] % 2:
            raise ValueError(f"`x` must have an even first axis, got shape {x.shape}.")
        pairs = x.reshape(x.shape[0] // 2, 2, *x.shape[1:])
        both = jnp.max(pairs, axis=1), jnp.min(pairs, axis=1)
        return jnp.stack(both, axis=1).reshape(x.shape)


def slope_bound(activation: Callable[..., Any]) -> float:
    """The largest slope of an activation of JAX, or infinity for one that is not known.

    Args:
        activation: such as `jax.nn.elu`, `jnp.tanh`, or a module of this library.

    Returns:
        The bound on its Lipschitz constant.

    Example:
        >>> import jax
        >>> slope_bound(jax.nn.elu), slope_bound(jax.nn.silu), slope_bound(lambda x: x)
        (1.0, 1.09984, inf)
    """
    if isinstance(activation, AbstractLipschitz):
        return activation.lipschitz()
    return next((slope for known, slope in _slopes() if known is activation), math.inf)


@functools.cache
def _slopes() -> tuple[tuple[Callable[..., Any], float], ...]:
    nn = jax.nn
    flat = (nn.relu, nn.relu6, nn.elu, nn.celu, nn.softplus, nn.leaky_relu, nn.log_sigmoid)
    flat += (nn.hard_tanh, nn.soft_sign, nn.identity, nn.tanh, jnp.tanh, jnp.sin, jnp.cos, jnp.abs)
    return (
        *((known, 1.0) for known in flat),
        (nn.sigmoid, 0.25),
        (nn.selu, 1.758100),
        (nn.silu, 1.09984),
        (nn.gelu, 1.12905),
    )
