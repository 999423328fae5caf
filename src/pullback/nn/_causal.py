"""Nets from a sequence to a sequence that look in one direction along it only."""

import abc
import math
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from pullback._inputs import positive
from pullback._key import checked_key


class AbstractSequenceNet(eqx.Module):
    r"""A net of one sequence, row by row: $y_{1..T} = f(x_{1..T})$ for any length T.

    A causal one lets row t of the result depend on rows up to t alone, itself included.

    Attributes:
        in_size: the size of a row that goes in.
        out_size: the size of a row that comes out.
    """

    in_size: eqx.AbstractVar[int]
    out_size: eqx.AbstractVar[int]

    @abc.abstractmethod
    def __call__(self, x: Float[Array, "time in_size"]) -> Float[Array, "time out_size"]:
        """The result of every row; `jax.vmap` over sequences."""


class AbstractSteppedNet(AbstractSequenceNet):
    r"""A causal net that can also be taken row by row, by what it keeps of the rows before.

    $$ (s_t, y_t) = \mathrm{step}(s_{t-1}, x_t), \quad s_0 = \mathrm{start}() $$

    gives the rows of `net(x)`. To draw a sequence, each row of which depends on those drawn before,
    then takes as many steps as there are rows, where a net without takes the square of it.
    """

    @abc.abstractmethod
    def start(self) -> PyTree[Array]:
        """The state before the first row."""

    @abc.abstractmethod
    def step(
        self, state: PyTree[Array], row: Float[Array, " in_size"]
    ) -> tuple[PyTree[Array], Float[Array, " out_size"]]:
        """The state after a row, and the result of that row.

        Args:
            state: after the row before.
            row: what goes in.

        For `jax.lax.scan`, which wants a function that can be hashed, write
        `lambda state, row: net.step(state, row)`: a method of a net cannot be.
        """


class CausalConvNet(AbstractSteppedNet):
    r"""Residual convolutions over the past, dilated so that a few reach far back.

    $$ h \leftarrow h + \phi\Big( \sum_{j=0}^{k-1} W_j h_{t - j d} + b \Big), \qquad
       d = d_1, d_2, \ldots $$

    between an affine layer for each row at the start and one at the end. Row t sees
    $1 + (k - 1) \sum d$ rows, `reach`: itself and those just before it.

    Args:
        in_size: the size of a row that goes in.
        out_size: the size of a row that comes out.
        width: the size of a row between.
        dilations: of the convolutions, one after another.
        kernel: k, the rows that each convolution looks at.
        activation: $\phi$.
        dtype: of the weights; JAX's default float if None.
        key: for the weights.

    Raises:
        ValueError: a size or a dilation is below 1.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> net = CausalConvNet(3, 2, width=8, key=jax.random.key(0))
        >>> net(jnp.ones((5, 3))).shape, net.reach
        ((5, 2), 16)

    Source: van den Oord et al., WaveNet, arXiv 1609.03499, section 2.1.
    """

    first: eqx.nn.Linear
    weights: tuple[Float[Array, "kernel*width width"], ...]
    biases: tuple[Float[Array, " width"], ...]
    last: eqx.nn.Linear
    in_size: int = eqx.field(static=True)
    out_size: int = eqx.field(static=True)
    dilations: tuple[int, ...] = eqx.field(static=True)
    kernel: int = eqx.field(static=True)
    activation: Callable[[Any], Any] = eqx.field(static=True)

    def __init__(
        self,
        in_size: int,
        out_size: int,
        width: int,
        *,
        dilations: Sequence[int] = (1, 2, 4, 8),
        kernel: int = 2,
        activation: Callable[[Any], Any] = jax.nn.relu,
        dtype: Any = None,
        key: PRNGKeyArray,
    ):
        key = checked_key(key)
        positive(in_size=in_size, out_size=out_size, width=width, kernel=kernel)
        if min(dilations, default=1) < 1:
            raise ValueError(f"`dilations` must each be 1 or more, got {tuple(dilations)}.")
        first, last, *keys = jr.split(key, 2 + len(dilations))
        self.first = eqx.nn.Linear(in_size, width, dtype=dtype, key=first)
        self.last = eqx.nn.Linear(width, out_size, dtype=dtype, key=last)
        bound = 1 / math.sqrt(kernel * width)
        self.weights = tuple(
            jr.uniform(key, (kernel * width, width), dtype, -bound, bound) for key in keys
        )
        self.biases = tuple(jnp.zeros(width, dtype) for _ in keys)
        self.in_size, self.out_size = in_size, out_size
        self.dilations = tuple(dilations)
        self.kernel = kernel
        self.activation = activation

    @property
    def reach(self) -> int:
        """How many rows a row of the result sees."""
        return 1 + (self.kernel - 1) * sum(self.dilations)

    def __call__(self, x: Float[Array, "time in_size"]) -> Float[Array, "time out_size"]:
        """The result of every row."""
        h = jax.vmap(self.first)(x)
        for weight, bias, dilation in zip(self.weights, self.biases, self.dilations, strict=True):
            # One matrix product: XLA's convolution is several times slower in a loop on a CPU.
            seen = [_earlier(h, dilation * lag) for lag in range(self.kernel)]
            h = h + self.activation(jnp.concatenate(seen, axis=1) @ weight + bias[None])
        return jax.vmap(self.last)(h)

    def start(self) -> tuple[Float[Array, "_ width"], ...]:
        """The rows before the first, of what goes into each convolution: zeros."""
        past = [(self.kernel - 1) * dilation for dilation in self.dilations]
        return tuple(
            jnp.zeros((rows, len(bias)), bias.dtype)
            for rows, bias in zip(past, self.biases, strict=True)
        )

    def step(
        self, state: tuple[Float[Array, "_ width"], ...], row: Float[Array, " in_size"]
    ) -> tuple[tuple[Float[Array, "_ width"], ...], Float[Array, " out_size"]]:
        """The rows that are still in reach, and the result of a row."""
        h, kept = self.first(row), []
        layers = zip(state, self.weights, self.biases, self.dilations, strict=True)
        for past, weight, bias, dilation in layers:
            rows = jnp.concatenate([past, h[None]])
            kept.append(rows[1:])
            seen = rows[::-dilation].ravel()
            h = h + self.activation(seen @ weight + bias)
        return tuple(kept), self.last(h)


