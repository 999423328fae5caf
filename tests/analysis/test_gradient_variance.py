"""Variances of batches against enumeration of all draws, on gradients and on their factors."""

import itertools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from pullback.analysis import gradient_variance, normalised_variance
from pullback.nn import layer_factors

KEY = jr.key(0)


@pytest.fixture(autouse=True)
def _double():
    with jax.enable_x64(True):
        yield


def rows(count, width, seed=0):
    return np.random.default_rng(seed).normal(size=(count, width)) + 0.3


def spread(estimates):
    return ((estimates - estimates.mean(axis=0)) ** 2).sum(axis=1).mean()


@pytest.mark.parametrize("batch_size", [1, 2, 3])
def test_uniform_batches_are_those_of_all_draws(batch_size):
    gradients = rows(5, 3)
    draws = itertools.product(range(5), repeat=batch_size)
    wanted = spread(np.stack([gradients[list(draw)].mean(axis=0) for draw in draws]))
    found = gradient_variance(jnp.asarray(gradients), batch_size=batch_size)
    np.testing.assert_allclose(found, wanted, rtol=1e-12)
    draws = itertools.combinations(range(5), batch_size)
    wanted = spread(np.stack([gradients[list(draw)].mean(axis=0) for draw in draws]))
    found = gradient_variance(jnp.asarray(gradients), batch_size=batch_size, replacement=False)
    np.testing.assert_allclose(found, wanted, rtol=1e-12)


@pytest.mark.parametrize("per_stratum", [1, 2])
def test_strata_are_those_of_all_draws(per_stratum):
    gradients, strata = rows(6, 3), np.asarray([4, 7, 7, 4, 9, 7])
    members = [np.flatnonzero(strata == k) for k in (4, 7, 9)]
    of_each = [list(itertools.product(rows, repeat=per_stratum)) for rows in members]
    estimates = [
        sum(len(rows) / 6 * gradients[list(some)].mean(axis=0)
            for rows, some in zip(members, draw, strict=True))
        for draw in itertools.product(*of_each)
    ]  # fmt: skip
    call = lambda g: gradient_variance(
        g, batch_size=3 * per_stratum, estimator="stratified", strata=jnp.asarray(strata)
    )
    for found in (call(jnp.asarray(gradients)), jax.jit(call)(jnp.asarray(gradients))):
        np.testing.assert_allclose(found, spread(np.stack(estimates)), rtol=1e-12)


def test_the_law_of_total_variance_and_where_it_helps_nothing():
    gradients, strata = rows(12, 3), np.arange(12) % 3
    means = np.stack([gradients[strata == k].mean(axis=0) for k in range(3)])[strata]
    within, between = ((gradients - means) ** 2).sum() / 12, spread(means)
    uniform = gradient_variance(jnp.asarray(gradients), batch_size=3)
    np.testing.assert_allclose(uniform, (within + between) / 3, rtol=1e-12)
    # Strata of one size take as many of each as their size says: never worse.
    of = lambda g, strata: gradient_variance(
        jnp.asarray(g), batch_size=len(set(strata.tolist())), estimator="stratified",
        strata=jnp.asarray(strata),
    )  # fmt: skip
    np.testing.assert_allclose(of(gradients, strata), within / 3, rtol=1e-12)
    # One of each where sizes differ can be worse than none at all.
    uneven = np.asarray([0, 1, *[2] * 10])
    alike = rows(12, 3)
    assert of(alike, uneven) > 1.5 * gradient_variance(jnp.asarray(alike), batch_size=3)


def squared(net, batch, *, key):
    x, y = batch
    return jnp.mean((jax.vmap(net)(x) - y) ** 2), {}


class Image(eqx.Module):
    first: eqx.nn.Conv2d
    scale: jax.Array
    last: eqx.nn.Linear

    def __init__(self, *, key):
        keys = jr.split(key)
        self.first = eqx.nn.Conv2d(1, 2, 2, key=keys[0])
        self.scale = jnp.asarray(1.5)
        self.last = eqx.nn.Linear(12, "scalar", use_bias=False, key=keys[1])

    def __call__(self, x):
        return self.last(jnp.tanh(self.first(x)).ravel() * self.scale)


CASES = {
    "dense": lambda key: eqx.nn.MLP(12, "scalar", 5, 1, key=key),
    "convolutions": lambda key: Image(key=key),
}


def factored(name, key, scale=1.0):
    x = jnp.asarray(rows(9, 12))
    x = x.reshape(9, 1, 3, 4) if name == "convolutions" else x
    loss = lambda net, batch, *, key: (scale * squared(net, batch, key=key)[0], {})
    return layer_factors(loss, CASES[name](key), (x, jnp.asarray(rows(9, 1)[:, 0])), key=KEY)


def flat(factors):
    leaves = jax.tree.leaves(factors.gradients())
    return np.concatenate([np.asarray(leaf).reshape(9, -1) for leaf in leaves], axis=1)


