"""Arrays and a record of what they are, in one file that is read whole or refused.

The file is in the safetensors format: any reader of it shows the arrays. The record is JSON, and
the format's own metadata holds a SHA-256 of the whole file (of its own 64 places zeros are taken),
which is looked at before anything else is. Nothing in the file is run.
"""

import hashlib
import json
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pullback._files import atomic_write

_FORMAT = 1
_RECORD = "pullback.json"
_DIGEST = b'"sha256":"'
_LENGTH = 64
# What safetensors knows by a name of its own; all else travels as bytes, told of in the record.
_PLAIN = frozenset(
    "bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64".split()
)


class ArchiveError(ValueError):
    """An archive is missing, damaged, or none; the message names the file."""


def write_archive(
    path: str | os.PathLike[str], record: Mapping[str, Any], arrays: Mapping[str, np.ndarray]
) -> None:
    """Write a record and arrays to one file, whole or not at all.

    Args:
        path: where it appears, by convention `*.safetensors`.
        record: what JSON can hold.
        arrays: of any dtype of NumPy or of JAX but objects, each with its name.

    Raises:
        TypeError: the record holds what JSON cannot, or an array has objects or a mask.

    >>> import pathlib, tempfile
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "a.safetensors"
    >>> write_archive(file, {"step": 7}, {"w": np.arange(3.0)})
    >>> read_archive(file)
    ({'step': 7}, {'w': array([0., 1., 2.])})
    """
    from safetensors.numpy import save

    stored, as_bytes = {}, {}
    for name, array in arrays.items():
        if name == _RECORD:
            raise ValueError(f"no array may be called {_RECORD!r}.")
        if isinstance(array, np.ma.MaskedArray):
            raise TypeError(
                f"{name} is a masked array, whose mask would be lost: keep its `data` and its "
                "`mask` as two arrays, or `filled()`."
            )
        array = np.asarray(array)
        if array.dtype.hasobject or array.dtype.names is not None:
            raise TypeError(f"{name} is an array of {array.dtype}; expected numbers or text.")
        # The format has one order of bytes, and which one they had is told by no name.
        if array.dtype.name in _PLAIN and array.dtype.isnative:
            stored[name] = np.asarray(array, order="C")
        else:
            as_bytes[name] = [_name_of(array.dtype), list(array.shape)]
            stored[name] = np.frombuffer(array.tobytes(), np.uint8)
    text = json.dumps({"format": _FORMAT, "record": dict(record), "bytes": as_bytes})
    stored[_RECORD] = np.frombuffer(text.encode(), np.uint8)
    content = memoryview(save(stored, {"sha256": "0" * _LENGTH}))
    at = _place_of_digest(content)
    assert at is not None
    with atomic_write(path) as file:
        file.write(content[:at])
        file.write(_digest(content, at))
        file.write(content[at + _LENGTH :])


def read_archive(
    path: str | os.PathLike[str], *, arrays: Callable[[str], bool] | None = None
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What `write_archive` wrote: the record, and the arrays of the wanted names, by default all.

    Raises:
        ArchiveError: there is no such file, it is no archive or of another format, or one bit of
            it is not what was written.
    """
    from safetensors import SafetensorError, deserialize

    path = Path(path)
    content = _content(path)
    try:
        found = dict(deserialize(content))
        kept = json.loads(bytes(found.pop(_RECORD)["data"]))
        if kept["format"] != _FORMAT:
            told = f"is in format {kept['format']}, and this version reads {_FORMAT}."
            raise ArchiveError(f"{path}: {told}")
        wanted = {n: t for n, t in found.items() if arrays is None or arrays(n)}
        if not isinstance(kept["record"], dict):
            raise TypeError("the record is no dictionary")
        return kept["record"], {
            name: _array(tensor, *kept["bytes"].get(name, (None, tensor["shape"])))
            for name, tensor in wanted.items()
        }
    except (
        SafetensorError, AttributeError, KeyError, MemoryError, OverflowError, RecursionError,
        SyntaxError, TypeError, ValueError,
    ) as error:  # fmt: skip
        if isinstance(error, ArchiveError):
            raise
        raise ArchiveError(f"{path}: was not written by pullback ({error}).") from error


def read_record(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The record of an archive, checked as `read_archive` does."""
    return read_archive(path, arrays=lambda name: False)[0]


def _content(path: Path) -> bytes:
    """All bytes of the file, which are what was written."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise ArchiveError(f"{path}: there is no such file.") from None
    except OSError as error:
        raise ArchiveError(f"{path}: cannot be read: {error.strerror}.") from error
    except ValueError as error:  # a NUL in the name
        raise ArchiveError(f"{str(path)!r}: cannot be read: {error}.") from error
    at = _place_of_digest(content)
    if at is None:
        told = "is empty" if not content else "was not written by pullback, or it is damaged"
        raise ArchiveError(f"{path}: the file {told}.")
    if _digest(content, at) != content[at : at + _LENGTH]:
        raise ArchiveError(
            f"{path}: the file is damaged or cut off: its SHA-256 is not the one that it was "
            "written with."
        )
    return content


def _place_of_digest(content: bytes | memoryview) -> int | None:
    """Where the 64 letters of the digest stand, within the header."""
    end = 8 + int.from_bytes(content[:8], "little")
    found = bytes(content[8 : min(end, len(content))]).find(_DIGEST)
    at = 8 + found + len(_DIGEST)
    return at if found >= 0 and at + _LENGTH <= min(end, len(content)) else None


def _digest(content: bytes | memoryview, at: int) -> bytes:
    view = memoryview(content)
    found = hashlib.sha256(view[:at])
    found.update(b"0" * _LENGTH)
    found.update(view[at + _LENGTH :])
    return found.hexdigest().encode()


def _name_of(dtype: np.dtype) -> str:
    # bfloat16 and its kin have a name alone; of text and complex numbers `str` has the length.
    return dtype.name if dtype.kind == "V" and dtype.isbuiltin == 2 else dtype.str


def _array(tensor: Mapping[str, Any], dtype: str | None, shape: list[int]) -> np.ndarray:
    kind = np.dtype(_TYPES[tensor["dtype"]] if dtype is None else dtype)
    if kind.hasobject or kind.names is not None:
        raise TypeError(f"an array of {kind}")
    # `frombuffer` takes no empty buffer of some kinds; a bytearray, so that it may be written to.
    if not math.prod(shape):
        return np.zeros(shape, kind)
    return np.frombuffer(bytearray(tensor["data"]), kind).reshape(shape)


_TYPES = {
    "BOOL": "?", "I8": "<i1", "I16": "<i2", "I32": "<i4", "I64": "<i8", "U8": "<u1", "U16": "<u2",
    "U32": "<u4", "U64": "<u8", "F16": "<f2", "F32": "<f4", "F64": "<f8",
}  # fmt: skip
