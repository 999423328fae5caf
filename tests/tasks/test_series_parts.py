"""The parts of a model of series: the process, what is hidden, bands that cover what they say."""

import numpy as np
import pytest
from scipy.special import ndtr

from pullback.tasks import _series_asked
from pullback.tasks import _series_nets as nets
from pullback.tasks._net_arrays import arrays_of
from pullback.tasks._series_asked import (
    BETWEEN,
    EDGE,
    FORECAST,
    IMPUTE,
    NEVER,
    VARIABLE,
    Known,
    ask,
    carried,
    fold_by_fold,
    interpolated,
    reach,
)
from pullback.tasks._series_bands import SHARES, Errors, fit_bands
from pullback.tasks._series_process import Process, fit_process
from pullback.tasks._series_report import MODEL, compare, outcome_verdict, rivals, verdicts


def correlation(process, k, apart):
    r = np.abs(apart) / process.length[k]
    kernel = (1 + np.sqrt(3) * r) * np.exp(-np.sqrt(3) * r) if process.smooth[k] else np.exp(-r)
    return process.offset[k] + process.signal[k] * kernel


TWO = Process(*map(np.asarray, ([False, True], [0.5, 1.0], [0.2, 0.3], [0.7, 0.5], [0.1, 0.02])))


def drawn(process, series, times, seed, share=0.6):
    """Draws of processes at irregular times, a share of them known."""
    random = np.random.default_rng(seed)
    t = np.sort(random.uniform(0, 5, (series, times)), axis=1)
    t -= t[:, :1]
    x = np.empty((series, times, len(process.length)))
    for row, k in np.ndindex(series, len(process.length)):
        whole = correlation(process, k, t[row][:, None] - t[row])
        root = np.linalg.cholesky(whole + process.noise[k] * np.eye(times))
        x[row, :, k] = root @ random.normal(size=times)
    mask = random.random(x.shape) < share
    return Known(t, np.where(mask, x, 0.0), mask), x


def test_the_smoother_is_the_posterior_of_the_covariance_matrix():
    known, _ = drawn(TWO, 3, 30, 0)
    known.mask[1, :, 1] = False
    known = known._replace(times=np.minimum(known.times, known.times[:, [25]]))  # padded
    known.mask[:, 26:] = False
    mean, deviation = TWO.predict(*known)
    for row, k in np.ndindex(3, 2):
        seen = known.mask[row, :, k]
        whole = correlation(TWO, k, known.times[row][:, None] - known.times[row])
        noisy = whole[np.ix_(seen, seen)] + TWO.noise[k] * np.eye(seen.sum())
        weight = np.linalg.solve(noisy, whole[seen]).T
        np.testing.assert_allclose(mean[row, :, k], weight @ known.values[row, seen, k], atol=1e-9)
        variance = np.diag(whole) - (weight * whole[:, seen]).sum(axis=1) + TWO.noise[k]
        np.testing.assert_allclose(deviation[row, :, k], np.sqrt(variance), atol=1e-9)
    some = TWO.predict(*known.take(np.array([2, 0])))
    np.testing.assert_array_equal(some[0], mean[[2, 0]])


def test_the_mean_carrying_on_and_interpolation_are_limits():
    known, _ = drawn(TWO, 4, 20, 1)
    tiny, one = np.full(2, 1e-9), np.ones(2)
    rough = np.zeros(2, bool)
    line = Process(rough, 1e6 * one, tiny, 1e6 * one, tiny).predict(*known)[0]
    at = ~known.mask
    np.testing.assert_allclose(line[at], interpolated(known)[at], atol=1e-3)
    ends = np.maximum.accumulate(known.mask[:, ::-1], axis=1)[:, ::-1]
    np.testing.assert_allclose(line[~ends], carried(known)[~ends], atol=1e-3)
    plain = Process(rough, 1e-6 * one, tiny, one, tiny).predict(*known)[0]
    assert np.abs(plain[at]).max() < 1e-3


