"""Where the files of a data set lie."""

import os
from pathlib import Path

from pullback.data._errors import DataError
from pullback.data._fetch import cache_folder


def places(name: str, folder: str | os.PathLike[str] | None, *, itself: bool = True) -> list[Path]:
    """The folders to look in, for a data set that lies in a folder of its name or in `folder`.

    Without a folder: the one that `PULLBACK_DATA` names, then the cache. `itself` is False where
    the folder above may hold another set's files under the same names.
    """
    if folder is not None:
        return [Path(folder) / name, Path(folder)]
    found = [cache_folder(name)]
    if named := os.environ.get("PULLBACK_DATA"):
        found = [Path(named) / name, *([Path(named)] if itself else []), *found]
    return found


def find(files: tuple[str, ...], folders: list[Path], name: str, advice: str = "") -> Path:
    """The first of `files` in the first folder that has one; a `DataError` where none has."""
    for folder in folders:
        for file in files:
            if (folder / file).exists():
                return folder / file
    raise DataError(
        files[0],
        f"not found in {', '.join(map(str, folders))}. Name the folder that holds it, or set "
        f"PULLBACK_DATA to the folder above `{name}`{advice}.",
    )
