"""Layers that respond to hyperparameters, against materialised weights and a theorem's ridge."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from pullback import nn

COUNT = 3


def filled(model, key):
    """The same network with every leaf of the response drawn anew, gates included."""
    marked = nn.response_parameters(model)
    leaves, structure = jax.tree.flatten(model)
    marks, keys = jax.tree.leaves(marked), jr.split(key, len(leaves))
    draw = lambda leaf, mark, k: jr.normal(k, leaf.shape, leaf.dtype) if mark else leaf
    return jax.tree.unflatten(structure, list(map(draw, leaves, marks, keys)))


def linear(key, **given):
    return eqx.nn.Linear(4, 5, key=key, **given), jr.normal(key, (6, 4))


def conv(key, **given):
    given = {"padding": 1, **given}
    return eqx.nn.Conv2d(2, 4, 3, key=key, **given), jr.normal(key, (6, 2, 5, 6))


LAYERS = {
    "linear": linear,
    "no bias": lambda key: linear(key, use_bias=False),
    "scalar": lambda key: (eqx.nn.Linear("scalar", "scalar", key=key), jr.normal(key, (6,))),
    "conv": conv,
    "conv without bias": lambda key: conv(key, use_bias=False),
    "strided": lambda key: conv(key, stride=2, padding="SAME"),
    "two strides": lambda key: conv(key, stride=(1, 2)),
    "dilated": lambda key: conv(key, dilation=2, padding=2),
    "grouped": lambda key: conv(key, groups=2),
    "reflected": lambda key: conv(key, padding_mode="reflect"),
    "uneven": lambda key: conv(key, padding=((0, 2), (1, 0))),
}


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_is_the_plain_one_of_its_weights_at_every_gate(name, key):
    plain, xs = LAYERS[name](key)
    tuned = filled(nn.self_tuning(plain, COUNT, key=key), key)
    gates = jr.normal(key, (len(xs), COUNT))

    @eqx.filter_jit
    def both(tuned, xs, gates):
        by_gate = jax.vmap(lambda x, gate: nn.respond(tuned, gate)(x))(xs, gates)
        each = [nn.freeze_response(tuned, gate)(x) for x, gate in zip(xs, gates, strict=True)]
        return by_gate, jnp.stack(each), jax.vmap(tuned)(xs), jax.vmap(plain)(xs)

    by_gate, materialised, at_zero, without = both(tuned, xs, gates)
    np.testing.assert_allclose(by_gate, materialised, atol=1e-12)
    np.testing.assert_allclose(at_zero, without, atol=1e-13)
    assert eqx.tree_equal(nn.freeze_response(tuned), plain)
    # By hand, for one example.
    gate, scale = gates[0], lambda v, like: v.reshape(v.shape + (1,) * (like.ndim - 1))
    weight = plain.weight + scale(tuned.weight_gate @ gate, plain.weight) * tuned.response.weight
    by_hand = eqx.tree_at(lambda m: m.weight, plain, weight)
    if plain.bias is not None:
        bias = plain.bias + scale(tuned.bias_gate @ gate, plain.bias) * tuned.response.bias
        by_hand = eqx.tree_at(lambda m: m.bias, by_hand, bias)
    np.testing.assert_allclose(by_gate[0], by_hand(xs[0]), atol=1e-12)


def test_a_layer_has_twice_the_parameters_and_two_gates_an_output(key):
    tuned = nn.self_tuning(eqx.nn.Linear(7, 5, key=key), COUNT, key=key)
    size = sum(leaf.size for leaf in jax.tree.leaves(eqx.filter(tuned, eqx.is_array)))
    size -= tuned.gate.size
    assert size == 2 * 7 * 5 + 2 * 5 + 2 * 5 * COUNT


def test_where_the_response_starts(key):
    plain = eqx.nn.Conv2d(20, 50, 3, key=key)
    made = {c: nn.self_tuning(plain, 40, centred=c, key=key) for c in (True, False)}
    assert not jnp.any(jnp.stack([made[True].weight_gate, made[True].bias_gate]))
    # Of 2,000 draws: the standard error of the deviation is 1.6 %.
    assert float(jnp.std(made[False].weight_gate)) == pytest.approx(0.01, rel=0.064)
    for layer in made.values():
        largest = float(jnp.max(jnp.abs(layer.response.weight)))
        assert largest == pytest.approx(180**-0.5, rel=1e-3)
        assert not jnp.array_equal(layer.response.weight, plain.weight)


def ridge_problem():
    """Data, and the theorem's network: its gate is sigmoid(-decay + log(d^2 / n)) for each row."""
    keys = jr.split(jr.key(5), 3)
    x, n = jr.normal(keys[0], (30, 4)) @ jnp.diag(jnp.asarray([3.0, 1.0, 0.4, 0.1])), 30
    t = jr.normal(keys[1], (n,))
    u, d, rows = jnp.linalg.svd(x, full_matrices=False)
    first = eqx.nn.Linear(4, 4, use_bias=False, key=keys[2])
    first = nn.HyperLinear(
        eqx.tree_at(lambda m: m.weight, first, jnp.zeros((4, 4))), 4, key=keys[2]
    )
    first = eqx.tree_at(lambda m: (m.response.weight, m.weight_gate), first, (rows, jnp.eye(4)))
    last = eqx.nn.Linear(4, "scalar", use_bias=False, key=keys[2])
    last = eqx.tree_at(lambda m: m.weight, last, ((u.T @ t) / d)[None])
    gate = lambda decay: jax.nn.sigmoid(-decay + jnp.log(d**2 / n))
    return x, t, eqx.nn.Sequential([first, last]), gate


