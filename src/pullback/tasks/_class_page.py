"""The page of a classifier: confusion, and whether its probabilities mean what they say."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from pullback.plots import PALETTE, figure, house_style
from pullback.runs import number

from ._class_scores import OURS
from ._page import Check, Picture, Report, Table

if TYPE_CHECKING:
    from ._classifier import AbstractClassifier
    from ._table_classifier import AbstractTableClassifier

_BINS = 8
_SHOWN = 12  # classes with a picture
_COLUMNS = 4  # of pictures


def class_page(model: "AbstractTableClassifier") -> Report:
    """The page of a classifier."""
    data = model.data_
    rows, known = number(data["rows"]), number(data["labelled"])
    judged = model.report_ is not None
    return Report(
        title=f"{data['source']}: classes",
        heading=data["source"],
        lead=f"The classes of its rows ({', '.join(map(str, model.classes_.tolist()))}): {rows} "
        f"rows, {known} with a class, {len(model.columns_)} columns "
        f"({', '.join(model.columns_)}), by {model.method}.",
        quality=quality(model) if judged else None,
        notes=model.notes_,
        checks=_checks(model) if judged else [],
        parts=[_confusion(model), _calibration(model)] if judged else [],
        words=["log loss", "Brier score", "ECE", "nat", "standard error"] if judged else [],
    )


def quality(model: "AbstractClassifier") -> Table:
    """Scores of a classifier and of others."""
    head = (
        f"on {model.how_}", "accuracy", "log loss", "Brier score", "ECE",
        "behind this model by (log loss)", "standard error",
    )  # fmt: skip
    rows = [
        [
            name, found["accuracy"], found["log_loss"], found["brier"], found["ece"],
            found.get("log_loss_behind"), found.get("log_loss_error"),
        ]
        for name, found in (model.report_ or {}).items()
    ]  # fmt: skip
    return Table("", head, rows)


def ahead_of(report: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Those with a lower log loss for sure."""
    return [
        name
        for name, found in report.items()
        if name != OURS
        and found["log_loss_error"]
        and found["log_loss_behind"] < -2 * found["log_loss_error"]
    ]


def _checks(model: "AbstractTableClassifier") -> list[Check]:
    report = model.report_ or {}
    ahead = ahead_of(report)
    beaten = (
        f"{' and '.join(ahead)} had a lower log loss for sure: for this table take it instead."
        if ahead
        else "Nothing that it was compared with had a lower log loss for sure."
    )
    y, probs = model.held_y_, model.held_probs_
    ece, chance = report[OURS]["ece"], float(np.sqrt(1 / len(y)))
    calibrated = ece <= max(0.05, chance)
    told = f"Probabilities are off by {ece:.2g} in the mean (ECE)"
    told += "." if calibrated else ": take them for ranks, or give more rows with a class."
    right = probs.argmax(axis=1) == y
    found = {k: float(right[y == k].mean()) for k in np.unique(y).tolist()}
    worst = min(found, key=lambda k: found[k])
    name, seen = model.classes_[worst], int((y == worst).sum())
    recall = f"The class found worst is {name}: {100 * found[worst]:.3g} % of its {seen} rows"
    good = found[worst] >= 0.5
    recall += "." if good else "; give more rows of it, or columns that tell it apart."
    return [Check(not ahead, beaten), Check(calibrated, told), Check(good, recall)]


def _confusion(model: "AbstractTableClassifier") -> Table:
    names, y = [str(name) for name in model.classes_.tolist()], model.held_y_
    count = np.zeros((len(names), len(names)), int)
    np.add.at(count, (y, model.held_probs_.argmax(axis=1)), 1)
    rows: list[list[Any]] = [
        [name, *line.tolist(), float(line[k] / line.sum()) if line.sum() else None]
        for k, (name, line) in enumerate(zip(names, count, strict=True))
    ]
    wrong = frozenset(
        (i, j + 1)
        for i, j in np.ndindex(count.shape)
        if i != j and count[i, j] > 0.2 * sum(count[i])
    )
    return Table(
        "Which classes are taken for which",
        ("class", *(f"predicted {name}" for name in names), "share right"),
        rows,
        f"The {model.how_}: a line for each class, and what its rows were taken for. Marked are "
        "cells with more than a fifth of their line.",
        wrong,
    )


def _calibration(model: "AbstractTableClassifier") -> Picture:
    shown = min(len(model.classes_), _SHOWN)
    lines = -(-shown // _COLUMNS)
    with house_style(math=False):
        fig, axes = figure(lines, min(shown, _COLUMNS), width=9.6, height=2.6 * lines + 0.4)
        flat = np.atleast_1d(np.asarray(axes, object)).ravel()
        for k, ax in enumerate(flat):
            if k >= shown:
                ax.set_axis_off()
                continue
            p, came = model.held_probs_[:, k], model.held_y_ == k
            which = np.minimum((p * _BINS).astype(int), _BINS - 1)
            size = np.bincount(which, minlength=_BINS)
            at = size > 0
            mean = np.bincount(which, p, _BINS)[at] / size[at]
            share = np.bincount(which, came, _BINS)[at] / size[at]
            error = np.sqrt(np.maximum(mean * (1 - mean), 1e-4) / size[at])
            ax.plot([0, 1], [0, 1], color=PALETTE[7 % len(PALETTE)], linewidth=1)
            ax.errorbar(mean, share, yerr=2 * error, fmt="o-", markersize=4, linewidth=1)
            ax.set_title(str(model.classes_[k]))
            ax.set_xlim(-0.02, 1.02)
            ax.set_ylim(-0.05, 1.05)
    few = (
        f" The first {shown} of {len(model.classes_)} classes."
        if shown < len(model.classes_)
        else ""
    )
    return Picture(
        "Do probabilities mean what they say",
        fig,
        f"Of each class the probability that was given (across) and the share of rows that were of "
        f"it (upward), with twice the error of chance: points should lie on the line.{few}",
    )
