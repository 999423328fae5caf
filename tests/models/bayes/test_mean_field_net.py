"""Independent normal weights: against NumPyro's divergence and an evidence in closed form."""

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro.distributions as dist
import optax
import pytest

import pullback as pb
from pullback.models.bayes import MeanFieldODENet, SDEBNNLoss
from pullback.models.ode_net import ODEBlock, ODENet, mlp_ode_net


def network(key, **stds):
    block = lambda field: ODEBlock(field, solver=diffrax.Euler(), steps=3)
    return MeanFieldODENet(mlp_ode_net(3, 4, dim=3, width=4, block=block, key=key), **stds)


class Constant(eqx.Module):
    """A velocity that is its weight."""

    weight: jax.Array

    def __call__(self, t, y, args):
        return self.weight * jnp.ones_like(y)


def test_the_kl_is_that_of_numpyro(key):
    net = network(key, prior_std=0.7, std=0.2)
    wide = eqx.tree_at(lambda n: n.log_std, net, jr.normal(key, net.log_std.shape))
    leaves = jax.tree.leaves(eqx.filter(net.net.block.field, eqx.is_inexact_array))
    mean = jnp.concatenate([leaf.ravel() for leaf in leaves])
    for each in (net, wide):
        pair = dist.Normal(mean, jnp.exp(each.log_std)), dist.Normal(0.0, 0.7)
        want = jnp.sum(dist.kl_divergence(*pair))
        np.testing.assert_allclose(each.kl(), want, rtol=1e-10)


def test_at_the_posterior_of_one_weight_the_bound_is_the_evidence(key):
    # h_1 = x + w, seen with noise of 0.5: q is the posterior, and log p(y | w) - log q / p = log Z.
    x, y = np.array([0.3, -0.2, 0.9]), np.array([1.0, 0.4, 1.3])
    noise, prior_std = 0.5, 0.8
    variance = 1 / (3 / noise**2 + 1 / prior_std**2)
    mean = variance * np.sum(y - x) / noise**2
    covariance = noise**2 * np.eye(3) + prior_std**2
    off = y - x
    evidence = -0.5 * (
        off @ np.linalg.solve(covariance, off)
        + np.linalg.slogdet(covariance)[1]
        + 3 * np.log(2 * np.pi)
    )
    block = ODEBlock(Constant(jnp.asarray(mean)), solver=diffrax.Euler(), steps=2)
    same = eqx.nn.Lambda(lambda h: h)
    net = MeanFieldODENet(ODENet(same, block, same), prior_std=prior_std, std=variance**0.5)
    normal = lambda h, y: dist.Normal(h, noise).log_prob(y)[0]
    data = jnp.asarray(x)[:, None], jnp.asarray(y)[:, None]
    # Of log p along w: from the residuals r and the curvature 3 / noise^2, over paths.
    r, scale = y - x - mean, variance / noise**2
    for per_example in (False, True):
        loss = SDEBNNLoss(3, log_likelihood=normal, paths=4000, per_example=per_example)
        value, metrics = eqx.filter_jit(loss)(net, data, key=key)
        linear, curved = (r @ r, 1.5) if per_example else (r.sum() ** 2, 4.5)
        error = np.sqrt((linear * scale / noise**2 + curved * scale**2) / 4000)
        assert float(metrics["elbo"]) == pytest.approx(evidence, abs=4 * error)
        assert float(-3 * value) == pytest.approx(float(metrics["elbo"]), rel=1e-10)
    bound = lambda n, key: SDEBNNLoss(3, log_likelihood=normal, paths=4000)(n, data, key=key)[0]
    slopes = eqx.filter_jit(eqx.filter_grad(bound))(net, key)
    tilt = scale * r.sum() ** 2 / noise**2 / 9
    assert jnp.abs(slopes.net.block.field.weight) < 4 * np.sqrt(scale / noise**2 / 4000)
    assert jnp.abs(slopes.log_std[0]) < 4 * np.sqrt((tilt + 2 * scale**2) / 4000)


def test_networks_that_are_drawn_have_the_moments_of_the_posterior(key):
    net = network(key, prior_std=1.0, std=0.3)
    field = lambda n: n.block.field.layers[0].weight
    drawn = jax.vmap(lambda k: field(net.sample(key=k)))(jr.split(key, 4000))
    error = 0.3 / 4000**0.5
    np.testing.assert_allclose(drawn.mean(0), field(net.net), atol=4.5 * error)
    np.testing.assert_allclose(drawn.std(0), 0.3, atol=4.5 * error)
    stem = net.sample(key=key).stem.layers[1].weight
    np.testing.assert_array_equal(stem, net.net.stem.layers[1].weight)


def test_it_answers_as_the_average_of_networks(key):
    net, x = network(key, prior_std=1.0, std=0.5), jr.normal(key, (5, 3))
    out = net(x, paths=6, key=key)
    assert out.values.shape == (6, 5, 4)
    np.testing.assert_allclose(out.kl, np.full(6, float(net.kl())), rtol=1e-12)
    each = [net.sample(key=k)(x)[0] for k in jr.split(key, 6)]
    np.testing.assert_allclose(out.values, jnp.stack(each), rtol=1e-10)
    probs = net.predict(x, paths=6, key=key)
    np.testing.assert_allclose(probs, jax.nn.softmax(out.values, axis=-1).mean(0), rtol=1e-10)
    np.testing.assert_allclose(net.predict(x, paths=6, batch_size=2, key=key), probs, rtol=1e-10)
    alike = net(jnp.ones((5, 3)), per_example=True, kl=None, key=key)
    assert float(jnp.min(jnp.std(alike.values[0], axis=0))) > 1e-4
    assert float(alike.kl[0]) == 0


def test_training_moves_means_and_deviations_and_leaves_the_prior(key):
    net = network(key, prior_std=0.4)
    data = jr.normal(key, (8, 3)), jnp.arange(8) % 4
    trained, _ = pb.train.fit(
        net, SDEBNNLoss(8), data, optimiser=optax.adam(1e-2), steps=3, batch_size=4, key=key
    )
    assert float(trained.prior_std) == pytest.approx(0.4)
    assert jnp.all(trained.log_std != net.log_std)
    first = lambda n: n.net.block.field.layers[0].weight
    assert jnp.all(first(trained) != first(net))


def test_what_does_not_fit_is_refused(key):
    with pytest.raises(ValueError, match=r"`prior_std` must be positive, got 0"):
        network(key, prior_std=0.0)
    with pytest.raises(ValueError, match=r"`std` must be positive, got -1"):
        network(key, prior_std=1.0, std=-1.0)
    with pytest.raises(ValueError, match="`paths` must be 1 or more, got 0"):
        network(key, prior_std=1.0).predict(jnp.ones((2, 3)), paths=0, key=key)
