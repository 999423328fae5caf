"""A table of numbers as an npz file: its inputs, and maybe its target."""

from pathlib import Path

import numpy as np

from pullback.data._arrays import read_arrays
from pullback.data._csv import is_rounded
from pullback.data._errors import DataError
from pullback.data._npy import NUMBERS


def npz_table(path: Path) -> tuple[tuple[str, ...], np.ndarray, np.ndarray]:
    """The columns' names, the rows' numbers from 1, and the cells, NaN where there is a hole."""
    found = read_arrays(path, {"x": (NUMBERS, (None, None))}, {"y": (NUMBERS, None)})
    for name, array in found.items():
        _check_whole(path, name, array)
    x = found["x"].astype(np.float64)
    names = tuple(f"x{place + 1}" for place in range(x.shape[1]))
    if "y" in found:
        if found["y"].shape not in ((len(x),), (len(x), 1)):
            raise DataError(
                path,
                f"expected y of shape ({len(x)},), a number for each row of x; got "
                f"{found['y'].shape}. Columns of inputs belong into x.",
            )
        x = np.column_stack([x, found["y"].astype(np.float64)])
        names = (*names, "y")
    if not names:
        raise DataError(path, "expected columns in x; it has none.")
    if np.isinf(x).any():
        row = int(np.argwhere(np.isinf(x))[0, 0])
        raise DataError(path, f"expected finite numbers; row {row + 1} has an infinity.")
    return names, np.arange(1, len(x) + 1), x


def _check_whole(path: Path, name: str, array: np.ndarray) -> None:
    """Whole numbers are not changed as they become float64."""
    if array.dtype.kind not in "iu" or array.dtype.itemsize < 8:
        return
    for number in array[(array >= 2**53) | (array <= -(2**53))].tolist():
        if is_rounded(number):
            problem = (
                f"{name} has the whole number {number}, which is {int(float(number))} as float64"
            )
            raise DataError(path, f"{problem}; write it as float64 if it may be rounded.")
