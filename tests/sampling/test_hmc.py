"""Hamiltonian Monte Carlo and its kin: the integrator, the target, the search for a step."""

import functools
import inspect

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from pullback._hamiltonian import leapfrog
from pullback.sampling import hmc, langevin, mala

# A correlated Gaussian of a number and a vector, as a PyTree.
MEAN = np.array([1.0, -2.0, 0.5])
ROOT = np.array([[1.0, 0, 0], [0.8, 0.6, 0], [-0.5, 0.3, 1.2]])
COVARIANCE = ROOT @ ROOT.T
PRECISION = jnp.asarray(np.linalg.inv(COVARIANCE))


def correlated(x):
    away = jnp.concatenate([x["a"][None], x["b"]]) - jnp.asarray(MEAN, x["a"].dtype)
    return -away @ PRECISION.astype(away.dtype) @ away / 2


def drawn(n, key):
    rows = jr.normal(key, (n, 3)) @ ROOT.T + MEAN[None]
    return {"a": rows[:, 0], "b": rows[:, 1:]}


def joined(x):
    return np.concatenate([np.asarray(x["a"])[..., None], np.asarray(x["b"])], axis=-1)


WALKS = {
    "mala": functools.partial(mala, steps=60, step_size=0.1, thin=10),
    "hmc": functools.partial(hmc, steps=40, step_size=0.1, leapfrog_steps=4, thin=5),
}


@pytest.mark.parametrize("walk", WALKS)
def test_mean_and_covariance_of_a_tree_are_those_of_the_target(walk, key):
    """Chains are independent: their means have the spread that the effective sample size gives."""
    n = 3000
    start = drawn(n, jr.fold_in(key, 1))
    run = jax.jit(functools.partial(WALKS[walk], correlated))
    end, info = run(start, key=key)
    draws = joined(info.draws)
    assert draws.shape == (3 if walk == "mala" else 4, n, 3)
    np.testing.assert_array_equal(draws[-1], joined(end))
    np.testing.assert_allclose(info.log_prob, jax.vmap(correlated)(end), rtol=1e-9)
    for values, wanted in (
        (draws, MEAN),
        ((draws[..., None] - MEAN[None, None, :, None]) * (draws - MEAN)[..., None, :], COVARIANCE),
    ):
        of_chains = values.mean(axis=0)
        error = of_chains.std(axis=0, ddof=1) / np.sqrt(n)
        assert np.all(np.abs(of_chains.mean(axis=0) - wanted) < 4 * error)
    # And it moves: else to keep what it starts from would be nothing.
    moved = np.abs(joined(end) - joined(start)).max(axis=1)
    assert np.mean(moved > 0.1) > 0.99


def test_far_from_the_target_it_arrives(key):
    start = {"a": jnp.full(2000, 30.0), "b": jnp.full((2000, 2), -30.0)}
    end, _ = hmc(correlated, start, steps=60, step_size=0.1, leapfrog_steps=6, key=key)
    found = joined(end)
    assert np.all(np.abs(found.mean(axis=0) - MEAN) < 4 * np.sqrt(np.diag(COVARIANCE) / 2000))


def hamiltonian(place, momentum):
    return -place[1] + jnp.sum(momentum**2) / 2


QUARTIC = jax.value_and_grad(lambda x: -jnp.sum(x**4) / 4 - jnp.sum(x[:1] * x[1:]))


@jax.jit
def path(x, momentum, size):
    look = lambda x: (x, *QUARTIC(x))
    place = look(x)
    (end, last) = leapfrog(look, lambda place: place, place, momentum, size, 16)
    return end[0], last, hamiltonian(end, last) - hamiltonian(place, momentum)


