"""Times in another dtype, without losing what lies between them."""

import datetime
from typing import Any

import numpy as np


def refuse_dates(name: str, times: np.ndarray) -> None:
    """Dates have no unit that a solve could count in: whoever gives them has to say one."""
    first = times.flat[0] if times.size else 0.0
    if times.dtype.kind in "Mm" or isinstance(first, datetime.date | datetime.timedelta):
        raise TypeError(
            f"{name} must be numbers, got {type(first).__name__}: give the seconds since the first "
            "time, (t - t[0]) / np.timedelta64(1, 's') for NumPy's dates, "
            "[(each - t[0]).total_seconds() for each in t] for Python's"
        )


def cast_times(name: str, times: np.ndarray, dtype: Any) -> np.ndarray:
    """Increasing times `[..., time]` in `dtype`, on the host.

    Far from 0 a short dtype has few numbers: in float32 the next second after 1706695200 is 128
    later. Where two different times become equal, or one moves by more than a thousandth of its
    row's span, that is an error which names the cast.
    """
    refuse_dates(name, times)
    dtype = np.dtype(dtype)
    with np.errstate(over="ignore"):
        cast = times.astype(dtype)
    if cast.dtype == times.dtype or not times.size:
        return cast
    exact, got = np.atleast_2d(times), np.atleast_2d(cast)
    beyond = np.argwhere(~np.isfinite(got))
    if len(beyond):
        *row, place = beyond[0]
        problem = f"{exact[(*row, place)]} becomes {got[(*row, place)]}"
        raise ValueError(_message(name, row, times.ndim, problem, dtype))
    merged = np.argwhere((exact[..., 1:] > exact[..., :-1]) & ~(got[..., 1:] > got[..., :-1]))
    if len(merged):
        *row, place = merged[0]
        one, other = exact[(*row, place)], exact[(*row, place + 1)]
        problem = f"{one} and {other} become the same, {got[(*row, place)]}"
        raise ValueError(_message(name, row, times.ndim, problem, dtype))
    span = exact[..., -1] - exact[..., 0]
    span = np.where(span > 0, span, exact.max() - exact.min())
    # A dtype of few digits cannot say more of any times.
    most = max(1e-3, 2.0 * 10.0 ** -_digits(dtype)) * span.astype(np.float64)
    moved = np.abs(got.astype(np.float64) - exact.astype(np.float64))
    far = np.argwhere((moved > most[..., None]) & (most > 0)[..., None])
    if len(far):
        *row, place = far[0]
        one = exact[(*row, place)]
        problem = f"{one} becomes {got[(*row, place)]}, in a row that spans {span[*row]:g}"
        raise ValueError(_message(name, row, times.ndim, problem, dtype))
    return cast


def _digits(dtype: np.dtype) -> int:
    return np.finfo(dtype).precision if dtype.kind == "f" else 2  # bfloat16


def _message(name: str, row: list, ndim: int, problem: str, dtype: np.dtype) -> str:
    where = f" row {row[0]}:" if ndim > 1 else ""
    return (
        f"{name}:{where} times cast to {dtype.name} lose what lies between them: {problem}. Count "
        "them from a nearer origin or in a larger unit (`pb.data.rescale_series` does), or keep "
        "them in float64 (on a device with jax_enable_x64)."
    )