def test_the_numbers_of_a_process_are_found():
    known, _ = drawn(TWO, 40, 60, 2)
    found = fit_process(*known, np.random.RandomState(0))
    assert found.smooth.tolist() == [False, True]
    for name, factor in (("length", 1.6), ("signal", 1.8), ("noise", 1.8)):
        ratio = getattr(found, name) / getattr(TWO, name)
        assert (np.maximum(ratio, 1 / ratio) < factor).all(), (name, ratio)
    fresh, truth = drawn(TWO, 60, 40, 3)
    errors = [np.square(p.predict(*fresh)[0] - truth)[~fresh.mask].mean() for p in (found, TWO)]
    assert errors[0] < 1.03 * errors[1]


def test_what_is_hidden_is_known_and_what_is_ahead_comes_after():
    known, _ = drawn(TWO, 9, 12, 4)
    asked = ask(known, np.random.RandomState(0))
    assert not (asked.shown & ~asked.known.mask).any()
    gone = (asked.known.mask & ~asked.shown).any(axis=1) & ~asked.shown.any(axis=1)
    assert np.any(gone, axis=1)[asked.task == VARIABLE].all()
    ahead = asked.task == FORECAST
    last = np.where(asked.shown.any(axis=2), asked.known.times, -1).max(axis=1)
    first = np.where(asked.hidden.any(axis=2), asked.known.times, 99).min(axis=1)
    assert (first[ahead] > last[ahead]).all()
    shares = asked.hidden.sum(axis=(1, 2)) / asked.known.mask.sum(axis=(1, 2))
    assert 0.25 < shares[asked.task == IMPUTE].mean() < 0.42
    folds = fold_by_fold(known, 5, np.random.RandomState(0))
    np.testing.assert_array_equal(
        sum((known.mask & ~shown).astype(int) for shown in folds), known.mask
    )


def test_of_many_series_each_is_asked_a_few_times(monkeypatch):
    known, _ = drawn(TWO, 60, 12, 6)
    monkeypatch.setattr(_series_asked, "_FEWEST", 100)
    monkeypatch.setattr(_series_asked, "_MOST", 100)
    asked = ask(known, np.random.RandomState(0))
    assert 80 <= len(asked.series) <= 100
    assert len(np.unique(asked.series)) > 40
    assert set(asked.task) == {IMPUTE, FORECAST, VARIABLE}
    for name, array in zip(Known._fields, asked.known, strict=True):
        np.testing.assert_array_equal(array, getattr(known, name)[asked.series])
    assert not (asked.shown & ~asked.known.mask).any()


def test_reach_and_rivals_by_hand():
    times = np.array([[0.0, 1.0, 3.0, 7.0]])
    mask = np.array([[[0, 0], [1, 0], [0, 0], [1, 0]]], bool)
    seen = Known(times, np.where(mask, [[[0.0], [5.0], [0.0], [9.0]]], 0.0), mask)
    kind, distance = reach(times, mask)
    assert kind[0, :, 0].tolist() == [EDGE, EDGE, BETWEEN, EDGE]  # what the others tell
    assert distance[0, :, 0].tolist() == [1, 6, 2, 6]
    assert kind[0, :, 1].tolist() == [NEVER] * 4
    assert distance[0, :, 1].tolist() == [0.5] * 4  # two times are seen at all
    assert carried(seen)[0, :, 0].tolist() == [5, 5, 5, 9]
    assert interpolated(seen)[0].T.tolist() == [[5, 5, 5 + 4 / 3, 9], [0, 0, 0, 0]]


def errors(series, each, seed, *, alike=0.0):
    """Errors that grow with the distance, a part of which is the same in a series."""
    random = np.random.default_rng(seed)
    own = np.repeat(random.normal(size=series), each)
    draw = np.sqrt(alike) * own + np.sqrt(1 - alike) * random.normal(size=series * each)
    distance = random.uniform(0, 1, series * each)
    variable = random.integers(0, 2, series * each)
    size = np.abs(draw) * np.where(distance < 0.5, 1, 3) * (1 + variable)
    kind = np.full(len(size), EDGE)
    return Errors(size, variable, kind, distance, np.repeat(np.arange(series), each))


