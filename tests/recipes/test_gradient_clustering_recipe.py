"""The recipe `gradient-clustering`: its sets of images, and what it measures of them."""

import dataclasses

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from pullback.data import Labelled
from pullback.nn import layer_factors
from pullback.recipes.gradient_clustering import PRESETS, models
from pullback.recipes.gradient_clustering.models import Config

SOURCE = Labelled(
    np.random.default_rng(0).random((400, 3, 3)).astype(np.float32),
    np.arange(400, dtype=np.int32) % 10,
)
CONFIG = dataclasses.replace(Config(), images=200, repeated=5, batch_size=8)


def test_half_is_copies_and_labels_are_drawn():
    kinds = models.kinds(CONFIG)
    plain, copied, wrong = (
        models.images_of(CONFIG, kinds[name], SOURCE, 3)
        for name in ("plain", "duplicates", "wrong")
    )
    assert plain[0].shape == copied[0].shape == (200, 9)
    assert len(np.unique(plain[0], axis=0)) == 200
    rows, counts = np.unique(copied[0], axis=0, return_counts=True)
    assert sorted(counts) == [1] * 100 + [20] * 5
    assert len(rows) == 105
    np.testing.assert_array_equal(plain[0], wrong[0])
    np.testing.assert_array_equal(plain[0][:105], copied[0][np.r_[0:100, 100:200:20]])
    changed = np.mean(np.asarray(plain[1] != wrong[1]))
    assert abs(changed - 0.18) < 4 * np.sqrt(0.18 * 0.82 / 200)
    with pytest.raises(ValueError, match="images must be at most 400, got 500"):
        models.images_of(dataclasses.replace(CONFIG, images=500), kinds["plain"], SOURCE, 3)


@pytest.mark.parametrize(
    "wrong",
    [{"images": 201}, {"images": 4}, {"small_rate": 0.2}, {"snapshots": (5,)}, {"wrong": 1.0}],
)
def test_settings_that_do_not_fit(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        dataclasses.replace(PRESETS["smoke"], **wrong)


def test_what_is_measured_of_duplicates_at_their_own_snapshot():
    config = dataclasses.replace(CONFIG, images=40, repeated=4)
    data = models.images_of(config, models.kinds(config)["duplicates"], SOURCE, 0)
    data = jnp.tile(data[0][20::5], (10, 1)), jnp.tile(data[1][20::5], 10)
    net = eqx.nn.MLP(9, 10, 5, 1, dtype=jnp.float32, key=jr.key(0))
    factors = layer_factors(models.loss, net, data, key=jr.key(0))
    row, strata = models.measured(config, factors, data[1], None, jr.key(1))
    assert np.isnan(row["stale"])
    again, _ = models.measured(config, factors, data[1], (factors, strata), jr.key(2))
    # Four gradients in eight clusters leave nothing; nor does SVRG at its snapshot.
    assert max(again[name] for name in ("fresh", "stale", "svrg")) < 1e-6 * row["uniform"]
    assert again["double"] == pytest.approx(row["uniform"] / 2, rel=1e-5)
