"""A finished stage as one file: the arrays of any PyTree, its settings as JSON, and no pickle."""

import contextlib
import dataclasses
import enum
import functools
import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pullback._archive import ArchiveError, read_archive, write_archive

_DAMAGE = (LookupError, ValueError, AttributeError, TypeError, ImportError, RuntimeError)
# Whose names are looked up when a stage is read: what has been imported, and nothing else runs.
_OURS = "pullback."
_REMEDY = "Delete it, and the stage runs again."


class StageError(ValueError):
    """The file of a stage is missing, damaged, or of code that is no more."""


def save_stage(path: Path, value: Any) -> Any:
    """Write `value` to `path`, and return it as `load_stage` will."""
    writer = _Writer()
    # Encoded as JSON and back, so that what is returned now is what is read later.
    tree = writer.encode(value, "result")
    record = json.loads(json.dumps({"tree": tree, "arrays": writer.described}))
    arrays = {f"array{number}": array for number, array in enumerate(writer.arrays)}
    write_archive(path, record, arrays)
    return _decode(record, arrays)


def load_stage(path: Path) -> Any:
    """Read what `save_stage` wrote; running no code.

    Raises:
        StageError: The file is cut off or damaged, something else wrote it, or a class or function
            in it is no more.
    """
    try:
        record, arrays = read_archive(path)
    except ArchiveError as error:
        raise StageError(f"{error} {_REMEDY}") from error
    try:
        return _decode(record, arrays)
    except _DAMAGE as error:
        raise StageError(f"{path} is no stage of this version ({error}). {_REMEDY}") from error


class _Writer:
    """Turns a value into JSON, and gathers its arrays."""

    def __init__(self):
        self.arrays: list[Any] = []
        self.described: list[dict[str, Any]] = []

    def encode(self, value: Any, where: str, *, model: bool = False) -> Any:
        """`value` as JSON. Inside of a model arrays of JAX stay arrays of JAX."""
        inner = functools.partial(self.encode, model=model)
        if value is None or (isinstance(value, (bool, int, float, str)) and not _is_numpy(value)):
            if not isinstance(value, enum.Enum):
                return value
        if isinstance(value, tuple) and hasattr(value, "_fields"):
            parts = [inner(item, f"{where}[{i}]") for i, item in enumerate(value)]
            return {"namedtuple": [_name_of(type(value), where), parts]}
        if isinstance(value, (list, tuple)):
            items = [inner(item, f"{where}[{i}]") for i, item in enumerate(value)]
            return {"tuple" if isinstance(value, tuple) else "list": items}
        if isinstance(value, dict):
            items = [[k, inner(item, f"{where}[{k!r}]")] for k, item in value.items()]
            if not all(isinstance(key, (str, int)) for key in value):
                raise TypeError(
                    f"a stage's {where} is a dictionary whose keys are not all text or numbers"
                )
            return {"dict": items}
        if hasattr(value, "__array__") and hasattr(value, "dtype"):
            return self._array(value, where, model)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            fields = [
                [name, self.encode(item, f"{where}.{name}", model=True)]
                for name, item in _fields(value)
            ]
            return {"object": [_name_of(type(value), where), fields]}
        if isinstance(value, functools.partial):
            parts = [value.func, value.args, value.keywords]
            return {"partial": [self.encode(part, where, model=True) for part in parts]}
        if isinstance(value, enum.Enum):
            return {"enum": [_name_of(type(value), where), value.name]}
        if isinstance(value, type) or callable(value):
            return {"name": _name_of(value, where)}
        raise self._refusal(value, where)

    def _array(self, value: Any, where: str, model: bool) -> Any:
        import jax
        import numpy as np

        described: dict[str, Any] = {"name": where}
        if isinstance(value, jax.Array) and jax.dtypes.issubdtype(value.dtype, jax.dtypes.prng_key):
            described["key"] = str(jax.random.key_impl(value))
            value = jax.random.key_data(value)
        elif isinstance(value, jax.Array) and model:
            described["jax"] = True
        array = np.asarray(value)
        # A copy, for whoever holds the original may write to it; laid out as in the file, for sums
        # over another order round otherwise.
        array = np.array(array, array.dtype.newbyteorder("="), order="C")
        extended = array.dtype.kind == "V" and array.dtype.isbuiltin == 2  # bfloat16 and its kin
        if array.dtype.kind not in "biufcSU" and not extended:
            raise self._refusal(value, where)
        self.arrays.append(array)
        self.described.append(described)
        return {"array": len(self.arrays) - 1}

    def _refusal(self, value: Any, where: str) -> TypeError:
        return TypeError(
            f"a stage's {where} is a {type(value).__name__}; return arrays of numbers, Python "
            "numbers, text, None, models and other dataclasses, functions with a name, and lists, "
            "tuples and dictionaries of these"
        )


