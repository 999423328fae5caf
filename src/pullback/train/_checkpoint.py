"""Checkpoints: the arrays of a PyTree and what it is beside them, in one file, and no pickle."""

import dataclasses
import os
import re
from pathlib import Path
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
import numpy as np

from pullback import __version__
from pullback._archive import ArchiveError, read_archive, write_archive
from pullback._on_device import on_device
from pullback.train._structure import is_array, is_key, structure

T = TypeVar("T")

_FORMAT = 3
_MAIN = re.escape("__main__.")


class CheckpointError(ValueError):
    """A checkpoint is missing, broken or of another run, or its folder cannot be used."""


def save_checkpoint(
    path: str | os.PathLike[str], tree: Any, header: dict[str, Any] | None = None
) -> None:
    """Write the arrays of a PyTree to one file, whole or not at all.

    The file is in the safetensors format and holds the array leaves by their places, with their
    shapes and dtypes, the versions that wrote them, what the caller adds, and a SHA-256 of it all.
    Typed PRNG keys are stored as their data. What is no array (types, static fields, functions,
    strings) is described, so that the arrays are not loaded into another model of the same shapes;
    what the program that runs has defined itself, in `__main__`, goes by its name without a module,
    and a lambda by what it reads and by its numbers and operators.

    Args:
        path: where the file appears, by convention `*.safetensors`; any name will do.
        tree: any PyTree.
        header: further entries, made of what JSON can hold.

    Raises:
        TypeError: `header` is no dictionary or holds something that JSON cannot; or an array has
            objects, or a mask, which would be lost.
        OSError: the file cannot be written; one that was there is still whole.

    Example:
        >>> import pathlib, tempfile
        >>> import jax.numpy as jnp
        >>> file = pathlib.Path(tempfile.mkdtemp()) / "model.safetensors"
        >>> save_checkpoint(file, {"w": jnp.arange(3.0)}, {"step": 7})
        >>> tree, header = load_checkpoint(file, {"w": jnp.zeros(3)})
        >>> print(tree["w"], header)
        [0. 1. 2.] {'step': 7}
    """
    if header is not None and not isinstance(header, dict):
        raise TypeError(f"`header` must be a dictionary, got {header!r}.")
    # A model may hold the shapes of another's arrays, which have no numbers to keep.
    shapes = {n: _text(leaf) for n, leaf in _array_leaves(tree) if _is_shape(leaf)}
    leaves = [(name, leaf) for name, leaf in _array_leaves(tree) if name not in shapes]
    record = {
        "checkpoint": _FORMAT,
        "versions": {"pullback": __version__, "jax": jax.__version__, "numpy": np.__version__},
        "leaves": [_describe(name, leaf) for name, leaf in leaves],
        "shapes": shapes,
        "structure": structure(tree),
        "user": {} if header is None else header,
    }
    write_archive(path, record, {name: _to_numpy(leaf) for name, leaf in leaves})


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
        CheckpointError: the file is missing, cut off, damaged in a single bit or no checkpoint; a
            leaf of `like` has another name, shape or dtype than the one stored; or something else
            in `like` differs, such as a static field. The first such place is named.

    Example:
        See `save_checkpoint`.
    """
    stored = read_checkpoint(path)
    return stored.into(like), stored.header


@dataclasses.dataclass(frozen=True)
class Stored:
    """What a checkpoint holds. It was read once, and is what was written."""

    path: Path
    record: dict[str, Any]
    arrays: dict[str, np.ndarray]

    @property
    def header(self) -> dict[str, Any]:
        """What the caller of `save_checkpoint` had added."""
        return self.record["user"]

    def names(self, *part: str) -> set[str]:
        """The places of the arrays within one entry of nested dictionaries."""
        start = _place(part)
        names = (leaf["name"] for leaf in self.record["leaves"])
        return {name[len(start) :] for name in names if name.startswith(start)}

    def part(self, like: T, *part: str) -> T:
        """One entry of nested dictionaries, into the structure of `like`."""
        nested: Any = like
        for name in reversed(part):
            nested = {name: nested}
        found: Any = self.into(nested, within=_place(part))
        for name in part:
            found = found[name]
        return found

    def into(self, like: T, *, within: str = "") -> T:
        """The arrays whose places begin so, in the structure of `like`, which must be the same."""
        held = lambda texts: {at: text for at, text in texts.items() if at.startswith(within)}
        leaves = [leaf for leaf in self.record["leaves"] if leaf["name"].startswith(within)]
        shapes, wanted = held(self.record["shapes"]), dict(_array_leaves(like))
        found = {n: _text(wanted[n]) for n in shapes if n in wanted and _is_shape(wanted[n])}
        check_same(self.path, stored=shapes, wanted=found)
        described = [_describe(name, leaf) for name, leaf in wanted.items() if name not in shapes]
        _check_leaves(self.path, stored=leaves, wanted=described)
        texts = (held(self.record["structure"]), held(structure(like)))
        check_same(self.path, stored=texts[0], wanted=texts[1])
        kinds = {leaf["name"]: leaf for leaf in leaves}

        def restore(at: Any, leaf: Any) -> Any:
            name = jtu.keystr(at)
            if not is_array(leaf) or name in shapes:
                return leaf
            array = self.arrays[name]
            if "key" in kinds[name]:
                return _key(self.path, name, array, kinds[name]["key"])
            if isinstance(leaf, np.ndarray | np.generic):
                return array
            if jax.dtypes.canonicalize_dtype(array.dtype) != array.dtype:
                raise CheckpointError(
                    f"{self.path}: leaf {name} has dtype {array.dtype}, which JAX does not keep "
                    "here: set `jax_enable_x64`, or load it into an array of NumPy."
                )
            return on_device(array)

        return jtu.tree_map_with_path(restore, like)


def read_header(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What the caller of `save_checkpoint` added, to know what the arrays are to be loaded into.

    Args:
        path: the file.

    Raises:
        CheckpointError: as of `load_checkpoint`, but for what is said there of `like`.

    Example:
        >>> import pathlib, tempfile
        >>> import jax.numpy as jnp
        >>> file = pathlib.Path(tempfile.mkdtemp()) / "model.safetensors"
        >>> save_checkpoint(file, {"w": jnp.arange(3.0)}, {"width": 3})
        >>> read_header(file)
        {'width': 3}
    """
    return _read(Path(path), arrays=False)[0]["user"]


