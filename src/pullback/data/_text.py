"""Files of text as lines, and as bytes of UTF-8, however they are written and packed."""

import codecs
import gzip
import io
import stat
import zlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

from pullback.data._errors import DataError

# A text is packed 3 to 10 times smaller; what is made to fill a memory, 1,000 times.
_RATIO, _SMALL = 100, 2**30
_GZIP = b"\x1f\x8b"
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # begins as that of UTF-16 does
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_NO_TEXT = (
    (b"PK\x03\x04", "a zip file or a spreadsheet; unpack it, or save the sheet as CSV (UTF-8)"),
    (b"\xd0\xcf\x11\xe0", "a spreadsheet; save the sheet as CSV (UTF-8)"),
    (b"PAR1", "Parquet; let its name end in .parquet"),
    (b"\x93NUMPY", "one array (npy); write a table by numpy.savez(file, x=...), as .npz"),
    (_GZIP, "packed by gzip twice; unpack it once"),
    (b"BZh", "packed by bzip2; unpack it, or pack it by gzip"),
    (b"\xfd7zXZ\x00", "packed by xz; unpack it, or pack it by gzip"),
    (b"\x28\xb5\x2f\xfd", "packed by zstd; unpack it, or pack it by gzip"),
)


@contextmanager
def open_text(path: Path) -> Iterator[IO[str]]:
    """The lines of a file, with their ends as they are written, and errors that name the file.

    It is in UTF-8, or in UTF-16 with its mark at the beginning, and may be packed by gzip.
    """
    with open_utf8(path) as file:
        yield io.TextIOWrapper(file, encoding="utf-8", newline="")


@contextmanager
def open_utf8(path: Path) -> Iterator[Any]:
    """As `open_text`, as bytes of UTF-8, which are still to be decoded, without the mark."""
    try:
        with _unpacked(path) as (file, codec):
            if codec == "utf-8-sig":
                file.read(len(codecs.BOM_UTF8))
            elif codec != "utf-8":
                file = io.BufferedReader(_Recoded(file, codec))
            yield file
    except UnicodeDecodeError as error:
        with _unpacked(path) as (file, codec):
            raise _undecoded(path, codec, file, error) from error
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(path, f"cannot be read: {reason}.") from error


@contextmanager
def _unpacked(path: Path) -> Iterator[tuple[Any, str]]:
    if stat.S_ISFIFO(path.stat().st_mode):
        # It is read once to see how it is written; what was read then would be lost.
        raise DataError(path, "is a pipe, which can be read only once; write it to a file first.")
    with ExitStack() as stack:
        file: Any = stack.enter_context(path.open("rb"))
        if path.suffix.lower() == ".gz" or file.peek(2)[:2] == _GZIP:
            most = max(_SMALL, _RATIO * path.stat().st_size)
            unzipped: Any = stack.enter_context(gzip.GzipFile(fileobj=file))
            file = io.BufferedReader(_Measured(path, unzipped, most))
        yield file, _codec(path, file.peek(8)[:8])


def decoded(content: bytes, path: Path) -> str:
    """The text of bytes that were in a file, as `open_text` reads it."""
    if content.startswith(_GZIP):
        raise DataError(path, "is packed by gzip; let its name end in .gz.")
    codec = _codec(path, content)
    try:
        return content.decode(codec)
    except UnicodeDecodeError as error:
        raise _undecoded(path, codec, content.split(b"\n"), error) from error


def _codec(path: Path, first: bytes) -> str:
    """How a text is written that begins so."""
    for mark, kind in _NO_TEXT:
        if first.startswith(mark):
            raise DataError(path, f"expected text; this is {kind}.")
    codec = next((codec for mark, codec in _MARKS if first.startswith(mark)), "utf-8")
    if codec == "utf-8" and b"\0" in first:
        problem = (
            "expected text in UTF-8; this is UTF-16 without its mark, or no text at all. Save it "
            "as CSV UTF-8, or run iconv -f utf-16le -t utf-8."
        )
        raise DataError(path, problem)
    return codec


class _Measured(io.RawIOBase):
    """Unzipped bytes, of which there may be no absurd number."""

    def __init__(self, path: Path, file: io.BufferedIOBase, most: int) -> None:
        super().__init__()
        self._path, self._file, self._left = path, file, most

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        found = self._file.read(len(buffer))
        buffer[: len(found)] = found
        self._left -= len(found)
        if self._left < 0:
            raise DataError(
                self._path,
                f"unpacks to more than {_RATIO} times its size, as tables do not; if it is yours, "
                "unpack it by hand.",
            )
        return len(found)


class _Recoded(io.RawIOBase):
    """The bytes of UTF-8 of a text in another code."""

    def __init__(self, file: Any, codec: str) -> None:
        super().__init__()
        self._text = io.TextIOWrapper(file, encoding=codec, newline="")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        found = self._text.read(max(1, len(buffer) // 4)).encode()
        buffer[: len(found)] = found
        return len(found)


def _undecoded(
    path: Path, codec: str, lines: Iterable[bytes], error: UnicodeDecodeError
) -> DataError:
    """What is wrong with the first line that cannot be decoded."""
    if not codec.startswith("utf-8"):
        problem = f"has the mark of {codec.upper()}, and cannot be read so: {error.reason}."
        return DataError(path, problem)
    for line, data in enumerate(lines, 1):
        try:
            data.decode()
        except UnicodeDecodeError as found:
            byte = data[found.start : found.start + 1]
            letter = byte.decode("cp1252", "replace")
            return DataError(
                path,
                f"expected text in UTF-8, got the byte 0x{byte.hex()}. If that is {letter!r}, "
                "the file is in Windows-1252, as older spreadsheets write it: save it as CSV "
                "UTF-8, or run iconv -f cp1252 -t utf-8 FILE > NEWFILE.",
                line=line,
            )
    return DataError(path, f"expected text in UTF-8: {error}.")
