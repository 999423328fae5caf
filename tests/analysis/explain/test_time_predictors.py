"""Predictors of all kinds: black boxes, and those that give what is no law."""

import inspect

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from scipy.special import expit
from sklearn.ensemble import HistGradientBoostingClassifier

from pullback.analysis.explain import (
    _time_answers,
    fit_importance,
    occlusion_importance,
    prefix_predictor,
    step_predictor,
)

SERIES = np.array([[0.1, 0.2, -1.0], [0.4, np.nan, 0.3], [2.0, -0.5, 0.9], [0.0, 0.7, -0.2]])


class White:
    start = staticmethod(tuple)
    step = staticmethod(lambda state, x: state)

    def sample(self, state, x, keep, *, key):
        return jnp.where(keep & ~jnp.isnan(x), x, jr.normal(key, x.shape, x.dtype))


def sure(prefixes):
    yes = expit(np.nan_to_num(prefixes).sum(axis=(1, 2)))
    return np.stack([1 - yes, yes], axis=1)


def explained(f, series=SERIES, **settings):
    return fit_importance(
        prefix_predictor(f, **settings), White(), series, samples=3, key=jr.key(0)
    )


def test_a_model_of_scikit_learn_is_explained(key):
    """Fitted to the last measurements, of which the first alone counts."""
    rows = np.asarray(jr.normal(key, (400, 3)))
    model = HistGradientBoostingClassifier(max_iter=20).fit(rows, rows[:, 0] > 0.5)
    found = explained(lambda prefixes: model.predict_proba(prefixes[:, -1]))
    assert found.score[2, 0] > 0.1  # what jumped
    assert np.nanmax(np.abs(found.score[:, 1:])) < 1e-6
    np.testing.assert_array_equal(np.isnan(found.score), np.isnan(SERIES))
    assert np.all(np.isfinite(np.asarray(found.score)[~np.isnan(SERIES)]))
    assert found.evaluations < 4 * (3 * 3 + 3 + 1) + 1


def test_batches_bound_a_call_and_change_nothing():
    sizes = []

    def f(prefixes):
        sizes.append(len(prefixes))
        prefixes = np.nan_to_num(prefixes, copy=False)  # what is its own
        return sure(prefixes)

    whole, parts = explained(f), explained(f, batch_size=5)
    np.testing.assert_allclose(parts.score, whole.score, atol=1e-12)
    assert max(sizes[5:]) == 5 < max(sizes[:5])
    assert parts.evaluations == whole.evaluations == sum(sizes[:5])


def test_labels_by_themselves_are_added_up():
    three = lambda prefixes: expit(np.nan_to_num(prefixes).sum(axis=1))
    one = lambda i: lambda prefixes: three(prefixes)[:, i : i + 1]
    together = explained(three, kind="multilabel")
    alone = sum(np.asarray(explained(one(i), kind="multilabel").score) for i in range(3))
    np.testing.assert_allclose(together.score, alone, atol=1e-12)
    of_logits = explained(
        lambda prefixes: np.nan_to_num(prefixes).sum(axis=1), kind="multilabel", outputs="logits"
    )
    np.testing.assert_allclose(of_logits.score, together.score, atol=1e-12)


def test_a_yes_is_two_classes():
    yes = lambda prefixes: sure(prefixes)[:, 1:]
    np.testing.assert_allclose(
        explained(yes, kind="multilabel").score, explained(sure).score, atol=1e-12
    )


def test_one_length_only_is_said():
    def f(prefixes):
        if prefixes.shape[1] != 4:
            raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")
        return sure(prefixes)

    with pytest.raises(ValueError, match="takes series of 4 time steps and fails on the first 1"):
        explained(f)
    filled = lambda prefixes: f(
        np.pad(prefixes, ((0, 0), (0, 4 - prefixes.shape[1]), (0, 0)), constant_values=np.nan)
    )
    np.testing.assert_allclose(explained(filled).score, explained(sure).score, atol=1e-12)


