"""Cells of a column as numbers, as text, or as classes."""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from pullback._names import shown
from pullback.data._blocks import has_large
from pullback.data._cells import BadRows, is_date
from pullback.data._csv import is_rounded
from pullback.data._decimals import Decimals
from pullback.data._holes import is_hole, is_word_for_none

Rows = Sequence[int] | np.ndarray  # the numbers of rows
NA_LABELS = ("class", "hole")
_CODE = re.compile(r"[+-]?0\d+")


def as_numbers(cells: Sequence, rows: Rows, name: str, bad: BadRows) -> np.ndarray:
    """Cells as float64, NaN where there is a hole, and a bad row where one is no finite number."""
    quick = _all_numbers(cells, bad.decimals)
    if quick is None:
        quick = _yes_and_no(cells)
    if quick is not None:
        bad.with_numbers.add(name)
        return quick
    found = []
    for cell, row in zip(cells, rows, strict=True):
        value = np.nan if is_hole(cell) else bad.decimals.number(name, int(row), str(cell).strip())
        if value is None or abs(value) == np.inf:
            bad.no_number(name, int(row), cell)
            value = np.nan
        elif value == value:
            bad.with_numbers.add(name)
        found.append(value)
    return np.asarray(found, np.float64)


def _all_numbers(cells: Sequence, decimals: Decimals) -> np.ndarray | None:
    """Cells that are finite numbers, one and all."""
    try:
        found = np.array(list(map(float, cells)), np.float64)
    except (TypeError, ValueError):
        return None
    # Python takes 1_000 for a number; no spreadsheet does. A point is looked at where a comma may
    # stand before fractions.
    marks = "_" if decimals.sign == "." else "_."
    marked = any(isinstance(cell, str) and not {*marks}.isdisjoint(cell) for cell in cells)
    if marked or not np.isfinite(found).all():
        return None
    return None if has_large(found) and any(map(is_rounded, cells)) else found


def _yes_and_no(cells: Sequence) -> np.ndarray | None:
    """Cells that are True or False, or holes, one and all, as 1 and 0."""
    words = _each(lambda cell: None if is_hole(cell) else str(cell).strip().lower(), cells)
    if not {*words} - {None} or not {*words} <= {"true", "false", None}:
        return None
    return np.asarray([np.nan if word is None else word == "true" for word in words], np.float64)


def as_labels(cells: Sequence, na_labels: str | None = None) -> np.ndarray:
    """Cells that name classes: numbers where all are such, else text, taken as it stands.

    Of numbers a word such as NA is a hole. Beside text it may be a class that is called so, and
    somebody has to say. Codes such as 01 are text, for 1 may be another.

    Args:
        cells: text, numbers, yes and no, or None.
        na_labels: what NA, NaN, null, none or a question mark is: "class", one that is called so;
            "hole", a row without a class; None refuses it beside text.

    Returns:
        float64 with NaN for a hole, or text with None for one.

    Raises:
        ValueError: a label is such a word, and `na_labels` does not say what it is; or bytes.

    Example:
        >>> as_labels(["2", "NA", "1"])
        array([ 2., nan,  1.])
        >>> as_labels(["mild", "None", ""], "class")
        array(['mild', 'None', None], dtype=object)
    """
    return labels_of_column(cells, na_labels, lambda told, at: ValueError(f"row {at + 1}: {told}"))


