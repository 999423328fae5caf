import json
import os
import signal
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest
from jax.sharding import AxisType

from pullback.train import CheckpointError, Ending, TrainingError, fit, save_checkpoint
from pullback.train._engine import run_chunk
from pullback.train._order import batches

SGD = optax.sgd(0.05)


def least_squares(w, batch, *, key):
    x, y = batch
    return 0.5 * jnp.mean((x @ w - y) ** 2), {"norm": jnp.sum(w**2)}


def problem(n=12, d=3, seed=0):
    generator = np.random.default_rng(seed)
    return generator.normal(size=(n, d)), generator.normal(size=n)


def noisy(model, batch, *, key):
    """A loss that uses its key, a network, and a batch."""
    x, y = batch
    noise = jr.normal(key, x.shape, x.dtype)
    return jnp.mean((jax.vmap(model)(x + 0.1 * noise)[:, 0] - y) ** 2), {}


def network(key):
    return eqx.nn.MLP(3, 1, 4, 1, key=key)


def test_full_batch_gradient_descent_is_the_recursion_of_numpy(key):
    x, y = problem()
    w = np.zeros(3)
    losses = []
    for _ in range(50):
        losses.append(0.5 * np.mean((x @ w - y) ** 2))
        w = w - 0.05 * x.T @ (x @ w - y) / len(y)
    start = jnp.zeros(3)
    got, info = fit(
        start, least_squares, (x, y), optimiser=SGD, steps=50, batch_size=12, log_every=8, key=key
    )
    np.testing.assert_allclose(got, w, rtol=1e-12)
    expected = [np.mean(losses[i : i + 8]) for i in range(0, 50, 8)]
    np.testing.assert_allclose([line["loss"] for line in info.lines()], expected, rtol=1e-12)
    assert [line["step"] for line in info.lines()] == [8, 16, 24, 32, 40, 48, 50]
    assert (info.ending, info.step) == (Ending.DONE, 50)
    # The caller's array was not donated.
    np.testing.assert_array_equal(start, np.zeros(3))


@pytest.mark.parametrize("clip_norm", [None, 1.5])
def test_many_steps_in_one_program_are_the_plain_loop_of_optax(clip_norm, key):
    x, y = problem()
    optimiser = optax.adamw(0.01)
    plain = (
        optimiser
        if clip_norm is None
        else optax.chain(optax.clip_by_global_norm(clip_norm), optimiser)
    )
    start = network(jr.key(1))
    order_key, loss_key, _ = jr.split(key, 3)
    seed = tuple(jr.key_data(order_key).tolist())
    rows_of = batches(0, 20, size=12, batch_size=5, seed=seed)

    @eqx.filter_jit
    def one_step(model, state, batch, key):
        (_, _), gradient = eqx.filter_value_and_grad(noisy, has_aux=True)(model, batch, key=key)
        with jax.numpy_dtype_promotion("standard"):
            updates, state = plain.update(gradient, state, eqx.filter(model, eqx.is_inexact_array))
        return eqx.apply_updates(model, updates), state, optax.tree.norm(gradient)

    model, state, norms = start, plain.init(eqx.filter(start, eqx.is_inexact_array)), []
    for step in range(20):
        rows = rows_of[step]
        batch = (jnp.asarray(x[rows]), jnp.asarray(y[rows]))
        model, state, norm = one_step(model, state, batch, jr.fold_in(loss_key, step))
        norms.append(float(norm))
    got, _ = fit(
        start,
        noisy,
        (x, y),
        optimiser=optimiser,
        steps=20,
        batch_size=5,
        log_every=7,
        clip_norm=clip_norm,
        key=key,
    )
    assert min(norms) < 1.5 < max(norms)
    for a, b in zip(
        jax.tree.leaves(eqx.filter(got, eqx.is_array)),
        jax.tree.leaves(eqx.filter(model, eqx.is_array)),
        strict=True,
    ):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize(("size", "batch_size"), [(7, 3), (6, 6), (8, 2), (5, 4), (4, 1)])
def test_each_epoch_sees_each_example_once_and_any_step_can_be_found(size, batch_size):
    whole = batches(0, 3 * size, size=size, batch_size=batch_size, seed=(1, 2))
    epochs = whole.reshape(-1, size)
    assert len(epochs) == 3 * batch_size
    np.testing.assert_array_equal(
        np.sort(epochs, axis=1), np.tile(np.arange(size), (len(epochs), 1))
    )
    assert len(np.unique(epochs, axis=0)) > 1
    for start in range(3 * size):
        stop = min(start + 5, 3 * size)
        part = batches(start, stop, size=size, batch_size=batch_size, seed=(1, 2))
        np.testing.assert_array_equal(part, whole[start:stop])
    assert not np.array_equal(
        whole, batches(0, 3 * size, size=size, batch_size=batch_size, seed=(1, 3))
    )


