"""`pullback impute` and `forecast`: a saved model of series, used."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from pullback.cli._common import BadUsage, TimeFormat, as_file, check_out, in_one_line, set_up_jax
from pullback.cli._fit_and_save import File
from pullback.cli._reading import Decimal
from pullback.cli._use import Model, Out, told

if TYPE_CHECKING:
    from pullback.tasks import SeriesModel

Every = Annotated[float | None, tyro.conf.arg(metavar="STEP", help_behavior_hint="")]


def impute(
    model: Model,
    file: File,
    out: Out,
    level: float = 0.9,
    time_format: TimeFormat = None,
    decimal: Decimal = None,
) -> int:
    """Fill the gaps of series by a saved model: every variable at every time, with bands.

    Args:
        model: The folder that `pullback fit series` wrote.
        file: A long table with the same columns as the one that was fitted; a row without a value
            asks for the value at its time; - reads CSV from standard input.
        out: The CSV or Parquet file to write; - writes CSV to standard output.
        level: The probability that a value lies in its band.
        time_format: How dates are written, such as %d.%m.%Y; or the word number, where times are
            not dates (default: as in the fit).
        decimal: The decimal sign, a point or a comma (default: as in the fit).
    """
    _check(file, out, level)
    set_up_jax()
    from pullback import tasks

    with in_one_line(), as_file(file) as path:
        count = tasks.impute_file(_load(model, time_format, decimal), path, out, level=level)
    told(f"{count} rows", out)
    return 0


def forecast(
    model: Model,
    file: File,
    out: Out,
    until: Annotated[str, tyro.conf.arg(metavar="TIME")],
    every: Every = None,
    level: float = 0.9,
    time_format: TimeFormat = None,
    decimal: Decimal = None,
) -> int:
    """Continue series by a saved model, with bands.

    Args:
        model: The folder that `pullback fit series` wrote.
        file: A long table with the same columns as the one that was fitted; - reads CSV from
            standard input.
        out: The CSV or Parquet file to write; - writes CSV to standard output.
        until: The last time: a number, or a date where the times are dates; or a distance from the
            last time of each series, such as +12.
        every: The step between forecasts, in the unit of the times, or in hours where they are
            dates (default: the usual step of a series).
        level: The probability that a value lies in its band.
        time_format: How dates are written, such as %d.%m.%Y; or the word number, where times are
            not dates (default: as in the fit).
        decimal: The decimal sign, a point or a comma (default: as in the fit).
    """
    _check(file, out, level)
    if every is not None and not every > 0:
        raise BadUsage(f"--every must be above 0, got {every:g}")
    set_up_jax()
    from pullback import tasks

    with in_one_line(), as_file(file) as path:
        known = _load(model, time_format, decimal)
        count = tasks.forecast_file(known, path, out, until=until, every=every, level=level)
    told(f"{count} rows", out)
    return 0


def _check(file: Path, out: Path, level: float) -> None:
    check_out(out, file)
    if not 0 < level < 1:
        raise BadUsage(f"--level must be above 0 and below 1, got {level:g}")


def _load(folder: Path, time_format: str | None, decimal: str | None) -> "SeriesModel":
    from pullback import tasks

    model = tasks.load(folder)
    if not isinstance(model, tasks.SeriesModel):
        raise BadUsage(f"{folder} holds a {type(model).__name__}; this is for models of series")
    said = {"time_format": time_format, "decimal": decimal}
    return model.set_params(**{name: given for name, given in said.items() if given is not None})
