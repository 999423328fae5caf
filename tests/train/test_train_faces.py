"""What the engine does for all its faces: carried state, ways back, validation, kills."""

import itertools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest

from pullback.train import (
    CheckpointError,
    Ending,
    Stream,
    TrainingError,
    evaluate,
    fit,
    iterate,
    load_model,
)

SGD = optax.sgd(0.1)
X = np.arange(12.0).reshape(6, 2)


def square(w, batch, *, key):
    return jnp.mean((batch - w[None]) ** 2), {}


# What is carried


def averaged(w, batch, *, key, state):
    mean = 0.9 * state + 0.1 * jnp.mean(batch)
    return jnp.mean((batch - w[None]) ** 2), {"mean": mean}, mean


def test_what_a_loss_carries_is_what_a_loop_carries():
    seen = lambda w, batch, *, key, state: (jnp.sum(w) + 0 * jnp.sum(batch), {},
                                            0.5 * state + batch[0, 0])  # fmt: skip
    _, info = fit(jnp.zeros(2), seen, X, optimiser=SGD, steps=6, batch_size=1,
                  state=jnp.asarray(1.0), key=jr.key(0))  # fmt: skip

    expected = 1.0
    for row in fit_order(jr.key(0), 6):
        expected = 0.5 * expected + X[row, 0]
    np.testing.assert_allclose(info.state, expected, rtol=1e-14)


def fit_order(key, steps):
    """The rows that batches of one are made of, found by what a loss says of them."""
    found = fit(jnp.zeros(2), lambda w, b, *, key: (jnp.sum(w), {"row": b[0, 0] / 2}), X,
                optimiser=SGD, steps=steps, batch_size=1, log_every=1, key=key)[1]  # fmt: skip
    return found.history["row"].astype(int)


def test_what_is_carried_is_handed_on_and_kept(tmp_path):
    options: dict[str, Any] = dict(optimiser=optax.adam(0.1), batch_size=4, log_every=2,
                                   key=jr.key(1))  # fmt: skip
    whole, told = fit(jnp.zeros(2), averaged, X, steps=8, state=jnp.asarray(0.0), **options)
    fit(jnp.zeros(2), averaged, X, steps=4, state=jnp.asarray(0.0), folder=tmp_path, **options)
    after, info = fit(jnp.zeros(2), averaged, X, steps=8, state=jnp.asarray(0.0), folder=tmp_path,
                      resume=True, **options)  # fmt: skip
    np.testing.assert_array_equal(after, whole)
    np.testing.assert_array_equal(info.state, told.state)
    for a, b in zip(*(jax.tree.leaves(i.optimiser_state) for i in (info, told)), strict=True):
        np.testing.assert_array_equal(a, b)


def test_an_optimisers_state_goes_in_and_comes_back():
    """Two calls of which the second starts from the first's state are one; afresh they are not."""
    momentum = optax.sgd(0.1, momentum=0.9)
    options: dict[str, Any] = dict(optimiser=momentum, batch_size=6, key=jr.key(0))
    whole, _ = fit(jnp.zeros(2), square, X, steps=6, **options)
    half, info = fit(jnp.zeros(2), square, X, steps=3, **options)
    found, _ = fit(half, square, X, steps=3, optimiser_state=info.optimiser_state, **options)
    np.testing.assert_allclose(found, whole, rtol=1e-14)
    afresh, _ = fit(half, square, X, steps=3, **options)
    assert np.all(np.abs(afresh - whole) > 1e-2)
    with pytest.raises(ValueError, match="must be a state of `optimiser`"):
        fit(half, square, X, steps=3, optimiser_state=optax.adam(0.1).init(half), **options)