class RecurrentNet(AbstractSteppedNet):
    r"""A GRU along the sequence, read out at every row.

    $$ h_t = \mathrm{GRU}(h_{t-1}, x_t), \quad h_0 = 0, \qquad y_t = W h_t + b $$

    Args:
        in_size: the size of a row that goes in.
        out_size: the size of a row that comes out.
        width: the size of the state.
        dtype: of the weights; JAX's default float if None.
        key: for the weights.

    Raises:
        ValueError: a size is below 1.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> net = RecurrentNet(3, 2, width=8, key=jax.random.key(0))
        >>> net(jnp.ones((5, 3))).shape
        (5, 2)

    Source: Cho et al., arXiv 1406.1078.
    """

    cell: eqx.nn.GRUCell
    last: eqx.nn.Linear
    in_size: int = eqx.field(static=True)
    out_size: int = eqx.field(static=True)

    def __init__(
        self, in_size: int, out_size: int, width: int, *, dtype: Any = None, key: PRNGKeyArray
    ):
        key = checked_key(key)
        positive(in_size=in_size, out_size=out_size, width=width)
        cell, last = jr.split(key)
        self.cell = eqx.nn.GRUCell(in_size, width, dtype=dtype, key=cell)
        self.last = eqx.nn.Linear(width, out_size, dtype=dtype, key=last)
        self.in_size, self.out_size = in_size, out_size

    def __call__(self, x: Float[Array, "time in_size"]) -> Float[Array, "time out_size"]:
        """The result of every row."""

        def step(h: Array, row: Array) -> tuple[Array, Array]:
            h = self.cell(row, h)
            return h, h

        _, states = jax.lax.scan(step, self.start(), x)
        return jax.vmap(self.last)(states)

    def start(self) -> Float[Array, " width"]:
        """The state before the first row, zeros."""
        return jnp.zeros(self.cell.hidden_size, self.cell.weight_hh.dtype)

    def step(
        self, state: Float[Array, " width"], row: Float[Array, " in_size"]
    ) -> tuple[Float[Array, " width"], Float[Array, " out_size"]]:
        """The state after a row, and the result of that row."""
        h = self.cell(row, state)
        return h, self.last(h)


class AntiCausal(AbstractSequenceNet):
    """A causal net from the other end: row t of the result sees rows t and later alone.

    Args:
        net: a causal net.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> net = AntiCausal(RecurrentNet(3, 2, width=8, key=jax.random.key(0)))
        >>> net(jnp.ones((5, 3))).shape
        (5, 2)

    Source: Razavi et al., Preventing Posterior Collapse with delta-VAEs, arXiv 1901.03416: the
    encoder of a decoder that knows the past has the rest to tell.
    """

    net: AbstractSequenceNet
    in_size: int = eqx.field(static=True)
    out_size: int = eqx.field(static=True)

    def __init__(self, net: AbstractSequenceNet):
        self.net = net
        self.in_size, self.out_size = net.in_size, net.out_size

    def __call__(self, x: Float[Array, "time in_size"]) -> Float[Array, "time out_size"]:
        """The result of every row."""
        return self.net(x[::-1])[::-1]


def delayed(
    x: Float[Array, "time size"], start: Float[Array, " size"]
) -> Float[Array, "time size"]:
    """Row t - 1 in the place of row t, and `start` in that of the first.

    A causal net of it is strictly causal in x: its row t sees rows before t alone.
    """
    return jnp.concatenate([start[None], x[:-1]])


def _earlier(h: Float[Array, "time size"], lag: int) -> Float[Array, "time size"]:
    return jnp.pad(h, ((lag, 0), (0, 0)))[: len(h)]
