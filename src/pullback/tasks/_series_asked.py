"""What a model of series is asked: values that are hidden from it, in series that are known."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

_FOLDS = 3
_TIMES_EACH, _FEWEST, _MOST, _NUMBERS = 7, 140, 4096, 10_000_000  # rows, and numbers in all
_CUTS = (0.1, 0.4, 0.7)  # of a series' times: what comes after is forecast
# What is hidden: values here and there, all later ones, or a variable.
IMPUTE, FORECAST, VARIABLE = 0, 1, 2
BETWEEN, EDGE, NEVER = 0, 1, 2  # what is seen of a variable: on both sides of a time, on one, none


class Known(NamedTuple):
    """Series on the model's scale.

    Attributes:
        times: from each series' first on, `[series, time]`, padded by repeating the last.
        values: in standard deviations of each variable about its mean, `[series, time, variable]`.
        mask: True where a value is known.
    """

    times: Float[np.ndarray, "s t"]
    values: Float[np.ndarray, "s t v"]
    mask: Bool[np.ndarray, "s t v"]

    def take(self, places: Int[np.ndarray, " n"]) -> "Known":
        """Some of the series."""
        return Known(*(array[places] for array in self))


class Asked(NamedTuple):
    """Series of which a part is hidden.

    Attributes:
        known: all that is known.
        shown: what the model sees.
        series: which series each row is of.
        task: of each row what is hidden.
    """

    known: Known
    shown: Bool[np.ndarray, "r t v"]
    series: Int[np.ndarray, " r"]
    task: Int[np.ndarray, " r"]

    def take(self, places: Int[np.ndarray, " n"]) -> "Asked":
        """Some of the rows."""
        known = self.known.take(places)
        return Asked(known, self.shown[places], self.series[places], self.task[places])

    def hidden_in(self, task: int) -> Bool[np.ndarray, "r t v"]:
        """What is to be told in the rows of a task."""
        return self.hidden & (self.task == task)[:, None, None]

    @property
    def hidden(self) -> Bool[np.ndarray, "r t v"]:
        """What is to be told."""
        return self.known.mask & ~self.shown

    @property
    def seen(self) -> Known:
        """What the model is given."""
        return self.known._replace(
            values=np.where(self.shown, self.known.values, 0.0), mask=self.shown
        )


def ask(known: Known, generator: np.random.RandomState) -> Asked:
    """Each series seven times, or of many some of these times: see `_ask_all`.

    Memory holds some hundred megabytes of them, whatever the number of series.
    """
    count, numbers = len(known.times), max(1, known.values[:1].size)
    groups = -(-_TIMES_EACH * count // max(_FEWEST, min(_MOST, _NUMBERS // numbers)))
    if groups <= 1:
        return _ask_all(known, generator)
    parts = []
    for places in np.array_split(generator.permutation(count), groups):
        own = _ask_all(known.take(places), generator)
        rows = generator.permutation(len(own.series))[: -(-len(own.series) // groups)]
        own = own.take(rows)
        parts.append(own._replace(series=places[own.series]))
    whole = Known(*(np.concatenate(each) for each in zip(*(p.known for p in parts), strict=True)))
    return Asked(whole, *(np.concatenate([p[k] for p in parts]) for k in (1, 2, 3)))


def _ask_all(known: Known, generator: np.random.RandomState) -> Asked:
    """Each series seven times: thirds of its values hidden, one of whole times; three futures; and
    a variable, with some of the future.
    """
    count, rows = len(known.times), []
    seen = np.any(known.mask, axis=2)
    fold = _dealt(known.mask, generator)
    whole = _dealt(seen[:, :, None], generator)
    rows += [(known.mask & (fold != k), IMPUTE) for k in range(1, _FOLDS)]
    rows.append((known.mask & (whole != 0), IMPUTE))
    rank, total = np.cumsum(seen, axis=1) - 1, seen.sum(axis=1)
    for cut in _CUTS:
        first = np.maximum(1, np.rint((cut + generator.uniform(-0.1, 0.1, count)) * total))
        rows.append((known.mask & (rank < first[:, None])[:, :, None], FORECAST))
    drawn = generator.randint(known.mask.shape[2], size=count)
    others = np.arange(known.mask.shape[2]) != drawn[:, None]
    first = np.maximum(1, np.rint(generator.uniform(0, 1.3, count) * total))
    rows.append((known.mask & others[:, None, :] & (rank < first[:, None])[:, :, None], VARIABLE))
    return Asked(
        known.take(np.tile(np.arange(count), len(rows))),
        np.concatenate([shown for shown, _ in rows]),
        np.tile(np.arange(count), len(rows)),
        np.repeat([task for _, task in rows], count),
    )


def fold_by_fold(
    known: Known, folds: int, generator: np.random.RandomState
) -> list[Bool[np.ndarray, "s t v"]]:
    """What is shown where each value is hidden once."""
    fold = _dealt(known.mask, generator, folds)
    return [known.mask & (fold != k) for k in range(folds)]


def _dealt(
    mask: Bool[np.ndarray, "s t v"], generator: np.random.RandomState, folds: int = _FOLDS
) -> Int[np.ndarray, "s t v"]:
    """A fold for each entry; those of one series' entries are as many, give or take one."""
    found = np.zeros(mask.shape, int)
    for row, own in enumerate(mask):
        count = int(own.sum())
        found[row][own] = generator.permutation(
            (np.arange(count) + generator.randint(folds)) % folds
        )
    return found


