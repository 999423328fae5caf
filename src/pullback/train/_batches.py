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


def batches(
    start: int, stop: int, *, size: int, batch_size: int, seed: tuple[int, ...]
) -> Int[np.ndarray, "steps batch"]:
    """The indices of the examples in the batches of steps `start` to `stop - 1`."""
    first, last = start * batch_size, stop * batch_size
    epochs = range(first // size, -(-last // size))
    orders = np.concatenate([_order(seed, epoch, size) for epoch in epochs])
    offset = first - epochs.start * size
    return orders[offset : offset + last - first].reshape(stop - start, batch_size)


# Two: a short chunk after a short chunk is in the same epoch, or just across its end.
@functools.lru_cache(maxsize=2)
def _order(seed: tuple[int, ...], epoch: int, size: int) -> Int[np.ndarray, " size"]:
    generator = np.random.Generator(np.random.Philox(np.random.SeedSequence([*seed, epoch])))
    return generator.permutation(size).astype(np.int32)