def test_the_path_can_be_walked_back_and_its_energy_has_order_two():
    x, momentum = jnp.array([0.7, -0.4]), jnp.array([0.3, 1.1])
    end, last, _ = path(x, momentum, 0.1)
    back, minus, _ = path(end, -last, 0.1)
    np.testing.assert_allclose(back, x, atol=1e-13)
    np.testing.assert_allclose(minus, -momentum, atol=1e-13)
    # A path of the same length in four times as many steps.
    coarse = abs(path(x, momentum, 0.02)[2])
    look = lambda x: (x, *QUARTIC(x))
    end, last = leapfrog(look, lambda p: p, look(x), momentum, jnp.asarray(0.005), 64)
    fine = abs(hamiltonian(end, last) - hamiltonian(look(x), momentum))
    assert 15 < coarse / fine < 17


def test_one_step_of_mala_by_hand(key):
    """The proposal and the ratio of Metropolis and Hastings from the text book, in NumPy."""
    alpha, n = 0.3, 400
    start = {"a": jnp.linspace(-2, 3, n), "b": jnp.linspace(-3, 1, 2 * n).reshape(n, 2)}
    held = functools.partial(mala, correlated, step_size=alpha, target_accept=None)
    end, info = held(start, steps=1, key=key)
    x = joined(start)
    step, each = jr.split(key, 1)[0], np.linalg.inv(COVARIANCE)
    pairs = jax.vmap(jr.split)(jr.split(step, n))
    noise = np.asarray(jax.vmap(lambda k: jr.normal(k, (3,)))(pairs[:, 0]))
    dice = np.asarray(jax.vmap(lambda k: jr.uniform(k))(pairs[:, 1]))
    slope = lambda x: -(x - MEAN) @ each
    log_p = lambda x: -np.einsum("ni,ij,nj->n", x - MEAN, each, x - MEAN) / 2
    log_q = lambda to, at: -np.sum((to - at - alpha * slope(at)) ** 2, axis=1) / (4 * alpha)
    there = x + alpha * slope(x) + np.sqrt(2 * alpha) * noise
    chance = np.exp(np.minimum(log_p(there) - log_p(x) + log_q(x, there) - log_q(there, x), 0))
    np.testing.assert_allclose(info.accepted, chance.mean(), rtol=1e-9)
    np.testing.assert_allclose(joined(end), np.where((dice < chance)[:, None], there, x), rtol=1e-9)
    assert 0.1 < np.mean(dice < chance) < 0.95


@pytest.mark.parametrize("start", [1e-3, 3.0])
@pytest.mark.parametrize("target", [0.6, 0.9])
def test_the_step_size_gives_the_share_that_was_asked_for(start, target, key):
    x = jr.normal(key, (400, 5))
    run = jax.jit(
        lambda x, size, target=target: hmc(
            lambda x: -jnp.sum(x**2) / 2, x, steps=160, step_size=size, leapfrog_steps=3,
            target_accept=target, warmup=120, key=key,
        )
    )  # fmt: skip
    assert abs(float(run(x, jnp.asarray(start))[1].accepted) - target) < 0.05


def test_unadjusted_chains_of_a_tree_have_the_variance_of_their_discretisation(key):
    """Each entry is an AR(1) of N(0, 1): 1 / (1 - alpha / 2)."""
    alpha, n = 0.4, 20_000
    wide = 1 / (1 - alpha / 2)
    start = {"a": jr.normal(key, (n,)) * wide**0.5, "b": jr.normal(key, (n, 2)) * wide**0.5}
    log_prob = lambda x: -(x["a"] ** 2 + jnp.sum(x["b"] ** 2)) / 2
    end, _ = jax.jit(lambda x: langevin(log_prob, x, steps=12, step_size=alpha, key=key))(start)
    assert abs(np.var(joined(end)) / wide - 1) < 4 * np.sqrt(2 / (3 * n))
    one, _ = langevin(lambda x: -jnp.sum(x**2) / 2, joined(start), steps=2, step_size=0.1, key=key)
    two, _ = langevin(log_prob, start, steps=2, step_size=0.1, key=key)
    np.testing.assert_allclose(joined(two), one, rtol=1e-12)


