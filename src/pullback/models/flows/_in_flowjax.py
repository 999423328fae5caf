"""What is of both libraries: classes of FlowJAX and of paramax that hold ours."""

from typing import Any

import equinox as eqx
import jax
from flowjax.bijections import AbstractBijection as TheirBijection
from jaxtyping import Array
from paramax import AbstractUnwrappable, NonTrainable

from pullback.nn import Constant

from ._bijection import AbstractBijection, FixedPointSolver
from ._inverse import inverse_and_log_det


class InFlowJAX(TheirBijection):
    """A bijection of ours, from the base to the data."""

    bijection: AbstractBijection
    shape: tuple[int, ...]
    cond_shape: tuple[int, ...] | None
    solver: FixedPointSolver | None
    max_steps: int

    def __init__(
        self,
        bijection: AbstractBijection,
        shape: tuple[int, ...],
        cond_shape: tuple[int, ...] | None,
        solver: FixedPointSolver | None,
        max_steps: int,
    ):
        self.bijection, self.shape, self.cond_shape = bijection, shape, cond_shape
        self.solver, self.max_steps = solver, max_steps

    def image(self, x: Array, condition: Array | None) -> Array:
        """On the side of the base."""
        return self.bijection.forward_and_log_det(x, context=condition)[0]

    def transform_and_log_det(
        self, x: Array, condition: Array | None = None
    ) -> tuple[Array, Array]:
        """From the base to the data."""
        context = None if self.cond_shape is None else condition
        return inverse_and_log_det(self.bijection, x, self.solver, self.max_steps, context)

    def inverse_and_log_det(self, y: Array, condition: Array | None = None) -> tuple[Array, Array]:
        """From the data to the base."""
        context = None if self.cond_shape is None else condition
        return self.bijection.forward_and_log_det(y, context=context)


class Frozen(AbstractUnwrappable):
    """What a `NonTrainable` held, where no optimiser finds it."""

    held: Any

    def unwrap(self) -> Any:
        """With its numbers again."""
        values = lambda node: node.values if isinstance(node, Constant) else node
        found = jax.tree.map(values, self.held, is_leaf=lambda node: isinstance(node, Constant))
        return NonTrainable(found).unwrap()


def frozen(tree: Any) -> Any:
    """A copy in which what is `NonTrainable` is no parameter."""

    def change(node: Any) -> Any:
        if not isinstance(node, NonTrainable):
            return node
        keep = lambda leaf: Constant(leaf) if eqx.is_inexact_array(leaf) else leaf
        return Frozen(jax.tree.map(keep, node.tree))

    return jax.tree.map(change, tree, is_leaf=lambda node: isinstance(node, NonTrainable))


def require_theirs(name: str, bijection: Any) -> None:
    """Refuse what is no bijection of FlowJAX."""
    if isinstance(bijection, TheirBijection):
        return
    hint = (
        "it is one of ours already: use it as it is"
        if isinstance(bijection, AbstractBijection)
        else "of a distribution of FlowJAX take its `bijection`"
    )
    raise TypeError(
        f"`{name}` must be a bijection of `flowjax.bijections`, got {type(bijection).__name__}; "
        f"{hint}."
    )
