"""Derivatives that an adjoint does not have, refused by name where they are asked for.

| adjoint | reverse | forward | forward over reverse | reverse over reverse |
|---|---|---|---|---|
| `Replay`, `Backsolve`, `DeferredPenalty` | yes | yes, to any order | yes | - |
| `diffrax.DirectAdjoint` | yes | yes | yes | yes |
| `diffrax.RecursiveCheckpointAdjoint`, `diffrax.BacksolveAdjoint` | yes | yes | - | - |
| `diffrax.ForwardMode` | - | yes, to any order | - | - |
"""

from typing import Any

import equinox as eqx
import jax
from equinox.internal import nondifferentiable, nondifferentiable_backward
from jaxtyping import Array, PyTree

_REMEDY = "take adjoint=diffrax.DirectAdjoint(), which has derivatives of every mode and order"


def no_second(adjoint: Any) -> str:
    """The error where a second derivative is asked for of a solve by one of Diffrax's adjoints."""
    return (
        f"{type(adjoint).__name__} has no second derivatives: {_REMEDY}; with an explicit solver "
        "Replay(), the default, has forward over reverse (jax.jvp of jax.grad, jax.hessian)"
    )


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
