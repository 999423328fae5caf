"""The log-evidence without bias: weights, exactness, gradients, and what the variance does."""

import functools

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from conjugate import exact_posterior, log_evidence, model, proposal

from pullback.bounds import multilevel_log_evidence, ragged_multilevel, ragged_sumo, sumo
from pullback.calculus import Geometric, HarmonicTail, Multilevel, ragged_terms
from pullback.sampling import draw, log_mean_exp, log_prob

pytestmark = pytest.mark.usefixtures("promotion")

TRUNCATION = HarmonicTail(cap=110)
SMALL = HarmonicTail(switch=5, rate=0.3, cap=8)


def total_and_slope(f):
    """Each row's value, and the gradient of their sum."""

    def of(x):
        rows = f(x)
        return jnp.sum(rows), rows

    def both(x):
        (_, rows), slope = jax.value_and_grad(of, has_aux=True)(x)
        return rows, slope

    return jax.jit(both)


def log_weights(n, key, delta=0.2, theta=0.0, x=None):
    x = {} if x is None else {"x": x}
    q = proposal(delta, theta, **x)
    z = draw(q, key, (n,))
    joint = model(theta, **x)
    return jax.jit(jax.vmap(lambda z: joint(z) - log_prob(q, z)))(z)


@pytest.mark.parametrize("exact", [1, 5])
def test_over_every_stop_it_is_the_longest_bound(exact, key):
    # The mean over K, enumerated, telescopes to the bound of exact + cap samples.
    weights = log_weights(exact + SMALL.cap, key)
    stops = jnp.arange(1, SMALL.cap + 1)
    shares = SMALL.probability(stops)
    value = lambda w: shares @ jax.vmap(lambda k: sumo(w, k, SMALL, exact=exact))(stops)
    mean, slope = jax.jit(jax.value_and_grad(value))(weights)
    np.testing.assert_allclose(mean, log_mean_exp(weights), rtol=1e-12)
    np.testing.assert_allclose(slope, jax.nn.softmax(weights), rtol=1e-9, atol=1e-15)


def by_hand(weights, stop, truncation, exact):
    bound = lambda k: np.logaddexp.reduce(weights[:k]) - np.log(k)
    total = bound(exact)
    for j in range(1, stop + 1):
        total += (bound(exact + j) - bound(exact + j - 1)) / float(
            truncation.survival(jnp.asarray(j))
        )
    return total


def test_of_one_stop_it_is_the_sum_of_the_paper(key):
    weights = np.asarray(30 * log_weights(40, key))
    truncation = HarmonicTail(switch=20, rate=0.1, cap=35)
    of_stop = jax.jit(lambda stop: sumo(jnp.asarray(weights), stop, truncation, exact=5))
    for stop in (1, 3, 35):
        found = of_stop(jnp.asarray(stop))
        np.testing.assert_allclose(found, by_hand(weights, stop, truncation, 5), rtol=1e-12)


@pytest.mark.parametrize("exact", [1, 4])
def test_the_ragged_form_is_that_of_each_row(exact, key):
    stop = np.array([3, 1, 8, 2])
    needed = ragged_terms(stop, exact=exact)
    rows = 50 * np.asarray(jax.random.normal(key, (4, exact + SMALL.cap)))
    flat = jnp.where(needed.mask, rows[needed.row, needed.term - 1], jnp.nan)

    def total(flat):
        return ragged_sumo(flat, needed, SMALL, jnp.asarray(stop), exact=exact)

    def each(rows):
        return jax.vmap(lambda w, k: sumo(w, k, SMALL, exact=exact))(rows, jnp.asarray(stop))

    found, slope = total_and_slope(total)(flat)
    wanted, expected = total_and_slope(each)(jnp.asarray(rows))
    np.testing.assert_allclose(found, wanted, rtol=1e-10)
    assert np.all(slope[~needed.mask] == 0)
    mask = needed.mask
    np.testing.assert_allclose(
        slope[mask], expected[needed.row, needed.term - 1][mask], rtol=1e-9, atol=1e-12
    )


def test_the_ragged_multilevel_form_is_that_of_each_row(key):
    plan, stop = Multilevel(base=2), np.array([2, 1, 4])
    needed = ragged_terms(plan.samples(stop))
    values = 20 * jr.normal(key, (len(needed.row),))
    values = jnp.where(needed.mask, values, jnp.nan)
    total = lambda v: ragged_multilevel(v, needed, jnp.asarray(stop), plan)
    found, slope = total_and_slope(total)(values)
    assert np.all(slope[~needed.mask] == 0)
    for i, level in enumerate(stop):
        mine = np.flatnonzero((needed.row == i) & needed.mask)
        one = lambda v, level=level: multilevel_log_evidence(v, int(level), plan)
        wanted, expected = jax.jit(jax.value_and_grad(one))(values[mine])
        np.testing.assert_allclose(found[i], wanted, rtol=1e-10)
        np.testing.assert_allclose(slope[mine], expected, rtol=1e-9, atol=1e-12)


