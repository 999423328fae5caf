"""Checkpoints: the arrays of a PyTree and a JSON header in one npz file, and no pickle."""

import json
import os
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
import numpy as np

from pullback import __version__
from pullback._files import atomic_write
from pullback._on_device import on_device
from pullback.train._structure import is_array, is_key, structure

T = TypeVar("T")

_FORMAT = 2
_HEADER = "header"
# What the readers of zip, npy and JSON raise for bytes that are not theirs. RuntimeError is
# zipfile's word for a flag or a compression method that it does not know.
_DAMAGE = (
    OSError,
    EOFError,
    KeyError,
    ValueError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
)


class CheckpointError(ValueError):
    """A checkpoint that is missing, broken, or does not fit what it is loaded into."""


def save_checkpoint(
    path: str | os.PathLike[str], tree: Any, header: dict[str, Any] | None = None
) -> None:
    """Write the arrays of a PyTree to one file, whole or not at all.

    The file is an npz archive of the array leaves with a JSON header: their paths, shapes and
    dtypes, the versions that wrote them, and what the caller adds. Typed PRNG keys are stored as
    their data. What is no array (types, static fields, functions, strings) is described, so that
    the arrays are not loaded into another model of the same shapes.

    Args:
        path: where the file appears, by convention `*.npz`.
        tree: any PyTree.
        header: further entries, made of what JSON can hold.

    Raises:
        TypeError: `header` holds something that JSON cannot.

    Example:
        >>> import pathlib, tempfile
        >>> import jax.numpy as jnp
        >>> file = pathlib.Path(tempfile.mkdtemp()) / "model.npz"
        >>> save_checkpoint(file, {"w": jnp.arange(3.0)}, {"step": 7})
        >>> tree, header = load_checkpoint(file, {"w": jnp.zeros(3)})
        >>> print(tree["w"], header)
        [0. 1. 2.] {'step': 7}
    """
    described, arrays = [], {}
    # A model may hold the shapes of another's arrays, which have no numbers to keep.
    shapes = {n: _text(leaf) for n, leaf in _array_leaves(tree) if _is_shape(leaf)}
    leaves = [(name, leaf) for name, leaf in _array_leaves(tree) if name not in shapes]
    for number, (name, leaf) in enumerate(leaves):
        described.append(_describe(name, leaf))
        arrays[f"leaf_{number}"] = _to_numpy(leaf)
    text = json.dumps(
        {
            "format": _FORMAT,
            "versions": {"pullback": __version__, "jax": jax.__version__, "numpy": np.__version__},
            "leaves": described,
            "shapes": shapes,
            "structure": structure(tree),
            "user": {} if header is None else header,
        }
    )
    arrays[_HEADER] = np.frombuffer(text.encode(), np.uint8)
    with atomic_write(path) as file:
        np.savez(file, **arrays)


def load_checkpoint(path: str | os.PathLike[str], like: T) -> tuple[T, dict[str, Any]]:
    """Read what `save_checkpoint` wrote into the structure of `like`.

    Args:
        path: the file.
        like: a PyTree of the structure that was saved. Its array leaves may be
            `jax.ShapeDtypeStruct`, as `eqx.filter_eval_shape` makes them. Its other leaves are
            returned as they are.

    Returns:
        The PyTree with the stored arrays, and the header that the caller had given.

    Raises:
        CheckpointError: the file is missing, cut off or damaged; a leaf of `like` has another name,
            shape or dtype than the one stored; or something else in `like` differs, such as a
            static field. The first such place is named.

    Example:
        See `save_checkpoint`.
    """
    return _load(Path(path), like, part="")


def load_part(path: Path, part: tuple[str, ...], like: T) -> T:
    """One entry of nested dictionaries that were saved, into the structure of `like`."""
    nested: Any = like
    for name in reversed(part):
        nested = {name: nested}
    found: Any = _load(path, nested, part=_prefix(part))[0]
    for name in part:
        found = found[name]
    return found


def _prefix(part: tuple[str, ...]) -> str:
    return "".join(f"[{name!r}]" for name in part)


def names_of(path: Path, part: tuple[str, ...]) -> set[str]:
    """The places of the arrays within one entry of nested dictionaries that were saved."""
    prefix = _prefix(part)
    leaves = _read(path, wanted=lambda name: False)[0]["leaves"]
    return {leaf["name"][len(prefix) :] for leaf in leaves if leaf["name"].startswith(prefix)}


