"""Policy gradients, against every trajectory of a small decision process."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro.distributions as dist
import pytest

from pullback.sampling import (
    ActorCritic,
    Episodes,
    LaxPolicy,
    OneHotCategorical,
    RelaxPolicy,
    act,
    discounted_returns,
    policy_gradient,
)

STEPS, STATES, ACTIONS = 3, 3, 2
# Where an action leads from a state, and what it pays; state 2 ends the episode.
NEXT = jnp.array([[0, 1], [1, 2], [2, 2]])
PAYS = jnp.array([[0.3, -1.0], [1.0, 2.0], [0.0, 0.0]])


class Table(eqx.Module):
    """A tabular policy."""

    logits: jax.Array

    def __call__(self, state):
        return OneHotCategorical(state @ self.logits)


class Net(eqx.Module):
    """A small network of an action's scores and a state."""

    net: eqx.nn.MLP

    def __call__(self, *inputs):
        return self.net(jnp.concatenate([jnp.tanh(jnp.ravel(x)) for x in inputs]))


POLICY = Table(jnp.array([[0.2, -0.4], [0.7, 0.1], [0.0, 0.0]]))


def net(size, seed=0):
    made = eqx.nn.MLP(size, "scalar", 4, 1, jnp.tanh, key=jr.key(seed))
    return Net(jax.tree.map(lambda x: 3 * x if eqx.is_inexact_array(x) else x, made))


ESTIMATORS = {
    "critic": ActorCritic(net(STATES)),
    "relax": RelaxPolicy(net(STATES + ACTIONS)),
}


def roll(policy, key):
    def step(state, key):
        action = jnp.argmax(act(policy, jnp.eye(STATES)[state], key=key))
        record = (jnp.eye(STATES)[state], PAYS[state, action], (state != 2).astype(float))
        return NEXT[state, action], record

    keys = jr.split(key, STEPS)
    _, (states, rewards, mask) = jax.lax.scan(step, jnp.asarray(0), keys)
    return Episodes(states, keys, rewards, mask)


def exact(policy, gamma):
    """The expected discounted return: a sum over all sequences of actions."""
    total = jnp.zeros(())
    for actions in itertools.product(range(ACTIONS), repeat=STEPS):
        state, weight, gain = 0, jnp.ones(()), jnp.zeros(())
        for t, action in enumerate(actions):
            if state != 2:
                weight = weight * jax.nn.softmax(policy.logits[state])[action]
                gain = gain + gamma**t * PAYS[state, action]
            elif action:
                weight = weight * 0  # one way to do nothing
            state = int(NEXT[state, action])
        total = total + weight * gain
    return total


@pytest.mark.parametrize("gamma", [1.0, 0.8])
def test_the_mean_gradient_is_the_sum_over_all_trajectories(gamma, key):
    value, truth = eqx.filter_value_and_grad(exact)(POLICY, gamma)

    @eqx.filter_jit
    def both(key):
        episodes = jax.vmap(lambda k: roll(POLICY, k))(jr.split(key, 10_000))

        def one(estimator):
            found = jax.vmap(
                lambda e: policy_gradient(
                    POLICY,
                    jax.tree.map(lambda x: x[None], e),
                    estimator=estimator,
                    discount=gamma,
                    discounted_states=True,
                )
            )(episodes)
            return found.value, found.policy.logits

        return {name: one(estimator) for name, estimator in ESTIMATORS.items()}

    rounds = [both(k) for k in jr.split(key, 10)]
    for name in ESTIMATORS:
        values, gradients = (np.concatenate([r[name][i] for r in rounds]) for i in (0, 1))
        noise = gradients.std(axis=0) / np.sqrt(len(gradients)) + 1e-12
        assert np.abs((gradients.mean(axis=0) - truth.logits) / noise).max() < 4, name
        assert abs(values.mean() - value) < 4 * values.std() / np.sqrt(len(values))


