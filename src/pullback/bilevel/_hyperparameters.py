"""Hyperparameters with bounds: what is stepped along has none, and what a loss reads keeps them."""

import abc
import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree


class AbstractHyperparameter(eqx.Module):
    """A hyperparameter, or an array of them, kept by a coordinate that may be any real number.

    The coordinate is the one leaf: gradients come to it and optimisers step along it. A loss reads
    `value`, as in `hyper["dropout"].value`.

    Attributes:
        coordinate: unconstrained, real and floating, of any shape.
        per_batch: whether one perturbation serves a whole batch, where responses to perturbations
            are learned: for what cannot differ between its examples, such as a mask of weights.
    """

    coordinate: eqx.AbstractVar[Float[Array, "*shape"]]
    per_batch: eqx.AbstractVar[bool]

    @property
    @abc.abstractmethod
    def value(self) -> Float[Array, "*shape"] | Int[Array, "*shape"]:
        """What a loss reads, of the coordinate's shape."""


class Bounded(AbstractHyperparameter):
    r"""A hyperparameter between two bounds: a dropout rate, the strength of an augmentation.

    $$ h = a + (b - a)\, \mathrm{sigmoid}(\lambda) $$

    Args:
        value: where it starts, strictly between the bounds; a number or an array.
        low: a.
        high: b.
        per_batch: see `AbstractHyperparameter`.

    Raises:
        ValueError: `low` is not below `high`, one of them is not finite, or `value` does not lie
            between them.

    Example:
        >>> rate = Bounded(0.05, 0.0, 0.95)
        >>> print(f"{rate.value:.2f} {rate.coordinate:.2f}")
        0.05 -2.89

    Source: MacKay et al., Self-Tuning Networks, arXiv 1903.03088, and its code.
    """

    coordinate: Float[Array, "*shape"]
    low: float = eqx.field(static=True)
    high: float = eqx.field(static=True)
    per_batch: bool = eqx.field(static=True)

    def __init__(self, value: Any, low: float | int, high: float | int, *, per_batch: bool = False):
        self.low, self.high = _bounds(low, high)
        value = _start(
            value, lambda v: (low < v) & (v < high), f"strictly between {low} and {high}"
        )
        self.coordinate = _finite(_logit((value - self.low) / (self.high - self.low)), value)
        self.per_batch = per_batch

    @property
    def value(self) -> Float[Array, "*shape"]:
        """Between `low` and `high`."""
        return self.low + (self.high - self.low) * jax.nn.sigmoid(self.coordinate)


class Positive(AbstractHyperparameter):
    r"""A hyperparameter above 0: a decay, the weight of a penalty, the scale of a noise.

    $$ h = \log(1 + e^\lambda) $$

    Small values move by a share of themselves, as if their logarithm were stepped along, and large
    ones by a length.

    Args:
        value: where it starts, above 0; a number or an array.
        per_batch: see `AbstractHyperparameter`.

    Raises:
        ValueError: `value` is not above 0.

    Example:
        >>> decay = Positive(1e-3)
        >>> print(f"{decay.value:.4f} {decay.coordinate:.2f}")
        0.0010 -6.91

    Source: MacKay et al., Self-Tuning Networks, arXiv 1903.03088, and its code.
    """

    coordinate: Float[Array, "*shape"]
    per_batch: bool = eqx.field(static=True)

    def __init__(self, value: Any, *, per_batch: bool = False):
        value = _start(value, lambda v: (v > 0) & (v < np.inf), "above 0 and finite")
        # The inverse, so that e^value is not too large.
        self.coordinate = _finite(value + jnp.log(-jnp.expm1(-value)), value)
        self.per_batch = per_batch

    @property
    def value(self) -> Float[Array, "*shape"]:
        """Above 0."""
        return jax.nn.softplus(self.coordinate)


