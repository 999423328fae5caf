"""FIT beside a hidden Markov model in which all that it stands for can be counted."""

import inspect

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from binary_hmm import SERIES, SUBSETS, TIMES, VALUES, forecast, information, joint, law
from sklearn.metrics import average_precision_score, roc_auc_score

from pullback._traced import _run
from pullback.analysis.explain import (
    ffc_importance,
    fit_importance,
    prefix_predictor,
    step_predictor,
    window_importance,
)
from pullback.analysis.explain._time_answers import Changes, answers
from pullback.analysis.explain._time_fit import apart, scores
from pullback.analysis.explain._time_outputs import moments
from pullback.models.timeseries import HMMGenerator

PATTERNS = {
    "all": np.ones((TIMES, 2), bool),
    "holes": np.array([[True, False], [False, True], [True, True]]),
}


def exact(series, generator, predictor, *, groups=SUBSETS, estimator="kl_of_mean",
          baseline="marginal"):  # fmt: skip
    """The library's scores, of all draws that there are by their probabilities."""
    if baseline == "marginal":
        groups = np.concatenate([np.zeros_like(groups[:1]), groups])
    full = jnp.asarray(VALUES, series.dtype)

    def rows(state, ahead, keys):
        found = jnp.where(jnp.isnan(ahead[0]), jnp.nan, full)
        return jnp.tile(found, (len(groups), 1))[:, None]

    changes = Changes(generator.start, generator.step, rows)
    found = answers(predictor, changes, series, key=jr.key(0))
    changed = found.changed.reshape(TIMES, len(groups), 4, -1)

    def weigh(state, x):
        each = jax.vmap(lambda keep: generator.weights(state, x, keep))(jnp.asarray(groups))
        return generator.step(state, x), each

    weights = jax.lax.scan(weigh, generator.start(), series)[1]
    kind = predictor.kind
    return scores(found._replace(changed=changed), weights, kind, estimator, baseline)[:3]


def over_the_present(values, t, seen):
    """The mean over x_t given the past: by the past of each series."""
    weights = joint(t).sum(axis=1)
    before = seen.copy()
    before[t:] = False
    past = [tuple(series[before]) for series in SERIES]
    same = np.array([[a == b for a in past] for b in past])
    return (same * weights) @ values / (same @ weights)


@pytest.mark.parametrize("pattern", list(PATTERNS))
@pytest.mark.parametrize("kind", ["categorical", "multilabel"])
def test_the_mean_score_is_the_mutual_information_given_the_past(pattern, kind):
    seen = PATTERNS[pattern]
    series = jnp.where(seen, SERIES, jnp.nan)
    generator = law()
    found = jax.vmap(lambda x: exact(x, generator, forecast(generator, kind)))(series)
    score, shift, unexplained = map(np.asarray, found)
    np.testing.assert_allclose(score, shift[..., None] - unexplained, atol=1e-15)
    assert np.abs(score[..., 0]).max() < 1e-15
    assert np.abs(score[..., 3] - shift).max() < 1e-15
    for t in range(TIMES):
        for k, subset in enumerate(SUBSETS):
            mean = over_the_present(score[:, t, k], t, seen)
            wanted = information(t, subset, seen)
            np.testing.assert_allclose(mean, wanted, atol=1e-10)
            assert k == 0 or not (seen[t] & subset).any() or wanted.min() > 1e-3


def test_the_mean_of_divergences_is_too_large_and_so_its_score_of_nothing_below_zero():
    generator, series = law(), jnp.asarray(SERIES)
    run = lambda x: exact(x, generator, forecast(generator), estimator="mean_of_kl")
    score, shift, _ = map(np.asarray, jax.vmap(run)(series))
    seen = PATTERNS["all"]
    for t in range(TIMES):
        for k in range(3):
            mean = over_the_present(score[:, t, k], t, seen)
            assert np.all(mean < information(t, SUBSETS[k], seen) - 1e-3)
    assert np.all(score[..., 0] < -1e-4)
    np.testing.assert_allclose(score[..., 3], shift, atol=1e-15)


