"""`iterate`: batches, falling back, stacks, and resuming."""

import json
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest

from pullback.train import CheckpointError, Stream, TrainingError, apply_gradient, fit, iterate

X = np.arange(12.0).reshape(6, 2)


def _loss(model, batch, *, key):
    return jnp.mean((batch - model["mean"][None]) ** 2), {}


_SGD = optax.sgd(0.1)


def _descend(state, batch, *, key):
    model, opt = state
    loss, gradient = eqx.filter_value_and_grad(lambda m: _loss(m, batch, key=key)[0])(model)
    return apply_gradient(_SGD, gradient, opt, model), {"loss": loss}


def _start():
    model = {"mean": jnp.zeros(2)}
    return model, _SGD.init(model)


def test_gradient_steps_repeat_fit():
    # Whole batches: the order of the examples is another one, since streams have one each.
    model, info = fit(_start()[0], _loss, X, optimiser=_SGD, steps=7, batch_size=6, log_every=3,
                      key=jr.key(1))  # fmt: skip
    (found, _), told = iterate(_descend, _start(), Stream(X, 6), steps=7, log_every=3,
                               key=jr.key(1))  # fmt: skip
    np.testing.assert_allclose(found["mean"], model["mean"], rtol=1e-14)
    np.testing.assert_allclose(told.history["loss"], [e["loss"] for e in info.lines()], rtol=1e-14)


def test_every_example_of_every_stream_comes_once_an_epoch():
    def step(counts, batch, *, key):
        a = counts["a"].at[batch["a"]].add(1)
        return {"a": a, "b": counts["b"].at[batch["b"]].add(1)}, {"zero": 0.0}

    counts = {"a": jnp.zeros(6, int), "b": jnp.zeros(4, int)}
    streams = {"a": Stream(np.arange(6), 2), "b": Stream(np.arange(4), 2)}
    found, _ = iterate(step, counts, streams, steps=6, log_every=4, key=jr.key(0))
    assert found["a"].tolist() == [2] * 6
    assert found["b"].tolist() == [3] * 4


def test_no_streams_at_all():
    found, _ = iterate(lambda s, b, *, key: (s + 1, {}), jnp.asarray(0), {}, steps=5, key=jr.key(0))
    assert int(found) == 5


def _explodes(state, batch, *, key):
    """Counts steps; diverges at the calls where the counter of all steps says so."""
    kept, total = state
    del batch
    return (kept + 1, total), {"kept": kept.astype(float), "diverged": kept == total}


def test_a_run_falls_back_to_its_snapshot_and_goes_on():
    # Snapshots are taken after 2, 4, ... steps; the step from 5 diverges, always.
    state = (jnp.asarray(0), jnp.asarray(5))
    found, info = iterate(_explodes, state, {}, steps=10, log_every=2, rollbacks=5, key=jr.key(0))
    # 1 2 | 3 4 | 5 x -> 4 | 5 x -> 4 | 5 x -> 4: steps 6, 8 and 10 are not taken.
    assert int(found[0]) == 4
    assert int(info.rollbacks) == 3
    assert info.good
    assert info.history["kept"].tolist() == [0.5, 2.5, 4, 4, 4]


def test_a_run_that_diverges_too_often_has_failed(tmp_path):
    state = (jnp.asarray(0), jnp.asarray(5))
    with pytest.raises(TrainingError, match="diverged 2 times, and `rollbacks` allows 1") as caught:
        iterate(_explodes, state, {}, steps=10, log_every=2, rollbacks=1, folder=tmp_path,
                key=jr.key(0))  # fmt: skip
    assert int(caught.value.model[0]) == 4
    assert caught.value.info.checkpoint == tmp_path / "checkpoint-8.safetensors"
    assert caught.value.info.checkpoint.exists()


def test_one_of_a_stack_fails_alone():
    state = (jnp.zeros(2, int), jnp.asarray([100, 3]))
    found, info = iterate(
        _explodes, state, {}, steps=8, log_every=2, rollbacks=1, key=jr.split(jr.key(0))
    )
    assert found[0].tolist() == [8, 2]
    assert info.good.tolist() == [True, False]
    assert info.rollbacks.tolist() == [0, 2]
    np.testing.assert_array_equal(
        info.history["kept"], [[0.5, 0.5], [2.5, 2], [4.5, 2], [6.5, np.nan]]
    )