def read_checkpoint(path: str | os.PathLike[str]) -> Stored:
    """All that is in the file of a checkpoint, or a CheckpointError."""
    record, arrays = _read(Path(path), arrays=True)
    _check_arrays(Path(path), record["leaves"], arrays)
    return Stored(Path(path), record, arrays)


def _read(path: Path, *, arrays: bool) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    try:
        record, found = read_archive(path, arrays=lambda name: arrays)
    except ArchiveError as error:
        raise CheckpointError(str(error)) from error
    if record.get("checkpoint") != _FORMAT:
        kind = record.get("checkpoint")
        told = "is no checkpoint" if kind is None else f"is a checkpoint in format {kind}"
        raise CheckpointError(f"{path}: {told}; this version reads checkpoints in {_FORMAT}.")
    if not _is_whole(record):
        raise CheckpointError(f"{path}: was not written by `save_checkpoint`.")
    return record, found


def _is_whole(record: dict[str, Any]) -> bool:
    """Whether a record has all that is looked at later, and of the right kinds."""
    texts = [record.get(name) for name in ("shapes", "structure")]
    leaves, user = record.get("leaves"), record.get("user")
    return (
        all(isinstance(each, dict) and set(map(type, each.values())) <= {str} for each in texts)
        and isinstance(user, dict)
        and isinstance(leaves, list)
        and all(map(_is_described, leaves))
    )


def _is_described(leaf: Any) -> bool:
    return (
        isinstance(leaf, dict)
        and all(type(leaf.get(name)) is str for name in ("name", "dtype"))
        and isinstance(leaf.get("shape"), list)
        and set(map(type, leaf["shape"])) <= {int}
        and type(leaf.get("key", "")) is str
    )


def _place(part: tuple[str, ...]) -> str:
    return "".join(f"[{name!r}]" for name in part)


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
    if isinstance(leaf, np.ndarray):  # one with a mask stays such, to be refused by name
        return leaf
    return np.asarray(jr.key_data(leaf) if is_key(leaf) else leaf)


def _key(path: Path, name: str, data: np.ndarray, kind: str) -> Any:
    try:
        return jr.wrap_key_data(jnp.asarray(data), impl=kind)
    except (TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path}: leaf {name} is a key of the kind {kind!r}, which this version of JAX does "
            f"not know: {error}"
        ) from error


def _check_arrays(path: Path, leaves: list[dict[str, Any]], arrays: dict[str, np.ndarray]) -> None:
    """The arrays are those that the record describes, which are compared with what is wanted."""
    for leaf in leaves:
        array, shape = arrays.get(leaf["name"]), tuple(leaf["shape"])
        if array is not None and "key" in leaf:
            same = array.dtype == np.uint32 and array.shape[:-1] == shape
        else:
            same = array is not None and (array.shape, str(array.dtype)) == (shape, leaf["dtype"])
        if not same:
            raise CheckpointError(
                f"{path}: leaf {leaf['name']} is not the array that the file says it is; it was "
                "not written by `save_checkpoint`."
            )


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
        if old != new and not _alike(old, new):
            raise CheckpointError(
                f"{path}: {name or 'the whole'} is {old} in the checkpoint and {new} in the "
                f"structure to load into. {remedy}"
            )


def _alike(old: str, new: str) -> bool:
    """Whether two names differ by where the program that runs was found.

    What `python train.py` defines is in `__main__` there, and in `train` for who imports it.
    """
    patterns = (re.escape(text).replace(_MAIN, r"[\w.]+\.") for text in (old, new))
    return any(map(re.fullmatch, patterns, (new, old)))
