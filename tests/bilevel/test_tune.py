"""Tuning, against what closed forms say it comes to."""

import json

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest
import ridge
from scipy.optimize import minimize

from pullback.bilevel import (
    Bounded,
    Exact,
    Identity,
    Implicit,
    Neumann,
    Schedule,
    Unrolled,
    retrain,
    retrain_gap,
    tune,
)
from pullback.train import Stream, TrainingError, iterate

KEY = jr.key(0)
ZEROS = jnp.zeros(ridge.D)


def one_decay(w, hyper, batch, *, key):
    return ridge.inner(w, hyper["log_decay"] * jnp.ones(ridge.D), batch, key=key)


def tuned(model=ZEROS, hyper=None, inner=one_decay, outer=ridge.outer, **settings):
    hyper = {"log_decay": jnp.asarray(0.5)} if hyper is None else hyper
    data = settings.pop("data", (ridge.TRAIN, ridge.VALIDATION))
    given = {
        "optimiser": optax.sgd(0.3), "hyper_optimiser": optax.adam(0.1), "inner_steps": 20,
        "outer_steps": 150, "progress": False, "key": KEY, **settings,
    }  # fmt: skip
    return tune(model, hyper, inner, outer, *data, **given)


def test_one_decay_comes_to_the_best_one():
    def judged(log_decay):
        w = ridge.solution(np.full(ridge.D, float(np.squeeze(log_decay))))
        return ridge.outer(w, None, ridge.VALIDATION, key=None)[0]

    best = minimize(judged, -1.0, method="Nelder-Mead", options={"xatol": 1e-6})
    w, hyper, info = tuned(outer_steps=400)
    np.testing.assert_allclose(hyper["log_decay"], best.x[0], atol=0.1)
    np.testing.assert_allclose(info.history["outer"][-1], best.fun, rtol=1e-4)
    np.testing.assert_allclose(w, ridge.solution(np.full(ridge.D, best.x[0])), atol=5e-3)
    assert info.history["ratio"][-1] < 0.5
    schedule = info.schedule
    assert list(schedule.steps[:3]) == [0, 20, 40]
    assert schedule.steps[-1] == 8000
    assert schedule.at(0)["log_decay"] == 0.5
    assert schedule.at(8000)["log_decay"] == hyper["log_decay"]


def test_cold_and_warm_starts_agree_where_the_solution_is_one():
    same = {"inner_steps": 150, "outer_steps": 20, "method": Implicit(Exact())}
    (_, warm, at_warm), (_, cold, at_cold) = (tuned(restart_every=n, **same) for n in (None, 1))
    np.testing.assert_allclose(warm["log_decay"], cold["log_decay"], atol=1e-6)
    np.testing.assert_allclose(
        at_warm.schedule.hyper["log_decay"], at_cold.schedule.hyper["log_decay"], atol=1e-6
    )


def _underdetermined(w, hyper, batch, *, key):
    """Three equations for ten weights: many solutions."""
    return jnp.sum((FIELD @ w - hyper) ** 2) / 2, {}


FIELD = jnp.asarray(np.random.default_rng(3).normal(size=(3, 10)))
GOAL = jnp.asarray(np.random.default_rng(4).normal(size=10))


def test_training_projects_on_the_solutions():
    """Gradient descent keeps what the equations do not ask about, from any start."""
    start, hyper = np.random.default_rng(5).normal(size=10), np.asarray([1.0, -2.0, 0.5])
    w, _ = retrain(
        jnp.asarray(start), jnp.asarray(hyper), _underdetermined, None, optimiser=optax.sgd(0.05),
        steps=1500, progress=False, key=KEY,
    )  # fmt: skip
    want = start - np.linalg.pinv(FIELD) @ (FIELD @ start - hyper)
    np.testing.assert_allclose(w, want, atol=1e-8)
    short, _ = retrain(
        jnp.asarray(start), jnp.asarray(hyper), _underdetermined, None, optimiser=optax.sgd(0.05),
        steps=7, progress=False, key=KEY,
    )  # fmt: skip
    u, s, vt = np.linalg.svd(FIELD, full_matrices=False)
    want = start - vt.T @ ((1 - (1 - 0.05 * s**2) ** 7) / s * (u.T @ (FIELD @ start - hyper)))
    np.testing.assert_allclose(short, want, atol=1e-10)


