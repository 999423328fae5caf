"""The recipe `fit`: its own arithmetic."""

import dataclasses
import os
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from pullback import data
from pullback.recipes import load
from pullback.recipes.fit import models, physionet
from pullback.runs import run

NAN = np.nan


def test_the_exact_filter_says_the_label_as_well_as_its_probabilities_do():
    """The mean log-loss of the filter is that of what it says, were the labels drawn from that."""
    series = data.switching_state(60, points=30, seed=0)
    assert series.law is not None
    predictor, _ = models.exact(series.law)
    x, y = jnp.asarray(series.x), jnp.asarray(series.y)
    loss, _ = eqx.filter_jit(models.label_loss)(predictor, (x, y), key=jr.key(0))
    chance = series.probability
    # The state is nearly known: hardly worse than one who knows it.
    entropy = -(chance * np.log(chance) + (1 - chance) * np.log(1 - chance))
    error = np.std(-np.log(np.where(series.y == 1, chance, 1 - chance))) / chance.size**0.5
    assert entropy.mean() - 4 * error < float(loss) < entropy.mean() + 4 * error + 0.05


@pytest.mark.parametrize("delay", [0, models.LATE])
def test_a_threshold_says_the_label_of_spikes_exactly(delay):
    series = data.threshold_spikes(200, height=models.HEIGHT, delay=delay, seed=0)
    predictor, _ = models.spiked(series.x, delay)
    run = lambda x: jax.lax.scan(lambda *at: predictor.step(*at), predictor.start(), x)[1]
    logits = jax.jit(jax.vmap(run))(jnp.asarray(series.x))
    np.testing.assert_array_equal(np.argmax(logits, axis=-1), series.y)


def test_a_measurement_is_taken_away_with_what_came_after_it_of_its_variable():
    x = np.array([[[1.0, 5.0], [2.0, NAN], [3.0, 6.0], [4.0, 7.0]]])
    scores = np.array([[[9.0, 0.0], [1.0, NAN], [0.5, 8.0], [0.0, 0.0]]])
    found = physionet.without(x, scores, 0.2, 0)  # 2 of 7
    want = [[[NAN, 5.0], [NAN, NAN], [NAN, NAN], [NAN, NAN]]]
    np.testing.assert_array_equal(found, want)
    found = physionet.without(x, scores, 0.2, 1)  # 1 of 5
    np.testing.assert_array_equal(found[0, :, 0], x[0, :, 0])
    np.testing.assert_array_equal(found[0, :, 1], [5.0, NAN, NAN, NAN])


def test_the_black_box_sees_what_was_measured_so_far():
    x = np.array([[[1.0, NAN], [NAN, NAN], [4.0, NAN], [NAN, NAN]]])
    value, _, mean, _, least, _, most, _, count, none, age, _ = physionet.summaries(x)[0]
    assert (value, mean, least, most, count, none, age) == (4.0, 2.5, 1.0, 4.0, 2, 0, 1)
    assert np.isnan(physionet.summaries(x)[0, [1, 3, 5, 7, 11]]).all()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"removed": (0.1, 0.2)}, "removed must hold 0.05"),
        ({"fitted": (12, 49)}, "fitted must"),
        ({"first": 48}, "first must be between 0 and 48"),
    ],
)
def test_a_configuration_that_makes_no_sense_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(physionet.Config(), **wrong)


PHYSIONET = Path(os.environ.get("PULLBACK_DATA", "data")) / "physionet2012"


@pytest.mark.slow
@pytest.mark.skipif(not PHYSIONET.exists(), reason="PULLBACK_DATA has no physionet2012")
def test_physionet_runs(tmp_path):
    recipe = load("fit/physionet")
    record = run(
        recipe, recipe.presets["smoke"], preset="smoke", folder=tmp_path / "run", data=PHYSIONET
    )
    assert len(record["claims"]) == 2
    assert all(np.isfinite(claim["value"]) for claim in record["claims"])
