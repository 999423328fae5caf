"""Posteriors with the support of their priors, against evidence in closed form."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro.distributions as dist
import optax
import pytest
from scipy.stats import betabinom, lognorm, nbinom

from pullback.bounds import (
    ELBO,
    AuxiliaryFlow,
    CouplingFlow,
    DiagonalNormal,
    ImportanceWeighted,
    LatentModel,
    SupportFamily,
)
from pullback.sampling import PathDerivative

pytestmark = pytest.mark.usefixtures("promotion")


def gamma_poisson():
    prior = dist.Gamma(jnp.full(1, 2.0), 0.5).to_event(1)
    model = LatentModel(lambda z: jnp.sum(dist.Poisson(z).log_prob(6)), prior)
    return model, 1, nbinom.logpmf(6, 2, 0.5 / 1.5)


def exponential_poisson():
    prior = dist.Exponential(jnp.ones(1)).to_event(1)
    model = LatentModel(lambda z: jnp.sum(dist.Poisson(z).log_prob(3)), prior)
    return model, 1, np.log(2.0) * -4


def beta_binomial():
    prior = dist.Beta(jnp.full(1, 2.0), 3.0).to_event(1)
    model = LatentModel(lambda z: jnp.sum(dist.Binomial(9, z).log_prob(4)), prior)
    return model, 1, betabinom.logpmf(4, 9, 2, 3)


def dirichlet_multinomial():
    a, x = jnp.array([1.0, 2.0, 3.0]), jnp.array([4.0, 1.0, 2.0])
    model = LatentModel(lambda z: dist.Multinomial(7, z).log_prob(x), dist.Dirichlet(a))
    return model, 2, float(dist.DirichletMultinomial(a, 7).log_prob(x))


CASES = [gamma_poisson, exponential_poisson, beta_binomial, dirichlet_multinomial]


@pytest.mark.parametrize("case", CASES)
def test_the_bound_comes_near_the_evidence_and_weights_close_the_gap(case, key):
    model, size, evidence = case()
    family = SupportFamily(DiagonalNormal(size), model.prior)

    def loss(params, key):
        return -ELBO()(model, family(params), estimator=PathDerivative(), num_samples=8, key=key)

    adam = optax.adam(0.05)

    @jax.jit
    def train(params):
        def step(carry, key):
            params, opt = carry
            updates, opt = adam.update(jax.grad(loss)(params, key), opt)
            return (optax.apply_updates(params, updates), opt), None

        return jax.lax.scan(step, (params, adam.init(params)), jr.split(key, 300))[0][0]

    params = train(jnp.zeros(family.shape))
    bound = -jax.jit(jax.vmap(loss, (None, 0)))(params, jr.split(key, 500))
    assert evidence - 0.08 < np.mean(bound) < evidence + 4 * np.std(bound) / 500**0.5
    weighted = jax.jit(lambda p: ImportanceWeighted(5000)(model, family(p), key=key))(params)
    np.testing.assert_allclose(weighted, evidence, atol=0.02)
    np.testing.assert_allclose(ImportanceWeighted(5000)(model, family(params), key=key), weighted)


def test_densities_and_draws_are_those_of_the_mapped_distribution(key):
    mean, log_std = jnp.array([0.3, -1.0]), jnp.array([-0.5, 0.2])
    q = SupportFamily(DiagonalNormal(2), "positive")(jnp.concatenate([mean, log_std]))
    z = q.sample(key, (4, 3))
    scale, shape = np.exp(np.asarray(mean)), np.exp(np.asarray(log_std))
    want = lognorm.logpdf(np.asarray(z), shape, scale=scale).sum(-1)
    np.testing.assert_allclose(q.log_prob(z), want, rtol=1e-9)
    onto_line = DiagonalNormal(2)(jnp.concatenate([mean, log_std])).sample(key, (4, 3))
    np.testing.assert_allclose(jnp.log(z), onto_line)
    assert q.log_prob(jnp.array([1.0, -1.0])) == -np.inf
    shares = SupportFamily(CouplingFlow(2, width=4, key=key), dist.Dirichlet(jnp.ones(3)))
    q = shares(jnp.array([0.3, -1.0, -0.5, 0.2]))
    assert q.event_shape == (3,)
    side = jnp.linspace(0, 1, 402)[1:-1]
    a, b = (x.ravel() for x in jnp.meshgrid(side, side))
    points = jnp.stack([a, b, 1 - a - b], axis=1)[a + b < 1]
    mass = jnp.sum(jnp.exp(eqx.filter_jit(q.log_prob)(points))) * (side[1] - side[0]) ** 2
    np.testing.assert_allclose(mass, 1, atol=1e-2)


@pytest.mark.parametrize("compiled", [False, True])
def test_the_pair_is_accepted_and_another_is_refused(compiled, key):
    of = jax.jit if compiled else lambda f: f
    model, _, _ = exponential_poisson()
    matched, plain = SupportFamily(DiagonalNormal(1), model.prior), DiagonalNormal(1)
    bound = lambda family: of(lambda k: ELBO()(model, family(jnp.zeros(2)), key=k))(key)
    assert np.isfinite(bound(matched))
    with pytest.raises(ValueError, match="the posterior's support must lie in the prior's"):
        bound(plain)
    shares = SupportFamily(DiagonalNormal(2), "simplex", size=3)
    with pytest.raises(ValueError, match="the posterior's support must lie in the prior's"):
        bound(lambda params: shares(jnp.zeros(4)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SupportFamily(DiagonalNormal(3), dist.Dirichlet(jnp.ones(3))),
         "of vectors of 2 entries for 3"),
        (lambda: SupportFamily(DiagonalNormal(1), dist.Poisson(jnp.ones(1))), "got whole numbers"),
        (lambda: SupportFamily(AuxiliaryFlow(1, key=jr.key(0)), "positive"), "of z alone"),
        (lambda: SupportFamily(DiagonalNormal((2, 2)), "positive"), "must be of vectors"),
        (lambda: SupportFamily(DiagonalNormal(1), "positve"), "a name of"),
    ],
)  # fmt: skip
def test_families_that_do_not_fit(make, message):
    with pytest.raises(ValueError, match=message):
        make()
