"""What all of `pullback fit` share: flags, and the way from a file to a folder with a model."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from pullback.cli._common import STDIN, BadUsage, as_file, held, in_one_line, set_up_jax
from pullback.cli._reading import Reading

if TYPE_CHECKING:
    from pullback.data import MixedTable
    from pullback.tasks import AbstractTask

File = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")]
Folder = Annotated[Path, tyro.conf.arg(metavar="FOLDER")]
Columns = Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAMES", help_behavior_hint="")]

Label = Annotated[str, tyro.conf.arg(metavar="COLUMN")]


def read_table(
    path: Path, columns: tuple[str, ...], id: str | None, reading: Reading
) -> "MixedTable":
    """A table, with the column that names its rows, whichever columns are taken."""
    from pullback import data

    return data.read_mixed(
        path,
        columns or None,
        optional=[] if id is None else [id],
        others=id is None,
        **reading.given(),
    )


def read_labelled(
    path: Path,
    label: str,
    columns: tuple[str, ...],
    id: str | None,
    reading: Reading,
    *,
    classes: bool,
) -> "MixedTable":
    """A table that has the column to predict.

    Args:
        path: of the file.
        label: that column.
        columns: those to take; none takes all that can be.
        id: the column that only names the rows.
        reading: how.
        classes: whether what is to be predicted names classes.
    """
    from pullback import data

    table = data.read_mixed(
        path,
        columns or None,
        optional=[*([] if classes else [label]), *([] if id is None else [id])],
        others=id is None,
        labels=[label] if classes else [],
        **reading.given(),
    )
    if label not in table.names:
        raise BadUsage(
            f"{path}: there is no column {label!r}; --label is one of {', '.join(table.names)}"
        )
    return table


def check_contamination(share: float) -> None:
    """Refuse what is no share of rows that may be anomalies, before a file is read."""
    if not 0 < share <= 0.5:
        raise BadUsage(f"--contamination must be above 0 and at most 0.5, got {share:g}")


def fit_and_save(
    file: Path,
    out: Path,
    read: Callable[[Path], Any],
    task: Callable[[], "AbstractTask"],
    *,
    report: bool,
    y: Any = None,
    beside: Mapping[str, Any] | None = None,
    files: Sequence[str] = (),
    learn: str = "fit",
) -> int:
    """Read a file, fit a task to it, save it, and print its card.

    Args:
        file: the file, or - for standard input.
        out: the folder of the model.
        read: reads the file, and refuses it where it does not parse: before jax is imported.
        task: makes the task, with its settings.
        report: whether to write the page.
        y: what else the task is fitted to.
        beside: other arguments of that method, which may come while the file is read.
        files: what the task writes beside the model.
        learn: the method of the task that learns from the file.
    """
    pages = ["report.html"] if report else []
    with held(out, "model.json", "model.safetensors", *pages, *files):
        with in_one_line(), as_file(file) as path:
            given = read(path)
        if str(file) == "-" and hasattr(given, "_replace"):
            given = given._replace(source=STDIN)
        set_up_jax()
        from pullback import tasks

        with in_one_line():
            model: Any = task()
            getattr(model, learn)(given, y, **(beside or {})).save(out)
            page = _report(tasks, model, given, out) if report else None
    print(tasks.card(model, out))
    if page is not None:
        print(f"report: {page}")
    return 0


def _report(tasks: Any, model: "AbstractTask", given: Any, out: Path) -> Path:
    """The page of a model that is saved, or a sentence that says that the model is."""
    try:
        return tasks.write_report(model, given, out)
    except OSError as error:
        raise BadUsage(
            f"the model is saved in {out}, and {error.filename} cannot be written "
            f"({error.strerror}); make room and fit again, or go without the page by --no-report"
        ) from error
