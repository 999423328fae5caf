"""Densities of tables beside a mixture of Gaussians and a kernel density, both tuned."""

import itertools
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.neighbors import KernelDensity
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from pullback.tasks import FlowDensity

_OURS = "FlowDensity"


def density(table: np.ndarray, seed: int) -> dict[str, dict[str, Any]]:
    """Of each rival its mean log-density of held-out rows, in nats, and its seconds.

    A fifth of the rows is held out; each rival chooses its settings by the others alone.
    """
    order = np.random.default_rng(seed).permutation(len(table))
    test, train = np.split(table[order], [len(table) // 5])
    rivals: dict[str, Callable[[], Any]] = {
        _OURS: lambda: FlowDensity(random_state=seed, progress=False),
        "mixture, tuned": _mixture,
        "kernel density, tuned": _kernel,
    }
    found, scores = {}, {}
    for name, make in rivals.items():
        start = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of EM that has not converged
            model = make().fit(train)
        fitted = time.perf_counter()
        scores[name] = _log_density(model, test)
        found[name] = {"fit": fitted - start, "use": time.perf_counter() - fitted}
    for name, row in found.items():
        ahead = scores[_OURS] - scores[name]
        row["nats"] = float(scores[name].mean())
        row["ahead"] = float(ahead.mean())
        row["error"] = float(ahead.std(ddof=1) / np.sqrt(len(ahead)))
    return found


METHODS = ("residual-flow", "spline-coupling", "cnf")
BY_METHOD = ("energy", "concrete", "wine-red")


def by_method(table: np.ndarray, seed: int) -> dict[str, dict[str, float]]:
    """Of each method of `FlowDensity` its held-out log-density, and its seconds.

    The second fit, of another fifth held out, finds the programs of the first.
    """
    order = np.random.default_rng(seed).permutation(len(table))
    test, train = np.split(table[order], [len(table) // 5])
    found = {}
    for method in METHODS:
        model = FlowDensity(method, random_state=seed, progress=False)
        times = [time.perf_counter()]
        for rows in (train, train[::-1]):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of EM that has not converged
                model.fit(rows)
            times.append(time.perf_counter())
        model.score_samples(test)
        start = time.perf_counter()
        nats = float(model.score_samples(test).mean())
        first, again = (later - earlier for earlier, later in itertools.pairwise(times))
        use = time.perf_counter() - start
        found[method] = {"nats": nats, "first": first, "again": again, "use": use}
    return found


def _mixture() -> Any:
    search = GridSearchCV(
        GaussianMixture(random_state=0, reg_covar=1e-6),
        {"n_components": [1, 2, 3, 5, 8, 12, 16], "covariance_type": ["full", "diag"]},
        cv=KFold(3, shuffle=True, random_state=0),
    )
    return make_pipeline(StandardScaler(), search)


def _kernel() -> Any:
    search = GridSearchCV(
        KernelDensity(),
        {"bandwidth": np.geomspace(0.05, 2, 12)},
        cv=KFold(3, shuffle=True, random_state=0),
    )
    return make_pipeline(StandardScaler(), search)


def _log_density(model: Any, rows: np.ndarray) -> np.ndarray:
    if isinstance(model, FlowDensity):
        return model.score_samples(rows)
    scaler, search = model[0], model[-1]
    found = search.best_estimator_.score_samples(scaler.transform(rows))
    return found - np.log(scaler.scale_).sum()
