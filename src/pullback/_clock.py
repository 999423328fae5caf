"""The times of a solve, counted from the first, so that no cast can make two of them one."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer
from jaxtyping import Array, DTypeLike, Float

from pullback._times import refuse_dates


class Clock(eqx.Module):
    """From the time since the first to the time itself. It is not differentiated.

    Attributes:
        first: the first time of each row.
        last: the last time of each row.
        dtype: of the time that a function sees.
        edges: where pieces end that are not to see into each other, in the order of the row, ends
            included: since the first, and as times; None without.
    """

    first: Float[Array, "*rows"]
    last: Float[Array, "*rows"]
    dtype: Any = eqx.field(static=True)
    edges: tuple[Float[Array, "*rows edges"], Float[Array, "*rows edges"]] | None = None

    def time(self, since: Float[Array, "*rows"]) -> Float[Array, "*rows"]:
        """The time, as close as `dtype` can say, and never beyond the first or the last.

        With `edges` it is neither on an edge nor beyond it: on the side that `since` is on, and of
        an edge itself on the side before it.
        """
        t = self.reached(since).astype(self.dtype)
        if self.edges is None:
            return t
        counted, times = self.edges
        forward = self.last >= self.first
        sign = jnp.where(forward, 1, -1).astype(since.dtype)[..., None]
        before = jnp.sum(sign * counted[..., 1:-1] < sign * since[..., None], axis=-1)
        left, right = (
            jnp.take_along_axis(times, (before + i)[..., None], axis=-1)[..., 0] for i in (0, 1)
        )
        return between(t, left, right, forward)

    def in_pieces(self, since: Float[Array, "*rows n"], times: Float[Array, "*rows n"]) -> "Clock":
        """The same clock, with edges at its ends and at these times between, which are in order."""
        ends = lambda x, first, last: jnp.concatenate(
            [first[..., None], x, last[..., None]], axis=-1
        )
        zero, span = jnp.zeros_like(self.first), self.last - self.first
        edges = (
            ends(since, zero.astype(since.dtype), span.astype(since.dtype)),
            ends(times, self.first.astype(times.dtype), self.last.astype(times.dtype)),
        )
        return type(self)(self.first, self.last, self.dtype, lax.stop_gradient(edges))

    def reached(self, since: Float[Array, "*rows"]) -> Float[Array, "*rows"]:
        """The time, in the dtype of `since`."""
        t = self.first + since
        low, high = jnp.minimum(self.first, self.last), jnp.maximum(self.first, self.last)
        # A sum that rounds past an end is put back; its derivative is that of the sum.
        return t + lax.stop_gradient(jnp.clip(t, low, high) - t)


def beside(t: Array, upward: Array) -> Array:
    """The next number above `t`, or below; next to zero is the least that is not taken for it."""
    near = jnp.nextafter(t, jnp.where(upward, jnp.inf, -jnp.inf).astype(t.dtype))
    tiny = jnp.asarray(jnp.finfo(t.dtype).tiny, t.dtype)
    return jnp.where(t == 0, jnp.where(upward, tiny, -tiny), near)


def between(t: Array, left: Array, right: Array, forward: Array) -> Array:
    """`t`, put strictly between `left` and `right`; its derivative is that of `t`."""
    still = lax.stop_gradient
    here, left, right = still((t, left, right))
    a, b = beside(left, forward), beside(right, ~forward)
    # Where nothing is between, the side before both.
    up, down = jnp.minimum(jnp.maximum(here, a), b), jnp.maximum(jnp.minimum(here, a), b)
    return jnp.where(forward, up, down) + (t - here)


class Times(NamedTuple):
    """Times as a solve uses them.

    Attributes:
        given: what the caller gave, as floating numbers: a NumPy array where JAX's dtype would
            change the gaps between them by more than a thousandth.
        since: the time since the first of each row, `[*rows, T]`, differentiable in the times. NaN
            in a row with traced times that differ, but not when they are counted from the first.
        clock: what turns `since` back into times.
        known: the exact differences from the first, or None where the times are traced.
    """

    given: Array | np.ndarray
    since: Float[Array, "*rows times"]
    clock: Clock
    known: np.ndarray | None


def times_of(ts: Any, dtype: DTypeLike, *, narrow: bool = False) -> Times:
    """`ts` for a state of `dtype`, counted from the first of each row.

    Differences are taken before any cast: on the host in float64 (integers exactly) where the
    numbers are known, else in their own dtype. They are kept in the widest of float32, the dtype of
    `ts` and that of the state; with `narrow` in the state's, or float32 if that is wider.

    Raises:
        TypeError: the times are not real numbers.
        ValueError: they are fewer than two, not finite, or two that differ would become equal.
    """
    ts = _numbers(ts)
    if ts.ndim == 0 or ts.shape[-1] < 2:
        raise ValueError(f"ts must have shape [T] with T at least 2, got {list(ts.shape)}")
    seen = wider(jnp.float32, dtype)
    # Numbers that have not met JAX yet, and integers, have the dtype that it would give them.
    own = ts.dtype if _is_floating(ts) and isinstance(ts, Array) else _widest()
    kept = seen if narrow else wider(seen, own)
    if isinstance(ts, Tracer):
        return _of_traced(ts, kept, seen)
    return _of_known(ts, kept, seen)


def _is_floating(ts: Any) -> bool:
    return jnp.issubdtype(ts.dtype, jnp.floating)


def wider(a: Any, b: Any) -> Any:
    """The one of two floating dtypes that has more bits; promotion may be forbidden."""
    return jnp.dtype(max(a, b, key=lambda dtype: jnp.finfo(dtype).bits))


def _widest() -> np.dtype:
    """float64, or float32 where JAX has no more."""
    return jax.dtypes.canonicalize_dtype(np.float64)


def _numbers(ts: Any, name: str = "ts") -> Any:
    if isinstance(ts, list | tuple) and any(isinstance(x, Tracer) for x in jax.tree.leaves(ts)):
        ts = jnp.asarray(ts)
    if not isinstance(ts, Array):
        try:
            ts = np.asarray(ts)
        except ValueError as error:
            raise ValueError(
                f"{name} must be an array of numbers, with as many in each row: repeat the last "
                f"time of a row that is shorter ({error})"
            ) from error
    if isinstance(ts, np.ndarray):
        refuse_dates(name, ts)
    if not (_is_floating(ts) or jnp.issubdtype(ts.dtype, jnp.integer)):
        first = ts.flat[0] if isinstance(ts, np.ndarray) and ts.size else 0.0
        got = type(first).__name__ if ts.dtype == object else ts.dtype
        raise TypeError(f"{name} must be real numbers, got {got}")
    return ts


def _of_traced(ts: Array, kept: Any, seen: Any) -> Times:
    still = lax.stop_gradient
    wide = still(ts)
    if jnp.issubdtype(ts.dtype, jnp.unsignedinteger):
        # Modulo 2^n, so that differences of either sign are right.
        wide = lax.bitcast_convert_type(wide, jnp.dtype(f"int{8 * ts.dtype.itemsize}"))
    elif _is_floating(ts):
        wide = wide.astype(wider(kept, ts.dtype))
    since = (wide - wide[..., :1]).astype(kept)
    merged = (jnp.diff(wide, axis=-1) != 0) & (jnp.diff(since, axis=-1) == 0)
    since = jnp.where(jnp.any(merged, axis=-1, keepdims=True), jnp.nan, since)
    given = ts if _is_floating(ts) else ts.astype(kept)
    # The first is a constant of the clock, so the cotangent of each difference is that of its time.
    since = since + (given - still(given)).astype(kept)
    first, last = (still(given[..., i]).astype(kept) for i in (0, -1))
    return Times(given, since, Clock(first, last, seen), None)


def _of_known(ts: Any, kept: Any, seen: Any) -> Times:
    host, dtype = np.asarray(ts), np.dtype(kept)
    if jnp.issubdtype(host.dtype, jnp.integer):
        # Modulo 2^64, so that differences of either sign are right.
        exact = host.astype(np.uint64)
        known = (exact - exact[..., :1]).view(np.int64).astype(np.float64)
    else:
        exact = host.astype(np.promote_types(np.float64, host.dtype))
        if not np.all(np.isfinite(exact)):
            raise ValueError(f"ts must be finite, got {host}")
        known = (exact - exact[..., :1]).astype(np.float64)
    with np.errstate(over="ignore"):
        since = known.astype(dtype)
        ends = host[..., [0, -1]].astype(np.float64).astype(dtype)
        given = host if isinstance(ts, Array) and _is_floating(ts) else host.astype(_widest())
    if not (np.all(np.isfinite(since)) and np.all(np.isfinite(ends))):
        raise ValueError(f"ts is too large for {dtype.name}, in which it is solved: {host}")
    differ = np.diff(exact, axis=-1) != 0
    _check_apart(host, differ & (np.diff(since, axis=-1) == 0), dtype)
    gaps = np.diff(known, axis=-1)
    lossy = np.any(np.abs(np.diff(given.astype(np.float64), axis=-1) - gaps) > 1e-3 * np.abs(gaps))
    clock = Clock(jnp.asarray(ends[..., 0]), jnp.asarray(ends[..., 1]), seen)
    kept_as = host.astype(np.float64) if lossy else jnp.asarray(given)
    return Times(kept_as, jnp.asarray(since), clock, known)


def _check_apart(ts: np.ndarray, merged: np.ndarray, dtype: np.dtype) -> None:
    if not np.any(merged):
        return
    *row, i = (int(x) for x in np.argwhere(merged)[0])
    a, b = ts[(*row, i)], ts[(*row, i + 1)]
    where = f"entries {i} and {i + 1}" + (f" of row {row[0]}" if row else "")
    remedy = (
        "cut ts into parts and solve one after another"
        if dtype == np.float64
        else "turn on jax_enable_x64 and give a float64 state, or cut ts into parts and solve one "
        "after another"
    )
    raise ValueError(
        f"ts has different times that the cast to {dtype.name} makes equal, even counted from the "
        f"first, {ts[(*row, 0)]}: {a} and {b} ({where}). If the difference between them matters, "
        f"{remedy}; if not, make them equal"
    )


def marks_of(name: str, marks: Any, ts: Any, times: Times) -> tuple[Array, Array]:
    """Other times on the clock of `times`, made of `ts`.

    Returns them since the first, which are differentiable, and as a function sees them. They may be
    in any order, outside of `ts` or infinite.
    """
    marks, ts = _numbers(marks, name), _numbers(ts)
    kept, seen = times.since.dtype, times.clock.dtype
    if marks.ndim == 0:
        raise ValueError(f"{name} must be an array of times, got one number: give [{name}]")
    if isinstance(marks, Tracer) or isinstance(ts, Tracer):
        still = lax.stop_gradient
        given, first = jnp.asarray(marks), jnp.asarray(ts)[..., :1]
        given = given if _is_floating(given) else given.astype(kept)
        rows = max(given.shape[:-1], first.shape[:-1], key=len)
        given, first = (jnp.broadcast_to(x, (*rows, x.shape[-1])) for x in (given, first))
        wide = wider(wider(kept, given.dtype), first.dtype if _is_floating(first) else kept)
        since = still(given.astype(wide) - first.astype(wide)).astype(kept)
        moved = jnp.where(jnp.isfinite(given), given - still(given), 0.0)
        return since + moved.astype(kept), still(given).astype(seen)
    host, first = np.asarray(marks), np.asarray(ts)[..., :1]
    integers = all(jnp.issubdtype(x.dtype, jnp.integer) for x in (host, first))
    exact = np.int64 if integers else np.float64
    known = (host.astype(exact) - first.astype(exact)).astype(np.float64)
    if np.any(np.isnan(known)):
        raise ValueError(f"{name} must not be NaN, got {host}")
    with np.errstate(over="ignore"):
        since = known.astype(np.dtype(kept))
        exactly, rounded = np.sort(known, axis=-1), np.sort(since, axis=-1)
        merged = (np.diff(exactly, axis=-1) != 0) & (rounded[..., 1:] == rounded[..., :-1])
        merged &= np.isfinite(rounded[..., 1:])
        if np.any(merged):
            raise ValueError(
                f"{name} has different times that the cast to {np.dtype(kept).name} makes equal, "
                f"even counted from the first of ts, so that what lies between them would be lost: "
                f"{host}. Turn on jax_enable_x64 and give a float64 state, or make them equal"
            )
        return jnp.asarray(since), jnp.asarray(host.astype(np.float64).astype(np.dtype(seen)))
