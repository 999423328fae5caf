"""Molecules from files of a user's own: SMILES, tables and SDF."""

import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pullback._extras import extra
from pullback._names import check_list, did_you_mean, listed, shown
from pullback.data._cells import BadRows, split_unit, text_of
from pullback.data._csv import open_text
from pullback.data._errors import DataError
from pullback.data._roles import check_apart, needed_place, place_of
from pullback.data._sequences import Molecules, Sequences
from pullback.data._sources import frame_source, is_data_frame, open_source
from pullback.data._typed_cells import as_numbers

_USUAL = {
    "smiles": "smiles canonical_smiles isomeric_smiles smi smile structure molecule mol",
    "name": "name names id identifier compound compound_id mol_id molecule_id zinc_id chembl_id",
}
_DRAWN = (".sdf", ".sd", ".mol")
_LONGEST = 5000  # letters, or atoms: of some more RDKit takes minutes, or ends the process
_COUNTS = re.compile(r"^M  V30 COUNTS (\d{1,9})", re.MULTILINE)
_TABLES = (".csv", ".tsv", ".parquet", ".pq", ".xlsx", ".xls", ".ods")


class _Record(NamedTuple):
    """What stands in the file about one molecule: RDKit's, or what is wrong with it."""

    row: int
    name: str
    molecule: Any
    problem: str
    cells: Any


def read_molecules(
    path: Any,
    *,
    smiles: str | None = None,
    properties: Sequence[str] = (),
    skip_invalid: bool = False,
    name: str | None = None,
    optional: Sequence[str] = (),
    decimal: str | None = None,
) -> Molecules:
    """Read molecules, made canonical by RDKit, with what was measured of them.

    Args:
        path: a file of SMILES, one a line, and its name after it, `.smi`, `.smiles` or `.txt`; a
            CSV file in UTF-8 with a header; one of these gzipped; a Parquet file, `.parquet` or
            `.pq`; an SDF or MOL file, `.sdf`, `.sdf.gz` or `.mol`; a data frame of pandas or
            polars; or a list of SMILES.
        smiles: the column of SMILES; None takes the one with a usual name.
        properties: names of the columns, or of the SDF file's fields, with what was measured. An
            empty cell, NA and the like is NaN.
        skip_invalid: leave out molecules that RDKit cannot read, and say which in `left_out`.
        name: the column of names; None takes the one with a usual name, if there is one; "" takes
            none, and numbers them.
        optional: as `properties`, of columns or fields that are taken where the file has them.
        decimal: the sign before the fractions of a CSV file, "." or ",", as for `read_table`.

    Returns:
        The molecules in the order of the file. One that is there twice is so here.

    Raises:
        TypeError: `path` is neither a path nor a data frame nor a list.
        ImportError: RDKit is not installed; the message says how.
        DataError: the file cannot be read, or has no molecules; a column is missing; a property is
            no finite number; or there are molecules that RDKit cannot read. The message gives the
            first 20 lines (of Parquet and of lists the rows, from 1; of SDF where the molecule
            begins), with what RDKit found wrong, and their count.

    Example:
        >>> import pathlib, tempfile
        >>> file = pathlib.Path(tempfile.mkdtemp()) / "my.csv"
        >>> _ = file.write_text("smiles,solubility\\nOCC,1.1\\nC1CC,\\nc1ccccc1,-1.6\\n")
        >>> found = read_molecules(file, properties=["solubility"], skip_invalid=True)
        >>> found.smiles, found.properties["solubility"]
        (('CCO', 'c1ccccc1'), array([ 1.1, -1.6]))
        >>> found.describe_left_out()
        "1 of 3 molecules were left out. Line 3: RDKit cannot read 'C1CC' as SMILES."
    """
    check_list("properties", properties)
    check_list("optional", optional)
    chem = extra("rdkit.Chem", "chem")
    kept, canonical, left_out = [], [], {}
    with extra("rdkit.rdBase", "chem").BlockLogs():
        named = list(properties), list(optional), name
        bad, records, taken = _opened(path, smiles, *named, decimal, chem)
        for record in records:
            problem = record.problem
            if not problem and record.molecule.GetNumAtoms() == 0:
                problem = "it has no atoms."
            if not problem:
                kept.append(record)
                canonical.append(chem.MolToSmiles(record.molecule))
            elif skip_invalid:
                left_out[record.row] = problem
            else:
                bad.add(record.row, f"{problem} skip_invalid=True leaves such rows out.")
            bad.check(at_end=False)
    rows = [record.row for record in kept]
    values = {
        each: as_numbers([record.cells[place] for record in kept], rows, each, bad)
        for place, each in enumerate(taken)
    }
    bad.check()
    if not kept:
        none = Molecules((), (), {}, str(bad.path), (), left_out)
        more = none.describe_left_out()
        raise DataError(bad.path, f"expected molecules; there is none. {more}".strip())
    names = tuple(record.name for record in kept)
    return Molecules(names, tuple(canonical), values, str(bad.path), tuple(rows), left_out)


