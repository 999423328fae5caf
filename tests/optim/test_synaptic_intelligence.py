"""Synaptic intelligence and elastic weight consolidation: closed forms, and what they leave be."""

import inspect

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro.distributions as dist
import optax
import pytest

from pullback.optim import (
    consolidate,
    diagonal_fisher,
    elastic_weight_consolidation,
    synaptic_intelligence,
)
from pullback.train import apply_gradient, fit

H = jnp.asarray([0.5, 2.0, 5.0])
START, GOAL = jnp.asarray([1.0, -2.0, 0.5]), jnp.asarray([0.0, 1.0, 1.5])


def quadratic(w):
    return jnp.sum(H * (w - GOAL) ** 2) / 2


def descend(optimiser, loss, w, state=None, steps=10):
    """Step after step, compiled."""
    gradient = jax.grad(loss)

    def step(carry, _):
        w, state = carry
        return apply_gradient(optimiser, gradient(w), state, w), None

    state = optimiser.init(w) if state is None else state
    return jax.jit(lambda *start: jax.lax.scan(step, start, None, length=steps)[0])(w, state)


def bits(tree):
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(tree)]


@pytest.mark.parametrize("eager", [False, True])
def test_importance_of_a_quadratic_is_h_over_2_minus_a_h(eager):
    rate, damping = 0.05, 1e-10
    optimiser = synaptic_intelligence(optax.sgd(rate), strength=1.0, damping=damping)
    w, state = START, optimiser.init(START)
    if eager:
        for _ in range(3):  # the first of them by hand
            updates, state = optimiser.update(jax.grad(quadratic)(w), state, w)
            w = optax.apply_updates(w, updates)
    w, state = descend(optimiser, quadratic, w, state, steps=2000)
    end = consolidate(optimiser, state, w)
    np.testing.assert_allclose(end.importance, H / (2 - rate * H), rtol=1e-8)
    np.testing.assert_array_equal(end.reference, w)
    np.testing.assert_array_equal(end.omega, 0)
    assert (int(end.steps), int(end.tasks)) == (0, 1)


@pytest.mark.parametrize(
    "inner", [optax.sgd(0.001), optax.sgd(0.0003, momentum=0.9), optax.adam(0.001)]
)
def test_omega_sums_to_the_fall_of_the_loss_whatever_the_optimiser(inner):
    optimiser = synaptic_intelligence(inner, strength=1.0)
    w, state = descend(optimiser, quadratic, START, steps=300)
    fall = quadratic(START) - quadratic(w)
    # Of a quadratic, what the left end of a step misses is half of H times its square.
    np.testing.assert_allclose(jnp.sum(state.omega), fall, rtol=5e-3)


def test_the_rule_of_sums_holds_to_the_size_of_the_steps(key):
    keys = jr.split(key, 3)
    net = eqx.nn.MLP(3, 1, 8, 1, jnp.tanh, key=keys[0], dtype=float)
    x = jr.normal(keys[1], (20, 3))
    y = jnp.sin(x[:, 0])
    params, rest = eqx.partition(net, eqx.is_inexact_array)

    def loss(params):
        return jnp.mean((jax.vmap(eqx.combine(params, rest))(x)[:, 0] - y) ** 2) / 4

    errors = []
    for rate in (0.1, 0.01):
        optimiser = synaptic_intelligence(optax.sgd(rate), strength=1.0)
        end, state = descend(optimiser, loss, params, steps=200)
        omega = sum(float(jnp.sum(leaf)) for leaf in jax.tree.leaves(state.omega))
        errors.append(omega / float(loss(params) - loss(end)) - 1)
        assert 0 < errors[-1] < 0.6 * rate
    assert 5 < errors[0] / errors[1] < 20


def test_the_penalty_is_the_loss_of_the_old_task():
    """Where the importance is H / 2, and the strength 1, it is that quadratic."""
    optimiser = synaptic_intelligence(optax.sgd(1.0), strength=1.0)
    state = optimiser.init(GOAL)
    state = eqx.tree_at(lambda s: s.importance, state, H / 2)
    w = jnp.asarray([3.0, 0.2, -1.0])
    updates, _ = optimiser.update(jnp.zeros(3), state, w)
    np.testing.assert_allclose(-updates, jax.grad(quadratic)(w), rtol=1e-12)
    updates, _ = optimiser.update(jnp.zeros(3), state, GOAL)
    np.testing.assert_array_equal(updates, 0)
    penalty = lambda w: 0.3 * jnp.sum(state.importance * (w - GOAL) ** 2)
    third = synaptic_intelligence(optax.sgd(1.0), strength=0.3)
    np.testing.assert_allclose(
        -third.update(jnp.zeros(3), state, w)[0], jax.grad(penalty)(w), rtol=1e-12
    )


