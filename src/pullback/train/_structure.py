"""What a PyTree says beside its arrays, as text that is the same in every process."""

import dataclasses
import dis
import functools
import hashlib
import re
import types
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
import numpy as np

from pullback.train._sources import draws, on_host, read, size_of

# How far objects that hold objects, and functions that close over functions, are followed.
_DEEPEST = 8
# How many examples are looked at of what lies on the host.
_EXAMPLES = 128


def fixed(rest: Any) -> dict[str, str]:
    """All that training leaves as it is: what is no array, and a digest of each array."""
    return structure(rest) | digests(rest)


def structure(tree: Any, *, inside: bool = True) -> dict[str, str]:
    """Each place of a tree that holds no array, and what is there: types, settings, functions.

    A function goes by its name and by what it closes over, a lambda by its constants and operators
    too; a plain object by its attributes; without `inside` by name alone. No text has an address in
    memory.
    """
    return dict(_walk(tree, "", static=False, within=() if inside else None))


def digests(tree: Any) -> dict[str, str]:
    """A digest of each array of a tree, by its place."""
    leaves = jtu.tree_leaves_with_path(tree)
    return {jtu.keystr(path): _digest(leaf) for path, leaf in leaves if is_array(leaf)}


def data_digest(data: Any) -> str:
    """Of what a model is trained on; where it lies on the host, of 128 examples evenly apart.

    Examples that are made at random, by a transform of a dataset, have none.
    """
    if data is None or draws(data):
        return "none"
    if on_host(data):
        last = (size_of(data) or 1) - 1
        rows = np.unique(np.linspace(0, last, _EXAMPLES).astype(int))
        if digests(read(data, rows[:1])) != digests(read(data, rows[:1])):
            return "another at each look"
        data = read(data, rows)
    parts = [f"{at} {text}" for at, text in digests(jax.tree.map(np.asarray, data)).items()]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def is_array(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array | jax.ShapeDtypeStruct | np.ndarray | np.generic)


def is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _digest(leaf: Any) -> str:
    if isinstance(leaf, jax.ShapeDtypeStruct):  # a model may hold the shapes of another's arrays
        return f"{leaf.dtype}{list(leaf.shape)}"
    array = np.asarray(jr.key_data(leaf) if is_key(leaf) else leaf)
    text = hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:16]
    return f"{array.dtype}{list(array.shape)} {text}"


def _walk(
    node: Any, at: str, *, static: bool, within: tuple[int, ...] | None
) -> Iterator[tuple[str, str]]:
    held = set()
    if is_array(node):
        if static:  # and so no leaf of the tree
            yield at, _digest(node)
        return
    # Such as a function that calls itself.
    if within and (id(node) in within or len(within) > _DEEPEST):
        yield at, type(node).__name__
        return
    if dataclasses.is_dataclass(node) and not isinstance(node, type):
        yield at, _name(type(node))
        fields = dataclasses.fields(node)
        parts = {f".{field.name}": getattr(node, field.name, None) for field in fields}
        held = {f".{field.name}" for field in fields if field.metadata.get("static")}
    elif isinstance(node, tuple) and hasattr(node, "_fields"):
        yield at, _name(type(node))
        parts = {f".{name}": getattr(node, name) for name in getattr(node, "_fields")}  # noqa: B009
    elif isinstance(node, list | tuple):
        yield at, f"{type(node).__name__} of {len(node)}"
        parts = {f"[{number}]": part for number, part in enumerate(node)}
    elif isinstance(node, dict):
        yield at, f"dict of {len(node)}"
        parts = {f"[{key!r}]": part for key, part in node.items()}
    elif isinstance(node, functools.partial):
        yield at, "partial"
        parts = {".func": node.func, ".args": node.args, ".keywords": node.keywords}
    elif jtu.all_leaves([node]) or node is None:
        yield at, _leaf(node)
        if within is None:
            return
        parts, static = _read_by(node), True
        within = (*within, id(node))
    else:
        children, kind = jtu.tree_flatten(node, is_leaf=lambda part: part is not node)
        yield at, _plain(str(kind))
        parts = {f"[{number}]": part for number, part in enumerate(children)}
    for name, part in parts.items():
        yield from _walk(part, at + name, static=static or name in held, within=within)


def _read_by(leaf: Any) -> dict[str, Any]:
    """What a function or a plain object computes with, beside its arguments."""
    if isinstance(leaf, types.MethodType):
        return {".__self__": leaf.__self__}
    if isinstance(leaf, types.FunctionType):
        cells = zip(leaf.__code__.co_freevars, leaf.__closure__ or (), strict=True)
        parts = {f".{name}": _held(cell) for name, cell in cells}
        defaults = (*(leaf.__defaults__ or ()), *(leaf.__kwdefaults__ or {}).values())
        parts |= {f".default{number}": value for number, value in enumerate(defaults)}
        if leaf.__name__ == "<lambda>":
            parts |= {".constants": _constants(leaf.__code__)}
            parts |= {".operators": " ".join(_operators(leaf.__code__))}
        return parts
    wrapped = getattr(leaf, "__wrapped__", None)
    if callable(leaf) and isinstance(wrapped, types.FunctionType):
        return _read_by(wrapped)
    if type(leaf).__repr__ is object.__repr__ and not isinstance(leaf, type):
        held = getattr(leaf, "__dict__", {})
        return {f".{name}": value for name, value in sorted(held.items())}
    return {}


def _held(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not yet assigned
        return None


def _constants(code: types.CodeType) -> list[Any]:
    """The names and numbers in a lambda: the same in every version of Python."""
    inner = [_constants(c) for c in code.co_consts if isinstance(c, types.CodeType)]
    numbers = [c for c in code.co_consts if isinstance(c, int | float | complex | str)]
    return [*code.co_names, *sorted(map(repr, numbers)), *inner]


def _operators(code: types.CodeType) -> Iterator[str]:
    """The arithmetic and the comparisons of a lambda: the same in every version of Python."""
    for each in dis.get_instructions(code):
        if each.opname == "COMPARE_OP":
            yield each.argrepr.removeprefix("bool(").removesuffix(")")
        elif each.opname == "BINARY_OP" and each.argrepr != "[]":
            yield each.argrepr
        elif each.opname.startswith("UNARY_"):
            yield each.opname
        elif isinstance(each.argval, types.CodeType):
            yield from _operators(each.argval)


def _leaf(value: Any) -> str:
    if isinstance(value, set | frozenset):  # whose order is another in another process
        return f"{type(value).__name__} of {', '.join(sorted(map(_leaf, value)))}"
    if isinstance(value, type):
        return _name(value)
    if callable(value) and hasattr(value, "__qualname__"):
        return "<lambda>" if value.__name__ == "<lambda>" else _name(value)
    return _plain(repr(value))


def _name(value: Any) -> str:
    return f"{value.__module__}.{value.__qualname__}"


def _plain(text: str) -> str:
    return re.sub(r" at 0x[0-9a-f]+", "", text)
