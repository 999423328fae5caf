"""How many nodes the graphs have that are drawn."""

from collections.abc import Mapping, Sequence

import jax.random as jr
import numpy as np
from jaxtyping import Array, Int, PRNGKeyArray

from pullback._numbers import check_number


def drawn_sizes(
    sizes: int | Sequence[int] | np.ndarray | Mapping[int, float] | None,
    counts: Int[Array, " sizes"],
    number: int,
    key: PRNGKeyArray,
) -> Int[np.ndarray, " number"]:
    """The nodes of each graph: as they are asked for, or drawn by how often each comes."""
    if isinstance(sizes, Mapping):
        if not sizes:
            raise ValueError("`sizes` is an empty dictionary: give a number of nodes and a weight.")
        for nodes, weight in sizes.items():
            wants = "a weight that is 0 or more"
            check_number(f"sizes[{nodes!r}]", weight, wants, lambda value: value >= 0)
        asked, weights = np.asarray(list(sizes)), np.asarray([*map(float, sizes.values())])
        if not weights.any():
            raise ValueError(f"`sizes` must have a weight that is above 0; got {sizes!r}.")
    elif sizes is None:
        weights = np.asarray(counts, float)
        asked = np.arange(len(weights))
        if np.sum(weights) <= 0:
            raise ValueError("`size_counts` are all 0: give `sizes`.")
    else:
        asked, weights = np.asarray(sizes), None
        if asked.ndim == 0:
            asked = np.full(number, asked)
    if (
        asked.dtype.kind not in "iu"
        or asked.ndim != 1
        or (weights is None and len(asked) != number)
    ):
        raise ValueError(
            f"`sizes` must be a whole number, one for each of {number} graphs, or a dictionary "
            f"from such numbers to weights; got {sizes!r}."
        )
    most = len(counts) - 1
    wrong = asked[(asked < (sizes is not None)) | (asked > most)]
    if len(wrong):
        raise ValueError(f"`sizes` must be between 1 and `max_nodes` = {most}, got {wrong[0]}.")
    if weights is None:
        return asked.astype(np.int32)
    # By a power of two, which rounds nothing: a sum of large weights would be infinite.
    cumulative = np.cumsum(np.ldexp(weights, -np.frexp(weights.max())[1]))
    uniform = np.asarray(jr.uniform(key, (number,)), float)
    drawn = np.searchsorted(cumulative / cumulative[-1], uniform, side="right")
    return asked[drawn].astype(np.int32)
