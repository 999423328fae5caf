"""The sign before the fractions of a file's numbers: a point, a comma, or whichever there is."""

import re
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from pullback._names import shown
from pullback.data._blocks import as_floats, pc
from pullback.data._csv import DECIMAL_COMMA, is_rounded, to_number

_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(?:,\d{3})+")
_POINT_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}\.\d{3}")

SAY = "`decimal=','` (on the command line --decimal ',')"


def check_decimal(decimal: str | None) -> None:
    """Raise for what is no such sign."""
    if decimal not in (None, ".", ","):
        raise ValueError(f"`decimal` must be '.', ',' or None, got {decimal!r}.")


class Decimals:
    """How the numbers of a file are written, of which the columns are seen as they are read.

    `sign` is "." or ","; None where the file is to show it: a column may have points or commas, not
    both, and there must be a comma in the file that is none of thousands.
    """

    def __init__(self, sign: str | None = ".") -> None:
        self.sign = sign
        self._points: dict[str, tuple[int, str]] = {}
        self._fractions: set[str] = set()  # columns with points that are none of thousands
        self._commas: dict[str, tuple[int, str]] = {}
        self._thousands: dict[str, tuple[int, str]] = {}  # as they may be

    def value(self, text: str) -> float | None:
        """The number in a cell, or None."""
        found = to_number(text)
        if found is not None:
            return None if (self.sign == "," and "." in text) or is_rounded(text) else found
        if self.sign != "." and DECIMAL_COMMA.fullmatch(text):
            return float(text.replace(",", "."))
        return None

    def number(self, column: str, row: int, text: str) -> float | None:
        """As `value`, and the cell is held against the others of its column."""
        found = self.value(text)
        if self.sign is None and found is not None:
            self._see(column, row, text)
        return found

    def floats(
        self, column: str, rows: Int[np.ndarray, " rows"], texts: Any
    ) -> Float[np.ndarray, " rows"] | None:
        """As `as_floats`, of text."""
        if self.sign == ".":
            return as_floats(texts)
        points, commas = (pc.match_substring(texts, sign) for sign in ".,")
        has_points, has_commas = (bool(pc.any(found).as_py()) for found in (points, commas))
        if has_points and (has_commas or self.sign == ","):
            return None
        found = as_floats(pc.replace_substring(texts, ",", ".")) if has_commas else as_floats(texts)
        if found is not None and self.sign is None:
            if has_points:
                grouped = pc.match_substring_regex(texts, rf"^\s*{_POINT_THOUSANDS.pattern}\s*$")
                self._see_first(column, rows, texts, points)
                self._see_first(column, rows, texts, pc.and_not(points, grouped))
            if has_commas:
                thousands = pc.match_substring_regex(texts, rf"^\s*{_THOUSANDS.pattern}\s*$")
                self._see_first(column, rows, texts, thousands)
                self._see_first(column, rows, texts, pc.and_not(commas, thousands))
        return found

    def has_points(self, column: str) -> bool:
        """Whether a point before a fraction was seen in this column."""
        return column in self._fractions

    def problem(self, word: str) -> tuple[int, str] | None:
        """What is not clear, and the row that shows it."""
        commas = {**self._thousands, **self._commas}
        by_row = sorted((row, column, text) for column, (row, text) in commas.items())
        for row, column, text in by_row:
            if column in self._points:
                other, with_point = self._points[column]
                return row, (
                    f"column {shown(column)} has {shown(text)} on {word} {row} and "
                    f"{shown(with_point)} on {word} {other}; write all its fractions with one "
                    "sign, and thousands with none."
                )
        if not commas:
            return None
        if self._commas:
            _, column, text = min((row, name, at) for name, (row, at) in self._commas.items())
            points = sorted((row, name, at) for name, (row, at) in self._points.items())
            grouped = next((each for each in points if each[1] not in self._fractions), None)
            if grouped is None:
                return None
            row, name, with_point = grouped
            return row, (
                f"{shown(with_point)} in column {shown(name)} on {word} {row} may be "
                f"{with_point.replace('.', '')} or {with_point.replace('.', ',')}, for column "
                f"{shown(column)} has decimal commas, such as {shown(text)}; write thousands "
                "without a sign, and all fractions with one."
            )
        row, column, text = by_row[0]
        bare = text.replace(",", "")
        return row, (
            f"{shown(text)} in column {shown(column)} on {word} {row} may be "
            f"{text.replace(',', '.')} or {bare}; say {SAY} if the comma stands before a fraction, "
            "and else write thousands without a sign."
        )

    def _see(self, column: str, row: int, text: str) -> None:
        if "," in text:
            seen = self._thousands if _THOUSANDS.fullmatch(text) else self._commas
            seen.setdefault(column, (row, text))
        elif "." in text:
            self._points.setdefault(column, (row, text))
            if not _POINT_THOUSANDS.fullmatch(text):
                self._fractions.add(column)

    def _see_first(self, column: str, rows: np.ndarray, texts: Any, which: Any) -> None:
        place = pc.index(which, True).as_py()
        if place >= 0:
            self._see(column, int(rows[place]), texts[place].as_py().strip())
