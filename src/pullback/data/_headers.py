"""Whether the first row of a CSV file is a header, and whether its lines end in a delimiter."""

import math
import re
from collections.abc import Sequence
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

from pullback._names import listed, shown
from pullback.data._cells import is_date
from pullback.data._csv import DECIMAL_COMMA, Layout, to_number
from pullback.data._errors import DataError
from pullback.data._holes import is_hole

_WHOLE = re.compile(r"[+-]?\d+([eE]\+?\d+)?")
_ROW = "`header=False` (on the command line --header no)"
_HEADER = "`header=True` (on the command line --header yes)"
_ONE = "`decimal=','` (on the command line --decimal ',')"
_TWO = "`decimal='.'` (on the command line --decimal '.')"


def check_header(header: object) -> None:
    """Raise for what is neither yes nor no, for text is always true."""
    if header is not None and not isinstance(header, bool):
        raise ValueError(f"`header` must be True, False or None, got {header!r}.")


def begins_with_a_row(path: Path, layout: Layout, decimal: str | None, ask: bool) -> bool:
    """Whether the first row is one of values, as it has numbers; raises for what may be names.

    Numbers may be names, as of years, doses or wavelengths, where no two are the same: if all are
    whole, or count on in equal steps, or stand beside text that is not seen to be a value.
    """
    cells = [cell.strip() for cell in layout.rows[0]]
    numbers = [cell for cell in cells if _is_number(cell, decimal)]
    if not ask:
        return bool(numbers)
    others = [
        place
        for place, cell in enumerate(cells)
        if not is_hole(cell) and not _is_number(cell, decimal)
    ]
    if not numbers and others:
        return False
    values = [Decimal(cell.replace(",", ".")) for cell in numbers]
    whole = all(_WHOLE.fullmatch(cell) for cell in numbers)
    if len({*values}) < len(values) or any(_is_a_value(layout, place) for place in others):
        return True
    if numbers and not others and not (whole or _count_on(values)):
        return True
    row = shown(",".join(cells))
    one = f" If {row} is one number, say {_ONE}." if _has_one_comma(layout) else ""
    raise DataError(
        path,
        f"the first row, {listed(cells)}, may be a header or a row of values; say {_HEADER} or "
        f"{_ROW}.{one}",
        line=layout.line,
    )


def is_finite(cell: str) -> bool:
    """Whether a cell is a number; a column may be called NaN or Inf."""
    found = to_number(cell)
    return found is not None and math.isfinite(found)


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


def check_decimal_comma(path: Path, layout: Layout) -> None:
    """Raise where a comma that is said to stand before fractions separates a header's names too."""
    header, *rows = [cells[0] for cells in layout.rows if len(cells) == 1]
    commas = header.replace(", ", " ").count(",")  # "length, mm" is one name
    if commas and rows and all(row.count(",") == commas for row in rows):
        raise DataError(
            path,
            f"the header {shown(header)} and the rows, such as {shown(rows[0])}, have as many "
            "commas, which then separate cells and stand before no fractions; leave `decimal` (on "
            "the command line --decimal) out, or write ; between cells.",
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


def _count_on(numbers: Sequence[Decimal]) -> bool:
    """Whether there are three or more, each as far from the one before."""
    return len(numbers) > 2 and len({b - a for a, b in pairwise(numbers)}) == 1


def _is_a_value(layout: Layout, place: int) -> bool:
    """Whether text in the first row comes again below it, or is a date above dates."""
    first, *below = [cells[place].strip() for cells in layout.rows if place < len(cells)]
    dated = bool(below) and is_date(first) and is_date(below[0])
    return dated or first in below


def _is_number(cell: str, decimal: str | None) -> bool:
    if decimal != "." and DECIMAL_COMMA.fullmatch(cell):
        return True
    return is_finite(cell)