@pytest.mark.parametrize("make", [synaptic_intelligence, elastic_weight_consolidation])
@pytest.mark.parametrize("strength", [0, 0.0, jnp.asarray(0.0)])
def test_without_strength_it_is_the_inner_optimiser_bit_for_bit(make, strength, key):
    net = eqx.nn.MLP(4, 2, 8, 1, key=key, dtype=jnp.float32)
    x = jr.normal(key, (30, 4), jnp.float32)

    def loss(net, x, *, key):
        return jnp.mean((jax.vmap(net)(x) - x[:, :2]) ** 2), {}

    inner = optax.chain(optax.clip_by_global_norm(0.1), optax.adam(0.01))
    given = {"steps": 20, "batch_size": 10, "log_every": 20, "key": key}
    plain, info = fit(net, loss, x, optimiser=inner, **given)
    optimiser = make(inner, strength=strength)
    state = optimiser.init(eqx.filter(net, eqx.is_inexact_array))
    # Not even a NaN in what is not used is seen.
    pulled = jax.tree.map(lambda leaf: leaf + jnp.nan, state.importance)
    state = eqx.tree_at(lambda s: s.importance, state, pulled)
    found, ours = fit(net, loss, x, optimiser=optimiser, optimiser_state=state, **given)
    assert bits(plain) == bits(found)
    assert bits(info.optimiser_state) == bits(ours.optimiser_state.inner)


@pytest.mark.parametrize("inner", [optax.adam(0.01), optax.adamw(0.01)])
def test_without_strength_steps_of_adam_are_those_of_adam(inner, key, promotion):
    x = jr.normal(key, (40, 3), jnp.float32)
    net = eqx.nn.MLP(3, "scalar", 4, 1, jnp.tanh, key=key, dtype=jnp.float32)

    def loss(net, x, *, key):
        return jnp.mean((jax.vmap(net)(x) - x[:, 0]) ** 2), {}

    ours = synaptic_intelligence(inner, strength=0)
    given = {"steps": 60, "batch_size": 10, "log_every": 60, "key": key}
    ends = [fit(net, loss, x, optimiser=each, **given)[0] for each in (inner, ours)]
    leaves = [jax.tree.leaves(eqx.filter(end, eqx.is_array)) for end in ends]
    for one, two in zip(*leaves, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-6)
    w = [jnp.asarray([1.0, -2.0, 0.5], jnp.float32)] * 2
    states = [inner.init(w[0]), ours.init(w[1])]
    for _ in range(3):
        for n, each in enumerate((inner, ours)):
            updates, states[n] = each.update(w[n] ** 3, states[n], w[n])
            w[n] = optax.apply_updates(w[n], updates)
    assert bits(w[0]) == bits(w[1])


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("bad", [jnp.nan, jnp.inf])
def test_a_step_that_is_skipped_leaves_no_trace(bad, compiled):
    optimiser = synaptic_intelligence(optax.apply_if_finite(optax.sgd(0.1), 5), strength=1.0)
    update = jax.jit(optimiser.update) if compiled else optimiser.update
    ends = []
    for skipped in (False, True):
        w, state = START, optimiser.init(START)
        for step in range(6):
            gradient = jax.grad(quadratic)(w)
            if step == 3:
                if not skipped:
                    continue
                gradient = gradient.at[1].set(bad)
            updates, state = update(gradient, state, w)
            w = optax.apply_updates(w, updates)
        ends.append((w, state.omega, consolidate(optimiser, state, w).importance))
    assert bits(ends[0]) == bits(ends[1])
    assert float(jnp.min(ends[1][2])) > 0


def test_a_path_that_is_not_finite_is_refused():
    optimiser = synaptic_intelligence(optax.sgd(0.1), strength=1.0)
    _, state = optimiser.update(H.at[1].set(jnp.nan), optimiser.init(START), START)
    with pytest.raises(ValueError, match=r"omega of `state` must be finite.*apply_if_finite"):
        consolidate(optimiser, state, START)


