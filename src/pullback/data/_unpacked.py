"""The bytes of files and of what is packed in them, none of which may swell beyond measure."""

import gzip
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, runtime_checkable

from pullback._names import shown
from pullback.data._errors import DataError

# Graphs as text are packed 10 to 30 times smaller; what is made to fill a memory, 1,000 times.
RATIO = 100
_SMALL, _CHUNK, _QUOTED = 64 * 2**20, 2**20, 160
# Of a zip file: how long its end is, and what is written for what 4 bytes have no room for.
_END, _NO_ROOM = 22, 2**32 - 1
# RuntimeError: a password is wanted, or (NotImplementedError) a newer program to unpack. The last
# two: what the table of a zip file says is taken for places and names as it stands.
_DAMAGE = (
    OSError, EOFError, RuntimeError, struct.error, zlib.error, zipfile.BadZipFile, OverflowError,
    UnicodeDecodeError,
)  # fmt: skip


@runtime_checkable
class Stream(Protocol):
    """What bytes are read from."""

    def read(self, size: int, /) -> bytes:
        """The next bytes, at most `size`, and none at the end."""
        ...


def unpacked(path: Path) -> bytes:
    """All bytes of a file, unzipped where its name ends in `.gz`."""
    if path.suffix.lower() != ".gz":
        with named_errors(path):
            return path.read_bytes()
    most = most_bytes(path)
    with named_errors(path), gzip.open(path) as file:
        found = take(file, most + 1)
    if len(found) > most:
        raise swollen(path)
    return found


def take(stream: Stream, size: int) -> bytes:
    """The next bytes of a stream, at most `size`; memory is taken as they come."""
    parts: list[bytes] = []
    while size > 0 and (part := stream.read(min(size, _CHUNK))):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


@contextmanager
def named_errors(path: Path, kind: str | None = None) -> Iterator[None]:
    """What unpacking and reading raise, as a DataError with the file's name."""
    try:
        yield
    except _DAMAGE as error:
        raise _unreadable(path, error, kind) from error


def _unreadable(path: Path, error: Exception, kind: str | None) -> DataError:
    what = "cannot be read" if kind is None else f"cannot be read as {kind}"
    # What the system says is no damage: there is no such file, or one may not read it.
    if isinstance(error, OSError) and error.strerror and error.filename:
        return DataError(path, f"{what}: {error.strerror}.")
    # zipfile quotes whole headers.
    reason = " ".join(f"{error}"[:_QUOTED].split()).rstrip(".") or "it is cut off"
    return DataError(path, f"{what}: {reason}. It is damaged, or no such file; get it anew.")


@contextmanager
def opened_zip(path: Path, kind: str = "a zip file") -> Iterator[zipfile.ZipFile]:
    """A zip file whose members can be unpacked, with errors that name it."""
    try:
        archive = zipfile.ZipFile(path)
    except (*_DAMAGE, ValueError, IndexError) as error:
        raise _unreadable(path, error, kind) from error
    with named_errors(path, kind), archive:
        for each in archive.infolist():
            if each.flag_bits & 1:
                raise DataError(
                    path, f"{shown(each.filename)} is locked by a password; unpack it by hand."
                )
            if each.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise DataError(
                    path,
                    f"{shown(each.filename)} is packed by a way not known here; unpack it, and "
                    "pack it anew by the usual one (deflate).",
                )
            # Its name at the end of the file is compared with the one before its bytes.
            archive.open(each).close()
        _check_ends(path, archive.infolist())
        yield archive


def _check_ends(path: Path, members: list[zipfile.ZipInfo]) -> None:
    """What the end of a zip file says of its members, and zipfile compares with nothing."""
    with path.open("rb") as file:
        for each in members:
            file.seek(each.header_offset + 14)
            before = struct.unpack("<III", file.read(12))
            after = (each.CRC, each.compress_size, each.file_size)
            # Bit 3: they were not known when what stands before was written; else of no room.
            if not each.flag_bits & 8 and any(
                one not in (other, _NO_ROOM) for one, other in zip(before, after, strict=True)
            ):
                raise zipfile.BadZipFile(f"it says two things of {shown(each.filename)}")
        size = file.seek(0, 2)
        file.seek(max(0, size - _END - 2**16))
        end = file.read()
    told = int.from_bytes(end[(place := end.rfind(b"PK\5\6") + 10) : place + 2], "little")
    if told not in (len(members), 2**16 - 1):
        raise zipfile.BadZipFile(f"it has {len(members)} members, and should have {told}")


def check_size(path: Path, members: Iterable[zipfile.ZipInfo], *, ratio: int = RATIO) -> None:
    """Raise where members of a zip file are together of an absurd size."""
    if sum(each.file_size for each in members) > most_bytes(path, ratio):
        raise swollen(path, ratio)


def member(archive: zipfile.ZipFile, name: str) -> bytes:
    """All bytes of a member, and no more of them than the archive says there are."""
    with archive.open(name) as file:
        found = take(file, archive.getinfo(name).file_size)
        # The sum over all is compared at the end, which of no bytes nothing has come to yet.
        file.read(1)
    return found


def most_bytes(path: Path, ratio: int = RATIO) -> int:
    """How much a file may unpack to."""
    with named_errors(path):
        return max(_SMALL, ratio * path.stat().st_size)


def swollen(path: Path, ratio: int = RATIO) -> DataError:
    """What is said of a file that unpacks to more."""
    return DataError(
        path,
        f"unpacks to more than {ratio} times its size, as data hardly do; if they are yours, "
        "unpack it by hand (arrays: write them by numpy.savez, which does not pack).",
    )
