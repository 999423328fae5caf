"""`pullback fit`: a model of a file of the user's own, saved."""

from pathlib import Path
from typing import Annotated, Literal

import tyro

from pullback.cli._common import BadUsage, Flag, OptionalName, as_file, in_one_line, set_up_jax

File = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")]

TASKS = ("density",)


def check_task(task: str) -> None:
    """Raise `BadUsage` if there is no such task."""
    if task in TASKS:
        return
    known = f"there is no task {task!r}; there is: {', '.join(TASKS)}"
    if Path(task).is_file():
        known += f". Try: pullback fit {TASKS[0]} {task} --out MODEL"
    raise BadUsage(known)


Columns = Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAMES", help_behavior_hint="")]


def fit(
    task: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="TASK")],
    file: File,
    out: Annotated[Path, tyro.conf.arg(metavar="FOLDER")],
    method: Literal["residual-flow", "cnf"] = "residual-flow",
    columns: Columns = (),
    id: OptionalName = None,
    contamination: float = 0.05,
    copula: Flag = False,
    seed: int = 0,
    report: Flag = True,
    progress: Flag = True,
) -> int:
    """Fit a model to a table of your own, and save it, with a report on one page.

    Args:
        task: What to fit: density, that of the rows, for scores, anomalies and new rows.
        file: A CSV or Parquet file with a header; - reads CSV from standard input.
        out: The folder for the model.
        method: How: a residual flow, or a continuous flow (cnf), which takes several times as long.
        columns: The columns of numbers to take (default: all that can be taken).
        id: The column that only names the rows (default: one that looks like it).
        contamination: The share of rows that are taken to be anomalies, above 0 and up to 0.5.
        copula: Bring each column to normal scores first, for heavy tails.
        seed: The seed of all that is random.
        report: Write no report.html beside the model.
        progress: Show no progress bar.
    """
    from pullback import data

    check_task(task)
    if not 0 < contamination <= 0.5:
        raise BadUsage(f"--contamination must be above 0 and at most 0.5, got {contamination:g}")
    if out.exists() and not out.is_dir():
        raise BadUsage(f"{out} is a file; name a folder with --out")
    ids = [] if id is None else [id]
    with as_file(file) as path, in_one_line():
        table = data.read_mixed(path, columns or None, optional=ids)
    if str(file) == "-":
        table = table._replace(source="standard input")
    set_up_jax()
    from pullback import tasks

    with in_one_line():
        model = tasks.FlowDensity(
            method,
            contamination=contamination,
            columns=columns or None,
            id_column=id,
            copula=copula,
            random_state=seed,
            progress=None if progress else False,
        ).fit(table)
        model.save(out)
        page = tasks.write_report(model, table, out) if report else None
    print(tasks.card(model, out))
    if page is not None:
        print(f"report: {page}")
    return 0
