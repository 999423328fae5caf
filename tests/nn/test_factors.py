"""Factors of gradients against gradients of each example, taken one by one."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from pullback.nn import (
    AbstractWeightNoise,
    Factors,
    layer_factors,
    per_example_gradients,
    per_example_norms,
    per_example_squares,
)

KEY = jr.key(3)


@pytest.fixture(autouse=True)
def _double():
    with jax.enable_x64(True):
        yield


class Block(eqx.Module):
    first: eqx.nn.Linear
    scale: jax.Array
    norm: eqx.nn.LayerNorm
    inner: dict

    def __init__(self, *, key):
        keys = jr.split(key, 3)
        self.first = eqx.nn.Linear(4, 6, key=keys[0])
        self.scale = jnp.asarray(1.3)
        self.norm = eqx.nn.LayerNorm(6)
        self.inner = {
            "out": [eqx.nn.Linear(6, 5, use_bias=False, key=keys[1]),
                    eqx.nn.Linear(5, "scalar", key=keys[2])],
        }  # fmt: skip

    def __call__(self, x):
        h = self.norm(jnp.tanh(self.first(x))) * self.scale
        hidden, last = self.inner["out"]
        return last(jax.nn.softplus(hidden(h)))


class Images(eqx.Module):
    layers: list
    head: eqx.nn.Linear
    drop: eqx.nn.Dropout

    def __init__(self, *, key):
        keys = jr.split(key, 4)
        self.layers = [
            eqx.nn.Conv2d(2, 3, 3, padding="SAME", key=keys[0]),
            eqx.nn.Conv2d(3, 4, (3, 2), stride=(2, 1), padding=1, dilation=(1, 2),
                          padding_mode="REFLECT", use_bias=False, key=keys[1]),
            eqx.nn.Conv2d(4, 4, 2, groups=2, key=keys[2]),
        ]  # fmt: skip
        self.head = eqx.nn.Linear(4 * 2 * 6, 2, key=keys[3])
        self.drop = eqx.nn.Dropout(0.3)

    def __call__(self, x, key):
        for layer in self.layers:
            x = jnp.tanh(layer(x))
        return jnp.sum(self.head(self.drop(x.ravel(), key=key)) ** 2)


class FewPlaces(eqx.Module):
    """Convolutions that fit into few places: their norms are had without their gradients."""

    layers: list

    def __init__(self, *, key):
        keys = jr.split(key)
        self.layers = [
            eqx.nn.Conv2d(2, 8, (3, 4), key=keys[0]),
            eqx.nn.Conv2d(8, 9, 2, stride=2, use_bias=False, key=keys[1]),
        ]

    def __call__(self, x, key):
        for layer in self.layers:
            x = jnp.tanh(layer(x))
        return jnp.sum(x**2)


def squared(net, batch, *, key):
    x, y = batch
    return jnp.mean((jax.vmap(net)(x) - y) ** 2), {}


def energy(net, batch, *, key):
    keys = jr.split(key, len(batch))
    return jnp.mean(jax.vmap(net)(batch, keys)), {}


def rows(count, *shape):
    return jnp.asarray(np.random.default_rng(0).normal(size=(count, *shape)))


CASES = {
    "dense": (squared, lambda: Block(key=jr.key(0)), lambda: (rows(7, 4), rows(7))),
    "convolutions": (energy, lambda: Images(key=jr.key(0)), lambda: rows(5, 2, 6, 7)),
    "few places": (energy, lambda: FewPlaces(key=jr.key(0)), lambda: rows(5, 2, 4, 5)),
    "one example": (squared, lambda: Block(key=jr.key(0)), lambda: (rows(1, 4), rows(1))),
}


def by_hand(loss, net, batch):
    """The gradients one by one, in a loop of Python, by no code of the library."""
    count = jax.tree.leaves(batch)[0].shape[0]
    keys = jr.split(KEY, count)
    params, rest = eqx.partition(net, eqx.is_inexact_array)
    gradient = jax.jit(jax.grad(lambda p, row, key: loss(eqx.combine(p, rest), row, key=key)[0]))
    one = lambda n: gradient(params, jax.tree.map(lambda leaf: leaf[n : n + 1], batch), keys[n])
    return jax.tree.map(lambda *each: jnp.stack(each), *(one(n) for n in range(count)))


def near(found, wanted, tolerance=1e-12):
    assert jax.tree.structure(found) == jax.tree.structure(wanted)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * float(jnp.abs(b).max()))


@pytest.mark.parametrize("name", CASES)
def test_all_that_factors_give_is_that_of_the_gradients(name):
    loss, make, data = CASES[name]
    net, batch = make(), data()
    wanted = by_hand(loss, net, batch)
    flat = np.concatenate(
        [np.asarray(leaf).reshape(len(leaf), -1) for leaf in jax.tree.leaves(wanted)], axis=1
    )
    compiled = eqx.filter_jit(lambda net, batch: layer_factors(loss, net, batch, key=KEY))
    for factors in (layer_factors(loss, net, batch, key=KEY), compiled(net, batch)):
        near(factors.gradients(), wanted)
        near(factors.gradient(), jax.tree.map(lambda leaf: leaf.mean(axis=0), wanted))
        near(factors.squares(), jax.tree.map(lambda leaf: (leaf**2).mean(axis=0), wanted))
        np.testing.assert_allclose(factors.norms(), np.linalg.norm(flat, axis=1), rtol=1e-12)
        np.testing.assert_allclose(factors.gram(), flat @ flat.T, rtol=1e-10, atol=1e-12)
    near(per_example_gradients(loss, net, batch, key=KEY), wanted)
    near(
        per_example_squares(loss, net, batch, key=KEY),
        jax.tree.map(lambda leaf: (leaf**2).mean(axis=0), wanted),
    )
    norms = per_example_norms(loss, net, batch, key=KEY)
    np.testing.assert_allclose(norms, np.linalg.norm(flat, axis=1), rtol=1e-12)


def test_layers_and_other_parameters_by_name():
    factors = layer_factors(squared, Block(key=jr.key(0)), (rows(7, 4), rows(7)), key=KEY)
    layers = {".first": (4, 6), ".inner['out'][0]": (6, 5), ".inner['out'][1]": (5, 1)}
    assert {
        name: (part.input.shape[1], part.signal.shape[1]) for name, part in factors.layers.items()
    } == layers
    assert [part.has_bias for part in factors.layers.values()] == [True, False, True]
    assert set(factors.others) == {".scale", ".norm.weight", ".norm.bias"}
    one = layer_factors(
        squared, Block(key=jr.key(0)), (rows(7, 4), rows(7)), exclude=[".first"], key=KEY
    )
    assert set(one.layers) == set(layers) - {".first"}
    assert {".first.weight", ".first.bias"} < set(one.others)
    near(one.gradients(), factors.gradients())


class Uses(eqx.Module):
    """A layer that is used in some way, and another one after it."""

    layer: eqx.nn.Linear
    last: eqx.nn.Linear
    how: str = eqx.field(static=True)

    def __init__(self, how, *, key=jr.key(0)):  # noqa: B008
        keys = jr.split(key)
        self.layer = eqx.nn.Linear(4, 4, key=keys[0])
        self.last = eqx.nn.Linear(4, "scalar", key=keys[1])
        self.how = how

    def __call__(self, x):
        if self.how == "twice":
            x = self.layer(jnp.tanh(self.layer(x)))
        elif self.how == "mapped":
            x = jax.vmap(self.layer)(jnp.stack([x, 2 * x, 3 * x])).sum(axis=0)
        elif self.how == "scanned":
            x = jax.lax.scan(lambda x, _: (jnp.tanh(self.layer(x)), None), x, length=5)[0]
        elif self.how == "remembered":
            x = jax.checkpoint(lambda x: self.layer(jnp.tanh(self.layer(x))))(x)
        elif self.how == "if":
            x = jax.lax.cond(x[0] > 0, lambda x: self.layer(x), lambda x: x, x)
        elif self.how == "while":
            x = jax.lax.while_loop(lambda x: x[0] < 1, lambda x: self.layer(x), x)
        elif self.how == "never":
            x = jnp.tanh(x)
        elif self.how == "read":
            x = self.layer(x) + self.layer.weight[0]
        else:
            x = self.layer(x)
        return self.last(x)


def decayed(net, batch, *, key):
    penalty = sum(jnp.sum(leaf) for leaf in jax.tree.leaves(eqx.filter(net, eqx.is_array)))
    return squared(net, batch, key=key)[0] + penalty, {}


def attribute(net, batch, *, key):
    return squared(net, batch, key=key)[0] + jnp.sum(net.layer.weight**2), {}


def changed(change):
    of = lambda net: jax.tree.map(lambda leaf: change(leaf) if eqx.is_array(leaf) else leaf, net)
    return lambda net, batch, *, key: squared(of(net), batch, key=key)


rescaled = changed(lambda leaf: 2 * leaf)
normalised = changed(lambda leaf: leaf / (1 + jnp.linalg.norm(leaf)))


def held(net, batch, *, key):
    weight = lambda net: net.layer.weight
    return squared(eqx.tree_at(weight, net, jax.lax.stop_gradient(weight(net))), batch, key=key)


def gradient_penalty(net, batch, *, key):
    slopes = jax.vmap(jax.grad(lambda x: jnp.tanh(net(x))))(batch[0])
    return jnp.mean((jnp.linalg.norm(slopes, axis=1) - 1) ** 2), {}


def slope_of_weights(net, batch, *, key):
    slope = eqx.filter_grad(lambda net: jnp.tanh(squared(net, batch, key=key)[0]))(net)
    return sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(slope)), {}


def curvature_penalty(net, batch, *, key):
    bend = lambda x: jax.jvp(lambda x: jnp.tanh(net(x)), (x,), (jnp.ones_like(x),))[1]
    return jnp.mean(jax.vmap(bend)(batch[0]) ** 2), {}


def alone(net, batch, *, key):
    x, y = batch
    return (net(x[0]) - y[0]) ** 2, {}


@pytest.mark.parametrize(
    ("how", "loss", "message"),
    [
        ("twice", squared, r"`model.layer` is called 2 times .*name it in `exclude`"),
        ("mapped", squared, r"`model.layer` is called 3 times"),
        ("scanned", squared, r"`model.layer` is called 5 times"),
        ("remembered", squared, r"`model.layer` is called 2 times"),
        ("if", alone, r"`model.layer` is called as often as the data say"),
        ("while", squared, r"`model.layer` is called as often as the data say"),
        ("read", squared, r"`model.layer` has an array that is read beside its calls"),
        ("once", decayed, r"`model.layer` has an array that is read beside its calls"),
        ("once", attribute, r"`model.layer` has an array that is read beside its calls"),
        ("if", squared, r"`model.layer` is called with other arrays"),
        ("once", rescaled, r"`model.layer` is called with other arrays"),
        ("once", normalised, r"`model.layer` is called with other arrays"),
        ("once", held, r"`model.layer` is called with other arrays"),
        ("once", gradient_penalty, r"`model.layer` is differentiated in the loss"),
        ("once", curvature_penalty, r"`model.layer` is differentiated in the loss"),
        ("once", slope_of_weights, r"`model.layer` is differentiated in the loss"),
    ],
)
def test_a_layer_that_is_not_used_once_is_refused_and_named(how, loss, message):
    net, batch = Uses(how), (rows(6, 4), rows(6))
    with pytest.raises(ValueError, match=message):
        layer_factors(loss, net, batch, key=KEY)
    with pytest.raises(ValueError, match=message):
        eqx.filter_jit(layer_factors)(loss, net, batch, key=KEY)
    if how == "while":  # which has no gradient backwards
        return
    wanted = by_hand(loss, net, batch)
    exclude = [".layer"] if loss in (squared, alone, attribute, held) else [".layer", ".last"]
    near(layer_factors(loss, net, batch, exclude=exclude, key=KEY).gradients(), wanted)
    # What is given for any network forms those layers' gradients by itself.
    near(
        per_example_squares(loss, net, batch, key=KEY),
        jax.tree.map(lambda leaf: (leaf**2).mean(axis=0), wanted),
    )


def test_whole_numbers_are_inputs_too():
    net, y = Block(key=jr.key(0)), rows(7)
    x = jnp.asarray(np.random.default_rng(0).integers(-3, 3, (7, 4)))
    with jax.numpy_dtype_promotion("standard"):
        found = layer_factors(squared, net, (x, y), key=KEY).gradients()
    near(found, by_hand(squared, net, (x.astype(y.dtype), y)))


def test_a_layer_that_is_not_called_has_no_gradient():
    net, batch = Uses("never"), (rows(6, 4), rows(6))
    near(layer_factors(squared, net, batch, key=KEY).gradients(), by_hand(squared, net, batch))
    idle = eqx.nn.Linear(2, 3, key=jr.key(0))  # of another shape than what is called
    apart = eqx.tree_at(lambda net: net.layer, Uses("never"), idle)
    found = layer_factors(squared, apart, batch, key=KEY)
    near(found.gradients(), by_hand(squared, apart, batch))


def test_weights_that_are_cast_are_the_layers_own():
    net, batch = Block(key=jr.key(0)), (rows(7, 4), rows(7))
    cast = lambda leaf: leaf.astype(jnp.float32) if eqx.is_inexact_array(leaf) else leaf

    def mixed(net, batch, *, key):
        loss, _ = squared(jax.tree.map(cast, net), jax.tree.map(cast, batch), key=key)
        return loss.astype(float), {}

    found = layer_factors(mixed, net, batch, key=KEY)
    assert len(found.layers) == 3
    near(jax.tree.map(lambda leaf: leaf.astype(float), found.gradients()),
         by_hand(mixed, net, batch), 1e-5)  # fmt: skip


def test_a_tie_and_a_stack_are_named():
    made = Uses("once")
    tied = Pair(made.layer, made.layer)
    with pytest.raises(ValueError, match=r"`model.layer` and `model.other` are one layer"):
        layer_factors(squared, tied, (rows(6, 4), rows(6)), key=KEY)
    stack = eqx.filter_vmap(lambda key: eqx.nn.Linear(4, 4, key=key))(jr.split(jr.key(0), 3))
    with pytest.raises(ValueError, match=r"`model.layer` is a stack of layers"):
        layer_factors(squared, Pair(stack, made.layer), (rows(6, 4), rows(6)), key=KEY)
    norm = eqx.nn.BatchNorm(4, "batch", mode="batch")
    with pytest.raises(ValueError, match="normalises over the batch"):
        per_example_norms(squared, Pair(made.layer, norm), (rows(6, 4), rows(6)), key=KEY)


class Pair(eqx.Module):
    layer: eqx.nn.Linear
    other: Any

    def __call__(self, x):
        return jnp.sum(self.other(self.layer(x)))


class Given(AbstractWeightNoise):
    """Noise that is known: what `layer_factors` makes of it can be compared."""

    weight: jax.Array
    bias: jax.Array

    def forward(self, x):
        return self.weight @ x + self.bias, self.weight

    def backward(self, kept, signal):
        return kept.T @ signal


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"exclude": [".nothing"]}, ValueError, r"names '.nothing', which is no layer"),
        ({"exclude": ".layer"}, ValueError, r"write \['.layer'\]"),
        (
            {"noise": {".nothing": Given(rows(6, 4, 4), rows(6, 4))}},
            ValueError,
            r"names '.nothing'",
        ),
        (
            {"noise": {".layer": Given(rows(6, 4, 4), rows(6, 4))}, "exclude": [".layer"]},
            ValueError,
            r"not excluded; got '.layer'",
        ),
        ({"loss": lambda net, batch, *, key: jnp.ones(())}, TypeError, "must return a floating"),
        ({"loss": lambda net, batch, *, key: (1.0, {})}, TypeError, "must return a floating"),
        ({"batch": (jnp.ones((0, 4)), jnp.ones(0))}, ValueError, "at least one example"),
        ({"batch": (jnp.ones((3, 4)), jnp.ones(2))}, ValueError, "the same leading axis"),
        ({"model": eqx.nn.LayerNorm(4)}, ValueError, "it has none"),
    ],
)
def test_wrong_arguments(arguments, error, message):
    whole = {"loss": squared, "model": Uses("once"), "batch": (rows(6, 4), rows(6)), **arguments}
    loss, model, batch = (whole.pop(name) for name in ("loss", "model", "batch"))
    with pytest.raises(error, match=message):
        layer_factors(loss, model, batch, key=KEY, **whole)


def test_noise_is_in_the_weights():
    net, batch = Block(key=jr.key(0)), (rows(7, 4), rows(7))
    noise = Given(rows(7, 6, 4), rows(7, 6))
    later = Given(rows(7, 5, 6), jnp.zeros((7, 5)))  # through which signals go on to the first
    noises: dict[str, AbstractWeightNoise] = {".first": noise, ".inner['out'][0]": later}
    found = layer_factors(squared, net, batch, noise=noises, key=KEY)
    for n in range(7):
        arrays = lambda m: (m.first.weight, m.first.bias, m.inner["out"][0].weight)
        moves = (noise.weight[n], noise.bias[n], later.weight[n])
        moved = eqx.tree_at(
            arrays, net, [leaf + by for leaf, by in zip(arrays(net), moves, strict=True)]
        )
        only = lambda leaf, n=n: leaf[n : n + 1]
        one = by_hand(squared, moved, jax.tree.map(only, batch))
        near(jax.tree.map(only, found.gradients()), one)


def test_single_precision_and_half(recwarn):
    net = jax.tree.map(
        lambda leaf: leaf.astype(jnp.float32) if eqx.is_array(leaf) else leaf, Block(key=jr.key(0))
    )
    batch = (rows(7, 4).astype(jnp.float32), rows(7).astype(jnp.float32))
    factors = layer_factors(squared, net, batch, key=KEY)
    assert {leaf.dtype for leaf in jax.tree.leaves(factors)} == {jnp.dtype("float32")}
    near(factors.gradients(), by_hand(squared, net, batch), 2e-5)


def test_inputs_of_another_precision_than_the_weights():
    net, batch = eqx.nn.MLP(4, "scalar", 5, 1, key=jr.key(0)), (rows(7, 4), rows(7))

    def mixed(net, batch, *, key):
        first, last = net.layers
        single = lambda x: jnp.tanh(first(x)).astype(jnp.float32)
        return jnp.mean((jax.vmap(lambda x: last(single(x)))(batch[0]) - batch[1]) ** 2), {}

    with jax.numpy_dtype_promotion("standard"):
        found = layer_factors(mixed, net, batch, key=KEY).gradients()
        near(found, by_hand(mixed, net, batch), 1e-6)


def test_the_same_shapes_are_not_compiled_again():
    net, batch = Block(key=jr.key(0)), (rows(9, 4), rows(9))
    per_example_norms(squared, net, batch, key=KEY)
    from pullback._traced import _run

    before = _run._cached._cache_size()
    again = lambda net, batch, *, key: squared(net, batch, key=key)
    per_example_norms(again, Block(key=jr.key(1)), (rows(9, 4) + 1, rows(9)), key=jr.key(5))
    assert _run._cached._cache_size() == before


def test_what_would_be_refused_is_excluded_by_none():
    net, batch = Uses("twice"), (rows(6, 4), rows(6))
    factors = layer_factors(squared, net, batch, exclude=None, key=KEY)
    assert set(factors.layers) == {".last"}
    near(factors.gradients(), by_hand(squared, net, batch))
    alone_ = layer_factors(decayed, net, batch, exclude=None, key=KEY)
    assert not alone_.layers
    near(alone_.gradients(), by_hand(decayed, net, batch))
    noise = Given(rows(6, 1, 4), rows(6, 1))
    with pytest.raises(ValueError, match="`exclude` must name the layers"):
        layer_factors(squared, net, batch, exclude=None, noise={".last": noise}, key=KEY)


def test_gradients_that_were_formed_stand_for_factors():
    net, batch = Block(key=jr.key(0)), (rows(7, 4), rows(7))
    factors = layer_factors(squared, net, batch, key=KEY)
    formed = Factors.of(factors.gradients())
    assert Factors.of(factors) is factors
    near(formed.gradients(), factors.gradients())
    near(formed.gradient(), factors.gradient())
    near(formed.squares(), factors.squares())
    np.testing.assert_allclose(formed.norms(), factors.norms(), rtol=1e-12)
    np.testing.assert_allclose(formed.gram(), factors.gram(), rtol=1e-10, atol=1e-12)
    assert np.isnan(formed.losses).all()
    with pytest.raises(TypeError, match="real floating arrays, got int"):
        Factors.of({"a": rows(3), "b": jnp.arange(3)})
    with pytest.raises(ValueError, match="the same leading axis"):
        Factors.of({"a": rows(3), "b": rows(4)})
