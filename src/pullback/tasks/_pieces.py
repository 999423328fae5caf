"""What is held out of trajectories, and how forecasts of it are measured."""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from ._smooth import smooth
from ._trajectories import Trajectory

_FAR = 1e3  # scales beyond which a path has run away
_LONGEST, _SHORTEST, _PIECES = 64, 6, 4
_MANY = 8  # trajectories from which on whole ones are held out
_LEAST = 3  # times of a held-out part


class Held(NamedTuple):
    """Trajectories, or parts of them: to train on, to choose by, and to tell how good the fit is.

    Attributes:
        train, choose, test: them.
        few: whether all three are the same.
        sentence: what was held out.
    """

    train: list[Trajectory]
    choose: list[Trajectory]
    test: list[Trajectory]
    few: bool
    sentence: str


def hold_out(paths: Sequence[Trajectory], generator: np.random.RandomState) -> Held:
    """Whole trajectories of many; of few the last 30 % of each."""
    if len(paths) >= _MANY:
        order = generator.permutation(len(paths))
        test = choose = max(2, len(paths) * 15 // 100)
        parts = np.split(order, [test, test + choose])
        chosen = [[paths[k] for k in sorted(part)] for part in parts]
        said = f"Held out were {test} trajectories, and {choose} others to choose by."
        return Held(chosen[2], chosen[1], chosen[0], False, said)
    train, choose, test = [], [], []
    for path in paths:
        last = max(_LEAST, len(path.ts) * 15 // 100)
        if len(path.ts) < 4 * last:
            train.append(path)
            continue
        ends = (0, len(path.ts) - 2 * last, len(path.ts) - last, len(path.ts))
        for part, start, stop in zip((train, choose, test), ends[:-1], ends[1:], strict=True):
            part.append(Trajectory(path.name, path.ts[start:stop], path.ys[start:stop]))
    parts = [[p for p in part if _seen(p)] for part in (train, choose, test)]
    if not all(parts) or len(parts[0]) < len(train):
        return Held([*paths], [*paths], [*paths], True, "")
    said = "Held out was the last 15 % of each trajectory, and as much before it to choose by."
    return Held(parts[0], parts[1], parts[2], False, said)


def _seen(path: Trajectory) -> bool:
    """Whether each column was measured twice."""
    return bool(((~np.isnan(path.ys)).sum(axis=0) >= 2).all())


class Pieces(NamedTuple):
    """What is to be forecast from where it starts, padded by its last time.

    Attributes:
        ts: times.
        ys: measured states, NaN where there is none, and at times that are only filled up.
        starts: of a smooth path: the error of one measurement is none of the field's.
    """

    ts: Float[np.ndarray, "p t"]
    ys: Float[np.ndarray, "p t d"]
    starts: Float[np.ndarray, "p d"]

    def errors(
        self, found: Float[np.ndarray, "p t d"], scale: Float[np.ndarray, " d"]
    ) -> Float[np.ndarray, " p"]:
        """The mean squared error of each piece, in scales, its first point left out.

        Where a path is no number it has run away.
        """
        apart = np.abs(found - self.ys) / scale
        apart = np.where(np.isnan(found) & ~np.isnan(self.ys), _FAR, np.minimum(apart, _FAR))
        return np.nanmean(apart[:, 1:] ** 2, axis=(1, 2))


def pieces_of(paths: Sequence[Trajectory]) -> Pieces:
    """Trajectories in pieces of 64 intervals or fewer, and four of each if they are not too short.

    A piece ends where the next one starts.
    """
    found = []
    for path in paths:
        count, clean = len(path.ts) - 1, smooth(path).ys
        size = int(np.clip(count // _PIECES, _SHORTEST, _LONGEST))
        ends = np.linspace(0, count, max(1, round(count / size)) + 1).round().astype(int)
        for start, stop in itertools.pairwise(ends):
            here = slice(start, stop + 1)
            found.append((path.ts[here], path.ys[here], clean[start]))
    longest = max(len(ts) for ts, _, _ in found)
    dim = found[0][1].shape[1]
    ts, ys = np.empty((len(found), longest)), np.full((len(found), longest, dim), np.nan)
    for number, (t, y, _) in enumerate(found):
        ts[number], ys[number, : len(t)] = np.append(t, [t[-1]] * (longest - len(t))), y
    kept = [bool((~np.isnan(y[1:])).any()) for y in ys]
    return Pieces(ts[kept], ys[kept], np.stack([start for _, _, start in found])[kept])
