"""Lipschitz layers against singular value decompositions, dense operators and grids of slopes."""

import functools
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from pullback.nn import (
    InducedNormLinear,
    LipschitzConv2d,
    LipschitzConvNet,
    LipschitzLinear,
    LipschitzMLP,
    LipSwish,
    MaxMin,
    bounded,
    follow,
    lipschitz_bound,
    lipschitz_lower_bound,
    lipschitz_upper_bound,
    slope_bound,
    update_spectral_norms,
)
from pullback.nn._warm import generic, stamp_of

settle = functools.partial(update_spectral_norms, rtol=1e-9, max_steps=20_000)


def with_weight(layer, weight):
    return settle(eqx.tree_at(lambda layer: layer.weight, layer, weight))


def operator(layer, kernel):
    """The convolution as a dense matrix, by XLA's own convolution."""
    shape = (kernel.shape[1], *layer.size)
    eye = jnp.eye(math.prod(shape)).reshape(-1, *shape)
    out = jax.lax.conv_general_dilated(eye, kernel, (layer.stride,) * 2, layer.padding)
    return np.asarray(out.reshape(len(eye), -1)).T


@pytest.mark.parametrize("bound", [0.5, 10.0, math.inf])
def test_a_dense_layer_is_projected_below_its_bound(bound, key):
    layer = LipschitzLinear(6, 4, bound=bound, key=key)
    layer = with_weight(layer, 2 * jr.normal(key, (4, 6)))
    norm = np.linalg.svd(layer.weight)[1][0]
    found = np.linalg.svd(layer.effective_weight())[1]
    np.testing.assert_allclose(found[0], min(norm, bound), rtol=1e-12)
    np.testing.assert_allclose(layer.certified(), found[0], rtol=1e-12)
    if bound > norm:
        np.testing.assert_array_equal(layer.effective_weight(), layer.weight)
    x = jr.normal(key, (6,))
    np.testing.assert_allclose(layer(x), layer.effective_weight() @ x + layer.bias)


def test_the_gradient_of_the_projection_and_without_its_norm(key):
    layer = with_weight(LipschitzLinear(3, 3, bound=0.7, key=key), jr.normal(key, (3, 3)))
    cotangent = jr.normal(jr.key(1), (3, 3))
    loss = lambda layer: jnp.sum(cotangent * layer.effective_weight())

    def exact(weight):
        return np.sum(cotangent * weight) / max(1, np.linalg.svd(weight)[1][0] / 0.7)

    gradient, h = eqx.filter_grad(loss)(layer), 1e-6
    for i, j in np.ndindex(3, 3):
        weight, other = np.array(layer.weight), np.array(layer.weight)
        weight[i, j] += h
        other[i, j] -= h
        slope = (exact(weight) - exact(other)) / (2 * h)
        np.testing.assert_allclose(gradient.weight[i, j], slope, atol=1e-8)
    np.testing.assert_array_equal(gradient.vector, 0)
    # At the bound nothing is felt of the largest singular direction: u^T grad v = 0 there.
    fixed = LipschitzLinear(3, 3, bound=0.7, through_norm=False, key=key)
    fixed = with_weight(fixed, layer.weight)
    want = cotangent * 0.7 / np.linalg.svd(layer.weight)[1][0]
    np.testing.assert_allclose(eqx.filter_grad(loss)(fixed).weight, want, rtol=1e-10)


@pytest.mark.parametrize(
    ("kernel", "stride", "padding"),
    [(3, 1, "SAME"), (3, 2, "SAME"), (2, 1, "VALID"), (1, 1, "SAME"), (1, 2, "VALID")],
)
def test_a_convolution_has_the_norm_of_its_dense_operator(kernel, stride, padding, key):
    layer = LipschitzConv2d(
        2, 3, kernel, size=(5, 4), stride=stride, padding=padding, bound=0.6, key=key
    )
    layer = with_weight(layer, jr.normal(key, layer.weight.shape))
    matrix = operator(layer, layer.weight)
    norm = np.linalg.svd(matrix)[1][0]
    np.testing.assert_allclose(layer.weight / layer.effective_weight(), norm / 0.6, rtol=1e-10)
    np.testing.assert_allclose(layer.certified(), 0.6, rtol=1e-10)
    x = jr.normal(key, (2, 5, 4))
    out = layer(x) - layer.bias[:, None, None]
    np.testing.assert_allclose(np.ravel(out), matrix @ np.ravel(x) * 0.6 / norm, rtol=1e-10)


