"""Critics: every score is that of its own pair, in the right place."""

import math

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy.stats import norm

from pullback.bounds import (
    BilinearCritic,
    ConditionalCritic,
    GaussianBaseline,
    JointCritic,
    MLPBaseline,
    SeparableCritic,
    infonce,
    nwj,
    tnce,
)

# Different numbers of x's and y's, of different sizes: a transposed matrix would not fit.
X, Y = jr.normal(jr.key(1), (4, 3)), jr.normal(jr.key(2), (6, 2))


def relu_net(net, z):
    """By hand, layer by layer."""
    *inner, last = net.layers
    for layer in inner:
        z = np.maximum(np.asarray(layer.weight) @ z + np.asarray(layer.bias), 0)
    return np.asarray(last.weight) @ z + np.asarray(last.bias)


def with_biases(module, key):
    """Biases start at zero, where no test would see one."""
    move = lambda leaf: leaf + jr.normal(key, leaf.shape) if leaf.ndim == 1 else leaf
    return jax.tree.map(lambda leaf: move(leaf) if hasattr(leaf, "ndim") else leaf, module)


def pairs(score):
    return np.array([[score(x, y) for x in np.asarray(X)] for y in np.asarray(Y)])


def test_the_separable_critic_is_a_scaled_inner_product():
    critic = SeparableCritic(3, 2, width=8, embedding=5, key=jr.key(0))
    critic = with_biases(critic, jr.key(3))
    score = lambda x, y: relu_net(critic.of_y, y) @ relu_net(critic.of_x, x) / math.sqrt(5)
    np.testing.assert_allclose(critic(X, Y), pairs(score), atol=1e-12)


def test_the_joint_critic_is_one_net_on_each_pair():
    for depth in (1, 2):
        critic = with_biases(JointCritic(3, 2, width=8, depth=depth, key=jr.key(0)), jr.key(3))
        score = lambda x, y, critic=critic: relu_net(critic.net, np.concatenate([x, y]))[0]
        np.testing.assert_allclose(critic(X, Y), pairs(score), atol=1e-12)


def test_the_bilinear_critic_is_a_form():
    critic = BilinearCritic(3, 2, key=jr.key(0))
    score = lambda x, y: y @ np.asarray(critic.weight) @ x
    np.testing.assert_allclose(critic(X, Y), pairs(score), atol=1e-12)


def test_with_the_true_marginal_the_conditional_critic_is_the_log_ratio():
    rho = 0.8
    x, y = jr.normal(jr.key(4), (5, 1)), jr.normal(jr.key(5), (5, 1))
    channel = lambda x: dist.Normal(rho * x, math.sqrt(1 - rho**2)).to_event(1)
    with jax.numpy_dtype_promotion("standard"):
        scores = ConditionalCritic(channel, GaussianBaseline(1))(x, y)
        known = ConditionalCritic(channel, lambda y: jnp.zeros(()))(x, y)
    one, other = np.asarray(x)[:, 0][None], np.asarray(y)[:, 0][:, None]
    expected = norm.logpdf(other, rho * one, math.sqrt(1 - rho**2)) - norm.logpdf(other)
    np.testing.assert_allclose(scores, expected, atol=1e-12)
    # In InfoNCE the marginal cancels, in NWJ it does not.
    np.testing.assert_allclose(infonce(scores), tnce(known), atol=1e-12)
    assert abs(nwj(scores + 1) - nwj(known + 1)) > 0.1


def test_weights_are_glorots_and_scores_start_small():
    critic = SeparableCritic(20, 20, key=jr.key(0))
    for net in (critic.of_x, critic.of_y):
        for layer in net.layers:
            fan_out, fan_in = layer.weight.shape
            bound = math.sqrt(6 / (fan_in + fan_out))
            assert float(jnp.max(jnp.abs(layer.weight))) <= bound
            deviation = bound / math.sqrt(
                3
            )  # of a uniform distribution; 4 standard errors, less than this
            assert abs(float(jnp.std(layer.weight)) / deviation - 1) < 4 / math.sqrt(
                layer.weight.size
            )
            assert layer.bias is not None
            assert not jnp.any(layer.bias)
    x, y = jr.normal(jr.key(1), (64, 20)), jr.normal(jr.key(2), (64, 20))
    scores = critic(x, y)
    # No exponential of a score is large, in the bounds that have one.
    assert float(jnp.max(jnp.abs(scores))) < 1


def test_the_gaussian_baseline_is_a_log_density():
    start = GaussianBaseline(2)
    moved = jax.tree.map(lambda leaf: leaf + jnp.asarray([0.3, -0.7]), start)
    y = np.array([0.5, 1.0])
    expected = norm.logpdf(y, [0.3, -0.7], np.exp([0.3, -0.7])).sum()
    np.testing.assert_allclose(moved(jnp.asarray(y)), expected)


def test_the_net_of_a_baseline_gives_one_number():
    baseline = with_biases(MLPBaseline(2, width=4, key=jr.key(0)), jr.key(3))
    found = jax.vmap(baseline)(Y)
    np.testing.assert_allclose(found, [relu_net(baseline.net, y)[0] for y in np.asarray(Y)])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda key: SeparableCritic(0, 2, key=key), "`x_dim` must be 1 or more, got 0"),
        (lambda key: SeparableCritic(2, 0, key=key), "`y_dim` must be 1 or more, got 0"),
        (lambda key: SeparableCritic(2, 2, embedding=0, key=key), "`embedding` must be 1 or"),
        (lambda key: JointCritic(2, 2, depth=0, key=key), "`depth` must be 1 or more, got 0"),
        (lambda key: JointCritic(2, 2, width=0, key=key), "`width` must be 1 or more, got 0"),
        (lambda key: BilinearCritic(2, 0, key=key), "`y_dim` must be 1 or more, got 0"),
        (lambda key: MLPBaseline(0, key=key), "`y_dim` must be 1 or more, got 0"),
        (lambda key: GaussianBaseline(0), "`y_dim` must be 1 or more, got 0"),
    ],
)
def test_sizes_that_make_no_sense_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make(jr.key(0))
