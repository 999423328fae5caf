"""Tables that come one after another: what is left of the first ones at the end."""

import time
from typing import Any

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import SGDClassifier
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from _tasks_tables import bundled
from pullback.tasks import ContinualClassifier

TABLES = ("wine", "breast-cancer")
TASKS = 3
OURS, PLAIN, LINES, ALL = (
    "ContinualClassifier", "strength 0", "SGDClassifier.partial_fit", "boosted trees, all rows kept"
)  # fmt: skip


def continual(table: str, seed: int) -> dict[str, dict[str, float]]:
    """Of each rival the mean accuracy over all tasks after the last one, and seconds.

    The columns are in another order in each task.
    """
    x, y = bundled(table)
    random = np.random.default_rng(seed)
    train, test = train_test_split(np.arange(len(x)), random_state=seed, stratify=y)
    x = StandardScaler().fit(x[train]).transform(x)
    x = x[:, x[train].std(axis=0) > 0]
    orders = [np.arange(x.shape[1]), *(random.permutation(x.shape[1]) for _ in range(TASKS - 1))]
    tables = [x[:, order] for order in orders]
    found = {}
    for name in (OURS, PLAIN, LINES, ALL):
        start = time.process_time()
        model = _fitted(name, [each[train] for each in tables], y[train], seed)
        seconds = time.process_time() - start
        right = [np.mean(model.predict(each[test]) == y[test]) for each in tables]
        found[name] = {"accuracy": float(np.mean(right)), "first": float(right[0]), "fit": seconds}
    return found


def _fitted(name: str, tables: list[np.ndarray], y: np.ndarray, seed: int) -> Any:
    if name == ALL:
        trees = HistGradientBoostingClassifier(random_state=seed)
        return trees.fit(np.concatenate(tables), np.tile(y, len(tables)))
    classes = np.unique(y)
    model: Any = SGDClassifier(loss="log_loss", random_state=seed)
    if name != LINES:
        model = ContinualClassifier(random_state=seed, progress=False)
        model.set_params(strength=model.strength if name == OURS else 0)
    for rows in tables:
        # One call of SGDClassifier sees each row once.
        for _ in range(20 if name == LINES else 1):
            model.partial_fit(rows, y, classes=classes)
    return model