def test_one_divergence_is_that_of_the_definition():
    """By hand: the last time of one series, S the first feature, the baseline what came before."""
    generator, n = law(), 37
    predictor, series = forecast(generator), jnp.asarray(SERIES[n])
    score, shift, _ = exact(series, generator, predictor, baseline="previous")
    table = joint(2)
    own = SERIES[n]

    def same(upto, cells=(0, 1)):
        """Which series are as this one up to a time, and in these features at the last."""
        at = list(cells)
        return np.array([np.all(s[:upto] == own[:upto]) and np.all(s[2, at] == own[2, at])
                         for s in SERIES])  # fmt: skip

    p = table[same(3)].sum(0) / table[same(3)].sum()
    only = table[same(2, (0,))].sum(0) / table[same(2, (0,))].sum()
    before = joint(1)[same(2, ())].sum(0) / joint(1)[same(2, ())].sum()
    kl = lambda p, q: np.sum(p * np.log(p / q))
    np.testing.assert_allclose(shift[2], kl(p, before), atol=1e-14)
    np.testing.assert_allclose(score[2, 1], kl(p, before) - kl(p, only), atol=1e-14)
    assert shift[0] == 0
    assert np.all(np.asarray(score[0]) == 0)


@pytest.mark.parametrize("estimator", ["kl_of_mean", "mean_of_kl"])
def test_draws_come_to_the_exact_scores_within_their_standard_errors(estimator, key):
    generator, series = law(), jnp.asarray(SERIES[[37, 22]])
    predictor = forecast(generator)
    run = lambda x, key: fit_importance(
        predictor, generator, x, subsets=SUBSETS, samples=4000, estimator=estimator, key=key
    )
    found = jax.vmap(run)(series, jr.split(key, 2))
    wanted = jax.vmap(lambda x: exact(x, generator, predictor, estimator=estimator))(series)
    far = np.abs(found.score - wanted[0])
    error = np.asarray(found.standard_error)
    assert np.all(far <= 4 * error + 1e-12)
    assert np.all(error[..., 1:3] > 1e-4)
    assert np.all(error < 0.05)
    assert found.evaluations.tolist() == [TIMES * (5 * 4000 + 1)] * 2


def test_the_standard_error_is_how_far_scores_of_other_keys_lie(key):
    generator, series = law(), jnp.asarray(SERIES[37])
    predictor = forecast(generator)
    for estimator in ("kl_of_mean", "mean_of_kl"):
        run = lambda key, estimator=estimator: fit_importance(
            predictor, generator, series, samples=50, estimator=estimator, key=key
        )
        found = jax.vmap(run)(jr.split(key, 400))
        ratio = np.mean(found.standard_error**2, axis=0) / np.var(found.score, axis=0)
        # A variance of 400 has a standard error of 7 %.
        np.testing.assert_allclose(ratio, 1, atol=0.3)


def test_the_error_falls_with_the_root_of_the_samples(key):
    generator, series = law(), jnp.asarray(SERIES[37])
    predictor = forecast(generator)
    wanted = exact(series, generator, predictor, groups=np.eye(2, dtype=bool))[0]
    far = []
    for samples in (10, 1000):
        run = lambda key, n=samples: (
            fit_importance(predictor, generator, series, samples=n, key=key).score
        )
        far.append(
            np.sqrt(
                np.mean((np.asarray(jax.vmap(run)(jr.split(key, 60))) - np.asarray(wanted)) ** 2)
            )
        )
    assert 0.35 < np.log10(far[0] / far[1]) / 2 < 0.65


