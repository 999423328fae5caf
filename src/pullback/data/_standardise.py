"""Mean 0 and standard deviation 1, with the numbers of the training set."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float


class Scaler(NamedTuple):
    """The affine map `z = (x - mean) / scale`, column by column.

    A density of `z` is one of `x` by `log p(x) = log p(z) - sum(log(scale))`.

    Attributes:
        mean: what is taken off, `[...]`.
        scale: what is divided by, `[...]`.
    """

    mean: Float[np.ndarray, "..."]
    scale: Float[np.ndarray, "..."]

    def apply(self, x: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
        """`(x - mean) / scale`."""
        return (x - self.mean) / self.scale

    def undo(self, z: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
        """`z * scale + mean`: back to the units of the data."""
        return z * self.scale + self.mean


def standardise(
    train: Float[np.ndarray, "n ..."], *others: Float[np.ndarray, "m ..."]
) -> tuple[tuple[np.ndarray, ...], Scaler]:
    """Shift and scale each column to mean 0 and standard deviation 1 over the training set.

    Args:
        train: the examples that the mean and the scale are taken from, `[n, ...]`.
        *others: further sets, which get the same map: no held-out number leaks into it.

    Returns:
        All the sets, mapped, in the order given; and the map. A column that does not vary is only
        shifted.

    Raises:
        ValueError: `train` is empty, or another set has other columns.

    Example:
        >>> import numpy as np
        >>> (train, test), scaler = standardise(np.array([[0.0], [2.0]]), np.array([[3.0]]))
        >>> train.ravel(), test.ravel(), scaler.mean, scaler.scale
        (array([-1.,  1.]), array([2.]), array([1.]), array([1.]))
    """
    if len(train) == 0:
        raise ValueError("`train` must hold at least one example, got none.")
    for number, other in enumerate(others):
        if other.shape[1:] != train.shape[1:]:
            raise ValueError(
                f"every set must have the columns of `train`, {train.shape[1:]}; the set after it "
                f"number {number + 1} has {other.shape[1:]}."
            )
    mean, deviation = train.mean(axis=0), train.std(axis=0)
    scale = np.where(deviation > 0, deviation, np.ones_like(deviation))
    scaler = Scaler(mean, scale)
    return tuple(scaler.apply(x) for x in (train, *others)), scaler
