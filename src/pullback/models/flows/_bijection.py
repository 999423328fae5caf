"""What a flow is made of: maps with an inverse and a log-determinant, in a row or stacked."""

import abc
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import optimistix as optx
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

B = TypeVar("B", bound="AbstractBijection")

FixedPointSolver = optx.AbstractFixedPointSolver | optx.AbstractRootFinder


class InverseInfo(eqx.Module):
    """How an inverse that is iterated went, for one example, or for each of a batch.

    Attributes:
        converged: whether every fixed point on the way met the tolerance.
        residual: the largest error of a block's input put through the block again.
        steps: the most iterations that a block took.
    """

    converged: Bool[Array, "*batch"]
    residual: Float[Array, "*batch"]
    steps: Int[Array, "*batch"]

    def __or__(self, other: "InverseInfo") -> "InverseInfo":
        """Of both inverses together."""
        return InverseInfo(
            self.converged & other.converged,
            jnp.maximum(self.residual, other.residual),
            jnp.maximum(self.steps, other.steps),
        )


def closed_form(dtype: Any) -> InverseInfo:
    """Of an inverse that has no iteration."""
    return InverseInfo(jnp.asarray(True), jnp.zeros((), dtype), jnp.asarray(0))


class AbstractBijection(eqx.Module):
    """An invertible map of one example, from the side of the data to the side of the base."""

    @abc.abstractmethod
    def forward_and_log_det(
        self,
        x: Float[Array, "..."],
        *,
        key: PRNGKeyArray | None = None,
        shared: PRNGKeyArray | None = None,
    ) -> tuple[Float[Array, "..."], Float[Array, ""]]:
        """The image of `x`, and the log-determinant of the map's Jacobian there.

        Args:
            x: one example; `jax.vmap` a batch, with a `key` for each and one `shared` for all.
            key: for the probes of an estimated log-determinant.
            shared: for what a batch shares, the term at which a series is stopped. Where each
                example has its own, all wait for the longest.
        """

    @abc.abstractmethod
    def inverse(
        self, y: Float[Array, "..."], solver: FixedPointSolver, max_steps: int
    ) -> tuple[Float[Array, "..."], InverseInfo]:
        """The `x` whose image is `y`, and how it was found.

        Args:
            y: one example.
            solver: of Optimistix, for the parts that have no closed form.
            max_steps: the most iterations of one part.
        """

    @abc.abstractmethod
    def initialise(
        self, x: Float[Array, "batch ..."]
    ) -> tuple["AbstractBijection", Float[Array, "batch ..."]]:
        """The map with whatever depends on the data set by a batch, and the batch's image."""


class Chain(AbstractBijection):
    """One bijection after another.

    Args:
        parts: from the data to the base.
    """

    parts: tuple[AbstractBijection, ...]

    def __init__(self, parts: Sequence[AbstractBijection]):
        self.parts = tuple(parts)

    def forward_and_log_det(
        self,
        x: Float[Array, "..."],
        *,
        key: PRNGKeyArray | None = None,
        shared: PRNGKeyArray | None = None,
    ) -> tuple[Float[Array, "..."], Float[Array, ""]]:
        """Through all parts; log-determinants add up."""
        total = jnp.zeros((), x.dtype)
        keys, shares = _split(key, len(self.parts)), _split(shared, len(self.parts))
        for part, own, common in zip(self.parts, keys, shares, strict=True):
            x, log_det = part.forward_and_log_det(x, key=own, shared=common)
            total = total + log_det
        return x, total

    def inverse(
        self, y: Float[Array, "..."], solver: FixedPointSolver, max_steps: int
    ) -> tuple[Float[Array, "..."], InverseInfo]:
        """Back through all parts."""
        info = closed_form(y.dtype)
        for part in reversed(self.parts):
            y, told = part.inverse(y, solver, max_steps)
            info = info | told
        return y, info

    def initialise(
        self, x: Float[Array, "batch ..."]
    ) -> tuple[AbstractBijection, Float[Array, "batch ..."]]:
        """Each part in turn, on what comes out of the parts before."""
        parts = []
        for part in self.parts:
            part, x = part.initialise(x)
            parts.append(part)
        return type(self)(parts), x


class Stacked(AbstractBijection):
    """Many bijections of one structure, one after another, as one scan.

    Compile time does not grow with their number.

    Args:
        layers: a bijection whose arrays all have a leading axis, the layers from the data to the
            base, as `equinox.filter_vmap` of a constructor gives it.
        remat: compute the inside of a layer again in the backward pass instead of keeping it, so
            that the memory of training is one example's size a layer.
    """

    layers: AbstractBijection
    remat: bool = eqx.field(static=True, default=False)

    def forward_and_log_det(
        self,
        x: Float[Array, "..."],
        *,
        key: PRNGKeyArray | None = None,
        shared: PRNGKeyArray | None = None,
    ) -> tuple[Float[Array, "..."], Float[Array, ""]]:
        """Through all layers; log-determinants add up."""
        arrays, static = eqx.partition(self.layers, eqx.is_array)
        number = jax.tree.leaves(arrays)[0].shape[0]

        def body(carry: tuple[Array, Array], layer: Any) -> tuple[tuple[Array, Array], None]:
            (x, total), (arrays, own, common) = carry, layer
            part = eqx.combine(arrays, static)
            x, log_det = part.forward_and_log_det(x, key=own, shared=common)
            return (x, total + log_det), None

        keys = None if key is None else jr.split(key, number)
        shares = None if shared is None else jr.split(shared, number)
        step = jax.checkpoint(body) if self.remat else body
        (x, total), _ = jax.lax.scan(step, (x, jnp.zeros((), x.dtype)), (arrays, keys, shares))
        return x, total

    def inverse(
        self, y: Float[Array, "..."], solver: FixedPointSolver, max_steps: int
    ) -> tuple[Float[Array, "..."], InverseInfo]:
        """Back through all layers."""
        arrays, static = eqx.partition(self.layers, eqx.is_array)

        def body(carry: tuple[Array, InverseInfo], layer: Any) -> tuple[Any, None]:
            y, info = carry
            x, told = eqx.combine(layer, static).inverse(y, solver, max_steps)
            return (x, info | told), None

        (x, info), _ = jax.lax.scan(body, (y, closed_form(y.dtype)), arrays, reverse=True)
        return x, info

    def initialise(
        self, x: Float[Array, "batch ..."]
    ) -> tuple[AbstractBijection, Float[Array, "batch ..."]]:
        """Each layer in turn, on what comes out of the layers before."""
        arrays, static = eqx.partition(self.layers, eqx.is_array)

        def body(x: Array, layer: Any) -> tuple[Array, Any]:
            part, x = eqx.combine(layer, static).initialise(x)
            return x, eqx.filter(part, eqx.is_array)

        x, arrays = jax.lax.scan(body, x, arrays)
        return type(self)(eqx.combine(arrays, static), self.remat), x


def stack(make: Callable[[PRNGKeyArray], B], number: int, key: PRNGKeyArray) -> B:
    """`number` bijections made alike, as `Stacked` takes them."""
    return eqx.filter_vmap(make)(jr.split(key, number))


def _split(key: PRNGKeyArray | None, number: int) -> Any:
    return [None] * number if key is None else jr.split(key, number)
