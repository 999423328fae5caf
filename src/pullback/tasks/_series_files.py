"""Tables that a model of series writes."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._outputs import table_writer

if TYPE_CHECKING:
    from ._series import SeriesModel
    from ._series_rows import SeriesTable


def impute_file(model: "SeriesModel", file: Path, out: Path, *, level: float | int = 0.9) -> int:
    """Fill in the series of a file.

    Args:
        model: fitted.
        file: a long table.
        out: a CSV or Parquet file, or "-": the columns of series, time and variable as they are
            called in the file, `part` ("observed" or "imputed"), `mean`, `lower` and `upper`.
        level: the probability that a value lies in its band.

    Returns:
        How many rows there are.
    """
    return _write(model.impute(file, level=level), out)


def forecast_file(
    model: "SeriesModel", file: Path, out: Path, *, until: Any, every: float | int | None = None,
    level: float | int = 0.9,
) -> int:  # fmt: skip
    """Continue the series of a file.

    Args:
        model: fitted.
        file: a long table.
        out: as for `impute_file`; `part` is "forecast".
        until: the last time, as for `SeriesModel.forecast`.
        every: the step between times; None: as usual in a series.
        level: the probability that a value lies in its band.

    Returns:
        How many rows there are.
    """
    return _write(model.forecast(file, until=until, every=every, level=level), out)


def _write(found: "SeriesTable", out: Path) -> int:
    with table_writer(out) as write:
        write({name: column.tolist() for name, column in found.columns().items()})
    return len(found.mean)
