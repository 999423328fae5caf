"""A finished stage as one file: arrays and JSON, no pickle."""

import json
import zipfile
from pathlib import Path
from typing import Any

from pullback._files import atomic_write


def save_stage(path: Path, value: Any) -> Any:
    """Write `value` to `path`, and return it as `load_stage` will."""
    import numpy as np

    arrays: dict[str, Any] = {}
    # Encoded as JSON and back, so that what is returned now is what is read later.
    text = json.dumps(_encode(value, arrays, "result"))
    with atomic_write(path) as file:
        np.savez(file, structure=np.frombuffer(text.encode(), np.uint8), **arrays)
    return _decode(json.loads(text), arrays)


def load_stage(path: Path) -> Any:
    """Read what `save_stage` wrote; running no code."""
    import numpy as np

    try:
        with path.open("rb") as handle, np.load(handle, allow_pickle=False) as file:
            arrays = dict(file)
        return _decode(json.loads(arrays["structure"].tobytes()), arrays)
    except (zipfile.BadZipFile, OSError, ValueError, KeyError, EOFError) as error:
        raise ValueError(
            f"{path} is not a whole stage file ({error}); delete it, and the stage runs again"
        ) from error


def _encode(value: Any, arrays: dict[str, Any], where: str) -> Any:
    import numpy as np

    if value is None or (isinstance(value, (bool, int, float, str)) and not _is_numpy(value)):
        return value
    if isinstance(value, (list, tuple)):
        items = [_encode(item, arrays, f"{where}[{i}]") for i, item in enumerate(value)]
        return {"tuple" if isinstance(value, tuple) else "list": items}
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise TypeError(f"a stage's {where} is a dictionary whose keys are not all text")
        return {
            "dict": [
                [key, _encode(item, arrays, f"{where}[{key!r}]")] for key, item in value.items()
            ]
        }
    if hasattr(value, "__array__"):
        array = np.array(value)  # a copy: whoever holds the original may write to it
        if array.dtype.kind in "biufcSU":
            label = f"array{len(arrays)}"
            arrays[label] = array
            return {"array": label}
    raise TypeError(
        f"a stage's {where} is a {type(value).__name__}; return arrays of numbers, Python numbers, "
        "text, None, and lists, tuples and dictionaries of these"
    )


def _is_numpy(value: Any) -> bool:
    return hasattr(value, "dtype")  # np.float64 is a float too, but is kept as an array


def _decode(value: Any, arrays: dict[str, Any]) -> Any:
    if not isinstance(value, dict):
        return value
    [(kind, inner)] = value.items()
    match kind:
        case "array":
            return arrays[inner]
        case "dict":
            return {key: _decode(item, arrays) for key, item in inner}
        case "tuple":
            return tuple(_decode(item, arrays) for item in inner)
        case _:
            return [_decode(item, arrays) for item in inner]