def _opened(
    path: Any,
    smiles: str | None,
    properties: list[str],
    optional: Sequence[str],
    name: str | None,
    decimal: str | None,
    chem: Any,
) -> tuple[BadRows, Iterator[_Record], Sequence[str]]:
    """Where bad rows are gathered, the records, and the properties that these have."""
    is_frame, is_path = is_data_frame(path), isinstance(path, str | os.PathLike)
    is_list = hasattr(path, "__iter__") and hasattr(path, "__len__")
    is_list = is_list and not isinstance(path, Molecules | Sequences | Mapping | set | bytes)
    if not (is_frame or is_path or is_list):
        raise TypeError(
            "molecules are read from the path of a file, from a data frame or from a list of "
            f"SMILES, got {type(path).__name__}."
        )
    file = Path(path) if is_path else Path(f"the {type(path).__name__}")
    if isinstance(path, str) and chem.MolFromSmiles(path) is not None and not file.exists():
        raise DataError(file, f"there is no such file; of SMILES write a list, [{path!r}].")
    kinds = [suffix.lower() for suffix in file.suffixes if suffix.lower() != ".gz"]
    kind = kinds[-1] if is_path and kinds else ""
    if is_frame or kind in _TABLES:
        source = frame_source(path) if is_frame else open_source(file, decimal=decimal)
        bad = BadRows(file, source.word, decimal=source.decimal)
        taken = properties + _there(optional, source.names)
        return bad, _table(file, source, smiles, taken, name, bad, chem), taken
    for argument, given in (("smiles", smiles), ("name", name)):
        if given:
            problem = f"has no columns of its own; leave out {argument}=...."
            raise DataError(file, problem, role=argument)
    if kind in _DRAWN:
        parts = list(_parts(file, chem))
        taken = properties + _there(optional, {name for part in parts for name in part.cells})
        return BadRows(file, "line"), _sdf(file, parts, taken), taken
    if properties:
        what = "write a CSV file with a header, or an SDF file" if is_path else "give a table"
        kind = "file" if is_path else "list"
        raise DataError(file, f"a {kind} of SMILES has no {', '.join(properties)}; {what}.")
    if is_path:
        return BadRows(file, "line"), _lines(file, chem), []
    return BadRows(file, "row"), _listed(path, chem), []


def _there(optional: Sequence[str], names: Collection[str]) -> list[str]:
    """Those that there are, as they are called or with a unit behind."""
    known = {*names, *(split_unit(name)[0] for name in names)}
    return [each for each in optional if each in known]


def _listed(smiles: Any, chem: Any) -> Iterator[_Record]:
    for number, written in enumerate(smiles, 1):
        yield _Record(number, str(number), *_of_smiles(text_of(written), chem), ())


def _of_smiles(written: str, chem: Any) -> tuple[Any, str]:
    """The molecule of a SMILES, and what is wrong with it, or nothing."""
    if not written:
        return None, "the cell is empty."
    if len(written) > _LONGEST:
        return None, f"the SMILES {shown(written)} is too long: {_LONGEST} letters at most."
    molecule = chem.MolFromSmiles(written)
    if molecule is not None:
        return molecule, ""
    why = _why(chem.MolFromSmiles(written, sanitize=False), chem)
    return None, f"RDKit cannot read {shown(written)}{why or ' as SMILES'}."


