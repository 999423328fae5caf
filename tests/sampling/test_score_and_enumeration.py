"""Score-function gradients against sums over all outcomes, and these against a loop in NumPy."""

import itertools

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro.distributions as dist
import pytest

from pullback.sampling import (
    Enumeration,
    MovingAverage,
    Replicated,
    ScoreFunction,
    expectation,
    grad_stats,
    value_and_grad,
)

pytestmark = pytest.mark.usefixtures("promotion")

N = 100_000
LOGITS = jnp.array([0.5, -1.0, 0.2])
WEIGHTS = jnp.array([1.0, -2.0, 0.7])


def coins(params):
    return dist.Bernoulli(logits=params)


def f(z, q):
    return jnp.sum((z - 0.4) ** 2 * WEIGHTS) + 2 * z[0] * z[2]


TABLE = jnp.asarray(np.random.default_rng(0).normal(size=(3, 4)))


def dice(params):
    return dist.Categorical(logits=params)  # three of them, of four states


def of_dice(z, q):
    return jnp.sum(jnp.take_along_axis(TABLE, z[:, None], axis=1)) + 1.5 * (z[0] == z[1])


DICE = jnp.asarray(np.random.default_rng(1).normal(size=(3, 4)))


def by_hand(logits):
    """The exact expectation, outcome by outcome."""
    p = 1 / (1 + np.exp(-np.asarray(logits)))
    total = 0.0
    for z in itertools.product([0, 1], repeat=3):
        share = np.prod([p[i] if z[i] else 1 - p[i] for i in range(3)])
        total += share * float(f(jnp.array(z), None))
    return total


def exact(f, family):
    return value_and_grad(f, family, estimator=Enumeration())


def test_enumeration_is_the_sum_over_outcomes(key):
    found = exact(f, coins)(LOGITS, key=key)
    np.testing.assert_allclose(found.value, by_hand(LOGITS), rtol=1e-12)
    step = 1e-6
    for i in range(3):
        moved = [by_hand(LOGITS.at[i].add(sign * step)) for sign in (1, -1)]
        np.testing.assert_allclose(found.params[i], (moved[0] - moved[1]) / (2 * step), rtol=1e-7)
    events = exact(f, lambda logits: coins(logits).to_event(1))(LOGITS, key=key)
    np.testing.assert_allclose(events.params, found.params, rtol=1e-12)
    chunked = value_and_grad(f, coins, estimator=Enumeration(), batch_size=3)(LOGITS, key=key)
    np.testing.assert_allclose(chunked.params, found.params, rtol=1e-12)


def test_enumeration_of_categorical_variables(key):
    p = np.asarray(jax.nn.softmax(DICE, axis=-1))
    total = sum(
        p[0, a] * p[1, b] * p[2, c] * float(of_dice(jnp.array([a, b, c]), None))
        for a, b, c in itertools.product(range(4), repeat=3)
    )
    np.testing.assert_allclose(exact(of_dice, dice)(DICE, key=key).value, total, rtol=1e-12)


def test_an_outcome_of_no_probability_adds_nothing(key):
    # log(0) times nothing: the integrand is infinite there.
    q = dist.Bernoulli(logits=jnp.array(800.0))
    assert expectation(lambda z, q: jnp.log(z), q, estimator=Enumeration(), key=key) == 0


