"""The folder of a run: held by one process, and one run's alone."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pullback._lock import LockError, folder_lock
from pullback.runs._records import read_identity

# Everything that a run writes, in the order in which a run that is replaced is taken away: the
# mark of a finished run first and the mark of a run last, so that a kill in between is harmless.
_LAYOUT = (
    "claims.json", "report.html", "contents.json", "figures/*.png", "metrics.jsonl", "training",
    "stages/*.safetensors", "config.json",
)  # fmt: skip
_FOLDERS = ("figures", "stages")  # that go with the last of their files


class RunError(ValueError):
    """A run cannot start, because of what lies in its folder or who holds it."""


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Make a folder and hold it; one that is new and left empty goes again.

    Raises:
        RunError: The folder cannot be made, or another process holds it.
    """
    # Not `exists` of Path, which raises for a name that is too long.
    if os.path.exists(folder) and not folder.is_dir():
        raise RunError(f"{folder} is a file; name a folder with --out")
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(folder_lock(folder))
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
        yield


def finished(folder: Path) -> bool:
    """Whether the folder holds a run with its claims."""
    return (folder / "claims.json").exists()


def begun(folder: Path) -> bool:
    """Whether a run in the folder has something to lose: claims, a stage or a checkpoint."""
    kept = (path for name in ("stages", "training") for path in (folder / name).rglob("*"))
    return finished(folder) or any(path.is_file() for path in kept)


def run_in(folder: Path) -> dict[str, Any] | None:
    """What the run in the folder is, or None where there is no run and no file.

    Raises:
        RunError: There are files, and none says that they are a run's.
    """
    if all(path.name.startswith(".") for path in folder.iterdir()):
        return None
    found = read_identity(folder)
    if found is None:
        raise RunError(
            f"{folder} holds files, and no run of pullback (config.json names none); name another "
            "folder with --out"
        )
    return found


def clear(folder: Path) -> None:
    """Take away what a run wrote, and nothing else.

    Raises:
        RunError: Something of it cannot be taken away.
    """
    try:
        for name in _LAYOUT:
            inner, _, last = name.rpartition("/")
            # What a run that was killed had begun to write has such a name.
            for pattern in (last, f".{last}.*"):
                for path in (folder / inner).glob(pattern):
                    if name == "training" and path.is_dir() and not path.is_symlink():
                        shutil.rmtree(path)
                    elif path.is_symlink() or path.is_file():
                        path.unlink()
    except OSError as error:
        raise RunError(f"{error.filename} cannot be taken away ({error.strerror})") from error
    for name in _FOLDERS:
        with contextlib.suppress(OSError):
            (folder / name).rmdir()
