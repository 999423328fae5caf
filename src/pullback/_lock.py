"""A folder that one process works in at a time."""

import contextlib
import dataclasses
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from pullback._files import named

try:
    import fcntl
except ImportError:  # not on this system
    fcntl = None

_LOCK = ".lock"
# How often it is tried again where another process makes and takes away the folder meanwhile.
_TRIES = 1000
# The lock files of this process that are open.
_HELD: set[int] = set()


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


@dataclasses.dataclass(frozen=True)
class FolderLock:
    """A folder that is held; `folder_lock` makes it.

    Attributes:
        folder: where.
    """

    folder: Path
    _opened: int
    _place: tuple[int, int]
    _process: int

    def check(self) -> None:
        """See that the folder is held still, before something is written to it.

        Raises:
            OSError: it was removed or moved meanwhile, and another process may work in one of the
                same name.
        """
        if self._lost():
            told = "it was removed or moved while it was worked in"
            raise OSError(errno.ESTALE, told, str(self.folder))

    def _lost(self) -> bool:
        try:
            return _place_of(os.lstat(self.folder / _LOCK)) != self._place
        except OSError:
            return True

    def _let_go(self, new: list[Path]) -> None:
        if os.getpid() != self._process:  # a child that was forked; the parent holds it
            return
        if not self._lost():
            with contextlib.suppress(OSError):
                (self.folder / _LOCK).unlink()
            for path in new:  # from the inmost out; one that is not empty stays
                with contextlib.suppress(OSError):
                    path.rmdir()
        _closed(self._opened)


@contextlib.contextmanager
def folder_lock(folder: str | os.PathLike[str]) -> Iterator[FolderLock]:
    """Make a folder and hold it; one that is new and left empty goes again.

    The system lets go of it when the process dies, however it does, and whatever children it has;
    the lock is on this computer's processes, and on those of others where the disk passes locks on.
    It does not keep anyone from removing the folder: what is given says whether it is held still.

    Raises:
        LockError: another process holds it, or this one does already.
        OSError: it cannot be made or written to.

    >>> import pathlib, tempfile
    >>> folder = pathlib.Path(tempfile.mkdtemp()) / "run"
    >>> with folder_lock(folder) as lock:
    ...     lock.check()
    ...     folder.is_dir()
    True
    >>> folder.exists()
    False
    """
    folder = named(folder)
    # Not `exists` of Path, which raises for a name that is too long; `mkdir` says that of it.
    new = [path for path in (folder, *folder.parents) if not os.path.exists(path)]
    lock = _taken(folder)
    try:
        yield lock
    finally:
        lock._let_go(new)


def _taken(folder: Path) -> FolderLock:
    """The lock of a folder, this process's alone."""
    failed: OSError = FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(folder))
    for _ in range(_TRIES):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            opened = _opened(folder)
        except (FileNotFoundError, FileExistsError) as error:  # who held it takes it away just now
            failed = error
            continue
        _HELD.add(opened)
        lock = FolderLock(folder, opened, _place_of(os.fstat(opened)), os.getpid())
        if fcntl is None:
            return lock
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(opened, 20, 0).decode(errors="replace") or "unknown"
            _closed(opened)
            raise LockError(folder, holder) from None
        except OSError:  # a disk without locks
            return lock
        # Whoever held it may have taken the file away since it was opened.
        if not lock._lost():
            # A full disk has no room for the number, and is held all the same.
            with contextlib.suppress(OSError):
                os.truncate(opened, 0)
                os.pwrite(opened, str(os.getpid()).encode(), 0)
            return lock
        _closed(opened)
    raise failed


def _opened(folder: Path) -> int:
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
    try:
        return os.open(folder / _LOCK, flags, 0o666)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        told = "it is a link, which is not followed; delete it"
        raise OSError(errno.ELOOP, told, str(folder / _LOCK)) from None


def _place_of(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


def _closed(opened: int) -> None:
    _HELD.discard(opened)
    os.close(opened)


def _close_all() -> None:
    """What a forked child does first: else it would hold them after its parent's death."""
    while _HELD:
        with contextlib.suppress(OSError):
            os.close(_HELD.pop())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_all)
