"""Renyi bounds against divergences of normals in closed form, and k samples by quadrature."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro.distributions as dist
import pytest
from conjugate import exact_posterior, log_evidence, model, proposal

from pullback.bounds import ELBO, ImportanceWeighted, LatentModel, Renyi
from pullback.sampling import (
    DoublyReparameterised,
    LogMeanExp,
    PathDerivative,
    Reparameterised,
    ScoreFunction,
)

pytestmark = pytest.mark.usefixtures("promotion")

X, PARAMS = 1.3, np.array([0.4, -0.3, 0.2])
ORDERS = (-1.5, 0.0, 0.5, 1.0, 2.0)


def of_one(bound, params, estimator, key, num_samples=1):
    """z ~ N(theta, 1), x | z ~ N(z, 1), of which the evidence is N(theta, 2)."""
    mean, log_std, theta = params
    target = LatentModel(
        lambda z: dist.Normal(z, 1.0).log_prob(X), dist.Normal(theta, jnp.ones_like(theta))
    )
    q = dist.Normal(mean, jnp.exp(log_std))
    return bound(target, q, estimator=estimator, num_samples=num_samples, key=key)


def normal(x, mean, std):
    return -0.5 * ((x - mean) / std) ** 2 - np.log(std) - 0.5 * np.log(2 * np.pi)


def pairs(alpha, params, points=80):
    """The expected estimate of two samples, by Gauss and Hermite in both of them."""
    mean, log_std, theta = params
    nodes, shares = np.polynomial.hermite_e.hermegauss(points)
    shares = shares / shares.sum()
    z = mean + np.exp(log_std) * nodes
    log_w = normal(z, theta, 1.0) + normal(X, z, 1.0) - normal(z, mean, np.exp(log_std))
    one, other = log_w[:, None], log_w[None]
    if alpha == 1:
        values = (one + other) / 2
    elif alpha == -math.inf:
        values = np.maximum(one, other)
    else:
        power = 1 - alpha
        values = (np.logaddexp(power * one, power * other) - np.log(2)) / power
    return shares @ values @ shares


def slopes(alpha, params, step=1e-5):
    moves = step * np.eye(3)
    return np.array([(pairs(alpha, params + m) - pairs(alpha, params - m)) / (2 * step)
                     for m in moves])  # fmt: skip


@eqx.filter_jit
def draws(bound, estimator, params, keys):
    one = lambda key: jax.value_and_grad(lambda p: of_one(bound, p, estimator, key))(params)
    return jax.vmap(one)(keys)


@pytest.mark.parametrize("alpha", ORDERS)
@pytest.mark.parametrize(
    "estimator", [Reparameterised(), DoublyReparameterised(), ScoreFunction(-2.5)]
)
def test_value_and_gradient_are_those_of_the_estimate_of_two_samples(alpha, estimator, key):
    if alpha == 1 and isinstance(estimator, DoublyReparameterised):
        estimator = PathDerivative()
    found = draws(Renyi(alpha, 2), estimator, jnp.asarray(PARAMS), jr.split(key, 20_000))
    for got, exact in zip(found, (pairs(alpha, PARAMS), slopes(alpha, PARAMS)), strict=True):
        got = np.asarray(got)
        error = got.std(axis=0) / len(got) ** 0.5
        assert np.all(np.abs(got.mean(axis=0) - exact) < 4 * error), (got.mean(axis=0), exact)


def renyi_divergence(alpha, q, p):
    """Of two normals (mean, deviation); van Erven and Harremoes, arXiv 1206.2459, equation 10."""
    var = (1 - alpha) * q[1] ** 2 + alpha * p[1] ** 2
    logs = np.log(np.sqrt(var) / (q[1] ** (1 - alpha) * p[1] ** alpha))
    return alpha * (q[0] - p[0]) ** 2 / (2 * var) + logs / (1 - alpha)


@pytest.mark.parametrize("alpha", [-0.5, 0.5, 2.0])
def test_many_samples_give_the_divergence_in_closed_form(alpha, key):
    params, k = jnp.array([0.4, math.log(0.8), 0.2]), 100_000
    exact = normal(X, 0.2, 2**0.5) - renyi_divergence(alpha, (0.4, 0.8), ((X + 0.2) / 2, 0.5**0.5))
    run = jax.jit(lambda keys: jax.lax.map(
        lambda k_: of_one(Renyi(alpha, k), params, Reparameterised(), k_), keys))  # fmt: skip
    found = np.asarray(run(jr.split(key, 8)))
    assert abs(found.mean() - exact) < 4 * found.std() / 8**0.5 + 1e-4


def test_at_the_exact_posterior_every_order_is_the_evidence(key):
    for alpha in (-math.inf, *ORDERS):
        found = Renyi(alpha, 7)(model(0.4), exact_posterior(0.4), key=key)
        np.testing.assert_allclose(found, log_evidence(0.4), rtol=1e-12)


def test_order_zero_is_the_weighted_bound_and_order_one_the_elbo(key):
    run = lambda bound, **more: bound(model(), proposal(0.2), key=key, **more)
    assert run(Renyi(0.0, 7), num_samples=3) == run(ImportanceWeighted(7), num_samples=3)
    assert run(Renyi(1.0, 7), num_samples=3) == run(ELBO(), num_samples=21)
    one = run(ELBO())
    for alpha in (-math.inf, -2.0, 0.3, 3.0):  # of one sample there is nothing to average
        np.testing.assert_allclose(run(Renyi(alpha, 1)), one, rtol=1e-6)


def test_the_estimate_falls_with_the_order_and_does_not_lose_digits_near_one():
    log_w = jnp.array([-3.0, -1.2, -1.1, -4.0], jnp.float32)
    value = lambda alpha: LogMeanExp(lambda z, q: z, 1 - alpha).of(log_w)
    found = [float(value(a)) for a in (-math.inf, -50.0, -1.0, 0.0, 0.9, 1 - 1e-6, 1 + 1e-6, 60.0)]
    assert found == sorted(found, reverse=True)
    assert found[0] == np.float32(-1.1)
    np.testing.assert_allclose(found[5:7], np.mean([-3.0, -1.2, -1.1, -4.0]), rtol=2e-6)
    assert abs(found[-1] - (-4.0 - math.log(4) / -59)) < 1e-5
    slope = jax.grad(lambda w: LogMeanExp(lambda z, q: z, 1e-6).of(w))(log_w)
    np.testing.assert_allclose(slope, np.full(4, 0.25), rtol=1e-5)
    impossible = jnp.array([-jnp.inf, -jnp.inf])
    assert LogMeanExp(lambda z, q: z, 0.5).of(impossible) == -jnp.inf
    np.testing.assert_allclose(
        LogMeanExp(lambda z, q: z, 0.5).of(jnp.array([-jnp.inf, 0.0])), 2 * math.log(0.5)
    )


def test_a_discrete_posterior_by_its_score(key):
    def value(logit, key):
        prior, q = dist.Bernoulli(probs=0.4), dist.Bernoulli(logits=logit)
        target = LatentModel(lambda z: jnp.where(z == 1, -0.3, -1.2), prior)
        return Renyi(0.5, 2)(target, q, estimator=ScoreFunction(), key=key)

    def exact(logit):
        q = np.array([1 - 1 / (1 + np.exp(-logit)), 1 / (1 + np.exp(-logit))])
        w = np.array([0.6, 0.4]) * np.exp([-1.2, -0.3]) / q
        table = 2 * np.log((np.sqrt(w)[:, None] + np.sqrt(w)) / 2)
        return q @ table @ q

    found = jax.jit(jax.vmap(jax.value_and_grad(value), (None, 0)))(0.7, jr.split(key, 20_000))
    wanted = exact(0.7), (exact(0.7 + 1e-5) - exact(0.7 - 1e-5)) / 2e-5
    for got, truth in zip(found, wanted, strict=True):
        assert abs(got.mean() - truth) < 4 * got.std() / len(got) ** 0.5


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda key: Renyi(math.inf, 2), "`alpha` must be a number or minus infinity, got inf"),
        (lambda key: Renyi(math.nan, 2), "got nan"),
        (lambda key: Renyi(0.5, 0), "`samples` must be 1 or more, got 0"),
        (lambda key: LogMeanExp(lambda z, q: z, 0.0), "`power` must be above .* not 0, got 0"),
        (
            lambda key: of_one(Renyi(0.5, 2), jnp.asarray(PARAMS), PathDerivative(), key),
            "biased on an importance-weighted bound",
        ),
        (
            lambda key: of_one(
                Renyi(-math.inf, 2), jnp.asarray(PARAMS), DoublyReparameterised(), key
            ),
            "no gradient of the largest weight alone",
        ),
    ],
)
def test_what_cannot_be_is_refused(call, message, key):
    with pytest.raises(ValueError, match=message):
        call(key)


def test_the_largest_weight_alone_has_a_gradient(key):
    found = draws(
        Renyi(-math.inf, 2), Reparameterised(), jnp.asarray(PARAMS), jr.split(key, 20_000)
    )
    for got, exact in zip(found, (pairs(-math.inf, PARAMS), slopes(-math.inf, PARAMS)),
                          strict=True):  # fmt: skip
        got = np.asarray(got)
        error = got.std(axis=0) / len(got) ** 0.5
        assert np.all(np.abs(got.mean(axis=0) - exact) < 4 * error + 2e-3), (got.mean(0), exact)
