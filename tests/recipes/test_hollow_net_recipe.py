"""The images of the recipe `hollow-net`, and what it measures."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from pullback.calculus import dimensionwise_derivatives
from pullback.data import Labelled, Split, digits
from pullback.recipes import hollow_net
from pullback.recipes.hollow_net import equation, measure, mnist
from pullback.runs import Context


def test_images_get_noise_within_a_grey_level_and_are_standardised():
    train, test = hollow_net._images(3)
    np.testing.assert_array_equal(train, hollow_net._images(3)[0])
    assert len(train) + len(test) == 1797
    np.testing.assert_allclose(train.mean(axis=0), 0, atol=1e-12)
    # What the scale was, by the pixels themselves: a deviation s is divided by s + 0.1.
    scale = 0.1 / (1 - train.std(axis=0))
    plain = digits(seed=3).train.x.reshape(len(train), -1)
    noise = 16 * (train * scale - plain)
    noise -= noise.min(axis=0)
    assert noise.max() <= 1 + 1e-9
    assert abs(noise.mean() - 0.5) < 4 / np.sqrt(12 * noise.size) + 2 / len(train)


def test_an_implicit_step_is_solved_as_fast_as_each_way_can():
    """Newton's error is squared, Jacobi-Newton's shrinks, and functional iteration's grows."""
    roots = measure.root_finding(6, 5, [0, 1])
    assert {name: path.shape for name, path in roots.items()} == {
        name: (2, 6) for name in ("functional", "jacobi_newton", "newton")
    }
    for path in roots.values():
        np.testing.assert_array_equal(path[:, 0], roots["newton"][:, 0])
    # The step times the fastest rate is 50: so much grows what functional iteration leaves over.
    growth = roots["functional"][:, 1:] / roots["functional"][:, :-1]
    np.testing.assert_allclose(growth[:, -1], 50, rtol=0.1)
    assert roots["jacobi_newton"][:, 5].max() < 1e-12
    assert roots["newton"][:, 3].max() < 1e-13


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="seeds must be at least 1, got 0"):
        hollow_net.Config(seeds=0)
    with pytest.raises(ValueError, match="dims must be 2 or more numbers that rise"):
        hollow_net.Config(dims=(8, 4))
    with pytest.raises(ValueError, match="root_steps must be at least 2, got 1"):
        hollow_net.Config(root_steps=1)
    with pytest.raises(ValueError, match="flow_steps must be at least 1, got 0"):
        mnist.Config(flow_steps=0)


def test_the_posterior_that_is_a_hollow_flow_starts_as_the_normal_and_moves():
    config = mnist.PRESETS["smoke"]
    family = mnist.family_of(mnist.HOLLOW, config, jr.key(0))
    normal = mnist.family_of(mnist.NORMAL, config, jr.key(0))
    params = jr.normal(jr.key(1), family.shape)
    z = jr.normal(jr.key(2), (3, config.latent))
    log_prob = eqx.filter_jit(lambda family, params: family(params).log_prob(z))
    start = jax.vmap(normal(params[: 2 * config.latent]).log_prob)(z)
    np.testing.assert_allclose(log_prob(family, params), start, rtol=1e-12)
    # The context moves the flow, once its last layer is not zero.
    moved = jax.tree.map(lambda w: w + 0.1 if eqx.is_inexact_array(w) else w, family)
    other = params.at[-1].add(1.0)
    assert np.all(log_prob(moved, params) != log_prob(moved, other))


@pytest.mark.slow  # Trains three autoencoders, and compiles as many.
def test_images_of_a_folder_train_every_posterior(tmp_path, x32, monkeypatch):
    rng = np.random.default_rng(0)
    part = lambda n: Labelled(rng.random((n, 4, 4)).astype(np.float32), np.zeros(n, np.int32))
    monkeypatch.setattr(mnist, "mnist", lambda folder: Split(part(20), part(8)))
    claims = mnist.run(mnist.PRESETS["smoke"], Context(tmp_path / "run", data=tmp_path))
    assert [claim.seeds for claim in claims] == [2, 2, 2]
    assert all(np.isfinite(claim.value) for claim in claims)


def test_the_derivatives_of_the_learned_squared_noise_are_its_own():
    net = equation.Equation(4, key=jr.key(0)).squared
    net = jax.tree.map(lambda w: w + 0.3 if eqx.is_inexact_array(w) else w, net)
    x = jnp.array([0.4, -0.7])
    plain = dimensionwise_derivatives(lambda t, x, args: net(t, x), 0.5, x, order=2)
    for ours, theirs in zip(dimensionwise_derivatives(net, 0.5, x, order=2), plain, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-10)
    assert np.all(np.abs(plain[2]) > 1e-3)