def test_four_devices_give_the_losses_of_one(key):
    x, y = problem(n=20)
    arguments: dict[str, Any] = dict(
        optimiser=optax.adam(0.05), steps=12, batch_size=8, log_every=1, key=key
    )
    held_out = problem(n=10, seed=1)
    one, info_one = fit(network(key), noisy, (x, y), validation=held_out, **arguments)
    mesh = jax.make_mesh((4,), ("batch",), axis_types=(AxisType.Auto,))
    four, info_four = fit(network(key), noisy, (x, y), validation=held_out, mesh=mesh, **arguments)
    for name in ("loss", "validation_loss"):
        np.testing.assert_allclose(
            [line[name] for line in info_four.lines()],
            [line[name] for line in info_one.lines()],
            rtol=1e-12,
        )
    weight = four.layers[0].weight
    assert weight.sharding.is_fully_replicated
    assert len(weight.devices()) == 4
    np.testing.assert_allclose(weight, one.layers[0].weight, rtol=1e-10)


def test_the_batch_is_really_spread_over_the_devices(key, monkeypatch):
    """Each device computes on its share: the compiled program has a reduction across devices."""
    mesh = jax.make_mesh((4,), ("batch",), axis_types=(AxisType.Auto,))
    texts = []

    def seen(*inputs):
        texts.append(run_chunk.lower(*inputs).compile().compiled.as_text())
        return run_chunk(*inputs)

    monkeypatch.setattr("pullback.train._run.run_chunk", seen)
    fit(jnp.zeros(3), least_squares, problem(n=20), optimiser=SGD, steps=3, batch_size=8,
        mesh=mesh, key=key)  # fmt: skip
    assert "all-reduce" in texts[0]


def test_early_stopping_returns_the_lowest_validation_loss(key):
    """Gradient descent towards 0 passes the held-out optimum 1: closed form w_s = 2 * 0.9^s."""

    def loss(w, batch, *, key):
        return 0.5 * jnp.mean((w - batch) ** 2), {}

    w, info = fit(
        jnp.asarray(2.0),
        loss,
        jnp.zeros(2),
        optimiser=optax.sgd(0.1),
        steps=100,
        batch_size=2,
        validation=jnp.ones(3),
        patience=3,
        log_every=1,
        key=key,
    )
    curve = 2 * 0.9 ** np.arange(1, 101)
    best = int(np.argmin((curve - 1) ** 2))
    assert (info.ending, info.best_step, info.step) == (Ending.EARLY, best + 1, best + 4)
    np.testing.assert_allclose(w, curve[best], rtol=1e-12)
    assert info.best_loss == pytest.approx(0.5 * (curve[best] - 1) ** 2, rel=1e-9)


def breaks_at(step, how):
    """A loss that goes wrong at one step; w counts the steps, for its gradient is -1."""

    def loss(w, batch, *, key):
        at = w >= step - 1
        result = jnp.where(at, 3, 0) if how == "result" else jnp.asarray(0)
        value = jnp.where(at & (how == "loss"), jnp.nan, -w)
        # sqrt at 0 has a finite value and an infinite derivative.
        value = value + (jnp.sqrt(jnp.where(at, (w - step + 1), 1.0)) if how == "gradient" else 0)
        return value, {"result": result, "seen": w}

    return loss


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("loss", "the loss is not finite"),
        ("gradient", "the gradient is not finite"),
        ("result", "a solver failed"),
    ],
)
def test_the_first_bad_step_stops_the_run_and_leaves_no_trace(how, message, tmp_path, key):
    arguments: dict[str, Any] = dict(
        optimiser=optax.sgd(1.0), batch_size=2, log_every=3, folder=tmp_path, key=key
    )
    with pytest.raises(
        TrainingError, match=f"step 6: {message}.*checkpoint-5.safetensors"
    ) as caught:
        fit(jnp.asarray(0.0), breaks_at(6, how), jnp.zeros(4), steps=30, **arguments)
    error = caught.value
    assert (error.step, error.metrics["seen"], float(error.model)) == (6, 5.0, 5.0)
    assert error.metrics["result"] == (3 if how == "result" else 0)
    assert (error.info.ending, error.info.step) == (Ending.FAILED, 5)
    # The state of step 5 is on the disk: a run with the fault mended goes on from there.
    mended, info = fit(
        jnp.asarray(0.0), breaks_at(99, how), jnp.zeros(4), steps=9, resume=True, **arguments
    )
    assert float(mended) == 9.0
    assert [line["step"] for line in info.lines()] == [3, 6, 9]


