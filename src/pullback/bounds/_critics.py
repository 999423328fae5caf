"""Critics: modules that score every pair of a batch, for the bounds on mutual information."""

import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from pullback._key import checked_key
from pullback.bounds._mutual_information_known import pairwise_log_prob


class SeparableCritic(eqx.Module):
    r"""Two nets into one embedding, and scaled inner products there.

    $$ f(x, y) = \langle h(y), g(x) \rangle / \sqrt{m} $$

    It costs B evaluations of each net and a product of matrices. The weights start as Glorot's and
    the product is divided by $\sqrt m$, so that scores start near 0. With larger weights (He's) and
    no division the first scores are so large that bounds with an exponential overflow.

    Args:
        x_dim: size of one x.
        y_dim: size of one y.
        width: size of a hidden layer.
        depth: number of hidden layers.
        embedding: m.
        key: for the weights.

    Raises:
        ValueError: a size is below 1.

    Example:
        >>> import jax.random as jr
        >>> critic = SeparableCritic(3, 2, width=8, key=jr.key(0))
        >>> x, y = jr.normal(jr.key(1), (5, 3)), jr.normal(jr.key(2), (5, 2))
        >>> critic(x, y).shape
        (5, 5)

    Source: Poole et al., arXiv 1905.06922, section 3; the scaling is ours.
    """

    of_x: eqx.nn.MLP
    of_y: eqx.nn.MLP

    def __init__(
        self,
        x_dim: int,
        y_dim: int,
        *,
        width: int = 256,
        depth: int = 2,
        embedding: int = 32,
        key: PRNGKeyArray,
    ):
        key = checked_key(key)
        x_key, y_key = jr.split(key)
        self.of_x = _net(x_dim, embedding, width, depth, x_key, input_name="x_dim")
        self.of_y = _net(y_dim, embedding, width, depth, y_key, input_name="y_dim")

    def __call__(
        self, x: Float[Array, "b_x x_dim"], y: Float[Array, "b_y y_dim"]
    ) -> Float[Array, "b_y b_x"]:
        """The scores `[i, j] = f(x_j, y_i)` of batches."""
        to_x, to_y = jax.vmap(self.of_x)(x), jax.vmap(self.of_y)(y)
        return to_y @ to_x.T / math.sqrt(to_x.shape[1])


class BilinearCritic(eqx.Module):
    r"""$f(x, y) = y^\top W x$: the least critic, for embeddings that are trained elsewhere.

    Args:
        x_dim: size of one x.
        y_dim: size of one y.
        key: for W, which starts as Glorot's.

    Raises:
        ValueError: a size is below 1.

    Example:
        >>> import jax.random as jr
        >>> critic = BilinearCritic(3, 2, key=jr.key(0))
        >>> critic(jr.normal(jr.key(1), (5, 3)), jr.normal(jr.key(2), (5, 2))).shape
        (5, 5)

    Source: van den Oord et al., arXiv 1807.03748, section 2.2.
    """

    weight: Float[Array, "y_dim x_dim"]

    def __init__(self, x_dim: int, y_dim: int, *, key: PRNGKeyArray):
        key = checked_key(key)
        _check_sizes(x_dim=x_dim, y_dim=y_dim)
        self.weight = jax.nn.initializers.glorot_uniform()(key, (y_dim, x_dim))

    def __call__(
        self, x: Float[Array, "b_x x_dim"], y: Float[Array, "b_y y_dim"]
    ) -> Float[Array, "b_y b_x"]:
        """The scores `[i, j] = f(x_j, y_i)` of batches."""
        return y @ (self.weight @ x.T)


class JointCritic(eqx.Module):
    r"""One net on each pair, $f(x, y) = g([x, y])$.

    It can be any function, but costs $B^2$ evaluations (of all layers but the first, which is split
    into a part for x and one for y).

    Args:
        x_dim: size of one x.
        y_dim: size of one y.
        width: size of a hidden layer.
        depth: number of hidden layers, 1 or more.
        key: for the weights, which start as Glorot's.

    Raises:
        ValueError: a size or `depth` is below 1.

    Example:
        >>> import jax.random as jr
        >>> critic = JointCritic(3, 2, width=8, key=jr.key(0))
        >>> critic(jr.normal(jr.key(1), (5, 3)), jr.normal(jr.key(2), (5, 2))).shape
        (5, 5)

    Source: Poole et al., arXiv 1905.06922, section 3.
    """

    net: eqx.nn.MLP

    def __init__(
        self, x_dim: int, y_dim: int, *, width: int = 256, depth: int = 2, key: PRNGKeyArray
    ):
        key = checked_key(key)
        _check_sizes(x_dim=x_dim, y_dim=y_dim, depth=depth)
        self.net = _net(x_dim + y_dim, "scalar", width, depth, key)

    def __call__(
        self, x: Float[Array, "b_x x_dim"], y: Float[Array, "b_y y_dim"]
    ) -> Float[Array, "b_y b_x"]:
        """The scores `[i, j] = f(x_j, y_i)` of batches."""
        first, *rest = self.net.layers
        of_x, of_y = jnp.split(first.weight, [x.shape[1]], axis=1)
        hidden = (y @ of_y.T)[:, None] + (x @ of_x.T)[None]

        def after(hidden: Array) -> Array:
            hidden = hidden if first.bias is None else hidden + first.bias
            for layer in rest:
                hidden = layer(jax.nn.relu(hidden))
            return hidden

        return jax.vmap(jax.vmap(after))(hidden)


