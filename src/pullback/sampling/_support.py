"""Where a distribution has any density, the same whether it is compiled or not."""

import math
import sys
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool
from numpyro.distributions import constraints

_COUNTS = ("multinomial", "one-hot vectors")
_VOLUMES = ("l1_ball", "ordered_vector", "positive_ordered_vector")  # parts of the reals
_SURFACES = (
    "simplex", "sphere", "zero_sum", "corr_cholesky", "corr_matrix", "lower_cholesky",
    "positive_definite",
)  # fmt: skip


def support_of(q: Any) -> Any:
    """The constraint that q names as its support; None if it names none, or one of no bounds."""
    support = getattr(q, "support", None)
    if not isinstance(support, constraints.Constraint) or constraints.is_dependent(support):
        return None
    whole, _ = _stripped(support)
    return None if whole in (constraints.real, constraints.complex) else support


def membership(support: Any, z: Array) -> Bool[Array, "..."]:
    """Whether z lies in the support, its ends and what rounds to them taken in; NaN passes."""
    inner, axes = _stripped(support)
    found = _inside(inner, z)
    if axes:
        found = jnp.all(found, axis=tuple(range(-axes, 0)))
    if jnp.issubdtype(z.dtype, jnp.inexact):
        event = support.event_dim
        found |= jnp.any(jnp.isnan(z), axis=tuple(range(-event, 0))) if event else jnp.isnan(z)
    return found


def moved_inside(support: Any, z: Array, mask: Array) -> Array:
    """z where the mask is, off an open end that it was rounded to; elsewhere some point inside."""
    lifted = mask.reshape(*mask.shape, *(1 for _ in range(support.event_dim)))
    shape = jnp.broadcast_shapes(lifted.shape, z.shape)
    some = support.feasible_like(jnp.broadcast_to(z, shape)).astype(z.dtype)
    return _off_the_end(_stripped(support)[0], jnp.where(lifted, z, some))


def _inside(support: Any, z: Array) -> Array:
    match support:
        case constraints.greater_than():
            return z >= support.lower_bound
        case constraints.less_than():
            return z <= support.upper_bound
        case constraints.interval():
            return (z >= support.lower_bound) & (z <= support.upper_bound)
        case _ if support is constraints.simplex:
            # A softmax of many classes does not sum to one in float32 to NumPyro's 1e-6.
            slack = max(1e-6, 8 * z.shape[-1] * float(jnp.finfo(z.dtype).eps))
            return jnp.all(z >= 0, axis=-1) & (jnp.abs(jnp.sum(z, axis=-1) - 1) <= slack)
        case _:
            return support(z)


def _off_the_end(support: Any, z: Array) -> Array:
    """What was rounded to an end that is open, the next number inside instead."""
    tiny = jnp.finfo(z.dtype).tiny if jnp.issubdtype(z.dtype, jnp.inexact) else 0
    held = jax.lax.stop_gradient(z)
    between = isinstance(support, constraints.open_interval)
    if between or (
        isinstance(support, constraints.greater_than)
        and not isinstance(support, constraints.greater_than_eq)
    ):
        inside = jnp.maximum(jnp.nextafter(held, jnp.full_like(held, jnp.inf)), held + tiny)
        z = jnp.where(z == support.lower_bound, inside, z)
    if between or (
        isinstance(support, constraints.less_than)
        and not isinstance(support, constraints.less_than_eq)
    ):
        inside = jnp.minimum(jnp.nextafter(held, jnp.full_like(held, -jnp.inf)), held - tiny)
        z = jnp.where(z == support.upper_bound, inside, z)
    return z


def _stripped(support: Any) -> tuple[Any, int]:
    """The constraint of one entry, and how many axes of entries have to keep it together."""
    axes = 0
    while isinstance(support, constraints.independent):
        axes += support.reinterpreted_batch_ndims
        support = support.base_constraint
    return support, axes


class _Shape(NamedTuple):
    """What is known of a support: its kind, and the ends of an interval or of whole numbers."""

    kind: str
    low: Any = -math.inf
    high: Any = math.inf


def contains(outer: Any, inner: Any) -> bool:
    """Whether the support `inner` lies in `outer`, as far as can be told: if not known, it does."""
    if not all(isinstance(each, constraints.Constraint) for each in (outer, inner)):
        return True
    mine, other = support_shape(inner), support_shape(outer)
    if mine is None or other is None:
        return True
    if mine.kind == other.kind:
        return _at_least(mine.low, other.low) and _at_least(other.high, mine.high)
    if mine.kind in _COUNTS:
        return other.kind in ("whole numbers", *_COUNTS)
    if mine.kind in _VOLUMES:
        return other.kind in ("numbers", *_VOLUMES)
    if mine.kind == "numbers" and other.kind in _VOLUMES:
        return _at_least(mine.low, -sys.float_info.max) and _at_least(sys.float_info.max, mine.high)
    return False


