"""Layers of induced norms against every direction of the plane."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from pullback.nn import (
    InducedNormLinear,
    InducedNormMLP,
    bounded,
    lipschitz_bound,
    update_spectral_norms,
)

ANGLES = np.linspace(0, np.pi, 100_001)
CIRCLE = np.stack([np.cos(ANGLES), np.sin(ANGLES)])


def over_all_directions(matrix, p, q):
    out = np.linalg.norm(np.asarray(matrix) @ CIRCLE, float(q), axis=0)
    return np.max(out / np.linalg.norm(CIRCLE, float(p), axis=0))


def test_a_layer_is_projected_below_its_bound(key):
    layer = InducedNormLinear(2, 5, domain=3.0, codomain=1.5, bound=0.4, key=key)
    layer = eqx.tree_at(lambda layer: layer.weight, layer, jr.normal(key, (5, 2)))
    layer = update_spectral_norms(layer, rtol=1e-10, max_steps=5000)
    found = over_all_directions(layer.effective_weight(), 3.0, 1.5)
    np.testing.assert_allclose(found, 0.4, rtol=1e-8)
    assert found <= layer.certified() < 2 * found
    x = jr.normal(key, (2,))
    np.testing.assert_allclose(layer(x), layer.effective_weight() @ x + layer.bias)


def test_of_one_outer_product_the_certified_bound_is_the_norm(key):
    """|a b^T| from p to q is |a|_q |b|_p*, with 1/p + 1/p* = 1, by rows and by columns."""
    layer = InducedNormLinear(3, 4, domain=3.0, codomain=1.5, bound=np.inf, key=key)
    a, b = np.array([1.0, -2.0, 0.5, 3.0]), np.array([0.3, -1.0, 2.0])
    layer = eqx.tree_at(lambda layer: layer.weight, layer, jnp.asarray(np.outer(a, b)))
    want = np.linalg.norm(a, 1.5) * np.linalg.norm(b, 1.5)  # of 3 the dual order is 3 / 2
    np.testing.assert_allclose(layer.certified(), want, rtol=1e-6)


def test_a_net_is_a_contraction_in_the_norm_that_it_names(key):
    net = InducedNormMLP(2, 4, 1, bound=0.9, activation=jnp.tanh, key=key)
    # Large weights, so that every layer stands at its bound.
    net = eqx.tree_at(
        lambda net: (net.layers[0].weight, net.layers[1].weight, net.raw_orders),
        net,
        (jr.normal(key, (4, 2)), jr.normal(key, (2, 4)), jnp.array([1.0, -2.0])),
    )
    net = update_spectral_norms(net, rtol=1e-10, max_steps=5000)
    p = net.orders()
    np.testing.assert_allclose(p, 1 + 4 / (1 + np.exp([-1.0, 2.0, -1.0])))
    first, last = (layer.weight_between(p[i : i + 2]) for i, layer in enumerate(net.layers))
    np.testing.assert_allclose(over_all_directions(first, p[0], p[1]), 0.9, rtol=1e-8)
    dual = [over_all_directions(last.T, p[2] / (p[2] - 1), p[1] / (p[1] - 1))]
    np.testing.assert_allclose(dual, 0.9, rtol=1e-8)
    assert lipschitz_bound(net) == pytest.approx(0.81)
    want = last @ jnp.tanh(first @ jnp.tanh(jnp.ones(2)) + net.layers[0].bias) + net.layers[1].bias
    np.testing.assert_allclose(net(jnp.ones(2)), want)
    # The Jacobian anywhere, over every direction.
    for x in 0.5 * jr.normal(key, (3, 2)):
        assert over_all_directions(jax.jacfwd(net)(x), p[0], p[0]) <= 0.81


def test_the_gradient_reaches_the_orders(key):
    layer = InducedNormLinear(2, 3, domain=3.0, codomain=1.5, bound=0.1, key=key)
    layer = update_spectral_norms(layer, rtol=1e-12, max_steps=5000)
    cotangent, h = jr.normal(key, (3, 2)), 1e-4
    loss = lambda p, q: jnp.sum(cotangent * layer.weight_between(jnp.stack([p, q])))

    def exact(p, q):
        return np.sum(cotangent * layer.weight) * 0.1 / over_all_directions(layer.weight, p, q)

    p, q = layer.given_orders()
    found = jax.grad(loss, (0, 1))(p, q)
    want = (
        (exact(p + h, q) - exact(p - h, q)) / (2 * h),
        (exact(p, q + h) - exact(p, q - h)) / (2 * h),
    )
    np.testing.assert_allclose(found, want, rtol=1e-4)
    fixed = InducedNormMLP(2, 2, 0, bound=0.1, learn_orders=False, key=key)
    gradient = eqx.filter_grad(lambda net: jnp.sum(net(jnp.ones(2))))(fixed)
    np.testing.assert_array_equal(gradient.raw_orders, 0)
    decayed = eqx.tree_at(lambda net: net.raw_orders, fixed, 0.5 * fixed.raw_orders)
    np.testing.assert_allclose(decayed.orders(), 2)


@pytest.mark.parametrize("compiled", [False, True])
def test_a_net_keeps_its_bounds_under_other_weights_and_orders(compiled, key):
    net = InducedNormMLP(2, 3, 1, bound=0.3, activation=jnp.tanh, key=key)
    moved = jax.tree.map(lambda a: a + jr.normal(key, a.shape) if eqx.is_array(a) else a, net)
    p = moved.orders()
    weights = lambda net: tuple(
        layer.weight_between(p[i : i + 2]) for i, layer in enumerate(net.layers)
    )
    first, last = (eqx.filter_jit(weights) if compiled else weights)(moved)
    np.testing.assert_allclose(over_all_directions(first, p[0], p[1]), 0.3, rtol=1e-3)
    dual = over_all_directions(last.T, p[2] / (p[2] - 1), p[1] / (p[1] - 1))
    np.testing.assert_allclose(dual, 0.3, rtol=1e-3)
    x = jnp.ones(2)
    np.testing.assert_allclose(bounded(moved)(x), moved(x), rtol=1e-12)


def test_a_stack_of_nets_is_refreshed(key):
    stack = eqx.filter_vmap(lambda key: InducedNormMLP(2, 3, 1, bound=0.2, key=key))(
        jr.split(key, 2)
    )
    stack = update_spectral_norms(stack, rtol=1e-10, max_steps=5000)
    for weight in eqx.filter_vmap(lambda net: net.layers[0].effective_weight())(stack):
        np.testing.assert_allclose(over_all_directions(weight, 2.0, 2.0), 0.2, rtol=1e-7)


def test_errors_name_the_argument(key):
    with pytest.raises(ValueError, match="`domain` must be above 1"):
        InducedNormLinear(2, 2, domain=1.0, key=key)
    with pytest.raises(ValueError, match="`depth` must be 0 or more"):
        InducedNormMLP(2, 2, -1, key=key)
