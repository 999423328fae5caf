"""Layers that are contractions in norms other than the Euclidean one."""

import itertools
import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, Int, PRNGKeyArray

from pullback._inputs import positive
from pullback._key import checked_key
from pullback._power_method import divided, mixed_turn, settle, stretch, unit, vector_norm

from ._lipschitz import AbstractLipschitzLayer, checked_bound, without_bound
from ._lipschitz_nets import alternate, copies, product
from ._warm import found_for, generic, stamp_of

_RESTARTS = 10
_TWO = -math.log(3)  # the raw order of 2


class InducedNormLinear(AbstractLipschitzLayer):
    r"""A dense layer that stretches no vector by more than c, from one norm to another.

    $$ y = \bar W x + b, \qquad \bar W = W / \max(1, \sigma / c), \qquad
       \sigma = \|W v\|_q / \|v\|_p \to \|W\|_{p \to q} $$

    The vector v is the best of several random starts, and is followed from there; see
    `AbstractLipschitzLayer`. The problem has local maxima: unlike the Euclidean norm it is not
    found for sure.

    Args:
        in_size: entries of the input.
        out_size: entries of the output.
        domain: p, above 1 and finite.
        codomain: q, above 1 and finite.
        bound: c, above 0; infinity leaves the weight alone.
        dtype: of the weights; JAX's default float if None.
        key: for the weights.

    Raises:
        ValueError: an argument is out of its range, or `x` does not fit.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> layer = InducedNormLinear(3, 4, domain=3.0, codomain=1.5, key=jax.random.key(0))
        >>> layer(jnp.ones(3)).shape
        (4,)

    Source: Chen et al., Residual Flows for Invertible Generative Modeling, arXiv 1906.02735,
        appendix on induced mixed norms.
    """

    weight: Float[Array, "*stack out in"]
    bias: Float[Array, "*stack out"]
    vector: Float[Array, "*stack in"]
    stamp: Float[Array, "*stack 4"]
    orders: tuple[float, float] = eqx.field(static=True)
    bound: float = eqx.field(static=True)

    def __init__(
        self,
        in_size: int,
        out_size: int,
        *,
        domain: float = 2.0,
        codomain: float = 2.0,
        bound: float = 0.97,
        dtype: Any = None,
        key: PRNGKeyArray,
    ):
        key = checked_key(key)
        positive(in_size=in_size, out_size=out_size)
        for name, order in (("domain", domain), ("codomain", codomain)):
            if not 1 < order < float("inf"):
                raise ValueError(f"`{name}` must be above 1 and finite, got {order}.")
        limit = in_size**-0.5
        dtype = jnp.zeros(()).dtype if dtype is None else dtype
        weight_key, bias_key, vector_key = jr.split(key, 3)
        self.weight = jr.uniform(weight_key, (out_size, in_size), dtype, -limit, limit)
        self.bias = jr.uniform(bias_key, (out_size,), dtype, -limit, limit)
        self.bound = checked_bound(bound)
        self.orders = (float(domain), float(codomain))
        starts = jr.normal(vector_key, (_RESTARTS, in_size), dtype)
        orders = self.given_orders()
        self.vector = _best_vector(self.weight, starts, orders)
        self.stamp = stamp_of(self.weight, orders)

    def given_orders(self) -> Float[Array, " 2"]:
        """p and q."""
        return jnp.asarray(self.orders, self.weight.dtype)

    def stacked(self) -> int:
        """Axes of the weight beyond two."""
        return self.weight.ndim - 2

    def settled(self) -> "InducedNormLinear":
        """The same layer with a vector of its present weight."""
        return self.settled_at(self.given_orders())

    def settled_at(self, orders: Float[Array, "2"]) -> "InducedNormLinear":
        """The same layer with a vector of its present weight, and of other orders."""
        fixed, orders = jax.lax.stop_gradient((self, orders))
        return eqx.tree_at(_vector_and_stamp, self, _settled(fixed, orders))

    def refreshed(self, *, rtol: float, max_steps: int) -> "InducedNormLinear":
        """The same layer with its vector turned by the mixed power method."""
        return self.refreshed_at(self.given_orders(), rtol=rtol, max_steps=max_steps)

    def refreshed_at(
        self, orders: Float[Array, "2"], *, rtol: float, max_steps: int
    ) -> "InducedNormLinear":
        """The same, for other orders."""
        weight, vector, orders = jax.lax.stop_gradient((self.weight, self.vector, orders))
        turn = lambda v: mixed_turn(weight, v, orders[0], orders[1])
        vector = settle(turn, vector, rtol=rtol, max_steps=max_steps)
        return eqx.tree_at(_vector_and_stamp, self, (vector, stamp_of(weight, orders)))

    def bounded(self) -> "InducedNormLinear":
        """The same layer with the weight that it applies, and no bound to keep."""
        return self.bounded_at(self.given_orders())

    def bounded_at(self, orders: Float[Array, "2"]) -> "InducedNormLinear":
        """The same, for other orders."""
        weight = self.weight_between(orders)
        return without_bound(eqx.tree_at(lambda layer: layer.weight, self, weight))

    def effective_weight(self) -> Float[Array, "out in"]:
        """The weight that is applied."""
        return self.weight_between(self.given_orders())

    def weight_between(self, orders: Float[Array, "2"]) -> Float[Array, "out in"]:
        """The weight that is applied for other orders, with their gradient."""
        if math.isinf(self.bound):
            return self.weight
        vector = self.settled_at(orders).vector
        sigma = stretch(self.weight, vector, orders[0], orders[1])
        return divided(self.weight, jnp.maximum(jnp.ones_like(sigma), sigma / self.bound))

    def lipschitz(self) -> float:
        """The bound c, from the norm of order p to that of order q."""
        return self.bound

    def certified(self) -> Float[Array, ""]:
        r"""A bound of $\|\bar W\|_{p \to q}$ by Hölder's inequality: sure, and loose."""
        return self.certified_at(self.given_orders())

    def certified_at(self, orders: Float[Array, "2"]) -> Float[Array, ""]:
        """The same, for other orders."""
        (p, q), weight = orders, self.weight_between(orders)
        dual = p / (p - 1)
        by_rows = vector_norm(jax.vmap(lambda row: vector_norm(row, dual))(weight), q)
        by_columns = vector_norm(jax.vmap(lambda column: vector_norm(column, q))(weight.T), dual)
        return jnp.minimum(by_rows, by_columns)

    def __call__(self, x: Float[Array, " in"]) -> Float[Array, " out"]:
        """Apply the layer to one vector."""
        if x.shape != self.vector.shape:
            raise ValueError(
                f"`x` must be one vector of shape {self.vector.shape}, got {x.shape}. For a "
                "batch, use `jax.vmap(layer)`."
            )
        return self.effective_weight() @ x + self.bias


