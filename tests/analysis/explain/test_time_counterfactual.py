"""Measurements hidden one by one, by draws of all kinds, from predictions now and later."""

import inspect

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from binary_hmm import FIRST, SERIES, SUBSETS, TIMES, VALUES, forecast, joint, law
from scipy.integrate import quad
from scipy.special import expit

from pullback.analysis.explain import (
    ffc_importance,
    fit_importance,
    occlusion_importance,
    prefix_predictor,
    step_predictor,
    window_importance,
)

SIGMOID = step_predictor(
    tuple,
    lambda state, x: (state, (jnp.nan_to_num(x) @ jnp.array([1.5, -0.4], x.dtype))[None]),
    kind="multilabel",
)


def kl(p, q):
    return np.sum(p * np.log(p / q), axis=-1)


def test_the_counterfactual_is_the_mean_divergence_over_what_might_have_come(key):
    """At the first time, by enumeration; and what is not observed is not scored."""
    generator, series = law(), jnp.asarray(SERIES[37])
    predictor = forecast(generator)
    found = ffc_importance(predictor, generator, series, subsets=SUBSETS, samples=4000, key=key)
    heard = np.asarray([generator.likelihood(jnp.asarray(v)) for v in VALUES])
    said = lambda x: np.asarray(predictor.step(predictor.start(), jnp.asarray(x))[1])
    p = said(SERIES[37][0])
    for k, subset in enumerate(SUBSETS):
        each = [kl(p, said(np.where(subset, v, SERIES[37][0]))) for v in VALUES]
        wanted = heard @ FIRST @ each
        error = float(found.standard_error[0, k])
        assert abs(found.score[0, k] - wanted) <= 4 * error + 1e-12
        assert k == 0 or 1e-5 < error < 0.05
    assert found.temporal_shift is found.unexplained is None
    assert found.evaluations == TIMES * (4 * 4000 + 1)
    assert np.all(found.score[:, 0] == 0)
    holes = ffc_importance(predictor, generator, series.at[1, 0].set(jnp.nan), key=key)
    np.testing.assert_array_equal(np.isnan(holes.score), [[0, 0], [1, 0], [0, 0]])


def test_uniform_occlusion_is_an_integral(key):
    x = np.array([[0.7, -1.2]])
    found = occlusion_importance(SIGMOID, x, bounds=(-2.0, 1.0), samples=20_000, key=key)
    p = expit(x[0] @ [1.5, -0.4])
    for i in range(2):
        moved = lambda u, i=i: expit(np.where(np.arange(2) == i, u, x[0]) @ [1.5, -0.4])
        wanted = quad(lambda u, moved=moved: abs(moved(u) - p) / 3, -2, 1, limit=200)[0]
        assert abs(found.score[0, i] - wanted) <= 4 * found.standard_error[0, i]
    assert np.all(np.asarray(found.standard_error) < 0.01)


def test_bootstrap_draws_are_of_a_features_own_measurements(key):
    background = np.array([[[0.0, 5.0], [np.nan, -1.0]], [[2.0, np.nan], [np.nan, 1.0]]])
    x = np.array([[0.5, 0.3], [np.nan, 0.1]])
    run = lambda key: occlusion_importance(
        SIGMOID, x, background=background, samples=20_000, key=key
    )
    found = run(key)
    p = expit(x[0] @ [1.5, -0.4])
    wanted = [
        np.mean([abs(expit(1.5 * u - 0.4 * 0.3) - p) for u in (0.0, 2.0)]),
        np.mean([abs(expit(1.5 * 0.5 - 0.4 * u) - p) for u in (5.0, -1.0, 1.0)]),
    ]
    assert np.all(np.abs(found.score[0] - np.array(wanted)) <= 4 * found.standard_error[0])
    np.testing.assert_array_equal(np.isnan(found.score), [[0, 0], [1, 0]])
    short = occlusion_importance(
        SIGMOID, x.astype(np.float32)[:1], background=background, samples=5, key=key
    )
    assert short.score.dtype == jnp.float32
    compiled = jax.jit(run)(key)
    np.testing.assert_allclose(compiled.score, found.score, atol=1e-14)


