"""The idx format of MNIST: a magic number, the sizes, and the bytes."""

import gzip
import math
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from pullback.data._errors import DataError
from pullback.data._unpacked import RATIO, Stream, most_bytes, swollen, take

_GZIP = b"\x1f\x8b"
# As many as NumPy has always had; and lengths beside a 0, which take no bytes.
_MOST_DIMS, _MOST_EMPTY = 32, 2**24
_DTYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def read_idx(path: str | os.PathLike[str]) -> np.ndarray:
    """Read an idx file, gzipped or not.

    The file is `00 00 type dims`, then each size as a big-endian 32-bit integer, then the values.

    Args:
        path: the file.

    Returns:
        The array, in the byte order of this machine.

    Raises:
        DataError: the file cannot be read, is no idx file, is cut off, or is too long.

    Example:
        >>> import pathlib, tempfile
        >>> file = pathlib.Path(tempfile.mkdtemp()) / "three-idx1-ubyte"
        >>> _ = file.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3, 5, 0, 4]))
        >>> read_idx(file)
        array([5, 0, 4], dtype=uint8)

    Source: Y. LeCun, C. Cortes and C. Burges, The MNIST database of handwritten digits.
    """
    path = Path(path)
    with _opened(path) as (stream, size):
        begin = take(stream, 4)
        if len(begin) < 4 or begin[:2] != b"\0\0" or begin[2] not in _DTYPES:
            raise DataError(
                path,
                f"expected an idx file, which begins with 00 00 and a type code from 08 to 0e; it "
                f"begins with {begin.hex(' ') or 'nothing'}.",
            )
        dtype, dims = np.dtype(_DTYPES[begin[2]]), begin[3]
        sizes = take(stream, 4 * dims)
        if len(sizes) < 4 * dims:
            raise DataError(path, f"expected the sizes of {dims} dimensions, but the file ends.")
        shape = tuple(np.frombuffer(sizes, ">u4").tolist())
        expected = math.prod(shape) * dtype.itemsize
        if dims > _MOST_DIMS or math.prod(max(1, n) for n in shape) > max(_MOST_EMPTY, expected):
            raise DataError(path, f"expected sizes of an array, got {_times(shape)}.")
        if size is None and expected > most_bytes(path):
            raise swollen(path, RATIO)
        content = take(stream, expected) if size in (None, 4 + len(sizes) + expected) else b""
        got = len(content) if size is None else size - 4 - len(sizes)
        if got != expected:
            fault = "is cut off" if got < expected else "is too long"
            raise DataError(
                path,
                f"the file {fault}: its header promises {_times(shape)} values, {expected} bytes, "
                f"and {got} bytes follow.",
            )
        if stream.read(1):
            raise DataError(
                path,
                f"the file is too long: its header promises {_times(shape)} values.",
            )
    return np.frombuffer(content, dtype).reshape(shape).astype(dtype.newbyteorder("="))


def _times(shape: tuple[int, ...]) -> str:
    shown = " x ".join(map(str, shape[:_MOST_DIMS]))
    return shown if len(shape) <= _MOST_DIMS else f"{shown} x ..."


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Stream, int | None]]:
    """A file, gzipped or not, and its size if that is known before it is read."""
    try:
        with path.open("rb") as file:
            zipped = file.read(2) == _GZIP
            file.seek(0)
            if not zipped:
                yield file, path.stat().st_size
                return
            with gzip.GzipFile(fileobj=file) as stream:
                yield stream, None
    except EOFError as error:
        raise DataError(path, "the gzip stream is cut off; fetch the file again.") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(path, f"the gzip stream is damaged: {error}.") from error
    except OSError as error:
        raise DataError(path, f"cannot be read: {error.strerror or error}.") from error