def test_an_update_that_is_not_finite_is_refused(key):
    with pytest.raises(TrainingError, match="updated parameters are not finite"):
        fit(
            jnp.asarray(1e308),
            lambda w, b, *, key: (-w, {}),
            jnp.zeros(2),
            optimiser=optax.sgd(1.7e308),
            steps=3,
            batch_size=2,
            key=key,
        )


def test_a_validation_loss_that_is_not_finite_is_refused(key):
    def loss(w, batch, *, key):
        return jnp.mean(jnp.log(batch)) + 0 * w, {}

    with pytest.raises(TrainingError, match="after step 2: the loss on the validation data"):
        fit(
            jnp.asarray(1.0),
            loss,
            jnp.ones(2),
            optimiser=SGD,
            steps=4,
            batch_size=2,
            log_every=2,
            validation=jnp.zeros(2),
            key=key,
        )


def test_ctrl_c_saves_first_and_the_resumed_run_is_the_same(tmp_path, key):
    presses = []

    def press(step):
        if round(float(step)) == 7 and not presses:
            presses.append(1)
            os.kill(os.getpid(), signal.SIGINT)

    def loss(w, batch, *, key):
        jax.debug.callback(press, w["count"])
        value, metrics = least_squares(w["w"], batch, key=key)
        return value - w["count"], metrics

    def run(folder, **more):
        return fit(
            {"w": jnp.zeros(3), "count": jnp.asarray(0.0)},
            loss,
            problem(),
            batch_size=5,
            optimiser=optax.adam(1.0),
            steps=20,
            log_every=5,
            checkpoint_every=20,
            folder=folder,
            key=key,
            **more,
        )

    # Adam's first moment makes `count` rise by 1 a step, for its gradient is always -1.
    # A shell starts what runs in its background with Ctrl-C ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "stopped")
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert len((tmp_path / "stopped" / "metrics.jsonl").read_text().splitlines()) == 2
    resumed, info = run(tmp_path / "stopped", resume=True)
    straight, info_straight = run(tmp_path / "straight")
    assert np.asarray(resumed["w"]).tobytes() == np.asarray(straight["w"]).tobytes()
    assert [a["loss"] for a in info.lines()] == [b["loss"] for b in info_straight.lines()]


def test_the_log_is_json_lines_and_a_resume_has_no_line_twice(tmp_path, key):
    arguments: dict[str, Any] = dict(
        optimiser=SGD, batch_size=5, log_every=2, checkpoint_every=4, folder=tmp_path, key=key
    )
    _, info = fit(jnp.zeros(3), least_squares, problem(), steps=8, **arguments)
    log = tmp_path / "metrics.jsonl"
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert lines == info.lines()
    assert set(lines[0]) == {"step", "loss", "norm", "steps_per_second"}
    # What a kill between checkpoint and next checkpoint leaves: a line too many, and half a line.
    with log.open("a") as file:
        file.write(json.dumps({**lines[0], "step": 10}) + '\n{"step": 12, "lo')
    fit(jnp.zeros(3), least_squares, problem(), steps=12, resume=True, **arguments)
    steps = [json.loads(line)["step"] for line in log.read_text().splitlines()]
    assert steps == [2, 4, 6, 8, 10, 12]


def test_a_fresh_run_does_not_leave_an_older_runs_checkpoint(tmp_path, key, monkeypatch):
    arguments: dict[str, Any] = dict(
        optimiser=SGD, batch_size=5, log_every=2, folder=tmp_path, key=key
    )
    fit(jnp.zeros(3), least_squares, problem(), steps=4, **arguments)
    with pytest.raises(TypeError):  # which is no run yet
        fit(jnp.zeros(3), lambda w, b, *, key: 1.0, problem(), steps=4, **arguments)
    assert (tmp_path / "checkpoint-4.safetensors").exists()

    def killed(*inputs):
        raise SystemExit

    monkeypatch.setattr("pullback.train._run.run_chunk", killed)
    with pytest.warns(UserWarning, match="run of 4 steps"), pytest.raises(SystemExit):
        fit(jnp.zeros(3), least_squares, problem(), steps=4, **arguments)
    assert not list(tmp_path.glob("checkpoint-*"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(batch_size=4), "batch_size = 5, and this one has 4"),
        (dict(key=jr.key(1)), "key = "),
        (dict(data=problem(n=11)), "examples = 12, and this one has 11"),
        (dict(model=jnp.zeros((3, 1)), loss=lambda w, b, *, key: (jnp.sum(w), {})), "shape"),
        (dict(optimiser=optax.adam(0.1)), "another optimiser"),
    ],
)
def test_a_resume_of_another_run_is_refused(change, message, tmp_path):
    arguments: dict[str, Any] = dict(
        model=jnp.zeros(3),
        loss=least_squares,
        data=problem(),
        optimiser=SGD,
        batch_size=5,
        log_every=2,
        folder=tmp_path,
        steps=2,
        key=jr.key(0),
    )
    fit(**arguments)
    with pytest.raises(CheckpointError, match=message):
        fit(**{**arguments, **change, "resume": True})


