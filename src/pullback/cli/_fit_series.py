"""`pullback fit series`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from pullback.cli._common import (
    BadUsage,
    Flag,
    OptionalName,
    OptionalPath,
    TimeFormat,
    in_one_line,
)
from pullback.cli._fit_and_save import File, Folder, fit_and_save
from pullback.cli._reading import Decimal, NaLabels

if TYPE_CHECKING:
    from pullback.data import LongTable
    from pullback.tasks import AbstractTask

Steps = Annotated[int | None, tyro.conf.arg(metavar="N", help_behavior_hint="")]


def fit_series(
    file: File,
    out: Folder,
    method: Literal["latent-ode", "ode-rnn", "neural-cde", "latent-sde"] = "latent-ode",
    series: OptionalName = None,
    time: OptionalName = None,
    variable: OptionalName = None,
    value: OptionalName = None,
    time_format: TimeFormat = None,
    decimal: Decimal = None,
    outcome: OptionalPath = None,
    na_labels: NaLabels = None,
    on_duplicate: Literal["error", "mean", "last"] = "error",
    max_steps: Steps = None,
    seed: int = 0,
    report: Flag = True,
    progress: Flag = True,
) -> int:
    """Fit irregular time series: to fill gaps, to forecast with bands, to predict outcomes.

    Args:
        file: A long table, CSV or Parquet, with columns series, time, variable and value; - reads
            CSV from standard input.
        out: The folder for the model.
        method: How: a latent ODE; an ODE-RNN or a neural CDE, which look back only; or a latent
            SDE, which takes several times as long.
        series: The column with the series (default: the one with a usual name).
        time: The column with the times, numbers or dates (default: as for --series).
        variable: The column with the variables' names (default: as for --series).
        value: The column with the numbers (default: as for --series).
        time_format: How dates are written, such as %d.%m.%Y; or the word number, where times are
            not dates (default: ISO 8601, such as 2024-01-31).
        decimal: The decimal sign, a point or a comma (default: found from the file).
        outcome: A table with a column of series and one of an outcome to predict.
        na_labels: How to read an outcome such as NA, nan, null, none or ?: as a class of that name,
            or as a hole, where the outcome is not known (default: refuse it).
        on_duplicate: What to do where a variable has several values at one time: refuse them, take
            their mean, or the last of them.
        max_steps: The most training steps (default: by the series); 0 trains no network.
        seed: The seed of all that is random.
        report: Write no report.html beside the model.
        progress: Show no progress bar.
    """
    if max_steps is not None and max_steps < 0:
        raise BadUsage(f"--max-steps must be 0 or more, got {max_steps}")
    names: dict[str, Any] = {
        "series": series, "time": time, "variable": variable, "value": value,
        "time_format": time_format, "decimal": decimal, "on_duplicate": on_duplicate,
    }  # fmt: skip

    def read(path: Path) -> "LongTable":
        from pullback import data

        return data.long_table(path, origin="epoch", holes="ask", **names)

    def task() -> "AbstractTask":
        from pullback import tasks

        return tasks.SeriesModel(
            method,
            **names,
            max_steps=max_steps,
            random_state=seed,
            progress=None if progress else False,
        )

    y = None
    if outcome is not None:
        from pullback import data

        with in_one_line():
            y = data.read_mixed(outcome, labels=data.read_mixed(outcome).names, na_labels=na_labels)
    return fit_and_save(file, out, read, task, report=report, y=y)
