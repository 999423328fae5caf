"""What layers make of a curve of inputs, and how a decision boundary bends."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float

from pullback._in_batches import over_rows
from pullback._power_method import safe_norm, size_of
from pullback._traced import compiled

from ._along import layer_function, refuse_what_is_not_finite, wide


class ManifoldGeometry(NamedTuple):
    """The image of a curve in each layer, at each of its points; to lay beside `Curvature`.

    Attributes:
        q: mean square of what the units give.
        metric: squared speed per unit, g / n.
        squared_curvature: squared curvature times the number of units, n kappa^2; 0 where the image
            stands still, infinite where it is so short that the dtype cannot hold it.
        length: of the image, over the root of the number of units.
        turning: by how much its direction turns from the first point to the last, in radians.
    """

    q: Float[Array, "layers points"]
    metric: Float[Array, "layers points"]
    squared_curvature: Float[Array, "layers points"]
    length: Float[Array, " layers"]
    turning: Float[Array, " layers"]


def manifold_geometry(
    layers: Any,
    curve: Callable[[Array], Array],
    ts: Float[Array, " points"],
    *,
    batch_size: int | None = 64,
) -> ManifoldGeometry:
    r"""How long and how bent the image of a curve of inputs is in each layer.

    $$ v = \partial_t h(t), \quad a = \partial_t^2 h(t), \quad g = v \cdot v, \qquad
       \kappa^2 = \frac{|a - (a \cdot v / v \cdot v)\, v|^2}{(v \cdot v)^2}, \qquad
       \text{turning} = \int \kappa \sqrt g \, dt $$

    The turning does not change when the curve is made larger or run through at another speed. At a
    kink of an activation an image bends at once, which no derivative sees: the turning of a ReLU
    network is not all of it, and `trajectory_lengths` is what to take.

    Args:
        layers: a model, whose pre-activations up to the last hidden layer are taken, or a function
            from one input to the tuple of its layers.
        curve: from t to one input; twice differentiable, such as `circle`.
        ts: the points in rising order, over which integrals are taken by the trapezoidal rule.
        batch_size: points at once; None: all.

    Raises:
        ValueError: `ts` has fewer than two points or does not rise; a layer is not finite.

    Example:
        >>> import jax.numpy as jnp
        >>> ellipse = lambda t: jnp.stack([2 * jnp.cos(t), jnp.sin(t)])
        >>> found = manifold_geometry(lambda x: (x,), ellipse, jnp.linspace(0, 2 * jnp.pi, 101))
        >>> turns = found.turning[0] / (2 * jnp.pi)
        >>> print(f"{found.squared_curvature[0, 0] / 2:.3f} {turns:.3f}")
        4.000 1.000

    Source: Poole et al., Exponential expressivity in deep neural networks through transient chaos,
        arXiv 1606.05340, section 3.
    """
    ts = _checked_times(ts)
    found = _geometry(layers, curve, ts, batch_size)
    refuse_what_is_not_finite(jnp.isfinite(found.turning + found.length))
    return found


@compiled
def _geometry(layers: Any, curve: Any, ts: Array, batch_size: int | None) -> ManifoldGeometry:
    call = layer_function(layers, "pre")

    def at(t: Array) -> tuple[Array, ...]:
        along = lambda t: tuple(wide(h).ravel() for h in call(curve(t)))
        one = jnp.ones_like(t)
        moving = lambda t: jax.jvp(along, (t,), (one,))
        (h, v), (_, a) = jax.jvp(moving, (t,), (one,))
        return tuple(jnp.stack(each) for each in zip(*map(_numbers, h, v, a), strict=True))

    q, speed, curvature, rate = (each.T for each in over_rows(at, ts, batch_size))
    integral = lambda y: jnp.trapezoid(y, ts.astype(y.dtype)[None], axis=1)
    return ManifoldGeometry(
        q, jnp.square(speed), jnp.square(curvature), integral(speed), integral(rate)
    )


def _numbers(h: Array, v: Array, a: Array) -> tuple[Array, Array, Array, Array]:
    """Mean square; speed and curvature, per unit; and how fast the direction turns."""
    # An image may be so short that its square is no number, and has a direction still.
    size, root = size_of(v), h.size**0.5
    v, a = v / size, a / size
    square = v @ v
    moves = square > 0
    safe = jnp.where(moves, square, 1)
    # What is left of the acceleration across the curve: a difference of products would cancel.
    across = jnp.where(moves, safe_norm(a - (a @ v / safe) * v), 0)
    speed = jnp.sqrt(square)
    rate = across / jnp.sqrt(safe)
    return h @ h / h.size, speed * size / root, across / safe / size * root, rate


def _checked_times(ts: Any) -> Array:
    ts = jnp.asarray(ts, float) if not eqx.is_inexact_array(ts) else jnp.asarray(ts)
    if ts.ndim != 1 or ts.shape[0] < 2:
        raise ValueError(f"`ts` must be two points or more along one axis, got shape {ts.shape}.")
    if not isinstance(ts, Tracer) and not np.all(np.diff(np.asarray(ts)) > 0):
        raise ValueError("`ts` must rise from point to point.")
    return ts


def boundary_curvatures(
    readout: Callable[[Array], Array], x: Float[Array, " n"]
) -> Float[Array, " n-1"]:
    r"""How a decision boundary bends: the principal curvatures of a level set through a point.

    $$ \text{eigenvalues of } \frac{P H P}{|g|}, \qquad P = I - \hat g \hat g^\top $$

    without the one along the normal, g and H being gradient and Hessian of the readout at x. They
    are positive where the set bends away from where the readout grows: 1 / R on a sphere of radius
    R around which it grows. To look at a boundary take x on it, where the readout is 0.

    Args:
        readout: from one input to a number, such as the difference of two logits; or from a layer
            on, with `x` the layer.
        x: the point; the Hessian is computed whole, so some thousand entries at most.

    Returns:
        The curvatures in rising order, in units of one over that of x.

    Raises:
        TypeError: `x` is no array.
        ValueError: it is no floating vector; the readout gives no floating number, or has no slope
            at `x`.

    Example:
        >>> import jax.numpy as jnp
        >>> print(boundary_curvatures(lambda x: x @ x - 4, jnp.array([0.0, 2.0, 0.0])))
        [0.5 0.5]

    Source: Poole et al., arXiv 1606.05340, section 4.
    """
    if not isinstance(x, Array | np.ndarray):
        raise TypeError(f"`x` must be an array, one floating vector; got {x!r}.")
    floating = jnp.issubdtype(x.dtype, jnp.floating) and jnp.finfo(x.dtype).bits >= 32
    if x.ndim != 1 or not x.size or not floating:
        raise ValueError(
            "`x` must be one floating vector, of an entry or more and float32 or float64; got "
            f"{x.dtype}{list(x.shape)}."
        )
    shape = jax.eval_shape(readout, x)
    if getattr(shape, "shape", None) != ():
        raise ValueError(f"`readout` must give a number, got {shape}: take one entry of it.")
    if not jnp.issubdtype(shape.dtype, jnp.floating):
        raise ValueError(f"`readout` must give a floating number, got {shape}: it has no slope.")
    found, slope = _curvatures(readout, x)
    if not isinstance(slope, Tracer) and not bool(jnp.isfinite(slope) & (slope > 0)):
        raise ValueError(
            f"`readout` has a slope of size {float(slope)} at `x`, and no level set there: take "
            "another point."
        )
    return found


@compiled
def _curvatures(readout: Any, x: Array) -> tuple[Array, Array]:
    g, h = jax.grad(readout)(x), jax.hessian(readout)(x)
    slope, unit = safe_norm(g), size_of(g)
    g, h = g / unit, h / unit
    size = jnp.linalg.norm(g)
    # The columns but one of a reflection that takes the normal to the first axis.
    sign = jnp.where(g[0] < 0, -1.0, 1.0).astype(g.dtype)
    normal = (g / size).at[0].add(sign)
    across = jnp.eye(x.size, dtype=x.dtype) - 2 * jnp.outer(normal, normal) / (normal @ normal)
    across = across[:, 1:]
    return jnp.linalg.eigvalsh(across.T @ h @ across) / size, slope
