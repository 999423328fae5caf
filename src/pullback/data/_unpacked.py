"""The bytes of files and of what is packed in them, none of which may swell beyond measure."""

import gzip
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pullback.data._errors import DataError

# Graphs as text are packed 10 to 30 times smaller; what is made to fill a memory, 1,000 times.
_RATIO, _SMALL = 100, 64 * 2**20


def unpacked(path: Path) -> bytes:
    """All bytes of a file, unzipped where its name ends in `.gz`."""
    try:
        if path.suffix.lower() != ".gz":
            return path.read_bytes()
        most = _most(path)
        with gzip.open(path) as file:
            found = file.read(most + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(
            path, f"cannot be read: {getattr(error, 'strerror', None) or error}."
        ) from error
    if len(found) > most:
        raise _swollen(path)
    return found


@contextmanager
def opened_zip(path: Path, kind: str = "a zip file") -> Iterator[zipfile.ZipFile]:
    """A zip file whose members are together of no absurd size, with errors that name it."""
    try:
        with zipfile.ZipFile(path) as archive:
            for each in archive.infolist():
                if each.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                    raise DataError(path, f"{each.filename} is packed by a way not known here.")
            if sum(each.file_size for each in archive.infolist()) > _most(path):
                raise _swollen(path)
            yield archive
    # RuntimeError: a password is wanted.
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile, RuntimeError) as error:
        raise DataError(path, f"cannot be read as {kind}: {error}") from error


def member(archive: zipfile.ZipFile, name: str) -> bytes:
    """All bytes of a member, and no more of them than the archive says there are."""
    size = archive.getinfo(name).file_size
    with archive.open(name) as file:
        return file.read(size)


def _most(path: Path) -> int:
    return max(_SMALL, _RATIO * path.stat().st_size)


def _swollen(path: Path) -> DataError:
    return DataError(
        path,
        f"unpacks to more than {_RATIO} times its size, as graphs do not; if they are yours, "
        "unpack it by hand and name the folder.",
    )
