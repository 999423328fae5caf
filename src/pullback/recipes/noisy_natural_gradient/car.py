"""Mountain car with a reward that is seldom seen, explored where most is to be learned."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro.distributions as dist
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from pullback.analysis import information_gain
from pullback.optim import Kronecker, WeightPosterior, fit_posterior
from pullback.recipes.noisy_natural_gradient.models import Config

HELD = 10  # steps of the car that an action is held for
SCALE = np.asarray([0.9, 0.07], np.float32)  # of place and speed
NOISE = 0.01  # variance of a change, in those units
LOW, HIGH = np.asarray([-1.2, -0.07], np.float32), np.asarray([0.6, 0.07], np.float32)
GOAL, CELLS = 0.45, 12


class Dynamics(eqx.Module):
    """How place and speed change while an action is held, in their units."""

    net: eqx.nn.MLP

    def __call__(self, x: Float[Array, "3"]) -> Float[Array, "2"]:
        return self.net(x)


def move(state: Float[Array, "2"], force: Float[Array, ""]) -> Float[Array, "2"]:
    """The car after an action was held: too weak for the hill, unless it swings."""

    def step(_: Any, state: Array) -> Array:
        place, speed = state
        speed = jnp.clip(speed + 0.0015 * force - 0.0025 * jnp.cos(3 * place), -0.07, 0.07)
        place = jnp.clip(place + speed, -1.2, 0.6)
        speed = jnp.where(place <= -1.2, jnp.maximum(speed, 0), speed)
        return jnp.stack([place, speed])

    return jax.lax.fori_loop(0, HELD, step, state)


def inputs(state: Array, force: Array) -> Float[Array, "3"]:
    """What the network is told."""
    return jnp.concatenate([(state - jnp.asarray([-0.3, 0.0])) / SCALE, force[None]])


def planned(posterior: WeightPosterior, state: Array, key: PRNGKeyArray) -> Array:
    """The first of those actions along which most is to be learned, as far as the mean sees."""
    draw, follow = jr.split(key)
    nets = jax.vmap(lambda k: eqx.filter(posterior.sample(key=k), eqx.is_array))(jr.split(draw, 8))
    rest = eqx.filter(posterior.mean, eqx.is_array, inverse=True)

    def told(forces: Array) -> Array:
        def step(state: Array, force: Array) -> tuple[Array, Array]:
            x = inputs(state, force)
            spread = jax.vmap(lambda net: eqx.combine(net, rest)(x))(nets).var(axis=0)
            moved = state + posterior.mean(x) * SCALE
            return jnp.clip(moved, LOW, HIGH), information_gain(spread, NOISE).sum()

        return jax.lax.scan(step, state, forces)[1].sum()

    forces = jr.uniform(follow, (128, 8), minval=-1, maxval=1)
    forces = jnp.where(jnp.arange(128)[:, None] % 2 == 0, jnp.sign(forces), forces)
    return forces[jnp.argmax(jax.vmap(told)(forces)), 0]


@eqx.filter_jit
def episode(
    posterior: WeightPosterior | None, steps: int, key: PRNGKeyArray
) -> tuple[Float[Array, "steps 2"], Float[Array, "steps 3"], Float[Array, "steps 2"]]:
    """States, inputs and changes of one episode; without a posterior, of random actions."""

    def step(state: Array, key: PRNGKeyArray) -> tuple[Array, Any]:
        if posterior is None:
            # At full force, as plans are: weaker ones would explore less for that alone.
            force = jnp.sign(jr.uniform(key, minval=-1, maxval=1))
        else:
            force = planned(posterior, state, key)
        new = move(state, force)
        return new, (new, inputs(state, force), (new - state) / SCALE)

    first, rest = jr.split(key)
    start = jnp.stack([jr.uniform(first, minval=-0.6, maxval=-0.4), jnp.asarray(0.0)])
    return jax.lax.scan(step, start, jr.split(rest, steps))[1]


def explored(config: Config, seed: int) -> dict[str, float]:
    """How much of the plane of place and speed is visited, and how far up the hill."""
    keys = jr.split(jr.key(seed), 2 * config.episodes)
    found = {}
    for name in ("random", "curious"):
        rows: list[Any] = []
        visited = []
        for number in range(config.episodes):
            known = _known(config, rows, seed) if rows and name == "curious" else None
            states, x, change = episode(known, config.held, keys[2 * number])
            rows.append((np.asarray(x), np.asarray(change)))
            visited.append(np.asarray(states))
        places = np.concatenate(visited)
        cell = np.clip((places - LOW) / (HIGH - LOW) * CELLS, 0, CELLS - 1).astype(int)
        found[f"{name}_cells"] = float(len(np.unique(cell, axis=0)))
        found[f"{name}_highest"] = float(places[:, 0].max())
    return found


def _likelihood(mean: Array) -> dist.Distribution:
    return dist.Normal(mean, np.float32(np.sqrt(NOISE))).to_event(1)


def _known(config: Config, rows: list[Any], seed: int) -> WeightPosterior:
    """The posterior of the dynamics, of rows that stand there several times: shapes stay."""
    x, change = (np.concatenate(part) for part in zip(*rows, strict=True))
    size = 4 * config.episodes * config.held
    again = np.resize(np.arange(len(x)), size)
    net = Dynamics(eqx.nn.MLP(3, 2, 24, 1, jnp.tanh, key=jr.key(seed)))
    return fit_posterior(
        net, _likelihood, x[again], change[again],
        curvature=Kronecker(), kl_weight=size / len(x), damping=config.damping,
        optimiser=optax.chain(optax.ema(0.9), optax.scale_by_learning_rate(0.01)),
        steps=config.active_steps, batch_size=config.batch_size, inverse_every=20, draws="batch",
        log_every=config.active_steps, progress=False, key=jr.key(seed),
    )[0]  # fmt: skip
