"""`pullback fit gan`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from pullback.cli._common import BadUsage, Flag, OptionalName
from pullback.cli._fit_and_save import (
    Columns,
    File,
    Folder,
    check_contamination,
    fit_and_save,
)
from pullback.cli._reading import AS_IT_LOOKS, Read

if TYPE_CHECKING:
    from pullback.data import MixedTable
    from pullback.tasks import AbstractTask

Steps = Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="")]


def fit_gan(
    file: File,
    out: Folder,
    columns: Columns = (),
    id: OptionalName = None,
    contamination: float = 0.05,
    max_steps: Steps = None,
    reading: Read = AS_IT_LOOKS,
    seed: int = 0,
    report: Flag = True,
    progress: Flag = True,
) -> int:
    """Fit a generator of new rows of a table, and check how like real rows they are.

    Args:
        file: A CSV or Parquet file with a header; - reads CSV from standard input.
        out: The folder for the model.
        columns: The columns to take, of numbers or of few kinds of text (default: all such).
        id: The column that only names the rows (default: one that looks like it).
        contamination: The share of rows that are taken to be anomalies, above 0 and up to 0.5.
        max_steps: Training steps; 0 is a Gaussian copula (default: by the size of the table).
        seed: The seed of all that is random.
        report: Write no report.html beside the model.
        progress: Show no progress bar.
    """
    check_contamination(contamination)
    if max_steps is not None and max_steps < 0:
        raise BadUsage(f"--max-steps must be 0 or more, got {max_steps}")

    def read(path: Path) -> "MixedTable":
        from pullback import data

        if not columns:
            return data.read_mixed(path, **reading.given())
        named = [*columns, *([] if id is None else [id])]
        return data.read_mixed(path, [], optional=named, others=True, **reading.given())

    def task() -> "AbstractTask":
        from pullback import tasks

        return tasks.TableGAN(
            contamination=contamination,
            columns=columns or None,
            id_column=id,
            max_steps=max_steps,
            random_state=seed,
            progress=None if progress else False,
        )

    return fit_and_save(file, out, read, task, report=report)
