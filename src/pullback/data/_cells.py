"""The cells of a long file: numbers, names and units, and the rows that cannot be used."""

import math
import re
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from pullback._names import listed, shown
from pullback.data._blocks import has_large
from pullback.data._csv import DECIMAL_COMMA, is_rounded, to_number
from pullback.data._decimals import SAY, Decimals
from pullback.data._errors import DataError
from pullback.data._holes import is_missing

_SHOWN, _ENOUGH = 20, 1000
_ALIKE = 4  # rows with the same problem that are told in one line
# More bad cells of a column are a fault of the column and not of rows; of one without numbers, 2.
_ENOUGH_OF_ONE = 20
_DATE = re.compile(r"\d{1,4}[/.-]\d{1,2}[/.-]\d{1,4}.*|\d{1,2}:\d{2}.*|[A-Za-z]{3,9} \d{1,2},? .*")
# Of groups of three figures with one sign between them, and maybe another before a fraction.
_GROUPS = re.compile(
    r"[+-]?[1-9]\d{0,2}([., '\u00a0\u2009\u202f])\d{3}(?:\1\d{3})*(?:(?!\1)[.,]\d+)?"
)
_UNIT = re.compile(r"(.*?)\s*\[([^\[\]]*)\]")


class BadRows:
    """Rows that cannot be used, gathered for one message.

    `remedy` says what to do about columns that are no columns of numbers; `decimal` is the sign
    before fractions, None for whichever the file shows.
    """

    def __init__(
        self,
        path: Path,
        word: str,
        remedy: Callable[[Sequence[str]], str] = lambda columns: "",
        *,
        decimal: str | None = ".",
    ) -> None:
        self.path, self.word, self.remedy = path, word, remedy
        self.decimals = Decimals(decimal)
        self.problems: dict[int, str] = {}
        self.cells: dict[str, dict[int, str]] = {}
        self.with_numbers: set[str] = set()
        self._title = False  # whether the first line may be none of names, as it has one cell
        self._widths: list[tuple[int, str]] = []  # cells too many, and the last one

    def add(self, place: int, problem: str) -> None:
        self.problems.setdefault(place, problem)

    def replace(self, column: str, place: int, problem: str) -> None:
        """As `add`, in the place of what was told of this column's cell."""
        if self.cells.get(column, {}).pop(place, None) is not None:
            del self.problems[place]
        self.add(place, problem)

    def width(self, place: int, expected: int, cells: Sequence[str]) -> None:
        """A row with a cell too many or too few."""
        self._title = expected == 1
        self._widths.append((len(cells) - expected, cells[-1].strip()))
        self.add(place, f"expected {expected} cells, got {len(cells)}.")

    def no_number(self, column: str, place: int, cell: object) -> None:
        """A cell that should have been a number."""
        text = text_of(cell)
        if text:
            self.cells.setdefault(column, {})[place] = text
        if self.decimals.sign == "," and to_number(text) is not None and "." in text:
            advice = f"; write {text.replace('.', ',')}, for the decimal sign is said to be a comma"
        else:
            advice = _kind([text])[1] if text else ""
        self.add(place, f"expected a number in column {shown(column)}; {_got(cell)}{advice}.")

    def check(self, *, at_end: bool = True) -> None:
        """Raise if there is one; before the end of the file, if there are enough of them."""
        count = len(self.problems)
        if at_end and not count and (unclear := self.decimals.problem(self.word)):
            line = unclear[0] if self.word == "line" else None
            raise DataError(self.path, unclear[1], line=line)
        if not count or (not at_end and count < _ENOUGH):
            return
        self._check_columns("" if at_end else " or more")
        told = self._told()
        more = "" if at_end else " or more, where reading stopped"
        cut = f"; the first {_SHOWN} are" if len(told) > _SHOWN else ""
        rows = "row" if count == 1 else "rows"
        lines = "".join(told[:_SHOWN])
        advice = self._advice()
        error = DataError(self.path, f"{count} bad {rows}{more}{cut}:{lines}{advice}")
        error.line = min(self.problems) if self.word == "line" else None
        raise error

    def _advice(self) -> str:
        """What may be the matter where all rows have the same fault."""
        if not self._widths and {*self.problems} == {*chain(*self.cells.values())}:
            return "\nWrite numbers there, or take rows that are none of numbers out of the file."
        if len(self._widths) < len(self.problems):
            return ""
        if self._title and len({many for many, _ in self._widths}) == 1:
            title = "If the first line is a title or a comment, take it out of the file. "
        else:
            title = ""
        if {many for many, _ in self._widths} != {1}:
            return f"\n{title}".rstrip()
        if not any(last for _, last in self._widths):
            return (
                "\nThe last is empty: take the sign at the lines' ends away, or put one behind the "
                "header too."
            )
        return (
            f"\n{title}If the first is an index, give it a name in the header, or write the file "
            f"without it; if a comma stands before fractions, say {SAY}."
        )

    def _told(self) -> list[str]:
        """A line for each problem, with its row; for rows that have the same one, of all such."""
        alike: dict[str, list[int]] = {}
        for place in sorted(self.problems):
            alike.setdefault(self.problems[place], []).append(place)
        found = []
        for problem, places in alike.items():
            if len(places) < _ALIKE:
                found += [(place, f"{self.word} {place}: {problem}") for place in places]
                continue
            first = ", ".join(map(str, places[: _ALIKE - 1]))
            rest = len(places) - _ALIKE + 1
            last = f"{rest} more" if rest > 1 else str(places[-1])
            found.append((places[0], f"{self.word}s {first} and {last}: {problem}"))
        return [f"\n  {line}" for _, line in sorted(found)]

    def _check_columns(self, more: str) -> None:
        """A column that is none of numbers is one problem, and not one for each of its rows."""
        most = {name: _ENOUGH_OF_ONE if name in self.with_numbers else 1 for name in self.cells}
        worst = [name for name in self.cells if len(self.cells[name]) > most[name]]
        if not worst:
            return
        told = []
        for name in worst[:_SHOWN]:
            cells = self.cells[name]
            first = {text: place for place, text in reversed(cells.items())}
            few = sorted(first.items(), key=lambda item: item[1])[:3]
            such = " and ".join(f"{shown(text)} on {self.word} {place}" for text, place in few)
            kind, advice = _kind(list(cells.values()))
            told.append(
                f"column {shown(name)} has {len(cells)}{more} {kind}, such as {such}{advice}."
            )
        if len(worst) > _SHOWN:
            told.append(f"So have {len(worst) - _SHOWN} other columns.")
        error = DataError(self.path, " ".join([*told, self.remedy(worst)]).strip())
        error.line = min(self.cells[worst[0]]) if self.word == "line" else None
        raise error


