"""How a loss uses the layers of a model, read from its program."""

import functools
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jax.extend.core import Jaxpr, Var, jaxprs_in_params
from jax.interpreters.partial_eval import dce_jaxpr
from jaxtyping import Array, PyTree

from ._taps import AbstractStandIn, Layer, Slots, rows_of

EXCLUDED = "the gradient of each example by its weights is then formed"
# An input and a signal of half precision are those of weights that were cast to it.
_HARMLESS = ("convert_element_type", "copy", "name")


class Usage(NamedTuple):
    """How a layer is used for one example."""

    times: int | None  # that it is called; None: it depends on the data
    is_read: bool  # whether its arrays are read beside its calls too
    is_changed: bool  # whether they are others, made of them, when it is called
    is_differentiated: bool  # whether the loss has derivatives of what the layer gives
    input: jax.ShapeDtypeStruct | None
    signal: jax.ShapeDtypeStruct | None

    def fault(self, name: str) -> str | None:
        """Why an input and a signal do not account for the layer's gradient, if that is so."""
        why = None
        if self.is_differentiated:
            why = "is differentiated in the loss"
        elif self.times is None:
            why = "is called as often as the data say"
        elif self.is_read:
            why = "has an array that is read beside its calls, as by a penalty"
        elif self.is_changed:
            why = "is called with other arrays, made of its own"
        elif self.times > 1:
            why = (
                f"is called {self.times} times for one example (shared, scanned or mapped over "
                "positions)"
            )
        if why is None:
            return None
        return (
            f"`model{name}` {why}, so that an input and a signal do not account for its gradient: "
            f"name it in `exclude`; {EXCLUDED}."
        )

    def slots(self, layer: Layer) -> Slots:
        """Zeros of the shapes of its inputs and signals."""
        if self.input is None or self.signal is None:  # it is never called
            out, *into = layer.weight.shape
            sizes = ((math.prod(into),), (out,))
            return Slots(*(jnp.zeros(size, layer.weight.dtype) for size in sizes))
        return Slots(*(jnp.zeros(each.shape, each.dtype) for each in (self.input, self.signal)))


def usage(value: Callable[[dict[str, Any]], Array], layers: dict[str, Layer]) -> dict[str, Usage]:
    """How `value` uses each layer, by its program alone: nothing is computed.

    The program is that of a value whose layers pass on a marked number in the place of what they
    compute. So whatever depends on a layer's arrays reads them beside its calls. The marks, with
    the lengths of the loops that they stand in and of the axes that they are mapped over, tell how
    often it is called; others tell with which arrays, and whether a derivative was taken.

    Args:
        value: of something callable in the places of the layers.
        layers: by name.
    """
    marks = [_Mark(f"{number} of the layers") for number in range(len(layers))]
    shapes: dict[str, tuple[jax.ShapeDtypeStruct, jax.ShapeDtypeStruct]] = {}

    def bare(arrays: list[PyTree]) -> Array:
        whole = map(eqx.combine, arrays, layers.values())
        return value({
            name: _Marked(layer=each, name=mark.called, mark=mark, seen=shapes.__setitem__)
            for name, each, mark in zip(layers, whole, marks, strict=True)
        })  # fmt: skip

    arrays = [eqx.filter(layer, eqx.is_inexact_array) for layer in layers.values()]
    jaxpr = jax.make_jaxpr(bare)(arrays).jaxpr
    used = iter(dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars))[1])
    variables = iter(jaxpr.invars)
    is_read, own = [], {}
    for mark, each in zip(marks, arrays, strict=True):
        count = len(jax.tree.leaves(each))
        is_read.append(any([next(used) for _ in range(count)]))
        own |= {next(variables): mark.array for _ in range(count)}
    found = _Found(shapes, {}, set())
    _read(jaxpr, own, found)
    return {
        name: Usage(
            found.times.get(mark.called, 0),
            read,
            mark.array in found.told,
            mark.slope in found.told,
            *shapes.get(mark.called, (None, None)),
        )
        for name, mark, read in zip(layers, marks, is_read, strict=True)
    }


class _Mark(NamedTuple):
    """What names of marks begin with."""

    start: str

    @property
    def called(self) -> str:
        return f"{self.start}, called"

    @property
    def array(self) -> str:
        return f"{self.start}, an array"

    @property
    def slope(self) -> str:
        return f"{self.start}, a slope"


