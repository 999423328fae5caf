"""The ODE block against closed forms, and the networks against counts made by hand."""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from scipy.linalg import expm

from pullback.models.ode_net import (
    ODEBlock,
    ODENet,
    classification_loss,
    conv_ode_net,
    conv_residual_net,
    mlp_ode_net,
    mlp_residual_net,
)
from pullback.nn import ConcatMLP, RandomCrop
from pullback.ode import Backsolve, Euler, Replay, Result, SolveError

X = jr.normal(jr.key(0), (5, 3))
Y = jnp.array([0, 1, 2, 1, 0])
TIGHT = partial(ODEBlock, rtol=1e-9, atol=1e-9)
ONE_STEP = partial(ODEBlock, solver=Euler(), steps=1)


def alive(net: ODENet) -> ODENet:
    """The network with a last layer of the field that is not zero."""
    last = lambda n: n.block.field.layers[-1].weight
    return eqx.tree_at(last, net, 0.7 * jr.normal(jr.key(9), last(net).shape))


class Linear(eqx.Module):
    matrix: jax.Array

    def __call__(self, t, y, args):
        return self.matrix @ y


@pytest.mark.parametrize("stepping", ["joint", "per_sample"])
def test_a_linear_block_is_the_matrix_exponential(stepping):
    matrix = jr.normal(jr.key(1), (3, 3))
    block = TIGHT(Linear(matrix), t0=0.5, t1=2.0, stepping=stepping)
    net = ODENet(eqx.nn.Linear(3, 3, key=jr.key(2)), block, eqx.nn.Linear(3, 4, key=jr.key(3)))
    logits, solution = net(X)
    stem, head = (np.asarray(part.weight) for part in (net.stem, net.head))
    state = expm(1.5 * np.asarray(matrix)) @ (stem @ np.asarray(X).T + net.stem.bias[:, None])
    np.testing.assert_allclose(logits, (head @ state + net.head.bias[:, None]).T, atol=1e-7)
    assert solution.result.shape == (() if stepping == "joint" else (5,))
    assert np.all(solution.result == Result.SUCCESSFUL)


def test_a_new_network_starts_as_its_stem_and_head_alone():
    net = mlp_ode_net(3, 4, dim=6, width=5, key=jr.key(0))
    y = jax.vmap(net.stem)(X)
    np.testing.assert_array_equal(net.block(y)[0], y)
    np.testing.assert_array_equal(net(X)[0], jax.vmap(net.head)(y))
    image = jr.normal(jr.key(1), (2, 4, 5, 5))
    conv = conv_ode_net(3, channels=4, block=ONE_STEP, key=jr.key(2))
    np.testing.assert_array_equal(conv.block(image)[0], image)


@pytest.mark.parametrize("adjoint", [Replay(), Backsolve()], ids=["replay", "backsolve"])
def test_the_gradient_of_the_loss_is_its_finite_difference(adjoint):
    block = partial(TIGHT, adjoint=adjoint)
    net = alive(mlp_ode_net(3, 3, dim=4, width=5, block=block, key=jr.key(4)))
    flat, unflatten = ravel_pytree(eqx.filter(net, eqx.is_array))
    rest = eqx.filter(net, eqx.is_array, inverse=True)

    @jax.jit
    @jax.value_and_grad
    def loss(flat):
        model = eqx.combine(unflatten(flat), rest)
        return classification_loss(model, (X, Y), key=jr.key(0))[0]

    _, gradient = loss(flat)
    # Along a few directions that touch every parameter; central, so the error is of order h^2.
    for direction in jr.normal(jr.key(5), (3, flat.size)):
        h = 1e-4
        (high, _), (low, _) = loss(flat + h * direction), loss(flat - h * direction)
        slope = (high - low) / (2 * h)
        np.testing.assert_allclose(gradient @ direction, slope, rtol=1e-6, atol=1e-7)