def _kind(texts: Sequence[str]) -> tuple[str, str]:
    """What cells are that are no numbers, and how they become some."""
    if all(map(is_rounded, texts)):
        return "whole numbers beyond 2^53", (
            "; float64 would round it: leave the column out if it names the rows, and write 1.0 "
            "for 1 where it is measured"
        )
    commas = all(map(DECIMAL_COMMA.fullmatch, texts))
    if all(map(_GROUPS.fullmatch, texts)):
        advice = f"; write 1234 for 1,234, or say {SAY} if that is 1.234"
        return "numbers with signs between thousands", (
            advice if commas else "; write 1234.5 for 1,234.5"
        )
    if commas:
        return "numbers with a decimal comma", f"; write 1.5 for 1,5, or say {SAY}"
    if all(map(_DATE.fullmatch, texts)):
        return "dates", "; as numbers they would be, say, days from the first"
    return "cells that are no numbers", ""


def text_of(cell: object) -> str:
    """What is written in a cell; "" where it holds nothing."""
    return "" if is_missing(cell) else str(cell).strip()


def is_date(text: str) -> bool:
    """Whether a cell looks like a date or a time of day."""
    return _DATE.fullmatch(text) is not None


def split_unit(name: str) -> tuple[str, str]:
    """ "name [unit]" in its two parts; the unit is "" where there is none."""
    match = _UNIT.fullmatch(name.strip())
    return (match[1], match[2].strip()) if match else (name.strip(), "")


def numbers(
    cells: Sequence, places: Sequence[int], column: str, bad: BadRows
) -> Float[np.ndarray, " n"]:
    """The cells as finite float64; NaN, and a bad row, where one is not."""
    try:
        found = np.array(list(map(float, cells)), np.float64)
    except (TypeError, ValueError):
        found = None
    # Python takes 1_000 for a number, so the quick way must not meet an underscore.
    if found is not None and np.isfinite(found).all() and not has_large(found):
        text = "".join(cells) if isinstance(cells[0], str) else ""
        if not ("_" in text or ("." in text and bad.decimals.sign != ".")):
            bad.with_numbers.add(column)
            return found
    found = np.full(len(cells), np.nan)
    for row, (cell, place) in enumerate(zip(cells, places, strict=True)):
        value = bad.decimals.number(column, place, text_of(cell))
        if value is not None and math.isfinite(value):
            found[row] = value
            bad.with_numbers.add(column)
        else:
            bad.no_number(column, place, cell)
    return found


