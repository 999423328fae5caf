"""The vector field of a solve: traced at the call, checked, and made one of lanes."""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import equinox as eqx
import jax
from jaxtyping import Array, PyTree

from pullback._solve_arguments import check_mesh
from pullback._traced import Program, traced

from ._complex import as_pairs, is_complex, joined, joined_shapes
from ._runge_kutta import Field


class TracedField(eqx.Module):
    """A vector field, and all arrays that it reads, as `params`.

    `with_diagonal` is None unless the field knows the diagonal of its own Jacobian.
    """

    params: tuple[list[Array], list[Array], list[Array]]
    program: Program = eqx.field(static=True)
    diagonal: Program | None = eqx.field(static=True)

    def __call__(self, t: Array, y: PyTree, params: PyTree) -> PyTree:
        """The field of one state."""
        return _evaluated(self.program, t, y, params)

    @property
    def with_diagonal(self) -> Callable:
        """The field and the diagonal of its Jacobian; absent where the user's field has none."""
        if self.diagonal is None:
            raise AttributeError("with_diagonal")
        return partial(_with_diagonal, self.diagonal)

    def over_lanes(self, per_sample: bool) -> Field:
        """The field of all lanes, without its arrays."""
        return _OverLanes(self.program, per_sample)


@dataclasses.dataclass(frozen=True)
class _OverLanes:
    """The field of all lanes: equal to another that computes the same."""

    program: Program
    per_sample: bool

    def __call__(self, t: Array, y: PyTree, params: PyTree) -> PyTree:
        def one(t: Array, y: PyTree, params: PyTree) -> PyTree:
            return _evaluated(self.program, t, y, params)

        return (jax.vmap(one, in_axes=(0, 0, None)) if self.per_sample else one)(t, y, params)


def _evaluated(program: Program, t: Array, y: PyTree, params: PyTree) -> PyTree:
    """The field of pairs, made of that which sees complex numbers."""
    consts, arrays, _ = joined(params)
    return as_pairs(program(consts, t, joined(y), arrays))


def _with_diagonal(
    program: Program, t: Array, y: PyTree, params: PyTree, *, order: int = 1
) -> PyTree:
    if order != 1:
        raise ValueError(f"the diagonal of the Jacobian is of order 1, got order={order}")
    _, arrays, consts = joined(params)
    return program(consts, t, y, arrays)


def trace_field(
    f: Callable, args: PyTree, t: jax.ShapeDtypeStruct, y: PyTree, *, diagonal: bool
) -> tuple[TracedField, Any]:
    """The field `f(t, y, args)`, and the structure of the arrays in `(f, args)`.

    `t` and `y` have a shape and a dtype, and need no numbers.

    With `diagonal` also what `f.with_diagonal` finds, if it has it.
    """
    pairs, y = y, joined_shapes(y)
    inputs, static = eqx.partition((f, args), eqx.is_array)
    arrays, structure = jax.tree.flatten(inputs)

    def field(t: Array, y: PyTree, arrays: list[Array]) -> PyTree:
        f, args = eqx.combine(jax.tree.unflatten(structure, arrays), static)
        return f(t, y, args)

    def both(t: Array, y: PyTree, arrays: list[Array]) -> PyTree:
        f, args = eqx.combine(jax.tree.unflatten(structure, arrays), static)
        return f.with_diagonal(t, y, args, order=1)

    try:
        consts, program = traced("f", field, t, y, arrays, same_as=f)
    except TypeError as error:
        if isinstance(y, list | tuple):
            error.add_note(
                f"y has the structure of y0, a {type(y).__name__}; for a vector give "
                "y0=jnp.array(...)"
            )
        raise
    check_mesh("what f closes over", consts)
    _check(program.out, y)
    second, known = [], None
    real = jax.tree.structure(pairs) == jax.tree.structure(y)
    if diagonal and real and hasattr(f, "with_diagonal"):
        second, known = traced("f", both, t, y, arrays, same_as=f)
    params = as_pairs((consts, arrays, second))
    return TracedField(params, program, known), structure


def described(tree: PyTree) -> PyTree:
    """The dtype and shape of each leaf, in words."""
    one = lambda x: f"{x.dtype}{list(x.shape)}" if hasattr(x, "shape") else type(x).__name__
    return jax.tree.map(one, tree)


def _check(got: PyTree, y: PyTree) -> None:
    want = jax.eval_shape(lambda y: y, y)
    if jax.tree.structure(got) != jax.tree.structure(want):
        hint = ""
        if isinstance(want, jax.ShapeDtypeStruct) and isinstance(got, list | tuple):
            hint = ": stack its entries into one array, jnp.stack([...]) or jnp.array([...])"
        elif isinstance(want, jax.ShapeDtypeStruct) and got is None:
            hint = ": does it lack a return?"
        raise ValueError(
            f"f must return the structure of y, {described(want)}, got {described(got)}{hint}"
        )
    for g, w in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        if g.shape != w.shape:
            raise ValueError(
                f"f must return what y is, {w.dtype}{list(w.shape)}, got {g.dtype}{list(g.shape)}"
            )
        if g.dtype != w.dtype:
            remedy = f"cast it, or the result, with .astype({w.dtype})"
            # A cast would drop the imaginary part without a word.
            if is_complex(g) and not is_complex(w):
                remedy = "give y0 as a complex array, or take the part that is meant, jnp.real(...)"
            raise ValueError(
                f"f must return what y is, {w.dtype}{list(w.shape)}, got {g.dtype}{list(g.shape)}: "
                f"something in f, args or what f closes over is {g.dtype}; {remedy}"
            )
