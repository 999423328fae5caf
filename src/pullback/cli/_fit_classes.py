"""`pullback fit classes`."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pullback.cli._common import Flag, OptionalName
from pullback.cli._fit_and_save import Columns, File, Folder, Label, fit_and_save, read_labelled
from pullback.cli._reading import LABELS_AS_THEY_LOOK, ReadLabels

if TYPE_CHECKING:
    from pullback.data import MixedTable
    from pullback.tasks import AbstractTask


def fit_classes(
    file: File,
    out: Folder,
    label: Label,
    method: Literal["jem", "vera", "supervised", "sde-bnn"] = "jem",
    columns: Columns = (),
    id: OptionalName = None,
    reading: ReadLabels = LABELS_AS_THEY_LOOK,
    seed: int = 0,
    report: Flag = True,
    progress: Flag = True,
) -> int:
    """Fit a classifier of the rows of a table, of which only few need a label.

    Args:
        file: A CSV or Parquet file with a header; - reads CSV from standard input.
        out: The folder for the model.
        label: The column of the classes. A row has no class where its cell is empty or, where
            classes are numbers, is NA, null, None, or -1 beside two other classes.
        method: How a network learns the density beside the classes: by chains (jem), by a
            generator (vera), or not at all (supervised); or a Bayesian network (sde-bnn).
        columns: The columns of numbers to take (default: all that can be taken).
        id: The column that only names the rows (default: one that looks like it).
        seed: The seed of all that is random.
        report: Write no report.html beside the model.
        progress: Show no progress bar.
    """

    def read(path: Path) -> "MixedTable":
        return read_labelled(path, label, columns, id, reading, classes=True)

    def task() -> "AbstractTask":
        from pullback import tasks

        kind = tasks.BayesianNetClassifier if method == "sde-bnn" else tasks.EnergyClassifier
        return kind(
            method,
            label=label,
            columns=columns or None,
            id_column=id,
            random_state=seed,
            progress=None if progress else False,
        )

    return fit_and_save(file, out, read, task, report=report)