def test_the_norm_of_a_kernel_laid_out_as_a_matrix_is_not_that_of_the_convolution(key):
    size = 16
    layer = LipschitzConv2d(1, 1, 3, size=(size, size), bound=1.0, key=key)
    layer = with_weight(layer, jnp.full((1, 1, 3, 3), 1 / 3))
    assert np.linalg.norm(layer.weight.reshape(1, 9), 2) == pytest.approx(1)
    # Rows and columns are each the tridiagonal matrix of ones, whose norm is known.
    norm = (1 + 2 * np.cos(np.pi / (size + 1))) ** 2 / 3
    assert norm > 2.9
    np.testing.assert_allclose(layer.scale(), norm, rtol=1e-12)


def test_every_layer_of_a_stack_is_refreshed(key):
    make = lambda key: LipschitzMLP(3, 4, 1, bound=0.5, activation=jnp.tanh, key=key)
    keys = jr.split(key, 6).reshape(2, 3)
    stack = eqx.filter_vmap(eqx.filter_vmap(make))(keys)
    # What an update does: other weights under the old vectors.
    moved = jax.tree.map(lambda a: jr.normal(key, a.shape) if np.ndim(a) > 3 else a, stack)
    found = settle({"model": moved, "step": 3})
    assert found["step"] == 3
    certify = eqx.filter_jit(eqx.filter_vmap(eqx.filter_vmap(lipschitz_upper_bound)))
    for before, after in zip(moved.layers, found["model"].layers, strict=True):
        np.testing.assert_array_equal(before.weight, after.weight)
        np.testing.assert_allclose(certify(before), 0.5, rtol=1e-3)
        np.testing.assert_allclose(certify(after), 0.5, rtol=1e-9)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize("compiled", [False, True])
def test_the_bound_holds_for_weights_that_no_refresh_has_seen(compiled, dtype, key):
    apply = eqx.filter_jit if compiled else (lambda f: f)
    effective = apply(lambda layer: layer.effective_weight())
    operators = apply(lambda layer: bounded(layer).weight)
    start = LipschitzLinear(6, 6, bound=0.9, dtype=dtype, key=key)
    # The old vector is a singular one of the new weight, and not of its largest value.
    across = eqx.tree_at(lambda layer: layer.vector, start, jnp.eye(6, dtype=dtype)[0])
    swapped = jnp.asarray(start.weight)[:, ::-1] * 8
    for layer, weight in (
        (start, 5 * jr.normal(key, (6, 6), dtype)),
        (start, jnp.linspace(0.1, 3, 36, dtype=dtype).reshape(6, 6)),
        (start, swapped),
        (start, -start.weight.at[0].multiply(-4)),
        (across, jnp.diag(jnp.array([1.0, 0.1, 3.0, 2.9, 0.0, 1.0], dtype))),
    ):
        layer = eqx.tree_at(lambda layer: layer.weight, layer, weight)
        for found in (effective(layer), operators(layer)):
            assert found.dtype == dtype
            np.testing.assert_allclose(np.linalg.svd(found)[1][0], 0.9, rtol=1e-3)
    conv = LipschitzConv2d(2, 2, 3, size=(4, 4), bound=0.9, dtype=dtype, key=key)
    conv = eqx.tree_at(lambda c: c.weight, conv, jr.normal(key, conv.weight.shape, dtype))
    kernel = effective(conv).astype(jnp.float64)
    np.testing.assert_allclose(np.linalg.svd(operator(conv, kernel))[1][0], 0.9, rtol=1e-3)


