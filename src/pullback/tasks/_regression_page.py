"""The page of a regression: predicted beside true numbers, with bands."""

from typing import TYPE_CHECKING, Any

import numpy as np

from pullback.plots import PALETTE, figure, house_style
from pullback.runs import number

from ._page import Check, Picture, Report, Table
from ._regression_scores import LEVEL, OURS

if TYPE_CHECKING:
    from ._bayes_regressor import BayesianNetRegressor

_DOTS = 400


def regression_page(model: "BayesianNetRegressor") -> Report:
    """The page of a regression."""
    source, rows = model.data_["source"], number(model.data_["rows"])
    what, judged = model.label or "a number", model.report_ is not None
    return Report(
        title=f"{source}: {what}",
        heading=source,
        lead=f"{what[0].upper()}{what[1:]} of its rows: {rows} rows, {len(model.columns_)} columns "
        f"({', '.join(model.columns_)}), by {model.method}.",
        quality=_quality(model) if judged else None,
        notes=model.notes_,
        checks=_checks(model) if judged else [],
        parts=[_predicted(model), _errors(model)] if judged else [],
        words=["coverage", "conformal", "nat", "standard error"] if judged else [],
    )


def _quality(model: "BayesianNetRegressor") -> Table:
    head = (
        f"on {model.how_}", "RMSE", "log-likelihood", f"{100 * LEVEL:g} % band covers",
        "width of the band", "behind this model by (squared error)", "standard error",
    )  # fmt: skip
    names = ("rmse", "log_likelihood", "coverage", "width", "square_behind", "square_error")
    rows = [
        [name, *(found.get(key) for key in names)] for name, found in (model.report_ or {}).items()
    ]
    return Table("", head, rows)


def _checks(model: "BayesianNetRegressor") -> list[Check]:
    report = model.report_ or {}
    count, covers = len(model.held_), report[OURS]["coverage"]
    error = float(np.sqrt(LEVEL * (1 - LEVEL) / count))
    holds = abs(covers - LEVEL) <= 3 * error + 1 / count
    told = f"The {100 * LEVEL:g} % band covers {100 * covers:.3g} % of {count} rows"
    told += "." if holds else (
        ": more often off than by chance; judge bands by more rows, and like those to come."
    )  # fmt: skip
    ahead = [
        name
        for name, found in report.items()
        if name != OURS
        and found["square_error"]
        and found["square_behind"] < -2 * found["square_error"]
    ]
    beaten = (
        f"{' and '.join(ahead)} had a lower error for sure: for this table take it instead."
        if ahead
        else "Nothing that it was compared with had a lower error for sure."
    )
    return [Check(not ahead, beaten), Check(holds, told)]


def _predicted(model: "BayesianNetRegressor") -> Picture:
    few = np.random.default_rng(0).permutation(len(model.held_))[:_DOTS]
    true, mean, low, high = model.held_[few].T
    missed = (true < low) | (true > high)
    with house_style(math=False):
        fig, ax = figure(width=6.4, height=5.2)
        ends: Any = [true.min(), true.max()]
        ax.plot(ends, ends, color="black", linewidth=1)
        for these, colour, name in (
            (~missed, PALETTE[0], "within"),
            (missed, PALETTE[1], "missed"),
        ):
            across, up = true[these], mean[these]
            reach = np.stack([up - low[these], high[these] - up])
            ax.errorbar(
                across, up, yerr=np.maximum(reach, 0), fmt="o", markersize=3, linewidth=0.6,
                color=colour, label=name,
            )  # fmt: skip
        ax.set_xlabel("true")
        ax.set_ylabel("predicted")
        ax.legend(loc="upper left")
    return Picture(
        "Predicted beside true",
        fig,
        f"The {model.how_}, at most {_DOTS} of them: the mean and the {100 * LEVEL:g} % band over "
        f"what came true. About {100 * (1 - LEVEL):.0f} in 100 bands should miss the line, "
        "anywhere along it.",
    )


def _errors(model: "BayesianNetRegressor") -> Picture:
    true, mean, low, high = model.held_.T
    order = np.argsort(high - low)
    with house_style(math=False):
        fig, axes = figure(1, 2, width=9.6, height=3.4)
        axes[0].hist(true - mean, bins=40)
        axes[0].set_xlabel("true less predicted")
        axes[0].set_ylabel("rows")
        parts = [part for part in np.array_split(order, 5) if len(part)]
        share = [float(((low <= true) & (true <= high))[part].mean()) for part in parts]
        error = [2 * np.sqrt(LEVEL * (1 - LEVEL) / len(part)) for part in parts]
        places = np.arange(1, len(parts) + 1)
        axes[1].errorbar(places, share, yerr=error, fmt="o")
        axes[1].axhline(LEVEL, color="black", linewidth=1)
        axes[1].set_xlabel("fifth of the rows, by the width of the band")
        axes[1].set_ylabel("covered")
    return Picture(
        "",
        fig,
        "Left: how far predictions are off. Right: what the bands cover where they are narrow and "
        "where they are wide, with twice the error of chance: all should touch the line.",
    )
