"""Steps of training that are differentiated through, against a plain loop and closed forms."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from pullback.bilevel import unroll

CURVATURE = np.asarray([1.0, 3.0])
START = jnp.asarray([1.0, -2.0])


def loss(w):
    return jnp.sum(jnp.asarray(CURVATURE) * w**2) / 2


@pytest.mark.parametrize("checkpoint", [True, False])
def test_gradient_descent_and_its_derivatives_are_the_closed_form(checkpoint):
    """w_T = (1 - r c)^T w_0, by the step size r and by the start."""

    def end(rate, start):
        w, _ = unroll(loss, start, optax.sgd(rate), steps=4, checkpoint=checkpoint)
        return jnp.sum(w)

    for run in (lambda f: f, jax.jit):
        by_rate, by_start = run(jax.grad(end, argnums=(0, 1)))(jnp.asarray(0.1), START)
        left = 1 - 0.1 * CURVATURE
        np.testing.assert_allclose(by_start, left**4, rtol=1e-12)
        np.testing.assert_allclose(by_rate, np.sum(-4 * CURVATURE * left**3 * np.asarray(START)))


def test_a_checkpoint_keeps_less_of_each_step():
    def end(w, checkpoint):
        wide = lambda w: jnp.mean(jnp.tanh(jnp.outer(jnp.arange(1000.0), w)) ** 2)
        return jnp.sum(unroll(wide, w, optax.sgd(0.1), steps=20, checkpoint=checkpoint)[0])

    small, large = (
        jax.jit(jax.grad(end), static_argnums=1).lower(START, checkpoint).compile()
        for checkpoint in (True, False)
    )
    bytes_of = lambda program: program.memory_analysis().temp_size_in_bytes
    assert 4 * bytes_of(small) < bytes_of(large)


@pytest.mark.parametrize(
    "make", [lambda r: optax.sgd(r, 0.9), lambda r: optax.adam(r, eps_root=1e-14)]
)
def test_it_takes_the_steps_of_a_plain_loop_and_goes_on_from_a_state(make):
    optimiser = make(0.1)
    w, state = START, optimiser.init(START)
    middle = (w, state)
    for step in range(6):
        middle = (w, state) if step == 2 else middle
        with jax.numpy_dtype_promotion("standard"):
            updates, state = optimiser.update(jax.grad(loss)(w), state, w)
        w = optax.apply_updates(w, updates)
    for start, before, steps in ((START, None, 6), (*middle, 4)):
        got, after = unroll(loss, start, optimiser, before, steps=steps)
        np.testing.assert_allclose(got, w, rtol=1e-12)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), after, state)


def test_each_step_is_given_its_batch():
    pull = lambda w, goal: jnp.sum((w - goal) ** 2) / 2
    goals = jnp.asarray([[1.0, 0.0], [0.0, 1.0], [2.0, 2.0]])
    got, _ = unroll(pull, START, optax.sgd(0.5), steps=3, batches=goals)
    want = np.asarray(START)
    for goal in np.asarray(goals):
        want = want - 0.5 * (want - goal)
    np.testing.assert_allclose(got, want)
    with pytest.raises(ValueError, match="leading axis of `steps`, 2; got"):
        unroll(pull, START, optax.sgd(0.5), steps=2, batches=goals)


def test_a_player_looks_through_the_steps_of_the_other():
    """min over x of max over y of xy - y^2 / 2: looking ahead gives y = x, and so x the slope x."""
    payoff = lambda x, y: x * y - y**2 / 2

    def ahead(x, steps):
        y, _ = unroll(lambda y: -payoff(x, y), jnp.asarray(0.0), optax.sgd(0.5), steps=steps)
        return payoff(x, y)

    x = jnp.asarray(1.5)
    np.testing.assert_allclose(jax.grad(lambda x: ahead(x, 40))(x), x, rtol=1e-10)
    # One step: y = x / 2, so that the payoff is x^2 (1/2 - 1/8).
    np.testing.assert_allclose(jax.grad(lambda x: ahead(x, 1))(x), 2 * x * (1 / 2 - 1 / 8))


def test_a_network_keeps_what_is_not_trained():
    net = eqx.nn.MLP(2, 1, 3, 1, key=jax.random.key(0))
    got, _ = unroll(lambda net: jnp.sum(net(START) ** 2), net, optax.sgd(0.1), steps=2)
    assert got.activation is net.activation
    assert jax.tree.structure(got) == jax.tree.structure(net)
    assert jnp.sum(got(START) ** 2) < jnp.sum(net(START) ** 2)


def test_a_clipped_norm_has_a_derivative():
    clipped = lambda r: optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(r))
    end = lambda r: jnp.sum(unroll(loss, START, clipped(r), steps=1)[0])
    slope = CURVATURE * np.asarray(START)
    np.testing.assert_allclose(jax.grad(end)(0.1), -np.sum(slope) / np.linalg.norm(slope))


def test_what_has_no_derivative_is_refused():
    for wrap in (lambda f: f, jax.jit, jax.grad):
        with pytest.raises(ValueError, match="eps_root=1e-14"):
            wrap(lambda r: jnp.sum(unroll(loss, START, optax.adam(r), steps=1)[0]))(0.1)
    with pytest.raises(ValueError, match="`steps` must be 1 or more"):
        unroll(loss, START, optax.sgd(0.1), steps=0)
