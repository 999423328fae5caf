"""Curvatures against closed forms of linear models, and what they draw against NumPy."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from pullback.nn import layer_factors
from pullback.optim import Diagonal, Full, Kronecker

RNG = np.random.default_rng(1)


def squared_loss(variance):
    def loss(model, batch, *, key):
        x, y = batch
        return jnp.mean(jnp.sum((jax.vmap(model)(x) - y) ** 2, axis=-1)) / (2 * variance), {}

    return loss


def linear(bias=True, into=3, out=2):
    return eqx.nn.Linear(into, out, use_bias=bias, key=jr.key(0), dtype=jnp.float64)


def all_signs(model, x, variance):
    """Each row with every label that lies one deviation off in each output."""
    signs = np.asarray([[1, 1], [1, -1], [-1, 1], [-1, -1]])
    means = np.asarray(jax.vmap(model)(jnp.asarray(x)))
    y = means[:, None] + np.sqrt(variance) * signs
    return jnp.asarray(np.repeat(x, 4, axis=0)), jnp.asarray(y.reshape(-1, 2))


@pytest.mark.parametrize("bias", [True, False])
def test_the_fisher_matrix_of_a_layer_is_that_kronecker_product(bias):
    model, variance, x = linear(bias), 0.7, RNG.normal(size=(9, 3))
    factors = layer_factors(
        squared_loss(variance), model, all_signs(model, x, variance), key=jr.key(0)
    )
    moments = Kronecker().measure(factors).layers[""]
    a = np.column_stack([x, np.ones(9)]) if bias else x
    np.testing.assert_allclose(moments.inputs, a.T @ a / 9, rtol=1e-12)
    np.testing.assert_allclose(moments.signals, np.eye(2) / variance, atol=1e-12)
    # Equinox's weights are [out, in]; raveled, those of one output lie together.
    if not bias:
        whole = Full().measure(factors)
        want = np.kron(moments.signals, moments.inputs)
        np.testing.assert_allclose(whole, want, atol=1e-10)
    prepared = Kronecker().prepare(
        Kronecker().measure(factors), intrinsic=1e-14, damping=0.0, scale=1.0
    )
    gradient = factors.gradient()
    found = Kronecker().solve(prepared, gradient)
    g = np.asarray(gradient.weight)
    g = np.column_stack([g, gradient.bias]) if bias else g
    want = (variance * g) @ np.linalg.inv(a.T @ a / 9)
    np.testing.assert_allclose(found.weight, want[:, :3], rtol=1e-5)


def random_moments(into, out):
    root = lambda n: RNG.normal(size=(n, n + 2))
    return tuple(r @ r.T / r.shape[1] for r in (root(into), root(out)))


def prepared_of(a, s, *, intrinsic, damping, scale):
    model = linear(bias=True, into=len(a) - 1, out=len(s))
    batch = jnp.zeros((2, len(a) - 1)), jnp.zeros((2, len(s)))
    factors = layer_factors(squared_loss(1.0), model, batch, key=jr.key(0))
    start = Kronecker().start(factors)
    np.testing.assert_array_equal(start.layers[""].inputs, np.eye(len(a)))
    given = eqx.tree_at(lambda p: (p.layers[""].inputs, p.layers[""].signals), start,
                        (jnp.asarray(a), jnp.asarray(s)))  # fmt: skip
    return model, Kronecker().prepare(given, intrinsic=intrinsic, damping=damping, scale=scale)


def by_hand(a, s, damping):
    pi = np.sqrt((np.trace(a) / len(a)) / (np.trace(s) / len(s)))
    return a + pi * np.sqrt(damping) * np.eye(len(a)), s + np.sqrt(damping) / pi * np.eye(len(s))


def test_damping_is_by_factor_and_steps_have_more_of_it_than_draws():
    a, s = random_moments(4, 3)
    model, prepared = prepared_of(a, s, intrinsic=0.01, damping=0.2, scale=0.5)
    gradient = linear(into=3, out=3)
    g = np.column_stack([gradient.weight, gradient.bias])
    stepping_a, stepping_s = by_hand(a, s, 0.21)
    want = np.linalg.inv(stepping_s) @ g @ np.linalg.inv(stepping_a)
    found = Kronecker().solve(prepared, gradient)
    np.testing.assert_allclose(found.weight, want[:, :3], rtol=1e-10)
    np.testing.assert_allclose(found.bias, want[:, 3], rtol=1e-10)
    # It is not the exact damping, and where the prior matters the gap is large.
    exact = np.linalg.inv(np.kron(s, a) + 0.21 * np.eye(12))
    factored = np.kron(np.linalg.inv(stepping_s), np.linalg.inv(stepping_a))
    assert np.linalg.norm(exact - factored) > 0.05 * np.linalg.norm(exact)

    drawing_a, drawing_s = by_hand(a, s, 0.01)
    want = 0.25 * np.kron(np.linalg.inv(drawing_s), np.linalg.inv(drawing_a))
    draw = jax.jit(jax.vmap(lambda key: Kronecker().draw(prepared, model, key=key)))
    drawn = draw(jr.split(jr.key(3), 200_000))
    flat = np.concatenate([drawn.weight, drawn.bias[..., None]], axis=-1).reshape(-1, 12)
    centre = np.column_stack([model.weight, model.bias]).ravel()
    found = (flat - centre).T @ (flat - centre) / len(flat)
    assert np.linalg.norm(found - want) < 0.01 * np.linalg.norm(want)


def test_a_dead_layer_and_a_signal_of_zero_stay_finite():
    _, prepared = prepared_of(np.zeros((3, 3)), np.zeros((2, 2)),
                              intrinsic=1e-3, damping=0.0, scale=1.0)  # fmt: skip
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(prepared))


def test_squares_are_of_each_example_and_not_of_the_mean():
    model, n = linear(), 20
    batch = jnp.asarray(RNG.normal(size=(n, 3))), jnp.asarray(RNG.normal(size=(n, 2)))
    loss = squared_loss(0.5)
    factors = layer_factors(loss, model, batch, key=jr.key(0))
    slope = jax.grad(lambda model, row: loss(model, row, key=None)[0])
    each = jax.vmap(slope, in_axes=(None, 0))(model, jax.tree.map(lambda a: a[:, None], batch))
    each = np.concatenate([each.weight, each.bias[..., None]], axis=-1)
    found = Diagonal().measure(factors).layers[""]
    np.testing.assert_allclose(found, (each**2).mean(axis=0), rtol=1e-12)
    # The mean gradient of a batch of B has h / B + (1 - 1 / B) g^2 as its mean square.
    batches = [each[RNG.choice(n, 2)].mean(axis=0) ** 2 for _ in range(40_000)]
    want = found / 2 + each.mean(axis=0) ** 2 / 2
    np.testing.assert_allclose(np.mean(batches, axis=0), want, rtol=0.05)


@pytest.mark.parametrize("curvature", [Diagonal(), Kronecker(), Full()])
def test_a_gradient_is_divided_by_the_covariance_that_is_drawn_from(curvature):
    model = eqx.nn.MLP(2, 1, 3, 1, key=jr.key(1), dtype=jnp.float64)
    batch = jnp.asarray(RNG.normal(size=(30, 2))), jnp.asarray(RNG.normal(size=(30, 1)))
    factors = layer_factors(squared_loss(0.5), model, batch, key=jr.key(0))
    prepared = curvature.prepare(curvature.measure(factors), intrinsic=0.3, damping=0.0, scale=1.0)
    params = eqx.filter(model, eqx.is_inexact_array)
    flat, back = jax.flatten_util.ravel_pytree(params)
    ravel = lambda tree: jax.flatten_util.ravel_pytree(eqx.filter(tree, eqx.is_array))[0]
    solve = lambda v: ravel(curvature.solve(prepared, back(v)))
    want = jax.vmap(solve)(jnp.eye(len(flat)))
    draw = lambda key: ravel(curvature.draw(prepared, model, key=key)) - flat
    drawn = np.asarray(jax.jit(jax.vmap(draw))(jr.split(jr.key(1), 100_000)))
    found = drawn.T @ drawn / len(drawn)
    assert np.linalg.norm(found - want) < 0.02 * np.linalg.norm(want)


@pytest.mark.parametrize("curvature", [Diagonal(), Kronecker()])
@pytest.mark.parametrize("bias", [True, False])
def test_noise_of_an_example_has_the_law_of_weights_that_are_drawn(curvature, bias):
    model = linear(bias)
    x, s = RNG.normal(size=3), RNG.normal(size=2)
    batch = jnp.asarray(RNG.normal(size=(30, 3))), jnp.asarray(RNG.normal(size=(30, 2)))
    factors = layer_factors(squared_loss(0.5), model, batch, key=jr.key(0))
    prepared = curvature.prepare(curvature.measure(factors), intrinsic=0.3, damping=5.0, scale=1.5)
    count = 40_000
    keys = jr.split(jr.key(2), count)

    def by_noise(key, exact):
        noise = curvature.noise(prepared, exact=exact, key=key)[""]
        forward, kept = noise.forward(jnp.asarray(x))
        return jnp.concatenate([forward, noise.backward(kept, jnp.asarray(s))])

    def by_weights(key):
        drawn = curvature.draw(prepared, model, key=key)
        into = drawn.weight - model.weight
        added = into @ x + (drawn.bias - model.bias if bias else 0)
        return jnp.concatenate([added, into.T @ s])

    want = np.asarray(jax.jit(jax.vmap(by_weights))(keys))
    exact, mean = (
        np.asarray(jax.jit(jax.vmap(lambda key, e=e: by_noise(key, e)))(keys))
        for e in (True, False)
    )
    for found in (exact, mean):
        np.testing.assert_allclose(found.mean(axis=0), 0, atol=4 * want.std() / np.sqrt(count) * 2)
    # Of the diagonal the entries of what comes back vary as they should, each for itself.
    both = np.ones((5, 5), bool)
    if isinstance(curvature, Diagonal):
        both[2:, 2:] = np.eye(3)
    scale = np.sqrt(np.outer(want.var(axis=0), want.var(axis=0)))
    error = (np.cov(exact.T) - np.cov(want.T)) / scale
    assert np.abs(error[both]).max() < 8 / np.sqrt(count)
    # The mean given what went forwards varies less, and as much with that.
    error = (np.cov(mean.T) - np.cov(want.T)) / scale
    assert np.abs(error[:2]).max() < 8 / np.sqrt(count)
    assert (mean.var(axis=0)[2:] < want.var(axis=0)[2:]).all()


def test_an_input_of_zeros_passes():
    model = linear(bias=False)
    factors = layer_factors(
        squared_loss(1.0), model, (jnp.ones((4, 3)), jnp.ones((4, 2))), key=jr.key(0)
    )
    for curvature in (Diagonal(), Kronecker()):
        prepared = curvature.prepare(
            curvature.measure(factors), intrinsic=0.1, damping=0.0, scale=1.0
        )
        noise = curvature.noise(prepared, exact=True, key=jr.key(0))[""]
        forward, kept = noise.forward(jnp.zeros(3))
        assert np.isfinite(noise.backward(kept, jnp.ones(2))).all()
        np.testing.assert_array_equal(forward, 0)


def test_convolutions_sum_inputs_over_places_and_average_signals():
    conv = eqx.nn.Conv2d(2, 3, 2, key=jr.key(0), dtype=jnp.float64)
    images = jnp.asarray(RNG.normal(size=(5, 2, 4, 4)))
    loss = lambda model, x, *, key: (jnp.mean(jnp.sum(jax.vmap(model)(x) ** 2, (1, 2, 3))), {})
    factors = layer_factors(loss, conv, images, key=jr.key(0))
    layer, moments = factors.layers[""], Kronecker().measure(factors).layers[""]
    a, s = np.asarray(layer.whole_input()), np.asarray(layer.signal)
    np.testing.assert_allclose(moments.inputs, np.einsum("ntj,ntk->jk", a, a) / 5, rtol=1e-12)
    np.testing.assert_allclose(moments.signals, np.einsum("ntj,ntk->jk", s, s) / 45, rtol=1e-12)
    prepared = Kronecker().prepare(
        Kronecker().measure(factors), intrinsic=1e-2, damping=0.0, scale=1.0
    )
    drawn = Kronecker().draw(prepared, conv, key=jr.key(1))
    assert drawn.weight.shape == conv.weight.shape
    assert drawn.bias.shape == conv.bias.shape