def test_batch_normalisation_trains_and_is_put_in_inference_mode():
    class Net(eqx.Module):
        norm: eqx.nn.BatchNorm
        weight: jax.Array

    net, state = eqx.nn.make_with_state(
        lambda: Net(eqx.nn.BatchNorm(2, "batch", mode="ema"), jnp.ones(2))
    )()

    def loss(net, batch, *, key, state):
        z, state = jax.vmap(net.norm, axis_name="batch", in_axes=(0, None), out_axes=(0, None))(
            batch, state
        )
        return jnp.mean((z @ net.weight) ** 2), {}, state

    trained, info = fit(net, loss, X, optimiser=SGD, steps=400, batch_size=6, validation=X,
                        state=state, key=jr.key(0))  # fmt: skip
    (mean, variance), *_ = [info.state.get(net.norm.ema_state_index)]
    np.testing.assert_allclose(mean, X.mean(0), rtol=0.05)
    np.testing.assert_allclose(variance, X.var(0), rtol=0.3)
    held_out = info.history["validation_loss"]
    assert np.isfinite(held_out).all()
    found = evaluate(trained, loss, X, batch_size=6, state=info.state, key=jr.key(0))
    np.testing.assert_allclose(found["loss"], held_out[-1], rtol=1e-12)


@pytest.mark.parametrize(
    ("loss", "state", "error", "message"),
    [
        (square, jnp.zeros(()), ValueError, "needs such a loss"),
        (averaged, None, ValueError, "needs the `state` that it starts from"),
        (lambda w, b, *, key, state: (jnp.sum(w), {}), jnp.zeros(()), TypeError, "the new state"),
        (lambda w, b, *, key, state: (jnp.sum(w), {}, jnp.zeros(2)), jnp.zeros(()), TypeError,
         "structure, the shapes"),
    ],
)  # fmt: skip
def test_a_state_that_does_not_fit_is_refused(loss, state, error, message):
    with pytest.raises(error, match=message):
        fit(jnp.zeros(2), loss, X, optimiser=SGD, steps=1, batch_size=2, state=state, key=jr.key(0))


# Ways back


def falls(w, batch, *, key, step):
    """Breaks at the sixth step alone."""
    return jnp.where(step == 5, jnp.nan, jnp.sum(w)) + 0 * jnp.sum(batch), {}


def test_fit_goes_back_to_its_snapshot_and_on():
    options: dict[str, Any] = dict(optimiser=optax.sgd(1.0), steps=8, batch_size=1, log_every=4,
                                   key=jr.key(0))  # fmt: skip
    found, info = fit(jnp.zeros(()), falls, X, rollbacks=1, **options)
    # Four steps, a snapshot; a fifth, lost with the sixth; the seventh and eighth.
    assert float(found) == -6
    assert (int(info.rollbacks), bool(info.good)) == (1, True)
    assert info.history["rollbacks"].tolist() == [0, 1]
    with pytest.raises(TrainingError, match="step 6: the loss is not finite") as caught:
        fit(jnp.zeros(()), falls, X, **options)
    assert float(caught.value.model) == -5


def test_a_run_that_failed_may_go_on_with_rollbacks(tmp_path):
    options: dict[str, Any] = dict(optimiser=optax.sgd(1.0), steps=8, batch_size=1, log_every=4,
                                   folder=tmp_path, key=jr.key(0))  # fmt: skip
    with pytest.raises(TrainingError):
        fit(jnp.zeros(()), falls, X, **options)
    # From the state after the fifth step, which is its first snapshot: the sixth step is lost.
    found, info = fit(jnp.zeros(()), falls, X, rollbacks=1, resume=True, **options)
    assert (float(found), int(info.rollbacks)) == (-7, 1)


@pytest.mark.parametrize("sequential", [False, True])
def test_any_of_a_stack_goes_back_alone(sequential):
    class Falls(eqx.Module):
        at: jax.Array

        def __call__(self, w, batch, *, key, step):
            return falls(w, batch, key=key, step=step - self.at + 5)

    found, info = fit(
        jnp.zeros(3), Falls(jnp.asarray([5, 99, 2], jnp.int32)), X, optimiser=optax.sgd(1.0),
        steps=8, batch_size=1, log_every=4, rollbacks=1, sequential=sequential,
        key=jr.split(jr.key(0), 3),
    )  # fmt: skip
    assert found.tolist() == [-6, -8, -5]
    assert info.rollbacks.tolist() == [1, 0, 1]
    assert info.good.all()