def test_the_gap_is_what_a_warm_start_keeps_in_the_weights():
    """The outer loss wants all ten weights, and three hyperparameters can give three of them."""

    def outer(w, hyper, batch, *, key):
        return jnp.sum((w - GOAL) ** 2) / 2, {"norm": jnp.sum(w**2)}

    settings = {"optimiser": optax.sgd(0.05), "steps": 1500, "progress": False, "key": KEY}
    gap = retrain_gap(
        GOAL, jnp.zeros(10), FIELD @ GOAL, _underdetermined, outer, None, None, **settings
    )
    inside = np.linalg.pinv(FIELD) @ FIELD @ GOAL
    np.testing.assert_allclose(gap.tuned, 0.0, atol=1e-20)
    np.testing.assert_allclose(gap.retrained, np.sum((GOAL - inside) ** 2) / 2, rtol=1e-8)
    assert gap.gap == gap.retrained - gap.tuned
    again = retrain_gap(
        gap.model, jnp.zeros(10), FIELD @ GOAL, _underdetermined, outer, None, None, metric="norm",
        **settings,
    )  # fmt: skip
    assert again.gap == 0  # the same run, to the bit
    with pytest.raises(ValueError, match="one of loss, norm, got 'accuracy'"):
        retrain_gap(
            GOAL, jnp.zeros(10), FIELD @ GOAL, _underdetermined, outer, None, None,
            metric="accuracy", **settings,
        )  # fmt: skip


@pytest.mark.parametrize("terms", [0, 2, 10])
def test_a_truncated_series_picks_another_of_the_outer_solutions(terms):
    """Of an outer problem with many solutions, the one of the closed form, and not the smallest."""
    rng = np.random.default_rng(6)
    root = rng.normal(size=(4, 4))
    m, b = root @ root.T / 4 + np.eye(4), rng.normal(size=(4, 6))
    c, t = rng.normal(size=(2, 4)), rng.normal(size=2)
    alpha = float(1 / np.linalg.eigvalsh(m)[-1])

    def inner(w, u, batch, *, key):
        return (w - b @ u) @ jnp.asarray(m) @ (w - b @ u) / 2, {}

    def outer(w, u, batch, *, key):
        return jnp.sum((c @ w - t) ** 2) / 2, {}

    _, u, info = tune(
        jnp.zeros(4), jnp.zeros(6), inner, outer, None, None, optimiser=optax.sgd(alpha),
        hyper_optimiser=optax.sgd(0.02), method=Implicit(Neumann(terms, alpha)), inner_steps=60,
        outer_steps=3000, log_every=3000, progress=False, key=KEY,
    )  # fmt: skip
    gain = np.eye(4) - np.linalg.matrix_power(np.eye(4) - alpha * m, terms + 1)
    want = b.T @ gain @ c.T @ np.linalg.solve(c @ b @ b.T @ gain @ c.T, t)
    np.testing.assert_allclose(u, want, atol=1e-8)
    least = np.linalg.pinv(c @ b) @ t
    assert np.linalg.norm(u) > np.linalg.norm(least) + 1e-6
    assert info.history["outer"].shape == (1,)


def test_a_learning_rate_is_tuned_by_unrolling():
    """Too small by far at first: the outer loss after a few steps wants it larger."""
    hyper = {"log_decay": jnp.asarray(-3.0), "log_rate": jnp.asarray(-5.0)}
    optimiser = lambda hyper: optax.sgd(jnp.exp(hyper["log_rate"]))
    same = {
        "hyper": hyper, "optimiser": optimiser, "inner_steps": 5, "restart_every": 1,
        "outer_steps": 60,
    }  # fmt: skip
    _, found, info = tuned(method=Unrolled(5), **same)
    assert found["log_rate"] > -2.5
    assert info.history["outer"][-1] < 0.5 * info.history["outer"][0]
    with pytest.raises(ValueError, match=r"hyper\['log_rate'\] does not enter.*Unrolled"):
        tuned(method=Implicit(Identity(0.1)), **same)


