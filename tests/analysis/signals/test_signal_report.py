"""A report of a network beside theory: what it measures, foretells, recommends and refuses."""

import inspect

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from pullback.analysis.signals import MeanField, signal_report, weight_scales
from pullback.nn import gaussian_init, hidden_states

KEY = jr.key(0)
X = jr.normal(jr.key(1), (40, 60))


def net(scale, bias=0.3, activation=jnp.tanh, width=300, depth=6, **kwargs):
    plain = eqx.nn.MLP(60, 5, width, depth, activation, key=KEY, **kwargs)
    return gaussian_init(plain, weight_scale=scale, bias_scale=bias, key=KEY)


@pytest.fixture(scope="module")
def chaotic():
    return signal_report(net(2.5), X, key=KEY)


def test_what_is_measured_is_what_is_there(chaotic):
    states = jax.vmap(lambda x: hidden_states(net(2.5), x).pre)(X)
    for place, h in enumerate(map(np.asarray, states)):
        np.testing.assert_allclose(chaotic.q[place], np.mean(h**2), rtol=1e-9)
        rows = h / np.linalg.norm(h, axis=1, keepdims=True)
        pairs = (rows @ rows.T)[~np.eye(40, dtype=bool)]
        np.testing.assert_allclose(chaotic.correlation[place], pairs.mean(), atol=1e-9)
    # The stretch of a linear layer after an activation, of a step in any direction.
    slopes = 1 - np.tanh(np.asarray(states[3])) ** 2
    weight = np.asarray(net(2.5).layers[4].weight)
    exact = np.mean([np.sum((weight * slope) ** 2) / 300 for slope in slopes])
    np.testing.assert_allclose(chaotic.chi[3], exact, rtol=0.1)


def test_what_is_foretold_is_a_wide_network(chaotic):
    assert chaotic.layers == tuple(f"model.layers[{place}]" for place in range(7))
    np.testing.assert_allclose(chaotic.q[:-1], chaotic.predicted_q[:-1], rtol=0.08)
    np.testing.assert_allclose(
        chaotic.correlation[:-1], chaotic.predicted_correlation[:-1], atol=0.03
    )
    np.testing.assert_allclose(chaotic.chi[:-1], chaotic.predicted_chi[:-1], rtol=0.08)
    np.testing.assert_allclose(chaotic.gradient, np.prod(chaotic.predicted_chi))
    theory, w, b = MeanField(jnp.tanh), chaotic.weight_scale, chaotic.bias_scale
    want = theory.variance_map(chaotic.predicted_q[2], w[3], b[3])
    np.testing.assert_allclose(chaotic.predicted_q[3], want, rtol=1e-9)
    want = theory.chi(w[3], b[3], q=chaotic.predicted_q[2])
    np.testing.assert_allclose(chaotic.predicted_chi[2], want, rtol=1e-9)


def test_the_phase_and_the_scale_to_take(chaotic):
    assert chaotic.phase == "chaotic"
    assert chaotic.gradient > 5
    # Beyond the critical scale, at which this variance of the inputs lets gradients fall.
    assert chaotic.scale_to_take > 1.4
    scales = chaotic.scale_to_take, chaotic.bias_to_take
    want = through_layers(jnp.tanh, *scales, 6, float(jnp.mean(X**2)))
    np.testing.assert_allclose(want, 1, atol=2e-3)
    page = str(chaotic)
    assert "Chaotic phase: inputs part and gradients explode" in page
    assert (
        f"weight_scale={chaotic.scale_to_take:.3f}, bias_scale={chaotic.bias_to_take:.3g}" in page
    )
    assert len(page.splitlines()) == 7 + 2 + 1 + 4
    better = signal_report(net(chaotic.scale_to_take), X, key=KEY)
    assert 0.8 < better.gradient < 1.2


def through_layers(activation, scale, bias, depth, q):
    """The growth of a gradient through layers of the same scales, by plain sums."""
    z, step = np.linspace(-10, 10, 4001, retstep=True)
    density = np.exp(-(z**2) / 2) * step / np.sqrt(2 * np.pi)
    slope = jax.vmap(jax.grad(activation))
    q, growth = scale**2 * q + bias**2, 1.0
    for _ in range(depth):
        growth *= scale**2 * np.sum(density * np.asarray(slope(np.sqrt(q) * z)) ** 2)
        q = scale**2 * np.sum(density * np.asarray(activation(np.sqrt(q) * z)) ** 2) + bias**2
    return growth


@pytest.mark.parametrize(
    ("activation", "bias", "depth", "width"),
    [(jnp.tanh, 0, 30, 20), (jax.nn.softplus, 0, 10, 20), (jnp.tanh, 0.1, 1, 9)],
)
def test_at_the_scale_to_take_a_gradient_keeps_its_size(activation, bias, depth, width):
    found = signal_report(net(1.1, bias, activation, width, depth), X, key=KEY)
    scales = found.scale_to_take, found.bias_to_take
    want = through_layers(activation, *scales, depth, float(jnp.mean(X**2)))
    np.testing.assert_allclose(want, 1, atol=2e-3)
    again = through_layers(activation, scales[0] * 1.02, scales[1], depth, float(jnp.mean(X**2)))
    assert again > 1.01