def test_a_vector_that_starts_nearly_across_is_not_taken_to_have_settled(key):
    """From 1e-3 off the wrong direction each turn is a short one, longer than the last."""
    layer = LipschitzLinear(2, 2, bound=0.9, dtype=jnp.float32, key=key)
    # What the layer starts from is half its vector and half a direction of its own.
    start = generic(layer.vector) + layer.vector
    across = jnp.asarray([-start[1], start[0]]) / jnp.linalg.norm(start)
    largest = across + 5e-4 * start / jnp.linalg.norm(start)
    other = jnp.asarray([-largest[1], largest[0]])
    turned = jnp.stack([5.5 * largest, 5.2 * other]).astype(jnp.float32)
    layer = eqx.tree_at(lambda layer: layer.weight, layer, turned)
    for found in (layer.effective_weight(), eqx.filter_jit(lambda x: x.effective_weight())(layer)):
        np.testing.assert_allclose(np.linalg.svd(found)[1][0], 0.9, rtol=1e-4)


def test_a_stamp_tells_weights_apart(key):
    weight = jr.normal(key, (7, 5), jnp.float32)
    others = [
        weight,
        weight.at[3, 2].set(jnp.nextafter(weight[3, 2], 9.0)),
        weight[::-1],
        weight.T.reshape(7, 5),
        weight.at[:2, 0].multiply(-1),
        2 * weight,
        4 * weight,
        weight.at[:4].multiply(-1),
    ]
    for dtype in (jnp.float32, jnp.float64, jnp.bfloat16, jnp.float16):
        kept = [w for i, w in enumerate(others) if i != 1 or dtype in (jnp.float32, jnp.float64)]
        stamps = {tuple(stamp_of(w.astype(dtype)).tolist()) for w in kept}
        assert len(stamps) == len(kept)
        assert all(0 <= part < 1 for stamp in stamps for part in stamp)


def test_a_vector_that_lies_across_gets_away_from_there(key):
    layer = LipschitzLinear(4, 4, bound=0.9, key=key)
    layer = eqx.tree_at(
        lambda layer: (layer.weight, layer.vector),
        layer,
        (jnp.diag(jnp.array([2.0, 1.0, 3.0, 1.0])), jnp.eye(4)[0]),
    )
    run = jax.jit(lambda n: jax.lax.fori_loop(0, n, lambda _, layer: follow(layer), layer))
    np.testing.assert_allclose(run(40).scale(), 3 / 0.9, rtol=1e-5)


def test_refreshing_takes_no_gradient_and_a_zero_weight_is_no_trouble(key):
    layer = with_weight(LipschitzLinear(3, 3, bound=0.5, key=key), jnp.zeros((3, 3)))

    @jax.jit
    @jax.grad
    def gradient(weight):
        moved = eqx.tree_at(lambda layer: layer.weight, layer, weight)
        return jnp.sum(update_spectral_norms(moved)(jnp.ones(3)))

    np.testing.assert_array_equal(gradient(layer.weight), np.ones((3, 3)))
    np.testing.assert_array_equal(layer(jnp.ones(3)), layer.bias)


def is_shape(leaf):
    return isinstance(leaf, jax.ShapeDtypeStruct)


def test_layers_keep_float32(key):
    for layer, x in (
        (LipschitzLinear(3, 2, dtype=jnp.float32, key=key), jnp.ones(3, jnp.float32)),
        (
            LipschitzConvNet(1, 2, size=(3, 3), dtype=jnp.float32, key=key),
            jnp.ones((1, 3, 3), jnp.float32),
        ),
    ):
        of = lambda layer, x: (update_spectral_norms(layer), layer(x), layer.certified())
        leaves = jax.tree.leaves(eqx.filter(eqx.filter_eval_shape(of, layer, x), is_shape))
        assert {leaf.dtype for leaf in leaves} == {jnp.dtype(jnp.float32)}
        assert layer(x).dtype == layer.certified().dtype == jnp.float32  # and eagerly


