"""Optimisers that ask for more than the gradient: the loss, and the loss as a function."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest
import scipy.optimize
from optax import contrib

from pullback.train import apply_gradient, fit

LBFGS = optax.lbfgs()
START = np.array([-1.2, 1.0, 0.5])
MATRIX = np.random.default_rng(0).normal(size=(12, 3))


def rosenbrock(model, batch, *, key):
    x = model["x"]
    steep = 100 * (x[1:] - x[:-1] ** 2) ** 2
    return jnp.sum(steep + (1 - x[:-1]) ** 2) + 0 * jnp.sum(batch), {}


def squares(w, rows, *, key):
    """With noise of the key: only with the same key for all of a line is there a minimum on it."""
    return jnp.mean((rows @ w - 1 - jr.normal(key)) ** 2), {}


@pytest.mark.parametrize("clip_norm", [None, 10.0])
def test_rosenbrock_has_the_minimum_that_scipy_finds(clip_norm):
    model, info = fit(
        {"x": jnp.asarray(START), "name": "kept"}, rosenbrock, jnp.ones(2), optimiser=LBFGS,
        steps=80, batch_size=2, clip_norm=clip_norm, key=jr.key(0),
    )  # fmt: skip
    options = {"ftol": 1e-15, "gtol": 1e-10}
    peer = scipy.optimize.minimize(
        scipy.optimize.rosen, START, jac=scipy.optimize.rosen_der, method="L-BFGS-B",
        options=options,
    )  # fmt: skip
    np.testing.assert_allclose(model["x"], peer.x, rtol=1e-6)
    assert info.step == 80


def test_on_mini_batches_the_line_is_that_of_the_batch_and_its_key():
    """Three examples and three parameters: a step or two of Newton's kind solve each batch."""
    w, info = fit(
        jnp.zeros(3), squares, MATRIX, optimiser=optax.chain(LBFGS), steps=1, batch_size=12,
        key=jr.key(0),
    )  # fmt: skip
    _, key, _ = jr.split(jr.key(0), 3)
    value = lambda w: squares(w, MATRIX, key=jr.fold_in(key, 0))[0]
    slope = jax.grad(value)(jnp.zeros(3))
    moved = float(w @ slope)
    assert moved < 0
    # The strong Wolfe conditions of the line search.
    assert float(value(w)) <= float(value(jnp.zeros(3))) + 1e-4 * moved
    assert abs(float(jax.grad(value)(w) @ w)) <= 0.9 * abs(moved)
    assert info.step == 1


def test_a_stack_searches_each_its_own_line(x32):
    starts = jnp.asarray([START, -START], jnp.float32)
    found, info = fit(
        {"x": starts}, rosenbrock, jnp.ones(2), optimiser=LBFGS, steps=80, batch_size=2,
        key=jr.split(jr.key(0)),
    )  # fmt: skip
    assert info.good.all()
    np.testing.assert_allclose(found["x"], 1, atol=1e-3)


def test_a_run_that_was_cut_searches_on(tmp_path):
    options = {"optimiser": LBFGS, "batch_size": 4, "log_every": 3, "key": jr.key(1)}
    whole, _ = fit(jnp.zeros(3), squares, MATRIX, steps=6, **options)
    fit(jnp.zeros(3), squares, MATRIX, steps=3, folder=tmp_path, **options)
    after, _ = fit(jnp.zeros(3), squares, MATRIX, steps=6, folder=tmp_path, resume=True, **options)
    np.testing.assert_array_equal(whole, after)


def test_the_rate_falls_where_the_loss_does_not():
    """At a distance of half a step of 1 sign descent goes to and fro, until the rate is halved."""
    optimiser = optax.chain(optax.sgd(1.0), contrib.reduce_on_plateau(patience=2, factor=0.5))
    loss = lambda w, batch, *, key: (jnp.mean(jnp.abs(w - batch)), {})
    w, _ = fit(
        jnp.asarray(0.5), loss, jnp.ones(2), optimiser=optimiser, steps=60, batch_size=2,
        key=jr.key(0),
    )  # fmt: skip
    assert abs(float(w) - 1) < 1e-3


def test_a_step_of_ones_own_hands_over_the_function():
    model = {"x": jnp.asarray(START), "name": "kept"}
    value = lambda model: rosenbrock(model, jnp.ones(2), key=None)[0]
    state = LBFGS.init(eqx.filter(model, eqx.is_inexact_array))
    gradient = {"x": jax.grad(lambda x: value({"x": x}))(model["x"]), "name": None}
    moved, _ = apply_gradient(LBFGS, gradient, state, model, loss=value(model), value_fn=value)
    assert float(value(moved)) < float(value(model))
    assert moved["name"] == "kept"


def test_steps_that_gather_gradients_are_those_of_the_mean():
    options = {"batch_size": 12, "key": jr.key(0)}
    loss = lambda w, rows, *, key: (jnp.mean((rows @ w - 1) ** 2), {})
    gathered = optax.MultiSteps(optax.sgd(0.1), every_k_schedule=3)
    found, _ = fit(jnp.zeros(3), loss, MATRIX, optimiser=gathered, steps=6, **options)
    expected, _ = fit(jnp.zeros(3), loss, MATRIX, optimiser=optax.sgd(0.1), steps=2, **options)
    np.testing.assert_allclose(found, expected, rtol=1e-6)  # Optax's mean is one of float32
