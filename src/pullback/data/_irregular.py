"""Irregular multivariate series: every variable of every series at times of its own."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from pullback.data._room import check_room
from pullback.data._series_checks import check_unique, checked_part


class IrregularSeries(NamedTuple):
    """A batch of series that were observed at irregular times, one variable here and one there.

    A row's grid is the union of the times of its variables: strictly increasing, then padded by
    repeating its last time with nothing observed. Numbers under a false mask are 0.

    Attributes:
        times: `[series, time]`, in `time_unit`.
        values: `[series, time, variable]`, in `units`.
        mask: True where a value was observed, `[series, time, variable]`.
        ids: the names of the series.
        variables: the names of the variables.
        units: the unit of each variable, "" where it is not known.
        time_unit: the unit of the times, "" where it is not known.
        targets: one outcome for each series, NaN where it is not known, `[series]`; or None.
    """

    times: Float[np.ndarray, "series time"]
    values: Float[np.ndarray, "series time variable"]
    mask: Bool[np.ndarray, "series time variable"]
    ids: tuple[str, ...]
    variables: tuple[str, ...]
    units: tuple[str, ...]
    time_unit: str
    targets: Float[np.ndarray, " series"] | None

    @property
    def on_grid(self) -> Bool[np.ndarray, "series time"]:
        """True for the times of a row's grid, False in its padding, `[series, time]`."""
        first = np.ones((len(self.times), 1), bool)
        return np.concatenate([first, np.diff(self.times, axis=1) > 0], axis=1)

    @property
    def counts(self) -> Int[np.ndarray, " series"]:
        """How many values were observed in each series, `[series]`."""
        return self.mask.sum(axis=(1, 2))

    def take(
        self, index: Int[np.ndarray, " chosen"] | Bool[np.ndarray, " series"]
    ) -> "IrregularSeries":
        """The series at these places, in this order, on a grid of the same width.

        Args:
            index: places, or True for the series to take.

        Returns:
            The batch. Its width does not depend on the choice, so that a compiled function fits
            every mini-batch; `compact` makes it as narrow as it can be.

        Raises:
            IndexError: a place is not in the batch.

        Example:
            >>> series = irregular_series([([0.0, 1.0], [3.0, 4.0]), ([0.5], [6.0])])
            >>> series.take(np.array([1])).times
            array([[0.5, 0.5]])
        """
        places = np.arange(len(self.ids))[index]
        return self._replace(
            times=self.times[places],
            values=self.values[places],
            mask=self.mask[places],
            ids=tuple(self.ids[place] for place in places),
            targets=None if self.targets is None else self.targets[places],
        )

    def select(self, variables: Sequence[str]) -> "IrregularSeries":
        """The same series with these variables alone, in this order.

        Args:
            variables: names, each of one of the batch's.

        Raises:
            ValueError: there is no such variable, it is named twice, or none is.

        Example:
            >>> import numpy as np
            >>> pair = irregular_series([([0.0], [[3.0, 4.0]])], variables=["pulse", "weight"])
            >>> pair.select(["weight"]).values
            array([[[4.]]])
        """
        unknown = [name for name in variables if name not in self.variables]
        if unknown:
            raise ValueError(f"no variable {unknown[0]!r} among {', '.join(self.variables)}.")
        if not variables or len(set(variables)) < len(variables):
            raise ValueError(f"`variables` must be different names, one or more; got {variables}.")
        places = [self.variables.index(name) for name in variables]
        return self._replace(
            values=self.values[:, :, places],
            mask=self.mask[:, :, places],
            variables=tuple(variables),
            units=tuple(self.units[place] for place in places),
        )

    def window(self, start: float | None = None, stop: float | None = None) -> "IrregularSeries":
        """The part of every series with `start <= time < stop`.

        Windows that touch have no point in common and lose none: `window(stop=t)` is the past and
        `window(t)` the future.

        Args:
            start: in `time_unit`. None: from the first time on.
            stop: in `time_unit`. None: to the last time.

        Returns:
            All the series, in their order. One with no time in the window stays, with nothing
            observed (`counts` is 0) at one time in the window.

        Raises:
            ValueError: `start` is not less than `stop`, or no series has a time in the window.

        Example:
            >>> series = irregular_series([([0.0, 1.0, 2.0], [3.0, 4.0, 5.0])])
            >>> series.window(1.0).times
            array([[1., 2.]])
        """
        low, high = -np.inf if start is None else start, np.inf if stop is None else stop
        if not low < high:
            raise ValueError(f"`start` must be less than `stop`, got {start} and {stop}.")
        keep = self.on_grid & (self.times >= low) & (self.times < high)
        if not keep.any():
            raise ValueError(
                f"no series has a time in [{low}, {high}); the times go from {self.times.min()} "
                f"to {self.times.max()}."
            )
        # The end is not in the window, the last float before it is.
        end = np.nextafter(self.times.dtype.type(high), self.times.dtype.type(-np.inf))
        return self._regrid(np.asarray(keep), np.clip(self.times[:, 0], low, end))

    def compact(self) -> "IrregularSeries":
        """The same observations on the narrowest grid: no time without an observation.

        Returns:
            The batch. A series with no observation keeps its first time.

        Example:
            >>> series = irregular_series([([0.0, 1.0], [3.0, 4.0]), ([0.5], [6.0])])
            >>> series.take(np.array([1])).compact().times
            array([[0.5]])
        """
        return self._regrid(np.asarray(self.mask.any(axis=2)), self.times[:, 0])

    def hold_out(
        self, kept: float, *, whole_times: bool = False, seed: int
    ) -> tuple["IrregularSeries", "IrregularSeries"]:
        """Show a random share of what was observed and hold the rest back.

        Args:
            kept: the share to show, in (0, 1). Of the `n` observations of a series `kept * n`,
                rounded, are shown, and always at least one.
            whole_times: draw times, each with all its variables, in place of single values.
            seed: of the draw.

        Returns:
            `(shown, held_out)` on the grid of these series, with masks that share no place and
            together are this one's. To interpolate, condition on `shown` and score `held_out`.

        Raises:
            ValueError: `kept` is not in (0, 1).

        Example:
            >>> series = irregular_series([(np.arange(4.0), np.ones(4))])
            >>> shown, held_out = series.hold_out(0.25, seed=0)
            >>> shown.counts, held_out.counts
            (array([1]), array([3]))

        Source: Rubanova et al., arXiv 1907.03907, section 4.
        """
        if not 0 < kept < 1:
            raise ValueError(f"`kept` must be in (0, 1), got {kept}.")
        drawn = self.mask.any(axis=2, keepdims=True) if whole_times else self.mask
        row, *place = np.nonzero(drawn)
        # Shuffled within each row by one key; less than 1/2, or it may round up to the next row.
        order = np.argsort(row + np.random.default_rng(seed).random(len(row)) / 2)
        count = drawn.sum(axis=(1, 2))
        rank = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
        chosen = order[rank < np.maximum(1, np.rint(kept * count))[row]]
        shown = np.zeros(drawn.shape, bool)
        shown[row[chosen], *(axis[chosen] for axis in place)] = True
        shown = shown & self.mask
        return self._observing(shown), self._observing(self.mask & ~shown)

    def split(self, *, validation: float = 0.1, test: float = 0.2, seed: int = 0) -> "SeriesSplit":
        """Deal the series out at random to three sets.

        Args:
            validation: the share of the series to select on; may be 0.
            test: the share of the series to score on; may be 0.
            seed: of the draw.

        Returns:
            A `SeriesSplit`; the shares are rounded, and the rest is for training.

        Raises:
            ValueError: a share is negative, or no series is left for training.

        Example:
            >>> series = irregular_series([([0.0], [float(i)]) for i in range(10)])
            >>> [len(part.ids) for part in series.split()]
            [7, 1, 2]
        """
        n = len(self.ids)
        if not (0 <= validation <= 1 and 0 <= test <= 1):
            raise ValueError(
                "`validation` and `test` must be shares, not be negative and at most 1; got "
                f"{validation} and {test}."
            )
        validating, testing = round(validation * n), round(test * n)
        if validating + testing >= n:
            raise ValueError(
                f"`validation` and `test` must not be negative and leave some of the {n} series "
                f"for training, got {validation} and {test}."
            )
        order = np.random.default_rng(seed).permutation(n)
        held = validating + testing
        parts = order[held:], order[:validating], order[validating:held]
        return SeriesSplit(*(self.take(np.sort(part)) for part in parts))

    def _observing(self, mask: Bool[np.ndarray, "series time variable"]) -> "IrregularSeries":
        values = np.where(mask, self.values, self.values.dtype.type(0))
        return self._replace(mask=mask, values=values)

    def _regrid(
        self, keep: Bool[np.ndarray, "series time"], alone: Float[np.ndarray, " series"]
    ) -> "IrregularSeries":
        """Each row's kept times moved to its front; `alone` is the time of a row with none."""
        count = keep.sum(axis=1)
        width = max(1, int(count.max(initial=0)))
        place = np.minimum(np.arange(width)[None, :], np.maximum(count - 1, 0)[:, None])
        source = np.take_along_axis(np.argsort(~keep, axis=1, kind="stable"), place, axis=1)
        rows = np.arange(len(keep))[:, None]
        times = np.where(count[:, None] > 0, self.times[rows, source], alone[:, None])
        mask = self.mask[rows, source] & (np.arange(width)[None, :] < count[:, None])[:, :, None]
        moved = self._replace(times=times, values=self.values[rows, source], mask=mask)
        return moved._observing(mask)


