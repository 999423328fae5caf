"""Arrays of npz and npy files: names, types and sizes are checked, then they are unpacked."""

import os
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from pullback._names import listed, shown
from pullback.data._errors import DataError
from pullback.data._npy import MAGIC, PIXELS, Kind, read_header, read_values
from pullback.data._unpacked import Stream, check_size, named_errors, opened_zip

# dSprites, of the published sets the one that packs best, is 116 times smaller than its arrays.
_RATIO = 200
_ENDING = ".npy"

Shape = tuple[int | None, ...]


def read_array(path: str | os.PathLike[str], names: Sequence[str] = ()) -> np.ndarray:
    """Read one array of numbers from an npy or npz file, without running anything.

    The type, the shape and the size that the file states are compared with the bytes that it has
    before memory is taken, and in an npz file the array's checksum too.

    Args:
        path: the file.
        names: of an npz file that holds several arrays, the one to take is the only one of these
            that it has. One that holds one array needs no name.

    Returns:
        The array, in the byte order of this machine.

    Raises:
        DataError: the file cannot be read, is damaged, holds no numbers, or several arrays and not
            one alone of these names.

    Example:
        >>> import pathlib, tempfile
        >>> file = pathlib.Path(tempfile.mkdtemp()) / "my.npz"
        >>> np.savez(file, images=np.arange(3), labels=np.zeros(3))
        >>> read_array(file, ["images", "x"])
        array([0, 1, 2])
    """
    path = Path(path)
    with named_errors(path), path.open("rb") as stream:
        if stream.read(len(MAGIC)) == MAGIC:
            stream.seek(0)
            return _array(stream, path, "the array", path.stat().st_size, PIXELS, None)
    with opened_zip(path, "npy or npz") as archive:
        members = _members(archive, path)
        found = [name for name in names if name in members] or list(members)
        if not found:
            raise DataError(path, "holds no array.")
        if len(found) > 1:
            called = f"; call it {names[0]}" if names else ""
            raise DataError(path, f"which array is meant? It has {listed([*members])}{called}.")
        return _unpack(archive, path, members, {found[0]: (PIXELS, None)})[found[0]]


def read_arrays(
    path: Path,
    wanted: Mapping[str, tuple[Kind, Shape | None]],
    optional: Mapping[str, tuple[Kind, Shape | None]] | None = None,
) -> dict[str, np.ndarray]:
    """The named arrays of an npz file.

    Args:
        path: the file.
        wanted: of each array the kind of its values, and its shape (None: any; of a
            length: any).
        optional: of arrays that need not be there.
    """
    with named_errors(path), path.open("rb") as stream:
        if stream.read(len(MAGIC)) == MAGIC:
            raise DataError(
                path,
                f"it is one array (npy); write it by numpy.savez(file, {next(iter(wanted))}=...).",
            )
    with opened_zip(path, "npz") as archive:
        members = _members(archive, path)
        missing = [name for name in wanted if name not in members]
        if missing:
            raise DataError(
                path, f"has no array {', '.join(missing)}; it has {listed([*members]) or 'none'}."
            )
        there = {name: asked for name, asked in (optional or {}).items() if name in members}
        return _unpack(archive, path, members, {**wanted, **there})


def whole_numbers(
    path: Path, name: str, array: np.ndarray, low: int, high: int, dtype: type = np.int64
) -> np.ndarray:
    """An array of whole numbers from `low` to `high`, as a type that has room for them."""
    wrong = (array < low) | (array > high)
    if wrong.any():
        place = np.argwhere(wrong)[0].tolist()
        at = place[0] if len(place) == 1 else tuple(place)
        raise DataError(
            path, f"expected {name} from {low} to {high}; got {array[tuple(place)]} at {at}."
        )
    return array.astype(dtype)


def _members(archive: zipfile.ZipFile, path: Path) -> dict[str, zipfile.ZipInfo]:
    """The members that are arrays, by their names."""
    members: dict[str, zipfile.ZipInfo] = {}
    for each in archive.infolist():
        if each.filename.endswith(_ENDING):
            name = each.filename.removesuffix(_ENDING)
            if name in members:
                raise DataError(path, f"has two arrays {shown(name)}.")
            members[name] = each
    return members


def _unpack(
    archive: zipfile.ZipFile,
    path: Path,
    members: Mapping[str, zipfile.ZipInfo],
    wanted: Mapping[str, tuple[Kind, Shape | None]],
) -> dict[str, np.ndarray]:
    check_size(path, (members[name] for name in wanted), ratio=_RATIO)
    found = {}
    for name, (kind, shape) in wanted.items():
        with archive.open(members[name]) as stream:
            found[name] = _array(stream, path, name, members[name].file_size, kind, shape)
    return found


def _array(
    stream: Stream, path: Path, name: str, size: int, kind: Kind, shape: Shape | None
) -> np.ndarray:
    header = read_header(stream, path, name, size)
    if shape is not None and (
        len(header.shape) != len(shape)
        or any(wish not in (None, n) for wish, n in zip(shape, header.shape, strict=True))
    ):
        wanted = " x ".join("n" if n is None else str(n) for n in shape)
        raise DataError(path, f"expected {name} of shape {wanted}, got {header.shape}.")
    if not kind.fits(header.dtype):
        raise DataError(path, f"expected {kind.word} in {name}, got {header.dtype}.")
    return read_values(stream, header, path, name)
