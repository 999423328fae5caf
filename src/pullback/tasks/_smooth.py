"""Trajectories made smooth: states, slopes and the noise of what was measured."""

import warnings
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.interpolate import CubicSpline, make_smoothing_spline

from ._trajectories import Trajectory

_FEWEST = 5  # times from which on a smoothing spline is known


class Smooth(NamedTuple):
    """A trajectory, and a smooth path beside it.

    Attributes:
        path: as it was measured.
        ys: the smooth path at its times; no NaN.
        slopes: of that path, a unit of time.
    """

    path: Trajectory
    ys: Float[np.ndarray, "n d"]
    slopes: Float[np.ndarray, "n d"]


def smooth(path: Trajectory) -> Smooth:
    """A spline for each column, as smooth as does best where one point is left out."""
    ys, slopes = np.empty_like(path.ys), np.empty_like(path.ys)
    for j, column in enumerate(path.ys.T):
        there = ~np.isnan(column)
        curve = _curve(path.ts[there], column[there])
        # Beyond the first and last value of this column the path goes on straight.
        low, high = path.ts[there][[0, -1]]
        inside = np.clip(path.ts, low, high)
        slopes[:, j] = curve(inside, 1)
        ys[:, j] = curve(inside) + slopes[:, j] * (path.ts - inside)
    return Smooth(path, ys, slopes)


def _curve(ts: Float[np.ndarray, " n"], values: Float[np.ndarray, " n"]) -> Any:
    middle, spread = values.mean(), values.std()
    if spread <= 1e-12 * np.abs(values).max():
        return lambda t, order=0: np.full_like(t, 0.0 if order else middle)
    unit = (ts[-1] - ts[0]) / (len(ts) - 1)
    s, v = (ts - ts[0]) / unit, (values - middle) / spread
    if len(ts) == 2:
        slope = v[1] - v[0]
        curve: Any = lambda t, order=0: np.full_like(t, slope) if order else v[0] + slope * t
    else:
        curve = CubicSpline(s, v)
    if len(ts) >= _FEWEST:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                found = make_smoothing_spline(s, v)
            except ValueError:
                found = None  # times so uneven that the best smoothness is not found
        # What is but rounded needs no smoothing; at its ends the interpolating spline is better.
        rough = found is None or np.sqrt(np.mean((found(s) - v) ** 2)) < 1e-3
        curve = curve if rough else found
    scale = lambda order: spread / unit if order else spread
    offset = lambda order: 0.0 if order else middle
    return lambda t, order=0: offset(order) + scale(order) * curve((t - ts[0]) / unit, order)


def noise_of(paths: list[Smooth]) -> Float[np.ndarray, " d"]:
    """The deviation of each column from its smooth paths."""
    apart = np.concatenate([path.path.ys - path.ys for path in paths])
    # A smooth path follows some of the noise.
    return 1.2 * np.sqrt(np.nanmean(apart**2, axis=0))
