"""Sequences of letters, motifs and molecules, as they are read."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Float

from pullback._names import check_several
from pullback.data._cells import BadRows
from pullback.data._take import places_of

_NONE: Mapping[int, str] = MappingProxyType({})
_SHOWN = 5


class Sequences(NamedTuple):
    """Sequences of letters, such as DNA, with a name each and where known a score each.

    Args:
        names: One a sequence; its number, from "1", where the file has none.
        letters: The sequences, in capital letters.
        scores: What was measured of each, in the file's unit; None where nothing was.
        source: Where they came from, for messages.
        rows: Of each the line of its file (of FASTA, its header's), or its number from 1 on where
            there are no lines; empty where there is no file.
        left_out: What was left out on request, by line, and why.
    """

    names: tuple[str, ...]
    letters: tuple[str, ...]
    scores: Float[np.ndarray, " sequences"] | None = None
    source: str = "the sequences"
    rows: tuple[int, ...] = ()
    left_out: Mapping[int, str] = _NONE

    def take(self, places: Sequence[int] | np.ndarray) -> "Sequences":
        """Some of them, by their places from 0, or where a mask is true.

        Raises:
            TypeError: `places` are no whole numbers and no mask.
            ValueError: the mask is not one of them each.
            IndexError: there is no such place.
        """
        at = places_of(places, len(self.letters))
        scores = None if self.scores is None else self.scores[at]
        return self._replace(
            names=_taken(self.names, at),
            letters=_taken(self.letters, at),
            scores=scores,
            rows=_taken(self.rows, at),
        )

    def describe_left_out(self) -> str:
        """A sentence on what was left out, or nothing."""
        return _describe(self.left_out, len(self.letters), "sequences", self.source)


class Motif(NamedTuple):
    """What a protein binds, as counts of letters at each place.

    Args:
        identifier: "MA0058.1" for example.
        name: Of the protein.
        counts: A row a place, a column a letter of `alphabet`; probabilities count as well.
        alphabet: The letters of the columns.
    """

    identifier: str
    name: str
    counts: Float[np.ndarray, "width letters"]
    alphabet: str = "ACGT"


class Molecules(NamedTuple):
    """Molecules as canonical SMILES, with a name each and what was measured of them.

    Args:
        names: One a molecule; its number, from "1", where the file has none.
        smiles: Canonical, by RDKit.
        properties: By name, a number for each molecule, NaN where it was not measured.
        source: Where they came from, for messages.
        rows: Of each the line of its file, or its number from 1 on where there are no lines; empty
            where there is no file.
        left_out: What was left out on request, by line, and why.
    """

    names: tuple[str, ...]
    smiles: tuple[str, ...]
    properties: dict[str, Float[np.ndarray, " molecules"]]
    source: str = "the molecules"
    rows: tuple[int, ...] = ()
    left_out: Mapping[int, str] = _NONE

    def take(self, places: Sequence[int] | np.ndarray) -> "Molecules":
        """Some of them, by their places from 0, or where a mask is true.

        Raises:
            TypeError: `places` are no whole numbers and no mask.
            ValueError: the mask is not one of them each.
            IndexError: there is no such place.
        """
        at = places_of(places, len(self.smiles))
        return self._replace(
            names=_taken(self.names, at),
            smiles=_taken(self.smiles, at),
            properties={name: values[at] for name, values in self.properties.items()},
            rows=_taken(self.rows, at),
        )

    def describe_left_out(self) -> str:
        """A sentence on what was left out, or nothing."""
        return _describe(self.left_out, len(self.smiles), "molecules", self.source)


Strings: TypeAlias = Sequence[str] | Sequences | Molecules


def strings_of(strings: Strings, argument: str = "strings") -> tuple[str, ...]:
    """The strings themselves, of which there is at least one."""
    if isinstance(strings, str):
        raise TypeError(f"`{argument}` must be several strings, got one; write [{strings[:20]!r}].")
    if isinstance(strings, Sequences):
        found = strings.letters
    else:
        check_several(argument, strings, "several strings")
        found = strings.smiles if isinstance(strings, Molecules) else tuple(strings)
    for place, string in enumerate(found):
        if not isinstance(string, str):
            kind = type(string).__name__
            raise TypeError(f"`{argument}` must be strings; number {place + 1} is of type {kind}.")
    if not found:
        raise ValueError(f"`{argument}` must hold at least one string, got none.")
    return found


def refuse(strings: Strings, problems: Mapping[int, str], argument: str = "strings") -> None:
    """Raise where strings have problems, told by their places from 0, with file and line."""
    record = isinstance(strings, Sequences | Molecules)
    source = strings.source if record else f"`{argument}`"
    rows = strings.rows if record else ()
    bad = BadRows(Path(source), word_of(source) if rows else "string")
    for place, problem in problems.items():
        bad.add(rows[place] if rows else place + 1, problem)
    bad.check()


def word_of(source: str | Path) -> str:
    """What the rows of a file, or of "the DataFrame", are counted in."""
    table = Path(source).suffix.lower() in (".parquet", ".pq") or str(source).startswith("the ")
    return "row" if table else "line"


def _taken(values: tuple, at: np.ndarray) -> tuple:
    return tuple(values[place] for place in at.tolist()) if values else values


def _describe(left_out: Mapping[int, str], kept: int, what: str, source: str) -> str:
    if not left_out:
        return ""
    word = word_of(source).capitalize()
    first = " ".join(f"{word} {row}: {why}" for row, why in list(left_out.items())[:_SHOWN])
    cut = f"; the first {_SHOWN} are" if len(left_out) > _SHOWN else ""
    end = ":" if cut else "."
    return f"{len(left_out)} of {kept + len(left_out)} {what} were left out{cut}{end} {first}"