def test_the_loss_and_the_error_are_those_of_the_logits():
    net = alive(mlp_ode_net(3, 3, dim=4, width=5, key=jr.key(6)))
    loss, metrics = classification_loss(net, (X, Y), key=jr.key(0))
    logits, solution = net(X)
    logits, labels = np.asarray(logits), np.asarray(Y)
    odds = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(loss, -np.log(odds[np.arange(5), labels]).mean(), rtol=1e-12)
    np.testing.assert_allclose(metrics["error"], np.mean(logits.argmax(axis=1) != labels))
    assert int(metrics["nfe"]) == int(solution.stats.nfe) > 0
    assert int(metrics["result"]) == 0


def test_a_residual_network_is_its_blocks_one_after_another():
    given = mlp_residual_net(3, 4, dim=6, width=5, blocks=3, key=jr.key(7))
    net = jax.tree.map(lambda leaf: np.asarray(leaf) if eqx.is_array(leaf) else leaf, given)
    norm, first, _, second = net.blocks.layers
    y = np.asarray(X) @ net.stem.layers[1].weight.T + net.stem.layers[1].bias
    for i in range(3):
        spread = y.std(axis=1, keepdims=True) ** 2 + norm.eps
        h = (y - y.mean(axis=1, keepdims=True)) / np.sqrt(spread)
        h = h * norm.weight[i] + norm.bias[i]
        h = np.tanh(h @ first.weight[i].T + first.bias[i])
        y = y + h @ second.weight[i].T + second.bias[i]
    np.testing.assert_allclose(given(X), y @ net.head.weight.T + net.head.bias, rtol=1e-10)


def test_an_example_does_not_depend_on_its_batch_when_steps_are_its_own():
    net = alive(mlp_ode_net(3, 3, dim=4, width=5, key=jr.key(8)))
    own = alive(
        mlp_ode_net(
            3, 3, dim=4, width=5, block=partial(ODEBlock, stepping="per_sample"), key=jr.key(8)
        )
    )
    wild = X.at[1:].multiply(30.0)
    alone, together = (own(x)[0][0] for x in (X, wild))
    np.testing.assert_allclose(alone, together, rtol=1e-12)
    # The same with joint steps does depend on it: the comparison above can fail.
    joint_alone, joint_together = (net(x)[0][0] for x in (X, wild))
    assert np.abs(joint_alone - joint_together).max() > 1e-9


def test_the_tolerance_is_chosen_at_the_call_without_compiling_again():
    # Long enough that the loosest tolerance takes several steps.
    block = partial(ODEBlock, t1=20.0)
    net = alive(mlp_ode_net(3, 3, dim=4, width=5, block=block, key=jr.key(10)))
    traces = []

    @eqx.filter_jit
    def answer(net, tolerance):
        traces.append(None)
        logits, solution = net(X, rtol=tolerance, atol=tolerance, throw=False)
        return logits, solution.stats.nfe

    exact, most = answer(net, jnp.asarray(1e-11))
    errors, costs = [], []
    for tolerance in (1e-2, 1e-5, 1e-8):
        logits, nfe = answer(net, jnp.asarray(tolerance))
        errors.append(float(jnp.abs(logits - exact).max()))
        costs.append(int(nfe))
    assert len(traces) == 1
    assert costs == sorted(set(costs))
    assert costs[-1] < int(most)
    assert errors[0] > 10 * errors[1] > 100 * errors[2]


def test_fixed_steps_cost_what_they_say():
    block = partial(ODEBlock, steps=4)
    _, solution = mlp_ode_net(3, 3, dim=4, width=5, block=block, key=jr.key(0))(X)
    assert int(solution.stats.accepted) == 4


def test_a_failed_solve_raises_or_is_told():
    block = ODEBlock(lambda t, y, args: y**2, t1=10.0)
    with pytest.raises(SolveError):
        block(jnp.ones((1, 1)))
    y, solution = block(jnp.ones((1, 1)), throw=False)
    assert np.isnan(y).all()
    assert int(solution.result) != Result.SUCCESSFUL
    net = ODENet(lambda x, key=None: x, block, lambda y: y)
    _, metrics = classification_loss(net, (jnp.ones((1, 1)), jnp.zeros(1, int)), key=jr.key(0))
    assert int(metrics["result"]) == int(solution.result)


