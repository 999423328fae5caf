"""The two kinds of files that a schedule is kept in: JSON, and a table as CSV."""

import json
import math
import os
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int, Num

from pullback._files import atomic_write_csv, atomic_write_text
from pullback._names import shown

_FORMAT = "pullback schedule"
_CELL = re.compile(r"([^\[\]]*)((?:\[\d{1,18}\])*)")
_PLACE = re.compile(r"[0-9]{1,18}")
_WHY = 300  # letters of what a parser says


class Column(NamedTuple):
    """What was recorded of one array.

    Attributes:
        keys: the names and places that lead to it.
        values: with a leading axis for the steps.
    """

    keys: tuple
    values: Num[np.ndarray, "points *shape"]


def write_columns(
    path: str | os.PathLike[str], steps: Int[np.ndarray, " points"], columns: list[Column]
) -> None:
    """Write what was recorded, in the kind of file that the name says."""
    named = {_name(column.keys): column.values for column in columns}
    if _kind(path) == ".json":
        # A line for each name.
        line = lambda name, found: f"{json.dumps(name)}: {json.dumps(found)}"
        lines = ",\n".join(f"  {line(name, _plain(values))}" for name, values in named.items())
        head = f"{line('format', _FORMAT)},\n{line('steps', steps.tolist())}"
        atomic_write_text(path, f'{{\n{head},\n"hyper": {{\n{lines}\n}}\n}}\n')
        return
    cells = [("step", steps)]
    for name, values in named.items():
        for place in np.ndindex(values.shape[1:]):
            index = "".join(f"[{at}]" for at in place)
            cells.append((f"{name}{index}", values[(slice(None), *place)]))
    rows = zip(*(map(str, column) for _, column in cells), strict=True)
    atomic_write_csv(path, [[name for name, _ in cells], *rows])


def read_columns(
    path: str | os.PathLike[str],
) -> tuple[Int[np.ndarray, " points"], list[Column]]:
    """The steps of a file, and what was recorded at them."""
    kind = _kind(path)
    if not Path(path).is_file():
        raise ValueError(f"{path}: there is no such file.")
    steps, named = _read_json(Path(path)) if kind == ".json" else _read_csv(Path(path))
    return steps, [Column(_keys_of(name), values) for name, values in named.items()]


def _kind(path: str | os.PathLike[str]) -> str:
    kind = Path(path).suffix.lower()
    if kind not in (".json", ".csv"):
        raise ValueError(f"the name of a schedule must end in .json or .csv, got {str(path)!r}.")
    return kind


def _name(keys: tuple) -> str:
    for place, key in enumerate(keys):
        text = isinstance(key, str) and bool(key) and not re.search(r"[.\[\]]|^\d+$", key)
        # A record's array is called "value", at the end.
        taken = keys == ("step",) or (key == "value" and place < len(keys) - 1)
        if taken or not (text or isinstance(key, int)):
            raise ValueError(
                f"{key!r} cannot be the name of a hyperparameter in a file: it must be text "
                "without '.', '[' and ']', and no number, nor 'step' or 'value'."
            )
    return ".".join(map(str, keys)) or "."


def _keys_of(name: str) -> tuple[str | int, ...]:
    return tuple(int(key) if _PLACE.fullmatch(key) else key for key in name.split(".") if key)


def _plain(values: Num[np.ndarray, "points *shape"]) -> list:
    """Numbers for JSON: those of float32 with as many digits as they have."""
    if values.dtype.kind in "iu":
        return values.tolist()
    return np.vectorize(lambda x: float(str(x)), otypes=[float])(values).tolist()


def _read_json(path: Path) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    try:
        content: Any = json.loads(_text(path))
    except RecursionError:
        raise ValueError(f"{path}: is no schedule: it is nested too deep.") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: cannot be read as JSON: {error}.") from None
    except ValueError as error:
        # Of a number with thousands of digits Python makes none.
        named = str(error).startswith(str(path))
        raise ValueError(str(error) if named else f"{path}: {str(error)[:_WHY]}.") from None
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise ValueError(f'{path}: is no schedule: it lacks "format": "{_FORMAT}".')
    hyper = content.get("hyper")
    if not isinstance(hyper, dict) or not hyper:
        raise ValueError(f'{path}: lacks "hyper", the values by name.')
    steps = _numbers(path, '"steps"', content.get("steps"))
    return steps, {name: _numbers(path, shown(name), found) for name, found in hyper.items()}


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path}: expected text in UTF-8, and {error.reason} is at byte {error.start + 1}; "
            "save it as UTF-8."
        ) from None


def _numbers(path: Path, name: str, found: Any) -> np.ndarray:
    try:
        values = np.asarray(found)
    except ValueError:
        values = np.asarray(None)
    if values.dtype.kind not in "iuf" or values.ndim == 0:
        raise ValueError(f"{path}: {name} must be numbers, one or one row for each step.")
    return values


def _read_csv(path: Path) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    import pyarrow as pa
    from pyarrow import csv

    text = _text(path)
    if text and not text.endswith("\n"):
        raise ValueError(f"{path}: the last line has no end, as if the file had been cut off.")
    try:
        table = csv.read_csv(pa.BufferReader(text.encode()))
    except pa.ArrowException as error:
        raise ValueError(f"{path}: cannot be read as CSV: {str(error)[:_WHY]}.") from None
    cells: dict[str, dict[tuple[int, ...], np.ndarray]] = {}
    for header, column in zip(table.column_names, table.columns, strict=True):
        number = pa.types.is_integer(column.type) or pa.types.is_floating(column.type)
        if not number or column.null_count:
            raise ValueError(f"{path}: column {shown(header)} must have a number on every line.")
        match = _CELL.fullmatch(header)
        if match is None or not header:
            raise ValueError(
                f"{path}: {shown(header)} is no name of a column: write name or name[0]."
            )
        place = tuple(int(at) for at in re.findall(r"\d+", match[2]))
        known = cells.setdefault(match[1], {})
        if place in known:
            raise ValueError(f"{path}: column {shown(header)} is there twice.")
        known[place] = column.to_numpy()
    if () not in cells.get("step", {}):
        raise ValueError(f"{path}: is no schedule: it lacks a column 'step'.")
    steps = cells.pop("step")[()]
    if not cells:
        raise ValueError(f"{path}: has no column beside 'step'.")
    return steps, {name: _array(path, name, parts) for name, parts in cells.items()}


def _array(path: Path, name: str, parts: dict[tuple[int, ...], np.ndarray]) -> np.ndarray:
    """An array from the columns of its entries."""
    regular = len({len(place) for place in parts}) == 1
    shape = tuple(1 + max(axis) for axis in zip(*parts, strict=True)) if regular else ()
    # As many as there are, so that a place such as [9999999999] makes no array of that size.
    if not regular or math.prod(shape) != len(parts):
        raise ValueError(f"{path}: the columns of {shown(name)} are not those of one array.")
    flat = np.stack([parts[place] for place in np.ndindex(*shape)], axis=1)
    return flat.reshape(len(flat), *shape)
