"""Tasks one after another: in one call, in several, stopped on the way, and as a stack."""

import inspect
import subprocess
import sys
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro.distributions as dist
import optax
import pytest

from pullback.optim import (
    diagonal_fisher,
    elastic_weight_consolidation,
    fit_tasks,
    synaptic_intelligence,
)
from pullback.train import load_checkpoint, save_checkpoint

OPTIMISER = synaptic_intelligence(optax.adam(0.02), strength=1.0)
DRAWS = np.random.default_rng(0).normal(size=(3, 24, 3))
TASKS = [(x, (x[:, n] > 0).astype(int)) for n, x in enumerate(DRAWS)]


def loss(net, batch, *, key):
    x, y = batch
    logits = jax.vmap(net)(x)
    return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, y)), {}


def accuracy(net, test):
    x, y = test
    return jnp.mean((jnp.argmax(jax.vmap(net)(x), axis=1) == y).astype(float))


def fisher(net, data, *, key):
    return diagonal_fisher(net, lambda logits: dist.Categorical(logits=logits), data[0], key=key)


def network(seed=0):
    return eqx.nn.MLP(3, 2, 8, 1, key=jr.key(seed), dtype=float)


def learn(tasks=TASKS, model=None, **given):
    given = {
        "optimiser": OPTIMISER,
        "steps": 12,
        "batch_size": 6,
        "log_every": 6,
        "key": jr.key(5),
        **given,
    }
    return fit_tasks(network() if model is None else model, loss, tasks, **given)


def bits(tree):
    arrays = eqx.filter(tree, eqx.is_array)
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(arrays)]


LATER = """
import sys, jax
sys.path.insert(0, sys.argv[2])
jax.config.update("jax_enable_x64", True)
from test_fit_tasks import *
(net, state), _ = load_checkpoint(sys.argv[1] + "/two.safetensors", like(network()))
save_checkpoint(sys.argv[1] + "/three.safetensors", learn(TASKS[2:], net, state=state)[:2])
"""


def like(net):
    return net, OPTIMISER.init(eqx.filter(net, eqx.is_inexact_array))


def test_the_next_task_may_come_later(tmp_path):
    whole, end, info = learn(metric=accuracy, tests=TASKS)
    net, state, first = learn(TASKS[:2], metric=accuracy, tests=TASKS)
    save_checkpoint(tmp_path / "two.safetensors", (net, state))
    (net, state), _ = load_checkpoint(tmp_path / "two.safetensors", like(network(1)))
    net, state, _ = learn(TASKS[2:], net, state=state)
    assert bits((whole, end)) == bits((net, state))
    assert end.tasks == 3
    np.testing.assert_array_equal(first.metrics, info.metrics[:2])
    np.testing.assert_array_equal(first.before, info.before)
    assert info.metrics.shape == (3, 3)


@pytest.mark.slow
def test_the_next_task_may_come_in_another_process(tmp_path):
    whole, end, _ = learn()
    save_checkpoint(tmp_path / "two.safetensors", learn(TASKS[:2])[:2])
    folder = str(__file__).rpartition("/")[0]
    subprocess.run([sys.executable, "-c", LATER, str(tmp_path), folder], check=True)
    later, _ = load_checkpoint(tmp_path / "three.safetensors", like(network()))
    assert bits((whole, end)) == bits(later)


def test_a_run_that_was_stopped_goes_on(tmp_path):
    whole, end, info = learn(metric=accuracy, tests=TASKS, validation=TASKS)
    assert np.isfinite(info.training[1].history["validation_loss"]).all()

    def stops(net, test):
        if len(list(tmp_path.glob("task_*"))) == 2:
            raise KeyboardInterrupt
        return accuracy(net, test)

    with pytest.raises(KeyboardInterrupt):
        learn(metric=stops, tests=TASKS, validation=TASKS, folder=tmp_path)
    again = {"validation": TASKS, "folder": tmp_path, "resume": True}
    net, state, found = learn(metric=accuracy, tests=TASKS, **again)
    assert bits((whole, end)) == bits((net, state))
    np.testing.assert_array_equal(found.metrics, info.metrics)
    assert [each.step for each in found.training] == [12, 12, 12]
    np.testing.assert_array_equal(
        found.training[0].history["loss"], info.training[0].history["loss"]
    )


