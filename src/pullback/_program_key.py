"""What a program computes, as a key: two that compute the same have equal keys."""

import dataclasses
import enum
import functools
import os
import types
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jax.core import Tracer
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal
from jax.extend.linear_util import WrappedFun
from jaxtyping import Array

# Constants of a nested program up to this size are compared by value, larger ones by identity.
_SMALL = 4096

# How far functions that close over functions are followed, and rules in rules of derivatives.
_DEEPEST, _DEEPEST_RULE = 64, 4

# Where the functions lie that are JAX's own, with rules that never change.
_OF_JAX = f" at {Path(jax.__file__).parent}{os.sep}"

# Equations with a derivative of their own, and the parameters that are functions which give it.
_RULES = {
    "custom_jvp_call": ("jvp_jaxpr_fun",),
    "custom_vjp_call": ("fwd_jaxpr_thunk", "bwd", "out_trees"),
}


def key_of(function: Any, jaxpr: Jaxpr, *, differentiable: bool) -> Any:
    """The key of a program.

    Where that has functions in it that no program shows, it is served to what is made of the same
    as `function` only.
    """
    reading = _Reading(differentiable)
    body = reading.jaxpr(jaxpr)
    if not reading.opaque:
        return body, None
    return body, _made_of(function, changing=reading.runs_later)


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


def _made_of(
    value: Any, *, held: bool = False, changing: bool = False, path: tuple[int, ...] = ()
) -> Any:
    """What a function is made of, as a key: its code, and what it closes over, all the way down.

    Two that are made of the same compute the same, also where a program does not show what: so an
    optimiser or a loss that is built anew is known again. Arrays at the leaves of a tree are inputs
    of the program, and any may stand there; those that a function holds count. `changing`, where a
    function is called each time that the program runs: what it holds and can be changed in place is
    then the same as itself alone, for it may read another thing by then, or write into it.
    """
    if id(value) in path or len(path) > _DEEPEST:
        return _Same(value)
    if held and changing and _can_change(value):
        return _Same(value)
    inner = functools.partial(_made_of, changing=changing, path=(*path, id(value)))
    match value:
        case Array() | np.ndarray() | np.generic():
            return _Held(value, np.shape(value), _of_array(value)) if held else "array"
        case types.FunctionType():
            cells = tuple(_contents(cell) for cell in value.__closure__ or ())
            given = (cells, value.__defaults__, tuple((value.__kwdefaults__ or {}).items()))
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
    return _plain(value)


def _can_change(value: Any) -> bool:
    """Whether a value can be changed in place, as functions and arrays of JAX's are not."""
    if dataclasses.is_dataclass(value):
        return not value.__dataclass_params__.frozen
    return isinstance(value, list | dict | np.ndarray)


def _plain(value: Any) -> tuple:
    """A value with its type: 1 equals True, 0.0 equals -0.0, and NaN nothing, not even itself."""
    return (type(value), repr(value) if isinstance(value, float | complex) else value)


