"""The recipe `unrolled-gan`: its own arithmetic."""

import dataclasses

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from pullback.recipes.unrolled_gan import Config, models, settled


def test_no_two_modes_lie_at_one_place_and_data_lie_at_them(x32, key):
    ring = models.Ring(2.0, 0.02)
    centres = ring.centres
    apart = np.linalg.norm(centres[:, None] - centres[None], axis=-1) + 9 * np.eye(8)
    np.testing.assert_allclose(apart.min(), 4 * np.sin(np.pi / 8), rtol=1e-6)
    x = np.asarray(ring.draw(4000, key))
    found = models._covered(jnp.asarray(x), ring)
    assert found["modes"] == 8
    assert found["share"] == 1
    assert found["kl"] < 0.005
    near = x - centres[np.argmin(np.linalg.norm(x[:, None] - centres[None], axis=-1), axis=1)]
    np.testing.assert_allclose(near.std(), 0.02, rtol=0.05)


def test_weights_are_orthogonal_and_the_discriminator_is_given_a_scale(x32, key):
    generator, net = models.players(models.collapsing(Config()), 3)
    weight = np.asarray(generator.layers[1].weight)
    np.testing.assert_allclose(weight @ weight.T, 0.64 * np.eye(models.WIDTH), atol=1e-6)
    x = jr.normal(key, (2,), jnp.float32)
    np.testing.assert_allclose(net(x), net.net(x / 4))


def test_a_moments_luck_does_not_count():
    looks = np.zeros((8, 2))
    looks[-1] = 8
    looks[-2, 1] = 6
    np.testing.assert_allclose(settled(looks), [4, 7])
    np.testing.assert_allclose(settled(looks[-1:]), [8, 8])


def test_the_simulated_radius_is_that_of_the_matrix():
    assert abs(models.radius(1, 0.1, 30) - models.expected_radius(1, 0.1)) < 1e-9
    np.testing.assert_allclose(models.expected_radius(0, 0.1), np.sqrt(1.01))


def test_a_configuration_that_makes_no_sense_is_refused():
    for wrong, message in (({"unroll": 0}, "unroll must be at least 1"),
                           ({"steps": 10}, "steps must be at least 20, got 10")):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            dataclasses.replace(Config(), **wrong)