def _is_numpy(value: Any) -> bool:
    return hasattr(value, "dtype")  # np.float64 is a float too, but is kept as an array


def _fields(value: Any) -> Iterator[tuple[str, Any]]:
    for field in dataclasses.fields(value):
        if hasattr(value, field.name):
            yield field.name, getattr(value, field.name)


def _name_of(value: Any, where: str) -> list[str]:
    """Where a class or a function is found again."""
    module, name = getattr(value, "__module__", ""), getattr(value, "__qualname__", "")
    with contextlib.suppress(AttributeError, ImportError, KeyError, TypeError):
        if _found(module, name) is value:
            return [module, name]
    # Such as the last activation of `equinox.nn.MLP`, a lambda that has a name.
    for name, held in vars(sys.modules.get(module, object)).items():
        if held is value:
            return [module, name]
    raise TypeError(
        f"a stage's {where} holds {value!r}, which has no name by which to find it again; define "
        "it at the top of a module"
    )


def _found(module: str, name: str) -> Any:
    if module.startswith(_OURS):
        importlib.import_module(module)
    return functools.reduce(getattr, name.split("."), sys.modules[module])


def _decode(kept: dict[str, Any], arrays: dict[str, Any]) -> Any:
    def decode(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        [(kind, inner)] = value.items()
        match kind:
            case "array":
                return _array(arrays[f"array{inner}"], kept["arrays"][inner])
            case "dict":
                return {key: decode(item) for key, item in inner}
            case "tuple":
                return tuple(map(decode, inner))
            case "list":
                return [*map(decode, inner)]
            case "namedtuple":
                kind = _kind(inner[0], tuple)
                return kind._make(map(decode, inner[1]))
            case "object":
                return _made(
                    _kind(inner[0], object), {name: decode(item) for name, item in inner[1]}
                )
            case "partial":
                function, args, keywords = map(decode, inner)
                return functools.partial(function, *args, **keywords)
            case "enum":
                return _kind(inner[0], enum.Enum)[inner[1]]
            case "name":
                return _found(*inner)
        raise ValueError(f"it has a {kind}, which this version does not know")

    return decode(kept["tree"])


def _kind(name: list[str], base: type) -> Any:
    """A class by its name, which is to be of a kind: what else stands there is not called."""
    found = _found(*name)
    if not (isinstance(found, type) and issubclass(found, base)):
        raise ValueError(f"{'.'.join(name)} is no {base.__name__}")
    return found


def _array(array: Any, described: dict[str, Any]) -> Any:
    import jax
    import jax.numpy as jnp

    if "key" in described:
        return jax.random.wrap_key_data(jnp.asarray(array), impl=described["key"])
    from pullback._on_device import on_device

    return on_device(array) if described.get("jax") else array


def _made(kind: type, fields: dict[str, Any]) -> Any:
    """An object with these fields, without its constructor."""
    if not isinstance(kind, type) or set(fields) - {
        field.name for field in dataclasses.fields(kind)
    }:
        raise ValueError(f"{kind.__name__} has other fields now")
    made = object.__new__(kind)
    for name, value in fields.items():
        object.__setattr__(made, name, value)
    return made
