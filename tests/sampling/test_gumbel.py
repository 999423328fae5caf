"""Gumbel-softmax and straight-through: samples, known biases, and the extremes of precision."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro.distributions as dist
import pytest

from pullback.sampling import (
    Enumeration,
    GumbelSoftmax,
    OneHotCategorical,
    Replicated,
    StraightThrough,
    expectation,
    grad_stats,
    gumbel_softmax,
    straight_through,
    temperature_schedule,
)


def test_straight_through_is_one_hot_with_the_soft_gradient(key):
    soft = jax.nn.softmax(jr.normal(key, (6, 4)))
    weight = jr.normal(jr.fold_in(key, 1), (6, 4))
    hard = straight_through(soft)
    np.testing.assert_array_equal(hard, jnp.eye(4)[jnp.argmax(soft, axis=-1)])
    slope = jax.grad(lambda y: jnp.sum(weight * straight_through(y)))(soft)
    np.testing.assert_array_equal(slope, weight)
    np.testing.assert_array_equal(straight_through(soft.T, axis=0), hard.T)
    # A tie is broken: never two ones.
    np.testing.assert_array_equal(straight_through(jnp.full(3, 1 / 3)), [1, 0, 0])


def test_hard_and_soft_samples_of_one_key_have_one_gradient_of_a_linear_function(key):
    logits, weight = jr.normal(key, (5, 4)), jr.normal(jr.fold_in(key, 1), (5, 4))
    loss = lambda logits, hard: jnp.sum(weight * gumbel_softmax(logits, 0.7, hard=hard, key=key))
    hard, soft = (jax.grad(loss)(logits, hard) for hard in (True, False))
    np.testing.assert_allclose(hard, soft, rtol=1e-12)
    sample = gumbel_softmax(logits, 0.7, hard=True, key=key)
    assert set(np.unique(sample)) == {0.0, 1.0}


LOGITS = jnp.array([0.5, -0.3, 0.1, -0.8])


def quadratic(z, q):
    a = jnp.arange(16.0).reshape(4, 4) / 8
    return jnp.sum((z - 0.3) @ (a @ a.T) * (z - 0.3)) / 4


def stats(estimator, key, n, batch=5000):
    """Mean and variance of one-sample gradients."""

    def loss(logits, *, key):
        q = OneHotCategorical(logits)
        return expectation(quadratic, q, estimator=estimator, key=key)

    return grad_stats(loss, LOGITS, jr.split(key, n), batch_size=batch)


def exact():
    q = lambda logits: OneHotCategorical(logits)
    loss = lambda x: expectation(quadratic, q(x), estimator=Enumeration(), key=jr.key(0))
    return jax.grad(loss)(LOGITS)


@pytest.mark.parametrize("hard", [False, True])
def test_bias_falls_and_variance_rises_as_the_temperature_falls(hard, key):
    """The exact gradient is the sum over four outcomes."""
    rows = {t: stats(GumbelSoftmax(t, hard=hard), key, 20_000) for t in (1.0, 0.2, 0.05)}
    truth = exact()
    bias = {t: float(jnp.linalg.norm(row.mean - truth)) for t, row in rows.items()}
    noise = {t: float(jnp.linalg.norm(row.standard_error)) for t, row in rows.items()}
    size = float(jnp.linalg.norm(truth))
    assert bias[1.0] > 0.2 * size > 4 * noise[1.0]
    assert bias[1.0] > 2 * bias[0.2]
    assert bias[0.05] < 0.15 * size + 4 * noise[0.05]
    variance = {t: float(jnp.sum(row.variance)) for t, row in rows.items()}
    assert variance[1.0] < variance[0.2] < variance[0.05]
    if hard:  # noisier than relaxed samples of the same temperature
        soft = stats(GumbelSoftmax(0.2), key, 20_000)
        assert variance[0.2] > 1.3 * float(jnp.sum(soft.variance))


def test_the_mean_gradient_is_that_of_the_mean_over_the_noise(key):
    """For two classes the noise is one logistic number: the mean gradient is an integral."""
    t, logit = 0.5, 0.7
    u = (np.arange(200_000) + 0.5) / 200_000
    score = logit + np.log(u) - np.log1p(-u)
    y = 1 / (1 + np.exp(-score / t))
    integral = np.mean(2 * (y - 0.3) * y * (1 - y) / t)

    def loss(logit, *, key):
        q = dist.BernoulliLogits(logit)
        return expectation(lambda z, q: (z - 0.3) ** 2, q, estimator=GumbelSoftmax(t), key=key)

    found = grad_stats(loss, jnp.asarray(logit), jr.split(key, 40_000))
    assert abs(found.mean - integral) < 4 * found.standard_error
    truth = 0.4 * jax.nn.sigmoid(logit) * jax.nn.sigmoid(-logit)
    assert abs(found.mean - truth) > 10 * found.standard_error


@pytest.mark.parametrize("slope", [1.0, 3.0])
def test_straight_through_has_no_noise_in_its_backward_pass(slope, key):
    """Linear f: the gradient is that of the probabilities, and exact at slope one."""
    weight = jr.normal(key, (2, 3))
    logits = jr.normal(jr.fold_in(key, 1), (2, 3))

    def loss(logits):
        q = OneHotCategorical(logits)
        f = lambda z, q: jnp.sum(weight * z)
        return expectation(f, q, estimator=StraightThrough(slope), key=key)

    found = jax.grad(loss)(logits)
    soft = lambda logits: jnp.sum(weight * jax.nn.softmax(slope * logits))
    np.testing.assert_allclose(found, jax.grad(soft)(logits), rtol=1e-12)
    value = expectation(
        lambda z, q: jnp.sum(z**2), OneHotCategorical(logits), estimator=StraightThrough(), key=key
    )
    assert value == 2


ESTIMATORS = (GumbelSoftmax(0.5), GumbelSoftmax(0.5, hard=True), StraightThrough())


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize(
    "family",
    [
        lambda p: dist.BernoulliProbs(p),
        lambda p: OneHotCategorical(probs=jnp.stack([1 - p, p], axis=-1)),
        lambda p: dist.BernoulliProbs(p).to_event(1),
        lambda p: Replicated(dist.BernoulliProbs(p), 2),
    ],
)
def test_every_discrete_distribution_is_seen_with_its_own_shape(estimator, family, key):
    p = jnp.array([0.2, 0.5, 0.9])

    def loss(p, estimator):
        seen = []
        q = family(p)
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            shape = q.sample(key).shape
        f = lambda z, q: (seen.append(z.shape), jnp.sum(z))[1]
        value = expectation(f, q, estimator=estimator, num_samples=500, batch_size=100, key=key)
        assert set(seen) == {shape}
        return value

    value, slope = eqx.filter_jit(jax.value_and_grad(loss))(p, estimator)
    kind = family(p)
    copies = 2 if isinstance(kind, Replicated) else 1
    expected = 3.0 if isinstance(kind, OneHotCategorical) else copies * 1.6
    # 4 standard errors of at most 6 numbers in [0, 1].
    assert float(value) == pytest.approx(expected, abs=4 * np.sqrt(6 * 0.25 / 500) * 1.5)
    assert slope.shape == p.shape
    assert bool(jnp.all(jnp.isfinite(slope)))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_nothing_is_nan_at_the_extremes(dtype, key):
    """Logits of +-10^4, temperatures from 0.001 to 10; one program for all temperatures."""
    logits = jnp.array([[1e4, -1e4, 0.0], [-1e4, -1e4, 1e4]], dtype)
    f = lambda z, q: jnp.sum((z - jnp.asarray(0.25, dtype)) ** 2)

    @eqx.filter_jit
    def all_of(logits, temperature):
        def loss(logits, estimator, family):
            return expectation(f, family(logits), estimator=estimator, num_samples=20, key=key)

        found = []
        for family in (OneHotCategorical, dist.BernoulliLogits):
            for estimator in (
                GumbelSoftmax(temperature),
                GumbelSoftmax(temperature, hard=True),
                StraightThrough(1 / temperature),
            ):
                value, slope = jax.value_and_grad(loss)(logits, estimator, family)
                assert (value.dtype, slope.dtype) == (dtype, dtype)
                found.append(jnp.isfinite(value) & jnp.all(jnp.isfinite(slope)))
        return jnp.stack(found)

    for temperature in (1e-3, 0.1, 10.0):
        assert bool(jnp.all(all_of(logits, jnp.asarray(temperature))))
    soft = gumbel_softmax(logits, 1e-3, key=key)
    assert soft.dtype == dtype
    assert bool(jnp.all(jnp.isfinite(soft)))


def test_annealing_does_not_trace_again(key):
    traces = []

    @eqx.filter_jit
    def loss(logits, estimator):
        traces.append(1)
        return expectation(quadratic, OneHotCategorical(logits), estimator=estimator, key=key)

    schedule = temperature_schedule(every=1)
    values = [loss(LOGITS, GumbelSoftmax(schedule(step))) for step in (0, 5000, 9999)]
    assert len(traces) == 1
    assert len({float(v) for v in values}) == 3


def test_the_schedule_is_the_papers():
    schedule = jax.jit(temperature_schedule(init=1.0, floor=0.5, rate=1e-3, every=100))
    steps = [0, 99, 100, 350, 692, 693, 10_000]
    expected = [max(0.5, np.exp(-1e-3 * (s // 100 * 100))) for s in steps]
    np.testing.assert_allclose([schedule(s) for s in steps], expected, rtol=1e-6)
    wrong: dict[str, Any]
    for wrong, words in (({"floor": 0.0}, "`floor` must be positive"), ({"every": 0}, "`every`")):
        with pytest.raises(ValueError, match=words):
            temperature_schedule(**wrong)


@pytest.mark.parametrize(
    ("q", "words"),
    [
        (dist.Categorical(logits=jnp.zeros(3)), "OneHotCategorical"),
        (dist.Normal(0.0, 1.0), "`Reparameterised`"),
        (dist.Poisson(2.0), "`ScoreFunction`"),
    ],
)
@pytest.mark.parametrize("estimator", ESTIMATORS[1:])
def test_other_distributions_are_refused(q, words, estimator, key):
    with pytest.raises(ValueError, match=words):
        expectation(lambda z, q: jnp.sum(z), q, estimator=estimator, key=key)


def test_a_temperature_of_zero_is_refused():
    for call in (lambda: GumbelSoftmax(0.0), lambda: gumbel_softmax(LOGITS, 0.0, key=jr.key(0))):
        with pytest.raises(ValueError, match=r"`temperature` must be positive, got 0.*one-hot"):
            call()
    with pytest.raises(ValueError, match="`slope` must be positive"):
        StraightThrough(-1.0)
