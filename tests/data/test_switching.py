"""Simulated series whose truth is known: the laws that they are drawn from, and what is marked."""

import numpy as np
import pytest
from scipy.special import expit

from pullback.data import switching_features, switching_state, threshold_spikes


def within(value, mean, error):
    return abs(value - mean) <= 4 * error


def test_states_switch_and_features_have_the_law_that_comes_with_them():
    found = switching_state(400, points=50, seed=1)
    law = found.law
    assert law is not None
    moves = np.diff(found.state, axis=1) != 0
    assert within(moves.mean(), 0.05, (0.05 * 0.95 / moves.size) ** 0.5)
    for state in (0, 1):
        rows = found.x[found.state == state]
        assert (
            np.abs(rows.mean(axis=0) - law.means[state]) <= 4 * (0.801 / len(rows)) ** 0.5
        ).all()
        error = 0.801 * (2 / len(rows)) ** 0.5
        assert (np.abs(np.cov(rows.T) - law.covariances[state]) <= 4 * error).all()
        assert law.covariances[state][0, 1 + state] == law.covariances[state][1 + state, 0] == 0.01
    np.testing.assert_allclose(law.transition.sum(axis=1), 1)


@pytest.mark.parametrize(
    ("found", "slope"),
    [(switching_state(60, seed=2), 2.0), (switching_features(60, points=40, seed=2), 3.0)],
)
def test_both_truths_mark_the_feature_that_counts(found, slope):
    every, switches = found.at_every_step, found.at_switches
    assert (every.sum(axis=2) == 1).all()
    value = found.x[every].reshape(found.y.shape)
    np.testing.assert_allclose(found.probability, expit(slope * value))
    error = np.sqrt(np.sum(found.probability * (1 - found.probability)))
    assert within(found.y.sum(), found.probability.sum(), error)
    moved = np.diff(found.state, axis=1) != 0
    np.testing.assert_array_equal(switches.any(axis=2)[:, 1:], moved)
    assert not switches[:, 0].any()
    assert (switches <= every).all()


def test_a_tired_state_is_left_sooner_and_has_no_law():
    found = switching_state(300, points=100, fatigue=0.005, seed=0)
    assert found.law is None
    before, moves = found.state[:, :-1], np.diff(found.state, axis=1) != 0
    assert within(moves[before == 0].mean(), 0.05, (0.05 * 0.95 / (before == 0).sum()) ** 0.5)
    assert moves[before == 1].mean() > 0.07


def test_features_of_a_state_are_a_smooth_process_that_starts_anew_at_a_switch():
    still = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
    found = switching_features(600, points=6, transition=still, lengthscale=2.0, seed=0)
    assert (found.state == found.state[:, :1]).all()
    means = np.array([[0.8, -0.5, -0.2], [0.0, -1.0, 0.0], [-0.2, -0.2, 0.8]])
    noise = (found.x - means[found.state]).transpose(0, 2, 1).reshape(-1, 6)
    gap = np.arange(6)[:, None] - np.arange(6)
    want = 0.1 * np.exp(-(gap**2) / 8)
    assert (np.abs(noise.T @ noise / len(noise) - want) <= 4 * 0.1 * (2 / len(noise)) ** 0.5).all()
    always = ((0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (1.0, 0.0, 0.0))
    found = switching_features(600, points=6, transition=always, lengthscale=2.0, seed=0)
    noise = (found.x - means[found.state]).transpose(0, 2, 1).reshape(-1, 6)
    off = noise.T @ noise / len(noise) - 0.1 * np.eye(6)
    assert (np.abs(off) <= 4 * 0.1 * (2 / len(noise)) ** 0.5).all()


def test_the_label_of_spikes_turns_at_the_first_of_feature_0():
    found = threshold_spikes(400, seed=0)
    assert np.isfinite(found.x).all()
    calm = threshold_spikes(400, height=0.0, seed=0)
    spikes = found.x - calm.x > 0.75
    assert within(spikes.any(axis=1).mean(), 0.3 * (1 - np.exp(-3)), (0.21 / 1200) ** 0.5)
    with_some = spikes[spikes[:, :, 0].any(axis=1)]
    first = with_some[:, :, 0].argmax(axis=1)
    marked = found.at_switches[spikes[:, :, 0].any(axis=1)]
    np.testing.assert_array_equal(np.argwhere(marked)[:, 1], first)
    assert not found.at_switches[:, :, 1:].any()
    np.testing.assert_array_equal(found.y, np.cumsum(found.at_switches[:, :, 0], axis=1))
    # Up to the first spike every cell of feature 0 could have turned the label.
    want = np.roll(found.y, 1, axis=1)
    want[:, 0] = 0
    np.testing.assert_array_equal(found.at_every_step[:, :, 0], want == 0)
    late = threshold_spikes(400, delay=2, seed=0)
    np.testing.assert_array_equal(late.y[:, 2:], found.y[:, :-2])
    assert not late.y[:, :2].any()
    assert threshold_spikes(3, points=3, delay=9).y.sum() == 0


def test_no_cell_is_marked_where_the_label_does_not_turn():
    late = threshold_spikes(2000, delay=5, seed=0)
    turns = late.y.any(axis=1)
    np.testing.assert_array_equal(late.at_switches.any(axis=(1, 2)), turns)
    assert threshold_spikes(2000, seed=0).y.any(axis=1).sum() > turns.sum()


def test_a_state_that_never_stays_is_one():
    found = switching_state(3, points=5, stay=0.0)
    assert (np.diff(found.state, axis=1) != 0).all()


def test_the_same_seed_draws_the_same():
    for make in (switching_state, switching_features, threshold_spikes):
        a, b, c = make(3, points=10), make(3, points=10), make(3, points=10, seed=1)
        np.testing.assert_array_equal(a.x, b.x)
        assert (a.x != c.x).any()


@pytest.mark.parametrize(
    ("make", "wrong", "words"),
    [
        (switching_state, {"n": 0}, "`n` must be a whole number, at least 1"),
        (switching_state, {"n": 1.5}, "`n` must be a whole number, at least 1"),
        (switching_features, {"transition": ((1.0,), (0.5, 0.5), (1.0,))}, "each summing to 1"),
        (threshold_spikes, {"delay": 1.5}, "`delay` must be a whole number"),
        (switching_state, {"stay": 1.5}, "`stay` must be a probability"),
        (switching_state, {"fatigue": 0.01}, "`fatigue`"),
        (switching_features, {"points": 0}, "`points`"),
        (switching_features, {"lengthscale": float("nan")}, "`lengthscale`"),
        (switching_features, {"transition": ((1.0, 1.0, 0.0),) * 3}, "each summing to 1"),
        (threshold_spikes, {"points": 2}, "`points` must be at least 3"),
        (threshold_spikes, {"chance": -0.1}, "`chance`"),
        (threshold_spikes, {"rate": -1.0}, "`rate`"),
        (threshold_spikes, {"delay": -1}, "`delay`"),
    ],
)
def test_settings_out_of_range_are_refused(make, wrong, words):
    with pytest.raises(ValueError, match=words):
        make(**{"n": 2, **wrong})
