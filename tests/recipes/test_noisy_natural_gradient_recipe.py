"""The recipe `noisy-natural-gradient`: its own arithmetic."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from pullback.recipes.noisy_natural_gradient import PRESETS, Config, car, measure, models, uci


def test_patients_are_split_and_scaled_by_those_to_learn_from():
    rows = measure.patients(Config(), 3)
    assert rows.x.shape == (150, 10)
    assert rows.test_x.shape == (292, 10)
    np.testing.assert_allclose(rows.x.mean(axis=0), 0, atol=1e-5)
    assert rows.y.std() == pytest.approx(1, rel=1e-5)
    assert rows.unit > 50


def test_most_rows_of_the_pool_lie_in_a_corner():
    config = dataclasses.replace(Config(), pool=100)
    rows, even = (measure.friedman(config, 0, crowded=crowded) for crowded in (True, False))
    spread = lambda rows: rows.x[np.arange(100) % 10 > 0].std(axis=0) / rows.test_x.std(axis=0)
    assert (spread(rows) < 0.5).all()
    assert (abs(spread(even) - 1) < 0.2).all()
    assert len(rows.test_y) == len(even.test_y) == 1000


def test_a_factorised_posterior_draws_each_weight_for_itself():
    net = models.network(2, 3, jr.key(0))
    narrow = jax.tree.map(lambda a: jnp.full_like(a, -20) if eqx.is_array(a) else a, net)
    drawn = models.Factorised(net, narrow).draw(jr.key(1))
    np.testing.assert_allclose(drawn.layers[0].weight, net.layers[0].weight, atol=1e-6)


def test_a_likelihood_with_a_learned_scale():
    law = uci.likelihood((jnp.asarray(1.0), jnp.log(jnp.asarray(2.0))))
    assert float(law.log_prob(1.0)) == pytest.approx(-np.log(2 * np.sqrt(2 * np.pi)))


@pytest.mark.parametrize(
    "settings", [{"train": 442}, {"batch_size": 200}, {"pool": 30}], ids=lambda s: next(iter(s))
)
def test_settings_that_do_not_fit_are_refused(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        dataclasses.replace(PRESETS["desk"], **settings)


def test_a_car_without_force_rolls_back_and_is_too_weak_for_the_hill():
    rest = jnp.asarray([-np.pi / 6, 0.0], jnp.float32)
    np.testing.assert_allclose(car.move(rest, jnp.float32(0)), rest, atol=1e-4)
    state = jnp.asarray([-0.5, 0.0], jnp.float32)
    places = [float((state := car.move(state, jnp.float32(1)))[0]) for _ in range(20)]
    assert max(places) < car.GOAL
    assert min(places) > -1.2
