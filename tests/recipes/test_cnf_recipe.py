"""The recipe `cnf`: a whole run, one that is stopped, and a table of the user's own."""

import csv
from typing import Any

import jax
import numpy as np
import pytest

from pullback.data import DataError
from pullback.recipes import cnf, load
from pullback.recipes._kit.gaussian import fitted_gaussian
from pullback.recipes.cnf import models
from pullback.runs import run
from pullback.train._engine import run_chunk

RECIPE = load("cnf")
OWN = load("cnf", own=True)

TINY = cnf.Config(
    points=64, held_out=32, width=4, depth=1, solver_steps=1, iterations=10, batch_size=32, seeds=2,
    grid=11, tolerance=1e-3,
)  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def small():
    """JAX as it is out of the box, and small batches to score in."""
    with (
        pytest.MonkeyPatch.context() as patch,
        jax.enable_x64(False),
        jax.numpy_dtype_promotion("standard"),
    ):
        patch.setattr(models, "_BATCH", 128)
        yield


@pytest.fixture(scope="module")
def whole(small, tmp_path_factory):
    """A run, its folder, and how many programs its training compiled."""
    folder = tmp_path_factory.mktemp("cnf") / "run"
    run_chunk._cached.clear_cache()  # pyright: ignore[reportFunctionMemberAccess]
    record = _run(folder)
    programs = run_chunk._cached._cache_size()  # pyright: ignore[reportFunctionMemberAccess]
    return record, folder, programs


def _run(folder, config=TINY, **options):
    if "data" in options:
        return run(OWN, OWN.config(**vars(config)), preset="smoke", folder=folder, **options)
    return run(RECIPE, config, preset="smoke", folder=folder, **options)


def test_the_gaussian_is_the_one_that_scipy_knows():
    from scipy.stats import multivariate_normal

    fitted_to, x = np.split(np.random.default_rng(0).normal(size=(30, 3)) @ np.triu(np.ones(3)), 2)
    covariance: Any = np.cov(fitted_to.T)
    expected = multivariate_normal(fitted_to.mean(0), covariance).logpdf(x)
    np.testing.assert_allclose(fitted_gaussian(fitted_to, x), expected)


def test_a_run_measures_every_claim_and_shows_every_picture(whole):
    record, folder, _ = whole
    claims = {claim["sentence"]: claim for claim in record["claims"]}
    assert len(claims) == 9
    # What does not need a trained flow holds at any size.
    for start in ("The log-density of a linear", "Log-densities by Hutchinson"):
        assert next(claim["holds"] for name, claim in claims.items() if name.startswith(start))
    assert all(np.isfinite(claim["value"]) for claim in record["claims"])
    assert {path.stem for path in (folder / "figures").iterdir()} == {
        "flow", "densities", "training",
    }  # fmt: skip


def test_all_flows_share_the_programs_that_train_them(whole):
    # One with the exact trace and one with Hutchinson's, whatever the number of seeds and toys.
    assert whole[2] == 2


def test_a_run_that_was_stopped_goes_on_to_the_same_result(whole, tmp_path, monkeypatch):
    def stop(*args, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(cnf, "_scores", stop)
        with pytest.raises(KeyboardInterrupt):
            _run(tmp_path / "cut")
    assert _run(tmp_path / "cut", resume=True)["claims"] == whole[0]["claims"]


def _table(path, values, header):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *values.tolist()])
    return path


def test_a_table_is_scored_in_its_own_units(tmp_path):
    mixing = np.array([[3.0, 1.0], [0.0, 0.5]])
    values = np.random.default_rng(0).normal(size=(200, 2)) @ mixing.T + [10.0, -2.0]
    file = _table(tmp_path / "my.csv", values, ["height, m", "weight"])
    record = _run(tmp_path / "run", data=file)
    assert len(record["claims"]) == 4
    with (tmp_path / "run" / "scores.csv").open() as text:
        scores = list(csv.DictReader(text))
    # Lines of the file: the first is the header.
    assert [int(row["row"]) for row in scores] == list(range(2, 202))
    assert {row["part"] for row in scores} == {"train", "validation", "test"}
    with (tmp_path / "run" / "samples.csv").open() as text:
        header, *samples = list(csv.reader(text))
    assert header == ["height, m", "weight"]
    # A hardly trained flow is near the Gaussian with the columns' own means and deviations.
    flat = -np.sum(((values - values.mean(0)) / values.std(0)) ** 2, axis=1) / 2
    flat -= np.log(2 * np.pi * values.std(0).prod())
    found = np.array([float(row["log_prob"]) for row in scores])
    assert abs(np.mean(found - flat)) < 0.2
    np.testing.assert_allclose(np.mean(np.array(samples, float), 0), values.mean(0), atol=1.0)


@pytest.mark.slow
def test_a_table_of_many_columns_has_no_mass(tmp_path):
    file = _table(
        tmp_path / "my.csv", np.random.default_rng(0).normal(size=(50, 6)), list("abcdef")
    )
    assert len(_run(tmp_path / "run", data=file)["claims"]) == 3


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.ones((50, 1)), "expected two or more columns"),
        (np.random.default_rng(0).normal(size=(5, 2)), "expected 40 rows or more"),
        (np.arange(100.0).reshape(50, 2) * [1, 0], "column 'b' is 0 in every row"),
    ],
)
def test_a_table_that_cannot_be_fitted_is_refused(tmp_path, values, message):
    file = _table(tmp_path / "my.csv", values, list("ab"[: values.shape[1]]))
    with pytest.raises(DataError, match=message):
        _run(tmp_path / "run", data=file)


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="seeds must be at least 1, got 0"):
        cnf.Config(seeds=0)
