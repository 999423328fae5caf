"""MuProp and DARN, against enumeration and sums by hand."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro.distributions as dist
import pytest
from discrete_problems import BINARY, ONE_HOT, PROBLEMS, exact_gradient

from pullback.sampling import (
    DARN,
    MuProp,
    OneHotCategorical,
    Replicated,
    ScoreFunction,
    expectation,
    grad_stats,
    value_and_grad,
)

ESTIMATORS = {"muprop": MuProp(), "baseline": MuProp(0.4), "darn": DARN()}


def measured(problem, estimators, key, n):
    """Moments of the gradients of all estimators, in one program."""
    f, family, logits = problem

    def loss(all_logits, *, key):
        losses = [
            expectation(f, family(all_logits[name]), estimator=estimator, key=key)
            for name, estimator in estimators.items()
        ]
        return sum(losses, jnp.zeros(()))

    start = dict.fromkeys(estimators, logits)
    return grad_stats(loss, start, jr.split(key, n), batch_size=10_000)


@pytest.mark.parametrize("name", PROBLEMS)
def test_the_mean_gradient_is_the_exact_one(name, key):
    """The integrands are quadratic in each binary variable, and linear in each one-hot one."""
    truth = exact_gradient(*PROBLEMS[name])
    found = measured(PROBLEMS[name], ESTIMATORS, key, 40_000)
    for estimator, mean in found.mean.items():
        z = (mean - truth) / found.standard_error[estimator]
        assert bool(jnp.all(jnp.abs(z) < 4)), (estimator, z)


def test_of_a_fourth_power_darn_is_off_by_two_and_muprop_is_not(key):
    """4 z^3 (z - 1/2) over the slope of the probability is 2 at a one, and 0 at a zero."""
    problem = lambda b, q: jnp.sum(b**4), dist.BernoulliLogits, BINARY
    found = measured(problem, {"muprop": MuProp(), "darn": DARN()}, key, 40_000)
    slope = jax.nn.sigmoid(BINARY) * jax.nn.sigmoid(-BINARY)
    for name, factor in (("muprop", 1), ("darn", 2)):
        gap = found.mean[name] - factor * slope
        assert bool(jnp.all(jnp.abs(gap) < 4 * found.standard_error[name]))
    assert bool(jnp.all(slope > 20 * found.standard_error["darn"]))


@pytest.mark.parametrize("family", [dist.BernoulliLogits, OneHotCategorical])
def test_of_a_line_muprop_has_no_noise(family, key):
    weight = jr.normal(key, (2, 3))
    mean = jax.nn.softmax if family is OneHotCategorical else jax.nn.sigmoid

    def loss(logits):
        f = lambda z, q: jnp.sum(weight * z) + 2
        return expectation(f, family(logits), estimator=MuProp(), key=key)

    expected = jax.grad(lambda logits: jnp.sum(weight * mean(logits)))(ONE_HOT)
    np.testing.assert_allclose(eqx.filter_jit(jax.grad(loss))(ONE_HOT), expected, rtol=1e-9)
    np.testing.assert_allclose(jax.grad(loss)(ONE_HOT), expected, rtol=1e-9)


def test_of_a_bent_line_muprop_is_less_noisy_than_the_score(key):
    def bent(b, q):
        b = b.astype(float)
        return jnp.sum((b - 0.3) ** 2 + 2 * b) + b[0] * b[2]

    problem = bent, *PROBLEMS["binary"][1:]
    found = measured(problem, ESTIMATORS | {"score": ScoreFunction()}, key, 4000)
    noise = {name: float(jnp.sum(variance)) for name, variance in found.variance.items()}
    assert 3 * noise["muprop"] < noise["score"]
    assert noise["baseline"] < noise["muprop"]  # what is left is positive


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_learned_baseline_moves_to_what_the_line_leaves(sign, key):
    left = lambda z, p: jnp.exp(z) - jnp.exp(p) - jnp.exp(p) * (z - p)
    estimator = MuProp(jnp.array(0.7))

    def loss(estimator, key):
        f = lambda z, q: jnp.exp(z)
        q = dist.BernoulliLogits(jnp.array(0.4))
        return sign * expectation(f, q, estimator=estimator, num_samples=3, key=key)

    found = jax.vmap(eqx.filter_grad(loss), in_axes=(None, 0))(estimator, jr.split(key, 4000))
    p = jax.nn.sigmoid(0.4)
    mean = p * left(1.0, p) + (1 - p) * left(0.0, p)
    gap = found.baseline - (0.7 - mean)
    assert abs(float(jnp.mean(gap))) < 4 * float(jnp.std(gap)) / 4000**0.5
    assert float(jnp.std(gap)) < 1


@pytest.mark.parametrize("estimator", [MuProp(), DARN()])
def test_what_the_integrand_closes_over_has_the_gradient_at_the_sample(estimator, key):
    """And nothing of the slopes; the value is that of the sample."""
    family = lambda logits: Replicated(OneHotCategorical(logits), 2)

    def loss(weight, estimator):
        f = lambda z, q: jnp.sum(jnp.sin(weight * z))
        return expectation(
            f, family(ONE_HOT), estimator=estimator, num_samples=4, batch_size=2, key=key
        )

    value, slope = eqx.filter_jit(jax.value_and_grad(loss))(jnp.array(0.6), estimator)
    np.testing.assert_allclose(value, 4 * np.sin(0.6), rtol=1e-9)
    np.testing.assert_allclose(slope, 4 * np.cos(0.6), rtol=1e-9)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("family", [dist.BernoulliLogits, OneHotCategorical])
def test_nothing_is_nan_at_the_extremes(dtype, family, key):
    logits = jnp.array([[1e4, -1e4, 0.0], [-1e4, -1e4, 1e4]], dtype)
    f = lambda z, q: jnp.sum((z - jnp.asarray(0.25, dtype)) ** 2)
    for estimator in (MuProp(), DARN()):
        run = value_and_grad(f, family, estimator=estimator, num_samples=5)
        found = eqx.filter_jit(run)(logits, key=key)
        assert (found.value.dtype, found.params.dtype) == (dtype, dtype)
        assert bool(jnp.isfinite(found.value) & jnp.all(jnp.isfinite(found.params)))


@pytest.mark.parametrize("estimator", [MuProp(), DARN()])
def test_other_distributions_are_refused(estimator, key):
    with pytest.raises(ValueError, match=r"`estimator` (MuProp|DARN) is for"):
        expectation(lambda z, q: z, dist.Normal(0.0, 1.0), estimator=estimator, key=key)
