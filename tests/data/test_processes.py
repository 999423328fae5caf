import numpy as np
import pytest
from scipy.integrate import solve_ivp

from pullback.data import (
    cosine_points,
    ornstein_uhlenbeck,
    poisson_events,
    sinusoids,
    stochastic_lorenz,
)


def test_sinusoids_obey_their_recurrence():
    series = sinusoids(400, points=101, seed=1).clean.values[:, :, 0]
    # x[k+1] - 2 x[k] + x[k-1] = -a (x[k] - c) with a = 2 - 2 cos(2 pi f dt): linear, exactly.
    second = series[:, 2:] - 2 * series[:, 1:-1] + series[:, :-2]
    turns, levels, amplitudes = [], [], []
    for row, curve in zip(series, second, strict=True):
        (slope, shift), residual, *_ = np.polyfit(row[1:-1], curve, 1, full=True)
        assert residual < 1e-20
        turns.append(np.arccos(1 + slope / 2) / (2 * np.pi * 0.05))
        levels.append(-shift / slope)
        change = row[1:] - row[:-1]
        middle = (row[1:] + row[:-1]) / 2 - levels[-1]
        half = np.pi * turns[-1] * 0.05
        squares = (middle / np.cos(half)) ** 2 + (change / (2 * np.sin(half))) ** 2
        amplitudes.append(squares)
    assert 0.5 <= min(turns)
    assert max(turns) <= 1.0
    assert abs(np.mean(turns) - 0.75) < 4 * 0.5 / np.sqrt(12 * 400)
    assert abs(np.mean(levels)) < 4 * 0.1 / np.sqrt(400)
    assert abs(np.std(levels) - 0.1) < 4 * 0.1 / np.sqrt(2 * 400)
    np.testing.assert_allclose(np.array(amplitudes), 1.0, atol=1e-8)


def test_sinusoids_keep_a_share_of_noisy_points():
    observed, clean = sinusoids(200, noise=0.1, kept=0.3, seed=2)
    assert (observed.counts == 30).all()
    assert clean.mask.all()
    np.testing.assert_array_equal(observed.times, clean.times)
    noise = (observed.values - clean.values)[observed.mask]
    assert abs(noise.mean()) < 4 * 0.1 / np.sqrt(6000)
    assert abs(noise.std() - 0.1) < 4 * 0.1 / np.sqrt(2 * 6000)


def test_cosine_points_of_the_two_pieces():
    observed, clean = cosine_points(noise=0.1)
    times = [0.3 + 0.5 * k / 9 for k in range(10)] + [1.2 + 0.3 * k / 9 for k in range(10)]
    np.testing.assert_allclose(clean.times[0], times)
    np.testing.assert_allclose(clean.values[0, :, 0], np.cos(2 * np.pi * np.array(times)))
    assert (observed.values != clean.values).all()
    with pytest.raises(ValueError, match="increase"):
        cosine_points([(0.0, 1.0), (0.5, 2.0)])


def close(sample, mean, variance):
    """Mean and variance of normal draws along the leading axis, within 4 standard errors."""
    n = len(sample)
    assert np.all(np.abs(sample.mean(axis=0) - mean) < 4 * np.sqrt(variance / n))
    assert np.all(np.abs(sample.var(axis=0) - variance) < 4 * variance * np.sqrt(2 / n))


def test_ornstein_uhlenbeck_has_its_moments():
    times = np.array([0.5, 0.6, 1.5, 3.0])
    lag = times - 0.5
    options = {"theta": 1.5, "mean": 2.0, "sigma": 0.7}
    begun = ornstein_uhlenbeck(20000, times, start=-1.0, seed=0, **options).clean.values[:, :, 0]
    np.testing.assert_array_equal(begun[:, 0], -1.0)
    variance = 0.7**2 * (1 - np.exp(-3 * lag)) / 3
    close(begun[:, 1:], (2 - 3 * np.exp(-1.5 * lag))[1:], variance[1:])
    still = ornstein_uhlenbeck(20000, times, seed=1, **options).clean.values[:, :, 0]
    stationary = 0.7**2 / 3
    close(still, 2.0, stationary)
    # What is left of the last value after its decay is independent noise.
    rest = still[:, 1:] - 2 - (still[:, :-1] - 2) * np.exp(-1.5 * np.diff(times))
    close(rest, 0.0, stationary * (1 - np.exp(-3 * np.diff(times))))
    correlation = np.corrcoef(rest[:, 1], still[:, 1])[0, 1]
    assert abs(correlation) < 4 / np.sqrt(20000)


def test_noise_on_the_observations_of_a_process():
    observed, clean = ornstein_uhlenbeck(5000, np.array([0.0, 1.0]), noise=0.2, seed=3)
    close((observed.values - clean.values)[:, :, 0], 0.0, 0.04)