def count(make) -> int:
    """Parameters, from shapes alone."""
    shapes = eqx.filter_eval_shape(make, key=jr.key(0))
    arrays = eqx.filter(shapes, lambda leaf: isinstance(leaf, jax.ShapeDtypeStruct))
    return sum(leaf.size for leaf in jax.tree.leaves(arrays))


def test_the_networks_have_the_papers_sizes():
    linear = lambda n_in, n_out: n_in * n_out + n_out
    ends = linear(64, 64) + linear(64, 10)
    assert count(partial(mlp_ode_net, 64)) == ends + linear(65, 96) + linear(97, 64) == 17_418
    residual = ends + 6 * (2 * 64 + 2 * linear(64, 64))
    assert count(partial(mlp_residual_net, 64)) == residual == 55_498

    conv = lambda n_in, n_out, side: n_in * n_out * side**2 + n_out
    norm = 2 * 64
    stem = conv(1, 64, 3) + 2 * norm + 2 * conv(64, 64, 4)
    head = norm + linear(64, 10)
    ode_net, residual = count(conv_ode_net), count(conv_residual_net)
    assert ode_net == stem + head + 3 * norm + 2 * conv(65, 64, 3)
    assert residual == stem + head + 6 * (2 * norm + 2 * (conv(64, 64, 3) - 64))
    # Table 1 of the paper says 0.22 M and 0.60 M.
    assert abs(ode_net / 0.22e6 - 1) < 0.06
    assert abs(residual / 0.60e6 - 1) < 0.06


def test_the_convolutional_networks_read_an_image_of_mnist():
    image = jax.ShapeDtypeStruct((2, 28, 28), jnp.float64)
    net = eqx.filter_eval_shape(conv_ode_net, key=jr.key(0))
    state = eqx.filter_eval_shape(lambda net, x: jax.vmap(net.stem)(x), net, image)
    assert state.shape == (2, 64, 6, 6)


def test_a_crop_is_a_shift_and_reaches_all_of_them():
    image = jnp.arange(1.0, 13.0).reshape(3, 4)
    padded = np.pad(np.asarray(image), 1)
    windows = {padded[i : i + 3, j : j + 4].tobytes() for i in range(3) for j in range(3)}
    # Each of 9 shifts is missed by 300 draws with probability (8/9)^300 < 1e-15.
    crops = jax.vmap(lambda key: RandomCrop(1)(image, key=key))(jr.split(jr.key(0), 300))
    assert {crop.tobytes() for crop in np.asarray(crops)} == windows
    still = eqx.nn.inference_mode(RandomCrop(1))
    np.testing.assert_array_equal(still(image), image)
    with pytest.raises(RuntimeError, match="inference_mode"):
        RandomCrop(1)(image)
    with pytest.raises(ValueError, match="`pad` must be 0 or more pixels, got -1"):
        RandomCrop(-1)


def test_a_batch_of_crops_is_cropped_apart_in_training_only():
    net = conv_ode_net(3, channels=4, crop=3, block=ONE_STEP, key=jr.key(0))
    same = jnp.broadcast_to(jr.normal(jr.key(1), (16, 16)), (6, 16, 16))
    batch, settled = (same, jnp.zeros(6, int)), eqx.nn.inference_mode(net)
    moved, still = (classification_loss(n, batch, key=jr.key(2))[0] for n in (net, settled))
    logits = settled(same)[0][0]
    np.testing.assert_allclose(still, -jax.nn.log_softmax(logits)[0], rtol=1e-12)
    assert abs(moved - still) > 1e-6


def test_float32_stays_float32(x32):
    net = mlp_ode_net(3, 3, dim=4, width=5, key=jr.key(0))
    x = jnp.ones((2, 3))
    assert net(x)[0].dtype == jnp.float32
    assert isinstance(net.block.field, ConcatMLP)
