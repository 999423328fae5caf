"""The page of the trust in labels: who is suspected, how weights lie, and how good they are."""

from typing import TYPE_CHECKING, Any

import numpy as np

from pullback.plots import figure, house_style
from pullback.runs import number

from ._class_page import ahead_of, quality
from ._page import Check, Picture, Report, Table

if TYPE_CHECKING:
    from ._trust import RowTrust

_SHOWN = 300  # suspects on the page


def trust_page(model: "RowTrust") -> Report:
    """The page of weights."""
    data = model.data_
    judged = model.report_ is not None
    return Report(
        title=f"{data['source']}: labels",
        heading=data["source"],
        lead=f"Which of its labels are wrong: {number(data['rows'])} rows, "
        f"{number(data['labelled'])} with a label "
        f"({', '.join(map(str, model.classes_.tolist()))}), {number(model.clean_)} clean ones "
        f"beside them, {len(model.columns_)} columns ({', '.join(model.columns_)}).",
        quality=quality(model) if judged else None,
        notes=model.notes_,
        checks=_checks(model),
        parts=[_suspects(model), _histogram(model)],
        words=["log loss", "Brier score", "ECE", "nat", "standard error"] if judged else [],
    )


def _checks(model: "RowTrust") -> list[Check]:
    share = len(model.suspects_) / model.data_["labelled"]
    few = share < 0.4
    told = f"{100 * share:.3g} % of the labels are suspects"
    told += "." if few else ": that is more than can be told apart from columns that say little."
    found = [Check(few, told)]
    if not model.clean_:
        found.append(
            Check(
                False,
                "No row is known to be right: look at some tens of rows that you draw by chance, "
                "and give them by X_clean (on the command line --clean).",
            )
        )
    if model.report_ is not None:
        ahead = ahead_of(model.report_)
        told = (
            f"Weights of another kind did better for sure ({', '.join(ahead)}): take them instead."
            if ahead
            else "No other weights did better for sure."
        )
        found.append(Check(not ahead, told))
    return found


def _suspects(model: "RowTrust") -> Table:
    columns = model._suspects()
    rows: list[list[Any]] = [list(row) for row in zip(*columns.values(), strict=True)][:_SHOWN]
    some = (
        f" The first {_SHOWN} of {len(model.suspects_)}." if len(model.suspects_) > _SHOWN else ""
    )
    return Table(
        "Labels that are probably wrong",
        tuple(columns),
        rows,
        "Worst first; suspects.csv beside this page has all of them. A weight is near 0 where "
        f"another class is far more likely than the one that was given.{some}",
    )


def _histogram(model: "RowTrust") -> Picture:
    weights = model.weights_[~np.isnan(model.weights_)]
    with house_style(math=False):
        fig, ax = figure(width=7.0, height=2.9)
        ax: Any
        ax.hist(weights, bins=np.linspace(0, 1, 41).tolist())
        ax.axvline(0.5, color="0.3", linewidth=1)
        ax.set_xlabel("weight")
        ax.set_ylabel("rows")
    return Picture(
        "How the weights lie",
        fig,
        "Rows by weight; left of the line are the suspects. Two heaps are good to see; one heap "
        "about the line says that the columns do not tell the classes apart.",
    )
