"""Molecules as a designer takes them: read, as tokens, with properties that differ."""

import hashlib
import os
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from pullback._inputs import positive
from pullback._names import check_list, did_you_mean
from pullback.analysis import molecule_properties
from pullback.data import DataError, Molecules, Vocabulary, is_data_frame, read_molecules

from ._any_name import by_any_name
from ._held_out import split_strings

COMPUTED = ("logP", "QED", "SAS")  # by RDKit, where a file has no column of the name
FEWEST = 20  # molecules
LONGEST = 120  # tokens of a molecule, if nothing else is said
_SKIP = "`skip_invalid` (on the command line --skip-invalid)"
_WIDEST = 1e30  # in size, and its inverse in spread: single precision must hold it and its powers
_HELD_OUT, _JUDGED = 0.1, 100  # share that judges, of so many different molecules or more


class Reading(NamedTuple):
    """How molecules are read: the arguments of `pullback.data.read_molecules`."""

    smiles: str | None
    properties: tuple[str, ...]
    name: str | None
    skip_invalid: bool


class Asked(NamedTuple):
    """Molecules of which something is asked, among the rows in which they were given."""

    molecules: Molecules
    places: Int[np.ndarray, " n"]
    rows: int


def read(X: Any, y: Any, how: Reading) -> tuple[Molecules, list[str]]:
    """Molecules of a path, a data frame, of SMILES or of `Molecules`, with their properties; and
    which of these nobody gave, so that RDKit computed them.

    Args:
        X: a path, a data frame, SMILES, or `Molecules`.
        y: a number for each molecule, or a row of them, NaN where nothing was measured; None: those
            of the file.
        how: to read them.
    """
    found = X
    if not isinstance(X, Molecules):
        table = isinstance(X, str | os.PathLike) or is_data_frame(X)
        measured = table and y is None
        found = read_molecules(
            X,
            smiles=how.smiles if table else None,
            properties=[n for n in how.properties if n not in COMPUTED] if measured else (),
            optional=[n for n in how.properties if n in COMPUTED] if measured else (),
            skip_invalid=how.skip_invalid,
            name=how.name if table else None,
        )
    if y is not None:
        if found.left_out:
            raise ValueError(
                f"{found.source}: `y` says nothing of which molecules were left out; take those "
                "out of both, or give a file with the properties in it."
            )
        found = found._replace(properties=_given(y, len(found.smiles), how.properties))
    names = how.properties or tuple(found.properties)
    for name in names:
        if name not in found.properties and name not in COMPUTED:
            hint = did_you_mean(name, [*found.properties, *COMPUTED]) or "."
            raise ValueError(f"`properties`: the molecules have no {name!r}{hint}")
    computed = [name for name in names if name not in found.properties]
    known = {**found.properties, **molecule_properties(found.smiles, computed)}
    return found._replace(properties={name: known[name] for name in names}), computed


def asked(X: Any, how: Reading, vocabulary: Vocabulary) -> Asked:
    """Molecules of which something is asked, and their places among all the rows that there are.

    Raises:
        DataError: one cannot be read or written, and such are not to be left out; or all are such.
    """
    given = isinstance(X, Molecules)
    if given:  # What was left out before was no row of them.
        X = X._replace(left_out={})
    found, _ = by_any_name(lambda how: read(X, None, how), how._replace(skip_invalid=True))
    kept = writable(found, vocabulary)
    said = kept.describe_left_out()
    if said and not (how.skip_invalid and kept.smiles):
        empty = "" if how.skip_invalid else f", or fit with {_SKIP}: their rows are empty then"
        raise _refused(
            kept, f"Take such out{empty}. What is longer, or has other tokens, than what was "
            "fitted needs a fit with molecules like it."
        )  # fmt: skip
    if said:
        said = f"{found.source}: {said} Of such there are no numbers (NaN, in a file empty cells)."
        warnings.warn(said, stacklevel=4)
    if given:
        problems = vocabulary.problems(found)
        places = [place for place in range(len(found.smiles)) if place not in problems]
        return Asked(kept, np.asarray(places), len(found.smiles))
    rows = sorted([*kept.rows, *kept.left_out])
    return Asked(kept, np.searchsorted(rows, kept.rows), len(rows))


def _refused(kept: Molecules, remedy: str) -> DataError:
    said = kept.describe_left_out().replace("were left out", "cannot be taken", 1)
    return DataError(kept.source, f"{said} {remedy}")


def in_rows(values: Float[np.ndarray, "n width"], given: Asked) -> Float[np.ndarray, "rows width"]:
    """A row for each of the rows that were given, NaN where no molecule was taken."""
    found = np.full((given.rows, values.shape[1]), np.nan, values.dtype)
    found[given.places] = values
    return found


def _given(y: Any, count: int, names: Sequence[str]) -> dict[str, Float[np.ndarray, " n"]]:
    try:
        values = np.asarray(y, np.float64)
    except (TypeError, ValueError):
        raise ValueError("`y` must be numbers, NaN where a molecule was not measured.") from None
    if values.ndim == 1:
        values = values[:, None]
    if values.ndim != 2 or len(values) != count:
        raise ValueError(
            f"`y` must have a number, or a row of them, for each of {count} molecules; got the "
            f"shape {np.shape(y)}."
        )
    called = list(getattr(y, "columns", [])) or ([y.name] if getattr(y, "name", None) else [])
    found = _called(called, values.shape[1], list(names))
    if len(set(found)) < len(found):
        raise ValueError(f"the columns of `y` must differ in name, got {found}.")
    return dict(zip(found, values.T, strict=True))


