"""The recipe `latent-ode`: its parts at a tiny size, and PhysioNet."""

import os
from pathlib import Path

import jax
import numpy as np
import pytest

from pullback.data import DataError
from pullback.recipes import load
from pullback.recipes.latent_ode import physionet as _latent_ode_physionet
from pullback.runs import run


@pytest.fixture(autouse=True, scope="module")
def small():
    """JAX as it is out of the box."""
    with jax.enable_x64(False), jax.numpy_dtype_promotion("standard"):
        yield


def _series(values):
    from pullback.data import irregular_series

    times = np.arange(values.shape[1], dtype=float)
    return irregular_series([(times, each) for each in values])


def test_the_papers_average_is_over_features_of_stays():
    error = np.array([[[1.0, 3.0, 9.0], [2.0, 0.0, 9.0]]])
    mask = np.array([[[True, True, False], [True, False, False]]])
    found = _latent_ode_physionet._averaged_as_in_the_paper(error, mask)
    assert found == pytest.approx(((1 + 4) / 2 + 9 + 0) / 3)


def test_the_papers_scale_is_the_greatest_value_of_all_stays():
    from pullback.data import rescale_series

    raw = _series(np.array([[[4.0, 7.0], [1.0, 7.0]], [[2.0, 7.0], [8.0, 7.0]]]))
    whole = raw.take(np.array([0])), raw.take(np.array([1]))
    (_, scaled), scaler = rescale_series(*whole, method="min-max")
    error = (0.3 - scaled.values) * _latent_ode_physionet._scale_in_paper(
        scaler.values.scale, *whole
    )
    said = scaler.values.undo(np.full(2, 0.3))
    paper = lambda x: (x - [1.0, 7.0]) / [8.0, 7.0]
    np.testing.assert_allclose(error, paper(said) - paper(whole[1].values), rtol=1e-12)


PHYSIONET = Path(os.environ.get("PULLBACK_DATA", "data")) / "physionet2012"


@pytest.mark.slow
@pytest.mark.skipif(not PHYSIONET.exists(), reason="PULLBACK_DATA has no physionet2012")
def test_physionet_runs_from_its_folder_or_the_one_above(tmp_path):
    recipe = load("latent-ode/physionet")
    record = run(
        recipe, recipe.presets["smoke"], preset="smoke", folder=tmp_path / "run", data=PHYSIONET
    )
    assert recipe.reads(PHYSIONET) == recipe.reads(PHYSIONET.parent)
    with pytest.raises(DataError, match="not found"):
        recipe.reads(tmp_path)
    assert len(record["claims"]) == 3
    assert all(np.isfinite(claim["value"]) for claim in record["claims"])
