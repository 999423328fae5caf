"""The recipe `implicit-bias`: its own arithmetic."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pullback.recipes.implicit_bias import Config, measure, models


def test_a_long_series_comes_to_the_least_of_all_solutions_and_a_short_one_solves_too():
    of = measure.problem(3)
    b, c, t = (np.asarray(each) for each in (of.b, of.c, of.t))
    for terms in (0, 2, 1000):
        np.testing.assert_allclose(c @ b @ measure.closed_form(of, terms), t, atol=1e-12)
    np.testing.assert_allclose(measure.closed_form(of, 1000), measure.least(of), atol=1e-12)
    assert np.linalg.norm(measure.closed_form(of, 0)) > 1.01 * np.linalg.norm(measure.least(of))
    # Steps of one are stable in both losses.
    np.testing.assert_allclose(np.linalg.eigvalsh(of.m)[[0, -1]], [0.2, 1.0])
    np.testing.assert_allclose(np.linalg.norm(c @ b, 2), 1.0)


def test_the_decay_is_half_of_the_squares_of_all_weights(key):
    model = models.eqx.nn.MLP(4, 10, 3, 1, key=key)
    hyper = {"images": jnp.ones((10, 4)), "labels": 5 * jnp.eye(10)}
    plain, more = (
        float(models.Inner(jnp.asarray(decay))(model, hyper, None, key=key)[0])
        for decay in (0.0, 0.3)
    )
    squares = sum(
        float(jnp.sum(leaf**2)) for leaf in jax.tree.leaves(model) if hasattr(leaf, "ndim")
    )
    assert more - plain == pytest.approx(0.15 * squares, rel=1e-9)


def test_the_decays_are_those_of_the_last_warm_start():
    found = models.ways(dataclasses.replace(Config(), decays=(0.02, 0.2)))
    assert [*found] == [
        "warm, 5 steps", "warm, 50 steps", "cold", "warm, 50 steps, decay 0.02",
        "warm, 50 steps, decay 0.2",
    ]  # fmt: skip
    assert [way.cold for way in found.values()] == [False, False, True, False, False]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"seeds": 0}, "seeds must be at least 1, got 0"),
        ({"warm_terms": (5,)}, "warm_terms must be 2 numbers from 0, one for each of warm_steps"),
        ({"decays": (0.1, 0.01)}, "decays must be 1 or more numbers that rise, above 0"),
        ({"terms": (3,)}, "terms must be 2 or more numbers that rise"),
    ],
)
def test_a_configuration_that_makes_no_sense_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(Config(), **wrong)
