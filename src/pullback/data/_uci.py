"""UCI's tables of a number to predict, by the splits that papers compare on."""

import os

import numpy as np

from pullback.data._arrays import read_arrays
from pullback.data._errors import DataError
from pullback.data._npy import NUMBERS, WHOLE
from pullback.data._places import UCI_TABLES, locate
from pullback.data._types import Measured, MeasuredSplit


def uci_regression(
    name: str, split: int = 0, *, folder: str | os.PathLike[str] | None = None
) -> MeasuredSplit:
    """A UCI table of a number to predict, by one of its published splits of 90 and 10 per cent.

    A table of your own is read by `read_table`, or `read_mixed` where not all of it is numbers.

    Args:
        name: "bostonHousing", "concrete", "energy", "kin8nm", "naval-propulsion-plant",
            "power-plant", "protein-tertiary-structure", "wine-quality-red" or "yacht".
        split: which of the 20 splits, from 0; of the protein table there are 5.
        folder: where `NAME.npz` lies, or the folder above `uci_regression`. The file holds `x`,
            `y`, `train_idx` and `test_idx`, a row of places for each split. None: the folder that
            the environment variable `PULLBACK_DATA` names, then the cache of this user.

    Returns:
        The rows to train on and those to test on, float64, in the units and the order published:
        to compare with papers, scale by the training part alone (`standardise`), and report in the
        units of `y`.

    Raises:
        ValueError: there is no table of this name, whose target is known, or no such split.
        DataError: the file is missing, damaged, or its splits are none.

    Example:
        >>> train, test = uci_regression("yacht", 3, folder="data")  # doctest: +SKIP
        >>> train.x.shape, test.y.shape  # doctest: +SKIP
        ((277, 6), (31,))

    Source: Hernández-Lobato and Adams, arXiv 1502.05336, for the protocol; the splits are those of
        Gal and Ghahramani, arXiv 1506.02142.
    """
    if name not in UCI_TABLES:
        raise ValueError(
            f"`name` must be one of {', '.join(UCI_TABLES)}, whose targets are known; got "
            f"{name!r}. A table of your own is read by `read_table`, which names its columns."
        )
    (path,) = locate(f"uci-{name}", folder)
    places = (WHOLE, (None, None))
    wanted = {"train_idx": places, "test_idx": places}
    arrays = read_arrays(path, {"x": (NUMBERS, (None, None)), "y": (NUMBERS, (None,)), **wanted})
    x, y = (np.asarray(arrays[part], np.float64) for part in ("x", "y"))
    if not np.isfinite(x).all() or not np.isfinite(y).all() or len(x) != len(y):
        raise DataError(path, "expected as many finite rows `x` as numbers `y`.")
    count = len(arrays["train_idx"])
    if len(arrays["test_idx"]) != count:
        raise DataError(path, "expected as many rows of test_idx as of train_idx, one a split.")
    if isinstance(split, bool) or not isinstance(split, int | np.integer) or not 0 <= split < count:
        raise ValueError(f"`split` of {name} must be 0 to {count - 1}, got {split!r}.")
    train, test = (arrays[part][split].astype(np.int64) for part in ("train_idx", "test_idx"))
    if not np.array_equal(np.sort(np.concatenate([train, test])), np.arange(len(y))):
        raise DataError(path, f"expected split {split} to hold each of {len(y)} rows once.")
    return MeasuredSplit(Measured(x[train], y[train]), Measured(x[test], y[test]))
