"""A pole on a cart, and two policy gradients that learn to balance it."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from pullback.sampling import (
    AbstractPolicyEstimator,
    ActorCritic,
    Episodes,
    OneHotCategorical,
    RelaxPolicy,
    act,
    policy_gradient,
)
from pullback.train import apply_gradient, iterate

METHODS = ("a2c", "relax")


def move(state: Float[Array, "4"], right: Array) -> Float[Array, "4"]:
    """One fiftieth of a second of the usual physics: the cart is pushed left or right by 10 N."""
    _, speed, angle, turning = state
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    push = (jnp.where(right, 10.0, -10.0) + 0.05 * turning**2 * sin) / 1.1
    turn = (9.8 * sin - cos * push) / (0.5 * (4 / 3 - 0.1 * cos**2 / 1.1))
    slide = push - 0.05 * turn * cos / 1.1
    return state + 0.02 * jnp.stack([speed, slide, turning, turn])


def fallen(state: Float[Array, "4"]) -> Array:
    """Whether the cart has left its track, or the pole stands at more than 12 degrees."""
    return (jnp.abs(state[0]) > 2.4) | (jnp.abs(state[2]) > jnp.deg2rad(12.0))


class Policy(eqx.Module):
    """Left or right."""

    net: eqx.nn.MLP

    def __call__(self, state: Array) -> OneHotCategorical:
        return OneHotCategorical(self.net(state))


class Surrogate(eqx.Module):
    """The control variate: the state's value, and what the action adds to it."""

    value: eqx.nn.MLP
    action: eqx.nn.MLP

    def __call__(self, z: Array, state: Array) -> Array:
        return self.value(state) + self.action(jnp.concatenate([jnp.tanh(z), state]))


def episode(policy: Policy, limit: int, *, key: PRNGKeyArray) -> Episodes:
    """One episode: a reward of one for every step before the fall."""
    start_key, key = jr.split(key)
    start = jr.uniform(start_key, (4,), minval=-0.05, maxval=0.05)

    def step(carry: tuple, key: PRNGKeyArray) -> tuple[tuple, tuple]:
        state, up = carry
        action = act(policy, state, key=key)
        # After the fall it stays where it was: the physics may run away.
        after = jnp.where(up, move(state, action[1] == 1), state)
        alive = up.astype(state.dtype)
        return (after, up & ~fallen(after)), (state, alive)

    keys = jr.split(key, limit)
    _, (states, alive) = jax.lax.scan(step, (start, jnp.asarray(True)), keys)
    return Episodes(states, keys, alive, alive)


def estimator_of(name: str, key: PRNGKeyArray) -> AbstractPolicyEstimator:
    """One value network for both; the surrogate of RELAX has another for the action beside it."""
    first, second = jr.split(key)
    value = eqx.nn.MLP(4, "scalar", 10, 2, jnp.tanh, key=first)
    if name == "a2c":
        return ActorCritic(value)
    return RelaxPolicy(Surrogate(value, eqx.nn.MLP(6, "scalar", 10, 2, jnp.tanh, key=second)))


def balance(
    name: str, episodes: int, limit: int, rate: float, seeds: list[int]
) -> Float[np.ndarray, "seeds point"]:
    """Lengths of the episodes, one an update, means of some 25 at a time; all seeds at once."""
    rates = {"policy": rate, "estimator": 3 * rate}
    rmsprop = optax.partition(
        {name: optax.rmsprop(rate, decay=0.99) for name, rate in rates.items()}, tuple(rates)
    )
    every = max(1, episodes // 25)

    def start(key: PRNGKeyArray) -> tuple:
        net_key, estimator_key = jr.split(key)
        policy = Policy(eqx.nn.MLP(4, 2, 10, 2, jnp.tanh, key=net_key))
        both = policy, estimator_of(name, estimator_key)
        return both, rmsprop.init(eqx.filter(both, eqx.is_inexact_array))

    def update(state: tuple, batch: None, *, key: PRNGKeyArray) -> tuple[tuple, dict[str, Array]]:
        both, rms = state
        policy, estimator = both
        seen = jax.tree.map(lambda x: x[None], episode(policy, limit, key=key))
        found = policy_gradient(policy, seen, estimator=estimator, discount=0.99)

        @eqx.filter_grad
        def bonus(policy: Policy) -> Array:
            spread = jax.vmap(lambda s: policy(s).entropy())(seen.states[0])
            return jnp.sum(seen.mask[0] * spread)

        down = jax.tree.map(lambda g, h: -g - 0.01 * h, found.policy, bonus(policy))
        moved = apply_gradient(rmsprop, (down, found.estimator), rms, both)
        return moved, {"length": jnp.sum(seen.mask)}

    keys = jax.vmap(jr.split)(jnp.stack([jr.key(seed) for seed in seeds]))
    _, info = iterate(
        update, eqx.filter_vmap(start)(keys[:, 0]), steps=episodes // every * every,
        log_every=every, progress=False, key=keys[:, 1],
    )  # fmt: skip
    return info.history["length"].T


def balance_at_best(
    name: str, episodes: int, limit: int, rates: tuple[float, ...], seeds: list[int]
) -> dict[str, Any]:
    """The same at the learning rate by which the mean episode is longest."""
    rows = [{"rate": rate, "length": balance(name, episodes, limit, rate, seeds)} for rate in rates]
    return max(rows, key=lambda row: float(row["length"].mean()))
