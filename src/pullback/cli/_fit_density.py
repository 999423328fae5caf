"""`pullback fit density`."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pullback.cli._common import Flag, OptionalName
from pullback.cli._fit_and_save import (
    Columns,
    File,
    Folder,
    check_contamination,
    fit_and_save,
    read_table,
)
from pullback.cli._reading import AS_IT_LOOKS, Read

if TYPE_CHECKING:
    from pullback.data import MixedTable
    from pullback.tasks import AbstractTask


def fit_density(
    file: File,
    out: Folder,
    method: Literal["residual-flow", "spline-coupling", "cnf"] = "residual-flow",
    columns: Columns = (),
    id: OptionalName = None,
    contamination: float = 0.05,
    copula: Flag = False,
    reading: Read = AS_IT_LOOKS,
    seed: int = 0,
    report: Flag = True,
    progress: Flag = True,
) -> int:
    """Fit the density of the rows of a table: for scores, anomalies and new rows.

    Args:
        file: A CSV or Parquet file with a header; - reads CSV from standard input.
        out: The folder for the model.
        method: How: a residual flow, couplings by splines (spline-coupling), whose draws are in
            closed form, or a continuous flow (cnf), which takes several times as long.
        columns: The columns of numbers to take (default: all that can be taken).
        id: The column that only names the rows (default: one that looks like it).
        contamination: The share of rows that are taken to be anomalies, above 0 and up to 0.5.
        copula: Transform each column to normal scores first, for heavy tails.
        seed: The seed of all that is random.
        report: Write no report.html beside the model.
        progress: Show no progress bar.
    """
    check_contamination(contamination)

    def read(path: Path) -> "MixedTable":
        return read_table(path, columns, id, reading)

    def task() -> "AbstractTask":
        from pullback import tasks

        return tasks.FlowDensity(
            method,
            contamination=contamination,
            columns=columns or None,
            id_column=id,
            copula=copula,
            random_state=seed,
            progress=None if progress else False,
        )

    return fit_and_save(file, out, read, task, report=report)
