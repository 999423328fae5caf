"""The card and the page of a model of series."""

from typing import TYPE_CHECKING, Any

import numpy as np

from pullback.data import LongTable
from pullback.plots import PALETTE, figure, house_style
from pullback.runs import number

from ._page import Check, Picture, Report, Table
from ._series_report import LEVELS, MODEL, PROCESS, TASKS
from ._series_rows import as_given, time_name, with_times

if TYPE_CHECKING:
    from ._series import SeriesModel

_SERIES, _VARIABLES, _GRID = 3, 4, 120
_LEVEL = 0.9


def series_card(model: "SeriesModel") -> list[str]:
    """What the model is of and how good it is."""
    steps = f"{model.n_steps_} training steps" if model.n_steps_ else "no training step"
    named = [
        name + (f" [{unit}]" if unit else "")
        for name, unit in zip(model.variables_, model.units_, strict=True)
    ]
    return [
        f"{type(model).__name__}({model.method!r}) of {model.data_['source']}: "
        f"{model.data_['rows']} series, {steps}",
        f"variables: {', '.join(named)}",
        *model.notes_,
        f"Forecasts were checked up to {model.horizon_:.4g}{time_name(model.time_unit_)} ahead.",
    ]


def series_page(model: "SeriesModel", given: LongTable) -> Report:
    """The page of a model and the series that it was fitted to."""
    source = model.data_["source"]
    return Report(
        title=f"{source}: series",
        heading=source,
        lead=f"{number(model.data_['rows'])} series of {len(model.variables_)} variables "
        f"({', '.join(model.variables_)}), by {model.method}.",
        quality=_quality(model),
        notes=model.notes_,
        checks=_checks(model),
        parts=[_variables(model), _bands(model), *_pictures(model, given)],
        words=["standard error"],
    )


def _quality(model: "SeriesModel") -> Table:
    report, rows = model.report_, []
    tasks = [task for task in TASKS if task in report]
    for name in report[tasks[0]]:
        found = [report[task][name] for task in tasks]
        if not (isinstance(found[0], dict) and "error" in found[0]):
            continue
        cells = [[each["error"], each.get("behind"), each["standard_error"]] for each in found]
        rows.append([name, *(cell for each in cells for cell in each)])
    head = [f"on {report['series']} series that took no part"]
    for task in tasks:
        head += [f"error, {TASKS[task]}", "behind this model by", "standard error"]
    told = (
        "Mean squared errors of hidden values in squared standard deviations of each variable (1: "
        "no better than its mean), averaged over each series and then over series. The process is "
        "what training starts from."
    )
    return Table("", head, rows, told)


def _checks(model: "SeriesModel") -> list[Check]:
    checks = []
    for task, done in TASKS.items():
        if task not in model.report_:
            continue
        report = model.report_[task]
        share = report["coverage"]["0.9"]
        checks.append(Check(
            0.85 <= share <= 0.95,
            f"90 % bands hold {100 * share:.0f} % of the values that are {done}, measured by bands "
            "without those series"
            + ("." if 0.85 <= share <= 0.95 else
               ": the held-out series are few or differ much; the bands that are saved are made of "
               "twice as many. Give more series."),
        ))  # fmt: skip
        if report[PROCESS]["behind"] < 0:
            sentence = f"The process alone is better for values that are {done}: use max_steps=0."
            checks.append(Check(False, sentence))
    return checks


def _variables(model: "SeriesModel") -> Table:
    rows = []
    for name in model.variables_:
        cells: list[Any] = [name]
        for task in TASKS:
            found = model.report_.get(task, {}).get("variables", {}).get(name)
            keys = ("error", "its_error", "winner", "coverage")
            cells += [found[key] for key in keys] if found else [None] * 4
        rows.append(cells)
    head = ["variable"]
    for done in TASKS.values():
        head += [f"error, {done}", "the best other's", "winner", "held by 90 % bands"]
    told = f"Held-out series, variable by variable. The winner is {MODEL}, or another, where the "
    return Table("Who wins", head, rows, told + "difference is more than two standard errors.")