@pytest.mark.parametrize("decay", [-6.0, 0.0, 2.0])
def test_gated_rows_are_the_best_response_of_a_linear_network_with_a_jacobian_penalty(decay):
    x, t, net, gate = ridge_problem()

    def loss(net):
        jacobian = jax.vmap(jax.grad(net))(x)
        fit = jnp.mean((t - jax.vmap(net)(x)) ** 2)
        return fit + jnp.exp(decay) * jnp.mean(jnp.sum(jacobian**2, axis=1))

    @eqx.filter_jit
    def found(net):
        plain = nn.freeze_response(net, gate(decay))
        return jax.grad(lambda x: plain(x))(jnp.zeros(4)), eqx.filter_grad(loss)(plain)

    weights, slope = found(net)
    exact = jnp.linalg.solve(x.T @ x + len(x) * jnp.exp(decay) * jnp.eye(4), x.T @ t)
    np.testing.assert_allclose(weights, exact, atol=1e-10)
    for leaf in jax.tree.leaves(slope):
        np.testing.assert_allclose(leaf, 0, atol=1e-10)


def test_the_slope_of_the_gate_errs_by_the_square_of_a_move():
    *_, net, gate = ridge_problem()
    first = net.layers[0]
    at_centre = nn.freeze_response(first, gate(0.0))
    slope = jax.jvp(gate, (0.0,), (1.0,))[1]
    centred = nn.HyperLinear(at_centre, 1, key=jr.key(0))
    places = lambda m: (m.response.weight, m.weight_gate)
    centred = eqx.tree_at(places, centred, (first.response.weight, slope[:, None]))

    def error(move):
        found = nn.freeze_response(centred, jnp.asarray([move])).weight
        return float(jnp.linalg.norm(found - nn.freeze_response(first, gate(move)).weight))

    assert 3.8 < error(0.02) / error(0.01) < 4.2


def test_a_held_out_loss_has_no_slope_without_a_response_and_the_right_one_with_it(key):
    net = eqx.nn.MLP(3, 2, 8, 2, activation=jnp.tanh, key=key)
    x, fresh = jr.normal(key, (5, 3)), nn.self_tuning(net, COUNT, key=key)
    loss = lambda gate, tuned: jnp.mean(jax.vmap(nn.respond(tuned, gate))(x) ** 2)
    slope = eqx.filter_jit(jax.grad(loss))
    np.testing.assert_array_equal(slope(jnp.zeros(COUNT), fresh), np.zeros(COUNT))
    tuned, at = filled(fresh, key), jnp.asarray([0.1, -0.2, 0.3])
    h, steps = 1e-6, jnp.eye(COUNT)
    value = eqx.filter_jit(loss)
    numbers = [(value(at + h * e, tuned) - value(at - h * e, tuned)) / (2 * h) for e in steps]
    np.testing.assert_allclose(slope(at, tuned), jnp.stack(numbers), rtol=1e-6)


