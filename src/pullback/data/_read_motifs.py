"""What proteins bind, from files of JASPAR and of MEME."""

import math
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from pullback._names import listed, shown
from pullback.data._csv import open_text, to_number
from pullback.data._errors import DataError
from pullback.data._sequences import Motif

_LETTERS = "ACGT"
_WIDTH = re.compile(r"\bw=\s*0*(\d+)")
_LETTER_ROW = re.compile(r"([A-Za-z])[\s:|]*\[?([^\[\]]*)\]?")


class _Line(NamedTuple):
    number: int
    text: str


def read_motifs(path: str | os.PathLike[str]) -> tuple[Motif, ...]:
    """Read motifs: how often each letter stands at each place of what a protein binds.

    Biopython's parsers round the probabilities of MEME and pass over lines that they cannot read;
    this one keeps them as they are, and says which line is none.

    Args:
        path: a file of JASPAR, `>identifier name` and a row for each letter, `A [4 19 0]`; or as
            many tools write them, a row for each place and a column for each of A, C, G and T,
            below such a header; or of MEME's minimal format. Gzipped or not.

    Returns:
        The motifs in the order of the file.

    Raises:
        DataError: the file cannot be read, holds no motif, or a line is none of a motif; the
            message has the line.

    Example:
        >>> import pathlib, tempfile
        >>> file = pathlib.Path(tempfile.mkdtemp()) / "my.jaspar"
        >>> _ = file.write_text(">MA0004.1 Arnt\\nA [4 19]\\nC [16 0]\\nG [0 1]\\nT [0 0]\\n")
        >>> (motif,) = read_motifs(file)
        >>> motif.name, motif.counts.tolist()
        ('Arnt', [[4.0, 16.0, 0.0, 0.0], [19.0, 0.0, 1.0, 0.0]])

    Source: Castro-Mondragon et al., JASPAR 2022, Nucleic Acids Research 50; Bailey et al., The MEME
        Suite, Nucleic Acids Research 43.
    """
    path = Path(path)
    with open_text(path) as file:
        lines = [_Line(number, line.strip()) for number, line in enumerate(file, 1)]
    lines = [line for line in lines if line.text and not line.text.startswith("#")]
    if any(line.text.startswith("MEME version") for line in lines):
        found = _meme(path, lines)
    else:
        found = _jaspar(path, lines)
    if not found:
        raise DataError(path, "expected motifs, each below a header such as >MA0004.1 Arnt.")
    return tuple(found)


def _jaspar(path: Path, lines: Sequence[_Line]) -> list[Motif]:
    heads = [place for place, line in enumerate(lines) if line.text.startswith(">")]
    if not lines:
        return []
    if not heads or heads[0] > 0:
        raise DataError(
            path,
            f"expected a header such as >MA0004.1 Arnt, got {shown(lines[0].text)}.",
            line=lines[0].number,
        )
    found = []
    for start, end in zip(heads, [*heads[1:], len(lines)], strict=True):
        head, rows = lines[start], lines[start + 1 : end]
        if not rows:
            raise DataError(path, "a motif has no rows below its header.", line=head.number)
        words = head.text[1:].split(maxsplit=1) or [str(len(found) + 1)]
        counts, alphabet = _counts(path, rows)
        found.append(Motif(words[0], words[-1], counts, alphabet))
    return found


