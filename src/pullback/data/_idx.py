"""The idx format of MNIST: a magic number, the sizes, and the bytes."""

import gzip
import math
import os
import zlib
from pathlib import Path

import numpy as np

from pullback.data._errors import DataError

_GZIP = b"\x1f\x8b"
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
    content = _content(path)
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in _DTYPES:
        raise DataError(
            path,
            f"expected an idx file, which begins with 00 00 and a type code from 08 to 0e; it "
            f"begins with {content[:4].hex(' ') or 'nothing'}.",
        )
    dtype, dims = np.dtype(_DTYPES[content[2]]), content[3]
    start = 4 + 4 * dims
    if len(content) < start:
        raise DataError(path, f"expected the sizes of {dims} dimensions, but the file ends.")
    shape = tuple(int(size) for size in np.frombuffer(content, ">u4", dims, offset=4))
    expected, got = math.prod(shape) * dtype.itemsize, len(content) - start
    if got != expected:
        fault = "is cut off" if got < expected else "is too long"
        raise DataError(
            path,
            f"the file {fault}: its header promises {' x '.join(map(str, shape))} values, "
            f"{expected} bytes, and {got} bytes follow.",
        )
    values = np.frombuffer(content, dtype, offset=start).reshape(shape)
    return values.astype(dtype.newbyteorder("="))


def _content(path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(path, f"cannot be read: {error.strerror}.") from error
    if content[:2] != _GZIP:
        return content
    try:
        return gzip.decompress(content)
    except EOFError as error:
        raise DataError(path, "the gzip stream is cut off; fetch the file again.") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(path, f"the gzip stream is damaged: {error}.") from error
