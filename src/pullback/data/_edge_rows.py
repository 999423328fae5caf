"""The rows of a list of edges: cells apart by spaces, by tabs, or as in a table."""

import csv
import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from pullback._names import listed
from pullback.data._cells import BadRows
from pullback.data._csv import to_number
from pullback.data._errors import DataError

ENDS = (
    set("source from u node1 node_1 node_a tail src start".split()),
    set("target to v node2 node_2 node_b head dst end".split()),
)
COMMENT = ("#", "%")
TABLES = (".csv", ".tsv")
_COMMENT = re.compile(r"(?:^|\s)[#%]")
# In a cell that begins with a quotation mark; one that is not closed goes on in the next line.
_QUOTED = re.compile(r'(?<![^,;\t|])"(?:[^"]|"")*"?')
_WITH_DATA = re.compile(r"\s*([^\s#%]\S*)[ \t]+([^\s#%]\S*)[ \t]+(\{.*\})")
_SPACES = re.compile(r"[ \t]+")
_TABS = re.compile(r" *\t[ \t]*")

Row = tuple[int, list[str]]


class NoEdges(DataError):
    """A table is of something else than edges."""


def edge_rows(text: str, path: Path, bad: BadRows) -> tuple[list[Row], list[int]]:
    """The cells of the lines that are neither blank nor comments, with their numbers from 1.

    And the numbers of the lines of a table, below its first row, of which a comment was cut off.
    """
    lines = list(io.StringIO(text, newline=""))  # by ends of lines alone, which stay
    content = [n for n, line in enumerate(lines) if line.strip() and line.strip()[0] not in COMMENT]
    if not content:
        return [], []
    delimiter = _delimiter([lines[n] for n in content], path)
    if delimiter is not None:
        return _table(lines, delimiter, path)
    return _spaced({n + 1: lines[n] for n in content}, bad), []


def check_shape(rows: Sequence[Row], path: Path) -> None:
    """Raise for a matrix or a list of neighbours, whose numbers are no edges with their weights."""
    widths = {len(cells) for _, cells in rows}
    numbers = len(rows) > 2 and widths == {len(rows)}
    if numbers and all(is_number(cell) for _, cells in rows for cell in cells):
        matrix = np.array([list(map(float, cells)) for _, cells in rows])
        even = bool((matrix == matrix.T).all())
        if len(rows) > 3:
            whole = even or bool(np.isin(matrix, (0, 1)).all())
        else:  # as wide as edges with their weights
            whole = even and not np.diag(matrix).any()
        if whole:
            raise DataError(
                path,
                f"expected a list of edges, got what looks like a matrix of {len(rows)} x "
                f"{len(rows)} numbers. Read it with NumPy, and give networkx.from_numpy_array(it); "
                "if they are edges, call the columns source and target in a first row.",
            )
    if max(widths, default=0) > 3 and len(widths - {1}) > 1:
        line = next(line for line, cells in rows if len(cells) == max(widths))
        raise DataError(
            path,
            f"expected a list of edges, got rows of {min(widths - {1})} to {max(widths)} cells, as "
            "in a list of neighbours. Give networkx.read_adjlist(file) for one; if they are edges, "
            "call the columns source and target in a first row.",
            line=line,
        )


def check_titles(rows: Sequence[Row], path: Path) -> None:
    """Raise for a table of something else: titles of four columns or more, and numbers below."""
    titles = rows[0][1] if rows else []
    if len(titles) < 4 or len(rows) < 2 or not all(titles) or any(map(is_number, titles)):
        return
    width = min(len(cells) for _, cells in rows)
    if any(all(is_number(cells[at]) for _, cells in rows[1:]) for at in range(width)):
        raise NoEdges(
            path,
            f"expected a list of edges, got a table of {listed(titles[:4])} and so on; if its "
            "rows are edges, call two columns source and target in the first row.",
        )


def is_number(cell: str) -> bool:
    return to_number(cell) is not None


def _table(lines: Sequence[str], delimiter: str, path: Path) -> tuple[list[Row], list[int]]:
    rows: list[Row] = []
    cut: list[int] = []
    begins = True  # a row with this line, which else goes on within quotation marks

    def fed() -> Iterator[str]:
        nonlocal begins
        for number, line in enumerate(lines, 1):
            bare = _uncommented(line) if begins else line
            if bare != line and rows:
                cut.append(number)
            begins = False
            yield bare

    reader = csv.reader(fed(), delimiter=delimiter, strict=True)
    try:
        for cells in reader:
            begins = True
            if any(map(str.strip, cells)):
                rows.append((reader.line_num, [cell.strip() for cell in cells]))
    except csv.Error as error:
        raise DataError(path, f"not a table: {error}.", line=reader.line_num) from error
    return rows, cut


def _spaced(lines: dict[int, str], bad: BadRows) -> list[Row]:
    """Apart by spaces or tabs; by tabs alone where names have spaces and all lines have tabs."""
    first = next(iter(lines))
    rows = {number: _words(line, number == first) for number, line in lines.items()}
    if not all(rows.values()) and all("\t" in line.strip() for line in lines.values()):
        return [(n, _TABS.split(_uncommented(line).strip())) for n, line in lines.items()]
    for number, words in rows.items():
        if not words:
            bad.add(number, "expected two names, and maybe numbers; there are more words.")
    return list(rows.items())


def _words(line: str, first: bool) -> list[str]:
    """The cells of a line: two names, and maybe numbers; none if there are other words."""
    if data := _WITH_DATA.match(line):
        return list(data.groups())
    words = _SPACES.split(_uncommented(line).strip())
    title = first and words[0].lower() in ENDS[0]
    return words if title or all(map(is_number, words[2:])) else []


def _uncommented(line: str) -> str:
    """A line up to a comment, which a quoted cell does not begin."""
    found = _COMMENT.search(_QUOTED.sub(lambda cell: "x" * len(cell[0]), line))
    return line if found is None else f"{line[: found.start()]}\n"


def _delimiter(lines: Sequence[str], path: Path) -> str | None:
    """What separates the cells of a table, told by its first line; None for spaces."""
    if not set(TABLES) & {suffix.lower() for suffix in path.suffixes}:
        names = lines[0].split(maxsplit=2)[:2]
        return next((each for each in ",;" if any(each in name for name in names)), None)
    for text in (lines[0], "".join(lines)):
        bare = _QUOTED.sub("", text)
        for marks in (",;\t", "|"):
            found = max(marks, key=bare.count)
            if found in bare:
                return found
    raise DataError(
        path,
        "expected two columns, such as source and target, apart by a comma, a semicolon, a tab or "
        "|; there is one. Names apart by spaces are read from a file whose name ends in .txt.",
    )
