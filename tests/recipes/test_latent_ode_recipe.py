"""The recipe `latent-ode`: its parts at a tiny size, a table of the user's own, PhysioNet."""

import csv
import os
from pathlib import Path

import jax
import numpy as np
import pytest

from pullback.data import DataError
from pullback.recipes import load
from pullback.recipes._own import latent_ode as _latent_ode_own
from pullback.recipes.latent_ode import models
from pullback.recipes.latent_ode import physionet as _latent_ode_physionet
from pullback.runs import run

OWN = load("latent-ode", own=True)


@pytest.fixture(autouse=True, scope="module")
def small():
    """JAX as it is out of the box."""
    with jax.enable_x64(False), jax.numpy_dtype_promotion("standard"):
        yield


def _run(folder, data):
    return run(OWN, OWN.presets["smoke"], preset="smoke", folder=folder, data=data)


def test_scores_are_taken_where_the_mask_says():
    truth = _series(np.array([[[1.0, 10.0], [2.0, 20.0]]]))
    mask = np.array([[[True, False], [True, True]]])
    mean = truth.values + np.array([[[0.5, 99.0], [-1.0, 2.0]]])
    found = _latent_ode_own._scores(np.stack([mean, mean - 0.7, mean + 0.7]), truth, mask)
    assert found["error"] == pytest.approx((0.25 + 1.0 + 4.0) / 3)
    assert found["coverage"] == pytest.approx(1 / 3)
    np.testing.assert_allclose(found["errors"], [0.625, 4.0])
    assert found["count"] == 3


def test_the_last_value_is_the_last_that_was_seen():
    truth = _series(np.array([[[1.0], [5.0], [2.0], [4.0]]]))
    past = truth._replace(mask=np.array([[[True], [True], [False], [False]]]))
    np.testing.assert_array_equal(models.last_seen(past), [[5.0]])
    nothing = truth._replace(mask=np.zeros_like(truth.mask))
    np.testing.assert_array_equal(models.last_seen(nothing), [[0.0]])
    future = truth.mask & ~past.mask
    assert _latent_ode_own._carried(past, truth, future) == pytest.approx((9.0 + 1.0) / 2)


def _series(values):
    from pullback.data import irregular_series

    times = np.arange(values.shape[1], dtype=float)
    return irregular_series([(times, each) for each in values])


@pytest.fixture
def ward(tmp_path):
    """Twelve patients of two variables, in the long format."""
    random = np.random.default_rng(0)
    path = tmp_path / "ward.csv"
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["patient", "time [h]", "variable", "value"])
        for patient in range(12):
            for hour in np.sort(random.uniform(0, 24, 8)):
                rows.writerow([patient, f"{hour:.3f}", "temperature [degC]", 37 + random.normal()])
                if random.random() < 0.5:
                    rows.writerow([patient, f"{hour:.3f}", "pulse [1/min]", 70 + random.normal()])
    return path


@pytest.mark.slow
def test_a_table_of_ones_own_is_filled_in_and_continued(ward, tmp_path):
    record = _run(tmp_path / "run", data=ward)
    assert len(record["claims"]) == 3
    assert all(np.isfinite(claim["value"]) for claim in record["claims"])
    figures = {path.stem for path in (tmp_path / "run" / "figures").iterdir()}
    assert figures == {"imputation", "forecast"}
    # The file's units are those of the report.
    assert "degC" in (tmp_path / "run" / "contents.json").read_text()


def test_too_few_series_are_an_error(tmp_path):
    path = tmp_path / "few.csv"
    path.write_text("series,time,variable,value\nA,0,x,1\nA,1,x,2\nB,0,x,1\n")
    with pytest.raises(DataError, match="10 series or more"):
        _run(tmp_path / "run", data=path)


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
