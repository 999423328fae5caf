"""Sequences as a designer takes them: read, of one length, with scores that differ."""

import hashlib
import os
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from pullback.data import Sequences, is_data_frame, one_hot, read_sequences

from ._any_name import by_any_name
from ._held_out import split_strings

FASTA = ".fasta", ".fa", ".fna"
FEWEST, _SHORTEST = 20, 5  # sequences, and letters of one
_HELD_OUT, _JUDGED = 0.15, 60  # share that judges, of so many different sequences or more
_AMBIGUOUS = ("error", "drop", "average")


class Reading(NamedTuple):
    """How sequences are read: the arguments of `pullback.data.read_sequences`."""

    sequence: str | None
    score: str | None
    name: str | None
    ambiguous: str
    alphabet: str


class Asked(NamedTuple):
    """Sequences of which something is asked: all, rows of those that can be taken, and which."""

    sequences: Sequences
    x: Float[np.ndarray, "n length letters"]
    kept: Bool[np.ndarray, " rows"]


def read(X: Any, y: Any, how: Reading) -> Sequences:
    """Sequences of a path, a data frame, of strings or of `Sequences`.

    Args:
        X: a path, a data frame, strings, or `Sequences`.
        y: scores of the strings, NaN where none was measured; None: those that a file has.
        how: to read them.
    """
    if isinstance(X, str | os.PathLike) or is_data_frame(X):
        found = read_sequences(
            X, sequence=how.sequence, score=how.score, name=how.name, ambiguous=how.ambiguous,
            alphabet=how.alphabet,
        )  # fmt: skip
    else:
        found = X if isinstance(X, Sequences) else _of_strings(X)
    if y is None:
        return _kept(found, how)
    try:
        scores = np.asarray(y, np.float64)
    except (TypeError, ValueError):
        raise ValueError("`y` must be numbers, NaN where a sequence was not measured.") from None
    if scores.shape != (len(found.letters),):
        raise ValueError(
            f"`y` must have one score for each of {len(found.letters)} sequences, got the shape "
            f"{scores.shape}."
        )
    return _kept(found._replace(scores=scores), how)


def is_fasta_name(out: Path) -> bool:
    """Whether a file of this name is to be FASTA, gzipped or not."""
    return out.name.lower().removesuffix(".gz").endswith(FASTA)


def _of_strings(X: Any) -> Sequences:
    # The keys of a dict are not all there is, and a set has no order.
    if not isinstance(X, Iterable) or isinstance(X, Mapping | set):
        raise TypeError(
            f"sequences are strings, a data frame or the path of a file; got {type(X).__name__}."
        )
    letters = list(X)
    for place, each in enumerate(letters, 1):
        if not isinstance(each, str):
            raise TypeError(f"sequences must be strings; number {place} is {each!r}.")
    names = tuple(str(place) for place in range(1, len(letters) + 1))
    return Sequences(names, tuple(each.strip().upper() for each in letters))


def _kept(found: Sequences, how: Reading) -> Sequences:
    """Without those that have other letters, where they are to be dropped; a file has none then."""
    if how.ambiguous != "drop" or found.left_out:
        return found
    kept = np.array([set(each) <= set(how.alphabet) for each in found.letters], bool)
    if kept.all():
        return found
    why = f"it has letters that {how.alphabet} has not"
    left_out = {int(place) + 1: why for place in np.flatnonzero(~kept)}
    return found.take(kept)._replace(left_out=left_out)


def rows_of(found: Sequences, how: Reading) -> Float[np.ndarray, "n length letters"]:
    """Sequences as rows of zeros and ones.

    Raises:
        ValueError: there is none, the lengths differ, or there are letters that are not known; the
            message has the lines.
    """
    if not found.letters:
        raise ValueError(f"{found.source}: there is no sequence.")
    average = how.ambiguous == "average"
    return one_hot(found, how.alphabet, ambiguous="average" if average else "error")


def asked(X: Any, how: Reading) -> Asked:
    """Sequences to score: of a table no more is read than those and, where it can be, names.

    Of a model that was fitted without sequences that have other letters, such are said.
    """
    dropping = how.ambiguous == "drop"
    if isinstance(X, Sequences):  # What was left out before was no row of them.
        X = X._replace(left_out={})
    how = how._replace(score="", ambiguous="average" if dropping else how.ambiguous)
    try:
        found = by_any_name(lambda how: read(X, None, how), how)
        if not dropping:
            return Asked(found, rows_of(found, how), np.ones(len(found.letters), bool))
        kept = np.array([set(each) <= set(how.alphabet) for each in found.letters], bool)
        if not kept.all():
            rows = found.rows or tuple(range(1, len(kept) + 1))
            why = f"it has letters that {how.alphabet} has not"
            left = {rows[place]: why for place in np.flatnonzero(~kept).tolist()}
            said = found.take(kept)._replace(left_out=left).describe_left_out()
            said = f"{found.source}: {said}. Of such there are no numbers (NaN, in a file empty)."
            if not kept.any():
                raise ValueError(f"{said} Fit with ambiguous='average' to have them.")
            warnings.warn(said, stacklevel=3)
        return Asked(found, rows_of(found.take(kept), how), kept)
    except ValueError as error:
        if how.ambiguous != "error" or "ambiguous=" not in str(error):
            raise
        raise ValueError(
            f"{error} That is a setting of the fit: fit again with it, or take out what has such "
            "letters."
        ) from error


