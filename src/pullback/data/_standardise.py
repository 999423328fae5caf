"""Mean 0 and standard deviation 1, with the numbers of the training set."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from pullback._location_scale import float_info, location_and_scale


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
        # Next to the largest number of the dtype a difference overflows: half of it does not.
        info = float_info(self.mean.dtype)
        large = np.abs(self.mean) > float(info.eps) * float(info.max) / 4
        half = np.where(large, 0.5, 1).astype(self.mean.dtype)
        return (x * half - self.mean * half) / (self.scale * half)

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
        All the sets, mapped, in the order given; and the map. A column whose numbers are all the
        same is only shifted, to 0; any other is scaled, however little it varies.

    Raises:
        ValueError: `train` is empty, another set has other columns, or a number is NaN or infinite;
            the message has its row and column, from 0.

    Example:
        >>> import numpy as np
        >>> (train, test), scaler = standardise(np.array([[0.0], [2.0]]), np.array([[3.0]]))
        >>> train.ravel(), test.ravel(), scaler.mean, scaler.scale
        (array([-1.,  1.]), array([2.]), array([1.]), array([1.]))
    """
    sets = [_numbers(rows) for rows in (train, *others)]
    train = sets[0]
    if len(train) == 0:
        raise ValueError("`train` must hold at least one example, got none.")
    for number, rows in enumerate(sets):
        name = f"the set after `train` number {number}" if number else "`train`"
        if rows.shape[1:] != train.shape[1:]:
            raise ValueError(
                f"every set must have the columns of `train`, {train.shape[1:]}; {name} has "
                f"{rows.shape[1:]}."
            )
        check_finite(name, rows)
    found = location_and_scale(train)
    scaler = Scaler(np.asarray(found.mean), np.asarray(found.scale))
    return tuple(scaler.apply(x) for x in sets), scaler


def _numbers(rows: object) -> np.ndarray:
    array = np.asarray(rows)
    if array.dtype.kind in "biu":
        return array.astype(np.float64)
    float_info(array.dtype)
    return array


def check_finite(name: str, rows: Float[np.ndarray, "n ..."]) -> None:
    """Every number is finite, or an error that says which is not."""
    bad = np.argwhere(~np.isfinite(rows))
    if len(bad):
        row, *column = bad[0].tolist()
        where = f", column {', '.join(map(str, column))}," if column else ""
        raise ValueError(
            f"{name} must be finite; row {row}{where} is {rows[tuple(bad[0])]}, one of {len(bad)} "
            "such numbers. Leave their rows out, or fill the holes in."
        )
