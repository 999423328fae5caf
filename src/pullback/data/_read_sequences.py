"""Sequences of letters from files of a user's own, and FASTA files of them."""

import gzip
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pullback._extras import extra
from pullback._files import atomic_write
from pullback._names import shown
from pullback.data._cells import BadRows, Names, text_of
from pullback.data._csv import open_text, to_number
from pullback.data._errors import DataError
from pullback.data._holes import is_hole
from pullback.data._letters import check_alphabet, check_choice, foreign
from pullback.data._roles import check_apart, needed_place, place_of
from pullback.data._sequences import Sequences, Strings, strings_of
from pullback.data._sources import Source, frame_source, is_data_frame, open_source
from pullback.data._typed_cells import as_numbers

_USUAL = {
    "sequence": "sequence seq sequences seqs dna rna letters probe probe_sequence promoter insert",
    "score": "score scores signal intensity value y target activity expression measured affinity",
    "name": "name names id identifier seq_id sequence_id probe_id accession label",
}
_WIDTH = 60
_LAST = "last"


def read_sequences(
    path: Any,
    *,
    sequence: str | None = None,
    score: str | None = None,
    name: str | None = None,
    ambiguous: str = "error",
    alphabet: str = "ACGT",
    decimal: str | None = None,
) -> Sequences:
    """Read sequences of letters, with a name each and where known a score each.

    Args:
        path: a FASTA file, gzipped or not; a CSV file in UTF-8 with a header; a Parquet file,
            `.parquet` or `.pq`; or a data frame of pandas or polars.
        sequence: the column of sequences; None takes the one with a usual name.
        score: the column of what was measured; None takes the one with a usual name, if there is
            one; "" takes none. Of a FASTA file, the NAME of `NAME=number` in the headers; None
            takes "score", or another usual name; "last" takes the last word of the header. An empty
            cell, NA and the like, and a header without the name where others have it, is NaN: not
            measured.
        name: the column of names; None takes the one with a usual name, if there is one; "" takes
            none, and numbers them. A FASTA file's names are the first words of its headers.
        ambiguous: of letters that stand for several of those of DNA or RNA, such as N for any:
            "error" refuses the file; "drop" leaves those sequences out; "average" keeps them, for
            `one_hot(..., ambiguous="average")`.
        alphabet: the letters that a sequence may have.
        decimal: the sign before the fractions of a CSV file, "." or ",", as for `read_table`.

    Returns:
        The sequences in the order of the file, in capital letters, without spaces. They may be of
        different lengths.

    Raises:
        ValueError: `ambiguous` or `alphabet` is not as above.
        TypeError: `path` is neither a path nor a data frame.
        ImportError: a FASTA file is read and Biopython is not installed; the message says how.
        DataError: the file cannot be read, or has no sequences; a column is missing, or several
            have a usual name; nothing was measured in the column or under the name that is given;
            or there are bad rows: a letter outside of the alphabet, an empty sequence, a score that
            is no finite number. The message gives the first 20 lines (of FASTA the headers', of
            Parquet the rows, from 1), their count, and what to do.

    Example:
        >>> import pathlib, tempfile
        >>> file = pathlib.Path(tempfile.mkdtemp()) / "probes.csv"
        >>> _ = file.write_text("sequence,signal\\nGATTACA,1.5\\nGATNACA,0.5\\n")
        >>> found = read_sequences(file, ambiguous="drop")
        >>> found.letters, found.scores, found.describe_left_out()
        (('GATTACA',), array([1.5]),
         "1 of 2 sequences were left out. Line 3: letter 4 is 'N', which 'ACGT' has not.")
    """
    check_alphabet(alphabet)
    if alphabet != alphabet.upper():
        raise ValueError(f"`alphabet` must be capital letters; got {alphabet!r}.")
    check_choice("ambiguous", ambiguous, ("error", "drop", "average"))
    if is_data_frame(path):
        file = Path(f"the {type(path).__name__}")
        found = _table(frame_source(path), file, sequence, score, name)
    elif not isinstance(path, str | os.PathLike):
        raise TypeError(
            "sequences are read from the path of a file or from a data frame, got "
            f"{type(path).__name__}."
        )
    elif _is_fasta(Path(path)):
        found = _fasta(Path(path), sequence, score, name)
    else:
        source = open_source(Path(path), decimal=decimal)
        found = _table(source, Path(path), sequence, score, name)
    records, bad, scored = found
    kept, left_out = [], {}
    for row, called, letters, value in records:
        letters = "".join(letters.split()).upper()
        if not letters:
            bad.add(row, "the sequence is empty; take it out.")
            continue
        problem = foreign(letters, alphabet, ambiguous=ambiguous == "average")
        if problem and ambiguous == "drop" and not foreign(letters, alphabet, ambiguous=True):
            left_out[row] = problem.partition(" It stands")[0]
        elif problem:
            bad.add(row, problem)
        else:
            kept.append((row, called, letters, value))
    bad.check()
    if not kept:
        raise DataError(bad.path, "expected sequences; there is none that can be used.")
    rows, names, strings, values = zip(*kept, strict=True)
    scores = np.asarray(values, np.float64) if scored else None
    return Sequences(names, strings, scores, str(bad.path), rows, left_out)


