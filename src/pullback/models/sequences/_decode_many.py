"""All that a code may decode to, when it is decoded many times."""

import dataclasses
from collections import Counter
from collections.abc import Callable, Sequence

import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from pullback._inputs import positive
from pullback._key import checked_key

from ._latent_space import LatentSpace, checked_codes

_ROWS = 4096  # codes decoded at a time: enough to fill a machine, and few megabytes


@dataclasses.dataclass(frozen=True)
class Candidates:
    """What one code decoded to.

    Attributes:
        strings: the valid ones, canonical, once each.
        counts: how often each came.
        distances: of each one's own code from the code, in standard deviations; None where nothing
            says what its code is.
        attempts: how often it was decoded.
    """

    strings: tuple[str, ...]
    counts: Int[np.ndarray, " found"]
    distances: Float[np.ndarray, " found"] | None
    attempts: int

    @property
    def valid(self) -> float:
        """The share of attempts that gave a valid string."""
        return float(self.counts.sum() / self.attempts)


def decode_many(
    decode: Callable[..., Sequence[str]],
    z: Float[Array | np.ndarray, "n latent"],
    *,
    attempts: int = 100,
    canonical: Callable[[str], str | None] | None = None,
    encode: Callable[..., Array | np.ndarray] | None = None,
    space: LatentSpace | None = None,
    key: PRNGKeyArray,
) -> list[Candidates]:
    """Decode each code many times, and keep what is valid, once each.

    Sorted by distance, the nearest first, where `encode` and `space` are given; else by count, the
    most frequent first. Those alike keep the order in which they came.

    Args:
        decode: `decode(z, *, key) -> list of strings`, of codes `[m, latent]`.
        z: the model's own codes.
        attempts: how often each is decoded.
        canonical: from a string to its one spelling, or to None or "" where it is not valid; None:
            every string but the empty one is valid, as it is.
        encode: from strings to their codes `[m, latent]`, the model's own.
        space: what distances are measured in.
        key: a random key.

    Returns:
        One record a code. An empty string is never valid.

    Raises:
        ValueError: a code is not finite, `decode` gives another number of strings, `canonical` what
            is neither a string nor None, `encode` a code that is not finite, or one of `encode` and
            `space` comes without the other.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> def decode(z, *, key):  # as many letters as the code says, or fewer
        ...     fewer = jax.random.randint(key, len(z), 0, 3, jnp.int32)
        ...     return ["a" * (int(n) - int(m)) for n, m in zip(z[:, 0], fewer)]
        >>> found, = decode_many(decode, jnp.array([[2.0]]), attempts=50, key=jax.random.key(0))
        >>> print(found.strings, found.counts, found.valid)
        ('a', 'aa') [22 17] 0.78

    Source: Gómez-Bombarelli et al., arXiv 1610.02415, section "Representation and autoencoder
    framework".
    """
    key = checked_key(key)
    checked_codes("z", z)
    positive(attempts=attempts)
    if (encode is None) != (space is None):
        raise ValueError("`encode` and `space` go together: give both for distances, or neither.")
    z = jnp.asarray(z)
    strings = _decoded(decode, z, attempts, key)
    spelling = {each: _spelled(each, canonical) for each in dict.fromkeys(strings)}
    found = [
        Counter(
            filter(None, (spelling[each] for each in strings[n * attempts : (n + 1) * attempts]))
        )
        for n in range(len(z))
    ]
    distances = None if encode is None or space is None else _distances(encode, space, z, found)
    records = []
    for n, counter in enumerate(found):
        strings, counts = tuple(counter), np.array(list(counter.values()), np.int64)
        away = None if distances is None else distances[n]
        order = np.argsort(-counts if away is None else away, kind="stable")
        strings = tuple(strings[k] for k in order)
        away = None if away is None else away[order]
        records.append(Candidates(strings, counts[order], away, attempts))
    return records


def _decoded(
    decode: Callable[..., Sequence[str]], z: Array, attempts: int, key: Array
) -> list[str]:
    """The strings of each code, `attempts` in a row; all batches have one size, so one program."""
    rows = np.repeat(np.arange(len(z)), attempts)
    size = min(_ROWS, len(rows))
    strings = []
    for number, begin in enumerate(range(0, len(rows), size)):
        batch = np.resize(rows[begin : begin + size], size)
        found = decode(z[batch], key=jr.fold_in(key, number))
        if isinstance(found, str):
            raise ValueError(f"`decode` must give a list of strings, one a code; got {found!r}.")
        found = list(found)
        if len(found) != size or not all(isinstance(each, str) for each in found):
            kinds = sorted({type(each).__name__ for each in found})
            raise ValueError(
                f"`decode` must give one string a code, {size} here; got {len(found)} of "
                f"{', '.join(kinds) or 'nothing'}."
            )
        strings += found
    return strings[: len(rows)]


def _spelled(string: str, canonical: Callable[[str], str | None] | None) -> str | None:
    found = string if canonical is None or not string else canonical(string)
    if found is not None and not isinstance(found, str):
        raise ValueError(
            f"`canonical` must give a string, or None for what is not valid; got {found!r} for "
            f"{string!r}."
        )
    return found


def _distances(
    encode: Callable[..., Array | np.ndarray], space: LatentSpace, z: Array, found: list[Counter]
) -> list[np.ndarray]:
    distinct = list(dict.fromkeys(each for counter in found for each in counter))
    if not distinct:
        return [np.zeros(0) for _ in found]
    codes = np.asarray(encode(distinct))
    if codes.shape != (len(distinct), z.shape[1]):
        raise ValueError(
            f"`encode` must give a code a string, {(len(distinct), z.shape[1])}; got {codes.shape}."
        )
    bad = np.flatnonzero(~np.isfinite(codes).all(axis=1))
    if len(bad):
        raise ValueError(
            f"`encode` must give finite codes, and {len(bad)} of {len(codes)} are not, that of "
            f"{distinct[bad[0]]!r} first."
        )
    row = {each: n for n, each in enumerate(distinct)}
    own, whitened = np.asarray(space.whiten(z)), np.asarray(space.whiten(jnp.asarray(codes)))
    return [
        np.linalg.norm(whitened[[row[each] for each in counter]] - own[n], axis=1)
        if counter
        else np.zeros(0)
        for n, counter in enumerate(found)
    ]
