"""Recurrent cells of one interface: a transition between observations, and a jump at each."""

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Bool, Float, PRNGKeyArray, PyTree

from pullback._key import checked_key

from ._dynamics import positive
from ._transitions import AbstractTransition, PiecewiseConstant


class AbstractCell(eqx.Module):
    """A recurrent state that evolves between observations and jumps at each of them.

    Attributes:
        features: the size of what `read` returns.
    """

    features: eqx.AbstractVar[int]

    @abc.abstractmethod
    def start(self) -> PyTree[Float[Array, "..."]]:
        """The state before any observation."""

    @abc.abstractmethod
    def evolve(self, state: PyTree, t0: Float[Array, ""], t1: Float[Array, ""]) -> PyTree:
        """The state at `t1` of one that is `state` at `t0`, with no observation in between."""

    @abc.abstractmethod
    def jump(
        self, state: PyTree, x: Float[Array, " variables"], mask: Bool[Array, " variables"]
    ) -> PyTree:
        """The state after an observation; `x` is 0 where `mask` is False."""

    @abc.abstractmethod
    def read(self, state: PyTree) -> Float[Array, " features"]:
        """What the networks after the cell see of the state."""


class GRUCell(AbstractCell):
    r"""A masked GRU whose hidden state evolves between observations.

    $$ h'_i = \mathrm{evolve}(h_{i-1}; t_{i-1} \to t_i), \qquad
       h_i = \mathrm{GRU}(h'_i, [x_i \odot m_i, m_i]) $$

    The transition makes it a plain GRU (`PiecewiseConstant`), the RNN-Decay (`Decay`) or the
    ODE-RNN (`ODETransition`).

    Args:
        variables: of the series.
        size: of the hidden state.
        transition: of the state between observations.
        time_gap: whether the time since the last observation is a third input of the jump.
        dtype: of the weights; JAX's default float if None.
        key: for the weights.

    Raises:
        ValueError: a size is below 1.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from pullback.models.timeseries import ODETransition, TanhField, run_cell
        >>> cell = GRUCell(1, 4, transition=ODETransition(TanhField(4, key=jax.random.key(0))),
        ...                key=jax.random.key(1))
        >>> path = run_cell(cell, jnp.array([0.0, 0.7]), jnp.ones((2, 1)), jnp.ones((2, 1), bool))
        >>> path.before[0].shape, cell.read(path.last).shape
        ((2, 4), (4,))

    Source: Rubanova et al., arXiv 1907.03907, algorithm 1.
    """

    gru: eqx.nn.GRUCell
    transition: AbstractTransition
    time_gap: bool = eqx.field(static=True)
    features: int = eqx.field(static=True)

    def __init__(
        self,
        variables: int,
        size: int,
        *,
        transition: AbstractTransition | None = None,
        time_gap: bool = False,
        dtype: Any = None,
        key: PRNGKeyArray,
    ):
        key = checked_key(key)
        positive(variables=variables, size=size)
        self.gru = eqx.nn.GRUCell(2 * variables + time_gap, size, dtype=dtype, key=key)
        self.transition = PiecewiseConstant() if transition is None else transition
        self.time_gap = time_gap
        self.features = size

    def start(self) -> tuple[Array, Array]:
        dtype = self.gru.weight_hh.dtype
        return jnp.zeros(self.features, dtype), jnp.zeros(1, dtype)

    def evolve(self, state: tuple[Array, Array], t0: Array, t1: Array) -> tuple[Array, Array]:
        h, gap = state
        return self.transition(h, t0, t1), gap + jnp.abs(t1 - t0).astype(gap.dtype)[None]

    def jump(self, state: tuple[Array, Array], x: Array, mask: Array) -> tuple[Array, Array]:
        h, gap = state
        inputs = [x.astype(h.dtype), mask.astype(h.dtype)] + [gap] * self.time_gap
        return self.gru(jnp.concatenate(inputs), h), jnp.zeros_like(gap)

    def read(self, state: tuple[Array, Array]) -> Array:
        return state[0]


