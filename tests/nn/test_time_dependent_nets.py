"""Time-dependent networks against forward passes written out in NumPy from their weights."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from scipy.signal import correlate

from pullback.nn import (
    ConcatConvNet,
    ConcatMLP,
    ConcatSquashMLP,
    HyperPlanarField,
    convolve,
)

VECTOR = jnp.array([0.3, -1.1, 0.7])
IMAGE = jr.normal(jr.key(5), (4, 5, 3))
T = 0.6


def make(kind: str, **options) -> tuple[Any, jax.Array]:
    options = {"key": jr.key(0), **options}
    match kind:
        case "mlp":
            return ConcatMLP(3, 4, 2, **options), VECTOR
        case "squash":
            return ConcatSquashMLP(3, 4, 2, **options), VECTOR
        case "conv":
            return ConcatConvNet(4, groups=2, **options), IMAGE
    options.pop("zero_last", None)
    return HyperPlanarField(3, units=5, width=4, **options), VECTOR


KINDS = ("mlp", "squash", "conv", "hyper")


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def test_concat_mlp_forward():
    field, y = make("mlp", zero_last=False)
    h = np.asarray(y)
    for i, layer in enumerate(field.layers):
        appended = np.concatenate([layer.weight, layer.time_weight[:, None]], axis=1)
        h = appended @ np.append(h, T) + np.asarray(layer.bias)
        h = np.tanh(h) if i < 2 else h
    np.testing.assert_allclose(field(T, y), h, rtol=1e-13)


def test_concat_squash_forward():
    field, y = make("squash", zero_last=False, activation=jax.nn.softplus)
    h = np.asarray(y)
    for i, layer in enumerate(field.layers):
        w, b, a, c, d = (
            np.asarray(x)
            for x in (
                layer.weight,
                layer.bias,
                layer.gate_weight,
                layer.gate_bias,
                layer.time_weight,
            )
        )
        h = (w @ h + b) * sigmoid(a * T + c) + d * T
        h = np.logaddexp(h, 0) if i < 2 else h
    np.testing.assert_allclose(field(T, y), h, rtol=1e-13)


def test_concat_conv_forward():
    field, y = make("conv", zero_last=False)

    def norm(x):
        grouped = x.reshape(2, -1)
        centred = grouped - grouped.mean(axis=1, keepdims=True)
        return (centred / np.sqrt(grouped.var(axis=1, keepdims=True) + 1e-5)).reshape(x.shape)

    h = np.asarray(y)
    for conv in field.convs:
        h = np.concatenate([np.maximum(norm(h), 0), np.full((1, 5, 3), T)])
        planes = [
            sum(correlate(h[i], np.asarray(conv.weight)[o, i], mode="same") for i in range(5))
            for o in range(4)
        ]
        h = np.stack(planes) + np.asarray(conv.bias)
    np.testing.assert_allclose(field(T, y), norm(h), rtol=1e-11, atol=1e-12)


def test_hyper_planar_forward():
    field, y = make("hyper")
    h = np.array([T])
    for i, layer in enumerate(field.hyper):
        h = np.asarray(layer.weight) @ h + np.asarray(layer.bias)
        h = np.tanh(h) if i < 2 else h
    w, u, gate = h[:45].reshape(3, 5, 3)
    b = h[45:]
    want = sum(np.tanh(w[n] @ np.asarray(y) + b[n]) * u[n] * sigmoid(gate[n]) for n in range(5)) / 5
    np.testing.assert_allclose(field(T, y), want, rtol=1e-13)


def test_hyper_planar_divergence_is_the_trace_of_the_dense_jacobian():
    field, y = make("hyper")
    velocity, divergence = field.with_divergence(T, y)
    np.testing.assert_array_equal(velocity, field(T, y))
    np.testing.assert_allclose(
        divergence, jnp.trace(jax.jacfwd(lambda y: field(T, y))(y)), rtol=1e-12
    )


@pytest.mark.parametrize("kind", ["mlp", "squash", "conv"])
def test_zero_last_is_exactly_zero_but_can_be_trained(kind):
    field, y = make(kind)
    np.testing.assert_array_equal(field(T, y), 0)
    gradient = jax.grad(lambda field: jnp.sum(field(T, y) * y))(field)
    assert max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(gradient)) > 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_dependence_on_time_against_finite_differences(kind):
    field, y = make(kind, zero_last=False)
    at = jax.jit(lambda t: field(t, y))
    h = 1e-5
    _, rate = jax.jvp(at, (jnp.array(T),), (jnp.array(1.0),))
    slope = (at(T + h) - at(T - h)) / (2 * h)
    assert float(jnp.abs(slope).max()) > 1e-3
    np.testing.assert_allclose(rate, slope, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("kind", KINDS)
def test_vmap_over_states_with_one_time(kind):
    field, y = make(kind, zero_last=False)
    ys = jnp.stack([y, 2 * y, -y])
    batch = jax.jit(jax.vmap(field, in_axes=(None, 0, None)))(T, ys, None)
    for one, x in zip(batch, ys, strict=True):
        np.testing.assert_allclose(one, field(T, x), rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("kind", KINDS)
def test_time_is_cast_and_weights_take_the_dtype(kind):
    field, y = make(kind, zero_last=False, dtype=jnp.float32)
    assert {leaf.dtype for leaf in jax.tree.leaves(field)} == {jnp.dtype("float32")}
    y = y.astype(jnp.float32)
    wide = field(jnp.array(T, jnp.float64), y, "ignored")
    assert wide.dtype == jnp.float32
    np.testing.assert_array_equal(wide, field(jnp.array(T, jnp.float32), y))


def test_out_of_the_box(x32):
    for kind in KINDS:
        field, y = make(kind, zero_last=False)
        out = field(1, y.astype(jnp.float32))
        assert out.dtype == jnp.float32
        assert not np.allclose(out, field(0, y.astype(jnp.float32)))


def test_errors_name_the_argument():
    key = jr.key(0)
    with pytest.raises(ValueError, match=r"`y` must be one example of shape \(3,\); got \(2,\)"):
        make("mlp")[0](T, VECTOR[:2])
    with pytest.raises(ValueError, match="one example of shape"):
        make("conv")[0](T, IMAGE[:3])
    with pytest.raises(ValueError, match="`width` must be 1 or more"):
        ConcatSquashMLP(3, 0, 2, key=key)
    with pytest.raises(ValueError, match="`depth` must be 0 or more"):
        ConcatMLP(3, 4, -1, key=key)
    with pytest.raises(ValueError, match="3 groups for 4 channels"):
        ConcatConvNet(4, groups=3, key=key)


@pytest.mark.parametrize(
    "settings",
    [
        {"kernel_size": 3, "padding": 1, "use_bias": False},
        {"kernel_size": 4, "stride": 2, "padding": 1},
        {"kernel_size": (2, 3), "stride": (1, 2), "dilation": (2, 1), "padding": "SAME"},
    ],
)
def test_a_convolution_is_one_matrix_product(settings):
    conv = eqx.nn.Conv2d(2, 3, key=jr.key(0), **settings)
    image = jr.normal(jr.key(1), (2, 7, 6))
    for run in (convolve, eqx.filter_jit(convolve)):
        np.testing.assert_allclose(run(conv, image), conv(image), rtol=1e-10, atol=1e-12)
    grouped = eqx.nn.Conv2d(2, 2, 3, groups=2, key=jr.key(0))
    with pytest.raises(ValueError, match="`conv` must have 1 group, got 2"):
        convolve(grouped, image)