def test_lorenz_without_noise_solves_the_equation():
    times = np.linspace(0.0, 0.5, 6)
    paths = stochastic_lorenz(3, times, diffusion=(0.0, 0.0, 0.0), max_step=1e-4).clean.values

    def field(t, state):
        x, y, z = state
        return 10 * (y - x), x * (28 - z) - y, x * y - 8 / 3 * z

    for path in paths:
        solution = solve_ivp(field, (0, 0.5), path[0], t_eval=times, rtol=1e-9, atol=1e-9).y.T
        # Euler's error is of first order in the step; these paths reach 20 to 40.
        np.testing.assert_allclose(path, solution, atol=0.2)


@pytest.mark.parametrize("multiplicative", [False, True])
def test_lorenz_noise_is_additive_or_itos(multiplicative):
    paths = stochastic_lorenz(
        40000,
        np.array([0.0, 0.5]),
        sigma=0.0,
        diffusion=(0.5, 0.0, 0.0),
        multiplicative=multiplicative,
        max_step=0.01,
    ).clean.values
    start, end = paths[:, :, 0].T
    close(start, 0.0, 1.0)
    if multiplicative:
        # Ito: the mean stays and E (x/x0)^2 = exp(a^2 t). Stratonovich would double the exponent.
        ratio = end / start
        square = np.exp(0.25 * 0.5)
        assert abs(ratio.mean() - 1) < 4 * np.sqrt((square - 1) / 40000)
        spread = np.sqrt((square**6 - square**2) / 40000)
        assert abs((ratio**2).mean() - square) < 4 * spread
    else:
        close(end - start, 0.0, 0.25 * 0.5)


def test_lorenz_is_observed_with_noise_on_the_scale_of_each_variable():
    observed, clean = stochastic_lorenz(2000, np.linspace(0, 0.1, 5), noise=0.05, max_step=0.01)
    noise = (observed.values - clean.values).reshape(-1, 3)
    close(noise, 0.0, (0.05 * clean.values.std(axis=(0, 1))) ** 2)
    assert observed.variables == ("x", "y", "z")


def test_thinning_counts_the_integral_of_the_rate():
    events = poisson_events(lambda t: 3 + 2 * np.sin(t), 5.0, 8.0, 4000, seed=0)
    integral = lambda t: 3 * t + 2 * (1 - np.cos(t))
    for start, stop in ((0.0, 8.0), (0.0, 2.0), (4.0, 5.0)):
        wanted = integral(stop) - integral(start)
        counts = np.array([((times >= start) & (times < stop)).sum() for times in events])
        assert abs(counts.mean() - wanted) < 4 * np.sqrt(wanted / 4000)
        # The variance of a Poisson count is its mean; that of its estimate follows from the
        # fourth moment, wanted + 3 wanted^2.
        band = 4 * np.sqrt((wanted + 2 * wanted**2) / 4000)
        assert abs(counts.var() - wanted) < band
    assert all((np.diff(times) > 0).all() for times in events)


def test_a_rate_above_its_bound_is_an_error():
    with pytest.raises(ValueError, match=r"in \[0, 2.0\].*at the time [5-9]"):
        poisson_events(lambda t: np.where(t > 5, 3.0, 1.0), 2.0, 10.0, 5)
    with pytest.raises(ValueError, match="nan at the time"):
        poisson_events(lambda t: t * np.nan, 2.0, 10.0, 5)
    with pytest.raises(ValueError, match="`rate` must return shape"):
        poisson_events(lambda t: np.ones(3), 2.0, 10.0, 5)
    assert [len(times) for times in poisson_events(np.zeros_like, 2.0, 10.0, 2)] == [0, 0]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: sinusoids(0), "`n`"),
        (lambda: sinusoids(2, kept=0.0), "`kept`"),
        (lambda: sinusoids(2, noise=-1.0), "`noise`"),
        (lambda: sinusoids(2, stop=np.inf), "`stop`"),
        (lambda: ornstein_uhlenbeck(2, np.array([1.0, 1.0])), "increase"),
        (lambda: ornstein_uhlenbeck(2, np.array([0.0, np.nan])), "finite"),
        (lambda: ornstein_uhlenbeck(2, np.array([0.0]), theta=0.0), "`theta`"),
        (lambda: stochastic_lorenz(2, max_step=0.0), "`max_step`"),
        (lambda: stochastic_lorenz(2, diffusion=(0.1, -1.0, 0.1)), r"`diffusion\[1\]`"),
        (lambda: poisson_events(np.ones_like, 0.0, 1.0, 2), "`bound`"),
    ],
)
def test_arguments_out_of_their_range(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_the_seed_decides():
    for make in (
        lambda seed: sinusoids(3, kept=0.5, noise=0.1, seed=seed).observed.values,
        lambda seed: ornstein_uhlenbeck(3, np.array([0.0, 1.0]), seed=seed).clean.values,
        lambda seed: stochastic_lorenz(3, np.array([0.0, 0.1]), seed=seed).clean.values,
        lambda seed: np.concatenate(poisson_events(np.ones_like, 1.0, 50.0, 3, seed=seed)),
    ):
        np.testing.assert_array_equal(make(1), make(1))
        assert not np.array_equal(make(1), make(2))