@pytest.mark.parametrize("alike", [0.0, 0.9])
def test_bands_cover_what_they_say_by_variable_and_by_reach(alike):
    """Over many draws of held-out series; those of one series may be much alike."""
    found = {level: [] for level in (0.5, 0.8, 0.95)}
    for seed in range(12):
        bands = fit_bands(errors(30, 40, seed, alike=alike), 2)
        for level, shares in found.items():
            wide = [bands.width(level, *_asked(d), np.ones((1, 2, 2)))[0, 1] for d in (0.2, 0.8)]
            scale = np.array([[1], [3]]) * np.array([1, 2])
            shares.append(2 * ndtr(np.asarray(wide) / scale) - 1)
    for level, shares in found.items():
        shares = np.asarray(shares)  # draw, reach, variable
        each = shares.mean(axis=(1, 2))
        error = each.std(ddof=1) / np.sqrt(len(each))
        assert abs(each.mean() - level) < 4 * error + 0.01, (level, each.mean(), error)
        if not alike:  # within each cell too
            assert np.abs(shares.mean(axis=0) - level).max() < 0.06


def test_what_is_alike_in_a_series_is_made_up_for():
    """Bands at the levels themselves are too narrow for new series; those of the shares are not."""
    truth, level = np.array([[1], [3]]) * np.array([1, 2]), 0.95
    found: dict[bool, list] = {True: [], False: []}
    for seed in range(40):
        bands = fit_bands(errors(8, 40, seed, alike=0.9), 2)
        plain = bands._replace(shares=np.stack([SHARES] * 3))
        for made_up, each in ((True, bands), (False, plain)):
            wide = [each.width(level, *_asked(d), np.ones((1, 2, 2)))[0, 1] for d in (0.2, 0.8)]
            found[made_up].append((2 * ndtr(np.asarray(wide) / truth) - 1).mean())
    (good, error), (poor, its_error) = (
        (np.mean(each), np.std(each, ddof=1) / np.sqrt(40)) for each in found.values()
    )
    assert abs(good - level) < 3 * error
    assert poor < level - 3 * its_error


def _asked(distance):
    """A series that is seen of both variables a distance before its last time."""
    return np.array([[0.0, distance]]), np.array([[[True, True], [False, False]]])


def test_few_errors_are_taken_together_and_levels_are_in_order():
    few = errors(5, 4, 0)
    bands = fit_bands(few, 3)
    wide = [bands.width(p, *_asked3(), np.ones((1, 2, 3)))[0, 1] for p in (0.1, 0.5, 0.9, 0.999)]
    assert (np.diff(wide, axis=0) > 0).all()
    assert np.ptp(wide[1]) == 0
    assert wide[-1].max() <= few.size.max()


def _asked3():
    times, mask = _asked(0.3)
    return times, np.repeat(mask[:, :, :1], 3, axis=2)


def test_a_lost_comparison_is_said():
    known, _ = drawn(TWO, 12, 30, 5)
    asked = ask(known, np.random.RandomState(0))
    best = TWO.predict(*asked.seen)[0]
    bands = fit_bands(Errors.of(asked, best, np.ones(best.shape)), 2)
    poor, one = best + 1.0, np.ones(best.shape)
    report = compare(asked, poor, rivals(asked, best), one, bands, ("a", "b"))
    assert report["impute"]["the process"]["behind"] < 0
    assert report["impute"]["the process"]["sure"]
    assert report["impute"]["variables"]["a"]["winner"] != MODEL
    assert "another is better for a (" in verdicts(report)[0]
    report["impute"]["the process"] |= {"standard_error": None, "sure": False}
    assert "inf" not in verdicts(report)[0]
    assert ", which is no difference for sure)" in verdicts(report)[0]
    own = compare(asked, best, rivals(asked, best), one, bands, ("a", "b"))
    assert "the process has the same" in verdicts(own)[0]
    assert own["impute"]["the mean"]["behind"] > 0
    hidden = asked.hidden_in(IMPUTE)
    square = np.square(known.values[asked.series] - best)
    by_hand = [square[hidden & (asked.series == s)[:, None, None]].mean() for s in range(12)]
    assert own["impute"][MODEL]["error"] == pytest.approx(np.mean(by_hand))
    assert own["impute"]["coverage"]["0.9"] == pytest.approx(0.9, abs=0.05)


