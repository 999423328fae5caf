"""Where batches come from: arrays on the device, a function of a key, or a source on the host."""

import mmap
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jaxtyping import Array, Int, PyTree

from pullback._leading_axis import leading_axis
from pullback._on_device import on_device
from pullback.train._order import batches

# Of the dtypes that are numbers, those of bfloat16 and its kin among them.
_KINDS = "biufcV"

# How much of a source on the host is read ahead at a time.
_BYTES = 2**26


class Stream(NamedTuple):
    """Examples that come in batches.

    Attributes:
        data: where they come from, as `fit` describes it: arrays, a function that draws a batch, or
            a source on the host.
        batch_size: examples a batch; None for a function, which makes the whole batch.
        batches: how many batches a step, along an axis before that of the examples: for a step that
            takes several of its own. They follow one another through the epochs. None: one,
            without that axis.
    """

    data: Any
    batch_size: int | None = None
    batches: int | None = None


class Chunk(eqx.Module):
    """The steps to take, and the examples of each: places along the leading axis of `data`."""

    start: Int[Array, ""]
    end: Int[Array, ""]
    data: dict[str, PyTree]
    places: dict[str, Int[Array, "steps *runs batch"]]


def draws(data: Any) -> bool:
    """Whether it is a function that draws a batch."""
    return callable(data) and not _is_dataset(data)


def on_host(data: Any) -> bool:
    """Whether it is read example by example: files mapped to memory, datasets."""
    if _is_dataset(data):
        return True
    return any(isinstance(leaf, np.memmap) for leaf in jax.tree.leaves(data))


def _is_dataset(data: Any) -> bool:
    if isinstance(data, np.ndarray | jax.Array | np.generic | str | bytes):
        return False
    return jtu.all_leaves([data]) and hasattr(data, "__len__") and hasattr(data, "__getitem__")


def size_of(data: Any, *, name: str = "data") -> int | None:
    """The number of examples; None where they are drawn without end."""
    if draws(data):
        return None
    if _is_dataset(data):
        if len(data) == 0:
            raise ValueError(f"`{name}` must hold at least one example, got none.")
        return len(data)
    if hasattr(data, "__getitem__") and not hasattr(data, "__len__"):
        raise ValueError(
            f"`{name}` gives the example of a number and must have a length, `__len__`; got an "
            f"object of type {type(data).__name__}. Of a source without end make a function that "
            "draws a batch, or let its length be what counts as an epoch."
        )
    return leading_axis(data, name=name)


def native(array: np.ndarray) -> np.ndarray:
    """An array in the byte order of this machine, as JAX wants it; files may have the other."""
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def check_stream(stream: Stream, *, name: str = "") -> None:
    """Raise a ValueError where the batch size does not fit the data."""
    which = f" of the stream {name!r}" if name else ""
    size, wanted = size_of(stream.data), stream.batch_size
    check_example(stream.data, name=name)
    if size is None:
        if wanted is not None:
            raise ValueError(
                f"`batch_size`{which} must be left out for a function that draws a batch: it draws "
                f"as many as it likes; got {wanted}."
            )
    elif wanted is None or not 1 <= wanted <= size:
        raise ValueError(
            f"`batch_size`{which} must be from 1 to {size}, the number of examples, got {wanted}."
        )
    if stream.batches is not None and stream.batches < 1:
        raise ValueError(f"`batches`{which} must be 1 or more, got {stream.batches}.")


def check_example(data: Any, *, name: str = "") -> None:
    """Raise a TypeError where a source on the host gives no examples, or no numbers."""
    if not on_host(data):
        return
    which = f"the stream {name!r}" if name else "`data`"
    try:
        example = read(data, np.zeros(1, int))
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise TypeError(
            f"{which} must give its first example as data[0], and gave {error!r}. Of a table take "
            "its numbers, such as data.to_numpy()."
        ) from error
    for path, leaf in jtu.tree_leaves_with_path(example):
        if leaf.dtype.kind not in _KINDS:
            raise TypeError(
                f"the examples of {which} must be numbers; got {leaf.dtype} at "
                f"example{jtu.keystr(path)}. Turn it into numbers in the source."
            )


