"""The game of a Wasserstein critic: its losses by hand, and the distance of two shifted laws."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest

from pullback.calculus import gradient_penalty
from pullback.games import GANStep, WassersteinGame, fit_gan, wasserstein_estimate

SHIFT = 2.0


def test_the_losses_are_those_of_the_paper():
    game = WassersteinGame(3, penalty=7.0)
    real, fake = game.show(lambda z: jnp.tanh(z[:2]), jr.normal(jr.key(0), (6, 2)), key=jr.key(1))
    critic = lambda x: jnp.sum(jnp.sin(x))
    own, others, metrics = eqx.filter_jit(game.losses)(critic, (real, fake), key=jr.key(2))
    d = lambda rows: np.sin(np.asarray(rows)).sum(axis=1).mean()
    penalty = gradient_penalty(critic, real, fake, key=jr.split(jr.key(2))[1])
    np.testing.assert_allclose(own, d(fake) - d(real) + 7 * penalty, rtol=1e-12)
    np.testing.assert_allclose(others, -d(fake), rtol=1e-12)
    np.testing.assert_allclose(metrics["wasserstein"], d(real) - d(fake), rtol=1e-12)
    np.testing.assert_allclose(metrics["penalty"], penalty, rtol=1e-12)


def test_a_critic_finds_the_distance_of_two_gaussians(x32):
    """Of a shift W the best critic is a line of slope 1 + W / (2 penalty), 1.1 here."""
    draw = lambda key: SHIFT + jr.normal(key, (64, 1))
    generator = eqx.nn.Linear(1, 1, key=jr.key(0))
    generator = eqx.tree_at(lambda g: (g.weight, g.bias), generator,
                            (jnp.ones((1, 1)), jnp.zeros(1)))  # fmt: skip
    critic = eqx.nn.MLP(1, "scalar", 16, 1, jax.nn.softplus, key=jr.key(1))
    step = GANStep(optax.set_to_zero(), optax.adam(0.01, b1=0.5, b2=0.9), WassersteinGame(1))
    same, critic, _ = fit_gan(generator, critic, draw, step, steps=500, progress=False,
                              key=jr.key(2))  # fmt: skip
    assert same.bias == 0
    # Of the same noise both sides, whose distance is the shift to the digit.
    fake = jr.normal(jr.key(3), (4000, 1))
    found = wasserstein_estimate(critic, SHIFT + fake, fake, key=jr.key(4))
    np.testing.assert_allclose(found.distance, SHIFT, rtol=0.05)
    np.testing.assert_allclose(found.slope, 1.1, rtol=0.03)
    d = jax.vmap(critic)
    np.testing.assert_allclose(jnp.mean(d(SHIFT + fake) - d(fake)), 2.2, rtol=0.05)


def test_a_flat_critic_is_not_made_steep():
    real, fake = jnp.ones((4, 1)), jnp.zeros((4, 1))
    found = wasserstein_estimate(lambda x: 0.5 * x[0], real, fake, key=jr.key(0))
    assert found == (0.5, 0.5)


def test_a_critic_with_dropout_is_given_a_key():
    net = eqx.nn.Dropout(0.5)
    critic = lambda x, *, key: jnp.sum(net(x, key=key))
    shown = jnp.ones((8, 50)), jnp.zeros((8, 50))
    _, others, metrics = WassersteinGame(1).losses(critic, shown, key=jr.key(0))
    assert others == 0
    assert 0 < metrics["penalty"] < 200
    found = wasserstein_estimate(critic, *shown, key=jr.key(0))
    np.testing.assert_allclose(found.distance * found.slope, found.slope**2 / 2, rtol=1e-12)


def test_a_distance_is_that_of_a_critic_without_its_dropout():
    critic = eqx.nn.Sequential([eqx.nn.Dropout(0.5), eqx.nn.Linear(3, "scalar", key=jr.key(1))])
    shown = jr.normal(jr.key(2), (4, 3)) + 5, jr.normal(jr.key(3), (4, 3))
    found = wasserstein_estimate(critic, *shown, key=jr.key(0))
    plain = wasserstein_estimate(eqx.nn.inference_mode(critic), *shown, key=jr.key(0))
    assert found == plain
    np.testing.assert_allclose(found.slope, jnp.linalg.norm(critic[1].weight), rtol=1e-12)


@pytest.mark.parametrize(("make", "message"), [
    (lambda: WassersteinGame(0), "`latent` must be 1 or more"),
    (lambda: WassersteinGame(1, -1.0), "`penalty` must be a number, 0 or more; got -1.0"),
    (lambda: WassersteinGame(1, float("nan")), "`penalty` must be a number"),
    (lambda: WassersteinGame(2).show(lambda z: z, jnp.ones((4, 1)), key=jr.key(0)),
     r"samples like a row of the data, of shape \(1,\)"),
    (lambda: WassersteinGame(2).losses(lambda x: x, 2 * (jnp.ones((4, 2)),), key=jr.key(0)),
     "`discriminator` must give one logit"),
])  # fmt: skip
def test_wrong_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()