@pytest.mark.parametrize("which", ["si", "ewc"])
def test_several_runs_are_as_if_each_were_alone(which):
    given: dict[str, Any] = {"metric": accuracy, "tests": TASKS}
    if which == "ewc":
        given["fisher"] = fisher
        given["optimiser"] = elastic_weight_consolidation(optax.adam(0.02), strength=1.0)
    keys = jr.split(jr.key(1), 2)
    nets = [network(seed) for seed in range(2)]
    stack = jax.tree.map(
        lambda *leaves: jnp.stack(leaves) if eqx.is_array(leaves[0]) else leaves[0], *nets
    )
    tasks = TASKS[:2]
    found, state, info = learn(tasks, stack, key=keys, **given)
    assert info.metrics.shape == (2, 3, 2)
    assert state.tasks.tolist() == [2, 2]
    for n, net in enumerate(nets):
        alone, _, told = learn(tasks, net, key=keys[n], **given)
        for ours, theirs in zip(bits(found), bits(alone), strict=True):
            ours = np.frombuffer(ours).reshape(2, -1)[n]
            np.testing.assert_allclose(ours, np.frombuffer(theirs), rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(info.metrics[..., n], told.metrics)
        np.testing.assert_allclose(info.before[..., n], told.before)


def test_it_is_held_where_it_was():
    """With a great strength the second task hardly moves what the first one used."""
    moved = []
    for strength in (0.0, 30.0):
        optimiser = synaptic_intelligence(optax.adam(0.02), strength=strength)
        first, state, _ = learn(TASKS[:1], optimiser=optimiser)
        second, _, _ = learn(TASKS[1:2], first, state=state, optimiser=optimiser)
        gaps = jax.tree.map(
            lambda omega, a, b: jnp.sum(omega * (a - b) ** 2),
            state.importance, *(eqx.filter(each, eqx.is_inexact_array) for each in (first, second)),
        )  # fmt: skip
        moved.append(float(sum(jax.tree.leaves(gaps))))
    assert moved[1] < 0.2 * moved[0]


def test_the_metric_is_measured_without_dropout():
    drop = eqx.nn.Sequential([network(), eqx.nn.Dropout(0.5)])
    training = lambda net, test: jnp.asarray(float(not net.layers[1].inference))
    given = {"metric": training, "tests": TASKS[:1], "steps": 1, "log_every": 1}
    noisy = lambda net, batch, *, key: loss(lambda x: net(x, key=key), batch, key=key)
    _, _, info = fit_tasks(
        drop, noisy, TASKS[:1], optimiser=OPTIMISER, batch_size=6, key=jr.key(0), **given
    )
    assert info.before.tolist() == [0]
    assert info.metrics.tolist() == [[0]]


def test_a_second_call_compiles_nothing_new():
    learn(TASKS[:2])
    with jax.log_compiles(), pytest.MonkeyPatch.context() as patch:
        counted = []
        patch.setattr(jax._src.compiler, "compile_or_get_cached", lambda *a, **k: counted.append(a))
        learn(TASKS[:2])
    assert not counted


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"tasks": []}, ValueError, "`tasks` must hold"),
        ({"optimiser": optax.adam(0.1)}, TypeError, "For training without memory"),
        ({"optimiser": None}, TypeError, "`optimiser` must be what"),
        ({"metric": accuracy}, ValueError, "`tests` need a `metric`"),
        ({"tests": TASKS}, ValueError, "`tests` need a `metric`"),
        ({"fisher": fisher}, ValueError, "with it alone"),
        ({"validation": TASKS[:1]}, ValueError, "one entry for each of the 3 tasks, got 1"),
        (
            {"optimiser": elastic_weight_consolidation(optax.adam(0.1), strength=1.0)},
            ValueError,
            "`fisher` is needed",
        ),
        (
            {"metric": lambda net, test: test[0], "tests": TASKS},
            TypeError,
            r"`metric` must return one number, got shape \(24, 3\)",
        ),
    ],
)
def test_what_is_refused(given, error, message):
    with pytest.raises(error, match=message):
        learn(**given)


@pytest.mark.parametrize("state", [1, {"tasks": 1}])
def test_what_is_no_state_is_refused(state):
    with pytest.raises(TypeError, match="`state` must be the `ContinualState`"):
        inspect.unwrap(fit_tasks)(
            network(), loss, TASKS, optimiser=OPTIMISER, steps=1, state=state, key=jr.key(0)
        )


def test_a_state_of_another_network_is_refused():
    other = eqx.nn.MLP(3, 2, 4, 1, key=jr.key(0), dtype=float)
    state = OPTIMISER.init(eqx.filter(other, eqx.is_inexact_array))
    with pytest.raises(ValueError, match="`optimiser_state` must be a state"):
        learn(state=state)
