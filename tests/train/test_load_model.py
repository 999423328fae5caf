"""The model in a run's folder, and what goes on from there."""

import warnings

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest

from pullback.train import CheckpointError, Stream, fit, iterate, load_model

X = jnp.asarray([1.0, 2.0, 6.0])


class Model(eqx.Module):
    mean: jax.Array
    table: jax.Array
    scale: float = eqx.field(static=True, default=1.0)

    @classmethod
    def new(cls, seed=0, scale=1.0):
        return cls(jnp.asarray(0.0), jnp.arange(3) + seed, scale)


def loss(model, batch, *, key):
    return model.scale * jnp.mean((model.mean - batch) ** 2), {}


def run(folder, model=None, loss=loss, **more):
    model = Model.new() if model is None else model
    options = {"optimiser": optax.adam(0.1), "steps": 4, "batch_size": 3, "log_every": 2}
    return fit(model, loss, X, key=jr.key(0), folder=folder, **(options | more))


def test_it_is_the_model_that_fit_returned(tmp_path):
    trained, _ = run(tmp_path)
    skeleton = eqx.filter_eval_shape(Model.new)
    for like in (Model.new(seed=5), skeleton):
        found = load_model(tmp_path, like)
        assert eqx.tree_equal(found, trained)
        assert found.table.tolist() == [0, 1, 2]


def test_with_patience_it_is_the_one_of_the_lowest_validation_loss(tmp_path):
    # The mean goes from 0 to 3, past the held-out 0.3.
    options = {"validation": jnp.full(2, 0.3), "patience": 3, "steps": 100}
    trained, info = run(tmp_path, **options)
    assert info.best_step is not None
    assert info.best_step < info.step
    found = load_model(tmp_path, Model.new())
    assert eqx.tree_equal(found, trained)
    np.testing.assert_allclose(found.mean, 0.3, atol=0.15)


def test_another_model_or_something_else_is_refused_by_name(tmp_path):
    run(tmp_path)
    with pytest.raises(CheckpointError, match=r"\.scale is 1\.0 .* 2\.0"):
        load_model(tmp_path, Model.new(scale=2.0))
    with pytest.raises(CheckpointError, match=r"mean has shape \[\] .* \[2\]"):
        load_model(tmp_path, Model(jnp.zeros(2), jnp.arange(3)))
    with pytest.raises(CheckpointError, match="no checkpoint in this folder"):
        load_model(tmp_path / "elsewhere", Model.new())
    step = lambda state, batch, *, key: (state, {})
    iterate(step, X, Stream(X, 3), steps=1, folder=tmp_path / "other", key=jr.key(0))
    with pytest.raises(CheckpointError, match="not written by `fit`"):
        load_model(tmp_path / "other", X)


def test_with_another_optimiser_training_starts_afresh_and_says_so(tmp_path):
    trained, _ = run(tmp_path)
    sgd = optax.sgd(0.1)
    with pytest.warns(UserWarning, match=r"run of 4 steps.*afresh, at step 0.*`resume") as told:
        again, info = run(tmp_path, load_model(tmp_path, Model.new()), optimiser=sgd, steps=2)
    assert len(told) == 1
    assert info.step == 2
    expected = float(trained.mean)
    for _ in range(2):
        expected -= 0.1 * 2 * (expected - 3)
    np.testing.assert_allclose(again.mean, expected, rtol=1e-12)
    with warnings.catch_warnings(action="error"):
        _, info = run(tmp_path, trained, optimiser=sgd, steps=3, resume=True)
    assert info.step == 3


@pytest.mark.parametrize("other", [optax.adam(0.2), optax.sgd(0.1), optax.adam(lambda count: 0.1)])
def test_resuming_with_another_optimiser_is_refused_with_the_remedy(tmp_path, other):
    run(tmp_path)
    message = r"another optimiser.*`model = load_model\(folder, model\)`.*without `resume`"
    with pytest.raises(CheckpointError, match=message):
        run(tmp_path, optimiser=other, resume=True, steps=6)
    assert run(tmp_path, resume=True, steps=6)[1].step == 6


def times(number):
    return lambda model, batch, *, key: (number * loss(model, batch, key=key)[0], {})


HELD = {"scale": 1.0}


def reading(model, batch, *, key):
    return HELD["scale"] * loss(model, batch, key=key)[0], {}


def test_resuming_with_another_loss_is_refused(tmp_path, monkeypatch):
    run(tmp_path / "a", loss=times(1.0))
    with pytest.raises(CheckpointError, match=r"`loss` computes something else.*another loss"):
        run(tmp_path / "a", loss=times(2.0), resume=True)
    with pytest.raises(CheckpointError, match=r"`loss` is <lambda> .*load_model\.loss"):
        run(tmp_path / "a", resume=True)
    assert run(tmp_path / "a", loss=times(1.0), steps=5, resume=True)[1].step == 5
    run(tmp_path / "b", loss=reading)
    monkeypatch.setitem(HELD, "scale", 3.0)
    with pytest.raises(CheckpointError, match="another loss"):
        run(tmp_path / "b", loss=reading, resume=True)


def test_resuming_with_another_step_is_refused(tmp_path):
    def go(rate, **more):
        step = lambda state, batch, *, key: (state - rate * jnp.mean(state - batch), {})
        return iterate(
            step, jnp.zeros(()), Stream(X, 3), log_every=2, folder=tmp_path, key=jr.key(0), **more
        )[0]

    go(0.1, steps=2)
    with pytest.raises(CheckpointError, match=r"`step` computes something else.*another step"):
        go(0.2, steps=4, resume=True)
    np.testing.assert_allclose(go(0.1, steps=4, resume=True), 3 * (1 - 0.9**4), rtol=1e-12)


def test_arrays_of_numpy_come_back_as_those_of_jax(tmp_path, x32):
    model = {"w": np.ones(2), "table": np.arange(3)}
    of_both = lambda m, batch, *, key: (jnp.sum(m["w"] ** 2), {})
    trained, _ = run(tmp_path, model, of_both)
    found = load_model(tmp_path, model)
    assert jax.tree.map(lambda leaf: leaf.dtype.name, found) == {"w": "float32", "table": "int32"}
    assert eqx.tree_equal(found, trained)
    assert run(tmp_path, model, of_both, steps=6, resume=True)[1].step == 6


def test_the_checkpoint_itself_is_no_folder(tmp_path):
    _, info = run(tmp_path)
    assert info.checkpoint is not None
    with pytest.raises(CheckpointError, match=r"safetensors is a file\..*takes the folder"):
        load_model(info.checkpoint, Model.new())
