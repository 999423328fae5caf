"""A Gaussian process for each variable of irregular series, whose numbers all series share.

It is what `SeriesModel` starts from: the mean, the last value carried on and linear interpolation
are three of its limits, and its numbers say how far to go towards each.
"""

import itertools
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

_SERIES, _TIMES, _NUMBERS = 80, 64, 400_000  # looked at to find the numbers of a process
_OFFSETS, _NOISES = (0.02, 0.2, 0.5, 0.8), (0.002, 0.03, 0.15, 0.5)
_LENGTHS = 6
_AT_ONCE = 200_000  # numbers of series that are smoothed at once: of each some forty are kept
_LEAST = 1e-6  # of a variance, beside the variable's own


class Process(NamedTuple):
    r"""The numbers of independent processes, one a variable.

    $$ x(t) = a + u(t) + \varepsilon, \qquad a \sim N(0, \sigma_a^2), \qquad
       \mathrm{cov}(u(t), u(t')) = \sigma^2 k(|t - t'| / \ell), \qquad
       \varepsilon \sim N(0, \sigma_\varepsilon^2) $$

    with $k(r) = e^{-r}$, a path with kinks, or $(1 + \sqrt 3 r) e^{-\sqrt 3 r}$, one that has a
    velocity. The offset a is drawn once a series.

    Attributes:
        smooth: whether a path has a velocity.
        length: l, in the unit of the times.
        offset: the variance of a.
        signal: the variance of u.
        noise: the variance of the noise.
    """

    smooth: Bool[np.ndarray, "*many v"]
    length: Float[np.ndarray, "*many v"]
    offset: Float[np.ndarray, "*many v"]
    signal: Float[np.ndarray, "*many v"]
    noise: Float[np.ndarray, "*many v"]

    def predict(
        self,
        times: Float[np.ndarray, "s t"],
        values: Float[np.ndarray, "s t v"],
        mask: Bool[np.ndarray, "s t v"],
    ) -> tuple[Float[np.ndarray, "s t v"], Float[np.ndarray, "s t v"]]:
        """Mean and deviation of a new observation at every time, given what the mask shows.

        A series' numbers do not hang on what is beside it.
        """
        mean, variance = np.empty(values.shape), np.empty(values.shape)
        at_once = max(1, _AT_ONCE // max(1, values[:1].size))
        for start in range(0, len(times), at_once):
            part = slice(start, start + at_once)
            mean[part], variance[part] = self._smooth(times[part], values[part], mask[part])
        return mean, np.sqrt(np.maximum(variance, 0.0) + self.noise)

    def _smooth(
        self, times: np.ndarray, values: np.ndarray, mask: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Mean and variance without the noise, by the filter and then back: Bryson and Frazier."""
        steps = list(_filter(self, times, values, mask))
        mean, variance = np.empty(values.shape), np.empty(values.shape)
        behind = np.zeros((*steps[0].state.shape, 3))  # of the information after a time
        pull = np.zeros(steps[0].state.shape)
        for k in reversed(range(times.shape[1])):
            step = steps[k]
            gain = _times(step.spread, pull)
            mean[:, k] = (step.state - gain)[..., 0] + (step.state - gain)[..., 1]
            spread = step.spread - _product(step.spread, _product(behind, step.spread))
            variance[:, k] = spread[..., :2, :2].sum(axis=(-1, -2))
            # Back through the observation, and through the gap before it.
            keep = np.eye(3) - step.gain[..., None] * _SEEN
            flat = np.swapaxes(keep, -1, -2)
            told = step.weight[..., None] * _SEEN
            behind = told[..., None] * _SEEN + _product(flat, _product(behind, keep))
            pull = -told * step.surprise[..., None] + _times(flat, pull)
            back = np.swapaxes(step.move, -1, -2)
            behind, pull = _product(back, _product(behind, step.move)), _times(back, pull)
        return mean, variance


class _Step(NamedTuple):
    state: np.ndarray  # after the observation: offset, path, velocity
    spread: np.ndarray
    move: np.ndarray  # from the time before
    gain: np.ndarray
    weight: np.ndarray  # 1 / variance of what was foreseen; 0 where nothing was observed
    surprise: np.ndarray


_SEEN = np.array([1.0, 1.0, 0.0])


def _product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.einsum("...ij,...jk->...ik", a, b)


def _times(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.einsum("...ij,...j->...i", a, b)


def _filter(process: Process, times: np.ndarray, values: np.ndarray, mask: np.ndarray):
    """A Kalman filter along the times, of all series and variables at once."""
    still = _still(process)
    shape = (*process.length.shape[:-1], *values[:, 0].shape)
    state = np.zeros((*shape, 3))
    spread = np.broadcast_to(still, (*shape, 3, 3))
    for k in range(times.shape[1]):
        gap = times[:, k] - times[:, k - 1] if k else np.zeros(len(times))
        move = _move(process, gap)
        # The path is stationary: what a gap forgets is drawn anew.
        spread = still + _product(move, _product(spread - still, np.swapaxes(move, -1, -2)))
        state = _times(move, state)
        towards = spread[..., 0] + spread[..., 1]
        variance = towards[..., 0] + towards[..., 1] + process.noise[..., None, :]
        weight = np.where(mask[:, k], 1 / variance, 0.0)
        gain = towards * weight[..., None]
        surprise = np.where(mask[:, k], values[:, k] - state[..., 0] - state[..., 1], 0.0)
        state = state + gain * surprise[..., None]
        spread = spread - gain[..., None] * towards[..., None, :]
        yield _Step(state, spread, move, gain, weight, surprise)


def _still(process: Process) -> np.ndarray:
    """The covariance of offset, path and velocity at any one time, `[*many, 1, v, 3, 3]`."""
    zero = np.zeros_like(process.length)
    velocity = np.where(process.smooth, 3 * process.signal / process.length**2, 0.0)
    rows = [[process.offset, zero, zero], [zero, process.signal, zero], [zero, zero, velocity]]
    return np.moveaxis(np.asarray(rows), (0, 1), (-2, -1))[..., None, :, :, :]


def _move(process: Process, gap: Float[np.ndarray, " s"]) -> np.ndarray:
    """What a gap makes of a state, `[*many, s, v, 3, 3]`."""
    length, smooth = process.length[..., None, :], process.smooth[..., None, :]
    rate = np.where(smooth, np.sqrt(3.0), 1.0) / length
    gap = np.broadcast_to(gap[:, None], (len(gap), length.shape[-1]))
    turn, fade = rate * gap, np.exp(-rate * gap)
    found = np.zeros((*turn.shape, 3, 3))
    found[..., 0, 0] = 1.0
    found[..., 1, 1] = np.where(smooth, 1 + turn, 1.0) * fade
    found[..., 1, 2] = np.where(smooth, gap, 0.0) * fade
    found[..., 2, 1] = np.where(smooth, -rate * turn, 0.0) * fade
    found[..., 2, 2] = np.where(smooth, 1 - turn, 0.0) * fade
    return found


def fit_process(
    times: Float[np.ndarray, "s t"],
    values: Float[np.ndarray, "s t v"],
    mask: Bool[np.ndarray, "s t v"],
    generator: np.random.RandomState,
) -> Process:
    """The process of greatest likelihood on a grid of numbers, twice refined, variable by variable.

    Of many or long series a part is looked at.
    """
    few = generator.permutation(len(times))[:_SERIES]
    times, values, mask = _parts(times[few], values[few], mask[few], generator)
    gaps = np.diff(times, axis=1)
    shortest = np.median(gaps[gaps > 0]) if (gaps > 0).any() else 1.0
    span = max(float(np.max(times[:, -1] - times[:, 0])), float(shortest))
    lengths = np.geomspace(shortest / 2, 4 * span, _LENGTHS)
    variables = values.shape[-1]
    grid = [
        (smooth, length, offset, noise)
        for smooth in (False, True) for length in lengths
        for offset in _OFFSETS for noise in _NOISES
    ]  # fmt: skip
    tried = np.repeat(np.asarray(grid, float)[:, None], variables, axis=1)
    best = _best(tried, times, values, mask)
    ratio = np.sqrt(lengths[1] / lengths[0])
    ways = np.asarray([*itertools.product((-1, 0, 1), repeat=3)])
    for finer in (1.0, 0.5):
        factors = np.asarray([ratio, 2.0, 4.0]) ** (finer * ways)
        near = np.concatenate([np.ones((len(ways), 1)), factors], axis=1)
        shares = np.stack([best.smooth, best.length, *_shares(best)], axis=-1)
        best = _best(near[:, None] * shares, times, values, mask)
    return best


def _parts(
    times: np.ndarray, values: np.ndarray, mask: np.ndarray, generator: np.random.RandomState
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each series as many successive times as will be looked at."""
    start = np.zeros(len(times), int)
    for row, seen in enumerate(np.any(mask, axis=2)):
        spare = int(seen.sum()) - _TIMES
        start[row] = generator.randint(spare + 1) if spare > 0 else 0
    places = np.minimum(start[:, None] + np.arange(_TIMES), times.shape[1] - 1)
    places = places[:, : min(_TIMES, times.shape[1])]
    rows = np.arange(len(times))[:, None]
    mask = mask[rows, places]
    mask[:, 1:] &= (np.diff(places, axis=1) > 0)[..., None]
    return times[rows, places], values[rows, places], mask


def _shares(process: Process) -> tuple[np.ndarray, np.ndarray]:
    moving = process.signal + process.noise
    return process.offset / (process.offset + moving), process.noise / moving


def _best(
    tried: Float[np.ndarray, "many v 4"], times: np.ndarray, values: np.ndarray, mask: np.ndarray
) -> Process:
    """For each variable the best of the processes that are tried: smooth, length and two shares."""
    smooth, length, offset, noise = np.moveaxis(tried, -1, 0)
    offset, noise = np.clip(offset, 0.0, 0.98), np.clip(noise, 1e-5, 0.98)
    moving = 1 - offset
    candidates = Process(smooth > 0.5, length, offset, moving * (1 - noise), moving * noise)
    at_once = max(1, _NUMBERS // (9 * len(times) * values.shape[2]))
    parts = [
        _likelihood(Process(*(each[k : k + at_once] for each in candidates)), times, values, mask)
        for k in range(0, len(tried), at_once)
    ]
    score, scale = (np.concatenate(each) for each in zip(*parts, strict=True))
    best: Int[np.ndarray, " v"] = score.argmax(axis=0)
    at = (best, np.arange(len(best)))
    chosen = Process(*(each[at] for each in candidates))
    scale = np.maximum(scale[at], _LEAST)
    return chosen._replace(
        offset=scale * chosen.offset, signal=scale * chosen.signal, noise=scale * chosen.noise
    )


def _likelihood(
    process: Process, times: np.ndarray, values: np.ndarray, mask: np.ndarray
) -> tuple[Float[np.ndarray, "many v"], Float[np.ndarray, "many v"]]:
    """The log-likelihood at the best common scale of all variances, and that scale."""
    log_det, square = np.zeros(process.length.shape), np.zeros(process.length.shape)
    for step in _filter(process, times, values, mask):
        log_det -= np.log(np.where(step.weight > 0, step.weight, 1.0)).sum(axis=-2)
        square += (step.weight * step.surprise**2).sum(axis=-2)
    count = np.maximum(mask.sum(axis=(0, 1)), 1)
    scale = np.maximum(square / count, _LEAST)
    return -0.5 * (log_det + count * np.log(scale)), scale