class InducedNormMLP(AbstractLipschitzLayer):
    r"""A network that is a contraction in a norm whose order it learns.

    $$ \mathbb R^d_{p_0} \to \mathbb R^w_{p_1} \to \dots \to \mathbb R^d_{p_0}, \qquad
       \mathrm{Lip}_{p_0 \to p_0}(g) \le c^{\,n + 1}, \qquad p_i = 1 + 4 \,\mathrm{sigmoid}(r_i) $$

    The norm after each layer is the norm before the next, and the last is the first. An activation
    acts on each entry and has slope 1 or less, so that it is 1-Lipschitz in each of these norms.

    Args:
        dim: entries of the input and the output.
        width: of the hidden layers.
        depth: n, the number of hidden layers.
        bound: c of each layer.
        activation: as for `LipschitzMLP`.
        first_activation: begin with an activation.
        learn_orders: let the gradient reach r; otherwise all orders stay 2.
        dtype: of the weights; JAX's default float if None.
        key: for the weights.

    Raises:
        ValueError: an argument is out of its range.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> net = InducedNormMLP(2, 8, 1, key=jax.random.key(0))
        >>> net(jnp.ones(2)).shape, [round(float(p), 3) for p in net.orders()]
        ((2,), [2.0, 2.0, 2.0])

    Source: Chen et al., Residual Flows for Invertible Generative Modeling, arXiv 1906.02735,
        appendix on induced mixed norms.
    """

    layers: tuple[InducedNormLinear, ...]
    activations: tuple[Callable[..., Any], ...]
    raw_orders: Float[Array, "*stack layers"]
    learn_orders: bool = eqx.field(static=True)

    def __init__(
        self,
        dim: int,
        width: int,
        depth: int,
        *,
        bound: float = 0.97,
        activation: Callable[..., Any] | None = None,
        first_activation: bool = True,
        learn_orders: bool = True,
        dtype: Any = None,
        key: PRNGKeyArray,
    ):
        key = checked_key(key)
        positive(dim=dim, width=width)
        if depth < 0:
            raise ValueError(f"`depth` must be 0 or more, got {depth}.")
        sizes, keys = [dim, *[width] * depth, dim], jr.split(key, depth + 1)
        self.layers = tuple(
            InducedNormLinear(*pair, bound=bound, dtype=dtype, key=layer_key)
            for pair, layer_key in zip(itertools.pairwise(sizes), keys, strict=True)
        )
        self.activations = copies(activation, depth + first_activation, dtype)
        self.raw_orders = jnp.full((depth + 1,), _TWO, self.layers[0].weight.dtype)
        self.learn_orders = learn_orders

    def orders(self) -> Float[Array, " orders"]:
        """The orders of the norms, from the input to the output, which has that of the input."""
        # A constant, where they are not learned: a decay of weights would move what is held.
        raw = self.raw_orders if self.learn_orders else jnp.full_like(self.raw_orders, _TWO)
        p = 1 + 4 * jax.nn.sigmoid(raw)
        return jnp.concatenate([p, p[:1]])

    def _each(self, change: Callable[[InducedNormLinear, Array], Any]) -> tuple[Any, ...]:
        p = self.orders()
        return tuple(change(layer, p[i : i + 2]) for i, layer in enumerate(self.layers))

    def _with(self, change: Callable[[InducedNormLinear, Array], Any]) -> "InducedNormMLP":
        return eqx.tree_at(lambda net: net.layers, self, self._each(change))

    def stacked(self) -> int:
        """Axes of the orders beyond one."""
        return self.raw_orders.ndim - 1

    def settled(self) -> "InducedNormMLP":
        """The same network with vectors of its present weights and orders."""
        return self._with(lambda layer, p: layer.settled_at(p))

    def refreshed(self, *, rtol: float, max_steps: int) -> "InducedNormMLP":
        """The same network with each vector turned, at its orders."""
        turned = lambda layer, p: layer.refreshed_at(
            jax.lax.stop_gradient(p), rtol=rtol, max_steps=max_steps
        )
        return self._with(turned)

    def bounded(self) -> "InducedNormMLP":
        """The same network with the weights that it applies, and no bound to keep."""
        return self._with(lambda layer, p: layer.bounded_at(p))

    def lipschitz(self) -> float:
        """The product of the bounds, in the norm of order p_0."""
        return product(self.layers, self.activations)

    def certified(self) -> Float[Array, ""]:
        """The product of the layers' Hölder bounds."""
        return jnp.prod(jnp.stack(self._each(lambda layer, p: layer.certified_at(p))))

    def __call__(self, x: Float[Array, " dim"]) -> Float[Array, " dim"]:
        """Apply the network to one vector."""
        weights = self._each(lambda layer, p: layer.weight_between(p))
        maps = tuple(
            lambda h, weight=weight, layer=layer: weight @ h + layer.bias
            for weight, layer in zip(weights, self.layers, strict=True)
        )
        return alternate(maps, self.activations, x)


