"""Series with a label at every step, of which it is known what moved the label."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.signal import butter, sosfilt
from scipy.special import expit


class StateLaw(NamedTuple):
    """The law of series whose hidden state jumps: a hidden Markov model.

    Attributes:
        initial: the probability of each state at the first step, `[state]`.
        transition: from the state of the row to that of the column, `[state, state]`.
        means: of the features in each state, `[state, feature]`.
        covariances: of the features in each state, `[state, feature, feature]`.
    """

    initial: Float[np.ndarray, " state"]
    transition: Float[np.ndarray, "state state"]
    means: Float[np.ndarray, "state feature"]
    covariances: Float[np.ndarray, "state feature feature"]


class ExplainedSeries(NamedTuple):
    """Series, their labels, and which cells an explanation should find.

    The two truths answer two questions, and which of them is asked decides what explains best.

    Attributes:
        x: the features, `[series, time, feature]`.
        y: the label of each step, 0 or 1, `[series, time]`.
        probability: that the label is 1, given the features and the hidden state.
        state: the hidden state.
        at_switches: what *changed* the label's law: the cells that count since this very step.
        at_every_step: what the label's law *uses*: the cells that count at their own step.
        law: of the features, where they are a hidden Markov model; else None.
    """

    x: Float[np.ndarray, "series time feature"]
    y: Int[np.ndarray, "series time"]
    probability: Float[np.ndarray, "series time"]
    state: Int[np.ndarray, "series time"]
    at_switches: Bool[np.ndarray, "series time feature"]
    at_every_step: Bool[np.ndarray, "series time feature"]
    law: StateLaw | None


def switching_state(
    n: int = 1000, *, points: int = 100, stay: float = 0.95, fatigue: float = 0.0, seed: int = 0
) -> ExplainedSeries:
    r"""Two hidden states, in each of which another feature decides the label.

    $$x_t \sim N(\mu_{s_t}, C_{s_t}), \qquad y_t \sim \mathrm{Bernoulli}(\sigma(2 x_{t, i(s_t)})),
    \qquad i(0) = 1,\; i(1) = 2$$

    with $\mu_0 = (0.1, 1.6, 0.5)$, $\mu_1 = (-0.1, -0.4, -1.5)$ and the variance 0.801. Feature 0
    never counts; it is correlated a little (0.01) with the one that does.

    Args:
        n: the number of series.
        points: steps in each.
        stay: the probability that a state stays for another step.
        fatigue: how much smaller that is in state 1 for each step since the state came: 0.002 in
            the paper's code. With 0 the features are a hidden Markov model, whose `law` is given.
        seed: of the draw.

    Returns:
        The series. `at_switches` is the feature that counts in the new state, at the steps at which
        the state is another than just before; the first step is none of them.

    Raises:
        ValueError: an argument is out of its range; the message says which.

    Example:
        >>> series = switching_state(4)
        >>> series.x.shape, round(float(series.at_every_step.mean()), 3)
        ((4, 100, 3), 0.333)

    Source: Tonekaboni et al., arXiv 2003.02821, the state data and their code.
    """
    _check_sizes(n, points)
    _check_share(stay=stay)
    if not (fatigue == 0 or 0 < fatigue * points < stay):
        raise ValueError(
            f"`fatigue` must not be negative, nor take {points} steps to no chance of staying; "
            f"got {fatigue} with `stay` {stay}."
        )
    rng = np.random.default_rng(seed)
    means = np.array([[0.1, 1.6, 0.5], [-0.1, -0.4, -1.5]])
    features = np.array([1, 2])
    covariances = np.tile(0.801 * np.eye(3), (2, 1, 1))
    for state, feature in enumerate(features):
        covariances[state, 0, feature] = covariances[state, feature, 0] = 0.01
    initial, transition = np.array([0.5, 0.5]), np.array([[stay, 1 - stay], [1 - stay, stay]])
    state = np.empty((n, points), np.int64)
    state[:, 0] = rng.random(n) < initial[1]
    since = np.zeros(n)
    for t in range(1, points):
        before = state[:, t - 1]
        moves = rng.random(n) >= stay - fatigue * since * before
        state[:, t] = np.where(moves, 1 - before, before)
        since = np.where(moves, 0, since + 1)
    noise = rng.normal(size=(n, points, 3))
    roots = np.linalg.cholesky(covariances)
    x = means[state] + np.einsum("ntij,ntj->nti", roots[state], noise)
    law = None if fatigue else StateLaw(initial, transition, means, covariances)
    return _labelled(x, state, features, 2.0, law, rng)


def switching_features(
    n: int = 1000,
    *,
    points: int = 100,
    transition: Sequence[Sequence[float]] = (
        (0.95, 0.02, 0.03), (0.02, 0.95, 0.03), (0.03, 0.02, 0.95),
    ),
    lengthscale: float = 0.2,
    seed: int = 0,
) -> ExplainedSeries:  # fmt: skip
    r"""Three hidden states, each of which has a feature of its own that decides the label.

    $$x_{t,j} = \mu_{s_t, j} + g_{t,j}, \qquad
    \mathrm{cov}(g_t, g_u) = 0.1\, e^{-(t-u)^2 / 2 \ell^2}, \qquad
    y_t \sim \mathrm{Bernoulli}(\sigma(3 x_{t, s_t}))$$

    with $\mu = (0.8, -0.5, -0.2), (0, -1, 0), (-0.2, -0.2, 0.8)$, and a new draw of the Gaussian
    process $g$ whenever the state changes.

    Args:
        n: the number of series.
        points: steps in each.
        transition: from the state of the row to that of the column; rows sum to 1.
        lengthscale: $\ell$, in steps; below about 0.3 neighbours are independent.
        seed: of the draw.

    Returns:
        The series. `at_switches` is the new state's own feature at the steps at which the state is
        another than just before; the first step is none of them.

    Raises:
        ValueError: an argument is out of its range; the message says which.

    Example:
        >>> series = switching_features(4, points=20)
        >>> series.x.shape, sorted(set(series.state.ravel().tolist()))
        ((4, 20, 3), [0, 1, 2])

    Source: Tonekaboni et al., arXiv 2003.02821, the switch-feature data and their code, whose truth
    marks the last feature at every switch too; it is not marked here.
    """
    _check_sizes(n, points)
    if not 0 < lengthscale < np.inf:
        raise ValueError(f"`lengthscale` must be positive and finite, got {lengthscale}.")
    try:
        rows = np.asarray(transition, np.float64)
    except ValueError:  # rows of several lengths
        rows = np.empty(0)
    if rows.shape != (3, 3) or (rows < 0).any() or not np.allclose(rows.sum(axis=1), 1):
        raise ValueError(
            f"`transition` must be 3 rows of 3 probabilities, each summing to 1; got {transition}."
        )
    rng = np.random.default_rng(seed)
    state = np.empty((n, points), np.int64)
    state[:, 0] = rng.integers(3, size=n)
    ends = np.cumsum(rows, axis=1)
    for t in range(1, points):
        drawn = rng.random(n)[:, None] >= ends[state[:, t - 1]]
        state[:, t] = np.minimum(drawn.sum(axis=1), 2)
    stretch = np.cumsum(_switches(state), axis=1)
    gap = np.arange(points)[:, None] - np.arange(points)
    kernel = 0.1 * np.exp(-0.5 * (gap / lengthscale) ** 2)
    means = np.array([[0.8, -0.5, -0.2], [0.0, -1.0, 0.0], [-0.2, -0.2, 0.8]])
    x = means[state]
    for row, part in enumerate(stretch):
        # A long length scale leaves the kernel no full rank in floating point.
        cov = kernel * (part[:, None] == part) + 1e-9 * np.eye(points)
        x[row] += np.linalg.cholesky(cov) @ rng.normal(size=(points, 3))
    return _labelled(x, state, np.arange(3), 3.0, None, rng)


def threshold_spikes(
    n: int = 3000,
    *,
    points: int = 80,
    chance: float = 0.3,
    rate: float = 3.0,
    height: float = 1.5,
    delay: int = 0,
    seed: int = 0,
) -> ExplainedSeries:
    r"""Three noisy features with spikes; the label is 1 from the first spike of feature 0 on.

    The noise is the nonlinear moving average
    $v_{t+1} = 0.3 v_t + 0.05 v_t (v_t + v_{t-1}) + 1.5 u_{t-1} u_t + 0.1$ of
    $u_t \sim U[0, 1/2]$; feature 0 has a trend of 0.003 a step and feature 1 of 0.065. Each is
    divided by its range and passed through a low-pass filter (Butterworth, order 6, cutoff at 0.45
    of the Nyquist frequency). Then come the spikes, on each feature apart.

    Args:
        n: the number of series.
        points: steps in each; at least 3.
        chance: the probability that a feature of a series has spikes.
        rate: the mean of the Poisson law of how many.
        height: of a spike.
        delay: steps from the first spike of feature 0 to the label.
        seed: of the draw.

    Returns:
        The series; `state` is the label. `at_switches` is one cell, feature 0 at its first spike,
        where the label turns before the end.
        `at_every_step` is feature 0 up to it: each of those cells says whether the label turns.

    Raises:
        ValueError: an argument is out of its range; the message says which.

    Example:
        >>> series = threshold_spikes(5, chance=1.0, rate=9.0)
        >>> series.x.shape, int(series.at_switches.sum())
        ((5, 80, 3), 5)

    Source: Tonekaboni et al., arXiv 2003.02821, the spike data and their code; the delayed label is
    from Leung et al., WinIT (ICLR 2023). The coefficients are those in common use for this average.
    """
    _check_sizes(n, points)
    _check_share(chance=chance)
    if points < 3:
        raise ValueError(f"`points` must be at least 3, got {points}.")
    for name, number in (("rate", rate), ("height", height), ("delay", delay)):
        if not 0 <= number < np.inf:
            raise ValueError(f"`{name}` must be finite and not negative, got {number}.")
    if delay != int(delay):
        raise ValueError(f"`delay` must be a whole number of steps, got {delay}.")
    rng = np.random.default_rng(seed)
    trend = np.array([0.003, 0.065, 0.0]) * np.arange(points)[:, None]
    x = _moving_average(n, points, rng) + trend
    x /= np.ptp(x, axis=1, keepdims=True)
    x[:, :, 2] -= 0.5
    low_pass = butter(6, 6.8 / 15.0, output="sos")
    x = np.asarray(sosfilt(low_pass, x, axis=1))
    count = rng.poisson(rate, size=(n, 3)) * (rng.random((n, 3)) < chance)
    # The steps of each feature in a random order: the first few of them get a spike.
    order = np.argsort(rng.random((n, points, 3)), axis=1).argsort(axis=1)
    spike = order < count[:, None, :]
    x = x + height * spike
    past = np.cumsum(spike[:, :, 0], axis=1) > 0
    first = past & (np.cumsum(past, axis=1) == 1)
    y = np.zeros((n, points), np.int64)
    y[:, delay:] = past[:, : max(points - delay, 0)]
    turned = first & (np.arange(points) + delay < points)
    nothing = np.zeros((n, points, 2), bool)
    truth = lambda cells: np.concatenate([cells[:, :, None], nothing], axis=2)
    return ExplainedSeries(x, y, y.astype(float), y, truth(turned), truth(~past | first), None)


def _moving_average(n: int, points: int, rng: np.random.Generator) -> np.ndarray:
    """The noise of three features, after a start that is forgotten."""
    start = 20
    u = rng.uniform(0.0, 0.5, size=(n, start + points, 3))
    v = np.zeros(u.shape)
    for t in range(1, u.shape[1] - 1):
        now, last = v[:, t], v[:, t - 1]
        v[:, t + 1] = 0.3 * now + 0.05 * now * (now + last) + 1.5 * u[:, t - 1] * u[:, t] + 0.1
    return v[:, start:]


def _labelled(
    x: Float[np.ndarray, "series time feature"],
    state: Int[np.ndarray, "series time"],
    features: Int[np.ndarray, " state"],
    slope: float,
    law: StateLaw | None,
    rng: np.random.Generator,
) -> ExplainedSeries:
    """Labels by the feature that counts in each state."""
    important = features[state]
    value = np.take_along_axis(x, important[:, :, None], axis=2)[:, :, 0]
    probability = expit(slope * value)
    y = (rng.random(state.shape) < probability).astype(np.int64)
    every = important[:, :, None] == np.arange(x.shape[2])
    switches = every & _switches(state)[:, :, None]
    return ExplainedSeries(x, y, probability, state, switches, every, law)


def _switches(state: Int[np.ndarray, "series time"]) -> Bool[np.ndarray, "series time"]:
    return np.diff(state, axis=1, prepend=state[:, :1]) != 0


def _check_sizes(n: int, points: int) -> None:
    for name, count in (("n", n), ("points", points)):
        if count < 1 or count != int(count):
            raise ValueError(f"`{name}` must be a whole number, at least 1; got {count}.")


def _check_share(**shares: float) -> None:
    for name, share in shares.items():
        if not 0 <= share <= 1:
            raise ValueError(f"`{name}` must be a probability, from 0 to 1; got {share}.")