def _load(path: Path, like: T, *, part: str) -> tuple[T, dict[str, Any]]:
    within = lambda name: name.startswith(part)
    header, arrays = _read(path, wanted=within)
    leaves = [leaf for leaf in header["leaves"] if within(leaf["name"])]
    shapes = {name: text for name, text in header.get("shapes", {}).items() if within(name)}
    wanted = dict(_array_leaves(like))
    found = {n: _text(wanted[n]) for n in shapes if n in wanted and _is_shape(wanted[n])}
    check_same(path, stored=shapes, wanted=found)
    described = [_describe(name, leaf) for name, leaf in wanted.items() if name not in shapes]
    _check_leaves(path, stored=leaves, wanted=described)
    described = [
        {name: text for name, text in each.items() if within(name)}
        for each in (header["structure"], structure(like))
    ]
    check_same(path, stored=described[0], wanted=described[1])
    stored = iter(zip(leaves, arrays, strict=True))

    def restore(at: Any, leaf: Any) -> Any:
        if not is_array(leaf) or jtu.keystr(at) in shapes:
            return leaf
        described, array = next(stored)
        if "key" in described:
            return jr.wrap_key_data(jnp.asarray(array), impl=described["key"])
        array = array.view(np.dtype(described["dtype"]))
        return array if isinstance(leaf, np.ndarray | np.generic) else on_device(array)

    return jtu.tree_map_with_path(restore, like), header["user"]


def _array_leaves(tree: Any) -> list[tuple[str, Any]]:
    leaves = jtu.tree_leaves_with_path(tree)
    return [(jtu.keystr(path), leaf) for path, leaf in leaves if is_array(leaf)]


def _is_shape(leaf: Any) -> bool:
    return isinstance(leaf, jax.ShapeDtypeStruct)


def _text(leaf: jax.ShapeDtypeStruct) -> str:
    return f"{leaf.dtype}{list(leaf.shape)}"


def _describe(name: str, leaf: Any) -> dict[str, Any]:
    described = {"name": name, "shape": list(leaf.shape), "dtype": str(leaf.dtype)}
    if is_key(leaf) and isinstance(leaf, jax.Array):
        described["key"] = str(jr.key_impl(leaf))
    return described


def _to_numpy(leaf: Any) -> np.ndarray:
    array = np.asarray(jr.key_data(leaf) if is_key(leaf) else leaf)
    # npz knows NumPy's own dtypes only; bfloat16 and its kin travel as unsigned integers.
    return array.view(f"u{array.dtype.itemsize}") if array.dtype.kind == "V" else array


def read_header(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What the caller of `save_checkpoint` put in the header, without the arrays."""
    return _read(Path(path), wanted=lambda name: False)[0]["user"]


def _read(path: Path, *, wanted: Callable[[str], bool]) -> tuple[dict[str, Any], list[np.ndarray]]:
    """The header, and the arrays of the wanted names."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            header = json.loads(archive[_HEADER].tobytes().decode())
            leaves = [
                archive[f"leaf_{number}"]
                for number, leaf in enumerate(header["leaves"])
                if wanted(leaf["name"])
            ]
    except FileNotFoundError:
        raise CheckpointError(f"{path}: there is no such checkpoint.") from None
    except _DAMAGE as error:
        raise CheckpointError(
            f"{path}: not a whole checkpoint of pullback ({error}). It was cut off or damaged, or "
            "something else wrote it; delete it and start again."
        ) from error
    if header["format"] != _FORMAT:
        raise CheckpointError(
            f"{path}: written in format {header['format']} by pullback "
            f"{header['versions']['pullback']}; this version reads format {_FORMAT}."
        )
    return header, leaves


def _check_leaves(
    path: Path, *, stored: list[dict[str, Any]], wanted: list[dict[str, Any]]
) -> None:
    for old, new in zip(stored, wanted, strict=False):
        if old["name"] != new["name"]:
            raise CheckpointError(
                f"{path}: the checkpoint has leaf {old['name']} where the structure to load into "
                f"has {new['name']}."
            )
        for what in ("shape", "dtype"):
            if old[what] != new[what]:
                raise CheckpointError(
                    f"{path}: leaf {old['name']} has {what} {old[what]} in the checkpoint and "
                    f"{new[what]} in the structure to load into."
                )
    if len(stored) != len(wanted):
        more, leaves = (
            ("the checkpoint", stored) if len(stored) > len(wanted) else ("the structure", wanted)
        )
        raise CheckpointError(
            f"{path}: the checkpoint has {len(stored)} arrays and the structure to load into has "
            f"{len(wanted)}; the first that only {more} has is "
            f"{leaves[min(len(stored), len(wanted))]['name']}."
        )


def check_same(
    path: Path,
    *,
    stored: dict[str, str],
    wanted: dict[str, str],
    remedy: str = "Build the model with the settings that it was saved with.",
) -> None:
    """Two descriptions of a tree agree, or an error names the first place where they do not."""
    for name in [*stored, *(name for name in wanted if name not in stored)]:
        old, new = (text.get(name, "nothing") for text in (stored, wanted))
        if old != new:
            raise CheckpointError(
                f"{path}: {name or 'the whole'} is {old} in the checkpoint and {new} in the "
                f"structure to load into. {remedy}"
            )
