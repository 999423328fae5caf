"""A distribution is known by what it does, whichever library it is from."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro.distributions as dist
import pytest

from pullback.bounds import ELBO, EnergyPrior, ImportanceWeighted, LatentModel
from pullback.models.vae import Normal, mlp_vae
from pullback.sampling import Reparameterised, StandardNormal, draw, expectation, log_prob

pytestmark = pytest.mark.usefixtures("promotion")

X = 2.0
EVIDENCE = float(dist.Normal(0.0, 2**0.5).log_prob(X))


class KeyAlone(eqx.Module):
    """As distreqx has it: `sample(key)`, one draw at a time."""

    loc: Any
    scale: Any

    def sample(self, key):
        return self.loc + self.scale * jr.normal(key, self.loc.shape)

    def log_prob(self, value):
        return dist.Normal(self.loc, self.scale).log_prob(value)


class OnesOwn(KeyAlone):
    def sample(self, key, sample_shape=()):
        return self.loc + self.scale * jr.normal(key, (*sample_shape, *self.loc.shape))


class WithCondition(KeyAlone):
    """As FlowJAX has it: a condition behind the shape and behind the value."""

    def sample(self, key, sample_shape=(), condition=None):
        assert condition is None
        return self.loc + self.scale * jr.normal(key, (*sample_shape, *self.loc.shape))

    def log_prob(self, x, condition=None):
        assert condition is None
        return dist.Normal(self.loc, self.scale).log_prob(x)


DISTRIBUTIONS = {
    "numpyro": dist.Normal,
    "flowjax": WithCondition,
    "distreqx": KeyAlone,
    "one's own": OnesOwn,
}


@pytest.mark.parametrize("library", DISTRIBUTIONS)
def test_each_library_is_a_posterior_and_a_prior_as_it_stands(library, key):
    distribution = DISTRIBUTIONS[library]
    posterior = lambda mean: distribution(mean, jnp.asarray(0.5**0.5))
    model = LatentModel(
        lambda z: dist.Normal(z, 1.0).log_prob(X), distribution(jnp.zeros(()), jnp.ones(()))
    )

    def bound(mean, key):
        return ELBO()(model, posterior(mean), num_samples=1000, key=key)

    for run in (jax.value_and_grad(bound), jax.jit(jax.value_and_grad(bound))):
        value, slope = run(jnp.asarray(1.0), key)
        np.testing.assert_allclose(value, EVIDENCE, rtol=1e-10)  # the posterior is exact
        np.testing.assert_allclose(slope, 0.0, atol=0.2)
    weighted = ImportanceWeighted(5)(model, posterior(jnp.asarray(1.0)), key=key)
    np.testing.assert_allclose(weighted, EVIDENCE, rtol=1e-10)
    assert draw(posterior(jnp.zeros(3)), key, (2, 4)).shape == (2, 4, 3)
    mean = expectation(
        lambda z, q: z, posterior(jnp.asarray(1.0)), estimator=Reparameterised(),
        num_samples=4000, key=key,
    )  # fmt: skip
    assert abs(mean - 1.0) < 4 * (0.5 / 4000) ** 0.5


class NoSample(eqx.Module):
    def log_prob(self, z):
        return -jnp.sum(z**2)


class NoDensity(eqx.Module):
    def sample(self, key, shape=()):
        return jr.normal(key, shape)


@pytest.mark.parametrize(
    ("distribution", "lacks"),
    [
        (NoSample(), r"sample\(key, shape\)"),
        (NoDensity(), r"log_prob\(z\)"),
        (lambda z: z, r"log_prob\(z\)` and `sample\(key, shape\)"),
        (None, "log_prob"),
        (dist.ImproperUniform(dist.constraints.real, (), ()), r"sample\(key, shape\)"),
        (dist.ImproperUniform(dist.constraints.real, (), ()).expand((2,)).to_event(1), "sample"),
    ],
)
def test_a_missing_part_is_named_at_construction(distribution, lacks, key):
    with pytest.raises(ValueError, match=rf"`prior` must be .*lacks `{lacks}.*EnergyPrior"):
        LatentModel(lambda z: jnp.zeros(()), distribution)
    with pytest.raises(ValueError, match=rf"`base` must be .*lacks `{lacks}"):
        EnergyPrior(lambda z: jnp.zeros(()), distribution)
    if distribution is not None:  # which is the default
        with pytest.raises(ValueError, match=rf"`prior` must be .*lacks `{lacks}"):
            mlp_vae(2, latent=2, width=4, likelihood=Normal(1.0), prior=distribution, key=key)


def test_a_distribution_that_is_whole_passes(key):
    for distribution in (
        dist.Normal(jnp.zeros(2), 1.0),
        StandardNormal(2),
        OnesOwn(jnp.zeros(2), 1.0),
    ):
        assert log_prob(LatentModel(lambda z: jnp.zeros(()), distribution).prior, jnp.zeros(2)) < 0
