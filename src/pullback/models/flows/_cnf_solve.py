"""The solve beneath a continuous flow: points, their log-determinants, and what rides along."""

import inspect
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from pullback import ode
from pullback._in_batches import over_batches
from pullback.calculus import AbstractDivergence


def finds_its_divergence(field: Any, *, context: bool) -> bool:
    """Whether a field has `with_divergence(t, y)`, or with `args` where there is a context."""
    own = getattr(field, "with_divergence", None)
    if own is None or not context:
        return own is not None
    try:
        inspect.signature(own).bind(0, 0, 0)
    except (TypeError, ValueError):
        return False
    return True


def _at(field: Any, t: Array, context: Any) -> Callable[[Any], Any]:
    """The field at one time: a function of one point, with what the field knows about itself."""
    if finds_its_divergence(field, context=context is not None):
        return _AtTime(field, t, context)
    return lambda y: _velocity(field(t, y, context), y)


def _velocity(value: Any, y: Array) -> Array:
    """What a field returned, if it is a velocity."""
    if not hasattr(value, "shape") or value.shape != y.shape:
        got = list(value.shape) if hasattr(value, "shape") else type(value).__name__
        raise ValueError(
            f"`field` must return the velocity of one point, an array of shape {list(y.shape)}, "
            f"got {got}: put numbers together with `jnp.stack`."
        )
    return value


class _AtTime(eqx.Module):
    field: Any
    t: Array
    context: Any

    def __call__(self, y: Array) -> Array:
        return self.field(self.t, y, self.context)

    def with_divergence(self, y: Array) -> tuple[Array, Array]:
        given = () if self.context is None else (self.context,)
        return self.field.with_divergence(self.t, y, *given)


class Rates(eqx.Module):
    """The velocity of one point's position and log-determinant, and the rates of its penalties.

    Its probe and its context ride along, unchanged: with steps per sample, what differs between the
    points has to be part of the state. The penalties stand last, as `pb.ode.DeferredPenalty` wants
    them; Diffrax's adjoints take None where nothing is, and no empty tuple.
    """

    field: Any
    divergence: AbstractDivergence
    penalties: tuple[ode.AbstractPenalty, ...] = ()

    def __call__(self, t: Array, state: tuple, args: None) -> tuple:
        (y, (log_det, (probe, context))), _ = state
        still = jax.tree.map(jnp.zeros_like, (probe, context))
        if log_det is None:
            return (_velocity(self.field(t, y, context), y), (None, still)), None
        velocity, trace = self.divergence(_at(self.field, t, context), y, probe)
        # Of the position alone, as the paper has them.
        rates = tuple(p(self.field, t, y, context, velocity) for p in self.penalties)
        return (velocity, (trace, still)), rates or None

    def start(self, y: Array, context: Any, key: Any, *, log_det: bool) -> tuple:
        if not log_det:
            return (y, (None, (None, context))), None
        zero = jnp.zeros((), y.dtype)
        point = y, (zero, (self.divergence.probe(y, key=key), context))
        return point, (zero,) * len(self.penalties) or None


def _norm(x: tuple) -> Array:
    # The log-determinant is part of the answer. One number beside many, it is looked at alone: a
    # mean over all would hide it. What rides along is not looked at.
    (y, (log_det, _)), _ = x
    return (
        ode.rms_norm(y) if log_det is None else jnp.maximum(ode.rms_norm(y), ode.rms_norm(log_det))
    )


@eqx.filter_jit
def solve_rows(
    rates: Rates,
    rows: Array,
    contexts: Any,
    ts: Array,
    keys: Any,
    options: dict[str, Any],
    batch_size: int | None,
    log_det: bool,
) -> ode.Solution:
    """Solve for all rows, `batch_size` of them at a time. What comes back has a row for each.

    Its `ys` are positions, log-determinants, and the integral of each penalty.
    """
    joint = options["stepping"] == "joint"

    def all_rows(t: Array, state: PyTree, args: None) -> PyTree:
        return jax.vmap(rates, in_axes=(None, 0, None))(t, state, args)

    def batch(given: tuple[Array, Any, Any]) -> ode.Solution:
        start = jax.vmap(lambda y, c, key: rates.start(y, c, key, log_det=log_det))(*given)
        field = all_rows if joint else rates
        solution = ode.solve(field, start, ts, norm=_norm, throw=False, **options)
        (y, (log_dets, _)), integrals = solution.ys
        ys = y, log_dets, *(integrals or ())
        stats, result, t_reached = solution.stats, solution.result, solution.t_reached
        if joint:
            ys = jax.tree.map(lambda x: jnp.moveaxis(x, 0, 1), ys)
            stats, result, t_reached = jax.tree.map(
                lambda x: jnp.broadcast_to(x, given[0].shape[:1]), (stats, result, t_reached)
            )
        return ode.Solution(ts, ys, stats, result, t_reached)

    n = len(rows)
    if n == 0:  # what one row would give, without the row
        like = lambda x: jax.ShapeDtypeStruct((1, *x.shape[1:]), x.dtype)
        found = jax.eval_shape(batch, jax.tree.map(like, (rows, contexts, keys)))
        empty = jax.tree.map(lambda x: jnp.zeros((0, *x.shape[1:]), x.dtype), found)
        return eqx.tree_at(lambda s: s.ts, empty, ts)
    # As many batches as `batch_size` asks for, but of one size as far as may be.
    even = None if batch_size is None else -(-n // -(-n // batch_size))
    found = over_batches(batch, (rows, contexts, keys), even)
    return eqx.tree_at(lambda s: s.ts, found, ts)
