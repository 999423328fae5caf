"""The recipe `evidence-chains`: the ratings that it draws, and how newcomers are judged."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from pullback.models.recommenders import fit_biases
from pullback.recipes.evidence_chains import PRESETS, Config, models, movielens


def test_items_and_newcomers_are_those_of_every_number_of_users():
    few, many = (models.world(Config(), users, 4) for users in (300, 1200))
    np.testing.assert_array_equal(few.items, many.items)
    np.testing.assert_array_equal(few.values, many.values)
    assert few.items.shape == (80, 40)
    assert all(len(set(row)) == 40 for row in few.items.tolist())
    for world, users in ((few, 300), (many, 1200)):
        count = round(0.145 * users * 200)
        assert len(world.train.values) + len(world.test.values) == count
        world.train.checked()
        counts = world.train.counts[0]
        assert counts.max() > 3 * np.median(counts) / 2


def test_the_noise_is_what_the_factors_leave():
    """Rows of many ratings lie in four dimensions, but for the noise."""
    config = dataclasses.replace(Config(), density=0.9, noise=0.1, items=60)
    train = models.world(config, 300, 0).train
    left = []
    for user in range(20):
        mine = train.take(train.users == user)
        left.append(mine.values.var())
    assert 0.5 < np.mean(left) < 2.0  # of u.v / sqrt 3


def test_newcomers_are_judged_by_their_last_ratings():
    of = models.world(PRESETS["smoke"], 24, 0)
    biases = fit_biases(of.train)
    found = models.newcomers(biases, of.items, of.values, (1, 20))
    for error, count in zip(found, (1, 20), strict=True):
        left = []
        for items, values in zip(of.items, of.values, strict=True):
            row = biases.embed(jnp.asarray(items[:count]), jnp.asarray(values[:count]))
            left.append(np.asarray(biases.rate(row, jnp.asarray(items[-20:]))) - values[-20:])
        np.testing.assert_allclose(error, np.sqrt(np.mean(np.square(left))), rtol=1e-5)


def test_new_users_of_movielens_are_judged_by_what_comes_after_the_first():
    of = models.world(PRESETS["smoke"], 24, 0)
    biases = fit_biases(of.train)
    test = of.train._replace(values=np.clip(np.round(of.train.values), 1, 5))
    [error] = movielens.new_users(biases, test, (3,), 0)
    left, order = [], np.random.default_rng(0).permutation(len(test.values))
    for user in range(24):
        rows = [i for i in order if test.users[i] == user]
        if len(rows) > 3:
            row = biases.embed(
                jnp.asarray(test.items[rows[:3]]), jnp.asarray(test.values[rows[:3]])
            )
            rest = np.asarray(biases.rate(row, jnp.asarray(test.items[rows[3:]])))
            left.append(np.clip(rest, 1, 5) - test.values[rows[3:]])
    np.testing.assert_allclose(error, np.sqrt(np.mean(np.concatenate(left) ** 2)), rtol=1e-5)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"users": (300,)}, "users must be 2 or more numbers that rise"),
        ({"shown": (1, 5, 20)}, "shown must hold 2, 10 and 20"),
        ({"density": 1.5}, "density must be between 0 and 1"),
        ({"generators": ("ridge", "gru", "mlp")}, "generators must be three of"),
        ({"seeds": 0}, "seeds must be at least 1"),
    ],
)
def test_a_configuration_that_makes_no_sense_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(Config(), **wrong)
