"""Bounds on the Lipschitz constant of a network: by construction, by certificate, by search."""

import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from pullback._key import checked_key
from pullback._power_method import safe_norm, turn_of, unit

from ._lipschitz import AbstractLipschitz
from ._slopes import slope_bound


def lipschitz_bound(net: Any) -> float:
    r"""A bound on the Lipschitz constant of a network that holds by construction.

    $$ \mathrm{Lip}(f_n \circ \dots \circ f_1) \le \prod_i \mathrm{Lip}(f_i) $$

    It is known before any weight is, and holds while the warm vectors are settled. Layers are those
    of this library, `equinox.nn.Sequential` and `Lambda` of them, and activations of `slope_bound`.

    Args:
        net: a network.

    Returns:
        The bound; infinity if some part of the network has none.

    Example:
        >>> import jax
        >>> from pullback.nn import LipschitzMLP
        >>> net = LipschitzMLP(2, 8, 2, bound=0.9, key=jax.random.key(0))
        >>> print(f"{lipschitz_bound(net):.3f}")
        0.729
    """
    if isinstance(net, AbstractLipschitz):
        return net.lipschitz()
    if isinstance(net, eqx.nn.Sequential):
        return math.prod(lipschitz_bound(layer) for layer in net.layers)
    if isinstance(net, eqx.nn.Lambda):
        return lipschitz_bound(net.fn)
    if isinstance(net, eqx.nn.Identity):
        return 1.0
    return slope_bound(net)


def lipschitz_upper_bound(net: Any) -> Float[Array, ""]:
    r"""A certificate: the product of the exact norms of the layers, as their weights are now.

    $$ \mathrm{Lip}(f) \le \prod_i \sigma_{\max}(\bar W_i) \, \mathrm{slope}(\phi_i) $$

    It does not trust the power method: dense weights, and convolutions as dense matrices, go
    through a singular value decomposition. For stacked networks, use `equinox.filter_vmap`.

    Args:
        net: a network, as for `lipschitz_bound`; plain `equinox.nn.Linear` layers have one too.

    Returns:
        The bound; infinity if some part of the network has none.

    Example:
        >>> import jax
        >>> from pullback.nn import LipschitzMLP
        >>> net = LipschitzMLP(2, 8, 2, bound=0.9, key=jax.random.key(0))
        >>> bool(lipschitz_upper_bound(net) < 0.9**3 + 1e-4)
        True
    """
    if isinstance(net, AbstractLipschitz):
        return net.certified()
    if isinstance(net, eqx.nn.Sequential):
        parts = [lipschitz_upper_bound(layer) for layer in net.layers]
        return jnp.prod(jnp.stack([jnp.asarray(part, parts[0].dtype) for part in parts]))
    if isinstance(net, eqx.nn.Linear):
        return jnp.linalg.norm(net.weight, 2)
    return jnp.asarray(lipschitz_bound(net))


def lipschitz_lower_bound(
    f: Callable[[Any], Any],
    points: Float[Array, "points *shape"],
    *,
    steps: int = 50,
    key: PRNGKeyArray,
) -> Float[Array, ""]:
    r"""The Lipschitz constant from below: the largest stretch of the Jacobian at some points.

    $$ \mathrm{Lip}(f) \ge \max_i \sigma_{\max}\big(J_f(x_i)\big) \ge \max_i |J_f(x_i) v_i| $$

    Args:
        f: map of one example.
        points: where to look.
        steps: of the power method, at each point.
        key: for the vectors that it starts from.

    Returns:
        A stretch that was found, and so never more than the Lipschitz constant.

    Raises:
        ValueError: `steps` is below 1, or there is no point.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> points = jnp.linspace(-1, 1, 21)[:, None]
        >>> found = lipschitz_lower_bound(lambda x: 2 * jnp.sin(x), points, key=jax.random.key(0))
        >>> print(f"{found:.3f}")
        2.000
    """
    key = checked_key(key)
    if steps < 1:
        raise ValueError(f"`steps` must be 1 or more, got {steps}.")
    if points.shape[0] < 1:
        raise ValueError("`points` must hold one point or more.")

    def stretch(x: Array, key: PRNGKeyArray) -> Array:
        _, push = jax.linearize(f, x)
        pull = jax.linear_transpose(push, x)
        start = jr.normal(key, x.shape, x.dtype)
        turn = turn_of(push, pull)
        once = lambda _, v: unit(turn(v), v)
        return safe_norm(push(jax.lax.fori_loop(0, steps, once, unit(start, start))))

    return jnp.max(jax.vmap(stretch)(points, jr.split(key, points.shape[0])))
