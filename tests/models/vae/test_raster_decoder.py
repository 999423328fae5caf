"""The raster decoder against the pixels that it may see, and against all images enumerated."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from pullback.models.vae import Bernoulli, Categorical, RasterDecoder
from pullback.nn import CausalConvNet


def decoder_of(steps, features, likelihood=Bernoulli()):  # noqa: B008
    net = CausalConvNet(features, 5, 5, dilations=(1, 2), activation=jnp.tanh, key=jr.key(0))
    made = RasterDecoder(net, likelihood, steps=steps, latent=2, width=8, key=jr.key(1))
    # Larger weights: the pixels then depend on each other strongly.
    return jax.tree.map(lambda leaf: 2 * leaf if eqx.is_inexact_array(leaf) else leaf, made)


def test_a_pixel_sees_those_before_it_and_the_latent_of_its_row_alone():
    decoder = decoder_of(3, 4)
    # Of many inputs: a hidden unit is off for some of them.
    z, x = jr.normal(jr.key(2), (20, 3, 2)), jr.normal(jr.key(3), (20, 3, 4))
    slopes = jax.jit(jax.vmap(jax.jacrev(decoder, argnums=(0, 1))))(z, x)
    of_z, of_x = (np.any(np.asarray(each) != 0, axis=0) for each in slopes)
    np.testing.assert_array_equal(of_x.reshape(12, 12), np.tri(12, k=-1, dtype=bool))
    np.testing.assert_array_equal(np.any(of_z, axis=(1, 3)), np.eye(3, dtype=bool))


def test_the_probabilities_of_all_images_sum_to_one_and_draws_have_them():
    decoder = decoder_of(2, 2)
    z = jr.normal(jr.key(1), (2, 2))
    every = jnp.asarray(list(itertools.product([0.0, 1.0], repeat=4))).reshape(-1, 2, 2)
    log_prob = jax.vmap(lambda x: jnp.sum(Bernoulli().log_prob(decoder(z, x), x)))
    exact = np.exp(jax.jit(log_prob)(every))
    assert exact.sum() == pytest.approx(1, rel=1e-6)
    assert np.ptp(exact) > 0.1  # so that the match says something

    count = 20_000
    draw = jax.jit(jax.vmap(lambda key: decoder.sample(z, Bernoulli(), key=key)))
    draws = np.asarray(draw(jr.split(jr.key(3), count))).reshape(count, 4)
    found = np.bincount((draws @ [8, 4, 2, 1]).astype(int), minlength=16) / count
    error = np.sqrt(exact * (1 - exact) / count)
    np.testing.assert_array_less(np.abs(found - exact), 4 * error)


def test_each_pixel_of_several_levels_has_all_its_parameters():
    decoder = decoder_of(2, 3, Categorical(4))
    x = jnp.asarray([[0, 3, 1], [2, 2, 0]])
    z = jnp.ones(2)
    params = decoder(z, x)
    assert params.shape == (2, 3, 4)
    later = decoder(z, x.at[0, 1].set(1))
    # The pixel itself and those before it stay, each of their levels; every later one moves.
    same = np.all(np.asarray(params == later), axis=2).ravel()
    np.testing.assert_array_equal(same, [True, True, False, False, False, False])
    draw = decoder.sample(z, Categorical(4), key=jr.key(0))
    assert draw.shape == (2, 3)
    assert set(np.unique(draw)) <= {0, 1, 2, 3}