def write_fasta(path: str | os.PathLike[str], sequences: Strings) -> None:
    """Write sequences as FASTA: a header `>name score=number`, then 60 letters a line.

    Args:
        path: appears whole or not at all; gzipped where its name ends in `.gz`.
        sequences: `Sequences`, whose scores, if there are any, are read back to the bit by
            `read_sequences`; or strings, whose names are their numbers from 1. Spaces in names
            become underscores, for a name in FASTA is one word; an empty name becomes the number.

    Raises:
        ValueError: there is none, or one is empty; there are not as many names or scores, or a
            score is infinite.

    Example:
        >>> import pathlib, tempfile
        >>> file = pathlib.Path(tempfile.mkdtemp()) / "designs.fasta"
        >>> write_fasta(file, ["GATTACA"])
        >>> print(file.read_text().strip())
        >1
        GATTACA
    """
    strings = strings_of(sequences, "sequences")
    numbered = [str(place + 1) for place in range(len(strings))]
    names, scores = numbered, None
    if isinstance(sequences, Sequences):
        scores = None if sequences.scores is None else np.asarray(sequences.scores, np.float64)
        _check_whole(len(strings), sequences.names, scores)
        written = ["_".join(name.split()) for name in sequences.names]
        names = [name or number for name, number in zip(written, numbered, strict=True)]
    lines = []
    for place, (name, string) in enumerate(zip(names, strings, strict=True)):
        if not string.strip():
            raise ValueError(f"`sequences` must have letters; number {place + 1} has none.")
        lines.append(f">{name}" if scores is None else f">{name} score={float(scores[place])!r}")
        lines += [string[start : start + _WIDTH] for start in range(0, len(string), _WIDTH)]
    text = ("\n".join(lines) + "\n").encode()
    with atomic_write(path) as file:
        # Without the time, so that the same sequences make the same file.
        file.write(gzip.compress(text, mtime=0) if Path(path).suffix.lower() == ".gz" else text)


def _check_whole(count: int, names: Sequence[str], scores: np.ndarray | None) -> None:
    """Raise for another number of names or of scores than of sequences, and for infinite scores."""
    if len(names) != count:
        raise ValueError(f"`sequences` must have a name for each of {count}; has {len(names)}.")
    if scores is None:
        return
    if scores.shape != (count,):
        raise ValueError(
            f"`sequences` must have a score for each of {count}; theirs have the shape "
            f"{scores.shape}."
        )
    if np.isinf(scores).any():
        place = int(np.flatnonzero(np.isinf(scores))[0])
        raise ValueError(
            f"`sequences` must have finite scores, or NaN where nothing was measured; that of "
            f"number {place + 1} is {scores[place]}."
        )


def _is_fasta(path: Path) -> bool:
    if path.suffix.lower() in (".parquet", ".pq", ".xlsx", ".xls", ".ods"):
        return False
    with open_text(path) as file:
        return next((line for line in file if line.strip()), "").lstrip().startswith(">")


