"""A solve whose backward pass is that of its adjoint."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from pullback._clock import Clock
from pullback._lanes import State
from pullback._linear import linear
from pullback._modes import refuse_reverse

from ._adjoint import AbstractAdjoint, checked_gradient
from ._deferred_penalty import DeferredPenalty
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


@eqx.filter_custom_jvp
def differentiable(
    inputs: tuple, method: Method, adjoint: AbstractAdjoint, clock: Clock, field: Static
) -> Path:
    """The path by the inputs `(params, y0, ts)`, in each mode with the derivative of `adjoint`."""
    params, y0, ts = inputs
    path = adjoint.primal(method, OnClock(field.value, clock), y0, ts, params)
    return outputs(path, y0)


def outputs(path: Path, y0: PyTree) -> Path:
    """The path with its outputs in time order, and without what only a backward pass needs."""
    ys = path.ys
    if ys is None:
        ys = jax.tree.map(lambda a, b: jnp.stack([a, b]), y0, path.y)
    return path._replace(ys=ys, record=None)


@differentiable.def_jvp
def _derivative(primals: tuple, tangents: tuple) -> tuple[Path, Path]:
    inputs, method, adjoint, clock, field = primals
    params, y0, ts = inputs
    path, residuals = adjoint.forward(method, OnClock(field.value, clock), y0, ts, params)
    path, residuals = refuse_reverse((outputs(path, y0), residuals), adjoint, again=True)
    moves = jax.tree.map(lambda x: x is not None, tangents[0], is_leaf=lambda x: x is None)
    given = moves, inputs, residuals, method, adjoint, clock, field
    slopes = linear(_push, _pull, given, tangents[0], path.ys)
    none = jax.tree.map(lambda _: None, path)
    return path, none._replace(ys=slopes)


def _push(given: tuple, tangents: PyTree) -> PyTree:
    """The slopes of the outputs: of the steps that are taken, at their sizes."""
    perturbed, inputs, _, method, adjoint, clock, field = given
    # It leaves out of the forward pass what has a slope all the same.
    whole = adjoint.adjoint if isinstance(adjoint, DeferredPenalty) else adjoint
    moved, held = eqx.partition(inputs, perturbed)

    def solved(moved: PyTree) -> PyTree:
        params, y0, ts = eqx.combine(moved, held)
        path = whole.primal(method, OnClock(field.value, clock), y0, ts, params)
        return outputs(path, y0).ys

    _, slopes = jax.jvp(solved, (moved,), (tangents,))
    return refuse_reverse(slopes, adjoint, again=True)


def _pull(given: tuple, bars: State) -> tuple:
    """The gradient by what the tangents are of, which `perturbed` marks."""
    perturbed, inputs, residuals, method, adjoint, clock, field = given
    params, y0, ts = inputs
    params_perturbed, y0_perturbed, ts_perturbed = perturbed
    wanted, rest = eqx.partition(params, params_perturbed)
    pulled = adjoint.backward(
        method,
        OnClock(Given(field, rest), clock),
        residuals,
        ts,
        wanted,
        bars,
        times_too=ts_perturbed,
    )
    pulled = checked_gradient(adjoint, pulled, y0, ts, wanted)
    found = pulled.params, eqx.filter(pulled.y0, y0_perturbed), eqx.filter(pulled.ts, ts_perturbed)
    return refuse_reverse(found, adjoint, again=True)