SIZE = nets.Size("latent-ode", 2, 4, 8, 64, 16, 40, 1e-2, 20)


def waves(series, times, seed):
    random = np.random.default_rng(seed)
    t = np.sort(random.uniform(0, 5, (series, times)), axis=1)
    t -= t[:, :1]
    phase = random.uniform(0, 2 * np.pi, (series, 1, 1)) + np.array([0, np.pi / 2])
    x = np.sqrt(2) * np.sin(2 * t[:, :, None] + phase) + 0.05 * random.normal(
        size=(series, times, 2)
    )
    mask = random.random(x.shape) < 0.7
    return Known(t, np.where(mask, x, 0.0), mask)


def start(method):
    model = nets._start(SIZE._replace(method=method), np.random.RandomState(0))
    return nets.from_arrays(
        SIZE._replace(method=method), arrays_of(nets.jax.tree.map(nets._put, model))
    )


@pytest.mark.parametrize(
    "method",
    ["latent-ode", "ode-rnn", "neural-cde", pytest.param("latent-sde", marks=pytest.mark.slow)],
)
def test_a_network_begins_as_the_mean(method, x32):
    said, code = nets.ask(start(method), waves(3, 10, 0))
    assert said.shape == (3, 10, 2)
    assert (said == 0).all()
    assert code.shape == (3, 8 if method in ("ode-rnn", "neural-cde") else 4)


@pytest.mark.parametrize(
    ("method", "steps", "most"),
    [
        ("ode-rnn", 200, 0.6),
        ("neural-cde", 200, 0.6),
        pytest.param("latent-ode", 800, 0.6, marks=pytest.mark.slow),
        pytest.param("latent-sde", 300, 0.7, marks=pytest.mark.slow),
    ],
)
def test_a_network_learns_waves_and_answers_each_series_alone(method, steps, most, x32):
    """Of values that it has not seen; a series' answer hangs on no other, to the bit."""
    asked, held = (ask(waves(n, 14, n), np.random.RandomState(0)) for n in (60, 20))
    rate = nets.Size.of(method, asked.known.mask, None).rate
    size = nets.Size(method, 2, 8, 16, 256, 32, steps, rate, 50)
    model, taken = nets.train(size, asked, held, seed=0, progress=False)
    assert taken > 0
    said, code = nets.ask(model, held.seen)
    ahead = held.hidden_in(FORECAST)
    error = np.square(said - held.known.values)[ahead].mean()
    assert error < most * np.square(held.known.values)[ahead].mean()
    some = np.array([7, 100, 3])
    few, few_code = nets.ask(model, held.seen.take(some))
    np.testing.assert_array_equal(few, said[some])
    np.testing.assert_array_equal(few_code, code[some])


def test_windows_cover_a_long_series_once():
    for length, cut in (
        (1, 1),
        (128, 60),
        (129, 129),
        (500, 500),
        (500, 300),
        (500, 10),
        (400, 350),
    ):
        pieces = nets._pieces(length, cut)
        assert [a for a, _ in pieces[1:]] == [b for _, b in pieces[:-1]]
        assert (pieces[0][0], pieces[-1][1]) == (0, length)
        assert all(0 < b - a <= nets.WINDOW for a, b in pieces[:-1])
        if length - cut > nets.WINDOW // 2 and length > nets.WINDOW:
            assert pieces[-1][0] == max(0, cut - nets.WINDOW // 2)


def test_the_gain_of_an_outcome_without_an_error_has_no_margin():
    names = "series accuracy most_frequent log_loss behind standard_error codes".split()
    told = outcome_verdict(dict(zip(names, (1, 1.0, 1.0, 0.5, 0.76, None, False), strict=True)))
    assert "ahead by" not in told
    assert "is behind by 0.76, which is no difference for sure)" in told
    told = outcome_verdict(dict(zip(names, (9, 1.0, 1.0, 0.5, 0.76, 0.1, False), strict=True)))
    assert "is behind by 0.76 +- 0.1)" in told