def test_a_strength_that_is_traced(key):
    """So that several of them can be tried in one program."""

    def end(strength):
        optimiser = synaptic_intelligence(optax.adam(0.1), strength=strength)
        w, state = descend(optimiser, quadratic, START)
        state = consolidate(optimiser, state, w)
        return descend(optimiser, lambda w: jnp.sum(w**2), w, state)[0]

    found = jax.vmap(end)(jnp.asarray([0.0, 2.0]))
    np.testing.assert_allclose(found, [end(0.0), end(2.0)], rtol=1e-12)
    assert float(jnp.max(jnp.abs(found[0] - found[1]))) > 0.01


def test_importance_is_never_below_zero_and_what_is_not_touched_keeps_it():
    optimiser = synaptic_intelligence(optax.sgd(-0.01), strength=1.0)  # uphill
    away = jnp.asarray([1.0, 1.0, 0.0])
    w, state = descend(optimiser, lambda w: jnp.sum(away * H * w**2), START)
    assert float(jnp.max(state.omega)) <= 0
    state = eqx.tree_at(lambda s: s.importance, state, jnp.asarray([1.0, 1e6, 7.0]))
    end = consolidate(optimiser, state, w)
    assert float(end.importance[0]) == 0
    assert 0 < float(end.importance[1]) < 1e6
    assert float(end.importance[2]) == 7


def test_omega_is_of_the_gradient_of_the_data_alone():
    """A second task whose steps are made by the penalty of the first."""
    rate, strength = 0.01, 1.0
    optimiser = synaptic_intelligence(optax.sgd(rate), strength=strength)
    state = optimiser.init(jnp.zeros(3))
    state = eqx.tree_at(lambda s: s.importance, state, 10 * H)
    w, omega = START, jnp.zeros(3)
    small = lambda w: 0.1 * quadratic(w)
    for _ in range(5):
        gradient = jax.grad(small)(w)
        new = w - rate * (gradient + 2 * strength * 10 * H * w)
        omega = omega - gradient * (new - w)
        updates, state = optimiser.update(gradient, state, w)
        w = optax.apply_updates(w, updates)
        np.testing.assert_allclose(w, new, rtol=1e-12)
    np.testing.assert_allclose(state.omega, omega, rtol=1e-10)


def test_in_half_precision_omega_is_of_the_change_that_the_weights_make():
    half = jnp.bfloat16
    optimiser = synaptic_intelligence(optax.sgd(1.0), strength=1.0)
    w = jnp.asarray([1.0, 1.0], half)
    state = optimiser.init(w)
    assert {leaf.dtype for leaf in jax.tree.leaves((state.omega, state.importance))} == {
        jnp.dtype("float32")
    }
    g = jnp.asarray([1e-4, 0.25], half)
    updates, state = optimiser.update(g, state, w)
    w = optax.apply_updates(w, updates)
    assert w.dtype == half
    np.testing.assert_array_equal(w.astype(float), [1.0, 0.75])  # the first step is lost
    np.testing.assert_array_equal(state.omega, [0.0, 0.25**2])
    end = consolidate(optimiser, state, w)
    np.testing.assert_allclose(end.importance, [0, 0.25**2 / (0.25**2 + 1e-3)], rtol=1e-6)
    updates, _ = jax.jit(optimiser.update)(g, end, w + 1)
    assert updates.dtype == half


def test_an_optimiser_that_searches_is_told_of_the_penalty(promotion):
    optimiser = synaptic_intelligence(optax.lbfgs(), strength=1.0)
    state = optimiser.init(GOAL)
    state = eqx.tree_at(lambda s: (s.importance, s.reference), state, (H / 2, -GOAL))
    w = GOAL + 0.3
    for _ in range(12):
        value, gradient = jax.value_and_grad(quadratic)(w)
        updates, state = optimiser.update(
            gradient, state, w, value=value, grad=gradient, value_fn=quadratic
        )
        w = optax.apply_updates(w, updates)
    np.testing.assert_allclose(w, 0, atol=1e-8)  # halfway between the two tasks


