"""Responses that are trained, and what is tuned through them, beside formulas of ridge."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest
from test_response import LOG_DECAY, X, Y, best_of_ridge, fixed_point, ridge

from pullback.bilevel import (
    DiagonalResponse,
    LinearResponse,
    fit_response,
    tune_through,
    tune_with_response,
)
from pullback.train import TrainingError

X_HELD, Y_HELD = jr.normal(jr.key(20), (50, 8)), jr.normal(jr.key(21), (50,))
TRUE = jr.normal(jr.key(22), (8,)) / 2
TRAIN, HELD = (X, X @ TRUE + Y), (X_HELD, X_HELD @ TRUE + Y_HELD)


def error(w, hyper, batch, *, key):
    x, y = batch
    return jnp.mean((x @ w - y) ** 2) / 2, {}


def _falling(rate, steps):
    return optax.adam(optax.cosine_decay_schedule(rate, steps))


def test_training_leads_to_the_fixed_point():
    s, steps = 0.3, 1500
    response, info = fit_response(
        LinearResponse(jnp.zeros(8), jnp.asarray(LOG_DECAY)),
        ridge,
        lambda key: LOG_DECAY + s * jr.normal(key),
        (X, Y),
        optimiser=_falling(3e-2, steps),
        steps=steps,
        batch_size=40,
        samples=64,
        progress=False,
        key=jr.key(0),
    )
    b, a = fixed_point(s)
    assert response.centre == LOG_DECAY
    assert jnp.linalg.norm(response.model - b) < 1e-2 * np.linalg.norm(b)
    assert jnp.linalg.norm(response.slope[:, 0] - a) < 2e-2 * np.linalg.norm(a)
    # The slope of what it answers is the hypergradient, to a share of s^2.
    outer = lambda hyper, w: error(w(hyper), hyper, HELD, key=None)[0]
    through, exact = (jax.grad(outer)(jnp.asarray(LOG_DECAY), w) for w in (response, best_of_ridge))
    np.testing.assert_allclose(through, exact, rtol=0.05)
    assert info.step == steps


def _best(hyper, batch):
    x, y = batch
    decays = jnp.exp(jnp.broadcast_to(hyper, (8,)))
    return jnp.linalg.solve(x.T @ x / len(x) + jnp.diag(decays), x.T @ y / len(x))


def test_the_decay_is_tuned_in_turns_and_the_weights_are_the_best_ones_at_the_end():
    response, info = tune_with_response(
        LinearResponse(jnp.zeros(8), jnp.asarray(2.0)),
        ridge,
        error,
        TRAIN,
        HELD,
        optimiser=_falling(2e-2, 1500),
        hyper_optimiser=_falling(3e-2, 1200),
        scale=0.2,
        samples=8,
        warmup=300,
        outer_steps=1200,
        batch_size=40,
        validation_batch_size=50,
        progress=False,
        key=jr.key(0),
    )
    grid = jnp.linspace(-8, 3, 2000)
    losses = jax.jit(jax.vmap(lambda hyper: error(_best(hyper, TRAIN), hyper, HELD, key=None)[0]))(
        grid
    )
    assert losses[-1] - losses.min() > 0.05
    reached = _best(response.centre, TRAIN)
    assert error(reached, None, HELD, key=None)[0] - losses.min() < 1e-3
    np.testing.assert_allclose(response(response.centre), reached, atol=0.02)
    assert set(info.history) >= {"inner", "outer"}
    assert info.step == 1500


@pytest.mark.parametrize(("warmup", "inner_steps"), [(0, 1), (5, 3)])
def test_the_turns_are_as_many_as_asked_for(warmup, inner_steps):
    """With what the outer loss reads of the hyperparameters itself."""
    outer = lambda w, hyper, batch, *, key: (2 * hyper["a"] + 0 * jnp.sum(w), {"seen": hyper["a"]})
    traces = []

    def inner(w, hyper, batch, *, key):
        traces.append(hyper["a"].shape)
        return jnp.sum((w - hyper["a"]) ** 2), {"mean": jnp.mean(batch)}

    response, info = tune_with_response(
        LinearResponse(jnp.zeros(2), {"a": jnp.asarray(3.0), "name": "decay"}),
        inner,
        outer,
        jnp.arange(4.0),
        jnp.arange(4.0, 8.0),
        optimiser=optax.sgd(0.0),
        hyper_optimiser=optax.sgd(0.25),
        warmup=warmup,
        inner_steps=inner_steps,
        outer_steps=4,
        batch_size=4,
        validation_batch_size=2,
        log_every=1,
        progress=False,
        key=jr.key(0),
    )
    assert response.centre == {"a": 3.0 - 4 * 0.25 * 2, "name": "decay"}
    at = np.arange(warmup + 4 * inner_steps)
    turns = np.maximum(at + 1 - warmup, 0) // inner_steps
    before = np.where((at + 1 - warmup) % inner_steps == 0, turns - (turns > 0), turns)
    np.testing.assert_allclose(info.history["outer_seen"], 3 - 0.5 * before)
    np.testing.assert_allclose(info.history["inner_mean"], 1.5)
    assert len(traces) <= 4  # whatever the number of steps and of draws


def test_several_runs_are_each_as_if_alone_and_a_resumed_one_as_if_never_stopped(tmp_path):
    settings = dict(
        optimiser=optax.adam(1e-2), hyper_optimiser=optax.adam(1e-2), warmup=2, batch_size=10,
        validation_batch_size=10, log_every=2, progress=False,
    )  # fmt: skip
    weights = {"w": jnp.zeros(8), "act": jax.nn.relu}
    put = lambda loss: lambda model, *given, key: loss(model["w"], *given, key=key)
    losses = lambda w, hyper, batch, *, key: (
        error(w, hyper, batch, key=key)[0] + jnp.sum(jnp.exp(hyper["w"]) * w**2),
        {},
    )
    make = lambda start: DiagonalResponse(weights, {"w": jnp.full(8, start), "act": None})
    tuned = lambda response, steps, key, **where: tune_with_response(
        response, put(losses), put(error), TRAIN, HELD, outer_steps=steps, key=key,
        **settings, **where,
    )[0]  # fmt: skip
    keys = jr.split(jr.key(0), 2)
    stack = tuned(eqx.filter_vmap(make)(jnp.asarray([-1.0, -2.0])), 6, keys)
    alone = tuned(make(-2.0), 6, keys[1], folder=tmp_path)
    np.testing.assert_allclose(stack.centre["w"][1], alone.centre["w"], rtol=1e-6)
    assert jnp.all(alone.centre["w"] != -2.0)
    tuned(make(-2.0), 3, keys[1], folder=tmp_path / "b")
    resumed = tuned(make(-2.0), 6, keys[1], folder=tmp_path / "b", resume=True)
    np.testing.assert_array_equal(resumed.centre["w"], alone.centre["w"])
    np.testing.assert_array_equal(resumed.slope["w"], alone.slope["w"])


def test_weight_decay_of_the_optimiser_leaves_the_centre():
    sample = lambda key: jr.normal(key)
    start = LinearResponse(jnp.ones(8), jnp.asarray(LOG_DECAY))
    response, _ = fit_response(
        start, ridge, sample, (X, Y), optimiser=optax.adamw(1e-2, weight_decay=1.0), steps=2,
        batch_size=40, progress=False, key=jr.key(0),
    )  # fmt: skip
    assert response.centre == LOG_DECAY
    assert jnp.all(response.model != 1)


def test_several_starts_are_tuned_through_one_response():
    response = LinearResponse(jnp.zeros(2), jnp.zeros(2))
    response = eqx.tree_at(lambda r: r.slope, response, jnp.diag(jnp.asarray([1.0, 2.0])))
    outer = lambda w, hyper, batch, *, key: (
        jnp.sum((w - batch[0]) ** 2) + jnp.sum((hyper - 3.0) ** 2),
        {},
    )
    hyper, _ = tune_through(
        response, outer, jr.normal(jr.key(0), (3, 2)), jnp.asarray([[1.0, 4.0]]),
        optimiser=optax.sgd(0.1), steps=200, batch_size=1, progress=False,
        key=jr.split(jr.key(1), 3),
    )  # fmt: skip
    np.testing.assert_allclose(hyper, np.tile([2.0, 11 / 5], (3, 1)), rtol=1e-6)


def _tune(response=None, inner=ridge, outer=error, train=TRAIN, held=HELD, **settings):
    response = LinearResponse(jnp.zeros(8), jnp.asarray(-1.0)) if response is None else response
    return tune_with_response(
        response, inner, outer, train, held, key=jr.key(0),
        **dict(
            optimiser=optax.sgd(0.1), hyper_optimiser=optax.sgd(0.1), outer_steps=2, batch_size=4,
            validation_batch_size=4, warmup=1, progress=False,
        ) | settings,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"scale": 0.0}, "the hyperparameters drift away"),
        ({"scale": -0.3}, "`scale` must be above 0"),
        ({"scale": float("nan")}, "`scale` must be above 0"),
        ({"scale": 1e-20}, "feels it in float64; got 1e-20"),
        ({"inner": error}, "`inner` and `outer` are one loss"),
        ({"outer": None}, "`outer` must be a loss|parameter 'outer'"),
        ({"held": TRAIN}, "must be held out"),
        ({"samples": 0}, "`samples` must be 1"),
        ({"inner_steps": 0}, "`inner_steps` must be 1"),
        ({"outer_steps": 0}, "`outer_steps` must be 1"),
        ({"warmup": -1}, "`warmup` must be 0"),
        ({"inner": lambda w, hyper, batch, *, key: w}, "`inner` must return a floating scalar"),
        ({"outer": lambda w, hyper, batch, *, key: w}, "`outer` must return a floating scalar"),
        ({"response": lambda hyper: hyper}, "`response` must be|parameter 'response'"),
    ],
)
def test_what_does_not_fit_is_refused(settings, match):
    with pytest.raises((ValueError, TypeError), match=match):
        _tune(**settings)


def test_a_range_that_overflows_is_told():
    with pytest.raises(TrainingError, match="not finite"):
        fit_response(
            LinearResponse(jnp.ones(8), jnp.asarray(LOG_DECAY)), ridge,
            lambda key: jr.uniform(key, minval=710.0, maxval=800.0), (X, Y),
            optimiser=optax.sgd(1e-2), steps=2, batch_size=40, progress=False, key=jr.key(0),
        )  # fmt: skip


def test_without_noise_the_slope_is_not_told():
    """What `scale=0` would do: the weights are right at the centre, whatever the slope."""
    w = best_of_ridge(LOG_DECAY)
    for slope in (0.0, 7.0):
        response = LinearResponse(w, jnp.asarray(LOG_DECAY))
        response = eqx.tree_at(lambda r: r.slope, response, jnp.full((8, 1), slope))
        gradient = eqx.filter_grad(lambda r: ridge(r(r.centre), r.centre, (X, Y), key=None)[0])(
            response
        )
        np.testing.assert_allclose(gradient.slope, 0, atol=1e-12)
        np.testing.assert_allclose(gradient.model, 0, atol=1e-12)