def test_what_is_not_finite_does_not_come_into_a_snapshot():
    def step(state, batch, *, key):
        # The NaN is written where no metric sees it.
        return state.at[1].set(jnp.where(state[0] == 3, jnp.nan, 0.0)).at[0].add(1), {"one": 1.0}

    found, info = iterate(step, jnp.zeros(2), {}, steps=6, log_every=2, rollbacks=2, key=jr.key(0))
    assert found.tolist() == [2, 0]
    assert int(info.rollbacks) == 2


def test_a_stack_is_its_runs():
    keys = jr.split(jr.key(3))
    stack = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), _start())
    (both, _), info = iterate(_descend, stack, Stream(X, 2), steps=5, log_every=2, key=keys)
    for number, key in enumerate(keys):
        (one, _), told = iterate(_descend, _start(), Stream(X, 2), steps=5, log_every=2, key=key)
        np.testing.assert_allclose(both["mean"][number], one["mean"], rtol=1e-14)
        np.testing.assert_allclose(
            info.history["loss"][:, number], told.history["loss"], rtol=1e-14
        )


def test_a_run_that_was_cut_goes_on_to_the_same_end(tmp_path):
    whole, told = iterate(_descend, _start(), Stream(X, 4), steps=9, log_every=2, key=jr.key(1))
    arguments: dict[str, Any] = dict(log_every=2, folder=tmp_path, key=jr.key(1))
    iterate(_descend, _start(), Stream(X, 4), steps=4, **arguments)
    after, info = iterate(_descend, _start(), Stream(X, 4), steps=9, resume=True, **arguments)
    np.testing.assert_array_equal(after[0]["mean"], whole[0]["mean"])
    np.testing.assert_allclose(info.history["loss"], told.history["loss"], rtol=1e-14)
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [2, 4, 6, 8, 9]
    with pytest.raises(CheckpointError, match="written by another run"):
        iterate(_descend, _start(), Stream(X, 3), steps=9, resume=True, **arguments)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, "`steps` must be at least 1"),
        ({"rollbacks": -1}, "`rollbacks` must be 0 or more"),
        ({"snapshot_every": 3}, "multiple of `log_every`"),
        (
            {"streams": {"x": Stream(X, 9)}},
            "of the stream 'x' must be from 1 to 6, the number of examples, got 9",
        ),
        ({"resume": True}, "needs the `folder`"),
        ({"key": jr.split(jr.key(0), 3)}, "one row for each of the 3 keys, got 2"),
        ({"step": lambda s, b, *, key: (s, jnp.zeros(2))}, "a dictionary of scalar metrics"),
        ({"step": lambda s, b, *, key: (s, {"step": 0.0})}, "a name that the log uses"),
    ],
)
def test_bad_arguments(change, message):
    step, streams = change.pop("step", _explodes), change.pop("streams", {})
    arguments = {"steps": 4, "log_every": 2, "key": jr.key(0), **change}
    with pytest.raises((ValueError, TypeError), match=message):
        iterate(step, jnp.zeros(2), streams, **arguments)


def test_a_metric_that_is_not_a_number_is_a_divergence():
    def step(state, batch, *, key):
        return state + 1, {"value": jnp.where(state == 3, jnp.nan, 1.0)}

    found, info = iterate(
        step, jnp.asarray(0), {}, steps=8, log_every=2, rollbacks=9, key=jr.key(0)
    )
    # 1 2 | 3 x -> 2 | 3 x -> 2 | 3 x -> 2
    assert int(found) == 2
    assert int(info.rollbacks) == 3


def test_a_solve_that_failed_is_a_divergence():
    step = lambda s, b, *, key: (s + 1, {"result": jnp.where(s == 3, 2, 0)})
    found, info = iterate(
        step, jnp.asarray(0), {}, steps=4, log_every=2, rollbacks=9, key=jr.key(0)
    )
    assert int(found) == 2
    assert int(info.rollbacks) == 1


def test_every_step_and_every_run_has_its_own_noise():
    def step(state, batch, *, key):
        draws, count = state
        return (draws.at[count].set(jr.normal(key)), count + 1), {}

    state = (jnp.zeros((2, 5)), jnp.zeros(2, int))
    (draws, _), _ = iterate(step, state, {}, steps=5, log_every=2, key=jr.split(jr.key(0)))
    assert len(np.unique(draws)) == 10


def test_arrays_of_numpy_in_a_state_are_arrays():
    step = lambda s, b, *, key: ({"a": s["a"] + 1, "name": s["name"]}, {})
    found, _ = iterate(step, {"a": np.zeros(3), "name": "mine"}, steps=4, key=jr.key(0))
    assert found["a"].tolist() == [4, 4, 4]
    assert found["name"] == "mine"
