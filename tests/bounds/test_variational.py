"""Bounds on the evidence where it is known, with every estimator; invalid pairs are refused."""

from typing import Any, cast

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jaxtyping
import numpy as np
import numpyro.distributions as dist
import pytest
from conjugate import D, X, exact_posterior, log_evidence, model, proposal

from pullback.bounds import (
    ELBO,
    AbstractBound,
    ImportanceWeighted,
    LatentModel,
    kl_divergence,
)
from pullback.sampling import (
    AbstractEstimator,
    DoublyReparameterised,
    Enumeration,
    PathDerivative,
    Reparameterised,
    ScoreFunction,
    grad_stats,
)

pytestmark = pytest.mark.usefixtures("promotion")

N = 40_000


class Loss(eqx.Module):
    """A bound as a function of the posterior's mean, its log standard deviation, and theta."""

    bound: AbstractBound
    estimator: AbstractEstimator
    num_samples: int = 1

    def __call__(self, params, *, key):
        mean, log_std, theta = params
        q = dist.Normal(mean, jnp.exp(log_std)).to_event(1)
        return self.bound(
            model(theta), q, estimator=self.estimator, num_samples=self.num_samples, key=key
        )


PARAMS = (X / 2 + 0.3, jnp.full(D, -0.2), jnp.array(0.4))


def closed_form(params):
    """log p(x) less the divergence from the exact posterior."""
    mean, log_std, theta = params
    q = dist.Normal(mean, jnp.exp(log_std))
    posterior = dist.Normal((X + theta) / 2, jnp.sqrt(0.5))
    return log_evidence(theta) - jnp.sum(dist.kl_divergence(q, posterior))


@pytest.mark.parametrize(
    ("kl", "estimator"),
    [
        ("sampled", Reparameterised()),
        ("sampled", PathDerivative()),
        ("sampled", ScoreFunction("leave_one_out")),
        ("analytic", Reparameterised()),
        ("analytic", ScoreFunction("leave_one_out")),
    ],
)
def test_the_elbo_and_its_gradient_have_their_closed_forms(kl, estimator, key):
    loss = Loss(ELBO(kl), estimator, num_samples=2)
    found = grad_stats(loss, PARAMS, jr.split(key, N), batch_size=20_000)
    value, exact = jax.jit(jax.value_and_grad(closed_form))(PARAMS)
    for mean, error, truth in zip(found.mean, found.standard_error, exact, strict=True):
        assert np.all(np.abs(mean - truth) < 4 * error + 1e-12)
    assert abs(found.value - value) < 0.05


@pytest.mark.parametrize("bound", [ELBO(), ImportanceWeighted(7)])
def test_at_the_exact_posterior_every_draw_is_the_evidence(bound, key):
    draw = lambda k: bound(model(0.4), exact_posterior(0.4), key=k)
    draws = jax.jit(jax.vmap(draw))(jr.split(key, 50))
    np.testing.assert_allclose(draws, log_evidence(0.4), rtol=1e-12)


