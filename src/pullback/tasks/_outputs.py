"""Tables that a task writes: scores of a file's rows, and new rows."""

import csv
import functools
import io
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from pullback._files import atomic_write
from pullback.data import mixed_chunks

from ._bayes_regressor import BayesianNetRegressor
from ._beside import beside
from ._categories import in_codes
from ._classifier import AbstractClassifier
from ._density import FlowDensity
from ._designer import AbstractDesigner
from ._frame import matrix_of
from ._gan import TableGAN
from ._generator import AbstractGenerator
from ._series import SeriesModel

Write = Callable[[Mapping[str, Sequence[Any]]], None]


def score_file(
    model: Any, file: Path, out: Path, *, header: bool | None = None, decimal: str | None = None
) -> int:
    """Score the rows of a file of any length, some ten thousand at a time.

    Args:
        model: fitted.
        file: a table with the model's columns.
        out: a CSV or Parquet file, or "-", with the columns of the result: the one that names the
            rows, where the table has it; `row`, the line in a CSV file and else the number;
            `log_density` in nats, or `score` where a model has no density; `share_below`, of the
            rows fitted; `predicted`, -1 for an anomaly. A row with a hole in a column of the model
            has empty cells. Of sequences: `name`, `sequence`, `mean`, `sd` and `outside`.
            Of molecules: `name`, `smiles`, `known`, `similarity` to the most similar molecule of
            the fit, `predicted_NAME`, `logP`, `QED`, `SAS` and `alerts`; empty
            cells where one is left out. Of graphs: `name`, `nodes`, `edges`, `log_density` and
            `share_below`.
        header: of a table, as for `pullback.data.read_mixed`.
        decimal: likewise.

    Returns:
        How many rows there were; of molecules and sequences, how many of them were taken.
    """
    if isinstance(model, AbstractGenerator):
        _refuse_ways_of_tables(header, decimal)
        return model._write_scores(file, out)
    _refuse_another(model, (FlowDensity, TableGAN), "predict")
    return _of_file(model, file, out, model._predictions, header, decimal)


def predict_file(
    model: Any,
    file: Path,
    out: Path,
    *,
    level: float | int = 0.9,
    header: bool | None = None,
    decimal: str | None = None,
) -> int:
    """Predict the rows of a file of any length, some ten thousand at a time.

    Args:
        model: a fitted classifier or regression, or a model of series with outcomes.
        file: a table with the model's columns; for series a long one.
        out: a CSV or Parquet file, or "-", with the columns of the result: the one that names the
            rows, where the table has it; `row`, the line in a CSV file and else the number;
            `log_density` and `share_below`, of the rows fitted, where the model has a density;
            `p_CLASS` for each class and `predicted`; or `mean`, `lower` and `upper`. Of
            series, a row for each with the probabilities of outcomes, without `row`. Of molecules
            as of `score_file`.
        level: of the band from `lower` to `upper`.
        header: of a table, as for `pullback.data.read_mixed`.
        decimal: likewise.

    Returns:
        How many rows there were.
    """
    if isinstance(model, AbstractDesigner) and hasattr(model, "predict"):
        _refuse_ways_of_tables(header, decimal)
        return model._write_scores(file, out)
    if isinstance(model, SeriesModel):
        _refuse_ways_of_tables(header, decimal)
        columns = model._outcomes(file)
        with table_writer(out) as write:
            write(columns)
        return len(columns["predicted"])
    _refuse_another(model, (AbstractClassifier, BayesianNetRegressor), "score")
    if not 0 < level < 1:
        raise ValueError(f"`level` must lie between 0 and 1, got {level}.")
    of_rows = model._predictions
    if isinstance(model, BayesianNetRegressor):
        of_rows = functools.partial(of_rows, level=level)
    return _of_file(model, file, out, of_rows, header, decimal)


def _refuse_ways_of_tables(header: bool | None, decimal: str | None) -> None:
    if header is not None or decimal is not None:
        raise ValueError("`header` and `decimal` are of tables of rows; the model is of others.")