def test_frozen_parts_and_other_leaves_are_left_out(key):
    net = eqx.nn.MLP(3, 1, 4, 1, key=key)
    only_last = eqx.tree_at(lambda m: m.layers[-1], jax.tree.map(lambda _: False, net), True)
    loss = lambda net, x, *, key: (jnp.mean(jax.vmap(net)(x) ** 2), {})
    optimiser = synaptic_intelligence(optax.adam(0.01), strength=1.0)
    found, info = fit(
        net, loss, jr.normal(key, (8, 3)), optimiser=optimiser, steps=4, batch_size=4,
        log_every=4, trainable=only_last, key=key,
    )  # fmt: skip
    state = info.optimiser_state
    assert state.omega.layers[0].weight is None
    params = eqx.filter(found, only_last)
    end = consolidate(optimiser, state, eqx.filter(params, eqx.is_inexact_array))
    assert float(jnp.sum(end.importance.layers[-1].weight)) > 0


def test_states_of_several_runs_are_consolidated_as_one_by_one():
    optimiser = synaptic_intelligence(optax.adam(0.1), strength=1.0)
    starts = jnp.stack([START, 2 * START])
    ends = [descend(optimiser, quadratic, start) for start in starts]
    w, state = jax.tree.map(lambda *leaves: jnp.stack(leaves), *ends)
    together = jax.vmap(lambda s, w: consolidate(optimiser, s, w))(state, w)
    alone = [consolidate(optimiser, state, w) for w, state in ends]
    np.testing.assert_allclose(together.importance, [end.importance for end in alone], rtol=1e-12)
    assert together.tasks.tolist() == [1, 1]


@pytest.mark.parametrize("reset", [True, False])
def test_the_inner_optimiser_starts_anew_or_goes_on(reset):
    optimiser = synaptic_intelligence(optax.adam(0.1), strength=1.0)
    w, state = descend(optimiser, quadratic, START)
    end = consolidate(optimiser, state, w, reset_inner=reset)
    assert bits(end.inner) == bits(optimiser.init(w).inner if reset else state.inner)


def test_importance_of_elastic_weights_is_the_sum_of_what_is_given():
    optimiser = elastic_weight_consolidation(optax.sgd(0.1), strength=2.0)
    w, state = descend(optimiser, quadratic, START, steps=3)
    state = consolidate(optimiser, state, w, fisher=H)
    v, state = descend(optimiser, lambda w: jnp.sum(w**4), w, state, steps=3)
    state = consolidate(optimiser, state, v, fisher=2 * H)
    np.testing.assert_allclose(state.importance, 3 * H)
    np.testing.assert_array_equal(state.reference, v)
    updates, _ = optimiser.update(jnp.zeros(3), state, v + 1)
    np.testing.assert_allclose(updates, -0.1 * 2 * 2 * 3 * H)
    assert state.omega is None


class TestDiagonalFisher:
    categorical = staticmethod(lambda logits: dist.Categorical(logits=logits))

    def test_of_logistic_regression_by_enumeration(self, key):
        net = eqx.nn.Linear(2, 3, key=key, dtype=float)
        x = jr.normal(jr.fold_in(key, 1), (5, 2))
        p = jax.nn.softmax(jax.vmap(net)(x))
        each = p * (1 - p)  # the variance of a class, which is that of the slope by its logit
        exact = jnp.mean(each[:, :, None] * x[:, None, :] ** 2, axis=0)
        many = jnp.tile(x, (2000, 1))
        found = diagonal_fisher(net, self.categorical, many, key=key)
        # Of a draw, (1 - p)^2 with probability p and else p^2.
        fourth = p * (1 - p) ** 4 + (1 - p) * p**4 - each**2
        error = jnp.sqrt(jnp.sum(fourth[:, :, None] * x[:, None, :] ** 4, axis=0) / 2000) / 5
        assert float(jnp.max(jnp.abs(found.weight - exact) / error)) < 4
        assert float(jnp.max(error / exact)) < 0.1

    @pytest.mark.parametrize("batch_size", [None, 2, 100])
    def test_of_given_labels(self, batch_size, key):
        net = eqx.nn.Linear(2, 3, key=key, dtype=float)
        x, y = jr.normal(jr.fold_in(key, 1), (5, 2)), jnp.asarray([0, 1, 2, 2, 0])
        given = {"batch_size": batch_size, "key": key}
        found = diagonal_fisher(net, self.categorical, x, y, **given)
        slope = jax.nn.one_hot(y, 3) - jax.nn.softmax(jax.vmap(net)(x))
        np.testing.assert_allclose(
            found.weight, jnp.mean((slope[:, :, None] * x[:, None]) ** 2, axis=0), rtol=1e-10
        )
        np.testing.assert_allclose(found.bias, jnp.mean(slope**2, axis=0), rtol=1e-10)

    def test_what_is_refused(self, key):
        net = eqx.nn.Linear(2, 3, key=key)
        with pytest.raises(ValueError, match=r"one number an example; .* it has shape \(3,\)"):
            diagonal_fisher(net, lambda mean: dist.Normal(mean, 1.0), jnp.ones((4, 2)), key=key)
        with pytest.raises(ValueError, match="at least one example"):
            diagonal_fisher(net, self.categorical, jnp.ones((0, 2)), key=key)
        with pytest.raises(TypeError, match="no parameters"):
            diagonal_fisher(jnp.sum, self.categorical, jnp.ones((4, 2)), key=key)
        with pytest.raises(TypeError, match=r"`trainable` leaves nothing .* none of the 2"):
            diagonal_fisher(net, self.categorical, jnp.ones((4, 2)), trainable=False, key=key)
        with pytest.raises(ValueError, match="`batch_size` must be 1 or more"):
            diagonal_fisher(net, self.categorical, jnp.ones((4, 2)), batch_size=0, key=key)