def check(found: Sequences) -> None:
    """Raise for what nothing can be learned from: too few, too short, or scores all the same."""
    count = len(found.letters)
    if count < FEWEST:
        raise ValueError(
            f"{found.source}: {count} sequences are too few to learn from; give {FEWEST} or more."
        )
    length = len(found.letters[0])
    if length < _SHORTEST:
        raise ValueError(
            f"{found.source}: sequences of {length} letters are too short; give {_SHORTEST} or "
            "more."
        )
    if found.scores is None:
        _check_different(found.letters, "sequences", found.source)
        return
    bad = np.flatnonzero(np.isinf(found.scores))
    if len(bad):
        raise ValueError(
            f"{found.source}: the score of sequence {found.names[bad[0]]} is no finite number; "
            "take it out, or give NaN where nothing was measured."
        )
    seen = np.isfinite(found.scores)
    measured = found.scores[seen]
    if len(measured) < FEWEST:
        raise ValueError(
            f"{found.source}: {len(measured)} sequences have a score, too few to learn from; give "
            f"{FEWEST} or more, or fit without scores."
        )
    if np.ptp(measured) == 0:
        raise ValueError(
            f"{found.source}: every score is {measured[0]:g}, which teaches nothing; give scores "
            "that differ, or fit without scores."
        )
    _check_different(found.take(seen).letters, "sequences with a score", found.source)


def _check_different(letters: Sequence[str], what: str, source: str) -> None:
    kinds = len(set(letters))
    if kinds < FEWEST:
        raise ValueError(
            f"{source}: of {len(letters)} {what} {kinds} differ, too few to learn from; give "
            f"{FEWEST} or more that do."
        )


def check_settings(alphabet: Any, ambiguous: Any) -> None:
    """Raise for settings that are none."""
    if not isinstance(alphabet, str) or len(alphabet) < 2 or len(set(alphabet)) < len(alphabet):
        raise ValueError(
            f"`alphabet` must be two letters or more, each once, such as 'ACGT'; got {alphabet!r}."
        )
    if alphabet != alphabet.upper():
        raise ValueError(f"`alphabet` must be of capital letters, got {alphabet!r}.")
    if ambiguous not in _AMBIGUOUS:
        raise ValueError(f"`ambiguous` must be one of {', '.join(_AMBIGUOUS)}; got {ambiguous!r}.")


def split(
    letters: Sequence[str], seed: int, scores: Float[np.ndarray, " n"] | None = None
) -> tuple[Int[np.ndarray, " train"], Int[np.ndarray, " test"]]:
    """Rows to learn from, and rows that judge; a sequence that repeats is all on one side.

    Where all the scores to learn from are the same, a sequence with another moves over to them.
    """
    train, test = split_strings(letters, seed, share=_HELD_OUT, fewest=_JUDGED)
    if scores is None or not len(test):
        return train, test
    known = scores[train][np.isfinite(scores[train])]
    if not len(known) or np.ptp(known) > 0:
        return train, test
    other = test[np.isfinite(scores[test]) & (scores[test] != known[0])][0]
    moved = np.array([letters[row] == letters[other] for row in test.tolist()])
    return np.sort(np.r_[train, test[moved]]), test[~moved]


def digest(found: Sequences) -> str:
    """Of letters and scores."""
    told = hashlib.sha256("\n".join(found.letters).encode())
    if found.scores is not None:
        told.update(np.ascontiguousarray(found.scores, np.float64).tobytes())
    return told.hexdigest()


def described(found: Sequences, alphabet: str) -> list[str]:
    """What there is to say of the sequences, in sentences."""
    notes = [f"{found.describe_left_out()}."] if found.left_out else []
    repeats = len(found.letters) - len(set(found.letters))
    if repeats:
        notes.append(
            f"{repeats} of {len(found.letters)} sequences repeat another; all that are the same "
            "were either learned from or held out."
        )
    if found.scores is not None:
        holes = int(np.isnan(found.scores).sum())
        if holes:
            notes.append(f"{holes} sequences have no score; the generator alone learned from them.")
    absent = sorted(set(alphabet) - set().union(*found.letters))
    if absent:
        notes.append(f"The letters {', '.join(absent)} stand in no sequence.")
    return notes
