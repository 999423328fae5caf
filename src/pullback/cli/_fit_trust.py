"""`pullback fit trust`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pullback.cli._common import BadUsage, Flag, OptionalName, OptionalPath
from pullback.cli._fit_and_save import Columns, File, Folder, Label, fit_and_save, read_labelled
from pullback.cli._reading import LABELS_AS_THEY_LOOK, ReadLabels

if TYPE_CHECKING:
    from pullback.data import MixedTable
    from pullback.tasks import AbstractTask


def fit_trust(
    file: File,
    out: Folder,
    label: Label,
    clean: OptionalPath = None,
    columns: Columns = (),
    id: OptionalName = None,
    max_steps: int = 20,
    reading: ReadLabels = LABELS_AS_THEY_LOOK,
    seed: int = 0,
    report: Flag = True,
    progress: Flag = True,
) -> int:
    """Weigh the labels of a table, and list those that are probably wrong, in suspects.csv.

    Args:
        file: A CSV or Parquet file with a header; - reads CSV from standard input.
        out: The folder for the model.
        label: The column of the labels. A row has no label where its cell is empty or, where labels
            are numbers, is NA, null, None, or -1 beside two other labels.
        clean: A file with the same columns, of rows whose labels are right: some tens will do
            (default: parts of the table serve in turn).
        columns: The columns of numbers to take (default: all that can be taken).
        id: The column that only names the rows (default: one that looks like it).
        max_steps: The most steps along hypergradients, from cross-validated probabilities on.
        seed: The seed of all that is random.
        report: Write no report.html beside the model.
        progress: Show no progress bar.
    """
    if max_steps < 0:
        raise BadUsage(f"--max-steps must be 0 or more, got {max_steps}")
    beside: dict[str, Any] = {}

    def read(path: Path) -> "MixedTable":
        if clean is not None:
            beside["X_clean"] = read_labelled(clean, label, columns, None, reading, classes=True)
        return read_labelled(path, label, columns, id, reading, classes=True)

    def task() -> "AbstractTask":
        from pullback import tasks

        return tasks.RowTrust(
            label,
            columns=columns or None,
            id_column=id,
            max_steps=max_steps,
            random_state=seed,
            progress=None if progress else False,
        )

    return fit_and_save(
        file, out, read, task, report=report, beside=beside, files=("suspects.csv",)
    )
