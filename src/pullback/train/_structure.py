"""What a PyTree says beside its arrays, as text that is the same in every process."""

import dataclasses
import functools
import hashlib
import re
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
import numpy as np


def fixed(rest: Any) -> dict[str, str]:
    """All that training leaves as it is: what is no array, and a digest of each array."""
    return structure(rest) | digests(rest)


def structure(tree: Any) -> dict[str, str]:
    """Each place of a tree that holds no array, and what is there: types, settings, functions.

    Functions go by their names, and a lambda as any lambda; no text has an address in memory.
    """
    return dict(_walk(tree, "", static=False))


def digests(tree: Any) -> dict[str, str]:
    """A digest of each array of a tree, by its place."""
    leaves = jtu.tree_leaves_with_path(tree)
    return {jtu.keystr(path): _digest(leaf) for path, leaf in leaves if is_array(leaf)}


def is_array(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array | jax.ShapeDtypeStruct | np.ndarray | np.generic)


def is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _digest(leaf: Any) -> str:
    array = np.asarray(jr.key_data(leaf) if is_key(leaf) else leaf)
    text = hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:16]
    return f"{array.dtype}{list(array.shape)} {text}"


def _walk(node: Any, at: str, *, static: bool) -> Iterator[tuple[str, str]]:
    held = set()
    if is_array(node):
        if static:  # and so no leaf of the tree
            yield at, _digest(node)
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
        return
    else:
        children, kind = jtu.tree_flatten(node, is_leaf=lambda part: part is not node)
        yield at, _plain(str(kind))
        parts = {f"[{number}]": part for number, part in enumerate(children)}
    for name, part in parts.items():
        yield from _walk(part, at + name, static=static or name in held)


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
