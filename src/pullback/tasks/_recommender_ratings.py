"""Ratings as a recommender keeps them: joined, told apart, and as arrays to save."""

import hashlib
from collections.abc import Iterable
from typing import Any

import numpy as np

from pullback.data import Ratings


def arrays_of(ratings: Ratings) -> dict[str, np.ndarray]:
    """The ratings as arrays, names too."""
    arrays = {"users": ratings.users, "items": ratings.items, "values": ratings.values}
    if ratings.times is not None:
        arrays["times"] = ratings.times
    for name, names in (("user_names", ratings.user_names), ("item_names", ratings.item_names)):
        cells = [each.encode() for each in names]
        arrays[name] = np.frombuffer(b"".join(cells), np.uint8)
        arrays[f"{name}.ends"] = np.cumsum([len(cell) for cell in cells])
    return arrays


def from_arrays(arrays: dict[str, np.ndarray], source: str) -> Ratings:
    """The ratings that `arrays_of` took apart."""
    users, items = (
        _texts(arrays[name], arrays[f"{name}.ends"]) for name in ("user_names", "item_names")
    )
    times = arrays.get("times")
    return Ratings(arrays["users"], arrays["items"], arrays["values"], users, items, times, source)


def _texts(letters: np.ndarray, ends: np.ndarray) -> tuple[str, ...]:
    whole = letters.tobytes()
    starts = [0, *ends[:-1].tolist()]
    return tuple(whole[a:b].decode() for a, b in zip(starts, ends.tolist(), strict=True))


def digest(ratings: Ratings) -> str:
    """Of who rated what and how."""
    found = hashlib.sha256()
    for array in (ratings.users, ratings.items, ratings.values):
        found.update(np.ascontiguousarray(array).tobytes())
    found.update("\0".join((*ratings.user_names, *ratings.item_names)).encode())
    return found.hexdigest()


def joined(old: Ratings, new: Ratings) -> Ratings:
    """All ratings, by the codes of the old; of two of a user on an item the new one stands."""
    codes, names = [], []
    for known, more, of in (
        (old.user_names, new.user_names, new.users),
        (old.item_names, new.item_names, new.items),
    ):
        at = {name: code for code, name in enumerate(known)}
        for name in more:
            at.setdefault(name, len(at))
        codes.append(np.array([at[name] for name in more], np.int32)[of])
        names.append(tuple(at))
    pairs = old.users.astype(np.int64) * len(names[1]) + old.items
    kept = ~np.isin(pairs, codes[0].astype(np.int64) * len(names[1]) + codes[1])
    both = lambda a, b: np.concatenate([a[kept], b])
    times = None
    if old.times is not None:
        latest = old.times.max() if len(old.times) else 0.0
        times = np.full(len(new.values), latest) if new.times is None else new.times
        times = both(old.times, times)
    return Ratings(
        both(old.users, codes[0].astype(old.users.dtype)),
        both(old.items, codes[1].astype(old.items.dtype)),
        both(old.values, new.values), names[0], names[1], times, old.source,
    )  # fmt: skip


def names_of(given: Any) -> list[str]:
    """Names as a list; one is a list of one, and a number is its text, 1.0 that of 1."""
    one = isinstance(given, str) or not isinstance(given, Iterable)
    text = lambda name: (
        f"{name:.0f}" if isinstance(name, float) and name.is_integer() else str(name)
    )
    return [text(name) for name in ([given] if one else given)]