def labels_of_column(
    cells: Sequence, na_labels: str | None, refused: Callable[[str, int], ValueError]
) -> np.ndarray:
    """As `as_labels`; `refused` makes an error of what is wrong and of the first such place."""
    if na_labels not in (None, *NA_LABELS):
        known = " or ".join(map(repr, NA_LABELS))
        raise ValueError(f"`na_labels` must be {known}, or None to be asked; got {na_labels!r}.")
    packed = next((at for at, cell in enumerate(cells) if isinstance(cell, bytes)), None)
    if packed is not None:
        told = f"the label {shown(cells[packed])} is bytes; write it as text."
        raise refused(told, packed)
    words = np.flatnonzero(_each(is_word_for_none, cells)).tolist()
    if not (len(words) and na_labels == "class"):
        numbers = _class_numbers(cells)
        if numbers is not None:
            return numbers
    if words and na_labels is None:
        word = str(cells[words[0]]).strip()
        raise refused(
            f"the label {word!r} ({len(words)} such) may be a class that is called so, or a row "
            "without a class; say which by `pullback.data.read_mixed(..., na_labels='class' or "
            "'hole')` (on the command line --na-labels class or hole). In a frame write None for a "
            "hole, and call a class otherwise.",
            words[0],
        )
    gone = _is_nothing if na_labels == "class" else is_hole
    text = _each(lambda cell: None if gone(cell) else str(cell).strip(), cells)
    return np.asarray(text, object)


def _class_numbers(cells: Sequence) -> np.ndarray | None:
    """Classes that are numbers, NaN where there is a hole; None where one is another thing."""
    whole = _whole(cells)
    if not whole or _has_codes(whole) or all(isinstance(cell, bool | np.bool_) for cell in whole):
        return None
    found = _all_numbers(whole, Decimals())
    # Of whole numbers that a float cannot tell apart two would be one class.
    if found is None or (has_large(found) and _only_name(whole)):
        return None
    numbers = np.full(len(cells), np.nan)
    numbers[~np.asarray(_each(is_hole, cells), bool)] = found
    return numbers


def _only_name(cells: Sequence) -> bool:
    """Whether all are whole numbers, some of which a float cannot tell apart from others."""
    texts = [str(cell).strip().lstrip("+-") for cell in cells]
    return any(len(text) > 15 and text.isdigit() and int(text) >= 2**53 for text in texts) and all(
        map(str.isdigit, texts)
    )


def _whole(cells: Sequence) -> list:
    """The cells that hold something."""
    return [cell for cell, hole in zip(cells, _each(is_hole, cells), strict=True) if not hole]


def _each(function: Callable[[Any], Any], cells: Sequence) -> list:
    """A function of each cell, asked of text once for all cells that say the same."""
    if {*map(type, cells)} <= {str, type(None)}:
        known = {cell: function(cell) for cell in dict.fromkeys(cells)}
        return [known[cell] for cell in cells]
    return [function(cell) for cell in cells]


def _has_codes(cells: Sequence) -> bool:
    return any(_each(lambda cell: isinstance(cell, str) and _CODE.fullmatch(cell.strip()), cells))


def _is_nothing(cell: object) -> bool:
    return not cell.strip() if isinstance(cell, str) else is_hole(cell)


def as_it_is(cells: Sequence, rows: Rows, name: str, bad: BadRows) -> np.ndarray:
    numbers = _each(lambda cell: bad.decimals.value(str(cell).strip()), _whole(cells))
    good = all(number is not None and abs(number) < np.inf for number in numbers)
    return typed(cells, rows, name, bad) if good else as_text(cells)


def as_text(cells: Iterable) -> np.ndarray:
    """Cells as text, None where there is a hole."""
    found = _each(lambda cell: None if is_hole(cell) else str(cell).strip(), [*cells])
    return np.asarray(found, object)


def typed(cells: Sequence, rows: Rows, name: str, bad: BadRows) -> np.ndarray:
    quick = _all_numbers(cells, bad.decimals)
    if quick is not None and not has_large(quick):
        return quick
    whole = _whole(cells)
    if _only_name(whole):
        return as_text(cells)
    if quick is not None:
        return quick
    yes_and_no = _yes_and_no(cells)
    if yes_and_no is not None:
        return yes_and_no
    good = sum(_each(lambda cell: bad.decimals.value(str(cell).strip()) is not None, whole))
    if good < len(whole) and _has_codes(whole):
        return as_text(cells)
    if good * 2 > len(whole) or not whole:
        return as_numbers(cells, rows, name, bad)
    return as_text(cells)


def looks_like_dates(column: np.ndarray) -> bool:
    """Whether a column of text is one of dates or times."""
    whole = [cell for cell in column[:1000] if cell is not None]
    return bool(whole) and all(map(is_date, whole))
