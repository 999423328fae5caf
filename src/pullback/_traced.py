"""A user's function, traced anew at each call, so that no program is served that it has outgrown.

A compiled program is found again by what it computes, not by which function it was made of: what
the function read when it was traced is either an input of the program (arrays) or a part of its key
(everything else).
"""

import dataclasses
import enum
import functools
import types
from collections.abc import Callable
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jax.core import Tracer
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal, jaxpr_as_fun
from jax.extend.linear_util import WrappedFun
from jaxtyping import Array, PyTree

# Constants of a nested program up to this size are compared by value, larger ones by identity.
_SMALL = 4096

# How far functions that close over functions are followed.
_DEEPEST = 64


class Program:
    """What a function computes: equal to another that computes the same."""

    def __init__(self, function: Any, jaxpr: Jaxpr, out: PyTree) -> None:
        self.jaxpr = jaxpr
        self.out = out
        opaque: list[Any] = []
        body = _of_jaxpr(jaxpr, opaque)
        # The rule of a custom derivative is a function that no jaxpr shows: with one in it, a
        # program is served to functions that are made of the same only.
        self._key = (body, jax.tree.structure(out), _made_of(function) if opaque else None)
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
    name: str, function: Callable, *inputs: PyTree, same_as: Any
) -> tuple[list[Array], Program]:
    """The arrays that `function` reads beside its inputs, and what it computes from both.

    The arrays are tracers where it closes over what is being differentiated or compiled. `same_as`
    is the user's own function, which tells programs apart that no jaxpr can, and `name` its name.
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
        c if isinstance(c, Array) else jnp.array(np.asarray(c), var.aval.dtype)
        for c, var in zip(closed.consts, closed.jaxpr.constvars, strict=True)
    ]
    return consts, Program(same_as, closed.jaxpr, out)


class TracedCall(eqx.Module):
    """A user's function with some of its arguments given: all arrays that it reads, as `params`."""

    params: tuple[list[Array], list[Array]]
    program: Program = eqx.field(static=True)

    def __call__(self, *inputs: PyTree) -> PyTree:
        consts, arrays = self.params
        return self.program(consts, arrays, *inputs)


def trace_call(
    name: str, function: Callable, given: PyTree, *inputs: PyTree, same_as: Any
) -> TracedCall:
    """`function(given, *inputs)`, traced: `given` may hold anything, `inputs` arrays alone."""
    arrays, static = eqx.partition(given, eqx.is_array)
    leaves, structure = jax.tree.flatten(arrays)
    leaves = [x if isinstance(x, Array) else jnp.array(x) for x in leaves]

    def call(leaves: list[Array], *inputs: PyTree) -> PyTree:
        return function(eqx.combine(jax.tree.unflatten(structure, leaves), static), *inputs)

    consts, program = traced(name, call, leaves, *inputs, same_as=same_as)
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


