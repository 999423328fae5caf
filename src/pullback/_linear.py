"""Linear maps whose transposed map is given: forward mode runs the one, reverse mode the other.

A solve is differentiated by a `jax.custom_jvp` whose tangent is such a map: what JAX asks for says
which of the two is ever traced.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
from equinox.internal import nondifferentiable
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array, PyTree


def linear(
    push: Callable[[PyTree, PyTree], PyTree],
    pull: Callable[[PyTree, PyTree], PyTree],
    given: PyTree,
    tangents: PyTree,
    like: PyTree,
) -> PyTree:
    """`push(given, tangents)`, where that and `pull` are linear in their second argument.

    Args:
        push: shaped like `like`. It can be hashed, and so can `pull`; the arrays that they read are
            in `given`.
        pull: the transpose, `pull(given, cotangents)`, shaped like `tangents`.
        given: anything. Its derivatives are those of `push`, or, once transposed, of `pull`.
        tangents: floating arrays; None where there is none.
        like: floating arrays of the shapes of the value.
    """
    arrays, static = eqx.partition(given, eqx.is_array)
    leaves, of_arrays = jax.tree.flatten(arrays)
    static, of_static = jax.tree.flatten(static)
    xs, of_tangents = jax.tree.flatten(tangents)
    outs, of_outs = jax.tree.flatten(like)
    known = _Given(of_arrays, tuple(static), of_static)
    ys = _linear.bind(
        *leaves,
        *xs,
        push=_Flat(push, known, of_tangents),
        pull=_Flat(pull, known, of_outs),
        count=len(leaves),
        avals=tuple(ShapedArray(x.shape, x.dtype) for x in outs),
    )
    return jax.tree.unflatten(of_outs, ys)


@eqx.filter_custom_jvp
def by_two(
    inputs: PyTree, reverse: Callable, forward: Callable, given: PyTree, again: str
) -> tuple:
    """`reverse(inputs, given)`, or `forward`, in the mode that each of the two has a derivative in.

    Args:
        inputs: what is differentiated by.
        reverse: returns floating arrays, and what has no derivative. It can be hashed.
        forward: returns the same numbers.
        given: anything else that the two read.
        again: the error where a second derivative is asked for.
    """
    del forward, again
    return reverse(inputs, given)


@by_two.def_jvp
def _by_two_derivative(primals: tuple, tangents: tuple) -> tuple:
    inputs, reverse, forward, given, again = primals
    moves = jax.tree.map(lambda x: x is not None, tangents[0], is_leaf=lambda x: x is None)
    moved, held = eqx.partition(nondifferentiable(inputs, msg=again), moves)
    values, pull, rest = jax.vjp(
        lambda moved: reverse(eqx.combine(moved, held), given), moved, has_aux=True
    )
    leaves, structure = jax.tree.flatten(pull)
    known = leaves, _Alike(structure), reverse, (inputs, moves, forward, given)
    slopes = linear(_push, _pull, known, tangents[0], values)
    return (values, rest), (slopes, jax.tree.map(lambda _: None, rest))


class _Alike:
    """A structure that is known by all that it is given beside."""

    def __init__(self, structure: Any) -> None:
        self.structure = structure

    def __hash__(self) -> int:
        return hash(_Alike)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Alike)


def _push(known: tuple, tangents: PyTree) -> PyTree:
    inputs, moves, forward, given = known[-1]
    moved, held = eqx.partition(inputs, moves)
    run = lambda moved: forward(eqx.combine(moved, held), given)[0]
    return jax.jvp(run, (moved,), (tangents,))[1]


def _pull(known: tuple, cotangents: PyTree) -> PyTree:
    leaves, alike, *_ = known
    return jax.tree.unflatten(alike.structure, leaves)(cotangents)[0]


class _Given(NamedTuple):
    arrays: Any
    static: tuple
    of_static: Any


class _Flat(NamedTuple):
    """A map of the leaves of its two arguments to those of its value."""

    function: Callable
    given: _Given
    moved: Any

    def __call__(self, *leaves: Array) -> list[Array]:
        count = self.given.arrays.num_leaves
        static = jax.tree.unflatten(self.given.of_static, self.given.static)
        given = eqx.combine(jax.tree.unflatten(self.given.arrays, leaves[:count]), static)
        moved = jax.tree.unflatten(self.moved, leaves[count:])
        return jax.tree.leaves(self.function(given, moved))


class _Batched(NamedTuple):
    """A map of leaves, of which those that are moved have a new axis in front."""

    function: Callable
    given: tuple[int | None, ...]
    vmap: tuple[tuple[str, Any], ...]

    def __call__(self, *leaves: Array) -> list[Array]:
        axes = self.given + (0,) * (len(leaves) - len(self.given))
        return jax.vmap(self.function, in_axes=axes, **dict(self.vmap))(*leaves)


def _derivative(
    primals: Sequence, tangents: Sequence, *, push: Callable, count: int, **params: Any
) -> tuple[list, list]:
    bind = partial(_linear.bind, push=push, count=count, **params)
    zero = [isinstance(t, ad.Zero) for t in tangents]
    if all(zero[:count]):
        moved = [ad.instantiate_zeros(t) for t in tangents[count:]]
        return bind(*primals), bind(*primals[:count], *moved)
    at = [x for x, z in zip(primals, zero, strict=True) if not z]

    def function(*at: Array) -> list[Array]:
        each = iter(at)
        return push(*(x if z else next(each) for x, z in zip(primals, zero, strict=True)))

    _, slopes = jax.jvp(function, at, [t for t, z in zip(tangents, zero, strict=True) if not z])
    return bind(*primals), slopes


def _transposed(
    cotangents: Sequence, *args: Any, pull: Callable, count: int, **_: Any
) -> list[Array | None]:
    if all(isinstance(c, ad.Zero) for c in cotangents):
        return [None] * len(args)
    bars = pull(*args[:count], *(ad.instantiate_zeros(c) for c in cotangents))
    return [None] * count + bars


def _batched(
    axis: Any,
    args: Sequence,
    dims: Sequence,
    *,
    push: Callable,
    pull: Callable,
    count: int,
    avals: tuple,
) -> tuple[list, list]:
    if all(d is None for d in dims):
        same = _linear.bind(*args, push=push, pull=pull, count=count, avals=avals)
        return same, [None] * len(same)
    name = axis.name if isinstance(axis.name, str) else None
    how = {"axis_name": name, "axis_size": axis.size, "spmd_axis_name": axis.spmd_name}
    how = tuple((k, v) for k, v in how.items() if v is not None)
    moved = [
        batching.bdim_at_front(x, d, axis.size)
        for x, d in zip(args[count:], dims[count:], strict=True)
    ]
    mapped = lambda function: _Batched(function, tuple(dims[:count]), how)
    slopes = _linear.bind(
        *args[:count],
        *moved,
        push=mapped(push),
        pull=mapped(pull),
        count=count,
        avals=tuple(ShapedArray((axis.size, *a.shape), a.dtype) for a in avals),
    )
    return slopes, [0] * len(slopes)


def _run(*args: Array, push: Callable, **_: Any) -> list[Array]:
    return push(*args)


_linear = Primitive("linear_map_of_a_solve")
_linear.multiple_results = True
_linear.def_impl(_run)
_linear.def_abstract_eval(lambda *_, avals, **__: list(avals))
mlir.register_lowering(_linear, mlir.lower_fun(_run, multiple_results=True))
ad.primitive_jvps[_linear] = _derivative
ad.primitive_transposes[_linear] = _transposed
batching.fancy_primitive_batchers[_linear] = _batched
