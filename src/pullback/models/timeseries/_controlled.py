"""A state that is driven by a path: the field of a neural CDE, and the way along a piece of it."""

import itertools
from collections.abc import Callable
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray, ScalarLike

from pullback._inputs import positive
from pullback._key import checked_key
from pullback.ode import advance, tableau_of


class CDEField(eqx.Module):
    r"""The matrix by which a state of `size` answers to a path of `channels`.

    $$ dz = F(z)\, dX, \qquad F(z) = \tanh(W_L \tanh(W_{L-1} \tanh(\cdots) + b_{L-1}) + b_L)
       \in (-1, 1)^{\mathrm{size} \times \mathrm{channels}} $$

    The bound keeps a state that is driven by a long path from running away. Along a Diffrax path
    `X` of the reader's own the equation is solved by `pb.ode.solve`, as in the example.

    Args:
        size: of the state.
        channels: of the path.
        width: of a hidden layer.
        depth: number of hidden layers.
        dtype: of the weights; JAX's default float if None.
        key: for the weights.

    Raises:
        ValueError: a size is below 1.

    Example:
        >>> import diffrax, jax, jax.numpy as jnp, pullback as pb
        >>> field = CDEField(4, 2, key=jax.random.key(0))
        >>> ts = jnp.linspace(0.0, 1.0, 6)
        >>> xs = jnp.stack([ts, jnp.sin(6 * ts)], axis=1)
        >>> X = diffrax.CubicInterpolation(ts, diffrax.backward_hermite_coefficients(ts, xs))
        >>> along = lambda t, z, args: args[0](z) @ args[1].derivative(t)
        >>> pb.ode.solve(along, jnp.ones(4), ts, (field, X)).ys.shape
        (6, 4)

    Source: Kidger et al., Neural Controlled Differential Equations for Irregular Time Series,
        arXiv 2005.08926, section 3 and appendix D (the final tanh).
    """

    layers: tuple[eqx.nn.Linear, ...]
    shape: tuple[int, int] = eqx.field(static=True)

    def __init__(
        self,
        size: int,
        channels: int,
        *,
        width: int = 50,
        depth: int = 1,
        dtype: Any = None,
        key: PRNGKeyArray,
    ):
        key = checked_key(key)
        positive(size=size, channels=channels, width=width, depth=depth)
        sizes = [size, *[width] * depth, size * channels]
        keys = jr.split(key, depth + 1)
        self.layers = tuple(
            eqx.nn.Linear(wide, out, dtype=dtype, key=k)
            for (wide, out), k in zip(itertools.pairwise(sizes), keys, strict=True)
        )
        self.shape = size, channels

    def __call__(self, z: Float[Array, " size"]) -> Float[Array, "size channels"]:
        """The matrix at the state `z`."""
        return jnp.tanh(self.layers[-1](self._hidden(z))).reshape(self.shape)

    def columns(self, z: Float[Array, " size"], some: slice) -> Float[Array, "size some"]:
        """Some columns of the matrix, without the work of the others."""
        last: Any = self.layers[-1]
        weight = last.weight.reshape(*self.shape, last.in_features)[:, some]
        bias = last.bias.reshape(self.shape)[:, some]
        found = weight.reshape(-1, last.in_features) @ self._hidden(z) + bias.reshape(-1)
        return jnp.tanh(found).reshape(bias.shape)

    def _hidden(self, z: Array) -> Array:
        for layer in self.layers[:-1]:
            z = jnp.tanh(layer(z))
        return z


class Drive(eqx.Module):
    """How a state crosses one piece of a path, in a fixed number of steps.

    Attributes:
        field: from a state to its matrix, a `CDEField` or a function.
        steps: for each piece.
        solver: an explicit Runge-Kutta method of Diffrax's.

    Raises:
        ValueError: `steps` is below 1, or `solver` is not an explicit method.
        TypeError: `steps` is no whole number.
    """

    field: Any
    steps: int = eqx.field(static=True)
    solver: diffrax.AbstractSolver = eqx.field(default=diffrax.Bosh3(), static=True)

    def __check_init__(self) -> None:
        positive(steps=self.steps)
        if tableau_of(self.solver) is None:
            raise ValueError(f"`solver` must be an explicit Runge-Kutta method, got {self.solver}.")

    def __call__(
        self,
        z: Float[Array, " size"],
        velocity: Callable[[ScalarLike], Array],
        some: slice | None = None,
    ) -> Float[Array, " size"]:
        """The state at the end of a piece whose velocity is given from 0 to 1, in some channels."""
        tableau: Any = tableau_of(self.solver)  # checked on construction
        step = jnp.asarray(1 / self.steps, z.dtype)
        matrix = self.field if some is None else lambda z: self.field.columns(z, some)
        along = lambda s, z, _: matrix(z) @ velocity(s)

        def one(z: Array, number: Array) -> tuple[Array, None]:
            return advance(tableau, along, number.astype(z.dtype) * step, step, z, None), None

        if self.steps == 1:
            return one(z, jnp.zeros((), z.dtype))[0]
        return jax.lax.scan(one, z, jnp.arange(self.steps))[0]


def drive(
    size: int,
    variables: int,
    *,
    width: int,
    depth: int,
    steps: int,
    dtype: Any,
    key: PRNGKeyArray,
) -> tuple[eqx.nn.Linear, Drive]:
    """The start of a state from a first observation, and its way from there."""
    start_key, field_key = jr.split(key)
    positive(variables=variables, size=size)
    start = eqx.nn.Linear(2 * variables, size, dtype=dtype, key=start_key)
    field = CDEField(size, 1 + 2 * variables, width=width, depth=depth, dtype=dtype, key=field_key)
    return start, Drive(field, steps)


def begin(start: eqx.nn.Linear, x: Array, mask: Array) -> Array:
    """The state at the first observation of a series."""
    dtype = start.weight.dtype
    return start(jnp.concatenate([x.astype(dtype), mask.astype(dtype)]))
