"""Generators of the next step: against precision matrices, enumeration and marginal laws."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from pullback.models.timeseries import (
    ConditionalGenerator,
    HMMGenerator,
    fit_generator,
    series_log_prob,
)

KEY = jr.key(0)
RNG = np.random.default_rng(3)


def covariance(size):
    root = RNG.normal(size=(size, size))
    return root @ root.T + 0.3 * np.eye(size)


INITIAL = np.array([0.6, 0.4, 0.0])
TRANSITION = np.array([[0.7, 0.2, 0.1], [0.0, 0.5, 0.5], [0.3, 0.0, 0.7]])
MEANS = RNG.normal(size=(3, 3))
COVARIANCES = np.stack([covariance(3) for _ in range(3)])
SERIES = np.array([[0.1, np.nan, -0.4], [np.nan] * 3, [1.0, 0.3, 0.2], [-0.5, 0.1, np.nan]])
NOW = np.array([0.4, -0.2, 0.9])


def hmm():
    return HMMGenerator(INITIAL, TRANSITION, MEANS, COVARIANCES)


def density(x, state, known):
    """log N of the known features, of a state, by SciPy."""
    if not known.any():
        return 0.0
    block = COVARIANCES[state][np.ix_(known, known)]
    return multivariate_normal.logpdf(x[known], MEANS[state][known], block)


def enumerated(series):
    """log p(what was observed, s_T), a row a state at the step after, by all paths."""
    total = np.full(3, -np.inf)
    with np.errstate(divide="ignore"):
        start, moves = np.log(INITIAL), np.log(TRANSITION)
    for path in itertools.product(range(3), repeat=len(series) + 1):
        log_prob = start[path[0]]
        for t, x in enumerate(series):
            log_prob += density(x, path[t], ~np.isnan(x)) + moves[path[t], path[t + 1]]
        total[path[-1]] = np.logaddexp(total[path[-1]], log_prob)
    return total


def after(generator, series):
    step = eqx.filter_jit(lambda state, x: generator.step(state, x))
    state = generator.start()
    for x in series:
        state = step(state, jnp.asarray(x, state.dtype))
    return state


def test_the_state_of_a_hidden_markov_model_is_the_posterior_by_all_paths():
    generator = hmm()
    for length in (0, 1, 2, 4):
        want = enumerated(SERIES[:length])
        found = after(generator, SERIES[:length])
        np.testing.assert_allclose(
            np.exp(found), np.exp(want - logsumexp(want)), rtol=1e-12, atol=1e-15
        )
    # Steps are those of the compiled scan as well, and the likelihood is that of all paths.
    steps = eqx.filter_jit(series_log_prob)(generator, jnp.asarray(SERIES))
    np.testing.assert_allclose(float(steps.sum()), logsumexp(enumerated(SERIES)), rtol=1e-12)
    assert float(steps[1]) == 0.0


@pytest.mark.parametrize("known", list(itertools.product((False, True), repeat=3)))
def test_what_is_given_conditions_every_state_as_the_precision_says_and_weighs_it(known):
    known = np.array(known)
    free = ~known
    law = hmm().law(after(hmm(), SERIES))
    x = jnp.where(known, NOW, jnp.nan)
    weights, means, covariances = law.given(x, jnp.asarray(known))
    compiled = eqx.filter_jit(lambda *of: law.given(*of))(x, jnp.asarray(known))
    for a, b in zip((weights, means, covariances), compiled, strict=True):
        np.testing.assert_allclose(np.exp(a), np.exp(b), rtol=1e-12)
    log_prob = float(law.log_prob(x, jnp.asarray(known)))
    prior = enumerated(SERIES)
    joint = prior + np.array([density(NOW, state, known) for state in range(3)])
    np.testing.assert_allclose(np.exp(weights), np.exp(joint - logsumexp(joint)), atol=1e-12)
    np.testing.assert_allclose(log_prob, logsumexp(joint) - logsumexp(prior), rtol=1e-11)
    for state in range(3):
        precision = np.linalg.inv(COVARIANCES[state])
        if free.any():
            spread = np.linalg.inv(precision[np.ix_(free, free)])
            shift = precision[np.ix_(free, known)] @ (NOW - MEANS[state])[known]
            centre = MEANS[state][free] - spread @ shift
            np.testing.assert_allclose(means[state][free], centre, rtol=1e-12, atol=1e-12)
            block = np.asarray(covariances[state])[np.ix_(free, free)]
            np.testing.assert_allclose(block, spread, rtol=1e-12, atol=1e-12)
        np.testing.assert_array_equal(np.asarray(means[state])[known], NOW[known])
        assert not np.asarray(covariances[state])[known].any()


@pytest.mark.parametrize("known", [(False, False, False), (True, False, False)])
def test_draws_have_the_mean_and_covariance_of_the_mixture(known):
    n = 100_000
    known = jnp.asarray(known)
    generator = hmm()
    state, x = after(generator, SERIES), jnp.asarray(NOW, jnp.float32)
    draw = eqx.filter_jit(
        jax.vmap(lambda key: generator.sample(state, x, known, key=key), in_axes=0)
    )
    drawn = np.asarray(draw(jr.split(KEY, n)), np.float64)
    log_weights, means, covariances = (
        np.asarray(each, np.float64) for each in generator.law(state).given(x, known)
    )
    weights = np.exp(log_weights)
    mean = weights @ means
    apart = means - mean
    spread = np.einsum("k,kij->ij", weights, covariances + apart[:, :, None] * apart[:, None])
    error = drawn.std(axis=0) / n**0.5
    assert (np.abs(drawn.mean(axis=0) - mean) <= 4 * error + 1e-6).all()
    products = (drawn - mean)[:, :, None] * (drawn - mean)[:, None]
    error = products.std(axis=0) / n**0.5
    assert (np.abs(products.mean(axis=0) - spread) <= 4 * error + 1e-6).all()
    np.testing.assert_array_equal(drawn[:, np.asarray(known)], np.asarray(x)[known] + 0 * drawn[
        :, np.asarray(known)
    ])  # fmt: skip


def generators():
    return {"hmm": hmm(), "recurrent": ConditionalGenerator(3, hidden=4, key=KEY)}


@pytest.mark.parametrize("name", ["hmm", "recurrent"])
def test_what_is_missing_is_drawn_from_the_prior_and_what_is_kept_comes_back_to_the_bit(name):
    generator = generators()[name]
    state = after(generator, SERIES)
    x = jnp.asarray([0.1, jnp.nan, -0.7])
    all_of, none = jnp.ones(3, bool), jnp.zeros(3, bool)
    draw = eqx.filter_jit(generator.sample)
    prior = draw(state, jnp.full(3, jnp.nan), none, key=KEY)
    np.testing.assert_array_equal(draw(state, x, none, key=KEY), prior)
    # Kept, but not known.
    np.testing.assert_array_equal(draw(state, jnp.full(3, jnp.nan), all_of, key=KEY), prior)
    np.testing.assert_allclose(generator.sample(state, x, none, key=KEY), prior, rtol=1e-5)
    kept = draw(state, x, all_of, key=KEY)
    np.testing.assert_array_equal(kept[jnp.array([0, 2])], x[jnp.array([0, 2])])
    assert bool(jnp.isfinite(kept).all())
    assert float(generator.law(state).log_prob(x, none)) == 0.0


def test_a_row_of_nothing_moves_a_hidden_markov_model_by_its_transition_alone():
    generator = hmm()
    state = after(generator, np.full((3, 3), np.nan))
    want = INITIAL @ np.linalg.matrix_power(TRANSITION, 3)
    np.testing.assert_allclose(np.exp(state), want, rtol=1e-5)


def test_a_feature_that_is_never_seen_is_integrated_out():
    rest = np.array([0, 2])
    smaller = HMMGenerator(INITIAL, TRANSITION, MEANS[:, rest], COVARIANCES[:, rest][:, :, rest])
    whole = np.random.default_rng(0).normal(size=(6, 3))
    whole[:, 1] = np.nan
    np.testing.assert_allclose(
        series_log_prob(hmm(), jnp.asarray(whole)),
        series_log_prob(smaller, jnp.asarray(whole[:, rest])),
        rtol=1e-10,
    )


def test_a_recurrent_generator_is_the_mixture_that_it_says_with_missing_entries():
    generator = ConditionalGenerator(
        3, hidden=4, components=2, location=[1.0, -2.0, 0.5], scale=[2.0, 1.0, 0.1], key=KEY
    )
    series = jnp.asarray(SERIES)
    found = np.asarray(series_log_prob(generator, series))
    state = generator.start()
    for x, log_prob in zip(SERIES, found, strict=True):
        law = generator.law(state)
        known = ~np.isnan(x)
        want = [
            log_weight
            + multivariate_normal.logpdf(
                x[known], mean[known], (tril @ tril.T)[np.ix_(known, known)]
            )
            for log_weight, mean, tril in zip(
                *(np.asarray(leaf) for leaf in (law.log_weights, law.means, law.scale_trils)),
                strict=True,
            )
            if known.any()
        ]
        np.testing.assert_allclose(log_prob, logsumexp(want) if want else 0.0, rtol=1e-10)
        np.testing.assert_allclose(np.exp(law.log_weights).sum(), 1.0, rtol=1e-12)
        state = generator.step(state, jnp.asarray(x))
    # Other units of the features are other units of the law, and nothing else.
    plain = eqx.tree_at(lambda g: (g.location, g.scale), generator, (jnp.zeros(3), jnp.ones(3)))
    scaled = (series - generator.location[None]) / generator.scale[None]
    size = np.where(np.isnan(SERIES), 0, np.log([2.0, 1.0, 0.1])).sum(axis=1)
    np.testing.assert_allclose(found, series_log_prob(plain, scaled) - size, rtol=1e-10)


def test_slopes_do_not_see_what_is_missing():
    generator = ConditionalGenerator(3, hidden=4, key=KEY)
    loss = lambda generator, x: jnp.sum(series_log_prob(generator, x))
    slopes = eqx.filter_jit(eqx.filter_grad(loss))(generator, jnp.asarray(SERIES, jnp.float32))
    assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(slopes))
    assert float(jnp.abs(slopes.head.weight).sum()) > 0


def simulated(n, time, seed):
    """Series of a hidden Markov model of two states, a tenth of it not observed."""
    rng = np.random.default_rng(seed)
    state = np.zeros((n, time), int)
    state[:, 0] = rng.integers(2, size=n)
    for t in range(1, time):
        state[:, t] = np.where(rng.random(n) < 0.9, state[:, t - 1], 1 - state[:, t - 1])
    x = np.array([[2.0, 0.0], [-2.0, 5.0]])[state] + rng.normal(size=(n, time, 2))
    x[rng.random(x.shape) < 0.1] = np.nan
    return x


@pytest.mark.usefixtures("x32")
def test_a_trained_generator_comes_near_to_the_exact_one():
    train, held = simulated(200, 20, 0), simulated(100, 20, 1)
    generator, info = fit_generator(
        train, hidden=12, components=2, steps=300, batch_size=25, learning_rate=2e-2,
        validation=held, key=KEY,
    )  # fmt: skip
    exact = HMMGenerator(
        [0.5, 0.5],
        [[0.9, 0.1], [0.1, 0.9]],
        [[2.0, 0.0], [-2.0, 5.0]],
        [np.eye(2), np.eye(2)],
    )
    score = eqx.filter_jit(
        lambda g: jnp.sum(jax.vmap(series_log_prob, (None, 0))(g, jnp.asarray(held, float)))
    )
    count = (~np.isnan(held)).sum()
    best, found = float(score(exact)) / count, float(score(generator)) / count
    assert best - 0.06 <= found <= best + 0.01
    # The loss is in standard units, an entry.
    units = np.log(np.nanstd(train, axis=(0, 1)))
    moved = (np.where(np.isnan(held), 0, units)).sum() / count
    np.testing.assert_allclose(info.history["validation_loss"][-1], -found - moved, rtol=1e-3)
    np.testing.assert_allclose(generator.location, np.nanmean(train, axis=(0, 1)), rtol=1e-5)


def test_a_constant_feature_and_one_row_are_trained_on():
    series = np.ones((1, 1, 2))
    generator, _ = fit_generator(series, hidden=2, components=1, steps=2, key=KEY)
    np.testing.assert_array_equal(generator.scale, 1.0)
    assert bool(jnp.isfinite(series_log_prob(generator, jnp.ones((1, 2)))).all())


@pytest.mark.parametrize(
    ("series", "words"),
    [
        (np.ones((4, 2)), "series\\[None\\]"),
        (np.ones((0, 4, 2)), "series, time, feature"),
        (np.full((2, 3, 1), np.inf), "series 0 has inf in feature 0 at step 0"),
        (np.where(np.arange(2) == 1, np.nan, np.ones((2, 3, 2))), "feature 1; leave it out"),
    ],
)
def test_series_that_no_generator_can_be_trained_on_are_refused(series, words):
    with pytest.raises(ValueError, match=words):
        fit_generator(series, steps=1, key=KEY)


def test_settings_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="`validation` must have 2 features, got 1"):
        fit_generator(np.ones((2, 3, 2)), validation=np.ones((2, 3, 1)), steps=1, key=KEY)
    with pytest.raises(ValueError, match="learning_rate"):
        fit_generator(np.ones((2, 3, 2)), learning_rate=0.0, steps=1, key=KEY)
    with pytest.raises(ValueError, match="`location` must be one number for each of the 2"):
        ConditionalGenerator(2, location=[1.0], key=KEY)
    with pytest.raises(ValueError, match="has the scale 1"):
        ConditionalGenerator(2, scale=[1.0, 0.0], key=KEY)


@pytest.mark.parametrize(
    ("place", "wrong", "words"),
    [
        (0, [0.5, 0.6, 0.0], "`initial` must be probabilities that sum to 1"),
        (0, [1.0], "`initial` must have shape"),
        (1, TRANSITION.T, "`transition` must be probabilities that sum to 1"),
        (2, np.zeros(3), "`means` must be"),
        (2, np.full((3, 3), np.nan), "`means` must be finite"),
        (3, np.zeros((3, 3, 3)), "positive definite"),
        (3, np.tile([[1.0, 0.5, 0], [0, 1, 0], [0, 0, 1]], (3, 1, 1)), "symmetric"),
    ],
)
def test_what_is_no_hidden_markov_model_is_refused(place, wrong, words):
    given = [INITIAL, TRANSITION, MEANS, COVARIANCES]
    given[place] = wrong
    with pytest.raises(ValueError, match=words):
        HMMGenerator(*given)


def test_what_is_no_covariance_in_the_float_at_hand_is_refused(x32):
    near = lambda rho: [[[1.0, rho], [rho, 1.0]]]
    make = lambda spread: HMMGenerator([1.0], [[1.0]], np.zeros((1, len(spread[0]))), spread)
    for spread in (near(1 - 1e-8), [[[1e-50]]], [[[1e50]]]):
        with pytest.raises(ValueError, match="positive definite in float32 too"):
            make(spread)
    with pytest.raises(ValueError, match="`covariances` must be finite"):
        make([[[np.inf]]])
    close = make(near(1 - 1e-4))
    assert np.isfinite(series_log_prob(close, jnp.array([[0.3, 0.31]]))).all()
    # Units do not matter.
    make([[[1e-12, 0.0], [0.0, 1e12]]])


def test_a_value_out_of_all_reach_tells_nothing_of_the_state(x32):
    two = HMMGenerator([0.3, 0.7], [[0.9, 0.1], [0.1, 0.9]], [[-2.0], [2.0]], [[[1.0]]] * 2)
    found = np.exp(two.posterior(two.start(), jnp.array([1e20])))
    np.testing.assert_allclose(found, [0.5, 0.5], rtol=1e-5)


def test_moves_that_never_happen_leave_gradients_numbers(x32):
    always = HMMGenerator([1.0, 0.0], [[0.0, 1.0], [0.0, 1.0]], [[-1.0], [1.0]], [[[1.0]]] * 2)
    series = jnp.array([[-0.5], [0.7], [1.2]])
    value, slope = eqx.filter_value_and_grad(lambda g: jnp.sum(series_log_prob(g, series)))(always)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(slope))
    off = np.array([0.5, -0.3, 0.2])
    np.testing.assert_allclose(value, -(off @ off) / 2 - 1.5 * np.log(2 * np.pi), rtol=1e-5)
    # Of each mean: the sum of what its own steps miss.
    np.testing.assert_allclose(slope.means[:, 0], [0.5, -0.1], atol=1e-5)


def test_shapes_that_would_be_broadcast_are_refused(x32):
    generator = ConditionalGenerator(2, key=KEY)
    state, x = generator.start(), jnp.zeros(2)
    with pytest.raises(ValueError, match=r"`keep` must have shape \[2\]"):
        generator.sample(state, x, jnp.array([True]), key=KEY)
    with pytest.raises(ValueError, match=r"`x` must have shape \[2\]"):
        generator.step(state, jnp.zeros(1))
    drawn = generator.sample(state, jnp.array([3, 0]), jnp.array([True, False]), key=KEY)
    assert jnp.issubdtype(drawn.dtype, jnp.floating)
    assert drawn[0] == 3
    assert drawn[1] % 1 != 0
    with pytest.raises(ValueError, match="`location` must be finite"):
        ConditionalGenerator(2, location=[np.nan, 0.0], key=KEY)
    with pytest.raises(ValueError, match="`scale` must be positive and finite"):
        ConditionalGenerator(2, scale=[np.inf, 1.0], key=KEY)


def test_a_constant_feature_has_the_scale_1_and_units_without_squares_are_refused(x32):
    rows = np.stack([np.full((7, 3), 0.1), RNG.normal(size=(7, 3))], axis=2)
    assert np.nanstd(rows[..., 0]) > 0  # the mean was rounded
    generator, _ = fit_generator(rows, steps=1, key=KEY)
    assert generator.scale[0] == 1
    for unit in (1e300, 1e30, 1e-30):
        with pytest.raises(ValueError, match=r"feature 1 has the mean .*give it in another unit"):
            fit_generator(rows * [1, unit], steps=1, key=KEY)