def _fasta(path: Path, sequence: str | None, score: str | None, name: str | None) -> tuple:
    if sequence is not None or name:
        given = "sequence" if sequence is not None else "name"
        problem = f"is FASTA, which has no columns; leave out {given}=...."
        raise DataError(path, problem, role=given)
    parser = extra("Bio.SeqIO.FastaIO", "dna").SimpleFastaParser
    headers: list[int] = []

    def counted(file: Iterable[str]) -> Iterator[str]:
        for number, line in enumerate(file, 1):
            if line.startswith(">"):
                headers.append(number)
            yield line

    with open_text(path) as file:
        titled = list(parser(counted(file)))
    bad = BadRows(path, "line")
    titles = [title for title, _ in titled]
    values = None if score == "" else _header_scores(titles, headers, score, bad)
    records = []
    for place, (title, letters) in enumerate(titled):
        called = (title.split() or [str(place + 1)])[0]
        value = None if values is None else values[place]
        records.append((headers[place], called, letters, value))
    return records, bad, values is not None


def _header_scores(
    titles: list[str], lines: list[int], score: str | None, bad: BadRows
) -> list[float] | None:
    """What the headers say was measured; None where nothing was asked for, or found."""
    words = [title.replace("|", " ").replace(";", " ").split() for title in titles]
    key = ""
    if score == _LAST:
        cells = [each[-1] if each else "" for each in words]
    else:
        pairs = [_pairs(each) for each in words]
        key = _usual_key(pairs, bad.path) if score is None else score.lower()
        if not key:
            return None
        cells = [each.get(key, "") for each in pairs]
    if score is not None and all(map(is_hole, cells)):
        last = words and all(each and to_number(each[-1]) is not None for each in words)
        hint = " The last word of each is a number: score='last' takes it." if last else ""
        raise DataError(bad.path, f"no header has {score}=number, as in >name {score}=1.5.{hint}")
    what = f"as {key}=number in the header" if key else "as the header's last word"
    found = []
    for cell, line in zip(cells, lines, strict=True):
        value = np.nan if is_hole(cell) else to_number(cell)
        if value is None or np.isinf(value):
            bad.add(line, f"expected a number {what}; got {shown(cell)}.")
        found.append(np.nan if value is None else value)
    return found


def _pairs(words: list[str]) -> dict[str, str]:
    """The value of the first word that is `key=value`, by key in small letters."""
    found: dict[str, str] = {}
    for word in words:
        key, _, value = word.partition("=")
        if value:
            found.setdefault(key.lower(), value)
    return found


def _usual_key(pairs: list[dict[str, str]], path: Path) -> str:
    """The usual name of a score that headers have a number under; "score" before all others."""
    known = dict.fromkeys(key for each in pairs for key in each)
    if "score" in known:
        return "score"
    found = [key for key in known if key in _USUAL["score"].split() and _has_number(pairs, key)]
    if len(found) > 1:
        several = " and ".join(map(repr, found))
        raise DataError(path, f"{several} in the headers may each be the score; say score=....")
    return found[0] if found else ""


def _has_number(pairs: list[dict[str, str]], key: str) -> bool:
    return any(to_number(each[key]) is not None for each in pairs if key in each)


def _table(
    source: Source, path: Path, sequence: str | None, score: str | None, name: str | None
) -> tuple:
    places: dict[str, int | None] = {
        "sequence": needed_place(path, source.names, "sequence", sequence, _USUAL["sequence"]),
    }
    for role, wanted in (("score", score), ("name", name)):
        if wanted != "":
            places[role] = place_of(path, source.names, role, wanted, _USUAL[role])
    check_apart(path, source.names, places)
    chosen = {role: place for role, place in places.items() if place is not None}
    bad = BadRows(path, source.word, decimal=source.decimal)
    records, measured = [], []
    names = Names(source.names[chosen["name"]]) if "name" in chosen else None
    for rows, columns in source.chunks(list(chosen.values()), bad):
        cells = dict(zip(chosen, columns, strict=True))
        measured += cells.get("score", [None] * len(rows))
        called = range(len(records) + 1, len(records) + len(rows) + 1)
        if names is not None:
            names.codes(cells["name"], rows, bad)
            called = map(text_of, cells["name"])
        records += zip(rows, map(str, called), map(text_of, cells["sequence"]), strict=True)
        bad.check(at_end=False)
    if "score" in chosen:
        column = source.names[chosen["score"]]
        if score is not None and records and all(map(is_hole, measured)):
            raise DataError(path, f"nothing was measured: column {column!r} has no number.")
        measured = as_numbers(measured, [record[0] for record in records], column, bad).tolist()
    whole = [(*record, value) for record, value in zip(records, measured, strict=True)]
    return whole, bad, "score" in chosen
