"""The times for which a forecast of series is asked, and what is said of them."""

import warnings
from typing import Any

import numpy as np
from jaxtyping import Float

from pullback.data import IrregularSeries

from ._series_rows import as_time

_MOST = 1_000_000  # times of a forecast


def times_ahead(
    series: IrregularSeries, last: Float[np.ndarray, " s"], until: Any, every: float
) -> list[Float[np.ndarray, " t"]]:
    """Of each series the multiples of `every` after its last time, up to `until`.

    Raises:
        ValueError: there is none, or there are too many.
    """
    own = isinstance(until, str) and until.startswith("+")
    end = as_time(until[1:] if own else until, "" if own else series.time_unit)
    ends = last + end if own else np.full(len(last), end)
    refuse_too_many(until, every, float(np.maximum(0, (ends - last) / every).sum()))
    asked = [multiples(start, stop, every) for start, stop in zip(last, ends, strict=True)]
    if sum(map(len, asked)) == 0:
        raise ValueError(f"no series ends before `until`, {until}.")
    warn_of_done([len(each) for each in asked])
    return asked


def multiples(start: float, stop: float, every: float) -> np.ndarray:
    """Multiples of a step after one time, up to another, with it."""
    first, last = np.floor(start / every) + 1, np.floor(stop / every + 1e-9)
    return every * np.arange(first, last + 1)


def refuse_too_many(until: Any, every: float, count: float) -> None:
    """Raise a `ValueError` where a forecast would be of more times than memory holds."""
    if not count < _MOST:
        raise ValueError(
            f"`until` {until} by steps of {every:.4g} would be {count:.3g} times; no more than "
            f"{_MOST:,} are told at once. Give an earlier last time, or a wider `every`."
        )


def warn_of_done(asked: list[int]) -> None:
    """Say of how many series nothing is forecast."""
    done = asked.count(0)
    if done:
        warnings.warn(
            f"{done} of {len(asked)} series have a value at `until` or after it, so nothing is "
            "forecast of them.",
            UserWarning,
            stacklevel=4,
        )


def warn_of_far(ahead: Float[np.ndarray, " n"], horizon: float, unit: str) -> None:
    """Say how many times lie farther ahead than was looked."""
    far = int((ahead > 1.001 * horizon).sum())
    if far:
        warnings.warn(
            f"{far} times lie farther ahead than the {horizon:.4g}{unit} up to which forecasts "
            "were checked; their bands are those of the process, unchecked.",
            UserWarning,
            stacklevel=3,
        )
