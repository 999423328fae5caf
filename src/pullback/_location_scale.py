"""Where a column lies and how far it spreads, at every scale that its dtype can hold."""

from typing import Any, NamedTuple

import numpy as np


class LocationScale(NamedTuple):
    """Of each column, in its own dtype.

    Attributes:
        mean: the column's mean, never outside of the column's range.
        scale: its standard deviation, above 0; exactly 1 where the column is constant.
        constant: True where all its numbers are the same.
    """

    mean: Any
    scale: Any
    constant: Any


def location_and_scale(x: Any) -> LocationScale:
    """Means and standard deviations over the leading axis, of NumPy or JAX arrays, `[n, ...]`.

    Differences from one of the rows are exact where a column hardly varies, and in units of the
    largest of them no square overflows or vanishes. A column is constant if all these differences
    are 0: a mean that was rounded says nothing of that. NaN and infinities make a column's numbers
    NaN; n is at least 1.
    """
    xp, dtype = x.__array_namespace__(), x.dtype
    # A device may have no float64; the host always has.
    on_host = xp.__name__ == "numpy"
    wide = xp.float64 if on_host or dtype == xp.float64 else xp.float32
    finfo = float_info(dtype)
    # XLA takes a number that is not normal for 0; float16 it computes in float32.
    kept = on_host or dtype == xp.float16
    least = float(finfo.smallest_subnormal if kept else finfo.tiny)
    x = x.astype(wide)
    # Smaller where a difference could overflow, and not where that could drop a digit; so much
    # smaller, because XLA divides by multiplying with the reciprocal, which it must not flush to 0.
    shrink = xp.where(xp.max(xp.abs(x), axis=0) > 1, 1 / 16, 1.0).astype(wide)
    first = x[0] * shrink
    apart = x * shrink[None] - first[None]
    reach = xp.max(xp.abs(apart), axis=0)
    constant = reach < least
    unit = xp.where(constant, xp.ones_like(reach), reach)
    apart = apart / unit[None]
    mean = xp.mean(apart, axis=0)
    mean = mean + xp.mean(apart - mean[None], axis=0)
    variance = xp.mean(xp.square(apart - mean[None]), axis=0)
    varies = xp.where(constant, xp.ones_like(variance), variance)
    scale = xp.clip(xp.sqrt(varies) * unit / shrink, least, float(finfo.max))
    return LocationScale(
        xp.clip((first + mean * unit) / shrink, xp.min(x, axis=0), xp.max(x, axis=0)).astype(dtype),
        xp.where(constant, xp.ones_like(scale), scale).astype(dtype),
        constant,
    )


def float_info(dtype: Any) -> Any:
    """What `finfo` says; of bfloat16 too, which NumPy does not know by itself."""
    if dtype.name == "bfloat16":
        import jax.numpy as jnp

        return jnp.finfo(dtype)
    if dtype.kind != "f":
        raise ValueError(f"expected numbers, got {dtype}.")
    return np.finfo(dtype)