# Validation


def test_validation_may_be_a_function_of_the_model():
    options: dict[str, Any] = dict(optimiser=SGD, steps=60, batch_size=6, log_every=1,
                                   key=jr.key(0))  # fmt: skip
    score = lambda w, *, key: {"loss": jnp.sum((w - 2.0) ** 2), "first": w[0]}
    found, info = fit(jnp.zeros(2), square, X, validation=score, patience=3, **options)
    best = int(np.argmin(info.history["validation_loss"]))
    assert (info.ending, info.best_step) == (Ending.EARLY, best + 1)
    np.testing.assert_allclose(found[0], info.history["validation_first"][best], rtol=1e-14)
    with pytest.raises(ValueError, match="watches the metric `loss` of `validation`"):
        fit(jnp.zeros(2), square, X, validation=lambda w, *, key: {"mse": w[0]}, patience=3,
            **options)  # fmt: skip
    with pytest.raises(TypeError, match="a dictionary of scalar metrics"):
        fit(jnp.zeros(2), square, X, validation=lambda w, *, key: {"loss": w}, **options)


def test_a_resume_remembers_how_long_nothing_was_better(tmp_path):
    score = lambda w, *, key: {"loss": jnp.sum((w - 2.0) ** 2)}
    options: dict[str, Any] = dict(optimiser=SGD, batch_size=6, log_every=1, validation=score,
                                   patience=4, folder=tmp_path, key=jr.key(0))  # fmt: skip
    _, whole = fit(jnp.zeros(2), square, X, steps=60, **options)
    with pytest.warns(UserWarning, match="is replaced"):
        fit(jnp.zeros(2), square, X, steps=whole.best_step + 2, **options)
    _, info = fit(jnp.zeros(2), square, X, steps=60, resume=True, **options)
    assert (info.ending, info.step, info.best_step) == (
        Ending.EARLY, whole.best_step + 4, whole.best_step
    )  # fmt: skip


def towards(state, batch, *, key):
    return state - 0.1 * (state - jnp.mean(batch)), {}


@pytest.mark.parametrize("sequential", [False, True])
@pytest.mark.parametrize("face", ["fit", "iterate"])
def test_patience_of_a_stack_is_that_of_each_run(face, sequential):
    """The first run would find a lower loss at its third step, and is no longer watched then."""
    start = jnp.asarray([0.0, 2.5, -20.0])
    data = np.full(6, 10.0)
    options: dict[str, Any] = dict(steps=40, patience=1, log_every=1)

    def distance(state, *, key):
        return {"loss": jnp.abs(state - jnp.where(state < 2, 1.05, 2.71))}

    def trained(start, key, **more):
        if face == "iterate":
            return iterate(towards, start, Stream(data, 6), validation=distance, key=key,
                           **options, **more)  # fmt: skip
        loss = lambda w, b, *, key: (0.5 * jnp.mean((w - b) ** 2), {})
        return fit(start, loss, data, optimiser=SGD, batch_size=6, validation=distance, key=key,
                   **options, **more)  # fmt: skip

    keys = jr.split(jr.key(0), 3)
    found, info = trained(start, keys, sequential=sequential)
    for i in range(3):
        alone, told = trained(start[i], keys[i])
        np.testing.assert_allclose(found[i], alone, rtol=1e-12)
        assert told.ending is Ending.EARLY
        assert told.best_step == info.best_step[i]
        np.testing.assert_allclose(told.best_loss, info.best_loss[i], rtol=1e-12)


