"""A folder that one process works in at a time."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # not on this system
    fcntl = None

_LOCK = ".lock"


class LockError(ValueError):
    """Another process works in the folder.

    Attributes:
        folder: where.
        holder: the number of the process, as text; "unknown" where it has not said.
    """

    def __init__(self, folder: Path, holder: str) -> None:
        super().__init__(
            f"{folder}: another process (number {holder}) is at work in it; wait for it, or name "
            "another folder."
        )
        self.folder, self.holder = folder, holder


@contextlib.contextmanager
def folder_lock(folder: str | os.PathLike[str]) -> Iterator[None]:
    """Make a folder and hold it; one that is new and left empty goes again.

    The system lets go of it when the process dies, however it does; the lock is on this computer's
    processes, and on those of others where the disk passes locks on.

    Raises:
        LockError: another process holds it, or this one does already.
        OSError: it cannot be made or written to.

    >>> import pathlib, tempfile
    >>> folder = pathlib.Path(tempfile.mkdtemp()) / "run"
    >>> with folder_lock(folder):
    ...     folder.is_dir()
    True
    >>> folder.exists()
    False
    """
    folder = Path(folder)
    # Not `exists` of Path, which raises for a name that is too long; `mkdir` says that of it.
    new = [path for path in (folder, *folder.parents) if not os.path.exists(path)]
    lock = _taken(folder)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            (folder / _LOCK).unlink()
        for path in new:  # from the inmost out; one that is not empty stays
            with contextlib.suppress(OSError):
                path.rmdir()
        os.close(lock)


def _taken(folder: Path) -> int:
    """An open lock file that is this process's alone."""
    folder.mkdir(parents=True, exist_ok=True)
    while True:
        lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
        if fcntl is None:
            return lock
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(lock, 20, 0).decode(errors="replace") or "unknown"
            os.close(lock)
            raise LockError(folder, holder) from None
        except OSError:  # a disk without locks
            return lock
        # Whoever held it may have taken the file away since it was opened.
        with contextlib.suppress(FileNotFoundError):
            if os.fstat(lock).st_ino == os.stat(folder / _LOCK).st_ino:
                # A full disk has no room for the number, and is held all the same.
                with contextlib.suppress(OSError):
                    os.truncate(lock, 0)
                    os.pwrite(lock, str(os.getpid()).encode(), 0)
                return lock
        os.close(lock)
        folder.mkdir(parents=True, exist_ok=True)
