"""Files that are written whole or not at all."""

import csv
import errno
import io
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """Open a binary file that appears at `path` only when the block ends without an error.

    The bytes go to a temporary file in the same folder, are flushed to the disk, and are moved to
    `path` in one step, so a reader, or who comes after a kill, sees the old file or the new one.

    >>> import pathlib, tempfile
    >>> target = pathlib.Path(tempfile.mkdtemp()) / "note.txt"
    >>> with atomic_write(target) as file:
    ...     _ = file.write(b"whole")
    >>> target.read_text()
    'whole'
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # One name a process: what a killed process left behind is in nobody's way.
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def check_writable(path: str | os.PathLike[str]) -> None:
    """Raise now the `OSError` that `atomic_write` would raise after all the work.

    A file is made beside `path` and taken away again, with the folders that it needed.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    new = [folder for folder in path.parents if not os.path.exists(folder)]
    probe = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    finally:
        for folder in new:  # from the inmost out
            with suppress(OSError):
                folder.rmdir()


def atomic_write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write `text` as UTF-8 to `path`, whole or not at all."""
    with atomic_write(path) as file:
        file.write(text.encode())


def atomic_write_csv(path: str | os.PathLike[str], rows: Iterable[Sequence[object]]) -> None:
    """Write rows of cells as CSV to `path`, the header first, whole or not at all."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    atomic_write_text(path, text.getvalue())
