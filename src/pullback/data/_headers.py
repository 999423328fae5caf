"""Whether the first row of a CSV file is a header, and whether its lines end in a delimiter."""

import re
from itertools import pairwise
from pathlib import Path

from pullback._names import listed, shown
from pullback.data._csv import DECIMAL_COMMA, Layout, to_number
from pullback.data._errors import DataError
from pullback.data._holes import is_hole

_WHOLE = re.compile(r"[+-]?\d+")
_ROW = "`header=False` (on the command line --header no)"
_HEADER = "`header=True` (on the command line --header yes)"
_ONE = "`decimal=','` (on the command line --decimal ,)"
_TWO = "`decimal='.'` (on the command line --decimal .)"


def begins_with_a_row(path: Path, layout: Layout, decimal: str | None, ask: bool) -> bool:
    """Whether the first row is one of values, as it has numbers; raises for what may be names.

    Whole numbers are names where a table was written with numbered columns or has a column for each
    year: where there is nothing but such, and no two the same; or beside text where they count on.
    """
    cells = [cell.strip() for cell in layout.rows[0]]
    numbers = [cell for cell in cells if _is_number(cell, decimal)]
    if not numbers:
        return False
    if not ask or not all(map(_WHOLE.fullmatch, numbers)) or len({*numbers}) < len(numbers):
        return True
    others = [cell for cell in cells if not is_hole(cell) and not _is_number(cell, decimal)]
    steps = {int(b) - int(a) for a, b in pairwise(numbers)}
    if others and len(steps) != 1:
        return True
    row = shown(",".join(cells))
    one = f" If {row} is one number, say {_ONE}." if _has_one_comma(layout) else ""
    raise DataError(
        path,
        f"the first row, {listed(cells)}, may be a header or a row of values; say {_HEADER} or "
        f"{_ROW}.{one}",
        line=layout.line,
    )


def check_one_comma(path: Path, layout: Layout) -> None:
    """Raise where rows without a header have two whole numbers, or one with a decimal comma."""
    if _has_one_comma(layout):
        row = shown(",".join(layout.rows[0]))
        raise DataError(
            path,
            f"the row {row} may be two whole numbers or one with a decimal comma; say {_TWO} for "
            f"two, {_ONE} for one.",
            line=layout.line,
        )


def ends_in_a_delimiter(layout: Layout) -> bool:
    """Whether there is a delimiter behind the last column, in the header and in the first rows."""
    header, *rows = layout.rows
    width = len(header)
    if width < 2 or header[-1].strip() or not rows:
        return False
    return all(len(cells) == width and not cells[-1].strip() for cells in rows)


def _has_one_comma(layout: Layout) -> bool:
    return layout.delimiter == "," and all(
        len(cells) == 2 and all(map(str.isdecimal, cells)) for cells in layout.rows
    )


def _is_number(cell: str, decimal: str | None) -> bool:
    if decimal != "." and DECIMAL_COMMA.fullmatch(cell):
        return True
    return to_number(cell) is not None
