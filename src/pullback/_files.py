"""Files that are written whole or not at all."""

import csv
import errno
import io
import os
import re
import secrets
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

try:
    import fcntl
except ImportError:  # not on this system
    fcntl = None

# The disk is full, or what this user may fill of it, or a file is as large as it may be.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# Of a temporary name what is of the file's own, so that no name is too long for the disk.
_KEPT = 64


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """Open a binary file that appears at `path` only when the block ends without an error.

    The bytes go to a temporary file in the same folder, are flushed to the disk, and are moved to
    `path` in one step, so a reader, or who comes after a kill, sees the old file or the new one.
    The temporary name cannot be foreseen and is never one that is there already; what a killed
    writer of the same file left under such a name is taken away. A link at `path` is replaced, and
    not followed.

    Raises:
        OSError: the disk is full, or the place cannot be written to; it names `path`.

    >>> import pathlib, tempfile
    >>> target = pathlib.Path(tempfile.mkdtemp()) / "note.txt"
    >>> with atomic_write(target) as file:
    ...     _ = file.write(b"whole")
    >>> target.read_text()
    'whole'
    """
    path = named(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    clear_stale_of(path)
    with _of(path):
        temporary, opened = _new_beside(path)
        try:
            with os.fdopen(opened, "wb") as file:
                _give_mode_of(path, file.fileno())
                yield file
                file.flush()
                os.fsync(file.fileno())
                os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    _flush_names(path.parent)


def named(path: str | os.PathLike[str]) -> Path:
    """A place by a name that a file can have.

    Raises:
        OSError: there is a NUL in it, of which the system's own error does not tell the name.
    """
    path = Path(path)
    if "\0" in os.fspath(path):
        raise OSError(errno.EINVAL, "a name cannot have a NUL in it", str(path))
    return path


@contextmanager
def _of(path: Path) -> Iterator[None]:
    """Name the file that is wanted in an error that names none, or one that nobody asked for."""
    try:
        yield
    except OSError as error:
        if error.filename is None or Path(error.filename).name.startswith(_prefix(path)):
            raise OSError(error.errno, error.strerror or str(error), str(path)) from error
        raise


def _new_beside(path: Path) -> tuple[Path, int]:
    """A new file beside `path`, open and, where the system can, held until it is closed."""
    while True:
        temporary = path.with_name(f"{_prefix(path)}{secrets.token_hex(8)}.tmp")
        # O_EXCL follows no link either.
        opened = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        # Who clears what dead writers left may have taken it before it was held.
        if _is_held(opened) and temporary.exists():
            return temporary, opened
        os.close(opened)


def _give_mode_of(path: Path, opened: int) -> None:
    """Let who may read or write the file that is replaced do so afterwards, and nobody else."""
    with suppress(OSError, AttributeError):
        old = os.lstat(path)
        if stat.S_ISREG(old.st_mode):
            os.fchmod(opened, old.st_mode & 0o777)


def _is_held(opened: int) -> bool:
    """Whether an open file is this process's alone now; the system lets go of it at any death."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a disk without locks
        return True
    return True


def clear_stale(folder: Path, names: str) -> None:
    """Take away the temporary files in a folder whose writers are dead, of files of such names.

    Args:
        folder: where they are looked for.
        names: a regular expression for what stands in their names before the random part.
    """
    if fcntl is None:
        return
    stale = re.compile(rf"\.{names}[0-9a-f]{{16}}\.tmp")
    with suppress(OSError), os.scandir(folder) as entries:
        for each in entries:
            if stale.fullmatch(each.name) and each.is_file(follow_symlinks=False):
                _clear_one(each.path)


def clear_stale_of(path: Path) -> None:
    """Take away what killed writers of a file left beside it."""
    clear_stale(path.parent, re.escape(_prefix(path)[1:]))


def _clear_one(temporary: str) -> None:
    assert fcntl is not None
    with suppress(OSError):
        opened = os.open(temporary, os.O_RDONLY | os.O_NOFOLLOW)
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.unlink(temporary)
        finally:
            os.close(opened)


def _prefix(path: Path) -> str:
    # Bytes that are no UTF-8 are left out too: not every disk takes them.
    return f".{os.fsencode(path.name)[:_KEPT].decode(errors='ignore')}."


def _flush_names(folder: Path) -> None:
    """Put a new name on the disk too, where the system can: the file's bytes are there already."""
    with suppress(OSError, AttributeError):
        opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)


def check_writable(path: str | os.PathLike[str]) -> None:
    """Raise now the `OSError` that `atomic_write` would raise after all the work.

    A file is made beside `path` and taken away again, with the folders that it needed.
    """
    path = named(path)
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    new = [folder for folder in path.parents if not os.path.exists(folder)]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _of(path):
            probe, opened = _new_beside(path)
        probe.unlink()
        os.close(opened)
    finally:
        for folder in new:  # from the inmost out
            with suppress(OSError):
                folder.rmdir()


def atomic_write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write `text` as UTF-8 to `path`, whole or not at all.

    Of a name of a file that is no UTF-8, a byte such as 0xe9 becomes the six letters `\\udce9`,
    which JSON reads as what the name was.
    """
    with atomic_write(path) as file:
        file.write(_as_utf8(text))


def _as_utf8(text: str) -> bytes:
    return text.encode(errors="backslashreplace")


def printable(text: str) -> str:
    """Text for people, with a question mark for what is no letter: names of files may have such.

    >>> printable("caf\\udce9.csv")
    'caf?.csv'
    """
    return text.encode(errors="replace").decode()


def append_text(path: str | os.PathLike[str], text: str) -> None:
    """Add `text` to the end of a file, such as a log, of which a kill may leave a part.

    Raises:
        OSError: as of `atomic_write`; or what is there is a link, which is not followed.
    """
    path = named(path)
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
    with _of(path), os.fdopen(os.open(path, flags, 0o666), "wb") as file:
        file.write(_as_utf8(text))


def atomic_write_csv(path: str | os.PathLike[str], rows: Iterable[Sequence[object]]) -> None:
    """Write rows of cells as CSV to `path`, the header first, whole or not at all."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    atomic_write_text(path, text.getvalue())