def test_a_walk_is_the_same_eagerly_and_compiled_and_goes_on_where_it_ended(key):
    start = drawn(8, key)
    held = functools.partial(hmc, correlated, step_size=0.3, target_accept=None, leapfrog_steps=2)
    whole, info = held(start, steps=6, warmup=2, thin=2, key=key)
    again, same = jax.jit(lambda x: held(x, steps=6, warmup=2, thin=2, key=key))(start)
    np.testing.assert_allclose(joined(whole), joined(again), rtol=1e-9)
    np.testing.assert_allclose(joined(info.draws), joined(same.draws), rtol=1e-9)
    odd, info = held(start, steps=6, warmup=1, thin=2, key=key)
    np.testing.assert_array_equal(joined(odd), joined(whole))
    np.testing.assert_array_equal(joined(info.draws)[-1], joined(whole))
    assert info.step_size == pytest.approx(0.3)


def test_float32_stays_float32(x32):
    x = {"a": jnp.zeros(3), "b": jnp.zeros((3, 2))}
    end, info = hmc(correlated, x, steps=4, step_size=0.1, thin=1, key=jr.key(0))
    assert {leaf.dtype for leaf in jax.tree.leaves((end, info))} == {jnp.dtype(jnp.float32)}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"leapfrog_steps": 0}, "`leapfrog_steps` must be at least 1, got 0"),
        ({"target_accept": 1.0}, "`target_accept` must be between 0 and 1, got 1.0"),
        ({"warmup": 4}, "`warmup` must be 0 or more and below `steps`, 4; got 4"),
        ({"thin": 3}, "`thin` must be between 1 and the 2 steps after the warm-up; got 3"),
        ({"x": {}}, "`x` must hold an array"),
        ({"x": {"a": jnp.ones(2), "b": jnp.ones((3, 2))}}, r"same rows.* 2 in `x\['a'\]`, 3 in"),
        (
            {"x": {"a": jnp.ones(2), "b": jnp.ones((2, 2), jnp.float32)}},
            r"same dtype; got float64 in `x\['a'\]`, float32 in `x\['b'\]`",
        ),
        ({"x": {"a": jnp.ones(2, int), "b": jnp.ones((2, 2))}}, r"`x\['a'\]` must be floating"),
    ],
)
def test_what_makes_no_sense_is_refused(wrong, message, key):
    settings = {"x": {"a": jnp.ones(2), "b": jnp.ones((2, 2))}, "steps": 4, "step_size": 0.1}
    with pytest.raises(ValueError, match=message):
        inspect.unwrap(hmc)(correlated, **{**settings, "key": key, **wrong})


@pytest.mark.parametrize("walk", [hmc, mala, langevin])
def test_a_support_with_an_end_is_refused_with_its_map(walk, key):
    inside = lambda x: jnp.where(x[0] > 0, -x[0], -jnp.inf)
    with pytest.raises(ValueError, match=r"`pullback\.sampling\.SupportMap`"):
        walk(inside, -jnp.ones((2, 1)), steps=2, step_size=0.1, key=key)


@pytest.mark.parametrize("walk", [hmc, mala, langevin])
def test_half_precision_walks_to_the_same_target(walk, x32, key):
    """bfloat16 has 8 bits: a variance may be off by one rounding of its numbers, 2 in 256."""
    x = jnp.zeros((3000, 2), jnp.bfloat16)
    size, steps = (0.05, 120) if walk is langevin else (0.3, 60)
    end, _ = walk(lambda x: -jnp.sum(x**2) / 2, x, steps=steps, step_size=size, key=key)
    assert end.dtype == jnp.bfloat16
    wanted = 1 / (1 - 0.05 / 2) if walk is langevin else 1.0
    values = np.asarray(end, np.float32)
    assert abs(values.var() / wanted - 1) < 4 * np.sqrt(2 / values.size) + 2 / 256
    assert abs(values.mean()) < 4 / np.sqrt(values.size) + 1 / 256