@pytest.mark.parametrize("method", [Implicit(Identity(0.1)), Unrolled(2), Unrolled(6)])
def test_the_model_is_trained_as_it_would_be_alone(method):
    """Momentum is carried into the steps that are differentiated through, and out of them."""
    optimiser, hyper = optax.sgd(0.05, 0.9), {"log_decay": jnp.asarray(-1.0)}
    w, _, _ = tuned(
        hyper=hyper, method=method, optimiser=optimiser, hyper_optimiser=optax.sgd(0.0),
        inner_steps=6, outer_steps=2,
    )  # fmt: skip
    alone, _ = retrain(
        ZEROS, hyper, one_decay, ridge.TRAIN, optimiser=optimiser, steps=12, progress=False, key=KEY
    )
    np.testing.assert_allclose(w, alone, rtol=1e-10)


def test_an_implicit_gradient_is_of_a_batch_that_no_step_was_taken_on():
    """Three steps take the first three batches of the stream, and the hypergradient the fourth."""

    def inner(w, hyper, batch, *, key):
        return one_decay(w, hyper, batch, key=key)[0], {"first": batch[1][0]}

    ones = jnp.ones(ridge.D)
    _, _, info = tuned(
        ones, inner=inner, hyper_optimiser=optax.sgd(0.0), optimiser=optax.sgd(0.0), batch_size=10,
        inner_steps=3, outer_steps=1, method=Implicit(Exact()),
    )  # fmt: skip
    take = lambda state, batch, *, key: (batch["train"], {})
    streams = {"train": Stream(ridge.TRAIN, 10, 4)}
    start = jax.tree.map(lambda leaf: jnp.zeros((4, 10, *leaf.shape[1:])), ridge.TRAIN)
    (x, y), _ = iterate(take, start, streams, steps=1, log_every=1, progress=False, key=KEY)
    np.testing.assert_allclose(info.history["inner_first"][0], jnp.mean(y[:3, 0]))
    hyper = {"log_decay": jnp.asarray(0.5)}
    slope = jax.grad(lambda w: one_decay(w, hyper, (x[3], y[3]), key=None)[0])(ones)
    np.testing.assert_allclose(info.history["gradient_norm"][0], jnp.linalg.norm(slope))


def test_it_resumes_to_the_same_bits_and_can_be_made_longer(tmp_path):
    batches = {"batch_size": 8, "validation_batch_size": 10, "inner_steps": 3}
    whole = tuned(outer_steps=40, **batches)
    tuned(outer_steps=3, folder=tmp_path, **batches)
    again = tuned(outer_steps=40, folder=tmp_path, resume=True, **batches)
    same = jax.tree.map(
        np.testing.assert_array_equal,
        eqx.filter((whole[0], whole[1], whole[2].schedule), eqx.is_array),
        eqx.filter((again[0], again[1], again[2].schedule), eqx.is_array),
    )
    assert same is not None
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert {"inner", "outer", "outer_error", "ratio"} <= json.loads(lines[-1]).keys()


def test_several_runs_are_each_as_if_alone():
    hyper = {"log_decay": jnp.asarray([0.5, -2.0])}
    model, keys = jnp.zeros((2, ridge.D)), jr.split(KEY, 2)
    settings = {"outer_steps": 12, "batch_size": 10, "inner_steps": 4}
    _, both, info = tuned(model, hyper, key=keys, **settings)
    for n in range(2):
        _, one, alone = tuned(hyper={"log_decay": hyper["log_decay"][n]}, key=keys[n], **settings)
        np.testing.assert_allclose(both["log_decay"][n], one["log_decay"], rtol=1e-9)
        np.testing.assert_allclose(
            info.schedule[n].hyper["log_decay"], alone.schedule.hyper["log_decay"], rtol=1e-9
        )


def test_sources_that_draw_and_records_with_bounds():
    x, y = (jnp.asarray(leaf) for leaf in ridge.TRAIN)

    def draw(key):
        rows = jr.randint(key, (16,), 0, ridge.N)
        return x[rows], y[rows]

    def inner(w, hyper, batch, *, key):
        return ridge.inner(w, jnp.log(hyper["decay"].value) * jnp.ones(ridge.D), batch, key=key)

    _, hyper, info = tuned(
        hyper={"decay": Bounded(1.0, 0.0, 1.5)}, inner=inner, data=(draw, ridge.VALIDATION)
    )
    values = info.schedule.hyper["decay"].value
    assert jnp.all((values > 0) & (values < 1.5))
    assert hyper["decay"].value < 0.5


