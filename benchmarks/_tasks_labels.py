"""Classes of tables of which five rows a class have theirs known, beside what is used for that."""

import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.semi_supervised import LabelSpreading, SelfTrainingClassifier

from _tasks_tables import bundled
from pullback.tasks import EnergyClassifier

TABLES = ("iris", "wine", "breast-cancer", "digits")
_EACH = 5  # labels of a class


def labels(table: str, seed: int) -> dict[str, dict[str, float]]:
    """Of each rival its accuracy and log loss on half of the rows, and its seconds.

    The other half is trained on, all but five rows of a class without their class.
    """
    x, y = bundled(table)
    random = np.random.default_rng(seed)
    order = random.permutation(len(x))
    test, train = np.split(order, [len(x) // 2])
    known = np.concatenate([train[y[train] == kind][:_EACH] for kind in np.unique(y)])
    given = np.where(np.isin(train, known), y[train], -1)
    scaled = make_pipeline(StandardScaler())
    rivals: dict[str, Callable[[], Any]] = {
        "EnergyClassifier": lambda: EnergyClassifier(random_state=seed, progress=False),
        "logistic regression": lambda: make_pipeline(scaled, LogisticRegression(max_iter=5000)),
        "label spreading": lambda: make_pipeline(scaled, LabelSpreading("knn", max_iter=200)),
        "self-training": lambda: make_pipeline(
            scaled, SelfTrainingClassifier(LogisticRegression(max_iter=5000))
        ),
        "histogram boosting": lambda: HistGradientBoostingClassifier(random_state=seed),
    }
    found = {}
    for name, make in rivals.items():
        alone = name in ("logistic regression", "histogram boosting")
        rows, target = (known, y[known]) if alone else (train, given)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            start = time.perf_counter()
            model = make().fit(x[rows], target)
            fitted = time.perf_counter()
            p = np.nan_to_num(model.predict_proba(x[test]), nan=1 / len(np.unique(y)))
            used = time.perf_counter() - fitted
        p = np.clip(p, 1e-9, None) / np.clip(p, 1e-9, None).sum(axis=1, keepdims=True)
        found[name] = {
            "accuracy": float((p.argmax(axis=1) == y[test]).mean()),
            "log_loss": float(log_loss(y[test], p)),
            "fit": fitted - start,
            "use": used,
        }
    return found