def _counts(path: Path, rows: Sequence[_Line]) -> tuple[Float[np.ndarray, "width letters"], str]:
    """Counts below a header, a row a place, whichever way they are written."""
    if not rows[0].text[0].isalpha():
        table = _table(path, [(row, row.text) for row in rows])
        if len(table) == 4 == table.shape[1]:
            raise DataError(
                path,
                "four rows of four numbers may be letters or places; begin each row with its "
                "letter, as in A [4 19 0 0].",
                line=rows[0].number,
            )
        if table.shape[1] != 4 and len(table) == 4:
            table = table.T
        if table.shape[1] != 4:
            raise DataError(
                path,
                f"expected 4 numbers in each row, of A, C, G and T; got {table.shape[1]}.",
                line=rows[0].number,
            )
        return _checked(path, table, rows[0].number), _LETTERS
    letters, cells = "", []
    for row in rows:
        match = _LETTER_ROW.fullmatch(row.text)
        if match is None:
            raise DataError(
                path, f"expected a row such as A [4 19 0], got {shown(row.text)}.", line=row.number
            )
        letters += match[1].upper()
        cells.append((row, match[2]))
    if sorted(letters) not in (sorted("ACGT"), sorted("ACGU")):
        raise DataError(
            path,
            f"expected a row for each of A, C, G and T; got {listed([letters])}.",
            line=rows[0].number,
        )
    alphabet = "ACGU" if "U" in letters else _LETTERS
    table = _table(path, cells)[[letters.index(letter) for letter in alphabet]].T
    return _checked(path, table, rows[0].number), alphabet


def _meme(path: Path, lines: Sequence[_Line]) -> list[Motif]:
    alphabet, found, place = _LETTERS, [], 0
    name: tuple[str, str] | None = None
    while place < len(lines):
        number, text = lines[place]
        place += 1
        if text.startswith("ALPHABET"):
            alphabet = text.partition("=")[2].strip()
            if not alphabet.isalpha():
                raise DataError(
                    path,
                    f"expected an alphabet as in ALPHABET= ACGT, got {shown(text)}.",
                    line=number,
                )
        elif text.startswith("MOTIF"):
            words = text.split()[1:] or [str(len(found) + 1)]
            name = words[0], words[1] if len(words) > 1 else words[0]
        elif text.startswith("letter-probability matrix"):
            if name is None:
                raise DataError(path, "expected MOTIF and a name before the matrix.", line=number)
            start, stated = place, _WIDTH.search(text)
            while place < len(lines) and to_number(lines[place].text.split()[0]) is not None:
                place += 1
            rows = lines[start:place]
            if not rows or (stated is not None and stated[1] != str(len(rows))):
                wanted = (
                    "rows" if stated is None else "{0} rows, w= {0}".format(listed([stated[1]]))
                )
                raise DataError(path, f"expected {wanted}; got {len(rows)}.", line=number)
            table = _table(path, [(row, row.text) for row in rows])
            if table.shape[1] != len(alphabet):
                raise DataError(
                    path,
                    f"expected {len(alphabet)} numbers in each row, of {listed([alphabet])}; got "
                    f"{table.shape[1]}.",
                    line=rows[0].number,
                )
            found.append(Motif(*name, _checked(path, table, rows[0].number), alphabet))
            name = None
    return found


def _table(path: Path, rows: Sequence[tuple[_Line, str]]) -> Float[np.ndarray, "rows columns"]:
    found = []
    for line, text in rows:
        cells = text.replace(",", " ").split()
        values = [to_number(cell) for cell in cells]
        usable = [value is not None and math.isfinite(value) for value in values]
        bad = next((c for c, good in zip(cells, usable, strict=True) if not good), None)
        if bad is not None or not cells:
            got = shown(bad) if cells else "none"
            raise DataError(
                path, f"expected numbers in a row of counts; got {got}.", line=line.number
            )
        if found and len(values) != len(found[0]):
            raise DataError(
                path,
                f"expected {len(found[0])} numbers, as in the row before; got {len(values)}.",
                line=line.number,
            )
        found.append(values)
    return np.asarray(found, np.float64)


def _checked(
    path: Path, counts: Float[np.ndarray, "width letters"], line: int
) -> Float[np.ndarray, "width letters"]:
    """Counts that are none below zero, with something at each place."""
    if (counts < 0).any():
        raise DataError(
            path, f"expected counts of 0 or more; the motif here has {counts.min():g}.", line=line
        )
    empty = np.flatnonzero(counts.sum(1) == 0)
    if len(empty):
        raise DataError(path, f"place {empty[0] + 1} of the motif here has no counts.", line=line)
    return counts