def test_what_fails_by_itself_fails_as_it_does():
    def f(prefixes):
        raise KeyError("heart_rate")

    with pytest.raises(KeyError, match="heart_rate") as caught:
        explained(f)
    assert "prefixes of shape [13, 1, 3]" in caught.value.__notes__[0]


@pytest.mark.parametrize("noisy", ["rows", "calls", "batch"])
def test_an_answer_that_changes_is_said(noisy):
    generator, calls = np.random.default_rng(0), []

    def f(prefixes):
        calls.append(0)
        shift = {
            "rows": 0.1 * generator.uniform(size=len(prefixes)),
            "calls": np.full(len(prefixes), 0.02 * len(calls)),
            "batch": np.full(len(prefixes), 0.2 / len(prefixes)),
        }[noisy]
        yes = 0.3 * expit(np.nan_to_num(prefixes[:, -1]).sum(axis=1)) + shift
        return np.stack([1 - yes, yes], axis=1)

    with pytest.warns(UserWarning, match="gave two answers to one question, 0.* apart"):
        explained(f)


NAN = lambda prefixes: np.where(prefixes.shape[1] < 3, 0.5, np.nan) * np.ones((len(prefixes), 2))


@pytest.mark.parametrize(
    ("f", "settings", "message"),
    [
        (NAN, {}, "at time 2, the predictor gives what is not finite: it is given NaN"),
        (
            lambda p: 2 * sure(p),
            {},
            "at time 0, the predictor gives probabilities outside of",
        ),
        (lambda p: sure(p) / 2, {}, "probabilities that do not sum to 1; labels by themselves"),
        (lambda p: -sure(p), {"kind": "gaussian"}, "standard deviations that are not above 0"),
        (lambda p: sure(p)[:, 0], {}, r"must give \[n, K\].*it gives \[13\]"),
        (lambda p: sure(p)[:1], {}, r"of \[13, 1, 3\] it gives \[1, 2\]"),
        (lambda p: sure(p)[:, :1], {}, r"\[K\], of K classes, at least 2.*it gives \[1\]"),
        (lambda p: np.ones((len(p), 3)), {"kind": "gaussian"}, r"\[2\], the mean and"),
    ],
)
def test_answers_that_are_no_laws_are_refused(f, settings, message):
    with pytest.raises(ValueError, match=message):
        explained(f, **settings)


@pytest.mark.parametrize(
    ("output", "settings", "message"),
    [
        (lambda x: x, {}, "at time 1, the predictor gives what is not finite"),
        (lambda x: jnp.ones(2), {"outputs": "probabilities"}, "do not sum to 1"),
        (lambda x: 3 * jnp.ones(2), {"outputs": "probabilities"}, r"outside of \[0, 1\]"),
        (lambda x: jnp.zeros(2), {"kind": "gaussian"}, "standard deviations"),
        (lambda x: jnp.ones(1), {}, r"\[K\], of K classes, at least 2"),
        (lambda x: jnp.ones(()), {}, r"it gives \[\]"),
        (lambda x: jnp.ones(2, int), {}, "`output of the predictor` must be floating"),
    ],
)
def test_steps_that_give_no_laws_are_refused(output, settings, message):
    predictor = step_predictor(lambda: (), lambda state, x: (state, output(x)), **settings)
    with pytest.raises(ValueError, match=message):
        fit_importance(predictor, White(), SERIES, samples=2, key=jr.key(0))


def test_draws_that_are_no_numbers_are_not_the_predictors_fault():
    class Broken(White):
        def sample(self, state, x, keep, *, key):
            return jnp.where(keep, x, jnp.nan)

    step = step_predictor(tuple, lambda state, x: (state, x))
    for predictor in (step, prefix_predictor(sure)):
        with pytest.raises(ValueError, match="at time 0, the draws in place of what was observed"):
            fit_importance(predictor, Broken(), SERIES, samples=2, key=jr.key(0))