def test_a_network_with_dropout_keeps_what_is_no_weight():
    class Net(eqx.Module):
        linear: eqx.nn.Linear
        drop: eqx.nn.Dropout
        scale: float

        def __call__(self, x, key):
            return self.scale * self.drop(self.linear(x), key=key)[0]

    def outer(net, hyper, batch, *, key):
        x, y = batch
        return jnp.mean((jax.vmap(lambda x: net(x, key))(x) - y) ** 2), {}

    def inner(net, hyper, batch, *, key):
        error, _ = outer(net, hyper, batch, key=key)
        return error + jnp.exp(hyper) * jnp.sum(net.linear.weight**2), {}

    net = Net(eqx.nn.Linear(ridge.D, 1, key=KEY), eqx.nn.Dropout(0.3), 2.0)
    found, _, info = tuned(
        net, jnp.asarray(-3.0), inner, outer, inner_steps=3, outer_steps=2,
        optimiser=optax.sgd(0.01), method=Unrolled(3),
    )  # fmt: skip
    assert (found.scale, found.drop) == (2.0, net.drop)
    assert {"inner", "outer"} <= info.history.keys()


def test_a_rate_to_which_no_gradient_comes_is_said():
    def inner(w, hyper, batch, *, key):
        kept = jr.bernoulli(key, 1 - hyper["rate"].value, w.shape).astype(float)
        return one_decay(w * kept, hyper, batch, key=key)[0], {}

    hyper = {"log_decay": jnp.asarray(0.0), "rate": Bounded(0.3, 0.0, 0.9)}
    with pytest.warns(UserWarning, match=r"no gradient came to hyper\['rate'\].*fit_self_tuning"):
        tuned(hyper=hyper, inner=inner, outer_steps=2)


def test_a_series_that_diverged_on_the_way_is_said():
    with pytest.warns(UserWarning, match="diverges"):
        tuned(
            hyper={"log_decay": jnp.asarray(3.0)}, method=Implicit(Neumann(5, 0.3)),
            optimiser=optax.sgd(0.02), hyper_optimiser=optax.sgd(1e-9), outer_steps=2,
        )  # fmt: skip


def test_a_rate_that_an_optimiser_keeps_in_its_state_is_refused():
    kept = lambda hyper: optax.inject_hyperparams(optax.sgd)(jnp.exp(hyper["log_rate"]))
    hyper = {"log_decay": jnp.asarray(0.0), "log_rate": jnp.asarray(-3.0)}
    with pytest.raises(ValueError, match="is not read again"):
        tuned(hyper=hyper, optimiser=kept, method=Unrolled(3))


def test_a_schedule_of_whole_numbers_is_replayed():
    schedule = Schedule([0, 3], {"n": jnp.asarray([1, 2])})
    inner = lambda w, hyper, batch, *, key: (jnp.sum((w - hyper["n"].astype(float)) ** 2) / 2, {})
    w, _ = retrain(
        jnp.zeros(1), schedule, inner, None, optimiser=optax.sgd(1.0), steps=3, progress=False,
        key=KEY,
    )  # fmt: skip
    assert w == 1


def test_the_gap_judges_the_whole_of_many_rows():
    total = lambda w, hyper, batch, *, key: (jnp.sum((batch - w) ** 2), {})
    inner = lambda w, hyper, batch, *, key: ((w - hyper) ** 2, {})
    rows = jnp.arange(5000.0)
    gap = retrain_gap(
        jnp.asarray(0.0), jnp.asarray(0.0), jnp.asarray(0.0), inner, total, None, rows,
        optimiser=optax.sgd(0.1), steps=1, progress=False, key=KEY,
    )  # fmt: skip
    np.testing.assert_allclose(gap.tuned, np.sum(np.arange(5000.0) ** 2))


