"""A fitted model in a folder: `model.json` and `model.safetensors`, and nothing that is run."""

import hashlib
import json
import math
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from pullback import __version__
from pullback._files import atomic_write, atomic_write_text

_FORMAT = 1
_FIELDS = {"format", "task", "settings", "fitted", "arrays", "versions"}
_JSON, _ARRAYS = "model.json", "model.safetensors"
_LIBRARIES = ("jax", "numpy", "scikit-learn")


class ModelError(ValueError):
    """A folder holds no saved model, or one that is damaged or of another version."""


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
    from safetensors.numpy import save

    whole = {name: np.asarray(array, order="C") for name, array in sorted(arrays.items())}
    stored = save(whole)
    record = {
        "format": _FORMAT,
        "task": task,
        "settings": dict(settings),
        "fitted": dict(fitted),
        "arrays": {"sha256": _digest(stored), "bytes": len(stored)},
        "versions": {
            "pullback": __version__, **{name: metadata.version(name) for name in _LIBRARIES}
        },
    }  # fmt: skip
    text = _text(record)
    if json.loads(_bare(json.loads(text))) != record:
        raise ValueError("the settings of a saved model must be numbers, text, None or lists.")
    # The arrays first: a reader sees the old model, or a digest that does not fit, or the new one.
    with atomic_write(folder / _ARRAYS) as file:
        file.write(stored)
    atomic_write_text(folder / _JSON, text)


def read_model(folder: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What `write_model` wrote.

    Raises:
        ModelError: there is none, it is damaged, or another version wrote it.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    record = read_card(folder)
    try:
        stored = (folder / _ARRAYS).read_bytes()
    except OSError as error:
        raise ModelError(f"{folder / _ARRAYS} cannot be read: {error.strerror}.") from error
    if _digest(stored) != record["arrays"]["sha256"]:
        raise ModelError(
            f"{folder / _ARRAYS} is not the file that belongs to {_JSON}: it is damaged, or of "
            f"another fit. {_REMEDY}"
        )
    try:
        return record, load(stored)
    except SafetensorError as error:
        raise ModelError(f"{folder / _ARRAYS} is damaged ({error}). {_REMEDY}") from error


def read_card(folder: Path) -> dict[str, Any]:
    """What a saved model says of itself, without its arrays.

    Raises:
        ModelError: as for `read_model`.
    """
    file = folder / _JSON
    try:
        stored = file.read_bytes()
    except OSError as error:
        raise ModelError(
            f"{folder} holds no saved model ({error.strerror}: {_JSON}); `pullback fit` makes one."
        ) from error
    try:
        record = json.loads(stored)
        whole = _text({**record}).encode() == stored
    except (ValueError, TypeError, KeyError) as error:
        raise ModelError(f"{file} is damaged ({error}). {_REMEDY}") from error
    found = record.get("format")
    if isinstance(found, int) and found != _FORMAT:
        raise ModelError(
            f"{file} is in format {found}, and this version of pullback, {__version__}, reads "
            f"format {_FORMAT}. Fit the model again, or install the version that wrote it."
        )
    unknown = sorted(set(record) - _FIELDS - {"digest"})
    if unknown:
        raise ModelError(f"{file} has fields that are not known: {', '.join(unknown)}. {_REMEDY}")
    # Every byte counts: what is read must be what would be written.
    if not whole or record.get("digest") != _digest(_bare(record)):
        raise ModelError(f"{file} is damaged: it is not what was written. {_REMEDY}")
    wrote = record["versions"]["pullback"]
    if wrote.split(".")[0] != __version__.split(".")[0]:
        raise ModelError(
            f"{file} was written by pullback {wrote}, and this is {__version__}. Fit the model "
            "again, or install that version."
        )
    return record


_REMEDY = "Fit the model again, or take its folder from a backup."


def _text(record: dict[str, Any]) -> str:
    bare = {name: value for name, value in record.items() if name != "digest"}
    return json.dumps({**bare, "digest": _digest(_bare(bare))}, indent=1, sort_keys=True) + "\n"


def _bare(record: dict[str, Any]) -> bytes:
    bare = {name: value for name, value in record.items() if name != "digest"}
    return json.dumps(bare, sort_keys=True).encode()


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


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
