"""Numbers of tables with bands, beside what is used for bands."""

import time
import warnings
from typing import Any

import numpy as np
from scipy.stats import norm
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import BayesianRidge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from pullback.tasks import BayesianNetRegressor

_LEVEL = 0.9
_MOST = 4000


def intervals(x: np.ndarray, y: np.ndarray, seed: int) -> dict[str, dict[str, float]]:
    """Of each rival RMSE, coverage and width of its 90 % band on a fifth of the rows; seconds.

    RMSE and width are in standard deviations of y.
    """
    order = np.random.default_rng(seed).permutation(len(x))[:_MOST]
    test, train = np.split(order, [len(order) // 5])
    rivals = {
        "BayesianNetRegressor": _ours,
        "Bayesian ridge": _ridge,
        "boosted quantiles": _boosting,
    }
    found, scale = {}, y[train].std()
    for name, rival in rivals.items():
        start = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            mean, low, high = rival(x[train], y[train], x[test], seed)
        taken = time.perf_counter() - start
        found[name] = {
            "rmse": float(np.sqrt(np.mean((mean - y[test]) ** 2)) / scale),
            "coverage": float(np.mean((low <= y[test]) & (y[test] <= high))),
            "width": float(np.mean(high - low) / scale),
            "fit": taken,
        }
    return found


def _ours(x: np.ndarray, y: np.ndarray, new: np.ndarray, seed: int) -> Any:
    model = BayesianNetRegressor(random_state=seed, progress=False).fit(x, y)
    low, high = model.predict_interval(new, _LEVEL).T
    return model.predict(new), low, high


def _ridge(x: np.ndarray, y: np.ndarray, new: np.ndarray, seed: int) -> Any:
    model = make_pipeline(StandardScaler(), BayesianRidge()).fit(x, y)
    mean, std = model.predict(new, return_std=True)
    reach = norm.ppf((1 + _LEVEL) / 2) * std
    return mean, mean - reach, mean + reach


def _boosting(x: np.ndarray, y: np.ndarray, new: np.ndarray, seed: int) -> Any:
    def told(**loss: Any) -> np.ndarray:
        return HistGradientBoostingRegressor(random_state=seed, **loss).fit(x, y).predict(new)

    quantile = lambda share: told(loss="quantile", quantile=share)
    return told(), quantile((1 - _LEVEL) / 2), quantile((1 + _LEVEL) / 2)