def _called(called: list[Any], width: int, names: list[str]) -> list[str]:
    """What the columns of `y` are, in their order: by their own names, or else by their places."""
    if not names:
        numbered = ["property"] if width == 1 else [f"property{k}" for k in range(1, width + 1)]
        return [str(name) for name in called] or numbered
    if called and all(isinstance(name, str) for name in called):
        strange = [name for name in called if name not in names]
        if strange:
            hint = did_you_mean(strange[0], names) or "."
            raise ValueError(
                f"`y` has a column {strange[0]!r}, which `properties` does not name{hint} Name "
                "each of its columns there, or take out what is not to be predicted."
            )
        return called
    # By their places all that are named, or all but those that RDKit can compute.
    measured = next(
        (some for some in (names, [n for n in names if n not in COMPUTED]) if len(some) == width),
        None,
    )
    if measured is None:
        raise ValueError(
            f"`properties` names {len(names)} and `y` has {width}; name each of the columns of "
            "`y`, or give them as a data frame with these names."
        )
    return measured


def check_settings(properties: Any, max_length: Any) -> None:
    """Raise for what are no names, or no length."""
    check_list("properties", properties)
    if not hasattr(properties, "__iter__") or not all(isinstance(n, str) for n in properties):
        raise TypeError(f"`properties` must be a list of names, got {properties!r}.")
    if len(set(properties)) < len(properties):
        raise ValueError(f"`properties` must name each once, got {list(properties)}.")
    if max_length is not None:
        positive(max_length=max_length)


def check(found: Molecules) -> None:
    """Raise for what nothing can be learned from: too few, or a property that is all the same."""
    kinds = len(set(found.smiles))
    if kinds < FEWEST:
        raise ValueError(
            f"{found.source}: {kinds} different molecule{'s are' if kinds > 1 else ' is'} too few "
            f"to learn from; give {FEWEST} or more."
        )
    for name, values in found.properties.items():
        bad = np.flatnonzero(np.isinf(values))
        if len(bad):
            raise ValueError(
                f"{found.source}: the {name} of molecule {found.names[bad[0]]} is no finite "
                "number; take it out, or leave it empty (NaN) where nothing was measured."
            )
        measured = values[np.isfinite(values)]
        if len(measured) < FEWEST:
            raise ValueError(
                f"{found.source}: {len(measured)} molecules have a {name}, too few to learn from; "
                f"give {FEWEST} or more, or fit without it."
            )
        size = np.abs(measured).max()
        if size > _WIDEST or 0 < np.ptp(measured) < 1 / _WIDEST:
            raise ValueError(
                f"{found.source}: the {name} goes to {size:.3g} in size, which single precision "
                "does not hold; give it in another unit, or its logarithm."
            )
        if np.ptp(measured) == 0:
            raise ValueError(
                f"{found.source}: every {name} is {measured[0]:g}, which teaches nothing; fit "
                "without it."
            )


def vocabulary_of(
    found: Molecules, selfies: bool, max_length: int | None, skip_invalid: bool
) -> tuple[Vocabulary, Molecules]:
    """The tokens of molecules, and those of them that it can write.

    Raises:
        ValueError: one is too long, or SELFIES cannot write it, and such are not to be left out.
    """
    kind = "selfies" if selfies else "smiles_atom"
    longest = LONGEST if max_length is None else max_length
    made = Vocabulary.from_strings(found, kind, longest, skip_invalid=True)
    kept = writable(found if skip_invalid else found._replace(left_out={}), made)
    if kept.left_out and not skip_invalid:
        raise _refused(kept, f"Take such out, or let {_SKIP} do so.")
    found = kept if skip_invalid else found
    # No longer than the longest that there is, so that no step is taken for nothing.
    needed = int((made.encode(found.smiles) > 0).sum(axis=1).max())
    return Vocabulary(kind, made.tokens, needed), found


def writable(found: Molecules, vocabulary: Vocabulary) -> Molecules:
    """Those molecules that a vocabulary can write; the others are in `left_out`."""
    problems = vocabulary.problems(found)
    if not problems:
        return found
    rows = found.rows or tuple(range(1, len(found.smiles) + 1))
    kept = np.ones(len(found.smiles), bool)
    kept[list(problems)] = False
    left = {rows[place]: f"it {why}" if why[:3] == "has" else why
            for place, why in problems.items()}  # fmt: skip
    return found.take(kept)._replace(left_out=dict(sorted({**found.left_out, **left}.items())))


def split(
    smiles: Sequence[str], seed: int
) -> tuple[Int[np.ndarray, " train"], Int[np.ndarray, " test"]]:
    """Rows to learn from, and rows that judge; a molecule that repeats is all on one side."""
    return split_strings(smiles, seed, share=_HELD_OUT, fewest=_JUDGED)


def digest(found: Molecules) -> str:
    """Of SMILES and properties."""
    told = hashlib.sha256("\n".join(found.smiles).encode())
    for name, values in found.properties.items():
        told.update(name.encode())
        told.update(np.ascontiguousarray(values, np.float64).tobytes())
    return told.hexdigest()


def described(found: Molecules) -> list[str]:
    """What there is to say of the molecules, in sentences."""
    notes = [found.describe_left_out()] if found.left_out else []
    repeats = len(found.smiles) - len(set(found.smiles))
    if repeats:
        notes.append(
            f"{repeats} of {len(found.smiles)} molecules repeat another; all of a kind were either "
            "learned from or held out."
        )
    for name, values in found.properties.items():
        holes = int(np.isnan(values).sum())
        if holes:
            notes.append(
                f"{holes} molecules have no {name}; the code was learned from them all the same."
            )
    return notes