def test_bounds_from_above_and_below_enclose_the_truth(key):
    matrix = jr.normal(key, (3, 3))
    linear = eqx.nn.Linear(3, 3, key=key)
    linear = eqx.tree_at(lambda layer: layer.weight, linear, matrix)
    points = jr.normal(key, (4, 3))
    norm = np.linalg.svd(matrix)[1][0]
    found = lipschitz_lower_bound(linear, points, steps=2000, key=key)
    np.testing.assert_allclose(found, norm, rtol=1e-10)
    np.testing.assert_allclose(lipschitz_upper_bound(linear), norm, rtol=1e-12)
    net = settle(LipschitzMLP(3, 5, 1, bound=0.8, key=key))
    dense = jax.jit(jax.vmap(lambda x: jnp.linalg.norm(jax.jacfwd(net)(x), 2)))(points)
    below = lipschitz_lower_bound(net, points, steps=500, key=key)
    np.testing.assert_allclose(below, max(dense), rtol=1e-6)
    singular = [np.linalg.svd(layer.effective_weight())[1][0] for layer in net.layers]
    np.testing.assert_allclose(lipschitz_upper_bound(net), np.prod(singular), rtol=1e-12)
    assert below < lipschitz_upper_bound(net) <= lipschitz_bound(net) + 1e-9


def test_the_bound_by_construction_is_a_product(key):
    net = LipschitzMLP(2, 4, 2, bound=0.9, activation=jax.nn.silu, key=key)
    assert lipschitz_bound(net) == pytest.approx(0.9**3 * 1.09984**3)
    later = LipschitzMLP(2, 4, 2, bound=0.9, first_activation=False, key=key)
    assert lipschitz_bound(later) == pytest.approx(0.9**3)
    images = LipschitzConvNet(2, 4, size=(3, 3), bound=0.8, activation=MaxMin(), key=key)
    assert lipschitz_bound(images) == pytest.approx(0.8**3)
    both = eqx.nn.Sequential([net, eqx.nn.Lambda(jnp.tanh), eqx.nn.Identity(), later])
    assert lipschitz_bound(both) == pytest.approx(0.9**6 * 1.09984**3)
    assert lipschitz_upper_bound(both) <= lipschitz_bound(both) + 1e-6
    for unknown in (eqx.nn.Linear(2, 2, key=key), lambda x: x):
        assert lipschitz_bound(unknown) == math.inf
    assert lipschitz_bound(LipschitzLinear(2, 2, bound=math.inf, key=key)) == math.inf


def test_nets_alternate_layers_and_activations(key):
    x = jr.normal(key, (2,))
    for first in (True, False):
        net = LipschitzMLP(2, 4, 1, activation=jnp.tanh, first_activation=first, key=key)
        inner, outer = net.layers
        want = outer(jnp.tanh(inner(jnp.tanh(x) if first else x)))
        np.testing.assert_array_equal(net(x), want)
    net = LipschitzMLP(2, 4, 1, activation=LipSwish(0.1), key=key)
    one, other = (activation.sharpness for activation in net.activations)
    assert one.unsafe_buffer_pointer() != other.unsafe_buffer_pointer()


def test_lipswish_has_slope_below_one_for_every_sharpness():
    grid = jnp.linspace(-60, 60, 240_001)
    slopes = eqx.filter_jit(lambda f: jax.vmap(jax.grad(f))(grid))
    for b in (-3.0, 0.0, 0.5, 3.0, 7.0):
        found = slopes(LipSwish(b))
        assert 0.99 < found.max() < 1
        assert found.min() > -1
        np.testing.assert_allclose(found[120_000], 0.5 / 1.1)


def test_the_table_of_slopes_against_a_fine_grid():
    grid = jnp.linspace(-20, 20, 80_001)
    nn = jax.nn
    for activation in (
        *(nn.relu, nn.elu, nn.celu, nn.selu, nn.silu, nn.gelu, nn.sigmoid, nn.softplus),
        *(nn.leaky_relu, nn.log_sigmoid, nn.soft_sign, nn.hard_tanh, jnp.tanh, jnp.sin, jnp.abs),
    ):
        slopes = jax.vmap(jax.grad(activation))(grid)
        most = float(jnp.max(jnp.abs(slopes)))
        assert most <= slope_bound(activation) <= most * 1.001
    assert slope_bound(lambda x: x) == math.inf


def test_maxmin_permutes(key):
    x = jr.normal(key, (6,))
    jacobian = np.asarray(jax.jacfwd(MaxMin())(x))
    np.testing.assert_array_equal(jacobian @ jacobian.T, np.eye(6))
    want = np.sort(np.asarray(x).reshape(3, 2), axis=1)[:, ::-1].ravel()
    np.testing.assert_array_equal(MaxMin()(x), want)