class _Marked(AbstractStandIn):
    """What passes a number on that depends on no array of the layer, and leaves its marks."""

    layer: Layer
    name: str = eqx.field(static=True)
    mark: _Mark = eqx.field(static=True)
    seen: Callable[..., None] = eqx.field(static=True)

    def __call__(self, x: Array, *, key: Any = None) -> Array:
        del key
        rows, shape = rows_of(self.layer, x)
        dtype = jnp.result_type(rows, self.layer.weight)
        out = (*rows.shape[:-1], self.layer.weight.shape[0])
        struct = jax.ShapeDtypeStruct
        self.seen(self.name, (struct(rows.shape, rows.dtype), struct(out, dtype)))
        for array in jax.tree.leaves(eqx.filter(self.layer, eqx.is_inexact_array)):
            _noted(self.mark, array)
        return _passed(self.mark, shape, rows.sum().astype(dtype))


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _noted(mark: _Mark, array: Array) -> Array:
    return checkpoint_name(array, mark.array)


@_noted.defjvp
def _noted_slope(mark: _Mark, primals: Any, tangents: Any) -> tuple[Array, Array]:
    return checkpoint_name(_noted(mark, *primals), mark.slope), tangents[0]


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _passed(mark: _Mark, shape: tuple[int, ...], total: Array) -> Array:
    return checkpoint_name(jnp.full(shape, total), mark.called)


@_passed.defjvp
def _passed_slope(
    mark: _Mark, shape: tuple[int, ...], primals: Any, tangents: Any
) -> tuple[Array, Array]:
    found = checkpoint_name(_passed(mark, shape, *primals), mark.slope)
    return found, jnp.full(shape, tangents[0])


class _Found(NamedTuple):
    """What marks tell.

    Attributes:
        shapes: by mark, of the input and of what is given, for one call.
        times: by mark, how often it is passed for one example; None where the data say.
        told: marks of arrays that are others than a layer's own, and of slopes.
    """

    shapes: dict[str, tuple[jax.ShapeDtypeStruct, jax.ShapeDtypeStruct]]
    times: dict[str, int | None]
    told: set[str]


def _read(jaxpr: Jaxpr, own: dict[Var, str], found: _Found, often: int | None = 1) -> None:
    """Read the marks of a program that is run so often, whose variables may be arrays of layers."""
    own = dict(own)
    for eqn in jaxpr.eqns:
        kind = eqn.primitive.name
        given = [own.get(each) if isinstance(each, Var) else None for each in eqn.invars]
        if kind == "name":
            _note(eqn.params["name"], eqn.outvars[0].aval, given[0], found, often)
        if kind in _HARMLESS and given[0] is not None:
            own[eqn.outvars[0]] = given[0]
        if kind in ("while", "cond"):
            inside = None
        else:
            length = eqn.params.get("length", 1) if kind == "scan" else 1
            inside = None if often is None else often * length
        for inner in jaxprs_in_params(eqn.params):
            _read(inner, dict(_handed_on(eqn, inner, given)), found, inside)


def _note(name: str, aval: Any, given: str | None, found: _Found, often: int | None) -> None:
    """What one mark tells."""
    if name in found.shapes:
        before = found.times.get(name, 0)
        times = math.prod(aval.shape) // math.prod(found.shapes[name][1].shape)
        unknown = often is None or before is None
        found.times[name] = None if unknown else before + often * times
    elif name.endswith("an array"):
        found.told.update([name] if given != name else [])
    elif name.endswith("a slope"):
        found.told.add(name)


def _handed_on(eqn: Any, inner: Jaxpr, given: list[str | None]) -> Iterator[tuple[Var, str]]:
    """Of the variables of a program within one, those that are arrays of layers."""
    kind = eqn.primitive.name
    if kind == "scan":  # the rows of what is scanned are no whole arrays, nor is what is carried
        given = given[: eqn.params["num_consts"]]
    elif kind == "cond":
        given = given[1:]
    elif kind == "while" or len(given) != len(inner.invars):
        given = []
    for variable, name in zip(inner.invars, given, strict=False):
        if name is not None:
            yield variable, name