def test_a_stack_is_kept_with_its_best_models(tmp_path):
    data, score = np.full(6, 10.0), lambda w, *, key: {"loss": jnp.abs(w - 4.0)}
    loss = lambda w, b, *, key: (0.5 * jnp.mean((w - b) ** 2), {})
    found, _ = fit(jnp.asarray([0.0, 2.0]), loss, data, optimiser=SGD, steps=20, batch_size=6,
                   log_every=1, validation=score, patience=30, folder=tmp_path,
                   key=jr.split(jr.key(0)))  # fmt: skip
    np.testing.assert_allclose(found, 4, atol=0.4)
    np.testing.assert_array_equal(load_model(tmp_path, jnp.zeros(2)), found)


# Kills


class Killed(BaseException):
    pass


def noisy(w, batch, *, key):
    noise = jr.normal(key, batch.shape, batch.dtype)
    return jnp.mean((batch + noise - w[None]) ** 2), {"size": jnp.sum(w**2)}


def noisy_step(state, batch, *, key):
    count, mean = state
    # One step in a while diverges, so that there are ways back to be killed in.
    new = mean + 0.1 * (jnp.mean(batch) + jr.normal(key) - mean)
    return (count + 1, new), {"mean": new, "diverged": jr.uniform(key) < 0.1}


class Source:
    def __len__(self):
        return len(X)

    def __getitem__(self, i):
        return X[i]


ADAM = optax.adam(0.1)
NUMBERS: dict[str, Any] = dict(steps=11, log_every=2, checkpoint_every=4)
TWO = jnp.zeros((2, 2))


def best_of_two(w, *, key):
    return {"loss": jnp.sum((w - 3.0) ** 2)}


FACES = {
    "fit": lambda **more: fit(jnp.zeros(2), noisy, X, optimiser=ADAM, batch_size=4, key=jr.key(2),
                              validation=X, patience=9, **NUMBERS, **more),
    "from the host": lambda **more: fit(jnp.zeros(2), noisy, Source(), optimiser=ADAM,
                                        batch_size=4, key=jr.key(2), **NUMBERS, **more),
    "drawn": lambda **more: fit(jnp.zeros(2), noisy, lambda key: jr.normal(key, (4, 2)),
                                optimiser=ADAM, key=jr.key(2), **NUMBERS, **more),
    "a stack": lambda **more: fit(TWO, noisy, X, optimiser=ADAM, batch_size=4,
                                  key=jr.split(jr.key(2)), validation=best_of_two, patience=9,
                                  **NUMBERS, **more),
    "one after another": lambda **more: fit(TWO, noisy, X, optimiser=ADAM, batch_size=4,
                                            key=jr.split(jr.key(2)), sequential=True, **NUMBERS,
                                            **more),
    "iterate": lambda **more: iterate(noisy_step, (jnp.asarray(0), jnp.asarray(0.0)), Stream(X, 4),
                                      rollbacks=20, key=jr.key(2), **NUMBERS, **more),
    "a stack of iterate": lambda **more: iterate(
        noisy_step, (jnp.zeros(2, int), jnp.zeros(2)), Stream(X, 4), rollbacks=20,
        key=jr.split(jr.key(2)), **NUMBERS, **more),
}  # fmt: skip