def test_layers_under_scan_and_ties_go_on(key):
    stack = eqx.filter_vmap(lambda k: eqx.nn.Linear(4, 4, key=k))(jr.split(key, 3))
    tuned = filled(nn.self_tuning({"stack": stack}, COUNT, key=key), key)
    gate = jnp.asarray([0.3, -1.0, 0.5])
    opened, plain = nn.respond(tuned, gate)["stack"], nn.freeze_response(tuned, gate)["stack"]
    x, parts = jnp.ones(4), eqx.partition(opened, eqx.is_array)
    step = lambda y, arrays: (eqx.combine(arrays, parts[1])(y), None)
    y, _ = jax.lax.scan(step, x, parts[0])
    for row in range(3):
        x = plain.weight[row] @ x + plain.bias[row]
    np.testing.assert_allclose(y, x, atol=1e-12)

    pair = (eqx.nn.Linear(4, 4, key=key), eqx.nn.Linear(4, 4, key=key))
    tied = eqx.nn.Shared(pair, lambda p: p[1], lambda p: p[0])
    first, second = filled(nn.self_tuning(tied, COUNT, key=key), key)()
    assert isinstance(first, nn.HyperLinear)
    assert eqx.tree_equal(first, second)


def test_attention_and_other_parts_are_called_as_before(key):
    net = eqx.nn.MultiheadAttention(2, 4, key=key)
    tuned = nn.self_tuning((net, {"embed": eqx.nn.Embedding(3, 4, key=key)}), COUNT, key=key)
    x = jr.normal(key, (5, 4))
    np.testing.assert_allclose(tuned[0](x, x, x), net(x, x, x), atol=1e-14)
    marked = nn.response_parameters(tuned)
    assert sum(jax.tree.leaves(marked)) == 4 * 2  # no biases there: a weight and a gate each


one = eqx.nn.Linear(2, 2, key=jr.key(0))


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ([one, {"again": one}], r"`model\[0\]` and `model\[1\]\['again'\]` are one layer"),
        ([one, eqx.nn.BatchNorm(2, "b", mode="batch")], r"`model\[1\]` normalises over the batch"),
        (nn.HyperLinear(one, 2, key=jr.key(0)), "responds already"),
        (jnp.zeros(3), "it has none"),
        (
            eqx.nn.Shared((one, one), lambda p: p[1].weight, lambda p: p[0].weight),
            r"`model.pytree\[1\]` has no weight of its own",
        ),
        (
            eqx.nn.Shared(
                (one, eqx.nn.Embedding(2, 2, key=jr.key(0))),
                lambda p: p[1].weight,
                lambda p: p[0].weight,
            ),
            "tie the layers whole",
        ),
    ],
)
def test_networks_that_cannot_respond_are_refused(model, said):
    with pytest.raises(ValueError, match=said):
        nn.self_tuning(model, COUNT, key=jr.key(0))


def test_wrong_arguments_are_refused(key):
    tuned = nn.self_tuning(one, COUNT, key=key)
    with pytest.raises(ValueError, match=r"`gate` must have shape \(3,\), .* got \(2,\)"):
        nn.respond(tuned, jnp.zeros(2))
    with pytest.raises(ValueError, match=r"use `jax.vmap`"):
        nn.freeze_response(tuned, jnp.zeros((4, 3)))
    for function in (lambda m: nn.respond(m, jnp.zeros(2)), nn.freeze_response):
        with pytest.raises(ValueError, match="must have layers that respond"):
            function(one)
    with pytest.raises(ValueError, match="`count` must be 1 or more"):
        nn.self_tuning(one, 0, key=key)
    with pytest.raises(TypeError, match="Conv2d"):
        nn.HyperConv2d(one, 1, key=key)
    with pytest.raises(ValueError, match="one image of 2 channels"):
        nn.self_tuning(eqx.nn.Conv2d(2, 1, 3, key=key), 1, key=key)(jnp.zeros((1, 5, 5)))


