"""What the times, the values and the mask of one series must be."""

import numpy as np
from jaxtyping import Float

from pullback._times import cast_times


def check_unique(argument: str, names: tuple[str, ...], size: int) -> None:
    """As many names as there are things, and no two the same."""
    if len(names) != size or len(set(names)) != size:
        raise ValueError(f"`{argument}` must hold {size} different names, got {names}.")


def checked_part(name: str, part: tuple) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One series' times, values `[time, variable]` and mask, as they may stand in a batch."""
    if len(part) not in (2, 3):
        raise ValueError(
            f"series {name!r} must be (times, values) or (times, values, mask), got a tuple of "
            f"{len(part)}."
        )
    values = _floating(name, "values", part[1])
    times = cast_times(
        f"series {name!r}", np.asarray(part[0]), _floating(name, "times", part[0]).dtype
    )
    mask = np.ones(values.shape, bool) if len(part) == 2 else np.asarray(part[2])
    if times.ndim != 1 or values.ndim not in (1, 2) or len(values) != len(times):
        raise ValueError(
            f"series {name!r} must have times [time] and values [time, variable], got the shapes "
            f"{times.shape} and {values.shape}."
        )
    if mask.shape != values.shape or mask.dtype != bool:
        raise ValueError(
            f"series {name!r} must have a mask of bool {values.shape}, got {mask.dtype} "
            f"{mask.shape}."
        )
    if not mask.any():
        raise ValueError(f"series {name!r} is empty: it has no observation.")
    _check_times(name, times)
    values, mask = (array.reshape(len(times), -1) for array in (values, mask))
    wrong = np.argwhere(mask & ~np.isfinite(values))
    if len(wrong):
        place, variable = wrong[0]
        hint = "" if len(part) == 3 else " Give a mask that is False where nothing was observed."
        raise ValueError(
            f"series {name!r}: the value at place {place} (time {times[place]:g}), variable "
            f"{variable}, is {values[place, variable]}; {len(wrong)} such values.{hint}"
        )
    return times, values, mask


def _floating(name: str, what: str, array: object) -> np.ndarray:
    given = np.asarray(array)
    if given.dtype.kind == "M":
        raise ValueError(
            f"series {name!r} has dates for {what}, {given.dtype}; count them from the first, "
            "(times - times[0]) / np.timedelta64(1, 'h') with time_unit='h'."
        )
    if given.dtype.kind not in "biuf":
        raise ValueError(f"series {name!r} must have numbers for {what}, got {given.dtype}.")
    return given if given.dtype in (np.float32, np.float64) else given.astype(np.float64)


def _check_times(name: str, times: Float[np.ndarray, " time"]) -> None:
    finite = np.isfinite(times)
    if not finite.all():
        place = int(np.argmin(finite))
        raise ValueError(f"series {name!r}: the time at place {place} is {times[place]}.")
    wrong = np.flatnonzero(times[1:] <= times[:-1])
    if len(wrong):
        place = int(wrong[0]) + 1
        problem = "repeats" if times[place] == times[place - 1] else "comes before"
        raise ValueError(
            f"series {name!r}: the time at place {place}, {times[place]:.12g}, {problem} the "
            f"one ahead of it, {times[place - 1]:.12g}; times must increase. {len(wrong)} such "
            "places."
        )
