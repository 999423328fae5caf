"""A user's function, traced anew at each call, so that no program is served that it has outgrown.

A compiled program is found again by what it computes, not by which function it was made of: what
the function read when it was traced is either an input of the program (arrays) or a part of its key
(everything else).
"""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, jaxpr_as_fun
from jaxtyping import Array, PyTree

from pullback._on_device import on_device
from pullback._program_key import key_of


class Program:
    """What a function computes: equal to another that computes the same."""

    def __init__(
        self, function: Any, jaxpr: Jaxpr, out: PyTree, *, differentiable: bool = True
    ) -> None:
        self.jaxpr = jaxpr
        self.out = out
        key = key_of(function, jaxpr, differentiable=differentiable)
        self._key = (key, jax.tree.structure(out))
        self._hash = hash(self._key)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Program) or self._hash != other._hash or self._key != other._key:
            return False
        self._key = other._key  # so that the next comparison ends at once
        return True

    def __call__(self, consts: list[Array], *inputs: PyTree) -> PyTree:
        """The function's value."""
        values = jaxpr_as_fun(ClosedJaxpr(self.jaxpr, consts))(*jax.tree.leaves(inputs))
        # One that is constant comes as a scalar of NumPy's.
        return jax.tree.unflatten(jax.tree.structure(self.out), [jnp.asarray(v) for v in values])


def traced(
    name: str, function: Callable, *inputs: PyTree, same_as: Any, differentiable: bool = True
) -> tuple[list[Array], Program]:
    """The arrays that `function` reads beside its inputs, and what it computes from both.

    The arrays are tracers where it closes over what is being differentiated or compiled. `same_as`
    is the user's own function, which tells programs apart that no jaxpr can, and `name` its name.
    One that is not `differentiable` is never differentiated by who calls it.
    """
    try:
        closed, out = jax.make_jaxpr(lambda *inputs: function(*inputs), return_shape=True)(*inputs)
    except (jax.errors.ConcretizationTypeError, jax.errors.TracerArrayConversionError) as error:
        error.add_note(
            f"{name} is traced, so that its arguments have no numbers in them: use jax.numpy for "
            "NumPy, and jnp.where or jax.lax.cond for an if on their values"
        )
        raise
    # NumPy arrays are copied, here and below: they may change in place while the program runs.
    consts = [
        c if isinstance(c, Array) else on_device(c, var.aval.dtype)
        for c, var in zip(closed.consts, closed.jaxpr.constvars, strict=True)
    ]
    return consts, Program(same_as, closed.jaxpr, out, differentiable=differentiable)


class TracedCall(eqx.Module):
    """A user's function with some of its arguments given: all arrays that it reads, as `params`."""

    params: tuple[list[Array], list[Array]]
    program: Program = eqx.field(static=True)

    def __call__(self, *inputs: PyTree) -> PyTree:
        consts, arrays = self.params
        return self.program(consts, arrays, *inputs)


def trace_call(
    name: str,
    function: Callable,
    given: PyTree,
    *inputs: PyTree,
    same_as: Any,
    differentiable: bool = True,
) -> TracedCall:
    """`function(given, *inputs)`, traced: `given` may hold anything, `inputs` arrays alone."""
    arrays, static = eqx.partition(given, eqx.is_array)
    leaves, structure = jax.tree.flatten(arrays)
    leaves = [x if isinstance(x, Array) else jnp.array(x) for x in leaves]

    def call(leaves: list[Array], *inputs: PyTree) -> PyTree:
        return function(eqx.combine(jax.tree.unflatten(structure, leaves), static), *inputs)

    consts, program = traced(
        name, call, leaves, *inputs, same_as=same_as, differentiable=differentiable
    )
    return TracedCall((consts, leaves), program)


class Compiled:
    """`function`, compiled by what it computes of such arguments and of all that it reads.

    Unlike `eqx.filter_jit`, which serves a function the program of its first call, whatever the
    function reads by then. The arrays among the arguments may be others in a call, of the same
    shapes; the rest of them may not.
    """

    def __init__(self, function: Callable, *args: PyTree) -> None:
        arrays, static = eqx.partition(args, _is_array)
        rests: list[PyTree] = []

        def found(static: PyTree, arrays: PyTree) -> PyTree:
            result, rest = eqx.partition(function(*eqx.combine(arrays, static)), _is_array)
            rests.append(rest)
            return result

        name = getattr(function, "__name__", type(function).__name__)
        self._call = trace_call(name, found, static, arrays, same_as=(function, static))
        self._rest = rests[-1]

    def __call__(self, *args: PyTree) -> PyTree:
        return eqx.combine(_run(self._call, eqx.filter(args, _is_array)), self._rest)


F = TypeVar("F", bound=Callable[..., Any])


def compiled(function: F) -> F:
    """`function`, traced at every call and compiled where that is a program not met before.

    For what is called with functions of the user's, and takes longer to run than to trace.
    """

    @functools.wraps(function)
    def call(*args: PyTree) -> PyTree:
        return Compiled(function, *args)(*args)

    return call  # type: ignore[return-value]


@eqx.filter_jit
def _run(call: TracedCall, arrays: PyTree) -> PyTree:
    return call(arrays)


def _is_array(leaf: Any) -> bool:
    return isinstance(leaf, Array | np.ndarray | np.generic)