class Net(eqx.Module):
    first: eqx.nn.Conv2d
    last: eqx.nn.Linear
    scale: jax.Array

    def __call__(self, x):
        return jnp.tanh(self.last(jnp.tanh(self.first(x)).ravel())), 3

    def doubled(self, x):
        return 2 * self(x)[0]


def net_and_image(key):
    first, last = eqx.nn.Conv2d(1, 2, 3, key=key), eqx.nn.Linear(8, 3, key=key)
    net = nn.self_tuning(Net(first, last, jnp.asarray(2.0)), COUNT, key=key)
    return filled(net, key), jr.normal(key, (1, 4, 4))


def test_linearised_outputs_are_a_line_and_learn_as_the_derivative_does(key):
    tuned, x = net_and_image(key)
    gate, h = jnp.asarray([0.3, -0.2, 0.5]), 1e-5
    call = eqx.filter_jit(lambda tuned, gate: nn.linearised(tuned, gate)(x)[0])
    at = eqx.filter_jit(lambda tuned, gate: nn.respond(tuned, gate)(x)[0])
    start = at(tuned, jnp.zeros(COUNT))
    np.testing.assert_allclose(call(tuned, 0 * gate), start, atol=1e-15)
    numbers = (at(tuned, h * gate) - at(tuned, -h * gate)) / (2 * h)
    np.testing.assert_allclose(call(tuned, gate) - start, numbers, rtol=1e-8)
    np.testing.assert_allclose(call(tuned, 3 * gate) - start, 3 * numbers, rtol=1e-8)
    view = nn.linearised(tuned, gate)
    np.testing.assert_allclose(view.doubled(x), 2 * call(tuned, gate), rtol=1e-14)
    assert (view(x)[1], float(view.scale)) == (3, 2.0)

    # With no products left out, from the definition.
    def plain(tuned, gate):
        out, slope = jax.jvp(lambda g: nn.respond(tuned, g)(x)[0], (jnp.zeros(COUNT),), (gate,))
        return out + slope

    marked = nn.response_parameters(tuned)
    response, rest = eqx.partition(tuned, marked)

    def slopes(view):
        loss = lambda both: jnp.sum(view(eqx.combine(both[0], rest), both[1]) ** 3)
        return eqx.filter_jit(jax.grad(loss))((response, gate))

    found, want = slopes(call), slopes(plain)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-13)
        assert jnp.any(a != 0)


def test_what_is_not_linear_is_refused(key):
    tuned, _ = net_and_image(key)
    with pytest.raises(AttributeError, match="`first` holds layers that respond"):
        _ = nn.linearised(tuned, jnp.zeros(COUNT)).first
    with pytest.raises(AttributeError, match="nothing"):
        _ = nn.linearised(tuned, jnp.zeros(COUNT)).nothing
    other = nn.self_tuning(one, COUNT, centred=False, key=key)
    with pytest.raises(ValueError, match="must be centred"):
        nn.linearised(other, jnp.zeros(COUNT))


def test_no_product_follows_what_a_gate_of_zero_multiplies(key):
    layers = [eqx.nn.Linear(64, 64, key=k) for k in jr.split(key, 3)]
    tuned = nn.self_tuning(eqx.nn.Sequential(layers), 2, key=key)
    response, rest = eqx.partition(tuned, nn.response_parameters(tuned))

    def loss(response, arrays, x):
        view = nn.linearised(eqx.combine(response, arrays, rest), jnp.ones(2))
        return jnp.sum(jax.vmap(view)(x) ** 2)

    arrays = eqx.filter(rest, eqx.is_array)
    program = jax.jit(jax.grad(loss)).lower(response, arrays, jnp.ones((5, 64))).compile()
    products = [line for line in program.as_text().splitlines() if " dot(" in line]
    large = [line for line in products if "[5,64]" in line or "[64,64]" in line]
    # Forward W x and W' x of each, and W x' of all but the first; back W of all but the first, and
    # the three W'.
    assert len(large) == 3 + 3 + 2 + 2 + 3