CASES = {"coins": (f, coins, LOGITS), "dice": (of_dice, dice, DICE)}
BASELINES = {"none": None, "loo": "leave_one_out", "number": jnp.array(1.3)}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("baseline", BASELINES)
def test_the_mean_is_the_exact_gradient(case, baseline, key):
    f, family, params = CASES[case]
    run = lambda params, *, key: expectation(
        f, family(params), estimator=ScoreFunction(BASELINES[baseline]), num_samples=4, key=key
    )
    found = grad_stats(run, params, jr.split(key, N // 4), batch_size=5000)
    truth = exact(f, family)(params, key=key)
    assert np.all(np.abs(found.mean - truth.params) < 4 * found.standard_error)
    assert abs(found.value - truth.value) < 0.05


def test_leave_one_out_lowers_the_variance(key):
    shifted = lambda z, q: f(z, q) + 10
    spread = {
        name: grad_stats(
            lambda p, *, key, b=b: expectation(
                shifted, coins(p), estimator=ScoreFunction(b), num_samples=4, key=key
            ),
            LOGITS,
            jr.split(key, 4000),
        ).variance
        for name, b in BASELINES.items()
    }
    assert np.all(spread["loo"] * 5 < spread["none"])


def test_a_baseline_learns_the_mean_from_its_own_gradient(key):
    # d/db of half the mean of (f - b)^2.
    estimator = ScoreFunction(jnp.array(0.5))
    found = value_and_grad(f, coins, estimator=estimator, num_samples=50)(LOGITS, key=key)
    np.testing.assert_allclose(found.estimator.baseline, 0.5 - found.value, rtol=1e-12)

    def through_a_net(weight):
        estimator = ScoreFunction(weight * 3.0)
        return expectation(f, coins(LOGITS), estimator=estimator, num_samples=50, key=key)

    expected = 3 * (1.5 - found.value)
    np.testing.assert_allclose(jax.grad(through_a_net)(0.5), expected, rtol=1e-12)
    # Who maximises the expectation still wants the baseline near it.
    np.testing.assert_allclose(
        jax.grad(lambda w: -2 * through_a_net(w))(0.5), 2 * expected, rtol=1e-12
    )


def test_no_gradient_goes_through_the_sample_or_a_black_box(key):
    def box(z, q):
        out = jax.ShapeDtypeStruct((), jnp.float64)
        return jax.pure_callback(
            lambda z: np.asarray(np.sum(z) ** 2.0), out, z, vmap_method="sequential"
        )

    run = jax.jit(
        lambda p, key: jax.grad(
            lambda p: expectation(
                box, dist.Normal(p, 1.0), estimator=ScoreFunction(), num_samples=1000, key=key
            )
        )(p)
    )
    z = np.asarray(jax.vmap(lambda k: dist.Normal(1.0, 1.0).sample(k))(jr.split(key, 1000)))
    np.testing.assert_allclose(run(1.0, key), np.mean(z**2 * (z - 1)), rtol=1e-10)


def test_replicated_draws_are_independent_and_their_scores_add(key):
    q = Replicated(coins(LOGITS), 5)
    z = q.sample(key, (2,))
    assert z.shape == (2, 5, 3)
    one = coins(LOGITS)
    np.testing.assert_allclose(q.log_prob(z[0]), np.sum(one.log_prob(z[0])), rtol=1e-12)
    assert not q.has_rsample
    assert Replicated(dist.Normal(0.0, 1.0), 2).has_rsample


def test_the_moving_average_is_that_of_adam():
    average, values = MovingAverage(0.8), [3.0, -1.0, 4.0]
    assert average.value == 0
    for number, value in enumerate(values, 1):
        average = average.update(value)
        weights = 0.8 ** np.arange(number)[::-1]
        expected = np.sum(weights * values[:number]) / np.sum(weights)
        np.testing.assert_allclose(average.value, expected, rtol=1e-12)


def test_wrong_arguments_are_named(key):
    with pytest.raises(ValueError, match=r"`decay` must be in \[0, 1\), got 1"):
        MovingAverage(1.0)
    with pytest.raises(ValueError, match="needs `num_samples` of 2 or more, got 1"):
        expectation(f, coins(LOGITS), estimator=ScoreFunction("leave_one_out"), key=key)
    with pytest.raises(ValueError, match="can list its support, and `q` is a Normal"):
        expectation(f, dist.Normal(0.0, 1.0), estimator=Enumeration(), key=key)
    with pytest.raises(ValueError, match=r"2\^20 outcomes, more than `max_outcomes` 65536"):
        expectation(f, coins(jnp.zeros(20)), estimator=Enumeration(), key=key)
