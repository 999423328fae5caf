"""The folder of a run: held by one process, and one run's alone."""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pullback._lock import LockError, folder_lock
from pullback.runs._records import read_identity
from pullback.runs._written import RunError, clear, is_listed, results


@contextlib.contextmanager
def held(folder: Path) -> Iterator[Callable[[], None]]:
    """Make a folder and hold it; one that is new and left empty goes again.

    Yields:
        What raises a `RunError` where the folder is no longer held: somebody took it away.

    Raises:
        RunError: The folder cannot be made, or another process holds it.
    """
    # Not `exists` of Path, which raises for a name that is too long.
    if os.path.exists(folder) and not folder.is_dir():
        raise RunError(f"{folder} is a file; name a folder with --out")
    with contextlib.ExitStack() as stack:
        try:
            lock = stack.enter_context(folder_lock(folder))
        except LockError as error:
            raise RunError(
                f"another process (number {error.holder}) is running in {folder}; wait for it, or "
                "name another folder with --out"
            ) from error
        except OSError as error:
            raise RunError(
                f"{folder} cannot be made or written to ({error.strerror}); name another folder "
                "with --out"
            ) from error

        def still() -> None:
            try:
                lock.check()
            except OSError as error:
                raise RunError(
                    f"{folder} was taken away while a run was at work in it: nothing more is "
                    "written there; start the run again"
                ) from error

        yield still


def finished(folder: Path) -> bool:
    """Whether the folder holds a run with its claims."""
    return (folder / "claims.json").exists()


def run_in(folder: Path) -> dict[str, Any] | None:
    """What the run in the folder is, or None where there is no run and no file.

    Raises:
        RunError: There are files, and none says that they are a run's.
    """
    if all(path.name.startswith(".") for path in folder.iterdir()):
        return None
    if is_listed(folder) and not os.path.lexists(folder / "config.json") and not results(folder):
        clear(folder)  # a run that was killed before it had said what it is
        return None
    found = read_identity(folder)
    if found is None or not is_listed(folder):
        raise RunError(
            f"{folder} holds files, and no run of pullback (config.json names none, or there is no "
            "list of what it wrote, files.json); name another folder with --out"
        )
    return found