def test_the_bias_of_the_weighted_bound(key):
    # Luo et al.'s sheet: -0.310, -0.040 and -0.016 at k = 1, 6 and 15.
    def values(k, number):
        draw = lambda key: ImportanceWeighted(k)(model(), proposal(0.2), key=key)
        return jax.jit(jax.vmap(draw))(jr.split(key, number))

    for k, bias in {1: -0.310, 6: -0.040, 15: -0.016}.items():
        draws = values(k, N)
        error = np.std(draws) / np.sqrt(N)
        assert abs(np.mean(draws) - log_evidence() - bias) < 4 * error + 5e-4
    # Var(w / p(x)) / 2k for large k, with the variance in closed form: the weights' ratio is
    # log-quadratic in each dimension.
    posterior, q = exact_posterior(), proposal(0.2)
    grid = jnp.linspace(-10, 10, 20_001)
    one = lambda p, d: dist.Normal(p.base_dist.loc[d], p.base_dist.scale[d]).log_prob(grid)
    second = jnp.trapezoid(jnp.exp(2 * one(posterior, 0) - one(q, 0)), grid) ** D
    draws = values(50, N // 4)
    error = np.std(draws) / np.sqrt(N // 4)
    assert abs(np.mean(draws) - log_evidence() + (second - 1) / 100) < 0.1 * 0.005 + 4 * error


def test_model_parameters_have_the_same_gradient_by_both_estimators_of_a_weighted_bound(key):
    for estimator in (Reparameterised(), DoublyReparameterised()):
        loss = Loss(ImportanceWeighted(4), estimator)
        both = jax.jit(jax.value_and_grad(lambda t, loss=loss: loss((*PARAMS[:2], t), key=key)))
        step = 1e-6
        moved = [both(PARAMS[2] + s)[0] for s in (step, -step)]
        slope = both(PARAMS[2])[1]
        np.testing.assert_allclose(slope, (moved[0] - moved[1]) / (2 * step), rtol=1e-6)


def test_a_discrete_posterior(key):
    # Three coins as latent variables: the sum over all outcomes by hand.
    table = jnp.asarray(np.random.default_rng(0).normal(size=8))
    likelihood = lambda z: table[(z @ jnp.array([4, 2, 1])).astype(int)]
    logits = jnp.array([[0.1, -0.4, 0.8], [1.0, 0.3, -0.5]])
    prior, posterior = (dist.Bernoulli(logits=row) for row in logits)
    p, q = np.asarray(jax.nn.sigmoid(logits))
    exact = 0.0
    for number in range(8):
        z = np.array([number >> 2 & 1, number >> 1 & 1, number & 1])
        share = lambda p, z=z: np.prod(np.where(z, p, 1 - p))
        exact += share(q) * (table[number] + np.log(share(p)) - np.log(share(q)))
    for kl in ("sampled", "analytic"):
        found = ELBO(kl)(
            LatentModel(likelihood, prior), posterior, estimator=Enumeration(), key=key
        )
        np.testing.assert_allclose(found, exact, rtol=1e-7)


def test_divergences_of_discrete_distributions():
    q, p = (dist.Categorical(probs=jnp.array(row)) for row in ([0.2, 0.8], [0.5, 0.5]))
    expected = 0.2 * np.log(0.4) + 0.8 * np.log(1.6)
    np.testing.assert_allclose(kl_divergence(q, p), expected, rtol=1e-7)
    logits = jnp.array([[0.3, -1.0], [0.5, 0.2]])
    rows = [dist.Bernoulli(logits=row) for row in logits]
    events = [row.to_event(1) for row in rows]
    np.testing.assert_allclose(kl_divergence(*events), kl_divergence(*rows), rtol=1e-12)
    # A state without probability: 0 log 0.
    sure = dist.Categorical(logits=jnp.array([0.0, -800.0]))
    np.testing.assert_allclose(kl_divergence(sure, p), np.log(2), rtol=1e-7)
    fair = dist.Bernoulli(logits=0.0)
    slope = jax.jit(jax.grad(lambda logit: kl_divergence(dist.Bernoulli(logits=logit), fair)))
    for logit in (-800.0, 0.3, 800.0):
        share = jax.nn.sigmoid(logit)
        np.testing.assert_allclose(slope(logit), share * (1 - share) * logit, atol=1e-12)


NORMAL, WIDE = dist.Normal(0.0, 1.0), dist.StudentT(3.0)
FLAT = LatentModel(lambda z: jnp.zeros(()), NORMAL)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda key: ELBO(cast(Any, "exact")),
            '`kl` must be "sampled", "analytic" or "known", got \'exact\'',
        ),
        (lambda key: ImportanceWeighted(0), "`samples` must be 1 or more, got 0"),
        (
            lambda key: ELBO("analytic")(FLAT, NORMAL, estimator=PathDerivative(), key=key),
            "leaves out the score of a sampled log q",
        ),
        (
            lambda key: ELBO()(FLAT, NORMAL, estimator=DoublyReparameterised(), key=key),
            "is for importance-weighted bounds, not an ELBO",
        ),
        (
            lambda key: ImportanceWeighted(2)(FLAT, NORMAL, estimator=PathDerivative(), key=key),
            "is biased on an importance-weighted bound.*DoublyReparameterised",
        ),
        (
            lambda key: ELBO("analytic")(lambda z: -(z**2), NORMAL, key=key),
            "`log_joint` must be a `LatentModel`",
        ),
        (
            lambda key: ELBO("analytic")(FLAT, WIDE, key=key),
            r"no closed form for KL\(StudentT \|\| Normal\)",
        ),
        (
            lambda key: ELBO()(lambda z: 0.0 * z, dist.Bernoulli(logits=0.0), key=key),
            "needs samples that gradients flow through",
        ),
        (
            lambda key: ELBO()(FLAT, dist.Bernoulli(logits=0.0), key=key),
            "support must lie in the prior's",
        ),
    ],
)
def test_invalid_pairs_are_refused(call, message, key, monkeypatch):
    # As a user has it, without the type checks of the tests.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ValueError, match=message):
        call(key)
