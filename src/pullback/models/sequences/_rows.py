"""Sequences one-hot as they are given, and which of them are kept apart."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray, Real

from pullback._inputs import positive

# The step between two numbers of a dtype, beside a standard deviation, at most.
_DIGITS = 0.01


def checked_sequences(x: Any, *, name: str = "data") -> Float[Array, "n length letters"]:
    """An array on the device, once each row of each sequence has proved to sum to 1.

    Whole numbers and those of half precision become float32.
    """
    if not isinstance(x, np.ndarray | Array):
        raise TypeError(
            f"`{name}` must be an array of sequences one-hot, [n, length, letters]; got "
            f"{type(x).__name__}. Of strings make one by `pullback.data.one_hot(strings)`."
        )
    if x.ndim != 3 or 0 in x.shape:
        raise ValueError(
            f"`{name}` must be sequences one-hot, [n, length, letters], one or more; got the shape "
            f"{x.shape}."
        )
    if not jnp.issubdtype(x.dtype, jnp.floating) or jnp.finfo(x.dtype).bits < 32:
        x = x.astype(jnp.float32)
    sums = np.asarray(x.sum(axis=2), float)
    bad = np.flatnonzero(~((np.abs(sums - 1) < 1e-3).all(axis=1) & (x.min(axis=(1, 2)) >= 0)))
    if len(bad):
        raise ValueError(
            f"each row of a sequence in `{name}` must be a law over its letters, 0 or more and "
            f"with a sum of 1; those of sequence {bad[0]} are not, one of {len(bad)} such. Of "
            "strings make them by `pullback.data.one_hot(strings)`."
        )
    return jnp.asarray(x)


def split_rows(
    n: int, held_out: int | None, *, most: int, key: PRNGKeyArray
) -> tuple[Int[Array, " train"], Int[Array, " test"]]:
    """The places of rows to train on, and of those to keep apart, drawn at random."""
    if held_out is None:
        held_out = min(most, max(n // 10, 1))
    positive(held_out=held_out)
    if held_out >= n:
        raise ValueError(
            f"`held_out` must leave sequences to train on; got {held_out} of {n}. Give more "
            "sequences, or a smaller number."
        )
    order = jax.random.permutation(key, n)
    return order[held_out:], order[:held_out]


def check_range(name: str, x: Real[np.ndarray, "..."], sd: Any, dtype: Any) -> None:
    """Raise ValueError where numbers, or how they spread, are beyond what a dtype can hold."""
    if not np.size(x):
        return
    numbers = jnp.finfo(dtype)
    # A prediction may lie further out than what was learned from.
    greatest, most = float(np.nanmax(np.abs(x))), 1e-3 * float(numbers.max)
    least = float(np.min(sd))
    if not (greatest <= most and np.max(sd) <= most and least >= numbers.tiny):
        raise ValueError(
            f"`{name}` cannot be held in {numbers.dtype}: it goes to {greatest:.2g} in size, with "
            f"a standard deviation of {least:.2g}. Rescale it, to a deviation of 1 for example."
        )
    sizes = np.atleast_1d(np.nanmax(np.abs(x), axis=0))
    spreads = np.atleast_1d(sd)
    short = float(numbers.eps) * sizes > _DIGITS * spreads
    if short.any():
        at = int(np.argmax(short))
        raise ValueError(
            f"`{name}` goes to {sizes[at]:.2g} in size and deviates by {spreads[at]:.2g}, for "
            f"which {numbers.dtype} has too few digits. Take its mean away."
        )
