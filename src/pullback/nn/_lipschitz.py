"""Maps whose Lipschitz constant is bounded, and a linear layer that is one."""

import abc
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from pullback._power_method import safe_norm, singular_vector, unit

from ._inputs import positive

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
    """A layer that holds a warm vector for the norm of its weight, which `refresh` turns."""

    @abc.abstractmethod
    def stacked(self) -> int:
        """How many leading axes its arrays have in front of those of one layer."""

    @abc.abstractmethod
    def refreshed(self, *, rtol: float, max_steps: int) -> "AbstractLipschitzLayer":
        """The same layer with its vector turned by the power method."""


class AbstractSpectralLayer(AbstractLipschitzLayer):
    r"""A linear layer whose operator norm is brought below a bound.

    $$ \bar W = W / \max(1, \sigma / c), \qquad \sigma = |W v| $$

    It is a projection and not a normalisation: what is below the bound is left alone. The warm
    vector v is a leaf without a gradient, which `refresh` turns towards the right singular vector.
    While it has not settled, $|W v|$ is below the norm of W, and the layer above its bound.

    With `through_norm` the gradient goes through $\sigma$ as well. A layer at its bound then has no
    gradient along its largest singular direction, which is what a projection is, and what users
    describe as layers that are stuck; without it the scale is a constant to the gradient.
    """

    vector: eqx.AbstractVar[Array]
    bound: eqx.AbstractVar[float]
    through_norm: eqx.AbstractVar[bool]

    @abc.abstractmethod
    def apply_weight(self, v: Float[Array, "*inputs"]) -> Float[Array, "*outputs"]:
        """The linear map as it would be without the bound, on an input like `vector`."""

    def refreshed(self, *, rtol: float, max_steps: int) -> "AbstractSpectralLayer":
        """The same layer with its vector turned to the singular vector of its weight."""
        fixed = jax.lax.stop_gradient(self)
        vector = singular_vector(fixed.apply_weight, fixed.vector, rtol=rtol, max_steps=max_steps)
        return eqx.tree_at(lambda layer: layer.vector, self, vector)

    def scale(self) -> Float[Array, ""]:
        """What the weight is divided by: 1 or more."""
        vector = jax.lax.stop_gradient(self.vector)
        sigma = safe_norm(self.apply_weight(unit(vector, vector)))
        sigma = sigma if self.through_norm else jax.lax.stop_gradient(sigma)
        return jnp.maximum(jnp.ones_like(sigma), sigma / self.bound)

    def lipschitz(self) -> float:
        """The bound c."""
        return self.bound


class LipschitzLinear(AbstractSpectralLayer):
    r"""A dense layer of Euclidean operator norm at most c.

    $$ y = \bar W x + b, \qquad \bar W = W / \max(1, |W v| / c) $$

    Call `refresh` on the model after every update; see `AbstractSpectralLayer`.

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
        positive(in_size=in_size, out_size=out_size)
        limit = in_size**-0.5
        dtype = jnp.zeros(()).dtype if dtype is None else dtype
        weight_key, bias_key, vector_key = jr.split(key, 3)
        self.weight = jr.uniform(weight_key, (out_size, in_size), dtype, -limit, limit)
        self.bias = jr.uniform(bias_key, (out_size,), dtype, -limit, limit)
        self.bound, self.through_norm = checked_bound(bound), through_norm
        self.vector = _first_vector(self.weight, jr.normal(vector_key, (in_size,), dtype))

    def stacked(self) -> int:
        """Axes of the weight beyond two."""
        return self.weight.ndim - 2

    def apply_weight(self, v: Float[Array, " in"]) -> Float[Array, " out"]:
        """`W v`."""
        return self.weight @ v

    def effective_weight(self) -> Float[Array, "out in"]:
        """The weight that is applied, of norm at most `bound`."""
        return self.weight / self.scale()

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


def refresh(model: M, *, rtol: float = 1e-3, max_steps: int = 200) -> M:
    r"""Turn the warm vector of every Lipschitz layer of a model to its singular vector.

    $$ v \leftarrow W^\top W v \,/\, |W^\top W v| $$

    until a step turns it by less than `rtol`. After an update the vectors are nearly right and a
    few steps do. Before a model is inverted or measured, ask for more: `rtol=1e-6,
    max_steps=10_000`. Stacked layers, whose arrays have leading axes, are refreshed side by side.

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
        >>> print(f"{layer.certified():.2f} {refresh(layer).certified():.2f}")
        1.16 0.50

    Source: Chen et al., Residual Flows for Invertible Generative Modeling, arXiv 1906.02735, whose
        code does this after every step.
    """
    if max_steps < 1:
        raise ValueError(f"`max_steps` must be 1 or more, got {max_steps}.")
    if rtol < 0:
        raise ValueError(f"`rtol` must be 0 or more, got {rtol}.")
    return _refresh(model, rtol, max_steps)


@eqx.filter_jit
def _refresh(model: M, rtol: float, max_steps: int) -> M:
    def turned(layer: AbstractLipschitzLayer) -> AbstractLipschitzLayer:
        return layer.refreshed(rtol=rtol, max_steps=max_steps)

    def one(node: Any) -> Any:
        if not is_layer(node):
            return node
        run = turned
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


# Apart from the constructor, so that layers of one shape share one compiled loop.
@jax.jit
def _first_vector(
    weight: Float[Array, "out in"], start: Float[Array, " in"]
) -> Float[Array, " in"]:
    return singular_vector(lambda v: weight @ v, start, rtol=1e-3, max_steps=200)