class Integer(AbstractHyperparameter):
    r"""A whole number between two bounds, both included: the holes of a mask, a number of shifts.

    $$ h = \lfloor a + (b + 1 - a)\, \mathrm{sigmoid}(\lambda) \rfloor $$

    No gradient comes through the floor. It is tuned by what does not ask for one, as
    `fit_self_tuning` does, where the network itself responds to the coordinate.

    Args:
        value: where it starts, a whole number, or an array of them.
        low: a, a whole number.
        high: b, a whole number.
        per_batch: see `AbstractHyperparameter`.

    Raises:
        ValueError: `low` is not below `high`, or `value` is not one of the numbers from `low` to
            `high`.
        TypeError: a bound is no whole number.

    Example:
        >>> holes = Integer(1, 0, 4)
        >>> print(holes.value, f"{holes.coordinate:.2f}")
        1 -0.85

    Source: MacKay et al., Self-Tuning Networks, arXiv 1903.03088, and its code.
    """

    coordinate: Float[Array, "*shape"]
    low: int = eqx.field(static=True)
    high: int = eqx.field(static=True)
    per_batch: bool = eqx.field(static=True)

    def __init__(self, value: Any, low: Any, high: Any, *, per_batch: bool = False):
        for name, bound in {"low": low, "high": high}.items():
            if isinstance(bound, bool) or not isinstance(bound, int | np.integer):
                raise TypeError(f"`{name}` must be a whole number, got {bound!r}: use `Bounded`.")
        _bounds(low, high)
        self.low, self.high = int(low), int(high)
        known = lambda v: (v >= low) & (v <= high) & (v == np.floor(v))
        value = _start(value, known, f"a whole number from {low} to {high}")
        # Half a step up: as far from the next number as from the one before.
        self.coordinate = _logit((value + 0.5 - self.low) / (self.high + 1 - self.low))
        self.per_batch = per_batch

    @property
    def value(self) -> Int[Array, "*shape"]:
        """One of the numbers from `low` to `high`."""
        width = self.high + 1 - self.low
        reached = jnp.floor(self.low + width * jax.nn.sigmoid(self.coordinate)).astype(int)
        return jnp.minimum(reached, self.high)


def values(hyper: PyTree) -> PyTree:
    """The same PyTree with each record of a hyperparameter replaced by its value: to be read.

    Args:
        hyper: any PyTree.

    Example:
        >>> found = values({"dropout": Bounded(0.25, 0.0, 0.5), "holes": Integer(2, 0, 4)})
        >>> print(found["dropout"], found["holes"])
        0.25 2
    """
    return jax.tree.map(lambda h: h.value if is_record(h) else h, hyper, is_leaf=is_record)


def is_record(node: Any) -> bool:
    """Whether a part of a PyTree is a record of hyperparameters."""
    return isinstance(node, AbstractHyperparameter)


def _bounds(low: float | int, high: float | int) -> tuple[float, float]:
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(f"`low` must be below `high`, both finite; got {low} and {high}.")
    return float(low), float(high)


def _start(value: Any, fits: Callable[..., Any], wanted: str) -> Float[Array, "*shape"]:
    """The value as a floating array, once it has proved to be one that a coordinate has."""
    if not isinstance(value, jax.core.Tracer) and not np.all(fits(np.asarray(value))):
        raise ValueError(f"`value` must be {wanted}; got {value}.")
    value = jnp.asarray(value)
    return value if jnp.issubdtype(value.dtype, jnp.floating) else value.astype(float)


def _finite(coordinate: Float[Array, "*shape"], value: Any) -> Float[Array, "*shape"]:
    """A coordinate, once it has proved to be none of a bound: in few digits they may be one."""
    if not isinstance(coordinate, jax.core.Tracer) and not np.all(np.isfinite(coordinate)):
        raise ValueError(
            f"`value` must be further from its bounds, or smaller: in {coordinate.dtype} {value} "
            "is at infinity; or set jax_enable_x64."
        )
    return coordinate


def _logit(share: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    return jnp.log(share) - jnp.log1p(-share)