def _refuse_another(model: Any, kinds: tuple[type, ...], verb: str) -> None:
    if not isinstance(model, kinds):
        raise ValueError(
            f"a {type(model).__name__} is asked in another way; try `pullback {verb}`, and "
            "`pullback show` for what it can do."
        )


def _of_file(
    model: Any,
    file: Path,
    out: Path,
    of_rows: Callable[[np.ndarray], dict[str, list[Any]]],
    header: bool | None,
    decimal: str | None,
) -> int:
    """Write what a model says of the rows of a file; how many there were."""
    count, ids = 0, [] if model.id_column_ is None else [model.id_column_]
    kinds = getattr(model, "kinds_", {})
    numbers = [name for name in model.columns_ if name not in kinds]
    chunks = mixed_chunks(file, numbers, optional=[*kinds, *ids], header=header, decimal=decimal)
    with table_writer(out) as write:
        for table in chunks:
            values = matrix_of(in_codes(table, model.columns_, kinds), model.columns_)
            named = dict(zip(table.names, table.columns, strict=True))
            count += len(values)
            names = {name: named[name].tolist() for name in ids if name in named}
            # A column of the table's own that is called so is what names its rows.
            numbered = {} if "row" in names else {"row": table.rows.tolist()}
            write(beside(names, numbered | of_rows(values)))
    return count


def sample_file(model: Any, count: int, out: Path, *, random_state: int = 0) -> list[Path]:
    """Draw rows and write them.

    Args:
        model: fitted.
        count: how many.
        out: a CSV or Parquet file, or "-", with the model's columns; of sequences a FASTA file too.
            Of graphs one that `pullback.data.write_graphs` knows, with a table of their statistics
            and a sheet of drawings beside it.
        random_state: seed of the draws.

    Returns:
        The files.
    """
    if isinstance(model, AbstractGenerator):
        return model._write_samples(count, out, random_state)
    _refuse_another(model, (FlowDensity, TableGAN), "show")
    rows = model.sample(count, random_state=random_state)
    with table_writer(out) as write:
        write({name: _cells(rows[:, place]) for place, name in enumerate(model.columns_)})
    return [out]


def _cells(column: np.ndarray) -> list[Any]:
    """Whole numbers as one writes them, where all are such."""
    cells = column.tolist()
    if any(isinstance(cell, str) or cell % 1 or abs(cell) > 2**53 for cell in cells):
        return cells
    return [int(cell) for cell in cells]


@contextmanager
def table_writer(out: Path) -> Iterator[Write]:
    """Write columns, as they come, to a file that appears when all are written, or to stdout.

    Raises:
        ValueError: the name of the file ends in nothing that is known.
    """
    if str(out) == "-":
        yield _csv_rows(sys.stdout)
    elif out.suffix.lower() == ".csv":
        with atomic_write(out) as file:
            text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
            yield _csv_rows(text)
            text.detach()
    elif out.suffix.lower() in (".parquet", ".pq"):
        with atomic_write(out) as file, _parquet_rows(file) as write:
            yield write
    else:
        raise ValueError(f"`out` must end in .csv or .parquet, or be - for stdout; got {out}.")


def _csv_rows(file: Any) -> Write:
    writer, started = csv.writer(file, lineterminator="\n"), False

    def write(columns: Mapping[str, Sequence[Any]]) -> None:
        nonlocal started
        if not started:
            writer.writerow(columns)
            started = True
        writer.writerows(zip(*columns.values(), strict=True))

    return write


@contextmanager
def _parquet_rows(file: Any) -> Iterator[Write]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    writer = None

    def write(columns: Mapping[str, Sequence[Any]]) -> None:
        nonlocal writer
        table = pa.table(dict(columns))
        if writer is None:
            # A column of which the first rows are all empty has numbers all the same.
            fields = [
                field if field.type != pa.null() else pa.field(field.name, pa.float64())
                for field in table.schema
            ]
            writer = pq.ParquetWriter(file, pa.schema(fields))
        writer.write_table(table.cast(writer.schema))

    try:
        yield write
    finally:
        if writer is not None:
            writer.close()
