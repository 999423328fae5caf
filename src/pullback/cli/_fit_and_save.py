"""What all of `pullback fit` share: flags, and the way from a file to a folder with a model."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from pullback.cli._common import BadUsage, as_file, in_one_line, set_up_jax

if TYPE_CHECKING:
    from pullback.data import MixedTable
    from pullback.tasks import AbstractTask

File = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")]
Folder = Annotated[Path, tyro.conf.arg(metavar="FOLDER")]
Columns = Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAMES", help_behavior_hint="")]

Label = Annotated[str, tyro.conf.arg(metavar="COLUMN")]


def read_labelled(path: Path, label: str, columns: tuple[str, ...], id: str | None) -> "MixedTable":
    """A table that has the column to predict.

    Args:
        path: of the file.
        label: that column.
        columns: those to take; none takes all that can be.
        id: the column that only names the rows.
    """
    from pullback import data

    others = [label, *([] if id is None else [id])]
    table = data.read_mixed(path, columns or None, optional=others)
    if label not in table.names:
        raise BadUsage(
            f"{path}: there is no column {label!r}; --label is one of {', '.join(table.names)}"
        )
    return table


def fit_and_save(
    file: Path,
    out: Path,
    read: Callable[[Path], Any],
    task: Callable[[], "AbstractTask"],
    *,
    report: bool,
    y: Any = None,
) -> int:
    """Read a file, fit a task to it, save it, and print its card.

    Args:
        file: the file, or - for standard input.
        out: the folder of the model.
        read: reads the file, and refuses it where it does not parse: before jax is imported.
        task: makes the task, with its settings.
        report: whether to write the page.
        y: what else the task is fitted to.
    """
    if out.exists() and not out.is_dir():
        raise BadUsage(f"{out} is a file; name a folder with --out")
    with as_file(file) as path, in_one_line():
        given = read(path)
    if str(file) == "-" and hasattr(given, "_replace"):
        given = given._replace(source="standard input")
    set_up_jax()
    from pullback import tasks

    with in_one_line():
        model: Any = task()
        model.fit(given, y).save(out)
        page = tasks.write_report(model, given, out) if report else None
    print(tasks.card(model, out))
    if page is not None:
        print(f"report: {page}")
    return 0
