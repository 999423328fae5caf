"""Entry by entry, what an array is computed from, by its jaxpr."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.extend.core import ClosedJaxpr, Literal
from jaxtyping import Bool, PyTree

Mask = Bool[np.ndarray, "..."]

_ENTRY_BY_ENTRY = frozenset(
    "abs acos acosh add add_any and asin asinh atan atan2 atanh cbrt ceil clamp "
    "convert_element_type copy cos cosh digamma div eq erf erf_inv erfc exp exp2 expm1 floor ge gt "
    "igamma igammac integer_pow is_finite le lgamma log log1p logistic lt max min mul ne neg "
    "nextafter not or pow random_gamma_grad reduce_precision rem round rsqrt select_n sign sin "
    "sinh sqrt square stop_gradient sub tan tanh xor".split()
)
_REDUCTIONS = frozenset(
    "argmax argmin reduce_and reduce_max reduce_min reduce_or reduce_prod reduce_sum".split()
)
# Moved by places that are numbers of the program: how many of the first inputs are masks.
_BY_PLACES = {"dynamic_slice": 1, "dynamic_update_slice": 2, "gather": 1}
_SCATTERS = frozenset({"scatter", "scatter-add"})


class Entries:
    """Which entries of each variable of a program are computed from touched entries of its inputs.

    What is not known of a step touches all that the step gives.
    """

    def __init__(self, program: ClosedJaxpr) -> None:
        self._jaxpr = program.jaxpr
        self._made: dict[Any, Any] = {}
        self._values: dict[Any, Any] = dict(
            zip(program.jaxpr.constvars, program.consts, strict=True)
        )
        self._masks: dict[Any, Mask] = {}

    def __call__(self, touched: Sequence[Mask]) -> list[Mask]:
        """The masks of the outputs, for those of the inputs."""
        for var in self._jaxpr.constvars:
            self._masks[var] = np.zeros(var.aval.shape, bool)
        self._masks.update(zip(self._jaxpr.invars, touched, strict=True))
        for eqn in self._jaxpr.eqns:
            self._made.update({var: eqn for var in eqn.outvars})
            self._masks.update(zip(eqn.outvars, self._of(eqn), strict=True))
        return [self._mask(atom) for atom in self._jaxpr.outvars]

    def _mask(self, atom: Any) -> Mask:
        known = isinstance(atom, Literal)
        return np.zeros(np.shape(atom.val), bool) if known else self._masks[atom]

    def _of(self, eqn: Any) -> list[Mask]:
        masks = [self._mask(atom) for atom in eqn.invars]
        shapes = [var.aval.shape for var in eqn.outvars]
        if not any(mask.any() for mask in masks):
            return [np.zeros(shape, bool) for shape in shapes]
        inner = next((each for each in eqn.params.values() if isinstance(each, ClosedJaxpr)), None)
        if inner is not None and len(inner.jaxpr.invars) == len(masks) and _is_call(eqn):
            called = Entries(inner)
            known = (self._value(atom) for atom in eqn.invars)
            called._values.update(
                (var, value)
                for var, value in zip(inner.jaxpr.invars, known, strict=True)
                if value is not None
            )
            return called(masks)
        if eqn.primitive.name == "split":
            ends = np.cumsum(eqn.params["sizes"])[:-1]
            return np.split(masks[0], ends, axis=eqn.params["axis"])
        found = self._moved(eqn, masks)
        if found is None or found.shape != shapes[0]:
            return [np.ones(shape, bool) for shape in shapes]
        return [found, *(np.ones(shape, bool) for shape in shapes[1:])]

    def _moved(self, eqn: Any, masks: list[Mask]) -> Mask | None:
        name, params, shape = eqn.primitive.name, eqn.params, eqn.outvars[0].aval.shape
        match name:
            case "select_n":
                which = self._value(eqn.invars[0])
                if which is None:
                    return _any(masks, shape)
                return np.choose(np.broadcast_to(np.asarray(which, int), shape), masks[1:])
            case "mul":
                known = [self._value(atom) for atom in eqn.invars]
                zero = [value is not None and np.asarray(value) == 0 for value in known]
                return _any(masks, shape) & ~_any(zero, shape)
            case _ if name in _ENTRY_BY_ENTRY:
                return _any(masks, shape)
            case _ if name in _REDUCTIONS:
                return np.any(masks[0], axis=tuple(params["axes"]))
            case "reshape" | "squeeze" | "expand_dims":
                return masks[0].reshape(shape)
            case "transpose":
                return np.transpose(masks[0], params["permutation"])
            case "concatenate":
                return np.concatenate(masks, axis=params["dimension"])
            case "stack":
                return np.stack(masks, axis=params["axis"])
            case "rev":
                return np.flip(masks[0], params["dimensions"])
            case "broadcast_in_dim":
                sizes = np.ones(len(shape), int)
                sizes[list(params["broadcast_dimensions"])] = masks[0].shape
                return np.broadcast_to(masks[0].reshape(sizes), shape)
            case "slice":
                strides = params["strides"] or (1,) * len(shape)
                ends = zip(params["start_indices"], params["limit_indices"], strides, strict=True)
                return masks[0][tuple(slice(*each) for each in ends)]
            case _ if name in _BY_PLACES or name in _SCATTERS:
                return self._by_places(eqn, masks)
        return None

    def _by_places(self, eqn: Any, masks: list[Mask]) -> Mask | None:
        """The step itself, taken with the masks in place of the numbers."""
        moved = (0, 2) if eqn.primitive.name in _SCATTERS else range(_BY_PLACES[eqn.primitive.name])
        inputs = []
        for i, (atom, mask) in enumerate(zip(eqn.invars, masks, strict=True)):
            value = mask.astype(atom.aval.dtype) if i in moved else self._value(atom)
            if value is None:
                return None
            inputs.append(value)
        return np.asarray(_bound(eqn, inputs)) > 0

    def _value(self, atom: Any) -> Any:
        """The numbers themselves where no touched entry is in them, else None."""
        if isinstance(atom, Literal):
            return atom.val
        if self._masks[atom].any():
            return None
        if atom not in self._values:
            eqn = self._made.get(atom)
            if eqn is None:
                return None
            inputs = [self._value(each) for each in eqn.invars]
            if any(value is None for value in inputs):
                return None
            found = _bound(eqn, inputs)
            found = found if eqn.primitive.multiple_results else [found]
            self._values.update(zip(eqn.outvars, found, strict=True))
        value = self._values[atom]
        return None if isinstance(value, Tracer) else value


def loses_entries(function: Callable[..., list], given: list[Any], held: PyTree) -> bool:
    """Whether an entry of `function(given, held)` is computed from `given` with no derivative.

    Raises:
        TypeError: it has no forward mode.
    """

    def along(given: list, moved: list, held: PyTree) -> list:
        return jax.jvp(lambda given: function(given, held), (given,), (moved,))[1]

    touched = lambda arrays, on: [np.full(x.shape, on) for x in jax.tree.leaves(arrays)]
    still = touched(held, False)
    forward = Entries(jax.make_jaxpr(function)(given, held))([*touched(given, True), *still])
    moving = Entries(jax.make_jaxpr(along)(given, given, held))(
        [*touched(given, False), *touched(given, True), *still]
    )
    return any(np.any(value & ~moved) for value, moved in zip(forward, moving, strict=True))


def _is_call(eqn: Any) -> bool:
    name = eqn.primitive.name
    return any(part in name for part in ("jit", "call", "remat", "checkpoint"))


def _bound(eqn: Any, inputs: list[Any]) -> Any:
    # Up to JAX 0.10 functions come first, and after it all are parameters.
    given = eqn.primitive.get_bind_params(eqn.params)
    subfuns, params = given if isinstance(given, tuple) else ((), given)
    with jax.ensure_compile_time_eval():
        return eqn.primitive.bind(*subfuns, *map(jnp.asarray, inputs), **params)


def _any(masks: Sequence[Any], shape: tuple[int, ...]) -> Mask:
    found = np.zeros(shape, bool)
    for mask in masks:
        found |= np.broadcast_to(mask, shape) if math.prod(shape) else found
    return found
