"""A process for each variable, and a network where it gains for sure."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from . import _series_nets as nets
from ._series_asked import FORECAST, IMPUTE, Asked, Known, ask
from ._series_process import Process, fit_process
from ._series_report import by_series, surely


class Core(NamedTuple):
    """What tells values of series that it has seen a part of.

    Attributes:
        alone: the process.
        rest: that of what the network leaves.
        network: or None.
        kept: whether the network is used, `[2, variable]`: where more of the series is seen later,
            and ahead of all that is.
        reach: how far ahead was looked on held-out series.
    """

    alone: Process
    rest: Process
    network: Any
    kept: Bool[np.ndarray, "2 v"]
    reach: float

    def tell(self, seen: Known) -> tuple[Float[np.ndarray, "s t v"], Float[np.ndarray, "s t v"]]:
        """Mean and deviation at every time."""
        alone = self.alone.predict(*seen)
        if not self.kept.any():
            return alone
        some = np.any(seen.mask, axis=2)
        after = ~np.maximum.accumulate(some[:, ::-1], axis=1)[:, ::-1]
        use = self.kept[after.astype(int)]
        mean, deviation = (
            np.where(use, both, each) for each, both in zip(alone, self.both(seen), strict=True)
        )
        return mean, deviation

    def both(self, seen: Known) -> tuple[Float[np.ndarray, "s t v"], Float[np.ndarray, "s t v"]]:
        """Mean and deviation by the network and the process of what it leaves."""
        told, _ = nets.ask(self.network, seen)
        told = told * self._trust(seen)
        left = np.where(seen.mask, seen.values - told, 0.0)
        mean, deviation = self.rest.predict(seen.times, left, seen.mask)
        return mean + told, deviation

    def _trust(self, seen: Known) -> Float[np.ndarray, "s t 1"]:
        """1 as far ahead as was looked; from there on the network fades, to 0 at twice as far."""
        some = np.any(seen.mask, axis=2)
        last = np.max(np.where(some, seen.times, seen.times[:, :1]), axis=1)
        beyond = (seen.times - last[:, None]) / max(self.reach, 1e-9)
        return np.clip(2 - beyond, 0, 1)[:, :, None]


def fit_core(
    size: nets.Size,
    train: Known,
    choose: Asked,
    test: Asked,
    *,
    generator: np.random.RandomState,
    progress: bool | None,
) -> tuple[Core, int]:
    """Fit the process, and a network from there on; and the steps of training."""
    alone = fit_process(*train, generator)
    asked = ask(train, generator)
    seed = int(generator.randint(2**31))
    network, steps = nets.train(size, asked, choose, seed=seed, progress=progress)
    none = np.zeros((2, size.variables), bool)
    core = Core(alone, alone, network, none, max(_ahead(choose), _ahead(test)))
    if network is None:
        return core, 0
    told, _ = nets.ask(network, asked.seen)
    values = np.where(asked.known.mask, asked.known.values - told, 0.0)
    core = core._replace(rest=fit_process(asked.known.times, values, asked.known.mask, generator))
    kept = _gains(choose, alone.predict(*choose.seen)[0], core.both(choose.seen)[0])
    return core._replace(kept=kept), steps


def _ahead(asked: Asked) -> float:
    """The farthest hidden value after all that is shown."""
    rows = asked.task == FORECAST
    times = asked.known.times[rows]
    shown, hidden = (mask[rows].any(axis=2) for mask in (asked.shown, asked.hidden))
    last = np.where(shown, times, -np.inf).max(axis=1)
    return float(np.where(hidden, times - last[:, None], 0.0).max(initial=0.0))


def _gains(asked: Asked, before: np.ndarray, after: np.ndarray) -> Bool[np.ndarray, "2 v"]:
    """Where errors fall for sure: of a variable, or on the whole and of a variable too."""
    better = np.square(asked.known.values - before) - np.square(asked.known.values - after)
    kept = np.zeros((2, better.shape[2]), bool)
    for task in (IMPUTE, FORECAST):
        hidden = asked.hidden_in(task)
        whole = surely(by_series(asked, better, hidden))
        for k in range(better.shape[2]):
            own = by_series(asked, better[:, :, k : k + 1], hidden[:, :, k : k + 1])
            some = len(own) > 0 and own.mean() > 0
            kept[task, k] = some and (whole or surely(own))
    return kept


def split(count: int, generator: np.random.RandomState) -> tuple[Int[np.ndarray, " n"], ...]:
    """Series to train on, to choose by, and to tell how good the fit is: three fifths, and two."""
    order = generator.permutation(count)
    held = max(1, round(count / 5))
    return order[2 * held :], order[:held], order[held : 2 * held]