def reach(
    times: Float[np.ndarray, "s t"], shown: Bool[np.ndarray, "s t v"]
) -> tuple[Int[np.ndarray, "s t v"], Float[np.ndarray, "s t v"]]:
    """What is seen about each entry of its own variable, and how far the nearest of it lies.

    Where nothing of it is, the distance is one over the number of times that are seen at all. At a
    time that is shown itself, it is what the others tell.
    """
    at = np.where(shown, times[:, :, None], -np.inf)
    before = np.full(shown.shape, -np.inf)
    before[:, 1:] = np.maximum.accumulate(at, axis=1)[:, :-1]
    at = np.where(shown, times[:, :, None], np.inf)
    after = np.full(shown.shape, np.inf)
    after[:, :-1] = np.minimum.accumulate(at[:, ::-1], axis=1)[:, ::-1][:, 1:]
    since, until = times[:, :, None] - before, after - times[:, :, None]
    sides = np.isfinite(since).astype(int) + np.isfinite(until)
    few = 1 / np.maximum(shown.any(axis=2).sum(axis=1), 0.5)
    distance = np.where(sides > 0, np.minimum(since, until), few[:, None, None])
    return np.asarray([NEVER, EDGE, BETWEEN])[sides], distance


def carried(seen: Known) -> Float[np.ndarray, "s t v"]:
    """The last value before each time, else the first after it, else the mean, 0."""
    last = _last(seen.values, seen.mask)
    first = _last(seen.values[:, ::-1], seen.mask[:, ::-1])[:, ::-1]
    return np.where(np.isnan(last), np.where(np.isnan(first), 0.0, first), last)


def interpolated(seen: Known) -> Float[np.ndarray, "s t v"]:
    """Straight lines between the values; carried on at the ends; the mean, 0, where is none."""
    found = np.zeros(seen.values.shape)
    for row, k in np.ndindex(len(found), found.shape[2]):
        own = seen.mask[row, :, k]
        if own.any():
            found[row, :, k] = np.interp(
                seen.times[row], seen.times[row][own], seen.values[row, :, k][own]
            )
    return found


def _last(values: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The last value up to each time; NaN before the first."""
    places = np.where(mask, np.arange(mask.shape[1])[None, :, None], -1)
    places = np.maximum.accumulate(places, axis=1)
    found = np.take_along_axis(values, np.maximum(places, 0), axis=1)
    return np.where(places < 0, np.nan, found)
