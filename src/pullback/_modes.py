"""Derivatives that an adjoint does not have, refused by name where they are asked for.

| adjoint | reverse | forward | forward over reverse | reverse over reverse |
|---|---|---|---|---|
| `Replay`, `Backsolve`, `DeferredPenalty` | yes | yes, to any order | yes | - |
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
    arrays, rest = eqx.partition(inputs, eqx.is_inexact_array)
    leaves, structure = jax.tree.flatten(arrays)
    # All at once: with one of them differentiated in reverse mode, forward mode over that may be by
    # any other.
    leaves = _reverse_only.bind(*leaves, message=message, again=again)
    return eqx.combine(jax.tree.unflatten(structure, leaves), rest)


def refuse_reverse(outputs: PyTree, adjoint: Any, *, again: bool = False) -> PyTree:
    """The outputs of a solve that has no reverse mode, or none over its derivatives (`again`)."""
    name = type(adjoint).__name__
    message = f"{name} has no reverse mode (jax.grad, jax.vjp): leave `adjoint` out, or {_REMEDY}"
    if again:
        message = (
            f"{name} has second derivatives as forward over reverse alone (jax.jvp of jax.grad, "
            f"jax.hessian), not as jax.grad of jax.grad or of jax.jvp: {_REMEDY}"
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


def _refuse(*_: Any, message: str, **__: Any) -> Any:
    raise TypeError(message)


def _identity(name: str) -> Primitive:
    """A primitive that gives its arguments back."""
    primitive = Primitive(name)
    primitive.multiple_results = True
    same = lambda *xs, **__: list(xs)
    primitive.def_impl(same)
    primitive.def_abstract_eval(same)
    mlir.register_lowering(primitive, mlir.lower_fun(same, multiple_results=True))
    batching.primitive_batchers[primitive] = lambda xs, axes, **kw: (
        primitive.bind(*xs, **kw),
        axes,
    )
    return primitive


# Reverse mode transposes the program of the tangent; forward mode runs, batches or differentiates
# it (for which it is given the input too).
_tangent = Primitive("tangent_of_a_solve")
_tangent.def_impl(_refuse)
_tangent.def_abstract_eval(lambda tangent, *_, **__: tangent)
mlir.register_lowering(_tangent, _refuse)
ad.primitive_jvps[_tangent] = _refuse
batching.primitive_batchers[_tangent] = _refuse
ad.primitive_transposes[_tangent] = lambda cotangent, *_, **__: [cotangent, None]

_reverse_only = _identity("inputs_of_a_solve")


def _derivative(
    primals: tuple, tangents: tuple, *, message: str, again: str | None
) -> tuple[list, list]:
    inputs = list(primals)
    if again is not None:
        inputs = [nondifferentiable(x, msg=again) for x in inputs]
    refused = lambda x, tangent: _tangent.bind(tangent, x, message=message)
    return inputs, [
        tangent if isinstance(tangent, ad.Zero) else refused(x, tangent)
        for x, tangent in zip(inputs, tangents, strict=True)
    ]


ad.primitive_jvps[_reverse_only] = _derivative