@pytest.mark.parametrize(
    ("train", "validation"),
    [
        (np.arange(20), np.arange(10)),  # places of rows
        (1.7e9 + np.arange(0, 40, 2.0)[:, None], 1.7e9 + np.arange(1, 41, 2.0)[:, None]),
        (np.arange(60)[:, None] // np.asarray([1, 2, 4]) % 2, np.eye(3)),  # three categories
    ],
)
def test_rows_that_only_look_alike_are_let_through(train, validation):
    inner = lambda w, hyper, batch, *, key: ((w - hyper) ** 2 + 0 * w * jnp.sum(batch), {})
    outer = lambda w, hyper, batch, *, key: ((w - 1) ** 2, {})
    one = jnp.asarray(0.5)
    data = jnp.asarray(train, float), jnp.asarray(validation, float)
    data = (train, validation) if train.ndim == 1 else data
    if train.ndim == 1:
        inner = lambda w, hyper, batch, *, key: ((w - hyper) ** 2, {})
    tuned(one, one, inner, outer, data=data, outer_steps=1)


def test_a_long_schedule_is_thinned_and_keeps_both_ends():
    def inner(w, hyper, batch, *, key):
        return jnp.sum((w - hyper) ** 2), {}

    def outer(w, hyper, batch, *, key):
        return jnp.sum(w - hyper) + hyper, {}

    _, hyper, info = tune(
        jnp.asarray(0.0), jnp.asarray(0.0), inner, outer, None, None, optimiser=optax.sgd(0.5),
        hyper_optimiser=optax.sgd(1.0), method=Implicit(Identity(0.5)), inner_steps=2,
        outer_steps=1500, log_every=500, progress=False, key=KEY,
    )  # fmt: skip
    np.testing.assert_array_equal(info.schedule.steps, 2 * np.arange(0, 1501, 4))
    np.testing.assert_allclose(info.schedule.hyper, -np.arange(0, 1501, 4.0))
    assert hyper == -1500


def test_streams_of_several_batches_are_those_of_one_in_a_row():
    def step(state, batch, *, key):
        return state, {"first": jnp.mean(batch[0]), "last": batch[-1, 2]}

    def single(state, batch, *, key):
        return state, {"first": jnp.mean(batch), "last": batch[2]}

    data, settings = jnp.arange(10.0), {"log_every": 1, "progress": False, "key": KEY}
    _, three = iterate(step, data[0], Stream(data, 4, 3), steps=5, **settings)
    _, one = iterate(single, data[0], Stream(data, 4), steps=15, **settings)
    np.testing.assert_array_equal(three.history["first"], one.history["first"][::3])
    np.testing.assert_array_equal(three.history["last"], one.history["last"][2::3])
    with pytest.raises(ValueError, match="`batches` must be 1 or more"):
        iterate(step, data[0], Stream(data, 4, 0), steps=5, **settings)


def test_numbers_that_run_away_name_the_decay_and_its_bound():
    with pytest.raises(TrainingError) as caught:
        tuned(hyper={"log_decay": jnp.asarray(9.0)}, outer_steps=3)
    (note,) = caught.value.__notes__
    assert "9, in hyper['log_decay']" in note
    assert "a decay of 9 allows steps of 0.22, and a log-decay of 9 steps of 0.00025" in note
    assert "Bounded" in note


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"outer": one_decay}, ValueError, "must be two"),
        ({"data": (ridge.TRAIN, ridge.TRAIN)}, ValueError, "40 of its 40 rows"),
        ({"inner_steps": 0}, ValueError, "`inner_steps` must be 1 or more"),
        ({"outer_steps": 0}, ValueError, "`outer_steps` must be 1 or more"),
        ({"restart_every": 1.5}, TypeError, "`restart_every` must be a whole number"),
        ({"optimiser": None}, TypeError, "`optimiser` must be an Optax"),
        ({"restart_every": 0}, ValueError, "`restart_every` must be 1 or more"),
        ({"method": Unrolled(21)}, ValueError, "goes through 21 training steps, and there are 20"),
        ({"hyper": {"log_decay": jnp.asarray(1)}}, TypeError, "real floating"),
        ({"batch_size": 41}, ValueError, "from 1 to 40"),
        ({"data": ((np.ones(3), np.ones(2)), ridge.VALIDATION)}, ValueError, "same leading axis"),
        (
            {"data": (ridge.TRAIN, jax.tree.map(lambda x: jnp.asarray(x[:9], "f4"), ridge.TRAIN))},
            ValueError,
            "9 of its 9",
        ),
    ],
)
def test_what_does_not_fit_is_refused(settings, error, words):
    with pytest.raises(error, match=words):
        tuned(**settings)


def test_some_shared_rows_are_warned_of():
    x, y = ridge.VALIDATION
    mixed = np.concatenate([x, ridge.TRAIN[0][:2]]), np.concatenate([y, ridge.TRAIN[1][:2]])
    with pytest.warns(UserWarning, match="2 of 32 validation rows"):
        tuned(data=(ridge.TRAIN, mixed), outer_steps=1)
