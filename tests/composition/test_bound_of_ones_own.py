"""A bound written as a user would, from public names alone, in a model of the library."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro.distributions as dist
import optax
import pytest

from pullback import train
from pullback.bounds import ELBO, AbstractBound, LatentModel, kl_divergence
from pullback.models.vae import BoundLoss, Normal, mlp_vae
from pullback.sampling import PathDerivative, Reparameterised, expectation, log_prob

REPARAMETERISED = Reparameterised()


class Tempered(AbstractBound):
    r"""$\mathbb{E}_q[\log p(x | z)] - \beta\, \mathrm{KL}(q \| p)$, a bound for $\beta \ge 1$."""

    beta: float = eqx.field(static=True)

    def __call__(
        self, log_joint, posterior, *, estimator=REPARAMETERISED, num_samples=1,
        batch_size=None, key,
    ):  # fmt: skip
        def f(z, q):
            rate = log_prob(q, z) - log_prob(log_joint.prior, z)
            return log_joint.log_likelihood(z) - self.beta * rate

        return expectation(
            f, posterior, estimator=estimator, num_samples=num_samples, batch_size=batch_size,
            key=key,
        )  # fmt: skip


X = 2.0
PRIOR = dist.Normal(0.0, 1.0)
MODEL = LatentModel(lambda z: dist.Normal(z, 1.0).log_prob(X), PRIOR)


@pytest.mark.parametrize("compiled", [False, True])
def test_it_is_below_the_elbo_by_what_it_says(compiled):
    def both(mean):
        q = dist.Normal(mean, 0.7)
        bounds = (ELBO(), Tempered(3.0))
        return jnp.stack([b(MODEL, q, num_samples=20_000, key=jr.key(0)) for b in bounds])

    run = jax.jit(both) if compiled else both
    elbo, tempered = run(jnp.asarray(0.9))
    divergence = kl_divergence(dist.Normal(0.9, 0.7), PRIOR)
    np.testing.assert_allclose(elbo - tempered, 2 * divergence, atol=0.05)
    slope = jax.jacobian(run)(jnp.asarray(0.9))
    # d ELBO / d mean = (x - mean) - mean, and that of the divergence is the mean.
    np.testing.assert_allclose(slope, [X - 1.8, X - 0.9 - 3 * 0.9], atol=0.05)


def test_a_vae_is_trained_by_it_through_the_same_loss():
    x = 2.0 * jr.normal(jr.key(1), (64, 2))
    vae = mlp_vae(2, latent=1, width=8, likelihood=Normal(1.0), key=jr.key(2))
    loss = BoundLoss(Tempered(2.0), PathDerivative())
    before, _ = loss(vae, x, key=jr.key(3))
    trained, _ = train.fit(
        vae, loss, x, optimiser=optax.adam(1e-2), steps=100, batch_size=32, progress=False,
        key=jr.key(4),
    )  # fmt: skip
    after, _ = loss(trained, x, key=jr.key(3))
    assert after < before - 0.5