def test_nothing_scores_nothing_and_all_the_whole_shift_of_any_draws(key):
    generator = law()
    predictor = forecast(generator)
    series = jnp.where(PATTERNS["holes"], SERIES[22], jnp.nan)
    for baseline in ("marginal", "previous"):
        found = fit_importance(
            predictor, generator, series, subsets=SUBSETS[[0, 3]], samples=3, baseline=baseline,
            key=key,
        )  # fmt: skip
        np.testing.assert_allclose(found.score[:, 1], found.temporal_shift, atol=1e-15)
        np.testing.assert_allclose(found.unexplained[1:, 1], 0, atol=1e-15)
        if baseline == "marginal":
            assert np.abs(found.score[:, 0]).max() < 1e-15
            np.testing.assert_allclose(found.standard_error[:, 0], 0, atol=1e-15)


def test_what_was_not_observed_has_no_score_and_changes_none(key):
    """The draws for it are thrown away, and what stands in its place is not read."""
    generator = law()
    predictor = forecast(generator)
    seen = PATTERNS["holes"]
    series = jnp.where(seen, SERIES[22], jnp.nan)
    found = fit_importance(predictor, generator, series, key=key)
    for each in (found.score, found.unexplained, found.standard_error):
        np.testing.assert_array_equal(np.isnan(each), ~seen)
    alone = fit_importance(
        predictor, generator, series, subsets=np.array([[True, True], [False, True]]), key=key
    )
    np.testing.assert_allclose(alone.score[0, 0], found.score[0, 0], atol=1e-15)
    silent = fit_importance(predictor, generator, series.at[1].set(jnp.nan), key=key)
    assert np.all(np.isnan(silent.score[1]))
    assert abs(silent.temporal_shift[1]) < 1e-15


def test_a_generator_is_not_shown_what_it_must_draw(key):
    class Peeks:
        start = staticmethod(lambda: ())
        step = staticmethod(lambda state, x: state)

        def sample(self, state, x, keep, *, key):
            return jnp.where(jnp.isnan(x), 7.0, x)

    reads = step_predictor(lambda: (), lambda state, x: (state, x))
    found = fit_importance(reads, Peeks(), jnp.array([[0.5, 0.0]]), samples=2, key=key)
    shift = np.log(np.exp(0.5) + 1) - 0.5
    p = np.exp([0.5, 0.0]) / (np.exp(0.5) + 1)
    q = np.exp([0.5, 7.0]) / (np.exp(0.5) + np.exp(7.0))
    np.testing.assert_allclose(found.unexplained[0, 0], np.sum(p * np.log(p / q)), atol=1e-14)
    assert shift > 0
    assert np.all(np.isfinite(found.score))


def test_permuted_features_permute_the_scores():
    generator = law()
    there = jax.vmap(lambda x: exact(x, generator, forecast(generator)))(jnp.asarray(SERIES))
    turned = type(generator)(generator.heard[:, ::-1], generator.moves)
    predictor = forecast(generator)
    back = step_predictor(
        predictor.start, lambda state, x: predictor.step(state, x[::-1]), outputs="probabilities"
    )
    other = jax.vmap(lambda x: exact(x, turned, back))(jnp.asarray(SERIES[..., ::-1]))
    for a, b in zip(there, other, strict=True):
        order = [0, 2, 1, 3]
        np.testing.assert_allclose(a, b[..., order] if a.ndim == 3 else b, atol=1e-12)


def test_a_feature_that_nothing_hangs_on_explains_nothing(key):
    """Not read, and independent of the rest: draws of the others are those of the marginal."""
    white = step_predictor(lambda: (), lambda state, x: (state, jnp.stack([x[0], -x[0]])))

    class White:
        start = staticmethod(lambda: ())
        step = staticmethod(lambda state, x: state)

        def sample(self, state, x, keep, *, key):
            return jnp.where(keep & ~jnp.isnan(x), x, jr.normal(key, x.shape, x.dtype))

    series = jr.normal(key, (6, 3)).at[4].set(jr.normal(key, (6, 3))[1])
    found = fit_importance(white, White(), series, key=key)
    np.testing.assert_allclose(found.score[:, 1:], 0, atol=1e-14)
    np.testing.assert_allclose(found.score[:, 0], found.temporal_shift, atol=1e-14)
    # Without memory, equal measurements score alike, up to the draws.
    far = np.abs(found.score[4, 0] - found.score[1, 0])
    assert far < 4 * np.hypot(found.standard_error[4, 0], found.standard_error[1, 0])