class Names:
    """Names in the order in which they first come, with the code of each cell seen."""

    def __init__(self, column: str) -> None:
        self.column = column
        self.names: dict[str, int] = {}
        self._codes: dict = {}

    def codes(self, cells: Sequence, places: Sequence[int], bad: BadRows) -> Int[np.ndarray, " n"]:
        """The code of each cell; -1, and a bad row, where it is empty."""
        which: dict = {}
        index = [which.setdefault(cell, len(which)) for cell in cells]
        return self.coded(list(which), np.asarray(index, np.int64), places, bad)

    def coded(
        self,
        cells: Sequence,
        index: Int[np.ndarray, " n"],
        places: Sequence[int] | Int[np.ndarray, " n"],
        bad: BadRows,
    ) -> Int[np.ndarray, " n"]:
        """As `codes`, of different cells and which of them each row has."""
        for cell in cells:
            if cell not in self._codes:
                name = text_of(cell)
                self._codes[cell] = self.names.setdefault(name, len(self.names)) if name else -1
        found = np.asarray([self._codes[cell] for cell in cells], np.int64)[index]
        for row in np.flatnonzero(found < 0).tolist():
            bad.add(int(places[row]), f"the cell in column {shown(self.column)} is empty.")
        return found


class Variables:
    """Variables, with the one unit of each, and how each was first written."""

    def __init__(self, column: str, unit: str) -> None:
        self.column, self.unit = column, unit
        self.units: dict[str, str] = {}
        self.written: list[str] = []
        self._known: dict[tuple, int | str] = {}
        self._places: dict[str, int] = {}
        self._codes: dict[str, int] = {}

    def coded(
        self,
        cells: Sequence,
        index: Int[np.ndarray, " n"],
        units: Sequence,
        beside: Int[np.ndarray, " n"],
        places: Int[np.ndarray, " n"],
        bad: BadRows,
    ) -> Int[np.ndarray, " n"]:
        """The code of each row's variable; -1, and a bad row, where it is empty or in another unit.

        Args:
            cells: different ones.
            index: which of them each row has.
            units: different cells of units.
            beside: which of them each row has.
            places: the numbers of the rows.
            bad: where it is told.
        """
        pairs, index = np.unique(index * len(units) + beside, return_inverse=True)
        first = np.zeros(len(pairs), np.int64)
        first[index[::-1]] = np.arange(len(index))[::-1]
        known: list[int | str] = [-1] * len(pairs)
        for at in np.argsort(first).tolist():
            pair = cells[pairs[at] // len(units)], units[pairs[at] % len(units)]
            if pair not in self._known:
                self._known[pair] = self._learn(*pair, int(places[first[at]]), bad.word)
            known[at] = self._known[pair]
        codes = [code if isinstance(code, int) else -1 for code in known]
        found = np.asarray(codes, np.int64)[index]
        for row in np.flatnonzero(found < 0).tolist():
            bad.add(int(places[row]), str(known[index[row]]))
        return found

    def _learn(self, cell: object, beside: object, place: int, word: str) -> int | str:
        name, inside = split_unit(text_of(cell))
        if not name:
            return f"the cell in column {shown(self.column)} is empty."
        stated = {inside, text_of(beside)} - {""}
        if len(stated) > 1:
            return f"the variable {shown(cell)} stands beside another unit, {shown(beside)}."
        unit = stated.pop() if stated else self.unit
        if name not in self.units:
            self._codes[name] = len(self.units)
            self.units[name], self._places[name] = unit, place
            self.written.append(str(cell).strip())
        if self.units[name] != unit:
            return (
                f"the variable {shown(name)} is in {listed([unit or 'no unit'])} here and in "
                f"{listed([self.units[name] or 'no unit'])} on {word} {self._places[name]}."
            )
        return self._codes[name]


def _got(cell: object) -> str:
    text = text_of(cell)
    return f"got {shown(text)}" if text else "the cell is empty"
