"""Maps whose Lipschitz constant is bounded, and a linear layer that is one."""

import abc
import math
from collections.abc import Callable
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from pullback._inputs import positive
from pullback._key import checked_key
from pullback._power_method import divided, safe_norm, singular_vector, turn_of

from ._warm import found_anew, found_for, nudged, stamp_of

M = TypeVar("M")


class AbstractLipschitz(eqx.Module):
    """A map that knows a bound on its own Lipschitz constant.

    The norm is the Euclidean one where the map does not name another.
    """

    @abc.abstractmethod
    def __call__(self, x: Float[Array, "*inputs"]) -> Float[Array, "*outputs"]:
        """Apply the map to one example."""

    @abc.abstractmethod
    def lipschitz(self) -> float:
        """A bound that holds by construction, whatever the weights are."""

    @abc.abstractmethod
    def certified(self) -> Float[Array, ""]:
        """A bound from the weights as they are now, by singular value decompositions."""


class AbstractLipschitzLayer(AbstractLipschitz):
    """A layer that keeps a bound on the norm of its weight, by a vector that it holds beside it.

    The vector carries the stamp of the weight for which it was found. Under another weight, as
    after a step of an optimiser, the layer finds a vector anew whenever it is applied, so that the
    bound holds for the weights as they are. `pb.train` turns the vectors after every update, from
    where they were: that is a few products, and nothing is left to find.
    """

    @abc.abstractmethod
    def stacked(self) -> int:
        """How many leading axes its arrays have in front of those of one layer."""

    @abc.abstractmethod
    def settled(self) -> "AbstractLipschitzLayer":
        """The same layer with a vector of its present weight: the one that it has, or a new one."""

    @abc.abstractmethod
    def refreshed(self, *, rtol: float, max_steps: int) -> "AbstractLipschitzLayer":
        """The same layer with its vector turned by the power method from where it is."""

    @abc.abstractmethod
    def bounded(self) -> "AbstractLipschitzLayer":
        """The same map with the bound applied to its weight, so that none is left to apply."""


class AbstractSpectralLayer(AbstractLipschitzLayer):
    r"""A linear layer whose operator norm is brought below a bound.

    $$ \bar W = W / \max(1, \sigma / c), \qquad \sigma = |W v| $$

    It is a projection and not a normalisation: what is below the bound is left alone. The vector v
    is the right singular vector of W, a leaf without a gradient.

    With `through_norm` the gradient goes through $\sigma$ as well. A layer at its bound then has no
    gradient along its largest singular direction, which is what a projection is, and what users
    describe as layers that are stuck; without it the scale is a constant to the gradient.
    """

    weight: eqx.AbstractVar[Array]
    vector: eqx.AbstractVar[Array]
    stamp: eqx.AbstractVar[Array]
    bound: eqx.AbstractVar[float]
    through_norm: eqx.AbstractVar[bool]

    @abc.abstractmethod
    def apply_weight(self, v: Float[Array, "*inputs"]) -> Float[Array, "*outputs"]:
        """The linear map as it would be without the bound, on an input like `vector`."""

    def settled(self) -> "AbstractSpectralLayer":
        """The same layer with a singular vector of its present weight."""
        return eqx.tree_at(_vector_and_stamp, self, _settled(jax.lax.stop_gradient(self)))

    def refreshed(self, *, rtol: float, max_steps: int) -> "AbstractSpectralLayer":
        """The same layer with its vector turned to the singular vector of its weight."""
        fixed = jax.lax.stop_gradient(self)
        start = nudged(fixed.vector)
        vector = singular_vector(fixed.apply_weight, start, rtol=rtol, max_steps=max_steps)
        return eqx.tree_at(_vector_and_stamp, self, (vector, stamp_of(fixed.weight)))

    def bounded(self) -> "AbstractSpectralLayer":
        """The same layer with the weight that it applies, and no bound to keep."""
        layer = eqx.tree_at(lambda layer: layer.weight, self, self.effective_weight())
        return without_bound(layer)

    def effective_weight(self) -> Float[Array, "..."]:
        """The weight that is applied, of norm at most `bound`."""
        return self.weight if math.isinf(self.bound) else divided(self.weight, self.scale())

    def scale(self) -> Float[Array, ""]:
        """What the weight is divided by: 1 or more."""
        vector, _ = _settled(jax.lax.stop_gradient(self))
        sigma = safe_norm(self.apply_weight(vector))
        sigma = sigma if self.through_norm else jax.lax.stop_gradient(sigma)
        return jnp.maximum(jnp.ones_like(sigma), sigma / self.bound)

    def lipschitz(self) -> float:
        """The bound c."""
        return self.bound


