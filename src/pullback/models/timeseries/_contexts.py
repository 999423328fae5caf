"""What the posterior's drift is told of a series, at each time."""

import abc
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from pullback._inputs import positive
from pullback._key import checked_key

from ._cells import AbstractCell
from ._recurrent_cell import recurrent_cell
from ._run_cell import run_cell


class PathContext(NamedTuple):
    """A value for each stretch of time: `values[i]` up to `times[i]`, and nothing after the last.

    Attributes:
        times: increasing, `[time]`.
        values: `[time, context]`.
    """

    times: Float[Array, "*batch time"]
    values: Float[Array, "*batch time context"]

    def at(self, t: Float[Array, ""]) -> tuple[Float[Array, " context"], Bool[Array, ""]]:
        """The value at time `t` of one series, and whether there is one."""
        place = jnp.searchsorted(self.times, t, side="right")
        last = self.times.shape[0] - 1
        return self.values[jnp.minimum(place, last)], place <= last


class AbstractContextEncoder(eqx.Module):
    """From one series to its context."""

    context: eqx.AbstractVar[int]

    @abc.abstractmethod
    def __call__(
        self,
        times: Float[Array, " time"],
        values: Float[Array, "time variable"],
        mask: Bool[Array, "time variable"],
    ) -> PathContext:
        """The context of one series."""


class RecurrentContext(AbstractContextEncoder):
    r"""A recurrent cell from the last observation to the first: at any time, what is yet to come.

    After the last observation, which may be before the end of the window, there is nothing more to
    know, so there is no context, and the posterior goes on as the prior does: that is exact.

    Args:
        variables: of the series.
        size: of the cell's state.
        context: size of the context.
        dtype: of the weights; JAX's default float if None.
        key: for the weights.

    Raises:
        ValueError: a size is below 1.

    Source: Li et al., arXiv 2001.01328, section 5; the example `latent_sde_lorenz.py` of torchsde.
    """

    cell: AbstractCell
    readout: eqx.nn.Linear
    context: int = eqx.field(static=True)

    def __init__(
        self,
        variables: int,
        *,
        size: int = 100,
        context: int = 64,
        dtype: Any = None,
        key: PRNGKeyArray,
    ):
        key = checked_key(key)
        positive(variables=variables, size=size, context=context)
        cell_key, key = jr.split(key)
        self.cell = recurrent_cell("gru-gap", variables, size, dtype=dtype, key=cell_key)
        self.readout = eqx.nn.Linear(self.cell.features, context, dtype=dtype, key=key)
        self.context = context

    def __call__(
        self,
        times: Float[Array, " time"],
        values: Float[Array, "time variable"],
        mask: Bool[Array, "time variable"],
    ) -> PathContext:
        path = run_cell(self.cell, times, values, mask, reverse=True)
        values = jax.vmap(lambda s: self.readout(self.cell.read(s)))(path.after)
        return PathContext(_until_last(times, mask), values)


class NoContext(AbstractContextEncoder):
    """A context of no numbers, which lasts until the last observation.

    For a model of one series: what there is to know of it is learned by the weights. After the last
    observation the posterior goes on as the prior does.

    Example:
        >>> import jax.numpy as jnp
        >>> seen = jnp.array([True, True, False])[:, None]
        >>> context = NoContext()(jnp.arange(3.0), jnp.ones((3, 1)), seen)
        >>> [bool(context.at(t)[1]) for t in jnp.array([0.5, 1.5])]
        [True, False]
    """

    context: int = eqx.field(static=True, default=0)

    def __call__(
        self,
        times: Float[Array, " time"],
        values: Float[Array, "time variable"],
        mask: Bool[Array, "time variable"],
    ) -> PathContext:
        """A context of width 0."""
        return PathContext(_until_last(times, mask), jnp.zeros((times.shape[0], 0), values.dtype))


class FirstFramesContext(AbstractContextEncoder):
    r"""A net of the first few rows of a series: one context for all time.

    For series that are conditioned on their beginning and predicted from there on.

    Args:
        variables: of the series.
        frames: how many rows it sees; those that are not observed count as zero.
        context: size of the context.
        width: of the hidden layer.
        dtype: of the weights; JAX's default float if None.
        key: for the weights.

    Raises:
        ValueError: a size is below 1, or a series is shorter than `frames`.

    Source: Li et al., arXiv 2001.01328, section 7.3.
    """

    net: eqx.nn.MLP
    frames: int = eqx.field(static=True)
    context: int = eqx.field(static=True)

    def __init__(
        self,
        variables: int,
        *,
        frames: int = 3,
        context: int = 3,
        width: int = 30,
        dtype: Any = None,
        key: PRNGKeyArray,
    ):
        key = checked_key(key)
        positive(variables=variables, frames=frames, context=context, width=width)
        self.net = eqx.nn.MLP(
            frames * variables, context, width, 1, jax.nn.softplus, dtype=dtype, key=key
        )
        self.frames, self.context = frames, context

    def __call__(
        self,
        times: Float[Array, " time"],
        values: Float[Array, "time variable"],
        mask: Bool[Array, "time variable"],
    ) -> PathContext:
        if times.shape[0] < self.frames:
            raise ValueError(
                f"a series has {times.shape[0]} rows, and the context is made of the first "
                f"{self.frames}."
            )
        first = jnp.where(mask, values, 0.0)[: self.frames]
        forever = jnp.full(1, jnp.inf, times.dtype)
        return PathContext(forever, self.net(first.ravel())[None])


def _until_last(times: Array, mask: Array) -> Array:
    """The times, none of them after that of the last observation."""
    seen = jnp.any(mask, axis=-1)
    return jnp.minimum(times, jnp.max(jnp.where(seen, times, times[0])))
