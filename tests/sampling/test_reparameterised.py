"""Whether gradients flow through a sample: asked of the sampler, and not of its dtype or claims."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro.distributions as dist
import optax
import pytest

from pullback import models
from pullback.bounds import ELBO, AbstractFamily, ImportanceWeighted
from pullback.sampling import (
    DoublyReparameterised,
    FixedDistribution,
    GumbelSoftmax,
    Lax,
    NeuralControlVariate,
    OneHotCategorical,
    PathDerivative,
    Relax,
    RelaxedOneHotCategorical,
    Reparameterised,
    Replicated,
    ScoreFunction,
    StandardNormal,
    expectation,
)
from pullback.sampling._distribution import is_reparameterised
from pullback.train import fit


class Coins(eqx.Module):
    """Discrete, with samples that are floats."""

    logits: jax.Array

    def sample(self, key, sample_shape=()):
        shape = (*sample_shape, *self.logits.shape)
        return (jr.uniform(key, shape) < jax.nn.sigmoid(self.logits)).astype(self.logits.dtype)

    def log_prob(self, z):
        return jnp.sum(z * self.logits - jax.nn.softplus(self.logits))


class Mixed(Coins):
    """Two columns: the coin, and a normal that has the same parameter as its mean."""

    def sample(self, key, shape=()):
        coin = super().sample(key, shape)
        return jnp.stack([coin, self.logits + jr.normal(jr.fold_in(key, 1), coin.shape)], axis=-1)


class Liars(Coins):
    has_rsample = True


class CoinAndNormal(Coins):
    def sample(self, key, sample_shape=()):
        noise = jr.normal(key, (*sample_shape, *self.logits.shape))
        return super().sample(key, sample_shape), self.logits + noise


LOGITS = jnp.array([-0.5, 0.2, 1.0])
CONTROL = NeuralControlVariate(eqx.nn.MLP(3, "scalar", 4, 1, jnp.tanh, key=jr.key(0)))
ESTIMATORS = [
    Reparameterised(), PathDerivative(), Lax(CONTROL), Relax(CONTROL), GumbelSoftmax(0.5),
]  # fmt: skip


def loss(logits, distribution, estimator, key, num_samples=1):
    f = lambda z, q: jnp.sum(z * jnp.array([0.1, 0.2, 0.3]))
    q = distribution(logits)
    return expectation(f, q, estimator=estimator, num_samples=num_samples, key=key)


@pytest.mark.parametrize("distribution", [Coins, Liars, CoinAndNormal])
@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda e: type(e).__name__)
def test_discrete_samples_that_are_floats_are_refused(distribution, compiled, estimator, key):
    """The gradient would be zero without a word; no estimator names another that refuses it."""
    grad = eqx.filter_grad(loss)
    grad = eqx.filter_jit(grad) if compiled else grad
    with pytest.raises(ValueError, match="take `ScoreFunction`"):
        grad(LOGITS, distribution, estimator, key)


class CoinsOfExamples(AbstractFamily):
    shape: tuple = eqx.field(static=True)

    def __call__(self, params):
        return Coins(params)

    def augment(self, model, params):
        return model


def test_a_vae_of_such_samples_is_refused_and_its_encoder_has_the_gradient_of_what_is_named(key):
    """By the sum over both outcomes of each of two latents."""
    vae = models.vae
    made = vae.mlp_vae(3, latent=1, width=3, likelihood=vae.Bernoulli(), key=jr.key(0))
    prior = FixedDistribution(dist.Bernoulli(logits=jnp.zeros(2)).to_event(1))
    decoder = models.vae.mlp_vae(3, latent=2, width=3, likelihood=vae.Bernoulli(), key=jr.key(1))
    model = eqx.tree_at(
        lambda v: (v.family, v.prior, v.decoder),
        made,
        (CoinsOfExamples((2,)), prior, decoder.decoder),
    )
    x = jnp.array([[0.0, 1.0, 1.0]])
    refused = "estimator. Reparameterised needs samples.*Coins.*take `ScoreFunction`"
    options = {"optimiser": optax.sgd(0.1), "steps": 1, "batch_size": 1, "key": key}
    for run in (
        lambda: vae.BoundLoss(ELBO())(model, x, key=key),
        lambda: eqx.filter_jit(vae.BoundLoss(ELBO()))(model, x, key=key),
        lambda: fit(model, vae.BoundLoss(ELBO()), x, **options),
    ):
        with pytest.raises(ValueError, match=refused):
            run()

    def by_sum(params):
        states = jnp.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
        q = Coins(params)
        log_q = jnp.stack([q.log_prob(z) for z in states])
        log_p = jnp.stack([model.model(x[0])(z) for z in states])
        return jnp.sum(jnp.exp(log_q) * (log_p - log_q))

    def by_draws(params, key):
        bound = ELBO()
        return bound(
            model.model(x[0]), Coins(params), estimator=ScoreFunction("leave_one_out"),
            num_samples=2, key=key,
        )  # fmt: skip

    with jax.numpy_dtype_promotion("standard"):
        params = model.encoder(x[0])
        exact = jax.grad(by_sum)(params)
        each = jax.jit(jax.vmap(jax.grad(by_draws), (None, 0)))(params, jr.split(key, 20_000))
    error = each.std(axis=0) / len(each) ** 0.5
    assert float(jnp.linalg.norm(exact)) > 0.01
    assert np.all(np.abs(each.mean(axis=0) - exact) < 4 * error)


def test_the_estimator_that_is_named_has_the_gradient(key):
    """.1 p (1 - p) and so on, of the mean of 20,000."""
    grad, estimator = eqx.filter_jit(jax.grad(loss)), ScoreFunction("leave_one_out")
    found = grad(LOGITS, Coins, estimator, key, 20_000)
    p = jax.nn.sigmoid(LOGITS)
    exact = jnp.array([0.1, 0.2, 0.3]) * p * (1 - p)
    np.testing.assert_allclose(found, exact, atol=6e-3)


class Shifted(eqx.Module):
    """Reparameterised, and says nothing of it; one of its arrays only the density reads."""

    loc: jax.Array
    weight: jax.Array

    def sample(self, key, sample_shape=()):
        held = jax.lax.stop_gradient(self.loc)
        return self.loc + held**2 * jr.normal(key, (*sample_shape, *self.loc.shape))

    def log_prob(self, z):
        return jnp.sum(self.weight * dist.Normal(self.loc, 1.0).log_prob(z))


@pytest.mark.parametrize("q", [
    dist.Normal(LOGITS, 1.0), dist.Gamma(jnp.ones(2), 2.0), dist.Laplace(0.0, jnp.ones(2)),
    dist.Dirichlet(jnp.ones(3)), dist.Uniform(jnp.zeros(2), 1.0), dist.StudentT(3.0),
    dist.LogNormal(LOGITS, 1.0), dist.Beta(1.0, 2.0), dist.AsymmetricLaplace(),
    dist.TruncatedNormal(LOGITS, low=-1.0), dist.Normal(LOGITS, 1.0).to_event(1),
    RelaxedOneHotCategorical(0.5, LOGITS), Replicated(dist.Normal(LOGITS, 1.0), 3),
    StandardNormal(2), Shifted(LOGITS, jnp.ones(())),
    models.flows.residual_flow(2, blocks=1, width=4, key=jr.key(0)),
], ids=lambda q: type(q).__name__)  # fmt: skip
def test_distributions_that_are_reparameterised(q):
    assert is_reparameterised(q)
    assert eqx.filter_jit(lambda q: jnp.array(is_reparameterised(q)))(q)


@pytest.mark.parametrize("q", [
    dist.Bernoulli(logits=LOGITS), dist.Poisson(1.0), OneHotCategorical(LOGITS),
    dist.VonMises(0.0, 1.0), Coins(LOGITS), Mixed(LOGITS), Liars(LOGITS),
    Replicated(Liars(LOGITS), 2),
    dist.MixtureSameFamily(dist.Categorical(logits=LOGITS), dist.Normal(LOGITS, 1.0)),
], ids=lambda q: type(q).__name__)  # fmt: skip
def test_distributions_that_are_not(q):
    assert not is_reparameterised(q)


def test_a_weighted_bound_refuses_them_too(key):
    def bound(logits):
        q = Coins(logits)
        return ImportanceWeighted(3)(
            lambda z: jnp.sum(z), q, estimator=DoublyReparameterised(), key=key
        )

    with pytest.raises(
        ValueError, match="Coins, whose samples have none, or not all of them: take"
    ):
        jax.grad(bound)(LOGITS)