class LipschitzLinear(AbstractSpectralLayer):
    r"""A dense layer of Euclidean operator norm at most c.

    $$ y = \bar W x + b, \qquad \bar W = W / \max(1, |W v| / c) $$

    The bound holds for the weights as they are; see `AbstractLipschitzLayer`.

    Args:
        in_size: entries of the input.
        out_size: entries of the output.
        bound: c, above 0; infinity leaves the weight alone.
        through_norm: let the gradient go through the norm.
        dtype: of the weights; JAX's default float if None.
        key: for the weights, uniform in $\pm 1 / \sqrt{\mathrm{in}}$.

    Raises:
        ValueError: a size is below 1, `bound` is not above 0, or `x` does not fit.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> layer = LipschitzLinear(3, 4, bound=0.5, key=jax.random.key(0))
        >>> print(f"{jnp.linalg.norm(layer.effective_weight(), 2):.3f}")
        0.500

    Source: Gouk et al., Regularisation of Neural Networks by Enforcing Lipschitz Continuity, arXiv
        1804.04368; Behrmann et al., Invertible Residual Networks, arXiv 1811.00995, section 2.1.
    """

    weight: Float[Array, "*stack out in"]
    bias: Float[Array, "*stack out"]
    vector: Float[Array, "*stack in"]
    stamp: Float[Array, "*stack 4"]
    bound: float = eqx.field(static=True)
    through_norm: bool = eqx.field(static=True)

    def __init__(
        self,
        in_size: int,
        out_size: int,
        *,
        bound: float = 0.97,
        through_norm: bool = True,
        dtype: Any = None,
        key: PRNGKeyArray,
    ):
        key = checked_key(key)
        positive(in_size=in_size, out_size=out_size)
        limit = in_size**-0.5
        dtype = jnp.zeros(()).dtype if dtype is None else dtype
        weight_key, bias_key, vector_key = jr.split(key, 3)
        self.weight = jr.uniform(weight_key, (out_size, in_size), dtype, -limit, limit)
        self.bias = jr.uniform(bias_key, (out_size,), dtype, -limit, limit)
        self.bound, self.through_norm = checked_bound(bound), through_norm
        self.vector = _first_vector(self.weight, jr.normal(vector_key, (in_size,), dtype))
        self.stamp = stamp_of(self.weight)

    def stacked(self) -> int:
        """Axes of the weight beyond two."""
        return self.weight.ndim - 2

    def apply_weight(self, v: Float[Array, " in"]) -> Float[Array, " out"]:
        """`W v`."""
        return self.weight @ v

    def certified(self) -> Float[Array, ""]:
        """The largest singular value of the weight that is applied."""
        return jnp.linalg.norm(self.effective_weight(), 2)

    def __call__(self, x: Float[Array, " in"]) -> Float[Array, " out"]:
        """Apply the layer to one vector."""
        if x.shape != self.vector.shape:
            raise ValueError(
                f"`x` must be one vector of shape {self.vector.shape}, got {x.shape}. For a "
                "batch, use `jax.vmap(layer)`."
            )
        return self.effective_weight() @ x + self.bias


def update_spectral_norms(model: M, *, rtol: float = 1e-3, max_steps: int = 200) -> M:
    r"""Turn the vector of every Lipschitz layer of a model closer to its singular vector.

    $$ v \leftarrow W^\top W v \,/\, |W^\top W v| $$

    until a step turns it by less than `rtol`. No bound depends on it: a layer finds a vector of its
    own where it has none. With `rtol=1e-6, max_steps=10_000` the norm is known more closely than
    training needs, as before a measurement. Stacked layers, whose arrays have leading axes, are
    updated side by side.

    Args:
        model: any PyTree; what is not a Lipschitz layer is returned as it is.
        rtol: the turn that counts as none, in radians.
        max_steps: of each layer.

    Returns:
        The model with new vectors.

    Raises:
        ValueError: `max_steps` is below 1, or `rtol` is negative.

    Example:
        >>> import equinox as eqx, jax, jax.numpy as jnp
        >>> layer = LipschitzLinear(3, 3, bound=0.5, key=jax.random.key(0))
        >>> layer = eqx.tree_at(lambda l: l.weight, layer, jnp.diag(jnp.array([1.0, 2.0, 3.0])))
        >>> layer = update_spectral_norms(layer, rtol=1e-6, max_steps=10_000)
        >>> print(f"{abs(layer.vector[2]):.3f} {layer.scale():.3f}")
        1.000 6.000

    Source: Chen et al., Residual Flows for Invertible Generative Modeling, arXiv 1906.02735, whose
        code does this after every step.
    """
    if max_steps < 1:
        raise ValueError(f"`max_steps` must be 1 or more, got {max_steps}.")
    if rtol < 0:
        raise ValueError(f"`rtol` must be 0 or more, got {rtol}.")
    return _updated(model, rtol, max_steps)