class GRUDCell(AbstractCell):
    r"""A GRU in which inputs decay to a mean and the hidden state to zero, as in GRU-D.

    With $\delta$ the time since each variable was last observed, and $\gamma(\delta) =
    e^{-\max(0, W \delta + b)}$ of each kind (diagonal for the inputs),

    $$ h'_i = \gamma_h(\delta) \odot h_{i-1}, \qquad
       \hat x = m \odot x + (1 - m) \odot (\gamma_x \odot x_{\mathrm{last}} +
       (1 - \gamma_x) \odot \bar x), \qquad h_i = \mathrm{GRU}(h'_i, [\hat x, m]) $$

    The mean $\bar x$ is a parameter that starts at 0: standardise the values.

    Args:
        variables: of the series.
        size: of the hidden state.
        dtype: of the weights; JAX's default float if None.
        key: for the weights.

    Raises:
        ValueError: a size is below 1.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> cell = GRUDCell(2, 4, key=jax.random.key(0))
        >>> cell.read(cell.start()).shape
        (4,)

    Source: Che et al., "Recurrent Neural Networks for Multivariate Time Series with Missing
    Values", arXiv 1606.01865, section 2.
    """

    gru: eqx.nn.GRUCell
    hidden_decay: eqx.nn.Linear
    input_decay: tuple[Float[Array, " variables"], Float[Array, " variables"]]
    mean: Float[Array, " variables"]
    features: int = eqx.field(static=True)

    def __init__(self, variables: int, size: int, *, dtype: Any = None, key: PRNGKeyArray):
        key, decay_key = jr.split(checked_key(key))
        positive(variables=variables, size=size)
        self.gru = eqx.nn.GRUCell(2 * variables, size, dtype=dtype, key=key)
        self.hidden_decay = eqx.nn.Linear(variables, size, dtype=dtype, key=decay_key)
        self.mean = jnp.zeros(variables, dtype)
        self.input_decay = (jnp.ones(variables, dtype), jnp.zeros(variables, dtype))
        self.features = size

    def start(self) -> tuple[Array, Array, Array]:
        return jnp.zeros(self.features, self.mean.dtype), self.mean, jnp.zeros_like(self.mean)

    def evolve(self, state: tuple, t0: Array, t1: Array) -> tuple[Array, Array, Array]:
        h, last, since = state
        return h, last, since + jnp.abs(t1 - t0).astype(since.dtype)[None]

    def jump(self, state: tuple, x: Array, mask: Array) -> tuple[Array, Array, Array]:
        _, last, since = state
        weight, bias = self.input_decay
        gamma = jnp.exp(-jax.nn.relu(weight * since + bias))
        x = x.astype(last.dtype)
        filled = jnp.where(mask, x, gamma * last + (1 - gamma) * self.mean)
        h = self.gru(jnp.concatenate([filled, mask.astype(x.dtype)]), self.read(state))
        return h, jnp.where(mask, x, last), jnp.where(mask, 0.0, since)

    def read(self, state: tuple) -> Array:
        h, _, since = state
        return h * jnp.exp(-jax.nn.relu(self.hidden_decay(since)))


class GaussianGRUCell(AbstractCell):
    r"""A GRU whose state is a mean $y$ and a spread $s$, as the latent ODE's encoder carries them.

    $$ u, r = \sigma(W \tanh(W' [y, s, x, m])), \qquad
       (\tilde y, \tilde s) = \mathrm{MLP}([y \odot r, s \odot r, x, m]), $$

    $$ y \leftarrow (1 - u) \tilde y + u y, \qquad s \leftarrow |(1 - u) |\tilde s| + u s| $$

    Between observations the transition moves the mean only. With `time_gap` the time since the last
    observation is an input of the jump, and the last feature that is read, so that what comes after
    knows how far the last observation lies.

    Args:
        variables: of the series.
        size: of the mean, and of the spread.
        width: of the hidden layers of the gates.
        transition: of the mean between observations.
        time_gap: whether the cell sees the time since the last observation.
        dtype: of the weights; JAX's default float if None.
        key: for the weights.

    Raises:
        ValueError: a size is below 1.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> cell = GaussianGRUCell(1, 3, key=jax.random.key(0))
        >>> y, s, _ = cell.jump(cell.start(), jnp.ones(1), jnp.ones(1, bool))
        >>> bool(jnp.all(s >= 0)), cell.features
        (True, 6)

    Source: Rubanova et al., arXiv 1907.03907, section 3.2, and `GRU_unit` of its code.
    """

    gates: eqx.nn.MLP
    candidate: eqx.nn.MLP
    transition: AbstractTransition
    size: int = eqx.field(static=True)
    time_gap: bool = eqx.field(static=True)
    features: int = eqx.field(static=True)

    def __init__(
        self,
        variables: int,
        size: int,
        *,
        width: int = 50,
        transition: AbstractTransition | None = None,
        time_gap: bool = False,
        dtype: Any = None,
        key: PRNGKeyArray,
    ):
        gate_key, candidate_key = jr.split(checked_key(key))
        positive(variables=variables, size=size, width=width)
        wide = 2 * size + 2 * variables + time_gap
        # The two gates side by side: one matrix product in place of two.
        self.gates = eqx.nn.MLP(
            wide, 2 * size, 2 * width, 1, jnp.tanh, jax.nn.sigmoid, dtype=dtype, key=gate_key
        )
        self.candidate = eqx.nn.MLP(
            wide, 2 * size, width, 1, jnp.tanh, dtype=dtype, key=candidate_key
        )
        self.transition = PiecewiseConstant() if transition is None else transition
        self.size = size
        self.time_gap = time_gap
        self.features = 2 * size + time_gap

    def start(self) -> tuple[Array, Array, Array]:
        zeros = jnp.zeros(self.size, self.gates.layers[0].weight.dtype)
        return zeros, zeros, zeros[:1]

    def evolve(self, state: tuple, t0: Array, t1: Array) -> tuple[Array, Array, Array]:
        y, s, gap = state
        return self.transition(y, t0, t1), s, gap + jnp.abs(t1 - t0).astype(gap.dtype)[None]

    def jump(self, state: tuple, x: Array, mask: Array) -> tuple[Array, Array, Array]:
        y, s, gap = state
        seen = [x.astype(y.dtype), mask.astype(y.dtype)] + [gap] * self.time_gap
        u, r = jnp.split(self.gates(jnp.concatenate([y, s, *seen])), 2)
        new_y, new_s = jnp.split(self.candidate(jnp.concatenate([y * r, s * r, *seen])), 2)
        y = (1 - u) * new_y + u * y
        s = (1 - u) * jnp.abs(new_s) + u * s
        return y, s, jnp.zeros_like(gap)

    def read(self, state: tuple) -> Array:
        y, s, gap = state
        return jnp.concatenate([y, s] + [gap] * self.time_gap)
