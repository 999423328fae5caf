"""NumPy's format of one array: what its header says is checked, then its bytes are taken."""

import math
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pullback.data._errors import DataError
from pullback.data._unpacked import Stream, take

MAGIC = b"\x93NUMPY"
_LONGEST, _CHUNK = 10_000, 2**20
# An array without a value takes no bytes, whatever its other lengths; they count all the same.
_MOST_WITHOUT_VALUES = 2**24
_NAME = r"""['"](descr|fortran_order|shape)['"]"""
_ITEM = rf"""\s*{_NAME}\s*:\s*('[^']*'|"[^"]*"|True|False|\([\d,L\s]*\))\s*"""
_HEADER = re.compile(rf"\s*\{{{_ITEM},{_ITEM},{_ITEM},?\s*\}}\s*")
_TYPE = re.compile(r"[<>|=]?(b1|[iu][1248]|f[248]|c8|c16|[SU][1-9]\d{0,6})")


class Kind(NamedTuple):
    """A kind of values.

    Attributes:
        word: for it, in messages.
        letters: of NumPy's types.
        size: of one value, in bytes; None: any.
    """

    word: str
    letters: str
    size: int | None = None

    def fits(self, dtype: np.dtype) -> bool:
        """Whether a type is of it."""
        return dtype.kind in self.letters and self.size in (None, dtype.itemsize)


BYTES = Kind("bytes (uint8)", "u", 1)
WHOLE = Kind("whole numbers", "iu")
FLOATS = Kind("floating-point numbers", "f")
NUMBERS = Kind("numbers", "iuf")
# Bytes of text come as text.
TEXT = Kind("text", "SU")
LABELS = Kind("text or whole numbers", "iuSU")
PIXELS = Kind("numbers", "iufb")


class Header(NamedTuple):
    """What the header of an array says.

    Attributes:
        dtype: of its values.
        shape: its lengths.
        fortran: whether the first index runs fastest.
        start: where in the file the values begin.
    """

    dtype: np.dtype
    shape: tuple[int, ...]
    fortran: bool
    start: int

    @property
    def size(self) -> int:
        """Of the values, in bytes."""
        return math.prod(self.shape) * self.dtype.itemsize


def read_header(stream: Stream, path: Path, name: str, size: int) -> Header:
    """The header of an array, which has to fit the bytes that there are.

    Args:
        stream: at the beginning of the array.
        path: of the file, for messages.
        name: of the array, for messages.
        size: how many bytes there are, with the header.
    """
    start = take(stream, 10)
    if len(start) < 10 or start[:6] != MAGIC or start[6] not in (1, 2, 3):
        raise DataError(path, f"{name} is no array of NumPy's: it begins with {start[:6]!r}.")
    if start[6] == 1:
        length, begins = int.from_bytes(start[8:10], "little"), 10
    else:
        length, begins = int.from_bytes(start[8:10] + take(stream, 2), "little"), 12
    text = take(stream, min(length, _LONGEST)).decode("latin-1")
    match = _HEADER.fullmatch(text)
    parts = match.groups() if match else ()
    said = dict(zip(parts[::2], parts[1::2], strict=True))
    if len(said) < 3 or length > _LONGEST:
        if re.search(r"""descr['"]\s*:\s*\[""", text):
            raise DataError(path, f"{name} holds records; give an array of one type a column.")
        raise DataError(path, f"{name} has a damaged header.")
    header = Header(
        _dtype(said["descr"], path, name),
        _shape(said["shape"], path, name),
        said["fortran_order"] == "True",
        begins + length,
    )
    if math.prod(max(1, n) for n in header.shape) > max(_MOST_WITHOUT_VALUES, size):
        raise DataError(path, f"{name} claims the shape {header.shape}, which has no end.")
    if header.start + header.size != size:
        fault = "is cut off" if header.start + header.size > size else "is too long"
        raise DataError(
            path,
            f"{name} {fault}: its header promises {header.dtype} of shape {header.shape}, "
            f"{header.size} bytes, and {max(0, size - header.start)} follow.",
        )
    return header


def _dtype(said: str, path: Path, name: str) -> np.dtype:
    code = said[1:-1]
    if _TYPE.fullmatch(code):
        return np.dtype(code)
    if code.endswith("O") or code.startswith("|O"):
        raise DataError(
            path,
            f"{name} holds Python objects, which are not read (a pickle may run any code); write "
            "numbers or text.",
        )
    raise DataError(path, f"{name} holds values of type {code[:40]!r}; write numbers or text.")


def _shape(said: str, path: Path, name: str) -> tuple[int, ...]:
    lengths = [each.strip().removesuffix("L") for each in said[1:-1].split(",")]
    if lengths[-1] == "":
        lengths.pop()
    if len(lengths) > 32 or not all(each.isdecimal() and len(each) < 19 for each in lengths):
        raise DataError(path, f"{name} has a damaged header: its shape is {said[:80]}.")
    return tuple(map(int, lengths))


def read_values(stream: Stream, header: Header, path: Path, name: str) -> np.ndarray:
    """The values that follow a header, in the byte order of this machine."""
    try:
        held = np.empty(header.size, np.uint8)
    except MemoryError as error:
        raise DataError(
            path, f"{name} takes {header.size / 2**30:.3g} GiB, more memory than there is."
        ) from error
    done = 0
    while done < len(held) and (part := stream.read(min(_CHUNK, len(held) - done))):
        held[done : done + len(part)] = np.frombuffer(part, np.uint8)
        done += len(part)
    if done < len(held):
        raise DataError(path, f"{name} is cut off: {len(held)} bytes are said to be there.")
    if header.dtype.kind == "b" and held.max(initial=0) > 1:
        raise DataError(path, f"{name} holds bytes above 1 for true and false.")
    flat = held.view(header.dtype)
    shape = header.shape[::-1] if header.fortran else header.shape
    values = flat.astype(header.dtype.newbyteorder("="), copy=False).reshape(shape)
    values = values.T if header.fortran else values
    return _text(values, path, name) if header.dtype.kind in "SU" else values


def _text(values: np.ndarray, path: Path, name: str) -> np.ndarray:
    """Text all of whose letters there are."""
    try:
        if values.dtype.kind == "S":
            return np.char.decode(values, "utf-8")
        codes = np.ascontiguousarray(values).view(np.uint32)
        if ((codes > 0x10FFFF) | ((codes >= 0xD800) & (codes < 0xE000))).any():
            raise DataError(path, f"{name} holds text with letters that there are not.")
    except UnicodeDecodeError as error:
        raise DataError(path, f"{name} holds text that is not in UTF-8: {error}.") from error
    return values