def test_the_default_of_equinox_lets_gradients_vanish():
    plain = eqx.nn.MLP(60, 5, 100, 30, jnp.tanh, key=KEY)
    found = signal_report(plain, X, key=KEY)
    np.testing.assert_allclose(found.weight_scale, 3**-0.5, rtol=0.1)
    assert found.phase == "ordered"
    assert found.gradient < 1e-12


@pytest.mark.parametrize("activation", [jax.nn.relu, jax.nn.gelu])
def test_a_variance_that_grows_without_bound_is_said(activation):
    found = signal_report(net(1.6, 0.1, activation, depth=20), X, key=KEY)
    assert np.isinf(found.fixed_q)
    assert "grows without bound" in str(found)
    again = signal_report(net(found.scale_to_take, 0.1, activation, depth=20), X, key=KEY)
    assert 0.5 < again.gradient < 2
    np.testing.assert_allclose(found.scale_to_take, 1.43, atol=0.04)


def test_networks_of_other_kinds():
    conv = eqx.nn.Sequential([
        eqx.nn.Conv2d(2, 60, 3, key=KEY), eqx.nn.Lambda(jax.nn.relu),
        eqx.nn.Conv2d(60, 60, 3, key=KEY), eqx.nn.Lambda(jax.nn.relu),
        eqx.nn.Lambda(jnp.ravel), eqx.nn.Linear(960, 10, key=KEY),
    ])  # fmt: skip
    conv = gaussian_init(conv, weight_scale=2.0, key=KEY)
    found = signal_report(conv, jr.normal(KEY, (20, 2, 8, 8)), key=KEY)
    np.testing.assert_allclose(found.predicted_chi, 2, rtol=0.1)
    np.testing.assert_allclose(found.q[:2], found.predicted_q[:2], rtol=0.25)
    # Without an activation, and with none that follows on the last layer.
    line = eqx.nn.Sequential([eqx.nn.Linear(60, 5, key=KEY), eqx.nn.Lambda(jnp.tanh)])
    one = signal_report(line, X, key=KEY)
    assert one.q.shape == (1,)
    assert one.gradient == 1
    scan = signal_report(net(2.5, scan=True, width=50), X, key=KEY)
    assert len(scan.layers) == 7


def test_float32(x32):
    small = eqx.nn.MLP(4, 1, 30, 3, jnp.tanh, key=KEY)
    found = signal_report(small, np.asarray(jr.normal(KEY, (9, 4)), np.float32), key=KEY)
    assert found.phase == "ordered"
    assert np.isfinite(found.chi).all()


def test_scales_of_layers_of_all_kinds():
    scan = gaussian_init(
        eqx.nn.MLP(9, 2, 200, 3, scan=True, key=KEY), weight_scale=1.5, bias_scale=0.2, key=KEY
    )
    found = weight_scales({"net": scan, "conv": eqx.nn.Conv1d(8, 64, 5, use_bias=False, key=KEY)})
    assert found.names == (
        "model['conv']", "model['net'].layers[0]", "model['net'].layers[1][0]",
        "model['net'].layers[1][1]", "model['net'].layers[2]",
    )  # fmt: skip
    np.testing.assert_allclose(found.weight[1:4], 1.5, rtol=0.08)
    np.testing.assert_allclose(found.weight[0], 3**-0.5, rtol=0.08)
    np.testing.assert_allclose(found.bias[[0, 2, 3]], [0, 0.2, 0.2], rtol=0.2)
    with pytest.raises(ValueError, match="it has none"):
        weight_scales({"x": jnp.ones(3)})


PLAIN = lambda *parts: eqx.nn.Sequential([
    eqx.nn.Linear(60, 60, key=KEY), *parts, eqx.nn.Linear(60, 60, key=KEY),
    eqx.nn.Lambda(jnp.tanh), eqx.nn.Linear(60, 5, key=KEY),
])  # fmt: skip


MIXING = lambda function: eqx.nn.Sequential([
    eqx.nn.Linear(60, 60, key=KEY), eqx.nn.Lambda(function), eqx.nn.Linear(60, 5, key=KEY),
])  # fmt: skip


