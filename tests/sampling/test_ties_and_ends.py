"""Ties and ends, where NumPyro's discrete slopes are wrong, against sums written by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from numpyro.distributions.distribution import validation_enabled

from pullback.bounds import kl_divergence
from pullback.sampling import (
    Enumeration,
    OneHotCategorical,
    ScoreFunction,
    expectation,
    log_prob,
    rebar,
)

pytestmark = pytest.mark.usefixtures("promotion")

VALUES = jnp.array([10.0, 13.0, 11.0, 8.0])  # f of the outcomes 0, 1, 2, 3


def f(z, q):
    if z.ndim:  # one-hot
        return z @ VALUES[: len(z)].astype(z.dtype)
    return VALUES[z.astype(int)]


def binomial(p):
    rest = 1 - p
    return jnp.stack([rest * rest * rest, 3 * p * rest * rest, 3 * p * p * rest, p * p * p])


# The distribution at t, and the table of its probabilities as an everywhere smooth function of t.
DISTRIBUTIONS = {
    "bernoulli": (
        lambda t: dist.Bernoulli(logits=t),
        lambda t: jnp.stack([jax.nn.sigmoid(-t), jax.nn.sigmoid(t)]),
    ),
    "binomial": (
        lambda t: dist.Binomial(total_count=3, logits=t),
        lambda t: binomial(jax.nn.sigmoid(t)),
    ),
    "categorical": (
        lambda t: dist.Categorical(logits=t * jnp.array([1.0, 1.0, -1.0], t.dtype)),
        lambda t: jax.nn.softmax(t * jnp.array([1.0, 1.0, -1.0])),
    ),
    "one-hot": (
        lambda t: OneHotCategorical(t * jnp.array([1.0, 1.0, -1.0], t.dtype)),
        lambda t: jax.nn.softmax(t * jnp.array([1.0, 1.0, -1.0])),
    ),
}
PROBS = {
    "bernoulli": (
        lambda p: dist.Bernoulli(probs=p, validate_args=False),
        lambda p: jnp.stack([1 - p, p]),
    ),
    "binomial": (
        lambda p: dist.Binomial(total_count=3, probs=p, validate_args=False),
        binomial,
    ),
    "categorical": (
        lambda p: dist.Categorical(
            probs=jnp.stack([(1 - p) / 2, p, (1 - p) / 2]), validate_args=False
        ),
        lambda p: jnp.stack([(1 - p) / 2, p, (1 - p) / 2]),
    ),
}


def derivatives(g):
    """The value, the slope, and the second slope by two modes."""

    def at(t):
        slope = jax.grad(g)
        both = jax.jvp(slope, (t,), (jnp.ones_like(t),))
        return jnp.stack([g(t), both[0], both[1], jax.grad(slope)(t)])

    return at


def agree(found, exact, dtype):
    scale = 1e-4 if dtype == jnp.float32 else 1e-9
    np.testing.assert_allclose(np.asarray(found, float), exact, rtol=scale, atol=scale)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_sums_over_outcomes_at_logits_of_every_size(name, dtype, key):
    family, table = DISTRIBUTIONS[name]
    mean = lambda t: expectation(f, family(t), estimator=Enumeration(), key=key)
    run = derivatives(mean)
    exact = derivatives(lambda t: table(t) @ VALUES[: len(table(t))])
    ts = jnp.array([0.0, 1.0, -1.0, 100.0, -100.0, 1e4, -1e4])
    agree(jax.jit(jax.vmap(run))(ts.astype(dtype)), jax.jit(jax.vmap(exact))(ts), dtype)
    if dtype == jnp.float32:  # eagerly
        value, slope = jax.value_and_grad(mean)(jnp.zeros((), dtype))
        agree(jnp.stack([value, slope]), jax.jit(exact)(jnp.zeros(()))[:2], dtype)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize("name", PROBS)
def test_sums_over_outcomes_at_probabilities_of_zero_and_one(name, dtype, key):
    family, table = PROBS[name]
    run = derivatives(lambda p: expectation(f, family(p), estimator=Enumeration(), key=key))
    exact = derivatives(lambda p: table(p) @ VALUES[: len(table(p))])
    ps = jnp.array([0.0, 0.3, 1.0])
    agree(jax.jit(jax.vmap(run))(ps.astype(dtype)), jax.jit(jax.vmap(exact))(ps), dtype)


def test_a_thousand_trials_do_not_overflow_at_the_ends(key):
    mean = lambda p: expectation(
        lambda z, q: z.astype(p.dtype),
        dist.Binomial(total_count=1000, probs=p, validate_args=False),
        estimator=Enumeration(),
        key=key,
    )
    value, slope = jax.vmap(jax.value_and_grad(mean))(jnp.array([0.0, 0.25, 1.0], jnp.float32))
    np.testing.assert_allclose(value, [0, 250, 1000], rtol=1e-3)
    np.testing.assert_allclose(slope, [1000, 1000, 1000], rtol=1e-3)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_divergences_at_ties(name, dtype):
    family, table = DISTRIBUTIONS[name]
    at = lambda t: kl_divergence(family(t), family(jnp.asarray(0.5, dtype)))

    def exact(t):
        p = table(t)
        return jnp.sum(p * (jnp.log(p) - jnp.log(table(jnp.asarray(0.5)))))

    ts = jnp.array([0.0, 0.5, -1.0])
    run = jax.jit(jax.vmap(derivatives(at)))
    agree(run(ts.astype(dtype)), jax.jit(jax.vmap(derivatives(exact)))(ts), dtype)
    far = jnp.array([100.0, -100.0, 1e4, -1e4])  # log of all that is left, and a flat place
    found = run(far.astype(dtype))
    assert np.isfinite(found).all()
    assert np.abs(found[:, 1]).max() < 1e-6


@pytest.mark.parametrize("offset", [10, 10.0], ids=["whole numbers", "floats"])
def test_the_slope_at_a_logit_of_zero_by_samples(offset, key):
    def slope(estimator, t):
        loss = lambda t: expectation(
            lambda z, q: 3 * z + offset, dist.Bernoulli(logits=t), estimator=estimator,
            num_samples=20_000, key=key,
        )  # fmt: skip
        return jax.grad(loss)(t)

    for estimator in (
        ScoreFunction(),
        ScoreFunction("leave_one_out"),
        ScoreFunction(11.0),
        rebar(),
    ):
        run = lambda t, estimator=estimator: slope(estimator, t)
        eager = isinstance(estimator, ScoreFunction) and estimator.baseline is None
        for found in [jax.jit(run)(0.0), *([run(0.0)] if eager else [])]:
            assert abs(float(found) - 0.75) < 0.2  # at most 5.8 / sqrt(20,000) is 0.04


def test_the_slope_of_a_divergence_at_a_logit_of_zero():
    kl = lambda t: kl_divergence(dist.Bernoulli(logits=t), dist.Bernoulli(logits=1.0))
    np.testing.assert_allclose(jax.grad(kl)(0.0), -0.25, rtol=1e-6)


# The log-probability at t and its slope, by hand.
POINTS = [
    (lambda t: dist.Bernoulli(logits=t), 0.0, 1, -np.log(2), 0.5),
    (lambda t: dist.Bernoulli(logits=t), 0.0, 0, -np.log(2), -0.5),
    (lambda t: dist.Bernoulli(logits=t), 1e4, 0, -1e4, -1.0),
    (lambda t: dist.Bernoulli(probs=t), 1.0, 1, 0.0, 1.0),
    (lambda t: dist.Bernoulli(probs=t), 0.0, 0, 0.0, -1.0),
    (lambda t: dist.Binomial(3, logits=t), 0.0, 3, -3 * np.log(2), 1.5),
    (lambda t: dist.Binomial(3, logits=t), -1e4, 0, 0.0, 0.0),
    (lambda t: dist.Binomial(3, probs=t), 0.0, 0, 0.0, -3.0),
    (lambda t: dist.Geometric(logits=t), 0.0, 2, -3 * np.log(2), -0.5),
    (lambda t: dist.Geometric(logits=t), 1e4, 0, 0.0, 0.0),
    (lambda t: dist.Geometric(probs=t), 1.0, 0, 0.0, 1.0),
    (lambda t: dist.Poisson(t), 0.0, 0, 0.0, -1.0),
    (lambda t: dist.Multinomial(3, logits=t * jnp.arange(3.0)), 0.0, jnp.array([0, 1, 2]),
     np.log(3 / 27), 2.0),
    (lambda t: dist.Independent(dist.Bernoulli(logits=t * jnp.ones(2)), 1), 0.0,
     jnp.array([1, 1]), -2 * np.log(2), 1.0),
    (lambda t: dist.Bernoulli(logits=t).expand((2,)), 0.0, jnp.array([1, 1]), -2 * np.log(2), 1.0),
    (lambda t: dist.Bernoulli(logits=t).mask(jnp.array(True)), 0.0, 1, -np.log(2), 0.5),
    (lambda t: dist.MixtureSameFamily(
        dist.Categorical(logits=jnp.zeros(2)), dist.Bernoulli(logits=t * jnp.ones(2))
    ), 0.0, 1, -np.log(2), 0.5),
    (lambda t: dist.ZeroInflatedDistribution(dist.Binomial(3, logits=t), gate=0.5), 0.0, 3,
     np.log(1 / 16), 1.5),
]  # fmt: skip


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_log_probabilities_and_slopes(dtype):
    def all_of(families):
        found = []
        for family, t, z, _, _ in families:
            both = jax.value_and_grad(
                lambda t, distribution=family, z=z: log_prob(distribution(t), jnp.asarray(z))
            )
            found.append(jnp.stack(both(jnp.asarray(t, dtype))))
        return jnp.stack(found)

    exact = np.array([point[3:] for point in POINTS])
    rtol = 1e-5 if dtype == jnp.float32 else 1e-10
    with validation_enabled(False):  # ends are parameters too
        compiled = jax.jit(lambda: all_of(POINTS))()
        np.testing.assert_allclose(compiled, exact, rtol=rtol, atol=rtol)
        if dtype == jnp.float32:
            np.testing.assert_allclose(all_of(POINTS), exact, rtol=rtol, atol=rtol)
