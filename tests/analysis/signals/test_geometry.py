"""Curves with a curvature that is known, a wide network beside theory, and surfaces."""

import inspect

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from pullback.analysis.signals import MeanField, boundary_curvatures, circle, manifold_geometry
from pullback.nn import gaussian_init, hidden_states

TURN = jnp.linspace(0, 2 * jnp.pi, 65)
ITSELF = lambda x: (x,)


def ring(n, q, key):
    """A circle in n dimensions, of this mean square."""
    u = jnp.linalg.qr(jr.normal(key, (n, 2)))[0]
    return lambda t: jnp.sqrt(n * q) * (jnp.cos(t) * u[:, 0] + jnp.sin(t) * u[:, 1])


def test_a_circle_is_as_bent_as_it_is(key):
    found = manifold_geometry(ITSELF, ring(50, 0.7, key), TURN)
    np.testing.assert_allclose(found.squared_curvature * 0.7, 1, atol=1e-6)
    np.testing.assert_allclose(found.metric, 0.7, atol=1e-6)
    np.testing.assert_allclose(found.q, 0.7, atol=1e-6)
    np.testing.assert_allclose(found.turning, 2 * np.pi, rtol=1e-6)
    np.testing.assert_allclose(found.length, 2 * np.pi * 0.7**0.5, rtol=1e-6)


def test_neither_speed_nor_size_bends_a_curve(key):
    net = jr.normal(key, (30, 20)) / 3
    layers = lambda x: (jnp.tanh(net @ x), 5 * jnp.tanh(net @ x))
    curve = ring(20, 1.0, key)
    even = manifold_geometry(layers, curve, jnp.linspace(0, 2 * jnp.pi, 401))
    uneven = manifold_geometry(layers, lambda t: curve(t + 0.3 * jnp.sin(t)), jnp.array([1.0, 1.5]))
    at = jnp.array([1.0, 1.5]) + 0.3 * jnp.sin(jnp.array([1.0, 1.5]))
    same = manifold_geometry(layers, curve, at)
    np.testing.assert_allclose(uneven.squared_curvature, same.squared_curvature, rtol=1e-9)
    np.testing.assert_allclose(even.turning[0], even.turning[1], rtol=1e-9)
    np.testing.assert_allclose(even.length[1], 5 * even.length[0], rtol=1e-9)
    fast = manifold_geometry(
        layers, lambda t: curve(t + 0.3 * jnp.sin(t)), jnp.linspace(0, 2 * jnp.pi, 401)
    )
    np.testing.assert_allclose(fast.turning, even.turning, rtol=1e-6)
    np.testing.assert_allclose(fast.length, even.length, rtol=1e-6)


@pytest.mark.parametrize("scale", [1.3, 4.0])
def test_a_wide_network_bends_a_circle_as_theory_says(scale, key):
    theory, width, depth, count = MeanField(jnp.tanh), 300, 5, 8
    want = theory.curvature(scale, 0.3, depth=depth)
    q = theory.fixed_point(scale, 0.3)
    nets = eqx.nn.MLP(width, 1, width, depth - 1, jnp.tanh, key=key)

    def geometry(key):
        net = gaussian_init(nets, weight_scale=scale, bias_scale=0.3, key=key)
        # The first layer is the circle itself, whose variance is that of the fixed point.
        layers = lambda h: (h, *hidden_states(net, jnp.tanh(h)).pre[:-1])
        return manifold_geometry(layers, ring(width, q, key), TURN[::4])

    found = eqx.filter_jit(eqx.filter_vmap(geometry))(jr.split(key, count))
    for of_nets, theirs in (
        (found.metric.mean(axis=2), want.metric), (found.turning, want.turning)
    ):  # fmt: skip
        ratios = np.log(np.asarray(of_nets) / np.asarray(theirs))
        # Four standard errors, and what is off at this width.
        error = 4 * ratios.std(axis=0, ddof=1) / count**0.5
        assert np.all(np.abs(ratios.mean(axis=0)) < error + 4 / width)
        assert np.all(error < 0.2)
    assert want.turning[-1] > 2 * 2 * np.pi


def test_a_model_a_batch_size_and_float32(x32, key):
    net = eqx.nn.MLP(3, 1, 10, 2, jnp.tanh, key=key)
    curve = circle(jnp.ones(3), jnp.array([1.0, -1.0, 0.0]))
    ts = jnp.linspace(0, 1, 9)
    found = manifold_geometry(net, curve, ts)
    assert found.metric.shape == (2, 9)
    assert found.metric.dtype == jnp.float32
    few = manifold_geometry(lambda x: hidden_states(net, x).pre[:-1], curve, ts, batch_size=2)
    np.testing.assert_allclose(few.turning, found.turning, rtol=1e-4)


