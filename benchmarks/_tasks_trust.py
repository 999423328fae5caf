"""Labels flipped in real tables: how well their weights tell them, beside cross-validation."""

import time
from collections.abc import Callable

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from _tasks_tables import bundled
from pullback.tasks import RowTrust

TABLES = ("wine", "breast-cancer", "digits")
KINDS = {
    "at random": "a fifth of the labels is another one, by chance",
    "one way": "two fifths of the rows of the first class have the label of the second",
}
_CLASSES = 5  # of the digits: trees for ten take minutes, of which there are dozens here
_CLEAN = 50  # rows whose labels are known to be right, or a sixth of a small table


def flipped(y: np.ndarray, kind: str, random: np.random.Generator) -> np.ndarray:
    """Labels, of which some are wrong."""
    given, classes = y.copy(), int(y.max()) + 1
    if kind == "one way":
        given[(y == 0) & (random.uniform(size=len(y)) < 0.4)] = 1
        return given
    bad = random.choice(len(y), len(y) // 5, replace=False)
    given[bad] = (y[bad] + random.integers(1, classes, size=len(bad))) % classes
    return given


def trust(table: str, kind: str, seed: int) -> dict[str, dict[str, float]]:
    """Of each rival the area under the ROC curve for flipped labels, and seconds of a processor."""
    x, y = bundled(table)
    x, y = x[y < _CLASSES], y[y < _CLASSES]
    random = np.random.default_rng(seed)
    order = random.permutation(len(x))
    clean, rows = np.split(order, [min(_CLEAN, len(x) // 6)])
    given = flipped(y[rows], kind, random)
    own = lambda p: p[np.arange(len(rows)), given]
    folds = StratifiedKFold(5, shuffle=True, random_state=seed)
    steps: list[int] = []

    def ours(sure: bool, max_steps: int = 20) -> np.ndarray:
        beside = (x[clean], y[clean]) if sure else ()
        model = RowTrust(max_steps=max_steps, random_state=seed, progress=False)
        model.fit(x[rows], given, *beside)
        steps.append(model.n_steps_)
        return model.weights_

    lines = make_pipeline(StandardScaler(), LogisticRegression(max_iter=300))
    trees = HistGradientBoostingClassifier(random_state=0)
    told: dict[str, Callable[[], np.ndarray]] = {
        "RowTrust": lambda: ours(True),
        "without hypergradients": lambda: ours(True, 0),
        "without clean rows": lambda: ours(False),
        **{
            name: lambda model=model: own(
                cross_val_predict(model, x[rows], given, cv=folds, method="predict_proba")
            )
            for name, model in (("logistic regression", lines), ("boosted trees", trees))
        },
    }
    found = {}
    for name, weights in told.items():
        start = time.process_time()
        auroc = roc_auc_score(given != y[rows], -weights())
        found[name] = {"auroc": float(auroc), "fit": time.process_time() - start}
    found["RowTrust"]["steps"] = steps[0]
    return found