def test_errors_name_the_argument(key):
    for make, match in (
        (lambda: LipschitzLinear(2, 2, bound=0.0, key=key), "`bound` must be above 0"),
        (lambda: LipschitzLinear(0, 2, key=key), "`in_size` must be 1 or more"),
        (lambda: LipschitzLinear(2, 2, key=key)(jnp.ones(5)), "`x` must be one vector"),
        (lambda: update_spectral_norms(None, max_steps=0), "`max_steps` must be 1 or more"),
        (lambda: update_spectral_norms(None, rtol=-1.0), "`rtol` must be 0 or more"),
        (
            lambda: LipschitzConv2d(1, 1, 3, size=(2, 2), padding="VALID", key=key),
            "`kernel_size` must fit",
        ),
        (
            lambda: LipschitzConv2d(1, 1, 1, size=(2, 2), key=key)(jnp.ones((1, 3, 3))),
            "`x` must be one image",
        ),
        (lambda: LipschitzMLP(2, 2, -1, key=key), "`depth` must be 0 or more"),
        (lambda: MaxMin()(jnp.ones(3)), "even first axis"),
        (
            lambda: lipschitz_lower_bound(jnp.tanh, jnp.ones((1, 2)), steps=0, key=key),
            "`steps` must be 1 or more",
        ),
        (lambda: lipschitz_lower_bound(jnp.tanh, jnp.ones((0, 2)), key=key), "`points`"),
    ):
        with pytest.raises(ValueError, match=match):
            make()


@eqx.filter_jit
def weights_and_slope(layer, cotangent):
    """The effective weight, its slope along a cotangent, and the weight after an update."""
    found = lambda layer: layer.effective_weight().reshape(cotangent.shape)
    slope = eqx.filter_grad(lambda layer: jnp.vdot(found(layer), cotangent))(layer)
    return found(layer), slope.weight.reshape(cotangent.shape), found(update_spectral_norms(layer))


@pytest.mark.parametrize("scale", [1e-30, 1e-16, 1.0, 1e16, 1e30])
def test_norms_and_their_gradients_are_right_at_any_scale(scale, key):
    weight = np.asarray(jr.normal(key, (4, 6), jnp.float32))
    norm = np.linalg.svd(weight)[1][0]
    bound = 0.5 * min(1, scale)
    dense = LipschitzLinear(6, 4, bound=bound, dtype=jnp.float32, key=key)
    conv = LipschitzConv2d(6, 4, 1, size=(2, 2), bound=bound, dtype=jnp.float32, key=key)
    induced = InducedNormLinear(6, 4, bound=bound, dtype=jnp.float32, key=key)
    cotangent = jr.normal(jr.key(1), weight.shape, jnp.float32)

    for layer in (dense, conv, induced):
        at = jnp.asarray(weight * np.float32(scale)).reshape(layer.weight.shape)
        layer = eqx.tree_at(lambda layer: layer.weight, layer, at)  # as an update leaves it
        found, gradient, again = weights_and_slope(layer, cotangent)
        np.testing.assert_allclose(found, weight * (bound / norm), rtol=2e-5)
        np.testing.assert_allclose(again, found, rtol=2e-5)
        bare = bound / scale / norm
        np.testing.assert_allclose(gradient / bare, exact_slope(weight, cotangent), atol=2e-3)
    push = eqx.Partial(jnp.matmul, jnp.asarray(weight * np.float32(scale)))
    stretch = lipschitz_lower_bound(push, jnp.zeros((1, 6), jnp.float32), key=key)
    np.testing.assert_allclose(stretch, scale * norm, rtol=1e-5)


def exact_slope(weight, cotangent):
    """Of `<W, C> / |W|` by W, times the norm."""
    weight, cotangent = np.asarray(weight, float), np.asarray(cotangent, float)
    u, s, vt = np.linalg.svd(weight)
    return cotangent - np.outer(u[:, 0], vt[0]) * np.vdot(weight, cotangent) / s[0]