class Feed:
    """The batches of all streams, chunk by chunk, for one run or for each of a stack.

    Args:
        streams: by name; those that draw are left to the compiled step.
        seeds: of the order of each stream, for each run.
        stacked: whether there is an axis of the runs.
        steps: in all.
        log_every: a chunk ends at its multiples.
        place: moves arrays to the device, or to all of a mesh.
        check: is asked about each part that was read on the host.
    """

    def __init__(
        self,
        streams: Mapping[str, Stream],
        seeds: list[dict[str, tuple[int, ...]]],
        *,
        stacked: bool,
        steps: int,
        log_every: int,
        place: Callable[[PyTree], PyTree],
        check: Callable[[PyTree], None] = lambda rows: None,
    ) -> None:
        listed = {name: s for name, s in streams.items() if not draws(s.data)}
        self._batch_sizes = {
            name: int(s.batch_size or 0) * (s.batches or 1) for name, s in listed.items()
        }
        self._sizes = {name: int(size_of(s.data) or 0) for name, s in listed.items()}
        self._seeds, self._stacked = seeds, stacked
        self._steps, self._log_every = steps, log_every
        self._place, self._check = place, check
        self._host = {name: s.data for name, s in listed.items() if on_host(s.data)}
        self._device = place({n: s.data for n, s in listed.items() if n not in self._host})
        self._first = {n: read(data, np.zeros(1, int)) for n, data in self._host.items()}
        self._length = min(log_every, self._affordable())
        self._reader = ThreadPoolExecutor(1, "pullback-data") if self._host else None
        self._ahead: tuple[tuple[int, int], Future] | None = None

    def shapes(self) -> tuple[dict[str, PyTree], dict[str, PyTree]]:
        """The shapes of a chunk's data, and of the places of one run's batch."""
        struct = lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)
        rows = {
            name: self._length * len(self._seeds) * self._batch_sizes[name] for name in self._host
        }
        data = jax.tree.map(struct, self._device)
        for name, first in self._first.items():
            data[name] = jax.tree.map(
                lambda leaf, n=rows[name]: jax.ShapeDtypeStruct(
                    (n, *leaf.shape[1:]), jax.dtypes.canonicalize_dtype(leaf.dtype)
                ),
                first,
            )
        places = {n: jax.ShapeDtypeStruct((b,), jnp.int32) for n, b in self._batch_sizes.items()}
        return data, places

    def chunks(self, start: int) -> Iterator[Chunk]:
        """From a step to the next point of the history."""
        point = self._point(start)
        while start < point:
            end = min(start + self._length, point)
            yield self._chunk(start, end)
            start = end

    def close(self) -> None:
        """Stop reading ahead."""
        if self._reader is not None:
            self._reader.shutdown(wait=False, cancel_futures=True)

    def _point(self, start: int) -> int:
        return min(self._steps, (start // self._log_every + 1) * self._log_every)

    def _affordable(self) -> int:
        """How many steps of batches may be in memory at once: their places, and what is read."""
        place = np.dtype(np.int64).itemsize
        size = sum(
            batch_size * (place + sum(x.nbytes for x in jax.tree.leaves(self._first.get(name))))
            for name, batch_size in self._batch_sizes.items()
        )
        return max(1, _BYTES // max(1, size * len(self._seeds)))

    def _chunk(self, start: int, end: int) -> Chunk:
        rows = {n: self._rows(n, start, end) for n in self._batch_sizes if n not in self._host}
        data = dict(self._device)
        if self._reader is not None:
            if self._ahead is None or self._ahead[0] != (start, end):
                self._ahead = (start, end), self._reader.submit(self._segment, start, end)
            data |= self._ahead[1].result()
            self._ahead = None
            if end < self._steps:
                after = min(end + self._length, self._point(end))
                self._ahead = (end, after), self._reader.submit(self._segment, end, after)
            for name in self._host:  # one after the other, as they were read
                shape = (self._length, len(self._seeds), self._batch_sizes[name])
                rows[name] = np.arange(np.prod(shape), dtype=np.int32).reshape(shape)
        runs = slice(None) if self._stacked else 0
        places = {name: on_device(r[:, runs], np.int32) for name, r in rows.items()}
        return Chunk(on_device(start, np.int32), on_device(end, np.int32), data, places)

    def rows(self, name: str, step: int) -> Int[np.ndarray, "runs batch"]:
        """Which examples make up the batches of a step."""
        return self._rows(name, step, step + 1)[0]

    def _rows(self, name: str, start: int, end: int) -> Int[np.ndarray, "steps runs batch"]:
        size, batch_size = self._sizes[name], self._batch_sizes[name]
        rows = np.zeros((self._length, len(self._seeds), batch_size), np.int64)
        for number, seeds in enumerate(self._seeds):
            rows[: end - start, number] = batches(
                start, end, size=size, batch_size=batch_size, seed=seeds[name]
            )
        return rows

    def _segment(self, start: int, end: int) -> dict[str, PyTree]:
        """The examples of some steps, read on the host and moved to the device."""
        found = {}
        for name, source in self._host.items():
            steps = self._rows(name, start, end)[: end - start].reshape(end - start, -1)
            parts = [read(source, rows, like=self._first[name]) for rows in steps]
            examples = jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)
            self._check(examples)
            short = (self._length - (end - start)) * steps.shape[1]
            fill = lambda leaf, n=short: np.pad(leaf, [(0, n)] + [(0, 0)] * (leaf.ndim - 1))
            found[name] = jax.tree.map(fill, examples) if short else examples
        return self._place(found)


def read(source: Any, rows: Int[np.ndarray, " rows"], *, like: PyTree = None) -> PyTree:
    """Some examples of a source on the host, `[rows, ...]`; each as the first, `like`, `[1, ...]`.

    Raises:
        ValueError: an example of a dataset has another structure, shape or dtype than the first.
    """
    if not _is_dataset(source):
        return jax.tree.map(lambda leaf: _rows_of(leaf, rows), source)
    examples = [jax.tree.map(np.asarray, source[int(row)]) for row in rows]
    first = None if like is None else _kind(jax.tree.map(lambda leaf: leaf[0], like))
    for row, example in zip(rows, examples, strict=True):
        if first is not None and _kind(example) != first:
            raise ValueError(
                f"every example of a dataset must have the structure, the shapes and the dtypes of "
                f"the first, {_shown(first)}; example {row} has {_shown(_kind(example))}. Pad or "
                "convert it in the dataset."
            )
    return jax.tree.map(lambda *leaves: np.stack(leaves), *examples)


def _kind(example: PyTree) -> tuple[Any, list[tuple[tuple[int, ...], np.dtype]]]:
    leaves, structure = jax.tree.flatten(example)
    plain = lambda dtype: jax.dtypes.canonicalize_dtype(dtype) if dtype.kind in _KINDS else dtype
    return structure, [(leaf.shape, np.dtype(plain(leaf.dtype))) for leaf in leaves]


def _shown(kind: tuple[Any, list[tuple[tuple[int, ...], np.dtype]]]) -> str:
    structure, kinds = kind
    return str(jax.tree.unflatten(structure, [f"{dtype}{list(shape)}" for shape, dtype in kinds]))


def _rows_of(leaf: Any, rows: Int[np.ndarray, " rows"]) -> np.ndarray:
    found = native(np.array(leaf[rows]))
    mapped = getattr(leaf, "_mmap", None)
    # What was read stays mapped, and counts as memory of this process, until it is given back.
    if isinstance(mapped, mmap.mmap) and getattr(leaf, "mode", "") == "r":
        mapped.madvise(mmap.MADV_DONTNEED)
    return found