def _bands(model: "SeriesModel") -> Picture:
    with house_style(math=False):
        fig, ax = figure(width=4.2, height=3.4)
        ax.plot([0, 1], [0, 1], color="#7b8794", linewidth=1)
        for task, done in TASKS.items():
            if task in model.report_:
                found = model.report_[task]["coverage"]
                ax.plot(LEVELS, [found[f"{level:g}"] for level in LEVELS], "o-", label=done)
        ax.set(xlabel="level of the band", ylabel="share of values in it")
        ax.set(xlim=(0.4, 1), ylim=(0.4, 1))
        ax.legend(loc="upper left")
    return Picture(
        "Bands",
        fig,
        "How many values of series that took no part lie in the bands. On the line the bands hold "
        "what they say; below it they are too narrow.",
    )


def _pictures(model: "SeriesModel", given: LongTable) -> list[Picture]:
    """The series with the most values, continued after three quarters of their times."""
    series = model.scale_.select(given.series).compact()
    shown = np.argsort(-series.mask.sum(axis=(1, 2)), kind="stable")[:_SERIES]
    few = series.take(shown).compact()
    first, last = few.times[:, 0], few.times[:, -1]
    cut = first + 0.75 * (last - first)
    past = few.mask & (few.times <= cut[:, None])[:, :, None]
    seen = few._replace(mask=past, values=np.where(past, few.values, 0.0))
    grids = [
        np.linspace(a, b + 0.1 * (b - a), _GRID).astype(np.float64)
        for a, b in zip(first, last, strict=True)
    ]
    wide = with_times(seen, grids)
    bands = model._bands_of(wide, _LEVEL)
    names = [
        name + (f" [{unit}]" if unit else "")
        for name, unit in zip(model.variables_, model.units_, strict=True)
    ]
    pictures = []
    for start in range(0, len(names), _VARIABLES):
        chosen = range(start, min(start + _VARIABLES, len(names)))
        with house_style(math=False):
            many, wide_as = len(chosen), len(shown)
            fig, axes = figure(many, wide_as, width=3.4 * wide_as + 0.6, height=1.8 * many + 0.6)
            axes: Any = np.asarray(axes).reshape(len(chosen), len(shown))
            for i, row in np.ndindex(*axes.shape):
                k = chosen[i]
                _draw(axes[i, row], few, past, wide, bands, row, k)
                if i == 0:
                    axes[i, row].set_title(f"{given.columns['series']} {few.ids[row]}")
                if row == 0:
                    axes[i, row].set_ylabel(names[k])
                if i == len(chosen) - 1:
                    axes[i, row].set_xlabel(given.columns["time"])
            axes[0, 0].legend(fontsize="x-small")
        title = "" if pictures else "Every variable"
        pictures.append(Picture(
            title,
            fig,
            "Series with many values, of which the model saw those in black; the others come "
            "after. The band holds 90 %. Some of these series trained the model: see above for how "
            "good it is on others.",
        ))  # fmt: skip
    return pictures


def _draw(ax: Any, few: Any, past: Any, wide: Any, bands: Any, row: int, k: int) -> None:
    grid = wide.on_grid[row]
    at = lambda times: as_given(np.asarray(times, np.float64), few.time_unit)
    mean, lower, upper = (band[row, grid, k] for band in bands)
    (line,) = ax.plot(at(wide.times[row][grid]), mean, label="the model")
    ax.fill_between(
        at(wide.times[row][grid]), lower, upper, color=line.get_color(), alpha=0.25, linewidth=0
    )
    later = few.mask[row, :, k] & ~past[row, :, k]
    for mask, colour, label in (
        (past[row, :, k], "black", "seen"), (later, PALETTE[1], "not seen"),
    ):  # fmt: skip
        ax.plot(
            at(few.times[row][mask]), few.values[row, :, k][mask], "o", color=colour, markersize=3,
            label=label,
        )  # fmt: skip
    ax.tick_params(axis="x", labelrotation=30 if " since " in few.time_unit else 0)
