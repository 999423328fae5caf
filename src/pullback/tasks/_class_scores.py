"""How good predicted classes are on rows that took no part in the fit, beside other classifiers."""

import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.semi_supervised import LabelSpreading

OURS = "this model"
_BINS = 10  # of the confidence, for the calibration error
_TREES = 200  # rows with a class, from which on boosted trees are asked
_MOST, _FEWEST = 20_000, 2000  # rows that the others learn from
_WORK = 3 * 10**7  # rows times columns times classes, which take seconds
_GRAPH = 3000  # rows of which a graph is made, at most


def others(
    z: Float[np.ndarray, "n d"],
    codes: Int[np.ndarray, " n"],
    test: Float[np.ndarray, "m d"],
    classes: int,
) -> dict[str, Float[np.ndarray, "m k"]]:
    """Probabilities by what one would have taken instead.

    Args:
        z: standardised rows.
        codes: their classes, -1 where none is known.
        test: other rows.
        classes: how many.
    """
    known = _taught(codes, z.shape[1] * classes)
    rows, y = z[known], codes[known]
    found: dict[str, Any] = {"logistic regression": LogisticRegression(max_iter=300).fit(rows, y)}
    if len(known) >= _TREES and rows.size * classes <= _WORK:
        found["boosted trees"] = HistGradientBoostingClassifier(random_state=0).fit(rows, y)
    if (codes < 0).any() and len(codes) <= _GRAPH:
        neighbours = min(7, len(codes) - 1)
        graph = LabelSpreading(kernel="knn", n_neighbors=neighbours, max_iter=100)
        found["label spreading"] = graph.fit(z, codes)
    return {name: _probs(model, test, classes) for name, model in found.items()}


def _taught(codes: Int[np.ndarray, " n"], each: int) -> Int[np.ndarray, " m"]:
    """Rows that the others learn from: of many some of every class, wherever they stand.

    Args:
        codes: classes, -1 where none is known.
        each: columns times classes.
    """
    known = np.flatnonzero(codes >= 0)
    most = min(_MOST, max(_FEWEST, _WORK // each))
    if len(known) <= most:
        return known
    sorted_ = known[np.argsort(codes[known], kind="stable")]
    some = sorted_[np.linspace(0, len(known) - 1, most).astype(int)]
    _, first = np.unique(codes[known], return_index=True)
    return np.union1d(some, known[first])


def told_of_others(
    codes: Int[np.ndarray, " n"], columns: int, classes: int, names: Iterable[str]
) -> list[str]:
    """Of how many rows the others have learned, where that is not all, and who was not asked."""
    known, taught = int((codes >= 0).sum()), len(_taught(codes, columns * classes))
    if taught == known:
        return []
    trees = "" if "boosted trees" in names else "; boosted trees would take minutes even of these"
    return [
        f"The others have learned from {taught:,} of {known:,} rows, of all classes: with more "
        f"they would take minutes{trees}."
    ]


def quiet_others(*given: Any) -> dict[str, Float[np.ndarray, "m k"]]:
    """`others`, without warnings of rounds that were not enough."""
    with warnings.catch_warnings(), np.errstate(divide="ignore", invalid="ignore"):
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.simplefilter("ignore", RuntimeWarning)
        return others(*given)


def _probs(model: Any, test: np.ndarray, classes: int) -> Float[np.ndarray, "m k"]:
    probs = np.zeros((len(test), classes))
    probs[:, np.asarray(model.classes_, int)] = model.predict_proba(test)
    # A row that no label reaches in a graph has none.
    lost = ~(np.abs(probs.sum(axis=1) - 1) < 1e-3)
    probs[lost] = 1 / classes
    return probs


def judge(
    probs: Mapping[str, Float[np.ndarray, "m k"]], y: Int[np.ndarray, " m"]
) -> dict[str, dict[str, Any]]:
    """Accuracy, log loss, Brier score and calibration error of each, and how far behind it is.

    Args:
        probs: those of `OURS` and of others.
        y: the classes.
    """
    right = {name: (p.argmax(axis=1) == y).astype(float) for name, p in probs.items()}
    loss = {name: log_loss(p, y) for name, p in probs.items()}
    found: dict[str, dict[str, Any]] = {}
    for name, p in probs.items():
        found[name] = {
            "accuracy": float(right[name].mean()),
            "log_loss": float(loss[name].mean()),
            "brier": float(np.square(p - np.eye(p.shape[1])[y]).sum(axis=1).mean()),
            "ece": calibration_error(p, y),
        }
        if name != OURS:
            for key, gap in (
                ("accuracy", right[OURS] - right[name]), ("log_loss", loss[name] - loss[OURS])
            ):  # fmt: skip
                found[name] |= {f"{key}_behind": float(gap.mean()), f"{key}_error": _error(gap)}
    return found


def log_loss(probs: Float[np.ndarray, "m k"], y: Int[np.ndarray, " m"]) -> Float[np.ndarray, " m"]:
    """Minus the log-probability of each row's class, in nats."""
    return -np.log(np.maximum(probs[np.arange(len(y)), y], 1e-15))


def calibration_error(probs: Float[np.ndarray, "m k"], y: Int[np.ndarray, " m"]) -> float:
    """The mean gap between confidence and accuracy, over bins of the confidence."""
    confidence = probs.max(axis=1)
    gap = (probs.argmax(axis=1) == y) - confidence
    which = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    return float(np.abs(np.bincount(which, gap, _BINS)).sum() / len(y))


def _error(gap: Float[np.ndarray, " m"]) -> float | None:
    return float(np.std(gap, ddof=1) / np.sqrt(len(gap))) if len(gap) > 1 else None


def class_verdict(report: Mapping[str, Mapping[str, Any]], rows: int, how: str) -> str:
    """Who wins, in a sentence."""
    ours = report[OURS]
    told = [
        f"this model is right in {100 * ours['accuracy']:.3g} % (log loss {ours['log_loss']:.3g} "
        "nats)"
    ]
    for name, found in report.items():
        if name == OURS:
            continue
        gap, error = found["log_loss_behind"], found["log_loss_error"] or np.inf
        how_far = "behind" if gap > 0 else "ahead"
        sure = "" if abs(gap) > 2 * error else ", which is no difference for sure"
        margin = f" +- {error:.2g}" if np.isfinite(error) else ""
        told.append(
            f"{name} in {100 * found['accuracy']:.3g} % (log loss {found['log_loss']:.3g}, "
            f"{how_far} by {abs(gap):.2g}{margin}{sure})"
        )
    return f"On {rows} rows {how} {', '.join(told)}."