def test_where_the_image_stands_still_and_where_it_is_not_finite():
    still = manifold_geometry(lambda x: (x, 0 * x), lambda t: jnp.stack([t, t**2]), TURN)
    assert not still.squared_curvature[1].any()
    with pytest.raises(ValueError, match="not finite"):
        manifold_geometry(lambda x: (x * jnp.inf,), lambda t: jnp.stack([t, t]), TURN)
    with pytest.raises(ValueError, match="`ts` must rise"):
        manifold_geometry(ITSELF, lambda t: jnp.stack([t, t]), TURN[::-1])
    with pytest.raises(ValueError, match="two points or more along one axis"):
        manifold_geometry(ITSELF, lambda t: jnp.stack([t, t]), TURN[:1])
    with pytest.raises(TypeError, match="`layers` must give the tuple"):
        manifold_geometry(lambda x: x, lambda t: jnp.stack([t, t]), TURN)


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_an_image_whose_squares_are_no_numbers(x32, scale):
    curve = lambda t: jnp.stack([jnp.cos(t), jnp.sin(t)])
    found = manifold_geometry(lambda x: (x, scale * x), curve, TURN.astype(jnp.float32))
    np.testing.assert_allclose(found.turning, 2 * np.pi, rtol=1e-5)
    np.testing.assert_allclose(found.length, np.array([1, scale]) * np.pi * 2**0.5, rtol=1e-5)
    assert np.all(found.squared_curvature[1] == (np.inf if scale < 1 else 0))


def test_a_deep_network_in_the_ordered_phase_has_a_geometry(x32):
    net = eqx.nn.MLP(20, 1, 20, 8, jnp.tanh, key=jr.key(0))
    net = jax.tree.map(lambda leaf: 0.02 * leaf if eqx.is_array(leaf) else leaf, net)
    path = circle(*jr.normal(jr.key(1), (2, 20)))
    found = manifold_geometry(net, path, jnp.linspace(0, 1, 9))
    with jax.enable_x64(True):
        net, path = jax.tree.map(
            lambda leaf: jnp.asarray(leaf, float) if eqx.is_array(leaf) else leaf, (net, path)
        )
        want = manifold_geometry(net, path, jnp.linspace(0, 1, 9))
    want = jax.tree.map(np.asarray, want)
    assert want.length[-1] < 1e-12
    np.testing.assert_allclose(found.turning, want.turning, rtol=1e-3)
    np.testing.assert_allclose(found.length, want.length, rtol=1e-3)


def test_the_layer_that_is_not_finite_is_named():
    with pytest.raises(ValueError, match="layer 1 of"):
        manifold_geometry(lambda x: (x, x * jnp.nan), lambda t: jnp.stack([t, t]), TURN)


def test_boundaries_of_a_readout_of_a_tiny_slope(x32):
    found = boundary_curvatures(lambda x: 1e-25 * (x @ x), jnp.array([0.0, 2.0, 0.0]))
    np.testing.assert_allclose(found, 0.5, rtol=1e-5)


def test_a_sphere_bends_by_one_over_its_radius(key):
    centre = jr.normal(key, (6,))
    for radius in (0.5, 3.0):
        out = lambda x, radius=radius: jnp.sum(jnp.square(x - centre)) - radius**2
        for direction in (jnp.eye(6)[0], -jnp.eye(6)[0], jr.normal(key, (6,))):
            at = centre + radius * direction / jnp.linalg.norm(direction)
            np.testing.assert_allclose(boundary_curvatures(out, at), 1 / radius, rtol=1e-9)
            inside = boundary_curvatures(lambda x, out=out: -out(x), at)
            np.testing.assert_allclose(inside, -1 / radius, rtol=1e-9)


def test_a_quadric_by_its_own_axes_and_a_readout_of_any_scale(key):
    # z = sum k_i x_i^2 / 2 bends by k at the origin, turned to any direction.
    bends = jnp.array([-1.5, 0.2, 2.0])
    turn = jnp.linalg.qr(jr.normal(key, (4, 4)))[0]

    def readout(x):
        x = turn @ x
        return jnp.sinh(7 * (bends @ x[:3] ** 2 / 2 - x[3]))

    found = jax.jit(lambda x: boundary_curvatures(readout, x))(jnp.zeros(4))
    np.testing.assert_allclose(found, bends, atol=1e-9)
    np.testing.assert_allclose(boundary_curvatures(readout, jnp.zeros(4)), bends, atol=1e-9)


def test_boundaries_that_are_none():
    with pytest.raises(ValueError, match=r"slope of size 0\.0 at `x`"):
        boundary_curvatures(lambda x: x @ x, jnp.zeros(3))
    with pytest.raises(ValueError, match="must give a number"):
        boundary_curvatures(lambda x: x, jnp.ones(3))
    with pytest.raises(ValueError, match="one floating vector"):
        inspect.unwrap(boundary_curvatures)(lambda x: x.sum() * 1.0, jnp.ones(3, int))
    assert boundary_curvatures(lambda x: x[0], jnp.ones(1)).shape == (0,)
    call = inspect.unwrap(boundary_curvatures)
    with pytest.raises(TypeError, match="`x` must be an array"):
        call(lambda x: x[0], [1.0, 2.0])
    for x in (jnp.ones(0), jnp.ones(3, jnp.bfloat16)):
        with pytest.raises(ValueError, match="one floating vector, of an entry or more"):
            call(jnp.sum, x)
    with pytest.raises(ValueError, match="must give a floating number"):
        call(lambda x: jnp.argmax(x), jnp.ones(3))
