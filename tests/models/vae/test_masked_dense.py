"""The dense autoregressive decoder: what each entry sees, and the density that it samples."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from pullback.bounds import DiagonalNormal
from pullback.models.vae import VAE, Bernoulli, Categorical, DenseNet, MaskedDense
from pullback.sampling import StandardNormal

pytestmark = pytest.mark.usefixtures("promotion")


@pytest.mark.parametrize(("width", "depth"), [(9, 1), (20, 2)])
def test_an_entry_sees_those_before_it_and_the_latent(width, depth, key):
    net = MaskedDense((1, 3, 3), 2, Categorical(4), width, depth, key=key)
    z, x = jr.normal(jr.key(1), (2,)), jr.uniform(jr.key(2), (1, 3, 3))
    assert net(z, x).shape == (1, 3, 3, 4)
    of_z, slopes = jax.jit(jax.jacobian(net, (0, 1)))(z, x)
    seen = np.abs(slopes).reshape(9, 4, 9).max(axis=1) > 0
    np.testing.assert_array_equal(seen, np.tril(np.ones((9, 9), bool), -1))
    assert (np.abs(of_z).max(axis=-1) > 0).all()


def test_weights_that_may_not_be_used_stay_unused_in_training(key):
    net = MaskedDense((3,), 1, Bernoulli(), 4, key=key)
    slopes = eqx.filter_grad(lambda net: jnp.sum(net(jnp.ones(1), jnp.ones(3)) ** 2))(net)
    for weight, slope in zip(net.weights, slopes.weights, strict=True):
        assert (np.asarray(slope)[np.asarray(weight) == 0] == 0).all()
        assert (np.asarray(weight) == 0).any()


def test_it_draws_from_the_density_that_it_states(key):
    # All 16 rows of four bits: probabilities sum to 1, and are those of draws.
    decoder = MaskedDense((4,), 1, Bernoulli(), 5, key=key)
    encoder = DenseNet((4,), (2,), 3, 1, key=key)
    vae = VAE(
        encoder, decoder, family=DiagonalNormal(1), prior=StandardNormal(1), likelihood=Bernoulli()
    )
    z, rows = jnp.array([0.7]), jnp.asarray(list(itertools.product([0.0, 1.0], repeat=4)))
    p = np.exp(jax.vmap(lambda x: vae.model(x).log_likelihood(z))(rows))
    np.testing.assert_allclose(p.sum(), 1.0, rtol=1e-10)
    draws = jax.vmap(lambda key: vae.generate(z, key=key))(jr.split(key, 8000))
    which = np.asarray(draws) @ np.array([8, 4, 2, 1])
    found = np.bincount(which.astype(int), minlength=16) / 8000
    assert (np.abs(found - p) < 4 * np.sqrt(p * (1 - p) / 8000) + 1e-9).all()


def test_sizes_that_make_no_sense_are_refused(key):
    for sizes in ({"width": 0}, {"depth": 0}, {"shape": (0,)}):
        with pytest.raises(ValueError, match="`shape`, `width` and `depth` must be 1 or more"):
            MaskedDense(**{"shape": (4,), "latent": 1, "likelihood": Bernoulli(), **sizes}, key=key)
