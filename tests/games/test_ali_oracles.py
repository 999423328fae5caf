"""Adversarially learned inference where all is known: lines with normal noise, tables of nine."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest
from linear_gaussian import (
    DATA,
    WORLD,
    BestDiscriminator,
    Line,
    best_logit,
    nodes,
    posterior,
)
from scipy import stats

from pullback.games import ALI, JointDiscriminator, fit_ali, joint_losses

OFF = (0.9, 0.3, 0.7)  # an encoder that is none of the posterior's


def by_quadrature(encoder, decoder, seen_encoder, seen_decoder):
    """Both losses by two sums, of the best discriminator for the pairs that are seen."""
    u, e, weights = nodes()
    x = DATA[0] + DATA[1] * u
    z = encoder[0] * x + encoder[1] + encoder[2] * e
    made = decoder[0] * u + decoder[1] + decoder[2] * e
    told = lambda x, z: best_logit(x, z, seen_encoder, seen_decoder, DATA)
    each = jax.vmap(joint_losses)(told(x, z)[:, None], told(made, u)[:, None])
    return [weights @ losses for losses in each]


def test_at_the_posterior_nothing_is_told_apart_and_nothing_moves():
    at = posterior()
    losses = by_quadrature(at, WORLD, at, WORLD)
    np.testing.assert_allclose(losses, 2 * np.log(2), rtol=1e-12)
    generator = lambda both: by_quadrature(both[0], both[1], at, WORLD)[1]
    gradient = jax.jit(jax.grad(generator))((at, WORLD))
    np.testing.assert_allclose(jax.tree.leaves(gradient), np.zeros(6), atol=1e-10)
    # The same discriminator does move what is not there.
    other = jax.grad(lambda both: by_quadrature(both[0], both[1], OFF, WORLD)[1])((OFF, WORLD))
    assert min(np.abs(jax.tree.leaves(other))) > 1e-3


def test_the_value_of_the_best_discriminator_is_a_jensen_shannon_divergence():
    discriminator, _ = by_quadrature(OFF, WORLD, OFF, WORLD)
    x, z = np.meshgrid(np.linspace(-9, 10, 1500), np.linspace(-11, 11, 1500), indexing="ij")
    a, b, s = WORLD
    q = stats.norm.pdf(x, *DATA) * stats.norm.pdf(z, OFF[0] * x + OFF[1], OFF[2])
    p = stats.norm.pdf(z) * stats.norm.pdf(x, a * z + b, s)
    cell = (x[1, 0] - x[0, 0]) * (z[0, 1] - z[0, 0])
    kl = lambda one: np.sum(one * np.log(np.maximum(2 * one / np.maximum(p + q, 1e-300), 1e-300)))
    divergence = cell * (kl(p) + kl(q)) / 2
    np.testing.assert_allclose(-discriminator + np.log(4), 2 * divergence, atol=1e-6)
    assert divergence > 0.05


@pytest.mark.parametrize("compiled", [False, True])
def test_losses_of_the_model_are_means_of_those(compiled, key):
    n = 40_000
    model = ALI(Line(OFF), Line(WORLD), BestDiscriminator(OFF, WORLD, DATA), prior_dim=1)
    x = DATA[0] + DATA[1] * jr.normal(jr.fold_in(key, 1), (n, 1))
    losses = eqx.filter_jit(ALI.losses) if compiled else ALI.losses
    found = losses(model, x, key=key)[:2]
    # Deviations of the two terms of either loss are below 1.
    np.testing.assert_allclose(
        found, by_quadrature(OFF, WORLD, OFF, WORLD), atol=4 * np.sqrt(2 / n)
    )


def tables(logits):
    """Both joints, of nine pairs: data and prior are given."""
    encoder, decoder = logits
    data, prior = jnp.asarray([0.5, 0.3, 0.2]), jnp.asarray([0.2, 0.2, 0.6])
    q = data[:, None] * jax.nn.softmax(encoder, axis=1)
    return q, prior[None] * jax.nn.softmax(decoder, axis=0)


def expected(q, p, logits):
    """Both losses where pairs are drawn of two tables."""
    encoder = jax.vmap(lambda t: jnp.stack(joint_losses(t[None], jnp.zeros(1))))(logits.ravel())
    decoder = jax.vmap(lambda t: jnp.stack(joint_losses(jnp.zeros(1), t[None])))(logits.ravel())
    # Each has been added to a logit of 0, whose loss is log 2.
    return tuple(q.ravel() @ encoder + p.ravel() @ decoder - 2 * np.log(2))


def test_on_tables_the_value_is_exact_and_descent_comes_to_its_least():
    start = (jr.normal(jr.key(0), (3, 3)), jr.normal(jr.key(1), (3, 3)))
    best = lambda q, p: jnp.log(q) - jnp.log(p)
    q, p = tables(start)
    middle = (np.asarray(q) + np.asarray(p)) / 2
    divergence = (
        stats.entropy(q.ravel(), middle.ravel()) + stats.entropy(p.ravel(), middle.ravel())
    ) / 2
    value = -expected(q, p, best(q, p))[0]
    np.testing.assert_allclose(value, 2 * divergence - np.log(4), rtol=1e-12)

    def step(at, _):
        told = best(*tables(at))
        slope = jax.grad(lambda at: expected(*tables(at), told)[1])(at)
        return jax.tree.map(lambda x, g: x - 3 * g, at, slope), None

    end, _ = jax.jit(lambda at: jax.lax.scan(step, at, length=3000))(start)
    q, p = tables(end)
    np.testing.assert_allclose(-expected(q, p, best(q, p))[0], -np.log(4), atol=1e-9)
    np.testing.assert_allclose(q, p, atol=1e-5)


def quadratic():
    """A discriminator that has the logit of any two lines."""
    features = lambda v: jnp.stack([jnp.ones(()), *v, v[0] ** 2, v[0] * v[1], v[1] ** 2])
    head = eqx.nn.Linear(6, "scalar", use_bias=False, key=jr.key(0))
    head = eqx.nn.Sequential([eqx.nn.Lambda(features), head])
    return JointDiscriminator(eqx.nn.Identity(), eqx.nn.Identity(), zero(head))


def zero(net):
    return jax.tree.map(lambda leaf: 0 * leaf if eqx.is_inexact_array(leaf) else leaf, net)


def test_beside_a_fixed_decoder_the_encoder_becomes_its_posterior():
    steps, batch = 4000, 125
    encoder = Line((jnp.zeros(()), jnp.zeros(()), jnp.ones(())))
    model = ALI(encoder, Line(WORLD), quadratic(), prior_dim=1)
    rate = lambda r: optax.adam(optax.cosine_decay_schedule(r, steps), b1=0.0)
    model, _ = fit_ali(
        model, lambda key: DATA[0] + DATA[1] * jr.normal(key, (batch, 1)), steps=steps,
        generator_optimiser=rate(3e-3), discriminator_optimiser=rate(6e-2), log_every=steps,
        key=jr.key(1),
    )  # fmt: skip
    np.testing.assert_allclose(model.encoder.line, posterior(), atol=0.02)