class ConditionalCritic(eqx.Module):
    r"""The log-ratio of a known conditional to a marginal, of which only the marginal is learned.

    $$ f(x, y) = \log p(y|x) - \log r(y) $$

    For `nwj` add 1, for its optimum is at 1 above the log-ratio; `interpolated` and `tuba` take it
    with a baseline of 0. In `infonce` the marginal cancels.

    Args:
        conditional: maps one x to a distribution of y, anything with `log_prob(y)`.
        log_marginal: maps one y to $\log r(y)$: a `GaussianBaseline`, an `MLPBaseline`, or any
            other module.

    Example:
        >>> import jax.numpy as jnp, numpyro.distributions as dist
        >>> channel = lambda x: dist.Normal(2 * x, 1.0).to_event(1)
        >>> critic = ConditionalCritic(channel, GaussianBaseline(1))
        >>> critic(jnp.zeros((4, 1)), jnp.zeros((4, 1))).shape
        (4, 4)

    Source: Poole et al., arXiv 1905.06922, section 2.5.
    """

    conditional: Callable[[Any], Any]
    log_marginal: Callable[[Any], Any]

    def __call__(
        self, x: Float[Array, "b_x ..."], y: Float[Array, "b_y ..."]
    ) -> Float[Array, "b_y b_x"]:
        """The scores `[i, j] = f(x_j, y_i)` of batches."""
        return pairwise_log_prob(self.conditional, x, y) - jax.vmap(self.log_marginal)(y)[:, None]


class MLPBaseline(eqx.Module):
    r"""A net for $\log a(y)$ of one y, a scalar.

    Args:
        y_dim: size of one y.
        width: size of a hidden layer.
        depth: number of hidden layers.
        key: for the weights, which start as Glorot's.

    Raises:
        ValueError: a size is below 1.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> baseline = MLPBaseline(2, width=8, key=jax.random.key(0))
        >>> jax.vmap(baseline)(jnp.zeros((5, 2))).shape
        (5,)
    """

    net: eqx.nn.MLP

    def __init__(self, y_dim: int, *, width: int = 128, depth: int = 2, key: PRNGKeyArray):
        key = checked_key(key)
        self.net = _net(y_dim, "scalar", width, depth, key, input_name="y_dim")

    def __call__(self, y: Float[Array, " y_dim"]) -> Float[Array, ""]:
        r"""$\log a(y)$."""
        return self.net(y)


class GaussianBaseline(eqx.Module):
    r"""The log-density of a Gaussian with independent entries, whose parameters are learned.

    It starts as the standard normal.

    Args:
        y_dim: size of one y.

    Raises:
        ValueError: `y_dim` is below 1.

    Example:
        >>> import jax.numpy as jnp
        >>> print(f"{GaussianBaseline(2)(jnp.zeros(2)):.4f}")  # minus log of 2 pi
        -1.8379
    """

    mean: Float[Array, " y_dim"]
    log_scale: Float[Array, " y_dim"]

    def __init__(self, y_dim: int):
        _check_sizes(y_dim=y_dim)
        self.mean, self.log_scale = jnp.zeros(y_dim), jnp.zeros(y_dim)

    def __call__(self, y: Float[Array, " y_dim"]) -> Float[Array, ""]:
        r"""$\log \mathrm{N}(y; \mu, \sigma^2)$."""
        standard = (y - self.mean) * jnp.exp(-self.log_scale)
        return -jnp.sum(0.5 * standard**2 + self.log_scale + 0.5 * math.log(2 * math.pi))


def _net(
    size: int, out: Any, width: int, depth: int, key: PRNGKeyArray, *, input_name: str = "x_dim"
) -> eqx.nn.MLP:
    """A ReLU net with Glorot's weights and no bias at first."""
    _check_sizes(**{input_name: size, "width": width, "depth": depth + 1})
    if out != "scalar":
        _check_sizes(embedding=out)
    net = eqx.nn.MLP(size, out, width, depth, key=key)
    glorot, keys = jax.nn.initializers.glorot_uniform(), jr.split(key, len(net.layers))
    return eqx.tree_at(
        lambda net: [leaf for layer in net.layers for leaf in (layer.weight, layer.bias)],
        net,
        [
            leaf
            for key, layer in zip(keys, net.layers, strict=True)
            for leaf in (glorot(key, layer.weight.shape), jnp.zeros(layer.weight.shape[0]))
        ],
    )


def _check_sizes(**sizes: int) -> None:
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"`{name}` must be 1 or more, got {size}.")
