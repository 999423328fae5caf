"""Gaussian weights: their scale in layers of every kind, and what is left as it is."""

import inspect

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from pullback.nn import gaussian_init

KEY = jr.key(0)
WIDTH = 300


@pytest.fixture(scope="module")
def nets():
    mlp = lambda **kwargs: eqx.nn.MLP(20, 2, WIDTH, 3, key=KEY, **kwargs)
    return {
        "mlp": mlp(),
        "scan": mlp(scan=True),
        "float32": mlp(dtype=jnp.float32),
        "conv": eqx.nn.Sequential([eqx.nn.Conv2d(16, 64, 5, groups=2, key=KEY)]),
    }


@pytest.mark.parametrize(("name", "fan_in"), [("mlp", WIDTH), ("scan", WIDTH), ("float32", WIDTH)])
def test_the_scale_is_that_of_weights_times_the_root_of_the_fan_in(nets, name, fan_in):
    before = nets[name]
    net = eqx.filter_jit(gaussian_init)(before, weight_scale=1.7, bias_scale=0.4, key=KEY)
    assert jax.tree.structure(net) == jax.tree.structure(before)
    assert net.layers[1].weight.dtype == before.layers[1].weight.dtype
    weight, bias = net.layers[1].weight, net.layers[1].bias
    # Four standard errors of a standard deviation, 1 / sqrt(2 n) of it.
    assert abs(float(weight.std()) * fan_in**0.5 / 1.7 - 1) < 4 / (2 * weight.size) ** 0.5
    assert abs(float(bias.std()) / 0.4 - 1) < 4 / (2 * bias.size) ** 0.5
    # Neither layers nor weights and biases share their draws.
    first, last = net.layers[0].weight, net.layers[-1].weight
    flat = [np.asarray(each).ravel()[:200] for each in (first, weight, last, bias)]
    assert np.abs(np.corrcoef(flat) - np.eye(4)).max() < 4 / 200**0.5


def test_a_convolution_counts_the_channels_that_a_unit_sees_times_its_kernel(nets):
    net = gaussian_init(nets["conv"], weight_scale=2.0, key=KEY)
    weight = net.layers[0].weight
    assert abs(float(weight.std()) * (8 * 25) ** 0.5 / 2 - 1) < 4 / (2 * weight.size) ** 0.5
    assert not net.layers[0].bias.any()


def test_all_else_stays(key):
    norm = eqx.tree_at(lambda at: at.weight, eqx.nn.LayerNorm(8), jnp.full(8, 3.0))
    model = {
        "net": eqx.nn.Sequential([eqx.nn.Linear(8, 8, use_bias=False, key=KEY), norm]),
        "words": eqx.nn.Embedding(3, 2, key=KEY), "slope": eqx.nn.PReLU(0.1), "number": 2.0,
    }  # fmt: skip
    made = gaussian_init(model, weight_scale=1.0, key=key)
    assert made["net"].layers[0].bias is None
    assert not jnp.allclose(made["net"].layers[0].weight, model["net"].layers[0].weight)
    for part in (lambda at: at["net"].layers[1], lambda at: at["words"], lambda at: at["slope"]):
        assert eqx.tree_equal(part(made), part(model))
    assert made["number"] == 2.0


def test_scales_and_keys_can_be_mapped_over():
    layer = eqx.nn.Linear(4, 4, key=KEY)
    make = lambda scale, key: gaussian_init(layer, weight_scale=scale, key=key).weight
    scales, keys = jnp.array([0.0, 1.0, 2.0]), jr.split(KEY, 3)
    stack = eqx.filter_vmap(make)(scales, keys)
    np.testing.assert_allclose(stack[2], make(2.0, keys[2]), rtol=1e-12)
    assert not stack[0].any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"weight_scale": -1.0}, "`weight_scale` must be finite, and 0 or more, got -1.0"),
        ({"weight_scale": float("nan")}, "`weight_scale` must be finite"),
        ({"weight_scale": 1.0, "bias_scale": -0.1}, "`bias_scale` must be finite"),
        ({"weight_scale": np.ones(2)}, "`weight_scale` must be one number"),
    ],
)
def test_scales_that_are_none(arguments, message):
    with pytest.raises(ValueError, match=message):
        gaussian_init(eqx.nn.Linear(2, 2, key=KEY), **arguments, key=KEY)


@pytest.mark.parametrize("scale", ["1", None, 1j, True])
def test_scales_that_are_no_numbers(scale):
    with pytest.raises(ValueError, match="`weight_scale` must be one number"):
        inspect.unwrap(gaussian_init)(eqx.nn.Linear(2, 2, key=KEY), weight_scale=scale, key=KEY)


def test_models_without_weights_or_with_a_scale_of_their_own():
    with pytest.raises(ValueError, match="it has none"):
        gaussian_init({"x": jnp.ones(3)}, weight_scale=1.0, key=KEY)
    wrapped = [eqx.nn.WeightNorm(eqx.nn.Linear(2, 2, key=KEY))]
    with pytest.raises(ValueError, match=r"`model\[0\]` is an eqx.nn.WeightNorm"):
        gaussian_init(wrapped, weight_scale=1.0, key=KEY)