def _vector_and_stamp(layer: Any) -> tuple[Any, Any]:
    return layer.vector, layer.stamp


@eqx.filter_jit
def _settled(layer: InducedNormLinear, orders: Float[Array, "2"]) -> tuple[Array, Array]:
    fresh = found_for(layer.stamp, layer.weight, orders)
    starts = jnp.stack([generic(layer.vector, number) for number in range(1, _RESTARTS)])
    starts = jnp.concatenate([layer.vector[None], starts])
    found = _best_vector(layer.weight, starts, orders, jnp.where(fresh, 0, 5000))
    return jnp.where(fresh, layer.vector, found), stamp_of(layer.weight, orders)


@jax.jit
def _best_vector(
    weight: Float[Array, "out in"],
    starts: Float[Array, "restarts in"],
    orders: Float[Array, "2"],
    max_steps: int | Int[Array, ""] = 200,
) -> Float[Array, " in"]:
    p, q = orders

    def run(start: Array) -> Array:
        turn = lambda v: mixed_turn(weight, v, p, q)
        return settle(turn, unit(start, start), rtol=1e-3, max_steps=max_steps)

    vectors = jax.vmap(run)(starts)
    return vectors[jnp.argmax(jax.vmap(lambda v: stretch(weight, v, p, q))(vectors))]
