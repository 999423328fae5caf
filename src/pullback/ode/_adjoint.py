"""What an adjoint is: how the forward pass is kept, and how a cotangent is pulled back."""

import abc
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from ._lanes import State
from ._loop import Method, Path
from ._result import Stats
from ._runge_kutta import Field


class Pulled(NamedTuple):
    """The gradient of a solve: with respect to the start, the times and the parameters."""

    y0: State
    ts: Float[Array, "*lanes times"]
    params: PyTree
    stats: Stats


class AbstractAdjoint(eqx.Module):
    """How a solve is differentiated in reverse mode."""

    @abc.abstractmethod
    def primal(self, method: Method, field: Field, y0: State, ts: Array, params: PyTree) -> Path:
        """Solve where no gradient is asked for."""

    @abc.abstractmethod
    def forward(
        self, method: Method, field: Field, y0: State, ts: Array, params: PyTree
    ) -> tuple[Path, Any]:
        """Solve, and return with the path whatever `backward` needs."""

    @abc.abstractmethod
    def backward(
        self,
        method: Method,
        field: Field,
        residuals: Any,
        ts: Array,
        params: PyTree,
        cotangent: State,
        *,
        times_too: bool,
    ) -> Pulled:
        """Pull back `cotangent`, which has the outputs' times as its leading axis.

        Leaves of `params` that are not differentiated are None. The gradient of `ts` is zero
        unless `times_too`.
        """


def split(params: PyTree) -> tuple[PyTree, PyTree]:
    """The floating leaves of `params`, and the rest."""
    return eqx.partition(params, eqx.is_inexact_array)


def zeros_like(x: PyTree) -> PyTree:
    """Zeros in the shape of `x`."""
    return jax.tree.map(jnp.zeros_like, x)
