"""`pullback test` and `pullback dependence`: questions to a table that leave no model."""

from pathlib import Path
from typing import Annotated, Any

import tyro

from pullback.cli._common import (
    STDIN,
    BadUsage,
    Flag,
    OptionalPath,
    as_file,
    check_folder,
    in_one_line,
    set_up_jax,
)
from pullback.cli._fit_and_save import Columns, File
from pullback.cli._reading import AS_IT_LOOKS, Read, Reading

Group = Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAMES")]


def goodness(
    file: File,
    model: OptionalPath = None,
    columns: Columns = (),
    level: float = 0.05,
    out: OptionalPath = None,
    reading: Read = AS_IT_LOOKS,
    seed: int = 0,
) -> int:
    """Test whether a model fits the rows of a table, and find the columns in which it does not.

    Args:
        file: A CSV or Parquet file with a header; - reads CSV from standard input.
        model: The folder that `pullback fit density` wrote (default: a Gaussian of the rows).
        columns: Without a model, the columns to take, as a,b or a b (default: all columns of
            numbers).
        level: The probability of rejecting a model that is right.
        out: The folder for report.html (default: none is written).
        seed: The seed of all that is random.
    """
    if not 0 < level < 1:
        raise BadUsage(f"--level must be between 0 and 1, got {level:g}")
    names = _split(columns)
    if names and model is not None:
        raise BadUsage("--columns are those of the model; give one of them alone")

    def ask(table: Any) -> Any:
        from pullback import tasks

        return tasks.goodness_of_fit(
            table, model, columns=names or None, level=level, random_state=seed
        )

    return _answer(file, names, reading, out, ask)


def dependence(
    file: File,
    x: Group,
    y: Group,
    learned: Flag = False,
    permutations: int = 199,
    out: OptionalPath = None,
    reading: Read = AS_IT_LOOKS,
    seed: int = 0,
) -> int:
    """Estimate the mutual information of two groups of columns in nats, and test it for chance.

    Args:
        file: A CSV or Parquet file with a header; - reads CSV from standard input.
        x: The columns of one group, as a,b or a b.
        y: The columns of the other group.
        learned: Learn a lower bound too (default: for more than six columns and 1600 rows).
        permutations: How many random permutations the test against chance takes.
        out: The folder for report.html (default: none is written).
        seed: The seed of all that is random.
    """
    if permutations < 19:
        raise BadUsage(f"--permutations must be 19 or more, got {permutations}")
    groups = _split(x), _split(y)

    def ask(table: Any) -> Any:
        from pullback import tasks

        return tasks.dependence(
            table, *groups, learned=True if learned else None, permutations=permutations,
            random_state=seed,
        )  # fmt: skip

    names = tuple(dict.fromkeys([*groups[0], *groups[1]]))
    return _answer(file, names, reading, out, ask)


def _split(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for part in names for name in part.split(",") if name)


def _answer(
    file: Path, names: tuple[str, ...], reading: Reading, out: Path | None, ask: Any
) -> int:
    """Read the table, before jax is imported; ask; and print, and write, what was found."""
    from pullback import data

    if out is not None:
        check_folder(out, "report.html")
    with in_one_line(), as_file(file) as path:
        table = data.read_mixed(path, names or None, **reading.given())
    if str(file) == "-":
        table = table._replace(source=STDIN)
    set_up_jax()
    from pullback import tasks

    with in_one_line():
        found = ask(table)
        page = None if out is None else tasks.write_result(found, out)
    print(found)
    if page is not None:
        print(f"report: {page}")
    return 0
