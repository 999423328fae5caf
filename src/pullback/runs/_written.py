"""The list of what a run wrote in its folder: nothing else there is its to move, or to write over.

What lies there may be anybody's: a picture beside the run's, a link to another folder. So a name is
put on the list before the file is written, a name that is taken is refused, and no link to a folder
is followed.
"""

import contextlib
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from pullback._files import atomic_write_text, clear_stale_of
from pullback.runs._records import read_json

_LIST = "files.json"
_AT_THE_TOP = (
    "config.json", "legs.json", "metrics.jsonl", "contents.json", "claims.json", "report.html",
)  # fmt: skip
_FOLDERS = ("figures", "stages", "training")
_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"
_KNOWN = re.compile(
    "|".join(map(re.escape, _AT_THE_TOP))
    + rf"|figures/{_NAME}\.png|stages/{_NAME}\.safetensors|training/{_NAME}"
)
# What a training keeps in its folder, as `train.fit` says.
_OF_TRAINING = re.compile(r"checkpoint-\d+\.safetensors|metrics\.jsonl|\.lock")
# Where a run that is being replaced waits until another has taken its place.
_ASIDE = ".replaced"


class RunError(ValueError):
    """A run cannot start, because of what lies in its folder or who holds it."""


class Written:
    """The files of one run: those on its list, and what it adds.

    Args:
        root: the run's folder.
        still: raises a `RunError` where the folder is no longer this run's.

    Raises:
        RunError: the list is damaged.
    """

    def __init__(self, root: Path, still: Callable[[], None] | None = None):
        self.root = root
        self.names = _listed(root)
        self._still = still or (lambda: None)

    def claim(self, name: str) -> Path:
        """The path of a file, or of a training's folder, that this run may write.

        Raises:
            RunError: it is there and not of this run, or it would be written through a link.
        """
        self._still()
        path = self.root / name
        for above in (path.parent, path) if name.startswith("training/") else (path.parent,):
            if above != self.root and above.is_symlink():
                raise RunError(_linked(above))
        if name not in self.names:
            if problem := _problem(self.root, name):
                raise RunError(problem)
            self.names.append(name)
            _write_list(self.root, self.names)
        return path

    def newest(self) -> float | None:
        """When the run last wrote a file, in seconds of the clock, or None if it wrote none."""
        files = [path for name in self.names for path in _files_of(self.root, name)]
        return max((path.lstat().st_mtime for path in files), default=None)


def is_listed(folder: Path) -> bool:
    """Whether there is a list of what a run wrote."""
    return (folder / _LIST).is_file()


def check_places(folder: Path) -> None:
    """Refuse a folder in which a run would meet another's file, or a link, where it writes.

    Raises:
        RunError: as of `Written.claim`.
    """
    names = _listed(folder)
    for name in _AT_THE_TOP:
        if name not in names and (problem := _problem(folder, name)):
            raise RunError(problem)
    for name in _FOLDERS:
        inner = folder / name
        if inner.is_symlink() or (inner.exists() and not inner.is_dir()):
            raise RunError(_linked(inner))


def results(folder: Path) -> bool:
    """Whether there is anything that a run computed: claims, a stage, a checkpoint."""
    told = [name for name in _listed(folder) if not name.startswith("figures/")]
    computed = [name for name in told if name not in _AT_THE_TOP or name == "claims.json"]
    return any(path.name != ".lock" for name in computed for path in _files_of(folder, name))


def clear(folder: Path) -> None:
    """Take away what is on the list; it stays, as an empty one, where other files do."""
    names = _listed(folder)
    for name in reversed(names):
        for path in _files_of(folder, name):
            path.unlink(missing_ok=True)
    _without_empty(folder, names)
    if any(path.name != _LIST and not path.name.startswith(".") for path in folder.iterdir()):
        _write_list(folder, [])
    else:
        (folder / _LIST).unlink(missing_ok=True)


def put_aside(folder: Path) -> None:
    """Move the run in a folder out of the way of one that is to replace it.

    The list goes first: from then on `settle_aside` knows that it has to come back.
    """
    names = _listed(folder)
    aside = folder / _ASIDE
    aside.mkdir(exist_ok=True)
    os.replace(folder / _LIST, aside / _LIST)
    _move(names, folder, aside)


def settle_aside(folder: Path) -> None:
    """Let the run that was put aside go, if the one that replaces it has results; else restore it.

    Whoever was killed while a run was replaced leaves one of the two whole for the next call.
    """
    aside = folder / _ASIDE
    if aside.is_symlink() or not aside.is_dir():
        return
    if is_listed(aside) and results(folder):
        clear(aside)
    elif is_listed(aside):
        if is_listed(folder):
            clear(folder)
        _move(_listed(aside), aside, folder)
        os.replace(aside / _LIST, folder / _LIST)
    with contextlib.suppress(OSError):
        aside.rmdir()


def is_aside(path: Path) -> bool:
    """Whether a file is of a run that is being replaced."""
    return _ASIDE in path.parts


def _move(names: list[str], source: Path, target: Path) -> None:
    for name in names:
        for path in [*_files_of(source, name)]:
            to = target / path.relative_to(source)
            if os.path.lexists(to):
                continue
            to.parent.mkdir(parents=True, exist_ok=True)
            os.replace(path, to)
    _without_empty(source, names)


def _files_of(folder: Path, name: str) -> Iterator[Path]:
    """The files that a name on the list stands for; none that is reached through a link."""
    path = folder / name
    if path.parent != folder and path.parent.is_symlink():
        return
    if not name.startswith("training/"):
        clear_stale_of(path)
        if path.is_symlink() or path.is_file():
            yield path
    elif path.is_dir() and not path.is_symlink():
        for inner in sorted(path.iterdir()):
            if _OF_TRAINING.fullmatch(inner.name) and (inner.is_symlink() or inner.is_file()):
                clear_stale_of(inner)
                yield inner


def _without_empty(folder: Path, names: list[str]) -> None:
    """Take away the folders of a run that are left empty."""
    inner = [folder / name for name in names if name.startswith("training/")]
    for path in [*inner, *(folder / name for name in _FOLDERS)]:
        if not (path.is_symlink() or path.parent.is_symlink()):
            with contextlib.suppress(OSError):
                path.rmdir()


def _problem(folder: Path, name: str) -> str | None:
    """Why a name that is not on the list may not be put on it."""
    taken = [*_files_of(folder, name)]
    if not taken and not name.startswith("training/") and os.path.lexists(folder / name):
        taken = [folder / name]
    if not taken:
        return None
    return (
        f"{taken[0]} is there, and no run of this folder wrote it; move it elsewhere, or name "
        "another folder with --out"
    )


def _linked(path: Path) -> str:
    kind = "link" if path.is_symlink() else "file"
    return (
        f"{path} is a {kind}, where a run has a folder of its own; take it away, or name another "
        "folder with --out"
    )


def _write_list(folder: Path, names: list[str]) -> None:
    atomic_write_text(folder / _LIST, json.dumps(names, indent=1) + "\n")


def _listed(folder: Path) -> list[str]:
    path = folder / _LIST
    if not path.is_file():
        return []
    try:
        names = read_json(path)
    except ValueError as error:
        raise RunError(f"{error}; name another folder with --out") from error
    if not isinstance(names, list) or not all(
        isinstance(name, str) and _KNOWN.fullmatch(name) for name in names
    ):
        raise RunError(
            f"{path} is damaged: it is no list of what a run wrote; name another folder with --out"
        )
    return names
