"""The noise scale against its formula on formed gradients, and against a population's."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from pullback.analysis import noise_scale, normalised_variance
from pullback.nn import per_example_gradients

KEY = jr.key(0)


@pytest.fixture(autouse=True)
def _double():
    with jax.enable_x64(True):
        yield


class Twice(eqx.Module):
    """Passes its first layer more than once, and has a parameter of its own."""

    layer: eqx.nn.Linear
    scale: jax.Array
    last: eqx.nn.Linear

    def __init__(self, *, key):
        keys = jr.split(key)
        self.layer = eqx.nn.Linear(3, 3, key=keys[0])
        self.scale = jnp.asarray(1.2)
        self.last = eqx.nn.Linear(3, "scalar", key=keys[1])

    def __call__(self, x):
        return self.last(jnp.tanh(self.layer(jnp.tanh(self.layer(x)))) * self.scale)


def squared(net, batch, *, key):
    x, y = batch
    return jnp.mean((jax.vmap(net)(x) - y) ** 2), {}


def data(count):
    x = np.random.default_rng(0).normal(size=(count, 3))
    return jnp.asarray(x), jnp.asarray(np.sin(x[:, 0]) + 0.5)


@pytest.mark.parametrize("net", [Twice(key=KEY), eqx.nn.MLP(3, "scalar", 4, 1, key=KEY)])
@pytest.mark.parametrize("batch_size", [1, 8, 10, 100])
def test_any_network_in_any_pieces(net, batch_size):
    net = jax.tree.map(lambda leaf: leaf.astype(float) if eqx.is_array(leaf) else leaf, net)
    found = noise_scale(squared, net, data(24), batch_size=batch_size, key=KEY)
    tree = per_example_gradients(squared, net, data(24), key=KEY)
    gradients = np.concatenate(
        [np.asarray(leaf).reshape(24, -1) for leaf in jax.tree.leaves(tree)], axis=1
    )
    variance = gradients.var(axis=0, ddof=1).sum()
    signal = (gradients.mean(axis=0) ** 2).sum() - variance / 24
    np.testing.assert_allclose(found.variance, variance, rtol=1e-10)
    np.testing.assert_allclose(found.signal, signal, rtol=1e-10)
    np.testing.assert_allclose(found.scale, variance / signal, rtol=1e-10)


def away(centre, batch, *, key):
    return jnp.mean(jnp.sum((batch - centre[None]) ** 2, axis=1)) / 2, {}


def test_estimates_are_unbiased_and_come_to_the_population_s():
    # Gradients are minus the rows: of covariance one in each of 5 directions, and mean a half.
    rows = 0.5 + np.random.default_rng(1).normal(size=(400, 12, 5))
    ours = jax.vmap(lambda each: noise_scale(away, jnp.zeros(5), each, key=KEY))(jnp.asarray(rows))
    for found, wanted in ((ours.variance, 5.0), (ours.signal, 1.25)):
        assert abs(found.mean() - wanted) < 4 * found.std() / np.sqrt(400)
    many = jnp.asarray(0.5 + np.random.default_rng(2).normal(size=(20_000, 5)))
    scale = noise_scale(away, jnp.zeros(5), many, key=KEY).scale
    np.testing.assert_allclose(scale, 4.0, rtol=0.06)
    # It is the noise over the signal of a batch, times its size.
    whole = normalised_variance(many, batch_size=32)
    np.testing.assert_allclose(scale / 32, whole, rtol=1e-3)


def test_a_gradient_that_examples_do_not_tell_from_none():
    rows = jnp.asarray([[1.0], [-1.0]])
    assert noise_scale(away, jnp.zeros(1), rows, key=KEY).scale == jnp.inf
    assert noise_scale(away, jnp.zeros(1), jnp.ones((3, 1)), key=KEY).scale == 0
    with pytest.raises(ValueError, match="all gradients are zero"):
        noise_scale(away, jnp.zeros(1), jnp.zeros((3, 1)), key=KEY)
    call = jax.jit(lambda rows: noise_scale(away, jnp.zeros(1), rows, key=KEY).scale)
    assert np.isnan(call(jnp.zeros((3, 1))))


def test_dropout_has_keys_of_its_own_and_one_key_tells_all():
    net = eqx.nn.Sequential([eqx.nn.Linear(3, "scalar", key=KEY)])
    drop = eqx.nn.Dropout(0.5)

    def loss(net, batch, *, key):
        x, y = batch
        return jnp.mean((jax.vmap(net)(drop(x, key=key)) - y) ** 2), {}

    one, same, other = (
        noise_scale(loss, net, data(24), batch_size=8, key=key).variance
        for key in (KEY, KEY, jr.key(1))
    )
    assert one == same != other


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"data": jnp.ones((1, 2))}, "two examples or more"),
        ({"batch_size": 0}, "`batch_size` must be 1 or more"),
        ({"data": jnp.full((4, 2), jnp.nan)}, "not finite"),
    ],
)
def test_wrong_arguments(arguments, message):
    whole = {"data": jnp.asarray([[1.0, 2.0], [3.0, 4.0]]), **arguments}
    with pytest.raises(ValueError, match=message):
        noise_scale(away, jnp.zeros(2), whole.pop("data"), **whole, key=KEY)
