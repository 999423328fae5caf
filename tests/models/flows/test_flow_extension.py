"""A bijection and a family of a user's own, written with public names alone."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest
from scipy.stats import laplace, t

import pullback as pb
from pullback.models.flows import (
    AbstractBijection,
    ActNorm,
    Chain,
    ResidualFlow,
    Stacked,
    closed_form,
    init_actnorm,
    maximum_likelihood_loss,
)


class SinhArcsinh(AbstractBijection):
    """y = sinh((arcsinh x + e) d), of Jones and Pewsey: it bends tails, and skews by a context."""

    log_tail: jax.Array
    skew: jax.Array

    def __init__(self, size, key):
        self.log_tail, self.skew = 0.3 * jr.normal(key, (2, size))

    def _shift(self, context):
        return self.skew if context is None else self.skew * (1 + jnp.sum(context))

    def forward_and_log_det(self, x, *, context=None, key=None, shared=None):
        tail = jnp.exp(self.log_tail)
        inner = (jnp.arcsinh(x) + self._shift(context)) * tail
        slope = self.log_tail + jnp.log(jnp.cosh(inner)) - jnp.log1p(x**2) / 2
        return jnp.sinh(inner), jnp.sum(slope)

    def inverse(self, y, solver, max_steps, *, context=None):
        x = jnp.sinh(jnp.arcsinh(y) * jnp.exp(-self.log_tail) - self._shift(context))
        return x, closed_form(y.dtype)

    def initialise(self, x, *, context=None):
        start = eqx.tree_at(lambda b: b.skew, self, -jnp.mean(jnp.arcsinh(x), axis=0))
        image = jax.vmap(lambda x, c: start.forward_and_log_det(x, context=c)[0])(x, context)
        return start, image


class Turn(AbstractBijection):
    """A rotation of the plane by a learned angle."""

    angle: jax.Array

    def _matrix(self):
        cos, sin = jnp.cos(self.angle), jnp.sin(self.angle)
        return jnp.stack([jnp.stack([cos, -sin]), jnp.stack([sin, cos])])

    def forward_and_log_det(self, x, *, context=None, key=None, shared=None):
        return self._matrix() @ x, jnp.zeros((), x.dtype)

    def inverse(self, y, solver, max_steps, *, context=None):
        return self._matrix().T @ y, closed_form(y.dtype)

    def initialise(self, x, *, context=None):
        return self, x @ self._matrix().T


def flow_of(layers, key, **options):
    make = lambda key: Chain([ActNorm(2), SinhArcsinh(2, key), ActNorm(2), Turn(jr.uniform(key))])
    stack = Stacked(eqx.filter_vmap(make)(jr.split(key, layers)))
    return ResidualFlow(stack, pb.sampling.StandardNormal(2), **options)


@pytest.mark.parametrize("context", [None, 0.3])
@pytest.mark.parametrize("compiled", [False, True])
def test_its_log_determinant_and_its_inverse(compiled, context, key):
    of = eqx.filter_jit if compiled else lambda f: f
    flow = flow_of(3, key, context_shape=None if context is None else 1)
    context = None if context is None else jnp.array([context])
    x = jr.normal(key, (4, 2))
    z, log_det = of(lambda f, x: f.inverse_and_log_det(x, context=context))(flow, x)
    dense = jax.vmap(jax.jacfwd(lambda x: flow.inverse_and_log_det(x, context=context)[0]))(x)
    np.testing.assert_allclose(log_det, np.linalg.slogdet(dense)[1], rtol=1e-9)
    back, info = of(lambda f, z: f.invert(z, context=context))(flow, z)
    np.testing.assert_allclose(back, x, rtol=1e-9)
    assert np.all(info.converged)


def test_a_flow_of_it_is_trained_and_is_a_density(key):
    data = jnp.asarray(t(3).rvs((2000, 2), random_state=0))
    flow = init_actnorm(flow_of(1, key), data)
    flow, _ = pb.train.fit(flow, maximum_likelihood_loss, data, optimiser=optax.adam(0.02),
                           steps=400, batch_size=500, key=key)  # fmt: skip
    held_out = t(3).rvs((4000, 2), random_state=1)
    loss = pb.train.evaluate(
        flow, maximum_likelihood_loss, jnp.asarray(held_out), batch_size=1000, key=key
    )["loss"]
    entropy = -t.logpdf(held_out, 3).sum(1).mean()
    assert entropy - 0.02 < loss < entropy + 0.06
    found = pb.analysis.grid_mass(lambda x: flow.log_prob(x), [-60, -60], [60, 60], points=600)
    np.testing.assert_allclose(np.exp(found.log_normaliser), 1, atol=5e-3)


class LaplaceDistribution(eqx.Module):
    """What a family gives: `log_prob` and `sample`, and arrays that gradients flow through."""

    place: jax.Array
    log_scale: jax.Array

    def log_prob(self, value):
        scale = jnp.exp(self.log_scale)
        return jnp.sum(
            -jnp.abs(value - self.place) / scale - self.log_scale - jnp.log(2.0), axis=-1
        )

    def sample(self, key, sample_shape=()):
        noise = jr.laplace(key, (*sample_shape, *self.place.shape))
        return self.place + jnp.exp(self.log_scale) * noise


class LaplaceFamily(pb.bounds.AbstractFamily):
    """Heavier tails than the mean field's."""

    shape: tuple = eqx.field(static=True)

    def __init__(self, latent):
        self.shape = (2 * latent,)

    def __call__(self, params):
        return LaplaceDistribution(*jnp.split(params, 2))

    def augment(self, model, params):
        return model


def test_a_family_of_one_s_own_is_a_posterior(key):
    """z ~ Laplace(0, 1) and a flat likelihood: the exact posterior is a member."""
    prior = LaplaceDistribution(jnp.zeros(2), jnp.zeros(2))
    model = pb.bounds.LatentModel(lambda z: jnp.zeros(()), prior)
    family, params = LaplaceFamily(2), jnp.array([0.4, 0.0, 0.0, 0.3])
    bound = lambda p, k: pb.bounds.ELBO()(model, family(p), num_samples=4000, key=k)
    a, s = np.asarray(params[:2]), np.exp(np.asarray(params[2:]))
    kl = np.abs(a) + s * np.exp(-np.abs(a) / s) - 1 - np.log(s)
    np.testing.assert_allclose(bound(params, key), -kl.sum(), atol=0.05)
    np.testing.assert_allclose(jax.jit(bound)(params, key), bound(params, key))
    np.testing.assert_allclose(bound(jnp.zeros(4), key), 0, atol=1e-12)
    vae = pb.models.vae.mlp_vae(
        4, latent=2, width=4, likelihood=pb.models.vae.Bernoulli(), family=LaplaceFamily(2), key=key
    )
    loss = pb.models.vae.BoundLoss(pb.bounds.ELBO(), pb.sampling.PathDerivative())
    _, info = pb.train.fit(vae, loss, jnp.ones((8, 4)), optimiser=optax.adam(0.05), steps=40,
                           batch_size=8, log_every=1, key=key)  # fmt: skip
    assert info.lines()[-1]["loss"] < info.lines()[0]["loss"] - 0.5
    q = family(params)
    np.testing.assert_allclose(q.log_prob(jnp.ones(2)), laplace.logpdf(1.0, a, s).sum(), rtol=1e-12)
