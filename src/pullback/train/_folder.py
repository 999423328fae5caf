"""The folder of a training: held by one process, with the last two checkpoints in it."""

import re
import warnings
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from pullback._files import clear_stale
from pullback._lock import FolderLock, LockError, folder_lock
from pullback.train._checkpoint import CheckpointError, Stored, read_checkpoint, read_header

_NAME = re.compile(r"checkpoint-(\d{1,18})\.safetensors")
# Of an earlier version, which kept one.
_OLD = "checkpoint.npz"
# What `fit` and `iterate` say of a checkpoint.
_SAID = {
    "face": str, "step": int, "best": dict, "failed": bool, "rollbacks": object, "good": object,
    "versions": dict, "identity": dict, "fixed": dict,
}  # fmt: skip
_BEST = {"loss", "step", "stale"}


@contextmanager
def held(folder: Path | None) -> Iterator[FolderLock | None]:
    """Nobody else trains in the folder meanwhile; a new one that is left empty goes again."""
    lock = None
    with ExitStack() as stack:
        try:
            if folder is not None:
                lock = stack.enter_context(folder_lock(folder))
                # Each checkpoint has a name of its own, which may never be written again.
                clear_stale(folder, rf"{_NAME.pattern}\.")
        except LockError as error:
            raise CheckpointError(
                f"{folder}: another process (number {error.holder}) trains in it. Wait for it, or "
                "give another `folder`."
            ) from None
        except OSError as error:
            raise unusable(folder, error) from error
        yield lock


def unusable(folder: Path | None, error: OSError) -> CheckpointError:
    """What is said of a folder in which a training cannot begin."""
    return CheckpointError(
        f"`folder` = {folder} cannot be made, read or written to ({error.strerror}). Give another "
        "one, or make room in it."
    )


def file_of(folder: Path, step: int) -> Path:
    """The checkpoint after a step."""
    return folder / f"checkpoint-{step}.safetensors"


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in a folder, that after the most steps first."""
    found = (path for path in folder.glob("checkpoint-*") if _NAME.fullmatch(path.name))
    return sorted((path for path in found if path.is_file()), key=steps_of, reverse=True)


def steps_of(file: Path) -> int:
    """How many steps had been taken, by its name."""
    name = _NAME.fullmatch(file.name)
    assert name is not None
    return int(name[1])


def newest(folder: Path, *, stacklevel: int) -> Stored | None:
    """The last checkpoint that is whole, with a warning where that is not the last one.

    Raises:
        CheckpointError: there are some, and none is whole.
    """
    files = checkpoints(folder)
    if not files and (folder / _OLD).exists():
        raise CheckpointError(
            f"{folder / _OLD}: written by an earlier version, whose checkpoints this one does not "
            "read. Go on with that version, or start again in another folder."
        )
    first = None
    for file in files:
        try:
            stored = read_checkpoint(file)
        except CheckpointError as error:
            first = first or error
            continue
        if first is not None:
            warnings.warn(
                f"{first} The one before, {file}, is taken up: the state after {steps_of(file)} "
                "steps.",
                stacklevel=stacklevel + 1,
            )
        return stored
    if first is None:
        return None
    if checkpoints(folder) != files:  # a training went on meanwhile
        return newest(folder, stacklevel=stacklevel + 1)
    raise CheckpointError(
        f"{first} There is no whole one in the folder: delete its checkpoints and start again."
    )


def keep_two(folder: Path, step: int) -> None:
    """Take away all checkpoints but the one after a step, and the one before it.

    One after more steps is one that was damaged, when this training went on from the one before.
    """
    before = [file for file in checkpoints(folder) if steps_of(file) < step]
    kept = {file_of(folder, step), *before[:1]}
    for file in checkpoints(folder):
        if file not in kept:
            with suppress(OSError):
                file.unlink()


def is_of_training(header: dict[str, Any]) -> bool:
    """Whether it says what `fit` and `iterate` say, or it is one that the user has written."""
    said = header.keys() >= _SAID.keys()
    kinds = said and all(isinstance(header[name], kind) for name, kind in _SAID.items())
    return kinds and header["best"].keys() >= _BEST


def check_face(face: str, file: Path, header: dict[str, Any], *, also: Iterable[str] = ()) -> None:
    """The checkpoint is one that this face of training has written, and says what it says also."""
    known = is_of_training(header)
    if not known or header["face"] != face or not header.keys() >= set(also):
        by = f"by `{header['face']}`" if known and header["face"] != face else "by hand"
        raise CheckpointError(f"{file}: written {by} and this is `{face}`. Give another `folder`.")


def check_none_by_hand(face: str, folder: Path, *, but: Path | None = None) -> None:
    """No checkpoint in the folder is one that the user has written, which none may replace."""
    for file in checkpoints(folder):
        if file == but:
            continue
        try:
            header = read_header(file)
        except CheckpointError:  # of one that is damaged nobody can tell
            continue
        if not is_of_training(header):
            check_face(face, file, header)


def put_away(folder: Path, *, stacklevel: int) -> None:
    """Remove an older run's checkpoints, and say so."""
    files = checkpoints(folder)
    for file in files:
        file.unlink(missing_ok=True)
    if files and steps_of(files[0]):
        warnings.warn(
            f"{folder} held the checkpoint of a run of {steps_of(files[0])} steps, which is "
            "replaced: training starts afresh, at step 0 and with a new state of the optimiser. To "
            "go on from a checkpoint, give `resume=True`.",
            stacklevel=stacklevel + 1,
        )
