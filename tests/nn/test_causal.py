"""Every net of sequences against its dense Jacobian, and against sums written out by hand."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from lazily import Lazily
from pullback.nn import (
    AbstractSteppedNet,
    AntiCausal,
    CausalAttentionNet,
    CausalConvNet,
    RecurrentNet,
    delayed,
)

KEY = jr.key(0)
TIME = 6
NETS = {
    "conv": lambda: CausalConvNet(3, 2, 4, dilations=(1, 2, 4), activation=jnp.tanh, key=KEY),
    "conv of kernel 3": lambda: CausalConvNet(
        3, 2, 4, dilations=(1, 2), kernel=3, activation=jnp.tanh, key=KEY
    ),
    "attention": lambda: CausalAttentionNet(3, 2, width=4, depth=2, heads=2, key=KEY),
    "recurrent": lambda: RecurrentNet(3, 2, width=4, key=KEY),
}
CAUSAL = Lazily(NETS)
ALL = Lazily(
    NETS | {f"anti-causal {name}": lambda new=new: AntiCausal(new()) for name, new in NETS.items()}
)


@pytest.mark.parametrize("name", ALL)
def test_a_row_sees_the_rows_up_to_its_own_and_no_other(name):
    net = ALL[name]
    x = jr.normal(jr.key(1), (TIME, net.in_size))
    jacobian = np.asarray(jax.jit(jax.jacrev(net))(x))
    assert jacobian.shape == (TIME, net.out_size, TIME, net.in_size)
    seen = np.any(jacobian != 0, axis=(1, 3))  # to the last bit
    past = np.tri(TIME, dtype=bool)
    np.testing.assert_array_equal(seen, past.T if name.startswith("anti") else past)


@pytest.mark.parametrize("name", CAUSAL)
def test_a_delay_makes_it_strict(name):
    net, start = CAUSAL[name], jnp.ones(3)
    x = jr.normal(jr.key(1), (TIME, 3))
    jacobian = np.asarray(jax.jit(jax.jacrev(lambda x: net(delayed(x, start))))(x))
    seen = np.any(jacobian != 0, axis=(1, 3))
    np.testing.assert_array_equal(seen, np.tri(TIME, k=-1, dtype=bool))


@pytest.mark.parametrize("name", CAUSAL)
def test_a_longer_sequence_begins_as_the_shorter_one(name):
    x = jr.normal(jr.key(1), (TIME, 3))
    np.testing.assert_allclose(CAUSAL[name](x)[:4], CAUSAL[name](x[:4]), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("name", ["conv", "conv of kernel 3", "recurrent"])
def test_row_by_row_it_gives_what_it_gives_at_once(name, compiled):
    net = CAUSAL[name]
    assert isinstance(net, AbstractSteppedNet)
    x = jr.normal(jr.key(1), (2 * TIME, 3))
    step = eqx.filter_jit(net.step) if compiled else net.step
    state, rows = net.start(), []
    for row in x:
        state, out = step(state, row)
        rows.append(out)
    np.testing.assert_allclose(np.stack(rows), net(x), rtol=1e-10, atol=1e-13)


def test_every_net_that_can_be_taken_row_by_row_is_tried():
    stepped = {type(net) for net in CAUSAL.values() if isinstance(net, AbstractSteppedNet)}
    assert stepped == {CausalConvNet, RecurrentNet}


def test_a_convolution_reaches_as_far_as_it_says():
    net = CausalConvNet(1, 1, 2, dilations=(1, 2), activation=jnp.tanh, key=KEY)
    assert net.reach == 4
    last = jax.jit(jax.jacrev(lambda x: net(x)[-1]))(jr.normal(jr.key(1), (TIME, 1)))
    np.testing.assert_array_equal(np.asarray(last)[0, :, 0] != 0, np.arange(TIME) >= TIME - 4)


def test_the_convolution_is_the_sum_that_it_says():
    net = CausalConvNet(2, 3, 4, dilations=(2,), kernel=3, activation=jnp.tanh, key=KEY)
    x = np.asarray(jr.normal(jr.key(1), (TIME, 2)))
    affine = lambda layer, rows: rows @ np.asarray(layer.weight).T + np.asarray(layer.bias)
    h = affine(net.first, x)
    weight = np.asarray(net.weights[0]).reshape(3, 4, 4)
    new = h.copy()
    for t in range(TIME):
        total = sum(h[t - 2 * lag] @ weight[lag] for lag in range(3) if t - 2 * lag >= 0)
        new[t] += np.tanh(total + np.asarray(net.biases[0]))
    np.testing.assert_allclose(net(jnp.asarray(x)), affine(net.last, new), rtol=1e-12)


def test_one_block_of_attention_is_the_softmax_that_it_says():
    net = CausalAttentionNet(2, 3, width=4, depth=1, key=KEY)
    x = np.asarray(jr.normal(jr.key(1), (TIME, 2)))
    array = lambda leaf: np.asarray(leaf).squeeze(0)
    block = jax.tree.map(lambda leaf: leaf, net.blocks)
    norm = lambda h: (h - h.mean(1)[:, None]) / np.sqrt(h.var(1)[:, None] + 1e-5)
    rates = 10_000.0 ** (-np.arange(0, 4, 2) / 4)
    angles = np.outer(np.arange(TIME), rates)
    h = x @ np.asarray(net.first.weight).T + np.asarray(net.first.bias)
    h = h + np.concatenate([np.sin(angles), np.cos(angles)], axis=1)
    rows, attention = norm(h), block.attention
    query, keys, values = (
        rows @ array(layer.weight).T
        for layer in (attention.query_proj, attention.key_proj, attention.value_proj)
    )
    mixed = np.empty_like(rows)
    for t in range(TIME):
        weights = np.exp(keys[: t + 1] @ query[t] / 2)
        mixed[t] = weights @ values[: t + 1] / weights.sum()
    h = h + mixed @ array(attention.output_proj.weight).T
    inner, outer = block.mlp.layers
    hidden = np.asarray(jax.nn.gelu(norm(h) @ array(inner.weight).T + array(inner.bias)[None]))
    h = h + hidden @ array(outer.weight).T + array(outer.bias)
    expected = norm(h) @ np.asarray(net.last.weight).T + np.asarray(net.last.bias)
    np.testing.assert_allclose(net(jnp.asarray(x)), expected, rtol=1e-10)


@pytest.mark.parametrize("name", ALL)
def test_its_numbers_are_of_the_type_of_its_weights(name, x32):
    net = jax.tree.map(
        lambda leaf: leaf.astype(jnp.float32) if eqx.is_inexact_array(leaf) else leaf,
        ALL[name],
    )
    assert net(jnp.ones((2, 3))).dtype == jnp.float32


def test_sizes_that_make_no_sense_are_refused():
    for call, message in (
        (lambda: CausalConvNet(0, 1, 1, key=KEY), "`in_size` must be 1 or more"),
        (lambda: CausalConvNet(1, 1, 1, dilations=(1, 0), key=KEY), "`dilations` must each be 1"),
        (lambda: CausalAttentionNet(1, 1, 6, 1, heads=4, key=KEY), "a multiple of `heads`, got 6"),
        (lambda: CausalAttentionNet(1, 1, 3, 1, key=KEY), "`width` must be even"),
        (lambda: RecurrentNet(1, 1, 0, key=KEY), "`width` must be 1 or more"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
