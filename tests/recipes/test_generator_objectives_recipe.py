"""The recipe `generator-objectives`: its own arithmetic."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from scipy.stats import norm

from pullback.recipes._kit.digit_kinds import small_rows
from pullback.recipes.generator_objectives import mnist, models


def test_the_density_is_that_of_two_modes():
    x = np.linspace(-4, 4, 9)
    want = np.log((norm.pdf(x, -2, 0.5) + norm.pdf(x, 2, 0.5)) / 2)
    np.testing.assert_allclose(models.log_density(jnp.asarray(x)), want, rtol=1e-10)


def test_the_loss_has_the_gradient_of_the_divergence_of_densities():
    """Of reverse KL: by the mean and the deviation of the Gaussian, on a fine grid."""
    objective = next(each for each in models.WITH_RATIO if each.name == models.REVERSE)
    nodes = (np.arange(20_000) + 0.5) / 20_000
    loss = models.ExactRatioLoss(objective, jnp.asarray(norm.ppf(nodes)))
    q = models.Gaussian(jnp.asarray(0.7), jnp.asarray(0.9))
    found = jax.grad(lambda q: loss(q, None, key=jax.random.key(0))[0])(q)

    grid = np.linspace(-8, 8, 40_001)

    def divergence(mean, deviation):
        log_q = norm.logpdf(grid, mean, deviation)
        log_p = np.logaddexp(norm.logpdf(grid, -2, 0.5), norm.logpdf(grid, 2, 0.5)) - np.log(2)
        return np.trapezoid(np.exp(log_q) * (log_q - log_p), grid)

    h = 1e-4
    want = [
        (divergence(0.7 + h, 0.9) - divergence(0.7 - h, 0.9)) / (2 * h),
        (divergence(0.7, 0.9 + h) - divergence(0.7, 0.9 - h)) / (2 * h),
    ]
    np.testing.assert_allclose([found.mean, found.deviation], want, rtol=2e-3)


def test_one_loss_is_flagged():
    config = models.Config(steps=2, nodes=20)
    with jax.numpy_dtype_promotion("standard"):
        found = models.fit_gaussian(config)
    names = [each.name for each in models.WITH_RATIO]
    assert [n for n, flag in zip(names, found["flagged"], strict=True) if flag] == [models.PLUG_IN]


def test_kinds_are_those_that_samples_clearly_are(x32):
    tell = eqx.nn.MLP(196, 10, 1, 0, key=jax.random.key(0))  # a line, made to read ten pixels
    line = lambda net: (net.layers[0].weight, net.layers[0].bias)
    tell = eqx.tree_at(line, tell, (jnp.eye(10, 196), jnp.zeros(10)))
    certain = jnp.repeat(30 * jnp.eye(10, 196), 2, axis=0)
    found = mnist.kinds(certain, tell)
    assert (found["kinds"], found["clear"]) == (10, 1)
    np.testing.assert_allclose(found["kl"], 0, atol=1e-6)
    # Half of them one digit, half none.
    found = mnist.kinds(jnp.concatenate([certain[:10] * 0, certain[:1].repeat(10, 0)]), tell)
    assert (found["kinds"], found["clear"]) == (1, 0.5)
    np.testing.assert_allclose(found["kl"], np.log(10), rtol=1e-6)


def test_the_last_numbers_of_a_latent_are_noise_on_pixels(x32):
    net = eqx.nn.Sequential([eqx.nn.Lambda(lambda z: jnp.zeros(196) + z[0])])
    generator = mnist.Generator(net, 0.5)
    z = jnp.arange(32 + 196.0)
    np.testing.assert_allclose(generator.image(z[:32]), 0.5)
    np.testing.assert_allclose(generator(z), 0.5 + 0.5 * np.arange(32, 228))


def test_small_rows_are_means_of_four_pixels(x32):
    images = np.random.default_rng(0).random((2, 28, 28), np.float32)
    rows = small_rows(images)
    assert rows.shape == (2, 196)
    np.testing.assert_allclose(rows[1, 15], images[1, 2:4, 2:4].mean(), rtol=1e-6)