def test_gaussian_means_move_by_standard_deviations(key):
    predictor = step_predictor(
        lambda: (), lambda state, x: (state, jnp.stack([3 * x[0], jnp.exp(x[1])])), kind="gaussian"
    )
    found = occlusion_importance(
        predictor, jnp.array([[1.0, 0.5]]), background=jnp.array([[2.0, 7.0]]), samples=2, key=key
    )
    np.testing.assert_allclose(found.score, [[3 / np.exp(0.5), 0]], atol=1e-12)


def test_hiding_one_time_is_fit_without_the_others(key):
    generator, series = law(), jnp.asarray(SERIES[37])
    predictor = forecast(generator)
    found = window_importance(
        predictor, generator, series, window=1, subsets=SUBSETS, samples=5, key=key
    )
    other = fit_importance(predictor, generator, series, subsets=~SUBSETS, samples=5, key=key)
    np.testing.assert_allclose(found.score, other.unexplained, atol=1e-14)
    np.testing.assert_array_equal(found.score, found.by_delay[..., 0])
    assert found.evaluations == TIMES * (4 * 5 + 1)


def test_hiding_all_from_a_time_on_is_the_information_in_what_came_since(key):
    """By the chain rule, each time's own part is what it tells given those before it."""
    generator = law()
    predictor = forecast(generator)
    run = lambda x, key: window_importance(
        predictor, generator, x, window=3, subsets=SUBSETS[3:], samples=300, key=key
    ).by_delay[:, 0]
    repeats = 6
    keys = jr.split(key, (repeats, len(SERIES)))
    each = jax.vmap(jax.vmap(run), in_axes=(None, 0))(jnp.asarray(SERIES), keys)
    table = joint(2)
    means = np.einsum("n,rnad->rad", table.sum(1), np.nan_to_num(each))

    def information(upto):
        """Of the last y and what came before a time, by counting."""
        groups = {}
        for p, series in zip(table, SERIES, strict=True):
            past = tuple(series[:upto].ravel())
            groups[past] = groups.get(past, 0) + p
        return sum(p.sum() * kl(p / p.sum(), table.sum(0)) for p in groups.values())

    for a in range(3):
        wanted = information(a + 1) - information(a)
        found = means[:, a, 2 - a]
        # The logarithm of a mean of 300 is too large by about its variance over 600.
        assert abs(found.mean() - wanted) < 4 * found.std(ddof=1) / repeats**0.5 + 3e-4
        assert wanted > 1e-3


def delayed(by):
    """Reads what the first of two features was some time steps ago."""
    start = lambda: jnp.zeros(by)

    def step(state, x):
        return jnp.concatenate([state[1:], x[:1]]), 2 * jnp.stack([state[0], -state[0]])

    return step_predictor(start, step)


class White:
    """Independent normal features without memory."""

    start = staticmethod(tuple)
    step = staticmethod(lambda state, x: state)

    def sample(self, state, x, keep, *, key):
        return jnp.where(keep & ~jnp.isnan(x), x, jr.normal(key, x.shape, x.dtype))


def test_a_late_effect_is_found_where_it_is_late_and_by_no_other_method(key):
    predictor, series = delayed(2), jr.normal(key, (7, 2))
    found = window_importance(predictor, White(), series, window=4, samples=8, key=key)
    late = np.asarray(found.by_delay)
    there = np.arange(7)[:, None] + np.arange(4) < 7
    np.testing.assert_array_equal(np.isnan(late), np.broadcast_to(~there[:, None], late.shape))
    np.testing.assert_allclose(np.nan_to_num(late[:, :, [0, 1, 3]]), 0, atol=1e-14)
    np.testing.assert_allclose(late[:, 1, 2][:5], 0, atol=1e-14)
    assert np.all(np.abs(late[:5, 0, 2]) > 1e-4)
    np.testing.assert_allclose(found.score, np.nanmean(late, axis=2), atol=1e-14)
    np.testing.assert_allclose(found.standard_error[:5, 1], 0, atol=1e-14)
    assert np.all(found.standard_error[:5, 0] > 1e-4)
    now = fit_importance(predictor, White(), series, key=key)
    np.testing.assert_allclose(now.score, 0, atol=1e-14)


