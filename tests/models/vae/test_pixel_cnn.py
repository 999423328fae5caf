"""The autoregressive decoder of images: what each pixel sees, and the density that it samples."""

import itertools

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from pullback.bounds import DiagonalNormal
from pullback.models.vae import VAE, Bernoulli, Categorical, DenseNet, PixelCNN
from pullback.sampling import StandardNormal

pytestmark = pytest.mark.usefixtures("promotion")


def test_a_pixel_sees_those_before_it_and_the_latent(key):
    net = PixelCNN((2, 3, 3), 2, Categorical(4), 5, depth=2, reach=2, levels=3, key=key)
    z, x = jr.normal(jr.key(1), (2,)), jr.uniform(jr.key(2), (2, 3, 3))
    assert net(z, x).shape == (2, 3, 3, 4)
    of_z, slopes = jax.jit(jax.jacobian(net, (0, 1)))(z, x)  # [c, i, j, k, c', i', j']
    seen = np.abs(slopes).max(axis=(0, 3, 4)).reshape(9, 9) > 0
    # With three layers that reach 2, all before it in a 3 x 3 image.
    np.testing.assert_array_equal(seen, np.tril(np.ones((9, 9), bool), -1))
    assert (np.abs(of_z).max(axis=(0, 3, 4)) > 0).all()


def test_it_draws_from_the_density_that_it_states(key):
    # All 16 images of 2 x 2: probabilities sum to 1, and are those of draws.
    decoder = PixelCNN((1, 2, 2), 1, Bernoulli(), 4, depth=1, key=key)
    encoder = DenseNet((1, 2, 2), (2,), 3, 1, key=key)
    vae = VAE(
        encoder, decoder, family=DiagonalNormal(1), prior=StandardNormal(1), likelihood=Bernoulli()
    )
    z = jnp.array([0.7])
    images = jnp.asarray(list(itertools.product([0.0, 1.0], repeat=4))).reshape(16, 1, 2, 2)
    p = np.exp(jax.vmap(lambda x: vae.model(x).log_likelihood(z))(images))
    np.testing.assert_allclose(p.sum(), 1.0, rtol=1e-10)
    draws = jax.vmap(lambda key: vae.generate(z, key=key))(jr.split(key, 8000))
    which = np.asarray(draws).reshape(-1, 4) @ np.array([8, 4, 2, 1])
    found = np.bincount(which.astype(int), minlength=16) / 8000
    assert (np.abs(found - p) < 4 * np.sqrt(p * (1 - p) / 8000) + 1e-9).all()
    with pytest.raises(ValueError, match="`generate` draws from it"):
        vae.decode(z)
    assert vae.reconstruct(images[3], key=key).shape == (1, 2, 2)
    assert vae.sample(key, (2,)).shape == (2, 1, 2, 2)
