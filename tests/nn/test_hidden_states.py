"""What layers give is what the network computes on the way, and other networks are refused."""

import inspect

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from pullback.nn import hidden_states

KEYS = jr.split(jr.key(0), 4)


def linear(into=3, out=4, place=0):
    return eqx.nn.Linear(into, out, key=KEYS[place])


NETS = {
    "mlp": eqx.nn.MLP(3, 2, 5, 3, jnp.tanh, jnp.sin, key=KEYS[0]),
    "scan": eqx.nn.MLP(3, 2, 5, 4, jnp.tanh, scan=True, key=KEYS[0]),
    "numbers": eqx.nn.MLP("scalar", "scalar", 5, 1, final_activation=jnp.exp, key=KEYS[0]),
    "learned": eqx.nn.MLP(3, 2, 5, 2, eqx.nn.PReLU(0.3), eqx.nn.PReLU(0.2), key=KEYS[0]),
    "one layer": eqx.nn.MLP(3, 2, 5, 0, jnp.tanh, jnp.sin, key=KEYS[0]),
    "sequential": eqx.nn.Sequential([
        linear(), eqx.nn.Lambda(eqx.nn.PReLU()), eqx.nn.Dropout(inference=True),
        eqx.nn.Sequential([eqx.nn.Identity(), linear(4, 4, 1), eqx.nn.Lambda(jnp.cos)]),
        eqx.nn.MLP(4, 2, 5, 1, key=KEYS[2]),
    ]),
    "image": eqx.nn.Sequential([
        eqx.nn.Lambda(lambda x: x.reshape(1, 6, 6)), eqx.nn.Conv2d(1, 2, 3, key=KEYS[0]),
        eqx.nn.Lambda(jnp.tanh), eqx.nn.Lambda(jnp.ravel), linear(32, 2, 1),
    ]),
}  # fmt: skip
LAYERS = {"mlp": 4, "scan": 5, "numbers": 2, "learned": 3, "one layer": 1, "sequential": 4,
          "image": 2}  # fmt: skip


def inputs(name):
    return {"numbers": jnp.asarray(0.7), "image": jnp.linspace(-1, 1, 36)}.get(
        name, jnp.array([0.3, -1.0, 2.0])
    )


@pytest.mark.parametrize("name", NETS)
def test_the_last_one_is_what_the_network_gives(name):
    net, x = NETS[name], inputs(name)
    states = hidden_states(net, x)
    assert len(states.pre) == len(states.post) == LAYERS[name]
    np.testing.assert_allclose(states.post[-1], net(x), rtol=1e-12)
    again = eqx.filter_jit(hidden_states)(net, x)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9), states, again)


def test_each_is_what_the_equation_says():
    net, x = NETS["mlp"], inputs("mlp")
    states = hidden_states(net, x)
    for place, layer in enumerate(net.layers):
        np.testing.assert_allclose(states.pre[place], layer.weight @ x + layer.bias, rtol=1e-12)
        x = jnp.tanh(states.pre[place]) if place < 3 else jnp.sin(states.pre[place])
        np.testing.assert_allclose(states.post[place], x, rtol=1e-12)


def test_a_batch_by_vmap_and_its_gradient():
    net, batch = NETS["scan"], jnp.ones((6, 3))
    states = jax.vmap(lambda x: hidden_states(net, x))(batch)
    assert states.pre[2].shape == (6, 5)
    slope = jax.grad(lambda x: hidden_states(net, x).pre[-1].sum())(batch[0])
    np.testing.assert_allclose(slope, jax.grad(lambda x: net(x).sum())(batch[0]), rtol=1e-12)


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (eqx.nn.LayerNorm(4), r"`model.layers\[1\]` is of type LayerNorm: write a function from x"),
        (jnp.tanh, r"`model.layers\[1\]` is of type"),
        (eqx.nn.Dropout(0.5), r"`model.layers\[1\]` drops units: give `eqx.nn.inference_mode"),
    ],
)
def test_other_parts_are_refused(part, message):
    with pytest.raises(TypeError, match=message):
        hidden_states(eqx.nn.Sequential([linear(), part, linear(4, 2, 1)]), jnp.ones(3))


def test_no_network_and_no_layer():
    with pytest.raises(TypeError, match="`model` is of type dict"):
        hidden_states({}, jnp.ones(3))
    with pytest.raises(TypeError, match="it has no layer of weights"):
        hidden_states(eqx.nn.Sequential([eqx.nn.Lambda(jnp.tanh)]), jnp.ones(3))


def test_a_batch_is_no_input():
    # Three inputs of three would go through a matrix product unseen.
    with pytest.raises(ValueError, match=r"a vector of 3; it is given an array of shape \(3, 3\)"):
        hidden_states(NETS["mlp"], jnp.ones((3, 3)))
    with pytest.raises(ValueError, match="is given a number; it is given"):
        hidden_states(NETS["numbers"], jnp.ones(1))


def test_several_networks_in_one_are_no_deeper_one():
    make = lambda key: eqx.nn.MLP(4, 4, 4, 2, jnp.tanh, key=key)
    several = eqx.filter_vmap(make)(jax.random.split(jax.random.key(0), 3))
    convolutions = eqx.filter_vmap(lambda key: eqx.nn.Conv1d(2, 2, 1, key=key))(
        jax.random.split(jax.random.key(0), 3)
    )
    for model in (
        several,
        eqx.nn.Sequential(several.layers[:1]),
        eqx.nn.Sequential([convolutions]),
    ):
        with pytest.raises(ValueError, match=r"must be one network, .*eqx\.filter_vmap"):
            hidden_states(model, jnp.ones(4))
    one = jax.tree.map(lambda leaf: leaf[0] if eqx.is_array(leaf) else leaf, several)
    assert len(hidden_states(one, jnp.ones(4)).pre) == 3
    mapped = eqx.filter_vmap(lambda model: hidden_states(model, jnp.ones(4)).pre)(several)
    assert [h.shape for h in mapped] == [(3, 4)] * 3


@pytest.mark.parametrize("x", [[1.0, 2.0, 3.0], None, 0.3])
def test_what_is_no_array_is_refused(x):
    with pytest.raises(TypeError, match="`x` must be an array, one input"):
        inspect.unwrap(hidden_states)(NETS["mlp"], x)