class _Same:
    """An object in a key, which equals itself alone."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __hash__(self) -> int:
        return id(self.value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.value is other.value


class _Held:
    """A function, or an array that one holds: equal to itself, and to what is made of the same.

    Itself, for what is changed in place is read anew when it is traced.
    """

    def __init__(self, value: Any, kind: Any, made_of: Any) -> None:
        self.value, self.kind, self.made_of = value, kind, made_of

    def __hash__(self) -> int:
        return hash(self.kind)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Held) or self.kind != other.kind:
            return False
        return self.value is other.value or self.made_of == other.made_of


def _made_of(value: Any, *, held: bool = False, path: tuple[int, ...] = ()) -> Any:
    """What a function is made of, as a key: its code, and what it closes over, all the way down.

    Two that are made of the same compute the same, also where a program does not show what: so an
    optimiser or a loss that is built anew is known again. Arrays at the leaves of a tree are inputs
    of the program, and any may stand there; those that a function holds count.
    """
    if id(value) in path or len(path) > _DEEPEST:
        return _Same(value)
    inner = functools.partial(_made_of, path=(*path, id(value)))
    match value:
        case Array() | np.ndarray() | np.generic():
            return _Held(value, np.shape(value), _of_array(value)) if held else "array"
        case types.FunctionType():
            cells = [_contents(cell) for cell in value.__closure__ or ()]
            given = (cells, value.__defaults__, value.__kwdefaults__)
            return _Held(value, value.__code__, inner(given, held=True))
        case types.MethodType():
            return (inner(value.__func__, held=held), inner(value.__self__, held=held))
        case functools.partial():
            return ("partial", inner((value.func, value.args, value.keywords), held=held))
        case tuple() | list():
            return (type(value), *(inner(part, held=held) for part in value))
        case dict():
            return (dict, *((name, inner(part, held=held)) for name, part in value.items()))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = [
            (f.name, inner(getattr(value, f.name, None), held=held or _is_static(f)))
            for f in dataclasses.fields(value)
        ]
        return (type(value), *fields)
    if not jtu.all_leaves([value]):
        parts, structure = jax.tree.flatten(value, is_leaf=lambda part: part is not value)
        return (structure, *(inner(part, held=held) for part in parts))
    try:
        hash(value)
    except TypeError:
        return _Same(value)
    return (type(value), value)


def _contents(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not yet assigned
        return None


def _is_static(field: dataclasses.Field) -> bool:
    return bool(field.metadata.get("static"))


def _of_jaxpr(jaxpr: Jaxpr, opaque: list[Any]) -> tuple:
    numbers: dict[Any, int] = {}

    def atom(x: Any) -> Any:
        if isinstance(x, Literal):
            return (_of_array(x.val), x.aval)
        return numbers.setdefault(x, len(numbers))

    def define(x: Any) -> tuple:
        return (numbers.setdefault(x, len(numbers)), x.aval)

    inputs = tuple(define(x) for x in (*jaxpr.constvars, *jaxpr.invars))
    equations = []
    for eqn in jaxpr.eqns:
        read = tuple(atom(x) for x in eqn.invars)
        params = tuple((k, _of_param(v, opaque)) for k, v in sorted(eqn.params.items()))
        equations.append((eqn.primitive, read, params, tuple(define(x) for x in eqn.outvars)))
    return inputs, tuple(equations), tuple(atom(x) for x in jaxpr.outvars)


def _of_param(value: Any, opaque: list[Any]) -> Any:
    if isinstance(value, ClosedJaxpr):
        consts = tuple(_of_array(c) for c in value.consts)
        return (_of_jaxpr(value.jaxpr, opaque), consts)
    if isinstance(value, Jaxpr):
        return _of_jaxpr(value, opaque)
    if isinstance(value, tuple | list):
        return (type(value), *(_of_param(v, opaque) for v in value))
    if isinstance(value, dict):
        return tuple((k, _of_param(v, opaque)) for k, v in value.items())
    if isinstance(value, np.ndarray | Array):
        return _of_array(value)
    if isinstance(value, WrappedFun) or _may_be_made_anew(value):
        opaque.append(value)
        return type(value)
    try:
        hash(value)
    except TypeError:
        return _Same(value)
    return value


def _may_be_made_anew(value: Any) -> bool:
    """Whether each trace may make such an object anew, so that it equals none before it."""
    # There is one mesh of each devices and names, and one mark for a sharding that is not given.
    if value is None or isinstance(value, type | enum.Enum | jax.sharding.Mesh):
        return False
    if type(value).__name__ == "UnspecifiedValue":
        return False
    if isinstance(value, types.FunctionType):
        return "<locals>" in value.__qualname__ or value.__closure__ is not None
    return type(value).__eq__ is object.__eq__


def _of_array(value: Any) -> Any:
    if (
        isinstance(value, Tracer)
        or np.size(value) > _SMALL
        or jnp.issubdtype(getattr(value, "dtype", np.float32), jax.dtypes.extended)
    ):
        return _Same(value)
    value = np.asarray(value)
    return (value.dtype, value.shape, value.tobytes())