def test_compiled_what_is_no_law_is_nan_at_its_time():
    predictor = step_predictor(lambda: (), lambda state, x: (state, x))
    run = jax.jit(lambda x: fit_importance(predictor, White(), x, samples=2, key=jr.key(0)))
    found = run(SERIES)
    np.testing.assert_array_equal(np.isnan(found.temporal_shift), [False, True, False, False])
    np.testing.assert_array_equal(np.isnan(found.score).any(axis=1), [False, True, False, False])


def test_a_black_box_is_not_compiled_nor_mapped():
    run = lambda x: explained(sure, x)
    for call, x in ((jax.jit(run), SERIES), (jax.vmap(run), SERIES[None])):
        with pytest.raises(ValueError, match="is called on the host"):
            call(x)


def test_states_start_in_any_dtype_and_keep_their_shape(promotion):
    step = lambda state, x: (state + jnp.nan_to_num(x), jnp.nan_to_num(x)[:2])
    found = [
        fit_importance(step_predictor(start, step), White(), SERIES, samples=2, key=jr.key(0)).score
        for start in (lambda: jnp.zeros(3), lambda: np.zeros(3), lambda: jnp.zeros(3, jnp.float32))
    ]
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])
    predictor = step_predictor(lambda: jnp.zeros(2), lambda state, x: (jnp.nan_to_num(x), x[:2]))
    with pytest.raises(ValueError, match=r"of the predictor must give states of one shape.*\(2,\)"):
        fit_importance(predictor, White(), SERIES, key=jr.key(0))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: step_predictor(3, lambda state, x: x), "`start` must be a function, got 3"),
        (lambda: step_predictor(tuple, None), "`step` must be a function, got None"),
        (lambda: step_predictor(tuple, tuple, kind="ordinal"), "`kind` must be one of .*'ordinal'"),
        (lambda: prefix_predictor(sure, outputs="odds"), "`outputs` must be one of .*'odds'"),
        (lambda: prefix_predictor(sure, batch_size=0), "`batch_size` must be 1 or more"),
        (lambda: prefix_predictor(HistGradientBoostingClassifier()), "with `predict_proba`, give"),
    ],
)
def test_what_is_no_predictor_is_refused(make, message, monkeypatch):
    for function in (step_predictor, prefix_predictor):
        monkeypatch.setitem(make.__globals__, function.__name__, inspect.unwrap(function))
    with pytest.raises((TypeError, ValueError), match=message):
        make()


def test_a_step_that_gives_no_pair_is_refused(key):
    predictor = step_predictor(tuple, lambda state, x: x)
    with pytest.raises(TypeError, match=r"must return \(state, output\)"):
        fit_importance(predictor, White(), jnp.ones((2, 2)), key=key)


def test_how_many_prefixes_differ_does_not_compile_anything_again():
    """Each time step asks another number of questions, and one program reads the answers."""
    predictor = prefix_predictor(lambda prefixes: np.full((len(prefixes), 2), 0.5))
    explain = lambda series: occlusion_importance(predictor, series, key=jr.key(0))
    series = np.arange(12.0).reshape(6, 2)
    explain(series)
    holes = np.where(np.arange(12).reshape(6, 2) % 3 == 0, np.nan, series)
    before = _time_answers._read._cache_size()
    explain(holes)
    assert _time_answers._read._cache_size() == before


def test_names_of_classes_are_no_probabilities(key):
    names = prefix_predictor(lambda x: np.full((len(x), 2), "yes"))
    with pytest.raises(TypeError, match=r"must give numbers.*and not the names of classes"):
        occlusion_importance(names, np.zeros((2, 1)), samples=2, key=key)


def test_a_number_that_the_dtype_does_not_hold_is_said_as_it_was_given(x32, key):
    with pytest.raises(ValueError, match=r"finite or NaN in float32, got 1e\+300 at time 1"):
        occlusion_importance(
            prefix_predictor(lambda x: np.ones((len(x), 2)) / 2), np.array([[0.0], [1e300]]),
            samples=2, key=key,
        )  # fmt: skip