def test_with_the_exact_posterior_every_draw_is_the_evidence(key):
    q = exact_posterior(0.4)
    z = draw(q, key, (1 + TRUNCATION.cap,))
    weights = jax.jit(jax.vmap(lambda z: model(0.4)(z) - log_prob(q, z)))(z)
    of_stop = jax.jit(lambda stop: sumo(weights, stop, TRUNCATION))
    for stop in (1, 10, 110):
        found = of_stop(jnp.asarray(stop))
        np.testing.assert_allclose(found, log_evidence(0.4), rtol=1e-10)


LEVELS = Multilevel(base=1, truncation=Geometric(2**-1.5, cap=5))


@functools.partial(jax.jit, static_argnums=1)
@functools.partial(jax.vmap, in_axes=(0, None))
def of_level(key, stop):
    """A multilevel estimate and its theta-gradient, at theta = 0.4."""
    size = LEVELS.samples(stop)
    return jax.value_and_grad(
        lambda theta: multilevel_log_evidence(log_weights(size, key, 0.2, theta), stop, LEVELS)
    )(0.4)


@pytest.mark.parametrize("n", [8000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_both_are_unbiased_for_the_evidence_and_its_gradient(n, key):
    theta = 0.4
    exact = jax.jit(jax.value_and_grad(log_evidence))(theta)

    @jax.jit
    @jax.vmap
    def draws(key):
        stops, samples = jr.split(key)
        stop = TRUNCATION.sample(key=stops)
        return jax.value_and_grad(
            lambda theta: sumo(
                log_weights(1 + TRUNCATION.cap, samples, 0.2, theta), stop, TRUNCATION
            )
        )(theta)

    found = jax.lax.map(draws, jr.split(key, (4, n // 4)))
    for values, truth in zip(found, exact, strict=True):
        error = np.std(values) / np.sqrt(n)
        assert error < 0.05
        # What the cap leaves: about -0.495 / (2 * 111).
        assert abs(np.mean(values) - truth) < 4 * error + 0.0025
    # Levels 0 to 4, each one's mean with its probability; the mean is the bound of 64 samples.
    total, variance = np.zeros(2), np.zeros(2)
    for stop in range(1, 6):
        share = float(LEVELS.truncation.probability(jnp.asarray(stop)))
        values = np.stack(of_level(jr.split(jr.fold_in(key, stop), n // 4), stop))
        total += share * values.mean(axis=1)
        variance += share**2 * values.var(axis=1) / (n // 4)
    # What the last level leaves: about -0.495 / (2 * 32).
    assert np.all(np.abs(total - np.array(exact)) < 4 * np.sqrt(variance) + 0.009)


def test_the_encoder_lowers_the_variance_by_the_square(key):
    # The expectation does not depend on delta; the square's gradient points to the posterior.
    @jax.jit
    @jax.vmap
    def slopes(key):
        stops, samples = jr.split(key)
        stop = SMALL.sample(key=stops)

        def estimate(delta):
            return sumo(log_weights(20 + SMALL.cap, samples, delta), stop, SMALL, exact=20)

        centred = lambda delta: (estimate(delta) - log_evidence()) ** 2
        return jax.grad(estimate)(0.3), jax.grad(centred)(0.3)

    mean, square = slopes(jr.split(key, 20_000))
    error = np.std(square) / np.sqrt(20_000)
    assert np.mean(square) > 4 * error
    # The bias of 28 samples depends on delta, by its relative variance over 56.
    assert abs(np.mean(mean)) < 4 * np.std(mean) / np.sqrt(20_000) + 0.12


def test_the_stream_may_lie_far_below_one_in_float32(x32, key):
    weights = jnp.asarray(-500 + 40 * jr.normal(key, (111,)), jnp.float32)
    value, slope = jax.jit(jax.value_and_grad(lambda w: sumo(w, jnp.asarray(50), TRUNCATION)))(
        weights
    )
    assert value.dtype == jnp.float32
    assert np.isfinite(value)
    assert np.all(np.isfinite(slope))
    assert np.all(slope[51:] == 0)
    np.testing.assert_allclose(
        value, by_hand(np.asarray(weights, np.float64), 50, TRUNCATION, 1), rtol=1e-4
    )


def test_wrong_arguments_are_named(key):
    weights = jnp.zeros(8)
    with pytest.raises(ValueError, match="`exact` must be 1 or more, got 0"):
        sumo(weights, jnp.asarray(1), SMALL, exact=0)
    with pytest.raises(ValueError, match=r"`log_weights` must be 9, .* got 8"):
        sumo(weights, jnp.asarray(1), SMALL)
    needed = ragged_terms(np.array([1]))
    with pytest.raises(ValueError, match="`exact` must be 1 or more, got 0"):
        ragged_sumo(weights[:2], needed, SMALL, jnp.array([1]), exact=0)
