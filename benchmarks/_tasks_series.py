"""Irregular series filled in and continued, beside what is used for that."""

import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

from pullback.data import IrregularSeries, mocap35, physionet2012
from pullback.tasks import SeriesModel

LEVELS = (0.5, 0.8, 0.9, 0.95)
_VITAL = ["HR", "MAP", "Temp", "RespRate", "GCS", "Urine"]
_STAYS, _TEST, _ANGLES, _EVERY, _SHOWN, _PAST = 300, 60, 6, 5, 0.8, 0.75


def sets(folder: Path, seed: int) -> dict[str, tuple[IrregularSeries, IrregularSeries]]:
    """Series to fit and others to judge by: stays in intensive care, and walks."""
    random = np.random.default_rng(seed)
    stays = physionet2012(folder, bin_minutes=30).select(_VITAL)
    few = stays.take(random.permutation(len(stays.ids))[: _STAYS + _TEST])
    few = few.take(np.asarray(few.mask.any(axis=(1, 2)))).compact()
    walks = mocap35(folder)
    # Some angles are the same in all frames, but for rounding.
    moves = np.flatnonzero(walks.train.values.std(axis=(0, 1)) > 0.1)
    names = [walks.train.variables[k] for k in moves[:: len(moves) // _ANGLES][:_ANGLES]]
    parts = [_thinned(part.select(names), random) for part in walks]
    joined = IrregularSeries(
        *(np.concatenate([getattr(part, name) for part in parts[:2]]) for name in _ARRAYS),
        ids=parts[0].ids + parts[1].ids,
        **{name: getattr(parts[0], name) for name in ("variables", "units", "time_unit")},
        targets=None,
    )
    places = np.arange(len(few.ids))
    return {
        "PhysioNet 2012": (few.take(places[_TEST:]), few.take(places[:_TEST])),
        "walks (mocap 35)": (joined, parts[2]),
    }


_ARRAYS = ("times", "values", "mask")


def _thinned(walks: IrregularSeries, random: np.random.Generator) -> IrregularSeries:
    """Every fifth frame, and of the angles three quarters."""
    walks = walks._replace(
        times=walks.times[:, ::_EVERY],
        values=walks.values[:, ::_EVERY],
        mask=walks.mask[:, ::_EVERY] & (random.random(walks.mask[:, ::_EVERY].shape) < 0.75),
    )
    return walks._replace(values=np.where(walks.mask, walks.values, 0.0))


def series(train: IrregularSeries, test: IrregularSeries, seed: int) -> dict[str, Any]:
    """Of each rival the squared error of what was hidden, in variances of each variable.

    Filled in: a fifth of the values is hidden. Forecast: what comes after three quarters of the
    span. A value is predicted at its own time.
    """
    start = time.perf_counter()
    model = SeriesModel(random_state=seed, progress=False).fit(train)
    fitted = time.perf_counter() - start
    scale = np.asarray([train.values[..., k][train.mask[..., k]].std() for k in range(len(_VITAL))])
    shown, hidden = test.hold_out(_SHOWN, seed=seed)
    low, high = test.times[test.on_grid].min(), test.times[test.on_grid].max()
    before = (test.times < low + _PAST * (high - low))[:, :, None]
    past = test._replace(mask=test.mask & before)
    tasks = {"filled in": (shown, hidden.mask), "forecast": (past, test.mask & ~before)}
    found: dict[str, Any] = {"fit": fitted}
    for task, (seen, asked) in tasks.items():
        whole = np.asarray(seen.mask.any(axis=(1, 2)))
        seen, truth, asked = seen.take(whole), test.take(whole), asked[whole]
        seen = seen._replace(values=np.where(seen.mask, seen.values, 0.0))
        square = lambda mean, truth=truth, asked=asked: float(
            np.mean(np.square((mean - truth.values) / scale)[asked])
        )
        began = time.perf_counter()
        bands = {level: _told(model, seen, level) for level in LEVELS}
        used = (time.perf_counter() - began) / len(LEVELS)
        inside = {
            str(level): float(np.mean((b[1] <= truth.values) & (truth.values <= b[2]), where=asked))
            for level, b in bands.items()
        }
        rivals = {
            "SeriesModel": {"error": square(bands[0.9][0]), "inside": inside, "use": used},
            "last value carried on": {"error": square(_carried(seen, train))},
            "linear interpolation": {"error": square(_linear(seen, train))},
        }
        began = time.perf_counter()
        mean, std = _processes(seen, train, asked)
        covered = np.abs(mean - truth.values) <= 1.645 * std
        rivals["a Gaussian process each"] = {
            "error": square(mean),
            "inside": {"0.9": float(np.mean(covered, where=asked))},
            "use": time.perf_counter() - began,
        }
        found[task] = {"values": int(asked.sum()), "rivals": rivals}
    return found


def _told(model: SeriesModel, seen: IrregularSeries, level: float) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of times beyond those that were checked
        told = model.impute(seen, level=level)
    out = np.full((3, *seen.mask.shape), np.nan)
    which = np.repeat(seen.on_grid[:, :, None], seen.mask.shape[2], axis=2)
    out[:, which] = np.stack([told.mean, told.lower, told.upper])
    return out


def _each(seen: IrregularSeries, train: IrregularSeries) -> Any:
    """Of each series and variable its times, values and all times; the mean where it has none."""
    for s, k in np.ndindex(seen.mask.shape[0], seen.mask.shape[2]):
        known = seen.mask[s, :, k]
        yield s, k, seen.times[s][known], seen.values[s, known, k], seen.times[s]


def _means(train: IrregularSeries) -> np.ndarray:
    return np.asarray(
        [train.values[..., k][train.mask[..., k]].mean() for k in range(train.mask.shape[2])]
    )


def _carried(seen: IrregularSeries, train: IrregularSeries) -> np.ndarray:
    out = np.broadcast_to(_means(train), seen.mask.shape).copy()
    for s, k, times, values, grid in _each(seen, train):
        if len(times):
            out[s, :, k] = values[np.maximum(np.searchsorted(times, grid, side="right") - 1, 0)]
    return out


def _linear(seen: IrregularSeries, train: IrregularSeries) -> np.ndarray:
    out = np.broadcast_to(_means(train), seen.mask.shape).copy()
    for s, k, times, values, grid in _each(seen, train):
        if len(times):
            out[s, :, k] = np.interp(grid, times, values)
    return out


def _processes(
    seen: IrregularSeries, train: IrregularSeries, asked: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """scikit-learn's, with its hyperparameters by maximum likelihood, of each series alone."""
    mean = np.broadcast_to(_means(train), seen.mask.shape).copy()
    std = np.full(seen.mask.shape, np.nan)
    for k in range(seen.mask.shape[2]):
        std[..., k] = train.values[..., k][train.mask[..., k]].std()
    span = np.ptp(seen.times[seen.on_grid])
    for s, k, times, values, grid in _each(seen, train):
        if len(times) < 3 or not asked[s, :, k].any() or np.ptp(values) == 0:
            continue
        kernel = ConstantKernel(1.0) * RBF(0.1, (1e-3, 10)) + WhiteKernel(0.1)
        process = GaussianProcessRegressor(kernel, normalize_y=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            process.fit(times[:, None] / span, values)
            mean[s, :, k], std[s, :, k] = process.predict(grid[:, None] / span, return_std=True)
    return mean, std