@eqx.filter_jit
def _updated(model: M, rtol: float, max_steps: int) -> M:
    return over_layers(
        lambda layer: layer.settled().refreshed(rtol=rtol, max_steps=max_steps), model
    )


def follow(model: M) -> M:
    """The model after a small update of its weights, its vectors turned after them from the old.

    `pb.train` does it after every step, so that the next finds nothing to look for; a loop of one's
    own goes faster with it, and not otherwise.

    Args:
        model: any PyTree; what is not a Lipschitz layer is returned as it is.

    Example:
        >>> import equinox as eqx, jax
        >>> layer = LipschitzLinear(3, 3, bound=0.5, key=jax.random.key(0))
        >>> moved = eqx.tree_at(lambda l: l.weight, layer, replace_fn=lambda w: w + 1e-3)
        >>> print(f"{follow(moved).certified():.3f}")
        0.500
    """
    return over_layers(lambda layer: layer.refreshed(rtol=1e-3, max_steps=200), model)


def bounded(model: M) -> M:
    r"""The same network with each bound applied to its weight, once for all inputs to come.

    $$ W \mapsto \bar W, \qquad c \mapsto \infty $$

    For what applies a network again and again, as a fixed point does; gradients go through to the
    weights. The result is for this use and not for training: no bound is kept in it any more.

    Args:
        model: any PyTree; what is not a Lipschitz layer is returned as it is.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> layer = LipschitzLinear(3, 3, bound=0.5, key=jax.random.key(0))
        >>> print(jnp.allclose(bounded(layer)(jnp.ones(3)), layer(jnp.ones(3))))
        True
    """
    return over_layers(lambda layer: layer.bounded(), model)


def over_layers(change: Callable[[Any], Any], model: M) -> M:
    """Change each layer with a vector; stacked ones side by side."""

    def one(node: Any) -> Any:
        if not is_layer(node):
            return node
        run = change
        for _ in range(node.stacked()):
            run = eqx.filter_vmap(run)
        return run(node)

    return jax.tree.map(one, model, is_leaf=is_layer)


def is_layer(node: Any) -> bool:
    """Whether a node of a PyTree is a layer with a warm vector."""
    return isinstance(node, AbstractLipschitzLayer)


def checked_bound(bound: float) -> float:
    """The bound of a layer, once it has proved to be one."""
    if not bound > 0:
        raise ValueError(f"`bound` must be above 0, got {bound}; below 1 if it is to be inverted.")
    return float(bound)


def without_bound(layer: M) -> M:
    """A layer that nobody else holds yet, and that has nothing left to bound."""
    object.__setattr__(layer, "bound", math.inf)
    return layer


def _vector_and_stamp(layer: Any) -> tuple[Any, Any]:
    return layer.vector, layer.stamp


# Compiled, since a layer that is applied by itself is a loop otherwise traced at every call.
@eqx.filter_jit
def _settled(layer: AbstractSpectralLayer) -> tuple[Array, Array]:
    pull = jax.linear_transpose(layer.apply_weight, layer.vector)
    fresh = found_for(layer.stamp, layer.weight)
    vector = found_anew(turn_of(layer.apply_weight, pull), layer.vector, fresh)
    return vector, stamp_of(layer.weight)


# Apart from the constructor, so that layers of one shape share one compiled loop.
@jax.jit
def _first_vector(
    weight: Float[Array, "out in"], start: Float[Array, " in"]
) -> Float[Array, " in"]:
    return singular_vector(lambda v: weight @ v, start, rtol=5e-4, max_steps=5000, least=2)
