"""Walking people: CMU motion capture, subject 35."""

import os

import numpy as np

from pullback.data._arrays import read_arrays
from pullback.data._errors import DataError
from pullback.data._irregular import IrregularSeries, SeriesSplit
from pullback.data._npy import FLOATS
from pullback.data._places import locate

_SETS = {"train": ("Xtr", 16), "validation": ("Xval", 3), "test": ("Xtest", 4)}
_FRAMES, _ANGLES = 300, 50


def mocap35(folder: str | os.PathLike[str] | None = None) -> SeriesSplit:
    """Motion capture of a walking person: 23 walks of 300 frames, 50 joint angles each.

    Args:
        folder: where `mocap35.npz` lies, or the folder above `mocap35`. The file holds `Xtr`,
            `Xval` and `Xtest`, as `mocap35.mat` of the ODE2VAE experiments does. None: the folder
            that the environment variable `PULLBACK_DATA` names, then the cache of this user.

    Returns:
        16 walks to train on, 3 to select on and 4 to test on, as float64, every angle observed at
        every frame. Times are frames, from 0. To repeat the papers' experiment, condition on the
        first 3 frames, `window(stop=3.0)`, and predict the rest, `window(3.0)`.

    Raises:
        DataError: the file is missing, damaged or has arrays of another shape.

    Example:
        >>> walks = mocap35("data")  # doctest: +SKIP
        >>> walks.test.values.shape  # doctest: +SKIP
        (4, 300, 50)

    Source: CMU graphics lab motion capture database, mocap.cs.cmu.edu, subject 35; the choice and
    the split of Yıldız et al., arXiv 1905.10994; used by Li et al., arXiv 2001.01328, section 7.3.
    """
    (path,) = locate("mocap35", folder)
    arrays = read_arrays(
        path, {name: (FLOATS, (n, _FRAMES, _ANGLES)) for name, n in _SETS.values()}
    )
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise DataError(path, f"expected {name} to hold finite floats.")
    return SeriesSplit(*(_walks(part, arrays[name]) for part, (name, _) in _SETS.items()))


def _walks(part: str, angles: np.ndarray) -> IrregularSeries:
    return IrregularSeries(
        times=np.tile(np.arange(_FRAMES, dtype=np.float64), (len(angles), 1)),
        values=angles.astype(np.float64),
        mask=np.ones(angles.shape, bool),
        ids=tuple(f"{part}-{k + 1}" for k in range(len(angles))),
        variables=tuple(f"angle{k + 1}" for k in range(_ANGLES)),
        units=("",) * _ANGLES,
        time_unit="frame",
        targets=None,
    )