def cases(dtype):
    generator = law(dtype)
    return forecast(generator), generator, jnp.asarray(SERIES[[37, 22]], dtype)


def test_compiled_mapped_and_in_float32_it_is_the_same(key):
    predictor, generator, series = cases(jnp.float64)
    run = lambda x, key: fit_importance(predictor, generator, x, samples=20, key=key)
    keys = jr.split(key, 2)
    one = run(series[0], keys[0])
    for other in (
        jax.jit(run)(series[0], keys[0]),
        jax.tree.map(lambda leaf: leaf[0], jax.vmap(run)(series, keys)),
    ):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-14)
    predictor, generator, series = cases(jnp.float32)
    short = run(series[0], keys[0])
    assert short.score.dtype == short.standard_error.dtype == jnp.float32
    wide = exact(*[each for each in (series[0].astype(float), law(), forecast(law()))],
                 groups=np.eye(2, dtype=bool))  # fmt: skip
    narrow = exact(series[0], generator, predictor, groups=np.eye(2, dtype=bool))
    for a, b in zip(narrow, wide, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_a_second_call_compiles_nothing(key):
    predictor, generator, series = cases(jnp.float64)
    run = lambda x, key: fit_importance(predictor, generator, x, samples=5, key=key)
    run(series[0], key)
    # Traced anew, each time: to a program that is there already.
    size = _run._cached._cache_size()
    run(series[1], jr.key(9))
    assert _run._cached._cache_size() == size


def test_a_prefix_rerun_is_a_state_carried_on(key):
    predictor, generator, series = cases(jnp.float64)
    lengths = []

    def again(prefixes):
        lengths.append(prefixes.shape)
        along = lambda row: jax.lax.scan(predictor.step, predictor.start(), row)[1][-1]
        return np.asarray(jax.vmap(along)(jnp.asarray(prefixes)))

    for x in (jnp.where(PATTERNS["holes"], series[0], jnp.nan), series[1]):
        lengths.clear()
        carried = fit_importance(predictor, generator, x, samples=6, key=key)
        rerun = fit_importance(prefix_predictor(again), generator, x, samples=6, key=key)
        for a, b in zip(carried[:4], rerun[:4], strict=True):
            np.testing.assert_allclose(a, b, atol=1e-14)
        # One call a time step, and one more to see that it answers the same.
        assert [shape[1] for shape in lengths] == [1, 2, 3, 3]
        assert rerun.evaluations == sum(shape[0] for shape in lengths)
        assert rerun.evaluations < carried.evaluations  # no question is asked twice


def test_a_series_cut_short_scores_as_the_longer_one_did(key):
    predictor, generator, series = cases(jnp.float64)
    run = lambda x: fit_importance(predictor, generator, x, key=key)
    for a, b in zip(run(series[0])[:4], run(series[0][:2])[:4], strict=True):
        np.testing.assert_allclose(a[:2], b, atol=1e-15)


def test_squashing_keeps_orders_and_its_slope_is_in_the_error(key):
    predictor, generator, series = cases(jnp.float64)
    run = lambda squash: fit_importance(predictor, generator, series[0], squash=squash, key=key)
    plain, squashed = run(None), run(5.0)
    np.testing.assert_allclose(squashed.score, 2 / (1 + np.exp(-5 * plain.score)) - 1, atol=1e-14)
    truth = np.arange(6) % 2
    for area in (roc_auc_score, average_precision_score):
        assert area(truth, plain.score.ravel()) == area(truth, squashed.score.ravel())
    slope = (run(5.0 * (1 + 1e-7)).score - squashed.score) / 1e-7  # c d/dc = I d/dI
    np.testing.assert_allclose(
        squashed.standard_error, plain.standard_error * slope / plain.score, rtol=1e-5
    )


def test_probabilities_of_nought_and_one_are_finite_and_have_a_slope(key):
    predictor = step_predictor(lambda: (), lambda state, x: (state, 1e4 * x))
    _, generator, series = cases(jnp.float64)
    for kind in ("categorical", "multilabel"):
        sure = step_predictor(predictor.start, predictor.step, kind=kind)
        total = lambda x, sure=sure: jnp.sum(fit_importance(sure, generator, x, key=key).score)
        value, slope = jax.value_and_grad(total)(series[0] - 0.5)
        assert np.isfinite(value)
        assert np.all(np.isfinite(slope))


def test_gaussian_outputs_are_compared_as_such(key):
    """A shift of the mean of independent normal features: the marginal is normal too."""
    mean, sd = jnp.array([0.3, -0.2]), jnp.array([1.0, 2.0])
    weights = jnp.array([2.0, 0.5])

    class Normal:
        start = staticmethod(lambda: ())
        step = staticmethod(lambda state, x: state)

        def sample(self, state, x, keep, *, key):
            return jnp.where(keep & ~jnp.isnan(x), x, mean + sd * jr.normal(key, x.shape))

    predictor = step_predictor(
        lambda: (), lambda state, x: (state, jnp.stack([1e3 + weights @ x, jnp.array(0.7)])),
        kind="gaussian",
    )  # fmt: skip
    x = jnp.array([[1.5, 1.0]])
    subsets = np.concatenate([SUBSETS[:3], SUBSETS[3:]])
    found = fit_importance(predictor, Normal(), x, subsets=subsets, samples=20_000, key=key)

    def kl(keep):
        p = weights @ x[0]
        q = weights @ np.where(keep, x[0], mean)
        variance = 0.7**2 + np.sum(np.where(keep, 0, np.asarray(weights * sd)) ** 2)
        return 0.5 * (np.log(variance / 0.49) + (0.49 + (p - q) ** 2) / variance - 1)

    wanted = np.array([kl(SUBSETS[0]) - kl(keep) for keep in SUBSETS])
    assert np.all(np.abs(found.score[0] - wanted) <= 4 * found.standard_error[0] + 1e-9)
    assert found.standard_error[0, 1] > 1e-3
    assert wanted[3] > 0.1


class Still:
    """It draws 0, whatever came."""

    start = staticmethod(lambda: ())
    step = staticmethod(lambda state, x: state)

    def sample(self, state, x, keep, *, key):
        return jnp.where(keep & ~jnp.isnan(x), x, jnp.zeros_like(x))


def test_sharp_gaussian_outputs_far_apart_do_not_cancel(x32, key):
    """From 0 to 7.3 of a standard deviation of 1e-3, the divergence is 7300^2 / 2."""
    predictor = step_predictor(
        tuple, lambda state, x: (state, jnp.stack([x[0], jnp.full((), 1e-3)])), kind="gaussian"
    )
    x = np.array([[0.0], [7.3]], np.float32)
    far = 7300**2 / 2
    for baseline in ("marginal", "previous"):
        found = fit_importance(predictor, Still(), x, baseline=baseline, samples=3, key=key)
        np.testing.assert_allclose(found.score[1], far, rtol=1e-4)
        np.testing.assert_allclose(found.temporal_shift[1], far, rtol=1e-4)
    found = ffc_importance(predictor, Still(), x, samples=3, key=key)
    np.testing.assert_allclose(found.score[1], far, rtol=1e-4)


def test_a_mixture_of_gaussians_is_one_of_its_moments_in_float32(x32):
    random = np.random.default_rng(0)
    mean, spread = 5000 + random.normal(size=9), random.uniform(0.5, 2, size=9)
    weights = random.dirichlet(np.ones(9))
    p = jnp.array([0.0, 1.0])
    q = jnp.asarray(np.stack([mean, spread], axis=1), jnp.float32)
    found, _ = apart(
        p, moments(p, q, "gaussian"), jnp.asarray(weights, jnp.float32), "gaussian", "kl_of_mean"
    )
    centre = weights @ mean
    variance = weights @ (spread**2 + (mean - centre) ** 2)
    wanted = 0.5 * (np.log(variance) + (1 + centre**2) / variance - 1)
    np.testing.assert_allclose(found, wanted, rtol=1e-4)


@pytest.mark.parametrize("method", [fit_importance, ffc_importance, window_importance])
def test_a_generator_of_other_features_is_refused(method, x32, key):
    one = HMMGenerator([1.0], [[1.0]], [[0.0]], [[[1.0]]])

    class One(Still):
        def sample(self, state, x, keep, *, key):
            return jnp.zeros(1)

    predictor = step_predictor(tuple, lambda state, x: (state, jnp.stack([x[0], -x[0]])))
    x = np.zeros((2, 3), np.float32)
    with pytest.raises(ValueError, match=r"must have shape \[1\]"):
        method(predictor, one, x, samples=2, key=key)
    with pytest.raises(
        ValueError, match=r"must draw the features of `series`, \[3\]; it gives \[1\]"
    ):
        method(predictor, One(), x, samples=2, key=key)


def test_two_features_that_tell_only_together_score_as_a_pair(key):
    """The exclusive or of fair coins."""

    class Coins:
        start = staticmethod(lambda: ())
        step = staticmethod(lambda state, x: state)

        def sample(self, state, x, keep, *, key):
            return jnp.where(
                keep & ~jnp.isnan(x), x, jr.bernoulli(key, 0.5, x.shape).astype(x.dtype)
            )

    parity = step_predictor(
        lambda: (),
        lambda state, x: (state, jnp.where(x[0] == x[1], 0.99, 0.01)[None]),
        outputs="probabilities", kind="multilabel",
    )  # fmt: skip
    found = fit_importance(
        parity, Coins(), jnp.ones((1, 2)), subsets=SUBSETS, samples=2000, key=key
    )
    assert np.all(np.abs(found.score[0, 1:3]) < 0.1)
    assert found.score[0, 3] > 0.6


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"predictor": lambda x: x}, "`predictor` must be what `step_predictor"),
        ({"generator": object()}, "`generator` must have a method `start`"),
        ({"estimator": "kl"}, "`estimator` must be one of .* got 'kl'"),
        ({"baseline": "zero"}, "`baseline` must be one of .* got 'zero'"),
        ({"samples": 0}, "`samples` must be 1 or more, got 0"),
        ({"squash": 0.0}, "`squash` must be a number above 0, got 0.0"),
        ({"squash": "5"}, "`squash` must be a number above 0, got '5'"),
        ({"series": jnp.ones(3)}, r"`series` must have shape \[time, features\].*got \[3\]"),
        ({"series": jnp.ones((0, 2))}, r"at least 1 each; got \[0, 2\]"),
        ({"series": jnp.ones((3, 2), int)}, "`series` must be floating, got int64"),
        ({"series": jnp.ones((3, 2)).at[1, 1].set(jnp.inf)}, "got inf at time 1 of feature 1"),
        ({"subsets": np.eye(2)}, r"`subsets` must be Booleans of shape \[subsets, 2\]"),
        ({"subsets": np.eye(3, dtype=bool)}, r"got bool of shape \[3, 3\]"),
        ({"subsets": np.zeros((0, 2), bool)}, "at least one row"),
    ],
)
def test_what_does_not_fit_is_refused(wrong, message, key):
    predictor, generator, series = cases(jnp.float64)
    given = {"predictor": predictor, "generator": generator, "series": series[0]} | wrong
    run = inspect.unwrap(fit_importance)
    with pytest.raises((TypeError, ValueError), match=message):
        run(given.pop("predictor"), given.pop("generator"), given.pop("series"), **given, key=key)