@pytest.mark.parametrize("name", ["critic", "relax"])
def test_the_estimators_gradient_is_that_of_its_objective(name, key):
    """The variance, or the squared error, by central differences at the same episodes."""
    estimator, count = ESTIMATORS[name], 4
    episodes = jax.vmap(lambda k: roll(POLICY, k))(jr.split(key, count))
    gradient = eqx.filter_jit(
        lambda estimator, episodes: policy_gradient(
            POLICY, episodes, estimator=estimator, discount=0.9
        )
    )

    def objective(estimator):
        if name == "critic":
            returns = jax.vmap(lambda r, m: discounted_returns(r * m, 0.9))(*episodes[2:])
            values = jax.vmap(jax.vmap(estimator.value))(episodes.states)
            return jnp.sum(episodes.mask * (returns - values) ** 2) / 2 / count
        each = [jax.tree.map(lambda x, i=i: x[i : i + 1], episodes) for i in range(count)]
        return sum(jnp.sum(gradient(estimator, e).policy.logits ** 2) for e in each) / count

    found = gradient(estimator, episodes).estimator
    up, down = (
        eqx.apply_updates(estimator, jax.tree.map(lambda d, s=s: s * d, found))
        for s in (1e-6, -1e-6)
    )
    slope = float(objective(up) - objective(down)) / 2e-6
    expected = sum(float(jnp.sum(leaf**2)) for leaf in jax.tree.leaves(found))
    assert slope == pytest.approx(expected, rel=1e-5)


class Steer(eqx.Module):
    """A normal policy on a line."""

    gain: jax.Array
    log_std: jax.Array

    def __call__(self, state):
        return dist.Normal(self.gain * state, jnp.exp(self.log_std))


def test_lax_has_the_gradient_of_a_linear_quadratic_problem(key):
    """x' = x + a, reward -x'^2: the expected return over two steps is a polynomial."""
    policy = Steer(jnp.asarray(-0.4), jnp.asarray(-0.5))

    def value(policy):
        square, total, variance = 1.0, 0.0, jnp.exp(2 * policy.log_std)
        for _ in range(2):
            square = (1 + policy.gain) ** 2 * square + variance
            total = total - square
        return total

    def episode(key):
        def step(x, key):
            moved = x + act(policy, x, key=key)
            return moved, (x, -(moved**2))

        keys = jr.split(key, 2)
        _, (states, rewards) = jax.lax.scan(step, jnp.ones(()), keys)
        return Episodes(states, keys, rewards, jnp.ones(2))

    estimator = LaxPolicy(net(2))

    @eqx.filter_jit
    def gradients(keys):
        one = lambda k: policy_gradient(
            policy, jax.tree.map(lambda x: x[None], episode(k)), estimator=estimator, discount=1.0
        )
        return jax.vmap(one)(keys).policy

    rows = [gradients(k) for k in jr.split(key, (10, 10_000))]
    truth = eqx.filter_grad(value)(policy)
    for name in ("gain", "log_std"):
        found = np.concatenate([getattr(row, name) for row in rows])
        noise = found.std() / np.sqrt(len(found))
        assert abs(found.mean() - getattr(truth, name)) < 4 * noise, name


def test_returns_are_sums_of_what_is_to_come(key):
    rewards = jr.normal(key, (7,))
    expected = [sum(0.9 ** (s - t) * float(rewards[s]) for s in range(t, 7)) for t in range(7)]
    np.testing.assert_allclose(discounted_returns(rewards, 0.9), expected, rtol=1e-12)
    with pytest.raises(ValueError, match=r"`discount` must be in \[0, 1\], got 1.1"):
        discounted_returns(rewards, 1.1)


def test_estimators_refuse_the_other_kind_of_action(key):
    episodes = Episodes(jnp.ones((1, 2)), jr.split(key, (1, 2)), jnp.ones((1, 2)), jnp.ones((1, 2)))
    steer = Steer(jnp.asarray(0.0), jnp.asarray(0.0))
    with pytest.raises(ValueError, match=r"RelaxPolicy.*Normal"):
        policy_gradient(steer, episodes, estimator=RelaxPolicy(net(2)))
    tabular = Episodes(jnp.ones((1, 2, 3)), *episodes[1:])
    with pytest.raises(ValueError, match=r"LaxPolicy.*OneHotCategorical"):
        policy_gradient(POLICY, tabular, estimator=LaxPolicy(net(5)))
