"""The page of a recommender: how good it is beside others, curves over k, and what it would say."""

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from pullback.plots import figure, house_style
from pullback.runs import number

from ._page import Picture, Report, Table
from ._recommender_report import NAMES, checks

if TYPE_CHECKING:
    from ._recommender import Recommender

_USERS, _ITEMS = 5, 3


def recommender_page(model: "Recommender") -> Report:
    """The page of a recommender, of what `fit` has found."""
    data, report = model.data_, model.report_
    parts: list[Any] = []
    if report is not None and "ndcg" in report["models"][model.method]:
        parts += [_curves(report), _rankings(report)]
    parts += [_samples(model), _activity(model)]
    found = [] if report is None else checks(report)
    told = [check.sentence for check in found]
    return Report(
        title=f"{data['source']}: a recommender",
        heading=data["source"],
        lead=f"What users would give to items, by {NAMES[model.method]}: {number(data['rows'])} "
        f"ratings of {number(data['items'])} items by {number(data['users'])} users.",
        quality=_errors(report),
        notes=[note for note in model.notes_ if note not in told],
        checks=found,
        parts=parts,
        words=["standard error", "RMSE", "NDCG", "newcomer"],
    )


def _errors(report: dict[str, Any] | None) -> Table | None:
    if report is None:
        return None
    rows = [
        [
            NAMES[key],
            said.get("rmse"),
            said.get("rmse_error"),
            said.get("cold_rmse"),
            said.get("cold_rmse_error"),
        ]
        for key, said in report["models"].items()
        if "rmse" in said or "cold_rmse" in said
    ]
    if not rows:
        return None
    head = (f"on {number(report['rows'])} ratings held out", "RMSE", "standard error",
            "RMSE of newcomers", "standard error")  # fmt: skip
    return Table("", head, rows, f"Of {number(report['newcomers'])} newcomers no parameter has "
                 "seen a rating; up to 10 of each are shown.")  # fmt: skip


def _curves(report: dict[str, Any]) -> Picture:
    ks = report["k"]
    with house_style(math=False):
        fig, axes = figure(1, 2, width=8.4, height=3.2)
        for ax, name in zip(np.ravel(axes), ("ndcg", "recall"), strict=True):
            for place, (key, said) in enumerate(report["models"].items()):
                for prefix, style in (("", "-"), ("cold_", "--")):
                    if f"{prefix}{name}" in said:
                        label = NAMES[key] if not prefix else f"{NAMES[key]}, newcomers"
                        ax.plot(ks, said[f"{prefix}{name}"], style, marker="o", markersize=3,
                                color=f"C{place}", label=label)  # fmt: skip
            ax.set_xscale("log")
            ax.set_xticks(ks, [str(k) for k in ks])
            ax.minorticks_off()
            ax.set_xlabel("items shown")
            ax.set_ylabel("NDCG" if name == "ndcg" else "recall")
        np.ravel(axes)[0].legend(fontsize="x-small")
    return Picture(
        "How good the first items are",
        fig,
        "By how many items are shown, of the items that a user came to like among the ratings held "
        "out; dashed of newcomers. A curve below that of popularity says: show everyone the same.",
    )


def _rankings(report: dict[str, Any]) -> Table:
    place = len([k for k in report["k"] if k <= 10]) - 1
    names = ("ndcg", "recall", "precision", "mrr", "coverage")
    rows = []
    for key, said in report["models"].items():
        for prefix, who in (("", "known"), ("cold_", "newcomers")):
            if f"{prefix}ndcg" in said:
                cells = [said[f"{prefix}{name}"][place] for name in names]
                rows.append([NAMES[key], who, *cells])
    k = report["k"][place]
    return Table(
        "", ("model", "users", f"NDCG@{k}", "recall", "precision", "MRR", "coverage"), rows,
        f"Of the first {k} items; scores.csv has other numbers of items. Coverage is the share of "
        "items that at least one user is shown.",
    )  # fmt: skip


def _samples(model: "Recommender") -> Table:
    counts, _ = model.ratings_.counts
    order = np.argsort(-counts, kind="stable")
    shown = order[np.unique(np.linspace(0, len(order) - 1, _USERS).astype(int))]
    names = [model.ratings_.user_names[code] for code in shown]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = model.recommend(names, _ITEMS)
    rows = [[each.user, each.rank, each.item, each.predicted, each.because] for each in found]
    return Table(
        "What it would recommend",
        ("user", "rank", "item", "predicted", "because"),
        rows,
        "To users with the most ratings and fewer: the items, and the user's own ratings that "
        "speak most for each.",
    )


def _activity(model: "Recommender") -> Picture:
    with house_style(math=False):
        fig, axes = figure(1, 2, width=8.4, height=2.6)
        for ax, counts, what in zip(
            np.ravel(axes), model.ratings_.counts, ("users", "items"), strict=True
        ):
            some = counts[counts > 0]
            bins = np.geomspace(1, max(some.max(), 2), 25).tolist()
            ax.hist(some, bins=bins)
            ax.set_xscale("log")
            ax.xaxis.set_major_formatter("{x:g}")  # and no formula of powers of ten
            ax.xaxis.set_minor_formatter("")
            ax.set_xlabel(f"ratings of one of the {what}")
            ax.set_ylabel(what)
    return Picture(
        "How many ratings there are",
        fig,
        "Of users and of items. Of one with few ratings a prediction lies near what anyone would "
        "give.",
    )