def _contents(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not yet assigned
        return None


def _is_static(field: dataclasses.Field) -> bool:
    return bool(field.metadata.get("static"))


class _Reading:
    """Turns programs into keys. `opaque` fills with the functions that no program shows.

    `runs_later` says whether one of them is called when the program runs, as a callback is; rules
    of derivatives are read when it is made.

    The rule of a custom derivative is one more program, read as it is now: what it closes over may
    have changed, with nothing of it in the program that it belongs to. Where nobody differentiates
    a program its rules are nothing to it.
    """

    def __init__(self, differentiable: bool) -> None:
        self.opaque: list[Any] = []
        self.runs_later = False
        self._differentiable = differentiable
        self._within: tuple[Any, ...] = ()

    def jaxpr(self, jaxpr: Jaxpr) -> tuple:
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
            outputs = tuple(define(x) for x in eqn.outvars)
            equations.append((eqn.primitive, read, self._params(eqn), outputs))
        return inputs, tuple(equations), tuple(atom(x) for x in jaxpr.outvars)

    def _params(self, eqn: Any) -> tuple:
        params, rule = eqn.params, None
        if eqn.primitive.name in _RULES:
            params = {k: v for k, v in params.items() if k not in _RULES[eqn.primitive.name]}
            rule = self._rule(eqn) if self._differentiable else None
        return (*((k, self._param(v)) for k, v in sorted(params.items())), rule)

    def _rule(self, eqn: Any) -> Any:
        """What an equation's own derivative computes."""
        if _OF_JAX in (where := _source(eqn)):
            return where
        closed = None
        if len(self._within) < _DEEPEST_RULE:
            closed = _derivative(eqn)
        if closed is None:
            self.opaque.append(eqn)
            return None
        bare = _Reading(differentiable=False)
        found = (bare.jaxpr(closed.jaxpr), tuple(_of_array(c) for c in closed.consts))
        if found in self._within:  # a rule that calls the function that it is of
            return self._within.index(found)
        self._within = (*self._within, found)
        try:
            return (self.jaxpr(closed.jaxpr), found[1])
        finally:
            self._within = self._within[:-1]

    def _param(self, value: Any) -> Any:
        if isinstance(value, ClosedJaxpr):
            consts = tuple(_of_array(c) for c in value.consts)
            return (self.jaxpr(value.jaxpr), consts)
        if isinstance(value, Jaxpr):
            return self.jaxpr(value)
        if isinstance(value, tuple | list):
            return (type(value), *(self._param(v) for v in value))
        if isinstance(value, dict):
            return tuple((k, self._param(v)) for k, v in value.items())
        if isinstance(value, np.ndarray | Array):
            return _of_array(value)
        if isinstance(value, WrappedFun) or _may_be_made_anew(value):
            self.opaque.append(value)
            self.runs_later = True
            return type(value)
        try:
            hash(value)
        except TypeError:
            return _Same(value)
        return _plain(value)


def _source(eqn: Any) -> str:
    """The function that an equation calls, with its file and line."""
    told = getattr(eqn.params["call_jaxpr"].jaxpr, "debug_info", None)
    return getattr(told, "func_src_info", None) or ""


def _derivative(eqn: Any) -> ClosedJaxpr | None:
    """The derivative of an equation that has a rule of its own; None where it cannot be traced."""
    forward = eqn.primitive.name == "custom_jvp_call"
    bind = eqn.primitive.get_bind_params(eqn.params)
    inputs, outputs = ([x.aval for x in xs] for xs in (eqn.invars, eqn.outvars))
    moves = [n >= eqn.params["num_consts"] and _moves(aval) for n, aval in enumerate(inputs)]

    def derivative(inputs: list[Array], slopes: list[Array]) -> Any:
        def function(*moved: Array) -> Any:
            each = iter(moved)
            values = [next(each) if m else x for m, x in zip(moves, inputs, strict=True)]
            return eqn.primitive.bind(*values, **bind)

        moved = [x for m, x in zip(moves, inputs, strict=True) if m]
        if forward:
            return jax.jvp(function, moved, slopes)
        out, pull = jax.vjp(function, *moved)
        each = iter(slopes)
        still = lambda aval: np.zeros(aval.shape, jax.dtypes.float0)
        return out, pull([next(each) if _moves(aval) else still(aval) for aval in outputs])

    struct = lambda aval: jax.ShapeDtypeStruct(aval.shape, aval.dtype, weak_type=aval.weak_type)
    sloping = [aval for m, aval in zip(moves, inputs, strict=True) if m] if forward else outputs
    slopes = [struct(aval) for aval in sloping if _moves(aval)]
    try:
        return jax.make_jaxpr(derivative)([struct(aval) for aval in inputs], slopes)
    except Exception:  # the user's rule may raise whatever it likes, and may never be asked
        return None


def _moves(aval: Any) -> bool:
    return jnp.issubdtype(aval.dtype, jnp.inexact)


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
