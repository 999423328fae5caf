"""Tests of draws that depend on each other, and of models whose support has an end."""

import functools

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy.stats import norm as gaussian
from scipy.stats import t as student

from pullback.analysis import finite_set_stein_test, goodness_of_fit, kernel_stein_test
from pullback.analysis._dependent_draws import survival, variance_of_mean, wild_signs
from pullback.sampling import SupportMap, hmc

RHO = 0.6


def ar1(key, n):
    """A chain of the law N(0, 1) that keeps 0.6 of where it was."""
    noise = jr.normal(key, (n, 1))
    step = lambda x, e: (RHO * x + jnp.sqrt(1 - RHO**2) * e,) * 2
    return jax.lax.scan(step, noise[0], noise)[1]


def p_values(test, count, rows, key, shift=0.0):
    once = lambda k: test(ar1(k, rows) + shift, score=lambda x: -x, key=jr.fold_in(k, 1)).p_value
    return np.asarray(jax.lax.map(once, jr.split(key, count)))


LEARNED = functools.partial(
    goodness_of_fit, width=8, steps=50, batch_size=64, evaluate_every=50, split=(0.2, 0.1, 0.7)
)
TESTS = {
    "kernel": functools.partial(kernel_stein_test, num_bootstrap=99),
    "learned": LEARNED,
}


@pytest.mark.parametrize(("name", "rows"), [("kernel", 200), ("learned", 400)])
def test_of_a_chain_on_its_target_p_values_are_uniform_and_of_independent_ones_not(name, rows, key):
    count, held = 200, functools.partial(TESTS[name], correlation_length=20)
    p = p_values(held, count, rows, key)
    for alpha in (0.05, 0.3, 0.7):
        error = np.sqrt(alpha * (1 - alpha) / count)
        assert abs(np.mean(p <= alpha) - alpha) < 4 * error, alpha
    naive = p_values(TESTS[name], count, rows, key)
    assert np.mean(naive <= 0.05) > 0.05 + 4 * np.sqrt(0.05 * 0.95 / count)
    assert np.mean(p_values(held, 20, rows, key, shift=1.5) <= 0.05) > 0.8


def test_signs_agree_as_often_as_the_length_says(key):
    n, draws, length = 40, 4000, 5.0
    signs = np.asarray(wild_signs((n, draws), jnp.asarray(length), jnp.float64, key))
    assert set(np.unique(signs)) == {-1.0, 1.0}
    apart = np.abs(np.arange(n)[:, None] - np.arange(n))
    found = signs @ signs.T / draws
    np.testing.assert_array_less(np.abs(found - np.exp(-apart / length)), 5 / np.sqrt(draws))
    free = np.asarray(wild_signs((n, draws), None, jnp.float64, key))
    np.testing.assert_array_less(np.abs(free @ free.T / draws - np.eye(n)), 5 / np.sqrt(draws))


def test_the_variance_of_a_mean_is_that_of_all_pairs(key):
    values = np.asarray(jr.normal(key, (30,)))
    centred = values - values.mean()
    weight = np.exp(-np.abs(np.arange(30)[:, None] - np.arange(30)) / 4.0)
    wanted = centred @ weight @ centred / 30**2 / (1 - weight.sum() / 30**2)
    found = jax.jit(variance_of_mean)(jnp.asarray(values), jnp.asarray(4.0))
    np.testing.assert_allclose(found, wanted, rtol=1e-12)
    # Of independent values it has no bias, and of a length of next to nothing it is the plain one.
    many = jr.normal(key, (20_000, 40))
    means = jax.vmap(lambda v: variance_of_mean(v, jnp.asarray(4.0)))(many)
    assert abs(jnp.mean(means) * 40 - 1) < 4 * jnp.std(means) * 40 / np.sqrt(20_000)
    plain = variance_of_mean(jnp.asarray(values), None)
    np.testing.assert_allclose(plain, values.var(ddof=1) / 30, rtol=1e-12)
    np.testing.assert_allclose(variance_of_mean(jnp.asarray(values), jnp.asarray(1e-3)), plain)


def test_the_statistic_of_few_lengths_is_compared_with_student_s():
    for statistic in (-1.3, 0.0, 2.5):
        found = survival(jnp.asarray(statistic), 140, jnp.asarray(20.0))
        np.testing.assert_allclose(found, student.sf(statistic, 7), rtol=1e-9)
        found = survival(jnp.asarray(statistic), 140, None)
        np.testing.assert_allclose(found, gaussian.sf(statistic), rtol=1e-9)


@pytest.mark.parametrize("test", [kernel_stein_test, goodness_of_fit])
@pytest.mark.parametrize(
    ("length", "message"),
    [
        (0, "`correlation_length` must be above 0, and finite; got 0"),
        (np.inf, "`correlation_length` must be above 0, and finite; got inf"),
        (81.0, "at most a fifth of the [0-9]* rows that are tested; got 81.0"),
    ],
)
def test_a_length_that_makes_no_sense_is_refused(test, length, message, key):
    with pytest.raises(ValueError, match=message):
        test(jr.normal(key, (400, 1)), score=lambda x: -x, correlation_length=length, key=key)


def test_draws_of_a_walk_go_in_one_chain_after_another(key):
    target = lambda x: -jnp.sum(x**2) / 2
    _, info = hmc(target, jnp.zeros((4, 2)), steps=160, step_size=0.2, leapfrog_steps=2,
                  warmup=60, thin=1, key=key)  # fmt: skip
    x = jnp.swapaxes(info.draws, 0, 1).reshape(-1, 2)
    found = kernel_stein_test(x, log_prob=target, correlation_length=20, key=key)
    assert found.p_value > 1e-3
    wrong = kernel_stein_test(x + 1, log_prob=target, correlation_length=20, key=key)
    assert bool(wrong.reject)


STEIN = [kernel_stein_test, functools.partial(finite_set_stein_test, steps=0), LEARNED]


@pytest.mark.parametrize("test", STEIN)
def test_a_model_with_an_end_is_refused_with_the_map_to_the_line(test, key):
    """An exponential law was rejected of its own draws, with p below 1e-3, and nothing was said."""
    x = jr.exponential(key, (300, 1))
    law = dist.Exponential(jnp.ones(1)).to_event(1)
    with pytest.raises(ValueError, match=r"`log_prob` is of a Independent.*SupportMap"):
        test(x, log_prob=law.log_prob, key=key)
    ends = lambda x: jnp.sum(jnp.where(x > 0, -x, -jnp.inf))
    with pytest.raises(ValueError, match=r"`log_prob` is -inf at \[-.*SupportMap"):
        test(x, log_prob=ends, key=key)
    box = lambda x: jnp.where((x > 0) & (x < 1), 1 - 2 * x, jnp.nan)
    with pytest.raises(ValueError, match=r"`score` is \[nan\] at"):
        test(jr.uniform(key, (300, 1)), score=box, key=key)
    # What the message says to do.
    to = SupportMap(1, law.support)
    y = jax.vmap(lambda x: to.to_line(x)[0])(x)
    on_the_line = lambda y: law.log_prob(to.from_line(y)) - to.to_line(to.from_line(y))[1]
    assert float(test(y, log_prob=on_the_line, key=key).p_value) > 1e-3
