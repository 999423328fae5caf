"""Anomalies, real and planted, beside what is used to find them."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from pyod.models.ecod import ECOD
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import LocalOutlierFactor
from sklearn.preprocessing import StandardScaler

from _tasks_tables import bundled, whole_tables
from pullback.tasks import FlowDensity

_SHARE = 0.05


def problems(folder: Any, seed: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Rows, and which of them are anomalies; a twentieth is.

    Real: malignant tumours among benign ones, one kind of wine among the others, one digit among
    the others. Planted: rows whose columns are those of different rows, so that each cell is as
    usual and their company is not.
    """
    random = np.random.default_rng(seed)
    found = {}
    for name, kind in (("breast-cancer", 0), ("wine", 0), ("digits", 4)):
        x, y = bundled(name)
        odd = random.permutation(np.flatnonzero(y == kind))
        usual = np.flatnonzero(y != kind)
        odd = odd[: max(5, int(_SHARE * len(usual)))]
        found[f"{name}, real"] = (x[np.r_[usual, odd]], np.r_[0 * usual, 0 * odd + 1])
    for name, x in whole_tables(folder).items():
        x = x[random.permutation(len(x))[:2000]]
        odd = random.permutation(len(x))[: int(_SHARE * len(x))]
        planted = x.copy()
        for column in range(x.shape[1]):
            planted[odd, column] = random.permutation(x[:, column])[: len(odd)]
        found[f"{name}, planted"] = (planted, np.isin(np.arange(len(x)), odd).astype(int))
    return found


def anomalies(x: np.ndarray, odd: np.ndarray, seed: int) -> dict[str, dict[str, float]]:
    """Of each rival the area under its ROC curve, and its seconds; none is told what is odd."""
    scaled = StandardScaler().fit_transform(x)
    rivals: dict[str, Callable[[], np.ndarray]] = {
        "FlowDensity": lambda: _ours(x, seed),
        "isolation forest": lambda: -IsolationForest(random_state=seed).fit(x).score_samples(x),
        "local outlier factor": lambda: -LocalOutlierFactor().fit(scaled).negative_outlier_factor_,
        "ECOD": lambda: ECOD().fit(x).decision_scores_,
    }
    found = {}
    for name, rival in rivals.items():
        start = time.perf_counter()
        score = rival()
        taken = time.perf_counter() - start
        found[name] = {"auroc": float(roc_auc_score(odd, score)), "fit": taken}
    return found


def _ours(x: np.ndarray, seed: int) -> np.ndarray:
    return -FlowDensity(random_state=seed, progress=False).fit(x).score_samples(x)
