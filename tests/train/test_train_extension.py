"""Steps of `iterate` written as a user would, from public names alone."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array

from pullback import train


class Value(eqx.Module):
    at: Array


class Players(NamedTuple):
    """Two models and their optimisers."""

    one: Value
    two: Value
    of_one: optax.OptState
    of_two: optax.OptState


class Game(eqx.Module):
    """x goes down and y goes up x'Ay - |y|^2 / 2 + b'x: at the saddle y = A'x and AA'x = -b."""

    matrix: Array
    optimiser: optax.GradientTransformation = eqx.field(static=True)

    def init(self, x, y):
        arrays = lambda model: eqx.filter(model, eqx.is_inexact_array)
        return Players(x, y, *(self.optimiser.init(arrays(model)) for model in (x, y)))

    def __call__(self, state, batch, *, key):
        def payoff(x, y):
            return x.at @ self.matrix @ y.at - y.at @ y.at / 2 + jnp.mean(batch, axis=0) @ x.at

        down = eqx.filter_grad(payoff)(state.one, state.two)
        up = eqx.filter_grad(lambda y: -payoff(state.one, y))(state.two)
        value = payoff(state.one, state.two)
        one, of_one = train.apply_gradient(self.optimiser, down, state.of_one, state.one)
        two, of_two = train.apply_gradient(self.optimiser, up, state.of_two, state.two)
        return Players(one, two, of_one, of_two), {"value": value}


def test_two_players_meet_at_the_saddle(tmp_path):
    matrix = np.array([[1.0, 0.4], [0.0, 0.8]])
    rows = np.random.default_rng(0).normal(size=(6, 2))
    game = Game(jnp.asarray(matrix), optax.sgd(0.2))
    start = game.init(Value(jnp.zeros(2)), Value(jnp.zeros(2)))
    options = {"log_every": 50, "folder": tmp_path, "key": jax.random.key(0)}
    stream = train.Stream(rows, 6)
    train.iterate(game, start, stream, steps=150, **options)
    end, info = train.iterate(game, start, stream, steps=300, resume=True, **options)
    x = -np.linalg.solve(matrix @ matrix.T, rows.mean(0))
    np.testing.assert_allclose(end.one.at, x, rtol=1e-6)
    np.testing.assert_allclose(end.two.at, matrix.T @ x, rtol=1e-6)
    assert info.history["value"].shape == (6,)


def langevin(rate):
    """Stochastic-gradient Langevin steps for the mean of normal data, with a flat prior."""

    def step(state, batch, *, key):
        mean, kept, count = state
        slope = 100 * jnp.mean(batch - mean)
        mean = mean + rate * slope / 2 + jnp.sqrt(rate) * jax.random.normal(key, (), mean.dtype)
        kept = kept.at[count % len(kept)].set(mean)
        far = jnp.abs(mean) > 1e3  # long before it overflows
        return (mean, kept, count + 1), {"mean": mean, "diverged": far}

    return step


def test_chains_side_by_side_draw_from_the_posterior():
    x = np.random.default_rng(1).normal(2.0, 1.0, size=100)
    chains, rate = 8, 1e-3
    state = (jnp.zeros(chains), jnp.zeros((chains, 2000)), jnp.zeros(chains, int))
    keys = jax.random.split(jax.random.key(0), chains)
    (_, kept, _), info = train.iterate(
        langevin(rate), state, train.Stream(x, 100), steps=2200, log_every=200, key=keys
    )
    assert info.good.all()
    # The whole data a step: an autoregressive chain, whose variance is known at any rate.
    shrink = 1 - 100 * rate / 2
    deviation = np.sqrt(rate / (1 - shrink**2))
    effective = kept.size * (1 - shrink) / (1 + shrink)
    error = (np.mean(kept) - x.mean()) / (deviation / np.sqrt(effective))
    assert abs(error) < 4
    np.testing.assert_allclose(np.std(kept), deviation, rtol=0.1)
