"""A solve whose backward pass is that of its adjoint."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from pullback._clock import Clock
from pullback._modes import refuse_reverse

from ._adjoint import AbstractAdjoint, checked_gradient
from ._method import Method, Path
from ._runge_kutta import OnClock


class Static(eqx.Module):
    """A callable that is not looked into."""

    value: Callable = eqx.field(static=True)


class Given(eqx.Module):
    """A field of those parameters that the others leave."""

    field: Static
    rest: PyTree

    def __call__(self, t: Array, y: PyTree, wanted: PyTree) -> PyTree:
        """The field."""
        return self.field.value(t, y, eqx.combine(wanted, self.rest))


@eqx.filter_custom_vjp
def differentiable(
    inputs: tuple, method: Method, adjoint: AbstractAdjoint, clock: Clock, field: Static
) -> Path:
    params, y0, ts = inputs
    path = adjoint.primal(method, OnClock(field.value, clock), y0, ts, params)
    return outputs(path, y0)


def outputs(path: Path, y0: PyTree) -> Path:
    """The path with its outputs in time order, and without what only a backward pass needs."""
    ys = path.ys
    if ys is None:
        ys = jax.tree.map(lambda a, b: jnp.stack([a, b]), y0, path.y)
    return path._replace(ys=ys, record=None)


@differentiable.def_fwd
def _forward_rule(
    perturbed: PyTree,
    inputs: tuple,
    method: Method,
    adjoint: AbstractAdjoint,
    clock: Clock,
    field: Static,
) -> tuple[Path, PyTree]:
    del perturbed
    params, y0, ts = inputs
    path, residuals = adjoint.forward(method, OnClock(field.value, clock), y0, ts, params)
    return refuse_reverse((outputs(path, y0), residuals), adjoint, again=True)


@differentiable.def_bwd
def _backward_rule(
    residuals: PyTree,
    cotangent: Path,
    perturbed: PyTree,
    inputs: tuple,
    method: Method,
    adjoint: AbstractAdjoint,
    clock: Clock,
    field: Static,
) -> tuple:
    params, y0, ts = inputs
    params_perturbed, _, ts_perturbed = perturbed
    wanted, rest = eqx.partition(params, params_perturbed)
    times = ts.shape[-1]
    rows = jax.tree.map(lambda y: jnp.zeros((times, *y.shape), y.dtype), y0)
    # A cotangent that is None is zero.
    bars = jax.tree.map(
        lambda z, c: z if c is None else c, rows, cotangent.ys, is_leaf=lambda x: x is None
    )
    if any(leaf is not None for leaf in jax.tree.leaves(cotangent.y)):
        raise ValueError("the end of a path is read from its outputs")
    pulled = adjoint.backward(
        method,
        OnClock(Given(field, rest), clock),
        residuals,
        ts,
        wanted,
        bars,
        times_too=bool(ts_perturbed),
    )
    pulled = checked_gradient(adjoint, pulled, y0, ts, wanted)
    return refuse_reverse((pulled.params, pulled.y0, pulled.ts), adjoint, again=True)
