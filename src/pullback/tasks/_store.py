"""A fitted model in a folder: `model.safetensors`, and nothing that is run."""

import json
import math
import os
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from pullback import __version__
from pullback._archive import ArchiveError, read_archive, write_archive
from pullback._files import atomic_write_text
from pullback._saved import ARCHIVE, COPY, foreign

_FORMAT = 2
_FIELDS = {"format", "task", "settings", "fitted", "versions"}
_LIBRARIES = ("jax", "numpy", "scikit-learn")
_REMEDY = "Fit the model again, or take its folder from a backup."


class ModelError(ValueError):
    """A folder holds no saved model, or one that is damaged or of another version."""


def check_own(folder: Path, *names: str) -> None:
    """Refuse to write over files that are no saved model's.

    Raises:
        ModelError: one of these names is taken by such a file.
    """
    if taken := foreign(folder, names):
        raise ModelError(
            f"{taken} is there, and no model that pullback saved; move it elsewhere, or name "
            "another folder."
        )


def write_model(
    folder: Path,
    task: str,
    settings: Mapping[str, Any],
    fitted: Mapping[str, Any],
    arrays: Mapping[str, np.ndarray],
) -> None:
    """Write a model: what its constructor was given, what it found as JSON, and its arrays.

    Raises:
        ValueError: a setting or a finding is no JSON.
    """
    record = {
        "format": _FORMAT,
        "task": task,
        "settings": dict(settings),
        "fitted": dict(fitted),
        "versions": {
            "pullback": __version__, **{name: metadata.version(name) for name in _LIBRARIES}
        },
    }  # fmt: skip
    text = json.dumps(record, indent=1, sort_keys=True)
    if json.loads(text) != record:
        raise ValueError("the settings of a saved model must be numbers, text, None or lists.")
    whole = {name: np.asarray(array, order="C") for name, array in sorted(arrays.items())}
    # One file has all of a model: whoever is killed here leaves the old one or the new.
    write_archive(folder / ARCHIVE, json.loads(text), whole)
    # For people, and for programs that want to know without pullback; `read_model` reads it never.
    atomic_write_text(folder / COPY, text + "\n")


def read_model(folder: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What `write_model` wrote.

    Raises:
        ModelError: there is none, it is damaged, or another version wrote it.
    """
    file = folder / ARCHIVE
    try:
        os.stat(file)
    except PermissionError as error:
        raise ModelError(f"{file}: cannot be read: {error.strerror}.") from error
    except (OSError, ValueError):  # of a name that is too long, or has a NUL in it, too
        raise ModelError(
            f"{folder} holds no saved model (there is no {ARCHIVE}); `pullback fit` makes one."
        ) from None
    try:
        record, arrays = read_archive(file)
    except ArchiveError as error:
        if _is_of_the_first_format(folder):
            raise ModelError(
                f"{folder} holds a model in format 1, and this version of pullback, "
                f"{__version__}, reads format {_FORMAT}. Fit the model again, or install the "
                "version that wrote it."
            ) from None
        raise ModelError(f"{error} {_REMEDY}") from error
    _check(record, file)
    return record, arrays


def _check(record: dict[str, Any], file: Path) -> None:
    """Say what a whole record is not that this version could take."""
    missing, unknown = sorted(_FIELDS - set(record)), sorted(set(record) - _FIELDS)
    if record.get("format", _FORMAT) != _FORMAT:
        raise ModelError(
            f"{file} is in format {record['format']}, and this version of pullback, {__version__}, "
            f"reads format {_FORMAT}. Fit the model again, or install the version that wrote it."
        )
    if missing or unknown:
        told = [f"lacks {', '.join(missing)}"] if missing else []
        told += [f"has fields that are not known: {', '.join(unknown)}"] if unknown else []
        raise ModelError(f"{file} is no saved model: it {' and '.join(told)}. {_REMEDY}")
    kinds = {"task": str, "settings": dict, "fitted": dict, "versions": dict}
    for name, kind in kinds.items():
        if not isinstance(record[name], kind):
            raise ModelError(f"{file} is no saved model: {name} is no {kind.__name__}. {_REMEDY}")
    wrote = record["versions"].get("pullback")
    if not isinstance(wrote, str):
        raise ModelError(f"{file} does not say which version wrote it. {_REMEDY}")
    if wrote.split(".")[0] != __version__.split(".")[0]:
        raise ModelError(
            f"{file} was written by pullback {wrote}, and this is {__version__}. Fit the model "
            "again, or install that version."
        )


def _is_of_the_first_format(folder: Path) -> bool:
    """Whether a folder was written when text and arrays were two files, each half of a model."""
    try:
        return json.loads((folder / COPY).read_bytes())["format"] == 1
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return False


def plain(value: Any) -> Any:
    """NumPy's numbers and arrays as Python's, for JSON; a number that is none as None."""
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