class TestRefused:
    """As without the checks of types that the tests put around what is called."""

    make = staticmethod(inspect.unwrap(synaptic_intelligence))
    consolidate = staticmethod(inspect.unwrap(consolidate))

    @pytest.mark.parametrize("damping", [0, -1e-3, float("nan"), float("inf")])
    def test_damping(self, damping):
        with pytest.raises(ValueError, match="`damping` must be above 0"):
            synaptic_intelligence(optax.sgd(0.1), strength=1.0, damping=damping)

    @pytest.mark.parametrize("make", [synaptic_intelligence, elastic_weight_consolidation])
    @pytest.mark.parametrize("strength", [-1, float("nan"), float("inf"), np.float32(-1)])
    def test_strength(self, make, strength):
        with pytest.raises(ValueError, match="`strength` must be 0 or more and finite"):
            inspect.unwrap(make)(optax.sgd(0.1), strength=strength)

    def test_what_is_no_number_or_no_optimiser(self):
        with pytest.raises(TypeError, match="`strength` must be a number"):
            self.make(optax.sgd(0.1), strength="1")
        with pytest.raises(TypeError, match=r"`inner` must be an Optax optimiser.*got float"):
            self.make(0.1, strength=1)

    def test_update_without_the_weights(self):
        optimiser = synaptic_intelligence(optax.sgd(0.1), strength=1.0)
        with pytest.raises(ValueError, match="`update` needs `params`"):
            optimiser.update(START, optimiser.init(START))

    def test_the_end_of_no_task(self):
        optimiser = synaptic_intelligence(optax.sgd(0.1), strength=1.0)
        state = optimiser.init(START)
        with pytest.raises(ValueError, match="no step was taken"):
            consolidate(optimiser, state, START)
        w, state = descend(optimiser, quadratic, START, state)
        done = consolidate(optimiser, state, w)
        with pytest.raises(ValueError, match="once, after the last step"):
            consolidate(optimiser, done, w)

    def test_other_weights_states_and_optimisers(self):
        optimiser = synaptic_intelligence(optax.sgd(0.1), strength=1.0)
        w, state = descend(optimiser, quadratic, START)
        for other in ({"w": w}, w[:2], None):
            with pytest.raises(ValueError, match="`params` must be a tree like"):
                consolidate(optimiser, state, other)
        with pytest.raises(TypeError, match="`state` must be that of"):
            self.consolidate(optimiser, state.inner, w)
        with pytest.raises(TypeError, match="`optimiser` must be the one"):
            consolidate(elastic_weight_consolidation(optax.sgd(0.1), strength=1.0), state, w)
        with pytest.raises(ValueError, match="Leave it out"):
            consolidate(optimiser, state, w, fisher=H)

    def test_the_fisher_information(self):
        optimiser = elastic_weight_consolidation(optax.sgd(0.1), strength=1.0)
        w, state = descend(optimiser, quadratic, START)
        for fisher, message in (
            (None, "needs `fisher`"),
            (H[:2], "`fisher` must be a tree like"),
            (-H, "must be 0 or more and finite"),
            (H * jnp.nan, "must be 0 or more and finite"),
        ):
            with pytest.raises(ValueError, match=message):
                consolidate(optimiser, state, w, fisher=fisher)
