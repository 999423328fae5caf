"""Derivatives that an adjoint does not have, refused by name where they are asked for.

| adjoint | reverse | forward | forward over reverse | reverse over reverse |
|---|---|---|---|---|
| `Replay`, `Backsolve`, `Silent` | yes | - | yes | - |
| `diffrax.DirectAdjoint` | yes | yes | yes | yes |
| `diffrax.RecursiveCheckpointAdjoint`, `diffrax.BacksolveAdjoint` | yes | - | - | - |
| `diffrax.ForwardMode` | - | yes, to any order | - | - |
"""

from typing import Any

import diffrax
import equinox as eqx
import jax
from equinox.internal import nondifferentiable, nondifferentiable_backward
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array, PyTree

_REMEDY = "take adjoint=diffrax.DirectAdjoint(), which has derivatives of every mode and order"


def refuse_forward(inputs: PyTree, adjoint: Any) -> PyTree:
    """The inputs of a solve that has reverse mode alone.

    With one of Diffrax's adjoints it has no second derivative of any kind either.
    """
    name = type(adjoint).__name__
    message = (
        f"{name} has no forward mode (jax.jvp, jax.jacfwd, jax.linearize): {_REMEDY}, or, for an "
        "ODE, diffrax.ForwardMode(), which has forward mode alone"
    )
    again = None
    if isinstance(adjoint, diffrax.AbstractAdjoint):
        again = (
            f"{name} has no second derivatives: {_REMEDY}; with an explicit solver Replay(), the "
            "default, has forward over reverse (jax.jvp of jax.grad, jax.hessian)"
        )
    bind = lambda x: _reverse_only.bind(x, message=message, again=again)
    return _each(bind, inputs)


def refuse_reverse(outputs: PyTree, adjoint: Any, *, again: bool = False) -> PyTree:
    """The outputs of a solve that has no reverse mode, or none over its own (`again`)."""
    name = type(adjoint).__name__
    message = f"{name} has no reverse mode (jax.grad, jax.vjp): leave `adjoint` out, or {_REMEDY}"
    if again:
        message = (
            f"{name} has second derivatives as forward over reverse alone (jax.jvp of jax.grad, "
            f"jax.hessian), not as jax.grad of jax.grad: {_REMEDY}"
        )
    return _each(lambda x: nondifferentiable_backward(x, msg=message), outputs)


def refuse_times(ts: Array, adjoint: Any) -> Array:
    """The times of a solve that is not differentiated by them."""
    message = (
        f"{type(adjoint).__name__} has no gradient by ts: take pb.ode.Backsolve(), or {_REMEDY}"
    )
    return nondifferentiable(ts, msg=message)


def _each(function: Any, tree: PyTree) -> PyTree:
    arrays, rest = eqx.partition(tree, eqx.is_inexact_array)
    return eqx.combine(jax.tree.map(function, arrays), rest)


def _identity(name: str) -> Primitive:
    """A primitive that gives its first argument back."""
    primitive = Primitive(name)
    first = lambda x, *_, **__: x
    primitive.def_impl(first)
    primitive.def_abstract_eval(first)
    mlir.register_lowering(primitive, mlir.lower_fun(first, multiple_results=False))
    batching.primitive_batchers[primitive] = lambda xs, axes, **kw: (
        primitive.bind(*xs, **kw),
        axes[0],
    )
    return primitive


def _refuse(*_: Any, message: str, **__: Any) -> Any:
    raise TypeError(message)


# Reverse mode transposes the program of the tangent; forward mode runs, batches or differentiates
# it (for which it is given the input too).
_tangent = _identity("tangent_of_a_solve")
_tangent.def_impl(_refuse)
mlir.register_lowering(_tangent, _refuse)
ad.primitive_jvps[_tangent] = _refuse
batching.primitive_batchers[_tangent] = _refuse
ad.primitive_transposes[_tangent] = lambda cotangent, *_, **__: [cotangent, None]

_reverse_only = _identity("input_of_a_solve")


def _derivative(primals: tuple, tangents: tuple, *, message: str, again: str | None) -> tuple:
    (x,), (tangent,) = primals, tangents
    if again is not None:
        x = nondifferentiable(x, msg=again)
    if not isinstance(tangent, ad.Zero):
        tangent = _tangent.bind(tangent, x, message=message)
    return x, tangent


ad.primitive_jvps[_reverse_only] = _derivative