def test_what_is_hidden_is_drawn_on_from_what_was_drawn(key):
    """A generator that adds one to the last step, and a normal prediction of what is read."""

    class Climbs:
        start = staticmethod(lambda: jnp.zeros(2))
        step = staticmethod(lambda state, x: x)

        def sample(self, state, x, keep, *, key):
            return jnp.where(keep & ~jnp.isnan(x), x, state + 1)

    reads = step_predictor(
        tuple, lambda state, x: (state, jnp.stack([x[0], jnp.ones_like(x[0])])), kind="gaussian"
    )
    series = jr.normal(key, (5, 2))
    found = window_importance(reads, Climbs(), series, window=3, samples=2, key=key)
    before = np.concatenate([[0.0], series[:, 0]])
    off = lambda a, t: 0.5 * (series[t, 0] - before[a] - (t + 1 - a)) ** 2 if a <= t else 0
    for a in range(5):
        for late in range(min(3, 5 - a)):
            wanted = off(a, a + late) - off(a + 1, a + late)
            np.testing.assert_allclose(found.by_delay[a, 0, late], wanted, atol=1e-12)
    np.testing.assert_allclose(np.nan_to_num(found.by_delay[:, 1]), 0, atol=1e-12)


def test_the_windows_error_is_how_far_scores_of_other_keys_lie(key):
    series = jr.normal(key, (5, 2))
    run = lambda key: window_importance(delayed(1), White(), series, window=2, samples=50, key=key)
    found = jax.vmap(run)(jr.split(key, 300))
    ratio = np.mean(found.standard_error**2, axis=0) / np.var(found.score, axis=0)
    np.testing.assert_allclose(ratio[:4, 0], 1, atol=0.35)


@pytest.mark.parametrize("holes", [False, True])
def test_a_black_box_is_told_the_same_series(holes, key):
    generator = law()
    predictor = forecast(generator)
    series = jnp.asarray(SERIES[22])
    series = series.at[1, 0].set(jnp.nan) if holes else series
    lengths = []

    def again(prefixes):
        lengths.append(prefixes.shape[:2])
        along = lambda row: jax.lax.scan(predictor.step, predictor.start(), row)[1][-1]
        return np.asarray(jax.vmap(along)(jnp.asarray(prefixes)))

    box = prefix_predictor(again)
    background = np.array([[0.0, 1.0], [1.0, 0.0]])
    calls = {
        "ffc": lambda of: ffc_importance(of, generator, series, samples=4, key=key),
        "occlusion": lambda of: occlusion_importance(
            of, series, background=background, samples=4, key=key
        ),
        "window": lambda of: window_importance(of, generator, series, window=2, samples=4, key=key),
    }
    for name, call in calls.items():
        lengths.clear()
        carried, asked = call(predictor), call(box)
        for a, b in zip(carried[:-1], asked[:-1], strict=True):
            if a is not None:
                np.testing.assert_allclose(a, b, atol=1e-13, err_msg=name)
        assert [length for _, length in lengths] == [1, 2, 3, 3]
        assert asked.evaluations == sum(n for n, _ in lengths) < carried.evaluations


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            {"bounds": (1.0, 1.0)},
            r"`bounds` must be two finite numbers that rise, got \(1.0, 1.0\)",
        ),
        ({"background": np.ones((3, 3))}, r"shape \[..., 2\], the features.*got \[3, 3\]"),
        ({"background": np.ones((3, 2), int)}, "`background` must be floating"),
        ({"background": np.array([[1.0, np.nan]])}, "it has none of feature 1"),
        ({"samples": 0}, "`samples` must be 1 or more"),
    ],
)
def test_occlusion_refuses_what_does_not_fit(wrong, message, key):
    with pytest.raises(ValueError, match=message):
        inspect.unwrap(occlusion_importance)(SIGMOID, jnp.ones((2, 2)), **wrong, key=key)


def test_a_window_of_nothing_is_refused(key):
    with pytest.raises(ValueError, match="`window` must be 1 or more, got 0"):
        window_importance(SIGMOID, White(), jnp.ones((2, 2)), window=0, key=key)
