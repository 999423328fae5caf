"""The page of explained series: what moved the prediction, and when."""

from typing import TYPE_CHECKING

import numpy as np

from pullback.runs import number

from ._page import Check, Picture, Report, Table
from ._series_explanations import SeriesExplanations, heat_map

if TYPE_CHECKING:
    from ._series_explainer import SeriesExplainer

_SHOWN, _ROWS = 5, 60
_CAPTION = (
    "Above, what the model says at each time; below, how many nats of each change a measurement "
    "explains by itself. Blue: it alone would have moved the prediction the other way. Grey: "
    "nothing was observed."
)


def explainer_page(model: "SeriesExplainer", found: SeriesExplanations) -> Report:
    """The page of series that were explained."""
    count, source = len(found.ids), found.source
    few = f": the first {_SHOWN} of {count}" if count > _SHOWN else ""
    pictures = [
        Picture(
            f"What moved the prediction{few}" if place == 0 else "",
            heat_map(found, place),
            _CAPTION if place == 0 else "",
        )
        for place in range(min(count, _SHOWN))
    ]
    return Report(
        title=f"{source}: what moved the prediction",
        heading=source,
        lead=f"{number(count)} series of {len(found.variables)} variables "
        f"({', '.join(found.variables)}): which measurement, when it came, changed the prediction.",
        quality=_quality(model),
        notes=model.notes_,
        checks=_checks(found),
        parts=[*pictures, _top(found)],
        words=["nat", "standard error"],
    )


def _quality(model: "SeriesExplainer") -> Table | None:
    if model.report_ is None:
        return None
    return Table(
        "",
        (f"the generator, on {model.report_['series']} series that took no part", "nats a value"),
        [
            ["generator of hidden measurements", model.report_["generator"]],
            ["a normal distribution of each variable", model.report_["independent"]],
        ],
        "How likely it finds what was measured, in units of the variables' deviations; higher is "
        "better. Scores are as good as it is.",
    )


def _checks(found: SeriesExplanations) -> list[Check]:
    score = np.where(found.observed, found.score, -np.inf).reshape(len(found.ids), -1)
    places = score.argmax(axis=1)
    rows = np.arange(len(places))
    best = score[rows, places]
    error = found.standard_error.reshape(len(found.ids), -1)[rows, places]
    sure = int((best > 2 * error).sum())
    count = len(found.ids)
    return [
        Check(
            sure == count,
            f"The measurement that moved the prediction most is told from chance in {sure} of "
            f"{count} series."
            + ("" if sure == count else " In the others the prediction hardly moves, or `samples` "
               "are too few: its scores are of the size of their standard errors."),
        )
    ]  # fmt: skip


def _top(found: SeriesExplanations) -> Table:
    columns = found.top()
    rows = [list(row) for row in zip(*columns.values(), strict=True)]
    rows = [[cell if isinstance(cell, int | float | str) else str(cell) for cell in row]
            for row in rows[:_ROWS]]  # fmt: skip
    more = f" The first {_ROWS} rows of top.csv." if len(columns["rank"]) > _ROWS else ""
    return Table(
        "The measurements that moved it most", tuple(columns), rows,
        "`before` and `after` are the output that moved most at that time, one step before and "
        f"then; before a first time nothing was said.{more}",
    )  # fmt: skip