def test_a_checkpoint_of_something_else_is_refused(tmp_path, key):
    save_checkpoint(tmp_path / "checkpoint-1.safetensors", {"w": jnp.zeros(3)})
    with pytest.raises(CheckpointError, match="written by hand and this is `fit`"):
        fit(
            jnp.zeros(3),
            least_squares,
            problem(),
            optimiser=SGD,
            steps=1,
            batch_size=2,
            folder=tmp_path,
            resume=True,
            key=key,
        )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(batch_size=13), "from 1 to 12, the number of examples, got 13"),
        (dict(steps=0), "`steps` must be at least 1"),
        (dict(evaluate_every=3), "multiple of `log_every`"),
        (dict(patience=2), "needs `validation`"),
        (dict(clip_norm=0.0), "`clip_norm` must be above 0"),
        (dict(resume=True), "needs the `folder`"),
        (dict(data=(np.zeros((3, 3)), np.zeros(2))), "same leading axis"),
        (dict(mesh=jax.make_mesh((4,), ("b",), axis_types=(AxisType.Explicit,))), "Auto axes"),
        (
            dict(mesh=jax.make_mesh((4,), ("b",), axis_types=(AxisType.Auto,)), batch_size=6),
            "multiple of the number of devices",
        ),
    ],
)
def test_wrong_arguments_are_named(change, message, key):
    arguments: dict[str, Any] = dict(
        model=jnp.zeros(3),
        loss=least_squares,
        data=problem(),
        optimiser=SGD,
        steps=2,
        batch_size=4,
        log_every=2,
        key=key,
    )
    with pytest.raises(ValueError, match=message):
        fit(**{**arguments, **change})


@pytest.mark.parametrize(
    ("model", "message"), [(jnp.zeros(3, complex), "complex"), (jnp.arange(3), "no parameters")]
)
def test_what_cannot_be_trained_is_refused(model, message, key):
    with pytest.raises(TypeError, match=message):
        fit(model, least_squares, problem(), optimiser=SGD, steps=1, batch_size=2, key=key)


def test_the_bar_shows_the_loss_and_a_pipe_gets_nothing(key, capsys):
    arguments: dict[str, Any] = dict(optimiser=SGD, steps=4, batch_size=12, log_every=2, key=key)
    _, info = fit(jnp.zeros(3), least_squares, problem(), **arguments)
    assert capsys.readouterr().err == ""
    fit(jnp.zeros(3), least_squares, problem(), progress=True, **arguments)
    shown = capsys.readouterr().err
    assert "4/4" in shown
    assert f"loss {info.lines()[-1]['loss']:.4g}" in shown


def test_float32_stays_float32(x32, key):
    x, y = problem()
    w, info = fit(
        jnp.zeros(3),
        least_squares,
        (x, y),
        optimiser=optax.adamw(0.01),
        steps=300,
        batch_size=12,
        clip_norm=10.0,
        validation=(x, y),
        log_every=50,
        key=key,
    )
    assert w.dtype == jnp.float32
    assert info.lines()[-1]["loss"] < info.lines()[0]["loss"]


def test_a_loss_is_told_the_step_if_it_asks(key):
    def warm(w, batch, *, key, step):
        return jnp.minimum(step.astype(w.dtype) / 4, 1) * jnp.sum(w), {"at": step}

    # Steps 0 to 5: weights 0, 1/4, 1/2, 3/4, 1, 1. Held out, the weight of the last.
    w, info = fit(
        jnp.zeros(()), warm, jnp.zeros(3), validation=jnp.zeros(3), optimiser=optax.sgd(1.0),
        steps=6, batch_size=3, log_every=2, key=key,
    )  # fmt: skip
    np.testing.assert_allclose(w, -3.5, rtol=1e-12)
    assert [line["at"] for line in info.lines()] == [0.5, 2.5, 4.5]
    assert [line["validation_at"] for line in info.lines()] == [6, 6, 6]


def test_a_loss_may_refuse_the_data(key):
    class Positive(eqx.Module):
        def check(self, model, data):
            if (data < 0).any():
                raise ValueError("`data` must be positive.")

        def __call__(self, model, batch, *, key):
            return jnp.sum(model * batch), {}

    def run(train, validation=None):
        return fit(
            jnp.ones(()), Positive(), train, validation=validation, optimiser=SGD, steps=1,
            batch_size=2, key=key,
        )  # fmt: skip

    run(jnp.ones(2))
    with pytest.raises(ValueError, match="must be positive"):
        run(-jnp.ones(2))
    with pytest.raises(ValueError, match="must be positive"):
        run(jnp.ones(2), -jnp.ones(2))
