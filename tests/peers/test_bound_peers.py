"""Bounds beside NumPyro's, on the same draws.

Peer: NumPyro (numpyro.infer.RenyiELBO: the same number for the same samples).
"""

import equinox as eqx
import jax
import jax.random as jr
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from jaxtyping import Array
from numpyro import handlers
from numpyro.infer import RenyiELBO

from pullback.bounds import Renyi
from pullback.sampling import ScoreFunction

pytestmark = pytest.mark.usefixtures("promotion")

X, K = 1.3, 5


def peer_model():
    z = numpyro.sample("z", dist.Normal(0.2, 1.0))
    numpyro.sample("x", dist.Normal(z, 1.0), obs=X)


def peer_guide():
    numpyro.sample("z", dist.Normal(0.4, 0.8))


def peer_draws(key):
    """As `RenyiELBO` draws: the second half of a key, for plates and particles, and for a guide."""

    def one(key):
        seeded = handlers.seed(peer_guide, jr.split(key)[1])
        return handlers.trace(seeded).get_trace()["z"]["value"]

    return jax.vmap(one)(jr.split(jr.split(key)[1], K))


class Drawn(eqx.Module):
    """The guide, with samples that were drawn elsewhere."""

    draws: Array

    def sample(self, key, shape=()):
        assert shape == self.draws.shape
        return self.draws

    def log_prob(self, z):
        return dist.Normal(0.4, 0.8).log_prob(z)


@pytest.mark.parametrize("alpha", [-2.0, 0.0, 0.5, 2.0])
def test_renyi_bounds_are_numpyros_on_the_same_draws(alpha, key):
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        theirs = -RenyiELBO(alpha, K).loss(key, {}, peer_model, peer_guide)
        draws = peer_draws(key)
    joint = lambda z: dist.Normal(0.2, 1.0).log_prob(z) + dist.Normal(z, 1.0).log_prob(X)
    ours = Renyi(alpha, K)(joint, Drawn(draws), estimator=ScoreFunction(), key=key)
    np.testing.assert_allclose(ours, theirs, rtol=1e-9)
