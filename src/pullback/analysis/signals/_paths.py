"""Paths through the space of inputs, from t = 0 to t = 1."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, Real

from pullback._floating import require_floating

Input = Float[Array | np.ndarray, "..."]
Time = Real[Array | np.ndarray, ""] | float


class _Line(eqx.Module):
    x0: Float[Array, "*shape"]
    x1: Float[Array, "*shape"]

    def __call__(self, t: Time) -> Float[Array, "*shape"]:
        return self.x0 + jnp.asarray(t, self.x0.dtype) * (self.x1 - self.x0)


class _Circle(eqx.Module):
    x0: Float[Array, "*shape"]
    x1: Float[Array, "*shape"]

    def __call__(self, t: Time) -> Float[Array, "*shape"]:
        angle = 2 * jnp.pi * jnp.asarray(t, self.x0.dtype)
        return jnp.cos(angle) * self.x0 + jnp.sin(angle) * self.x1


class _Through(eqx.Module):
    points: Float[Array, "n *shape"]

    def __call__(self, t: Time) -> Float[Array, "*shape"]:
        segments = len(self.points) - 1
        place = jnp.asarray(t, self.points.dtype) * segments
        first = jnp.clip(jnp.floor(place), 0, segments - 1)
        start, end = (self.points[first.astype(int) + i] for i in (0, 1))
        return start + (place - first) * (end - start)


def line(x0: Input, x1: Input) -> _Line:
    """The straight line $x(t) = x_0 + t (x_1 - x_0)$.

    Args:
        x0: where it starts, one input of any shape.
        x1: where it ends.

    Returns:
        A function of t, as `trajectory_lengths` and `transitions` take it.

    Raises:
        ValueError: the two differ in shape or dtype, are whole numbers, or are not finite.

    Example:
        >>> import jax.numpy as jnp
        >>> line(jnp.zeros(2), jnp.array([2.0, 4.0]))(0.25).tolist()
        [0.5, 1.0]
    """
    return _Line(*_ends(x0, x1))


def circle(x0: Input, x1: Input) -> _Circle:
    r"""The closed curve $x(t) = x_0 \cos 2\pi t + x_1 \sin 2\pi t$ around zero.

    It is a circle where the two are at right angles and of one length, as two long random vectors
    nearly are; else an ellipse.

    Args:
        x0: where it starts, one input of any shape.
        x1: where it is after a quarter turn.

    Returns:
        A function of t, as `trajectory_lengths` and `transitions` take it.

    Raises:
        ValueError: the two differ in shape or dtype, are whole numbers, or are not finite.

    Example:
        >>> import jax.numpy as jnp
        >>> circle(jnp.array([3.0, 0.0]), jnp.array([0.0, 2.0]))(0.0).tolist()
        [3.0, 0.0]

    Source: Raghu et al., On the Expressive Power of Deep Neural Networks, arXiv 1606.05336,
        section 2, circular arcs.
    """
    return _Circle(*_ends(x0, x1))


def through(points: Float[Array | np.ndarray, "n ..."]) -> _Through:
    r"""Straight lines through points in their order, each in the same share of the time.

    $$ x(t) = x_i + (t (n - 1) - i)(x_{i + 1} - x_i), \qquad i = \lfloor t (n - 1) \rfloor $$

    Corners are cut where no sample falls on them: take as `num` one more than a multiple of n - 1.

    Args:
        points: two or more inputs, such as rows of the data; neighbours may be equal.

    Returns:
        A function of t, as `trajectory_lengths` and `transitions` take it.

    Raises:
        ValueError: there are fewer than two, they are whole numbers, or one is not finite.

    Example:
        >>> import jax.numpy as jnp
        >>> path = through(jnp.array([[0.0], [1.0], [5.0]]))
        >>> [float(path(t)[0]) for t in (0.0, 0.25, 0.5, 0.75, 1.0)]
        [0.0, 0.5, 1.0, 3.0, 5.0]
    """
    points = jnp.asarray(points)
    if points.ndim == 0 or len(points) < 2:
        raise ValueError(
            f"`points` must be two or more inputs, [n, ...], got the shape {points.shape}."
        )
    _check("points", points)
    return _Through(points)


def _ends(x0: Any, x1: Any) -> tuple[Array, Array]:
    x0, x1 = jnp.asarray(x0), jnp.asarray(x1)
    if (x0.shape, x0.dtype) != (x1.shape, x1.dtype):
        raise ValueError(
            "`x0` and `x1` must be two inputs of one shape and dtype, got "
            f"{x0.dtype}{list(x0.shape)} and {x1.dtype}{list(x1.shape)}."
        )
    _check("x0", x0)
    _check("x1", x1)
    return x0, x1


def _check(name: str, x: Array) -> None:
    require_floating(name, x, "a path runs between whole numbers too")
    # By NumPy: while a call is being compiled JAX gives no number, of an array at hand either.
    if not isinstance(x, Tracer) and not np.all(np.isfinite(np.asarray(x, float))):
        raise ValueError(f"`{name}` must be finite, got numbers that are not.")
