"""`pullback fit regression`."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pullback.cli._common import Flag, OptionalName
from pullback.cli._fit_and_save import Columns, File, Folder, Label, fit_and_save, read_labelled
from pullback.cli._reading import AS_IT_LOOKS, Read

if TYPE_CHECKING:
    from pullback.data import MixedTable
    from pullback.tasks import AbstractTask


def fit_regression(
    file: File,
    out: Folder,
    label: Label,
    method: Literal["sde-bnn", "noisy-kfac", "noisy-adam"] = "sde-bnn",
    columns: Columns = (),
    id: OptionalName = None,
    reading: Read = AS_IT_LOOKS,
    seed: int = 0,
    report: Flag = True,
    progress: Flag = True,
) -> int:
    """Fit a regression to the rows of a table, with bands of a stated coverage.

    Args:
        file: A CSV or Parquet file with a header; - reads CSV from standard input.
        out: The folder for the model.
        label: The column of the numbers; a row with an empty cell there is left out.
        method: How: a Bayesian network whose weights follow a stochastic equation (sde-bnn), or
            are normal (noisy-kfac, noisy-adam).
        columns: The columns of numbers to take (default: all that can be taken).
        id: The column that only names the rows (default: one that looks like it).
        seed: The seed of all that is random.
        report: Write no report.html beside the model.
        progress: Show no progress bar.
    """

    def read(path: Path) -> "MixedTable":
        return read_labelled(path, label, columns, id, reading, classes=False)

    def task() -> "AbstractTask":
        from pullback import tasks

        return tasks.BayesianNetRegressor(
            method,
            label=label,
            columns=columns or None,
            id_column=id,
            random_state=seed,
            progress=None if progress else False,
        )

    return fit_and_save(file, out, read, task, report=report)