@pytest.mark.parametrize("some", [8, pytest.param(None, marks=pytest.mark.slow)])
@pytest.mark.parametrize("face", list(FACES))
def test_a_run_killed_at_any_moment_goes_on_to_the_same_bits(face, some, tmp_path, monkeypatch):
    """Some of all the moments before and after what the host does: computing, logging, saving."""
    call = FACES[face]
    expected, told = call()
    moments = itertools.count()
    at = [-1]

    def watched(module, name):
        module = f"pullback.train.{module}"
        real = getattr(__import__(module, fromlist=[name]), name)

        def wrapped(*args, **kwargs):
            if next(moments) == at[0]:
                raise Killed
            found = real(*args, **kwargs)
            if next(moments) == at[0]:
                raise Killed
            return found

        monkeypatch.setattr(f"{module}.{name}", wrapped)

    watched("_run", "run_chunk")
    watched("_run", "append_line")
    watched("_store", "save_checkpoint")
    watched("_store", "keep_two")
    watched("_store", "restart_log")
    call(folder=tmp_path / "counted")
    total = next(moments)
    assert total > 20
    rng = np.random.default_rng(list(FACES).index(face))  # other moments of each face
    for moment in rng.permutation(total)[:some]:
        folder = tmp_path / str(moment)
        moments, at[0] = itertools.count(), moment
        with pytest.raises(Killed):
            call(folder=folder)
        moments, at[0] = itertools.count(), -1
        found, info = call(folder=folder, resume=True)
        for a, b in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
            np.testing.assert_array_equal(a, b)
        for name in set(told.history) - {"steps_per_second"}:
            np.testing.assert_array_equal(info.history[name], told.history[name], err_msg=name)
        np.testing.assert_array_equal(info.rollbacks, told.rollbacks)


def test_a_resume_with_other_data_is_refused(tmp_path):
    options: dict[str, Any] = dict(optimiser=SGD, batch_size=2, log_every=2, folder=tmp_path,
                                   key=jr.key(0))  # fmt: skip
    fit(jnp.zeros(2), square, X, steps=2, **options)
    other = X.copy()
    other[3, 1] += 1e-6
    with pytest.raises(CheckpointError, match="another run: it has data"):
        fit(jnp.zeros(2), square, other, steps=4, resume=True, **options)
    fit(jnp.zeros(2), square, X, steps=4, resume=True, **options)


def test_another_validation_is_refused_where_the_lowest_loss_is_kept(tmp_path):
    train = lambda folder, validation, **more: fit(
        jnp.zeros(2), square, X, optimiser=SGD, batch_size=2, log_every=2, validation=validation,
        folder=tmp_path / folder, key=jr.key(0), **more,
    )[1]  # fmt: skip
    for patience in (None, 3):
        train(str(patience), X, steps=4, patience=patience)
    told = train("None", X + 1, steps=8, resume=True)
    assert told.history["step"].tolist() == [2, 4, 6, 8]
    with pytest.raises(CheckpointError, match="it has validation = "):
        train("3", X + 1, steps=8, patience=3, resume=True)
    assert train("3", X, steps=8, patience=3, resume=True).best_step == 8


def test_the_folder_of_the_other_face_is_named_as_that(tmp_path):
    by_fit = lambda folder: fit(jnp.zeros(2), square, X, optimiser=SGD, steps=2, batch_size=2,
                                folder=folder, resume=True, key=jr.key(0))  # fmt: skip
    step = lambda s, batch, *, key: (s, {})
    by_iterate = lambda folder: iterate(step, jnp.zeros(2), Stream(X, 2), steps=2, folder=folder,
                                        resume=True, key=jr.key(0))  # fmt: skip
    by_fit(tmp_path / "fit")
    by_iterate(tmp_path / "iterate")
    with pytest.raises(CheckpointError, match="written by `fit` and this is `iterate`"):
        by_iterate(tmp_path / "fit")
    with pytest.raises(CheckpointError, match="written by `iterate` and this is `fit`"):
        by_fit(tmp_path / "iterate")


def test_a_run_that_failed_at_once_has_a_history_of_no_points():
    never = lambda w, batch, *, key: (jnp.sum(w) * jnp.nan, {})
    with pytest.raises(TrainingError) as caught:
        fit(jnp.zeros(2), never, X, optimiser=SGD, steps=2, batch_size=2, key=jr.key(0))
    told = caught.value.info
    assert told.history["step"].tolist() == told.lines() == []
    assert (told.step, int(told.rollbacks), bool(told.good)) == (0, 1, False)