def _of_sdf(text: str, supplier: Any, chem: Any) -> tuple[Any, Any, str]:
    """The molecule of a part of an SDF file, what holds its fields, and what is wrong with it."""
    counts = _COUNTS.search(text)
    if counts is not None and int(counts[1]) > _LONGEST:
        problem = f"the molecule that begins here has {counts[1]} atoms; {_LONGEST} at most."
        return None, None, problem
    supplier.SetData(text)
    molecule = supplier[0] if len(supplier) else None
    if molecule is not None:
        return molecule, molecule, ""
    supplier.SetData(text, sanitize=False)
    raw = supplier[0] if len(supplier) else None
    return None, raw, f"RDKit cannot read the molecule that begins here{_why(raw, chem)}."


def _why(raw: Any, chem: Any) -> str:
    """Why a molecule cannot be, where it could at least be parsed."""
    problems = [] if raw is None else chem.DetectChemistryProblems(raw)
    return f": {problems[0].Message()}" if problems else ""


def _table(
    path: Path,
    source: Any,
    smiles: str | None,
    properties: Sequence[str],
    name: str | None,
    bad: BadRows,
    chem: Any,
) -> Iterator[_Record]:
    names = source.names
    places: dict[str, int | None] = {
        "smiles": needed_place(path, names, "smiles", smiles, _USUAL["smiles"]),
    }
    if name != "":
        places["name"] = place_of(path, names, "name", name, _USUAL["name"])
    for each in properties:
        at = place_of(path, names, each, each, "")
        if at in places.values():
            check_apart(path, names, {**places, f"the property {each!r}": at})
        places[f"property {each}"] = at
    chosen = {role: place for role, place in places.items() if place is not None}
    number = 0
    for rows, columns in source.chunks(list(chosen.values()), bad):
        cells = dict(zip(chosen, columns, strict=True))
        measured = [cells[f"property {each}"] for each in properties]
        for place, row in enumerate(rows):
            number += 1
            called = text_of(cells["name"][place]) if "name" in cells else ""
            found = _of_smiles(text_of(cells["smiles"][place]), chem)
            values = [column[place] for column in measured]
            yield _Record(row, called or str(number), *found, values)


def _lines(path: Path, chem: Any) -> Iterator[_Record]:
    """SMILES, then a name, separated by spaces or tabs; maybe below a header."""
    usual = _USUAL["smiles"].split()
    with open_text(path) as file:
        number = 0
        for row, line in enumerate(file, 1):
            words = line.split(maxsplit=1)
            if not words or (not number and words[0].lower() in usual):
                continue
            number += 1
            record = _Record(row, "", *_of_smiles(words[0], chem), ())
            titles = {*usual} & {*re.split(r"[\s,;\"]+", line.lower())}
            if number == 1 and record.problem and titles:
                raise DataError(
                    path,
                    "seems to be a table with a header; let its name end in .csv, or .tsv.",
                    line=row,
                )
            name = words[1].strip() if len(words) > 1 else str(number)
            yield record._replace(name=name)


def _parts(path: Path, chem: Any) -> Iterator[_Record]:
    """Molecules between lines of four dollars, with the line on which each begins, and fields."""
    supplier = chem.SDMolSupplier()
    with open_text(path) as file:
        for number, (start, lines) in enumerate(_between_dollars(file), 1):
            if not any(line.strip() for line in lines):
                continue
            text = "\n".join(lines) + "\n"
            molecule, holder, problem = _of_sdf(text, supplier, chem)
            fields = {} if holder is None else holder.GetPropsAsDict(False, False)
            yield _Record(start, lines[0].strip() or str(number), molecule, problem, fields)


def _between_dollars(file: Iterable[str]) -> Iterator[tuple[int, list[str]]]:
    """The lines of each molecule, and the number of the first.

    By ends of lines alone: `splitlines` cuts a name at other marks too.
    """
    start, lines = 1, []
    for number, line in enumerate(file, 1):
        lines.append(line.rstrip("\r\n"))
        if line.startswith("$$$$"):
            yield start, lines
            start, lines = number + 1, []
    yield start, lines


def _sdf(path: Path, parts: Sequence[_Record], properties: Sequence[str]) -> Iterator[_Record]:
    """The same with the cells of these fields."""
    known = {name for part in parts for name in part.cells}
    for each in properties:
        if parts and each not in known:
            hint = did_you_mean(each, known) or "."
            raise DataError(
                path, f"no molecule has a field {each!r}{hint} There are {listed(sorted(known))}."
            )
    for part in parts:
        yield part._replace(cells=[text_of(part.cells.get(each)) for each in properties])
