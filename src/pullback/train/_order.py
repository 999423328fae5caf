"""Which examples make up which batch, as a function of the key and the step alone.

Epoch `e` visits the examples in the order of a permutation drawn from the key and `e`. The epochs
laid end to end make one endless sequence, and step `s` takes its places `s B` to `(s + 1) B - 1`.
So no example is dropped where the batch size `B` does not divide the number of examples: the last
batch of an epoch is filled up from the next one.

The orders are drawn on the host, for a chunk of steps at a time. Drawn inside the compiled loop
they cost a sort that takes a second to compile, and a copy of the whole order at every step.
"""

import functools

import numpy as np
from jaxtyping import Int

# Orders up to this length are listed; of longer ones each entry is computed by itself, so that the
# memory does not grow with the number of examples.
_LISTED = 2**20

_ROUNDS = 6


def batches(
    start: int, stop: int, *, size: int, batch_size: int, seed: tuple[int, ...]
) -> Int[np.ndarray, "steps batch"]:
    """The indices of the examples in the batches of steps `start` to `stop - 1`."""
    places = np.arange(start * batch_size, stop * batch_size)
    epochs = range(places[0] // size, -(-(places[-1] + 1) // size))
    parts = [places[places // size == epoch] - epoch * size for epoch in epochs]
    look = _listed if size <= _LISTED else _permuted
    found = [look(part, seed, e, size) for part, e in zip(parts, epochs, strict=True)]
    return np.concatenate(found).reshape(stop - start, batch_size)


def _listed(
    places: Int[np.ndarray, " n"], seed: tuple[int, ...], epoch: int, size: int
) -> Int[np.ndarray, " n"]:
    return _order(seed, epoch, size)[places]


# For each run of a stack, the present epoch and the next.
@functools.lru_cache(maxsize=32)
def _order(seed: tuple[int, ...], epoch: int, size: int) -> Int[np.ndarray, " size"]:
    return _generator(seed, epoch).permutation(size).astype(np.int32)


def _generator(seed: tuple[int, ...], epoch: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([*seed, epoch])))


def _permuted(
    places: Int[np.ndarray, " n"], seed: tuple[int, ...], epoch: int, size: int
) -> Int[np.ndarray, " n"]:
    """The entries of an order at some places, by a Feistel network.

    It permutes the numbers of an even count of bits; one that leads out of the range is permuted
    again until it is back in it (Black and Rogaway, Ciphers with Arbitrary Finite Domains, 2002).
    """
    half = np.uint64((int(size - 1).bit_length() + 1) // 2)
    mask = np.uint64((1 << int(half)) - 1)
    keys = _generator(seed, epoch).integers(0, 2**64, _ROUNDS, dtype=np.uint64)
    numbers = places.astype(np.uint64)
    outside = np.ones(len(numbers), bool)
    while outside.any():
        left, right = numbers[outside] >> half, numbers[outside] & mask
        for key in keys:
            left, right = right, left ^ (_mixed(right ^ key) & mask)
        numbers[outside] = (left << half) | right
        outside = numbers >= size
    return numbers.astype(np.int64)


def _mixed(x: np.ndarray) -> np.ndarray:
    """The finaliser of SplitMix64, which makes each bit depend on all (Steele et al., 2014)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
