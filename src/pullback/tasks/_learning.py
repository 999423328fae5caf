"""The field of smooth paths: a regression, and what training adds to it where it gains."""

import warnings
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from sklearn.exceptions import ConvergenceWarning

from pullback.train import TrainingError

from ._collocation import best_start, regress, slopes_of
from ._field import Field, Frame, Known, fresh_nets, orders_of, paths, stacked, trained_parts
from ._pieces import Held, Pieces
from ._shooting import PIECE, Training, filled, train, windows
from ._smooth import Smooth, smooth

_MEMBERS = 5
_FEWEST = 40  # intervals below which training finds nothing that a regression does not
_LEAST = 16  # windows, so that one program serves all small tables


class Learned(NamedTuple):
    """A field, as an ensemble.

    Attributes:
        fields: stacked.
        order: the degree of the polynomial.
        netted: whether the nets have a part.
        steps: of training.
    """

    fields: Field
    order: int
    netted: bool
    steps: int


def learn(
    smooths: list[Smooth],
    held: Held,
    choose: Pieces,
    frame: Frame,
    known: Known | None,
    noise: Float[np.ndarray, " d"],
    *,
    max_steps: int | None,
    progress: bool | None,
    generator: np.random.RandomState,
) -> Learned:
    """The regression that forecasts best, trained, and then with nets, as long as that gains.

    Args:
        smooths: smooth paths of what may be learned from.
        held: what is held out.
        choose: pieces of what is held out to choose by.
        frame: units.
        known: the known part of the field.
        noise: of a measurement.
        max_steps: the most steps of each training; None chooses.
        progress: show a bar.
        generator: of weights, nets and batches.
    """
    dim = len(frame.mean)
    slopes = slopes_of(smooths, frame, known, PIECE)
    apart = windows(smooths, frame, own=False)
    start = best_start(slopes, frame, known, apart, choose, range(orders_of(dim) + 1))
    order, ridge, rounds, _ = start
    weights = generator.exponential(size=(_MEMBERS, slopes.window.max() + 1))
    fitted = [regress(slopes, frame, order, ridge, w, known, rounds=rounds) for w in weights]
    parts = [np.stack(fitted), *fresh_nets(_MEMBERS, dim, generator)]
    build = lambda parts, gate: stacked(parts[0], parts[1:], frame, known, order=order, gate=gate)
    best = Learned(build(parts, 0.0), order, False, 0)
    lowest = errors_of(best.fields, frame, choose)
    floor = float(np.sqrt(np.mean((noise / frame.scale) ** 2)))
    shots = filled(windows(smooths, frame, own=True), _LEAST)
    seen = filled(windows([smooth(path) for path in held.choose], frame, own=False), _LEAST)
    plan = _plan(shots.since, sum(len(path.ts) - 1 for path in held.train), max_steps)
    seed = int(generator.randint(2**31))
    for gate in (0.0, 1.0):
        # With errors as small as the noise there is nothing left for a net to learn.
        if not plan.steps or np.sqrt(lowest.mean()) <= max(1e-3, 1.05 * floor * gate):
            break
        try:
            fields, steps = train(
                build(trained_parts(best.fields), gate), shots, seen, weights, plan,
                seed=seed, progress=progress,
            )  # fmt: skip
        except TrainingError as error:
            warnings.warn(f"the field was not trained: {error}", ConvergenceWarning, stacklevel=3)
            break
        errors = errors_of(fields, frame, choose)
        # A polynomial of few numbers is more exact by its paths than by slopes, if no worse.
        if _gains(lowest, errors, least=1.0 if gate else -1.0):
            best, lowest = Learned(fields, order, gate > 0, best.steps + steps), errors
    return best


def errors_of(fields: Field, frame: Frame, pieces: Pieces) -> Float[np.ndarray, " p"]:
    """The mean squared error of each piece by the mean of the fields' paths, in scales."""
    found = paths(fields, frame, pieces.starts, pieces.ts)
    return pieces.errors(found.mean(axis=0), frame.scale)


def frame_of_paths(smooths: list[Smooth]) -> Frame:
    """The units of smooth paths, and the box that they lie in, with half as much room again."""
    ys = np.concatenate([part.ys for part in smooths])
    slopes = np.concatenate([part.slopes for part in smooths])
    mean, scale = ys.mean(axis=0), ys.std(axis=0)
    scale = np.where(scale > 1e-9 * np.abs(mean), scale, np.maximum(np.abs(mean), 1e-30))
    speed = np.sqrt(np.mean((slopes / scale) ** 2))
    gaps = np.concatenate([np.diff(part.path.ts) for part in smooths])
    time = 1 / speed if speed * gaps.sum() > 1e-6 else gaps.sum()
    zs = (ys - mean) / scale
    low, high = zs.min(axis=0), zs.max(axis=0)
    room = 0.5 * (high - low) + 1e-3
    return Frame(mean, scale, np.asarray(time), low - room, high + room)


def _plan(since: np.ndarray, intervals: int, max_steps: int | None) -> Training:
    """Two steps of the solver a time, or four where times lie far apart."""
    gaps = np.diff(since, axis=1)
    gap = np.quantile(gaps[gaps > 0], 0.9)
    substeps = 2 if gap < 1 else 4
    if max_steps is not None:
        every = max(1, min(50, max_steps))
        return Training(max_steps // every * every, substeps, log_every=every)
    return Training(0 if intervals < _FEWEST else 600, substeps)


def _gains(
    before: Float[np.ndarray, " p"], after: Float[np.ndarray, " p"], *, least: float
) -> bool:
    """Whether errors are lower by so many standard errors, or, of few pieces, by so many tenths."""
    gain = before - after
    if len(gain) < 4:
        return bool(gain.mean() > 0.1 * least * before.mean())
    return bool(gain.mean() > least * gain.std(ddof=1) / np.sqrt(len(gain)))