class SeriesSplit(NamedTuple):
    """Series to fit, to select on and to score on.

    Attributes:
        train: to fit.
        validation: to choose between fits.
        test: to score once.
    """

    train: IrregularSeries
    validation: IrregularSeries
    test: IrregularSeries


def irregular_series(
    series: Sequence[tuple],
    *,
    ids: Sequence[str] | None = None,
    variables: Sequence[str] | None = None,
    units: Sequence[str] | None = None,
    time_unit: str = "",
    targets: Sequence[float] | Float[np.ndarray, " series"] | None = None,
) -> IrregularSeries:
    """Put series of different lengths into one padded batch.

    Args:
        series: for each series `(times, values)` or `(times, values, mask)`: `[time]`,
            `[time, variable]` (or `[time]` for one variable), and True where a value was observed,
            in the shape of `values`. Without a mask every value was observed. A time with nothing
            observed is a time at which the model may be asked.
        ids: the names of the series. None: "0", "1", and so on.
        variables: the names of the variables. None: x1, x2, and so on.
        units: the unit of each variable. None: not known.
        time_unit: the unit of the times.
        targets: one outcome for each series, NaN where it is not known.

    Returns:
        The batch; float32 if all the values are, else float64.

    Raises:
        ValueError: the message names the series and the place: times that are not finite, not
            sorted or repeated, an observed value that is NaN or infinite, shapes that do not fit,
            a series with no observation; or a variable that no series has observed, and names or
            targets in another number than the series or the variables; or a grid that would take
            more memory than its observations justify.

    Example:
        >>> series = irregular_series(
        ...     [([0.0, 1.5], [[36.6, 70.0], [36.9, 0.0]], [[True, True], [True, False]])],
        ...     variables=["temperature", "pulse"], units=["degC", "1/min"], time_unit="h",
        ... )
        >>> series.values.shape, series.counts
        ((1, 2, 2), array([3]))
    """
    if not series:
        raise ValueError("`series` must hold at least one series, got none.")
    names = tuple(map(str, range(len(series)) if ids is None else ids))
    check_unique("ids", names, len(series))
    parts = [checked_part(name, part) for name, part in zip(names, series, strict=True)]
    width = max(len(times) for times, _, _ in parts)
    size = parts[0][1].shape[1]
    for name, (_, values, _) in zip(names, parts, strict=True):
        if values.shape[1] != size:
            raise ValueError(
                f"series {name!r} has {values.shape[1]} variables, series {names[0]!r} has {size}."
            )
    labels = tuple(f"x{k + 1}" for k in range(size)) if variables is None else tuple(variables)
    check_unique("variables", labels, size)
    if units is not None and len(units) != size:
        raise ValueError(f"`units` must hold one unit for each of {size} variables, got {units}.")
    dtype = np.result_type(*(part[1].dtype for part in parts))
    check_room(
        np.array([len(times) for times, _, _ in parts]),
        size,
        sum(int(own_mask.sum()) for _, _, own_mask in parts),
        dtype.itemsize + 1,
        names,
    )
    mask = np.zeros((len(parts), width, size), bool)
    values = np.zeros(mask.shape, dtype)
    times = np.zeros(mask.shape[:2], np.result_type(*(part[0].dtype for part in parts)))
    for row, (own_times, own_values, own_mask) in enumerate(parts):
        times[row] = own_times[-1]
        times[row, : len(own_times)] = own_times
        values[row, : len(own_times)] = np.where(own_mask, own_values, 0)
        mask[row, : len(own_times)] = own_mask
    observed = mask.any(axis=(0, 1))
    if not observed.all():
        never = ", ".join(repr(labels[k]) for k in np.flatnonzero(~observed))
        raise ValueError(f"no series has an observation of the variables {never}.")
    outcome = None if targets is None else np.asarray(targets, float)
    if outcome is not None and outcome.shape != (len(parts),):
        raise ValueError(
            f"`targets` must hold one number for each of {len(parts)} series, got shape "
            f"{outcome.shape}."
        )
    unit = ("",) * size if units is None else tuple(units)
    return IrregularSeries(times, values, mask, names, labels, unit, time_unit, outcome)