def require_inside(q: Any, p: Any) -> None:
    """Refuse a posterior with outcomes that its prior has not: their divergence is infinite.

    What names no support, or bounds that are traced, is judged by `log_prob` at values alone.

    Raises:
        ValueError: the support of q is known not to lie in that of p; the message says what does.
    """
    outer, inner = (getattr(each, "support", None) for each in (p, q))
    if contains(outer, inner):
        return
    raise ValueError(
        f"the posterior's support must lie in the prior's: `posterior` is a {type(q).__name__}, of "
        f"{described(inner)}, and `prior` a {type(p).__name__}, of {described(outer)}: take "
        f"{_fitting(outer)} as the posterior, or another prior."
    )


def require_volume(p: Any) -> None:
    """Refuse a prior in which Hamiltonian dynamics cannot move.

    Raises:
        ValueError: its support is known to be of whole numbers, or of a surface.
    """
    support = getattr(p, "support", None)
    found = support_shape(support) if isinstance(support, constraints.Constraint) else None
    if found is None or found.kind in ("numbers", *_VOLUMES):
        return
    raise ValueError(
        f"`model` must have a prior over numbers that can be moved by little, got a "
        f"{type(p).__name__}, of {described(support)}: take an importance-weighted bound, or "
        "`pullback.sampling.Enumeration` for few outcomes."
    )


def _fitting(support: Any) -> str:
    found = support_shape(support)
    if found is None:
        return "a distribution of the same support"
    if found.kind not in ("numbers", "whole numbers"):
        return _FITTING.get(found.kind, "a distribution of the same support")
    ends: Any = tuple(None if end is None or end.size != 1 else end.item()
                 for end in (_value(found.low), _value(found.high)))  # fmt: skip
    key: Any = (found.kind, *ends)
    return _FITTING_NUMBERS.get(key, "a distribution of the same range")


_FITTING = {
    "one-hot vectors": "`pullback.sampling.OneHotCategorical`",
    "simplex": "`numpyro.distributions.Dirichlet`",
}
_FITTING_NUMBERS = {
    ("numbers", -math.inf, math.inf): "`numpyro.distributions.Normal`",
    ("numbers", 0.0, math.inf): "`numpyro.distributions.LogNormal`",
    ("numbers", 0.0, 1.0): "`numpyro.distributions.Beta`",
    ("whole numbers", 0.0, 1.0): "`numpyro.distributions.Bernoulli`",
    ("whole numbers", 0.0, math.inf): "`numpyro.distributions.Poisson`",
}


def described(support: Any) -> str:
    """For a message: of what the support is."""
    found = support_shape(support)
    if found is None:
        return "of its own"
    if found.kind not in ("numbers", "whole numbers"):
        return found.kind.replace("_", " ")
    ends = [_value(found.low), _value(found.high)]
    if any(end is None for end in ends):
        return f"bounded {found.kind}"
    low, high = (np.unique(end) for end in ends if end is not None)
    if np.all(low == -np.inf) and np.all(high == np.inf):
        return f"all {found.kind}"
    if low.size == high.size == 1:
        if high[0] == np.inf:
            return f"{found.kind} from {low[0]:g} up"
        if low[0] == -np.inf:
            return f"{found.kind} up to {high[0]:g}"
        return f"{found.kind} from {low[0]:g} to {high[0]:g}"
    return f"bounded {found.kind}"


def support_shape(support: Any) -> _Shape | None:
    """The kind of a support, and its ends; None if it is of no kind that is known."""
    inner, _ = _stripped(support)
    match inner:
        case constraints.integer_interval():
            return _Shape("whole numbers", inner.lower_bound, inner.upper_bound)
        case constraints.integer_greater_than():
            return _Shape("whole numbers", inner.lower_bound)
        case constraints.greater_than():
            return _Shape("numbers", inner.lower_bound)
        case constraints.less_than():
            return _Shape("numbers", high=inner.upper_bound)
        case constraints.interval():
            return _Shape("numbers", inner.lower_bound, inner.upper_bound)
        case _ if inner is constraints.real:
            return _Shape("numbers")
        case _ if inner is constraints.boolean:
            return _Shape("whole numbers", 0, 1)
    for name in (*_SURFACES, *_VOLUMES, "multinomial"):
        known = getattr(constraints, name)
        if inner is known or (isinstance(known, type) and isinstance(inner, known)):
            return _Shape(name)
    return _Shape("one-hot vectors") if getattr(inner, "is_one_hot", False) else None


def _at_least(a: Any, b: Any) -> bool:
    """Whether a is b or more, all of it; bounds that are traced are told by values alone."""
    a, b = _value(a), _value(b)
    return True if a is None or b is None else bool(np.all(a >= b))


def _value(bound: Any) -> np.ndarray | None:
    return None if isinstance(bound, Tracer) else np.asarray(bound, float)