@pytest.mark.parametrize("name", CASES)
def test_factors_give_what_gradients_give(name):
    now, then = factored(name, jr.key(0)), factored(name, jr.key(1))
    tree, before = now.gradients(), then.gradients()
    strata = jnp.arange(9) % 2
    calls: list[dict[str, Any]] = [
        {},
        {"replacement": False},
        {"estimator": "stratified", "strata": strata},
        {"estimator": "svrg", "snapshot": (then, before)},
    ]
    for settings in calls:
        one, other = settings.pop("snapshot", (None, None))
        by_factors = gradient_variance(now, batch_size=4, snapshot=one, **settings)
        formed = gradient_variance(tree, batch_size=4, snapshot=other, **settings)
        np.testing.assert_allclose(by_factors, formed, rtol=1e-10)
        again = jax.jit(
            lambda now, one, settings=settings: gradient_variance(
                now, batch_size=4, snapshot=one, **settings
            )
        )(now, one)
        np.testing.assert_allclose(again, formed, rtol=1e-10)
    wanted = spread(flat(now) - flat(then)) / 4
    found = gradient_variance(now, batch_size=4, estimator="svrg", snapshot=then)
    np.testing.assert_allclose(found, wanted, rtol=1e-10)
    here = gradient_variance(now, batch_size=4, estimator="svrg", snapshot=now)
    assert float(here) < 1e-12 * spread(flat(now))


def test_noise_over_signal_is_told_from_all_draws_and_knows_no_units():
    gradients = flat(factored("dense", KEY))
    signal = (gradients.mean(axis=0) ** 2).sum()
    for replacement in (True, False):
        settings = {"batch_size": 3, "replacement": replacement}
        noise = gradient_variance(jnp.asarray(gradients), **settings)
        found = normalised_variance(factored("dense", KEY), **settings)
        np.testing.assert_allclose(found, noise / signal, rtol=1e-10)
        scaled = normalised_variance(factored("dense", KEY, 1e3), **settings)
        np.testing.assert_allclose(scaled, found, rtol=1e-10)
        tracing = jax.jit(lambda f, settings=settings: normalised_variance(f, **settings))
        np.testing.assert_allclose(tracing(factored("dense", KEY)), found, rtol=1e-10)
    draws = np.stack(
        [gradients[list(d)].mean(axis=0) for d in itertools.product(range(9), repeat=3)]
    )
    each = draws.var(axis=0) / ((draws**2).mean(axis=0) + 1e-7)
    found = normalised_variance(factored("dense", KEY), batch_size=3, per_coordinate=True)
    np.testing.assert_allclose(found, each.mean(), rtol=1e-10)


def test_no_signal_and_no_noise():
    opposed = jnp.asarray([[1.0, 2.0], [-1.0, -2.0]])
    assert normalised_variance(opposed, batch_size=2) == np.inf
    assert normalised_variance(jnp.ones((4, 2)), batch_size=2) < 1e-15
    assert gradient_variance(jnp.zeros((4, 2)), batch_size=2) == 0
    assert gradient_variance(jnp.ones((1, 2)), batch_size=1, replacement=False) == 0
    assert gradient_variance(jnp.asarray(rows(4, 2)), batch_size=4, replacement=False) == 0
    with pytest.raises(ValueError, match="all gradients are zero"):
        normalised_variance(jnp.zeros((4, 2)), batch_size=2)
    assert normalised_variance(jnp.zeros((4, 2)), batch_size=2, per_coordinate=True) == 0
    call = jax.jit(lambda g: normalised_variance(g, batch_size=2))
    assert np.isnan(call(jnp.zeros((4, 2))))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, "`batch_size` must be 1 or more"),
        ({"batch_size": 7, "replacement": False}, "at most the number of examples, 6"),
        ({"estimator": "other"}, "must be 'uniform', 'stratified' or 'svrg'"),
        ({"estimator": "stratified"}, "`strata` belongs to estimator='stratified'"),
        ({"estimator": "svrg"}, "`snapshot` belongs to estimator='svrg'"),
        ({"snapshot": jnp.ones((6, 2))}, "`snapshot` belongs to"),
        ({"strata": jnp.zeros(6, int)}, "`strata` belongs to"),
        ({"estimator": "stratified", "strata": jnp.arange(6) % 4}, "multiple of the 4 strata"),
        ({"estimator": "stratified", "strata": jnp.arange(5)}, "for each of the 6 examples"),
        ({"estimator": "stratified", "strata": jnp.arange(6.0)}, "must be a whole number"),
        ({"estimator": "stratified", "strata": jnp.zeros(6, int), "replacement": False}, "leave"),
        ({"estimator": "svrg", "snapshot": jnp.ones((6, 3))}, "of the same examples"),
        ({"gradients": jnp.full((6, 2), jnp.nan)}, "not finite"),
    ],
)
def test_wrong_arguments(arguments, message):
    whole = {"gradients": jnp.asarray(rows(6, 2)), "batch_size": 2, **arguments}
    with pytest.raises(ValueError, match=message):
        gradient_variance(whole.pop("gradients"), **whole)


def test_a_program_says_nan_of_strata_that_do_not_fit():
    call = jax.jit(
        lambda g, strata: gradient_variance(g, batch_size=2, estimator="stratified", strata=strata)
    )
    assert np.isnan(call(jnp.asarray(rows(6, 2)), jnp.arange(6) % 4))
    with pytest.raises(ValueError, match="not finite"):
        normalised_variance(jnp.full((6, 2), jnp.inf), batch_size=2)


def test_a_large_mean_leaves_the_digits_of_the_variance():
    rows = jnp.asarray([[1.0], [3.0]], jnp.float32) + 1e4
    assert gradient_variance(rows, batch_size=1).item() == 1.0


@pytest.mark.parametrize("batch_size", [1.5, True, "2"])
def test_a_batch_has_a_whole_number_of_examples(batch_size):
    with pytest.raises(TypeError, match="must be a whole number"):
        gradient_variance(jnp.asarray([[1.0], [3.0]]), batch_size=batch_size)
