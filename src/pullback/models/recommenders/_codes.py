"""What is asked of rows of users and items, and of ratings, before a recommender takes them."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from pullback._on_device import on_device

Rows = Array | np.ndarray | Sequence[int]
Numbers = Array | np.ndarray | Sequence[float]
Flags = Array | np.ndarray | Sequence[bool]


class Given(NamedTuple):
    """Ratings of one user, or of one item.

    Attributes:
        codes: the rows of what was rated.
        values: as many ratings.
        known: False for padding; None where there is none.
        wrong: of a compiled call, which rows are not there; None where it has been looked.
    """

    codes: Array
    values: Array
    known: Array | None
    wrong: Array | None


def rows_of(name: str, codes: Rows, count: int, known: Any = None) -> tuple[Array, Array | None]:
    """Rows as an array, and which are not there, of a compiled call that cannot raise.

    Args:
        name: of the argument.
        codes: the rows.
        count: how many there are.
        known: False for padding, which may be any row.

    Raises:
        TypeError: they are no whole numbers.
        ValueError: they have not one axis, or one of them is not there.
    """
    found = _array(codes)
    if not found.size and not isinstance(codes, jax.Array | np.ndarray):
        found = found.astype(np.int32)
    if found.ndim != 1:
        raise ValueError(
            f"`{name}` must have one axis, got {found.shape}; `jax.vmap` takes several users."
        )
    if not np.issubdtype(found.dtype, np.integer):
        raise TypeError(f"`{name}` must be rows, whole numbers, got {found.dtype}.")
    if _traced(found) or _traced(known):
        outside = (found < 0) | (found >= count)
        return jnp.asarray(found), outside if known is None else outside & known
    seen = np.asarray(found)
    seen = seen if known is None else seen[np.asarray(known)]
    missing = seen[(seen < 0) | (seen >= count)]
    if len(missing):
        raise ValueError(
            f"`{name}` must be rows from 0 to {count - 1}, as there are {count}; got {missing[0]}. "
            "Who is not among them is embedded first."
        )
    return on_device(found), None


def given_ratings(
    name: str, codes: Rows, values: Numbers, known: Flags | None, count: int, *, counts: bool
) -> Given:
    """Ratings of one user or item, if they are such; arguments and errors as for `rows_of`.

    `counts` says that values are how often or how much, which is above 0.
    """
    found = _array(values)
    said = None if known is None else _array(known).astype(bool)
    if said is not None and said.shape != np.shape(codes):
        raise ValueError(
            f"`known` and `{name}` must be as long, got {said.shape} and {np.shape(codes)}."
        )
    rows, wrong = rows_of(name, codes, count, said)
    if found.shape != rows.shape:
        raise ValueError(
            f"`{name}` and `values` must be as long, got {rows.shape} and {found.shape}."
        )
    if not jnp.issubdtype(found.dtype, jnp.floating):
        if found.size and not np.issubdtype(found.dtype, np.integer):
            raise TypeError(f"`values` must be numbers, got {found.dtype}.")
        found = found.astype(jnp.result_type(float))
    if wrong is None and not _traced(found):
        seen = slice(None) if said is None else np.asarray(said)
        _check_seen(name, np.asarray(rows)[seen], np.asarray(found)[seen], counts)
    return Given(rows, on_device(found), None if said is None else on_device(said), wrong)


def _check_seen(name: str, rows: np.ndarray, values: np.ndarray, counts: bool) -> None:
    bad = values[~np.isfinite(values)]
    if len(bad):
        raise ValueError(f"`values` must be finite numbers, got {bad[0]}.")
    if counts and len(values) and values.min() <= 0:
        raise ValueError(
            f"`values` must be above 0, how often or how much, got {values.min()}: leave out what "
            "was not taken."
        )
    once, times = np.unique(rows, return_counts=True)
    if len(once) < len(rows):
        raise ValueError(
            f"`{name}` must be rows that differ, got {once[times > 1][0]} twice; keep one rating "
            "of each."
        )


def _array(given: Any) -> Any:
    return given if isinstance(given, jax.Array | np.ndarray) else np.asarray(given)


def _traced(given: Any) -> bool:
    return isinstance(given, jax.core.Tracer)
