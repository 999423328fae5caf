"""Sizes to pad to, where padding costs work and each size costs a compilation."""

import numpy as np
from jaxtyping import Int

_MOST = 8  # sizes
_WORTH = 60  # steps of all padding, about what it costs to compile one more size


def bucket_sizes(needed: Int[np.ndarray, " n"], steps: int) -> tuple[int, ...]:
    """The sizes to pad to at which least is computed, by dynamic programming.

    Args:
        needed: the size of each example; the work is as the size.
        steps: of the training: the longer it is, the more sizes are worth their compilation.
    """
    sizes, counts = np.unique(needed, return_counts=True)
    upto = np.concatenate([[0], np.cumsum(counts)])
    whole = int(sizes[-1] * upto[-1])
    # The least cost of the examples of the first sizes, the last of which ends a bucket.
    best = sizes * upto[1:]
    ends: list[tuple[int, ...]] = [(int(size),) for size in sizes]
    for _ in range(1, _MOST):
        more, longer = best.copy(), list(ends)
        for j in range(1, len(sizes)):
            costs = best[:j] + sizes[j] * (upto[j + 1] - upto[1 : j + 1])
            i = int(np.argmin(costs))
            if costs[i] < more[j]:
                more[j], longer[j] = costs[i], (*ends[i], int(sizes[j]))
        if (best[-1] - more[-1]) * steps < _WORTH * whole:
            break
        best, ends = more, longer
    return ends[-1]