class Residual(eqx.Module):
    layer: eqx.nn.Linear

    def __call__(self, x, *, key=None):
        return x + self.layer(x)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (PLAIN(eqx.nn.LayerNorm(60)), r"layers\[1\]` is of type LayerNorm: signals run through it"),
        (PLAIN(Residual(eqx.nn.Linear(60, 60, key=KEY))), "is of type Residual"),
        (PLAIN(eqx.nn.Lambda(jnp.sin)), "must have the same activation"),
        (PLAIN(), "must have the same activation"),
        (eqx.nn.MLP(60, 2, 9, 2, eqx.nn.PReLU(), key=KEY), "this one is learned for each"),
        (PLAIN(eqx.nn.Dropout()), "drops units: give `eqx.nn.inference_mode"),
        (MIXING(lambda h: jnp.tanh(h - h.mean())), r"what follows layer 0 .* mixes its units"),
        (MIXING(lambda h: h * jnp.max(h)), r"what follows layer 0 .* mixes its units"),
        (MIXING(jnp.flip), r"what follows layer 0 .* mixes its units"),
        (MIXING(jax.nn.softmax), "must be a function from a number to a number"),
        (eqx.filter(net(1.0, depth=1, width=5), False), "has no weights or no biases: of a"),
    ],
)
def test_models_that_are_refused_and_not_guessed(model, message):
    with pytest.raises(TypeError, match=message):
        signal_report(model, X, key=KEY)


def test_parts_of_a_model_have_no_scales():
    is_matrix = lambda leaf: eqx.is_array(leaf) and leaf.ndim == 2
    weights, rest = eqx.partition(net(1.0, depth=1, width=5), is_matrix)
    for part in (weights, rest):
        with pytest.raises(TypeError, match=r"`model.layers\[0\]` has no weights or no biases"):
            weight_scales(part)
    np.testing.assert_allclose(weight_scales(eqx.combine(weights, rest)).weight[0], 1, rtol=0.2)


def test_within_a_program_there_are_no_numbers_on_the_host():
    model = net(1.0, depth=1, width=5)
    with pytest.raises(TypeError, match="`signal_report` answers with numbers on the host"):
        eqx.filter_jit(lambda m: signal_report(m, X, key=KEY).gradient)(model)
    with pytest.raises(TypeError, match="are being compiled or differentiated"):
        eqx.filter_grad(lambda m: weight_scales(m).weight[0])(model)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (X[0], "two inputs or more"),
        (X[:1], "two inputs or more"),
        (np.ones((3, 60), int), "`x` must be floating"),
        (X.at[2, 3].set(jnp.nan), r"`x\[2\]` has numbers that are not finite"),
        (X.at[4].set(0), r"`x\[4\]` is zero throughout"),
    ],
)
def test_inputs_that_are_refused(x, message):
    with pytest.raises(ValueError, match=message):
        inspect.unwrap(signal_report)(net(1.0, depth=1, width=5), x, key=KEY)


def test_weights_of_zero():
    with pytest.raises(ValueError, match=r"layer 0 of `model` \(from 0\) has weights of 0"):
        signal_report(net(0.0, depth=1, width=5), X, key=KEY)


@pytest.mark.parametrize("bad", [jnp.nan, jnp.inf])
@pytest.mark.parametrize(("part", "what"), [("weight", "weights"), ("bias", "biases")])
def test_weights_and_biases_that_are_not_finite(bad, part, what):
    leaf = lambda at: getattr(at.layers[1], part)
    sick = net(1.0, depth=2, width=5)
    sick = eqx.tree_at(leaf, sick, leaf(sick).at[1].set(bad))
    message = rf"`model.layers\[1\]` has {what} that are not finite: take the model as it was"
    with pytest.raises(ValueError, match=message):
        signal_report(sick, X, key=KEY)
    with pytest.raises(ValueError, match=message):
        weight_scales(sick)


@pytest.mark.parametrize("kind", [eqx.nn.WeightNorm, eqx.nn.SpectralNorm])
def test_layers_that_set_their_own_scale_are_refused(kind):
    line = eqx.nn.Linear(3, 4, key=KEY)
    layer = kind(line) if kind is eqx.nn.WeightNorm else kind(line, "weight", key=KEY)
    with pytest.raises(ValueError, match=rf"`model\[0\]` is an eqx.nn.{kind.__name__}, which"):
        weight_scales([layer, line])


@pytest.mark.parametrize(("size", "bias"), [(1e25, 0.3), (1e-25, 0.3), (1e-25, 0.0)])
def test_inputs_whose_squares_are_no_numbers(x32, size, bias):
    x = np.asarray(X, np.float32) * np.float32(size)
    small = jax.tree.map(lambda leaf: leaf.astype("float32") if eqx.is_array(leaf) else leaf,
                         net(1.0, bias, depth=1, width=5))  # fmt: skip
    with pytest.raises(ValueError, match=r"squares float32 can hold.*divide it by its standard"):
        signal_report(small, x, key=KEY)


def test_every_row_of_many_is_looked_at():
    x = np.ones((600, 60))
    x[550, 3] = np.nan
    with pytest.raises(ValueError, match=r"`x\[550\]` has numbers that are not finite"):
        inspect.unwrap(signal_report)(net(1.0, depth=1, width=5), x, key=KEY)


def test_two_inputs_that_are_alike_stay_alike():
    found = signal_report(net(2.5, depth=2), jnp.tile(X[:1], (2, 1)), key=KEY)
    np.testing.assert_allclose(found.correlation, 1, atol=1e-12)
    np.testing.assert_allclose(found.predicted_correlation, 1, atol=1e-9)
