"""The recipe `latent-sde`: a whole run, one that is stopped, the Lorenz system, and walks."""

import dataclasses

import jax
import numpy as np
import pytest

from pullback.data import DataError
from pullback.recipes import latent_sde, load
from pullback.recipes.latent_sde import points as _latent_sde_points
from pullback.runs import run

RECIPE = load("latent-sde")

# Slow: trains every part of the recipe; `make test-slow` runs it.
pytestmark = pytest.mark.slow

TINY = dataclasses.replace(
    RECIPE.presets["smoke"],
    iterations=4,
    scored=128,
)


@pytest.fixture(autouse=True, scope="module")
def plain():
    """JAX as it is out of the box."""
    with jax.enable_x64(False), jax.numpy_dtype_promotion("standard"):
        yield


def _run(folder, **options):
    return run(RECIPE, options.pop("config", TINY), preset="smoke", folder=folder, **options)


@pytest.fixture(scope="module")
def whole(plain, tmp_path_factory):
    folder = tmp_path_factory.mktemp("latent-sde") / "run"
    return _run(folder), folder


def test_a_run_measures_every_claim_and_shows_every_picture(whole):
    record, folder = whole
    claims = {claim["sentence"]: claim for claim in record["claims"]}
    assert len(claims) == 12
    assert all(np.isfinite(claim["value"]) for claim in record["claims"])
    # What does not need a trained model holds at any size.
    for start in ("Gradients by the stochastic", "Memory of a gradient by the stochastic"):
        assert next(claim["holds"] for name, claim in claims.items() if name.startswith(start))
    assert {path.stem for path in (folder / "figures").iterdir()} == {
        "bands", "bounds", "gradients",
    }  # fmt: skip


def test_a_run_that_was_stopped_goes_on_to_the_same_result(whole, tmp_path, monkeypatch):
    def stop(*args, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(_latent_sde_points, "measure", stop)
        with pytest.raises(KeyboardInterrupt):
            _run(tmp_path / "cut")
    assert _run(tmp_path / "cut", resume=True)["claims"] == whole[0]["claims"]


def test_the_exact_numbers_are_those_of_the_points():
    drawn = _latent_sde_points.points(3)
    seen = np.asarray(drawn.observed.mask[0, :, 0])
    np.testing.assert_array_equal(drawn.observed.times[0, seen], drawn.times)
    np.testing.assert_allclose(drawn.times, _latent_sde_points.SEEN, rtol=1e-6)
    # The points scatter about the cosine by the noise that the likelihood has.
    many = np.stack([np.asarray(_latent_sde_points.points(s).values) for s in range(200)])
    wrong = many - np.cos(2 * np.pi * np.array(_latent_sde_points.SEEN))
    assert abs(wrong.std() / _latent_sde_points.NOISE - 1) < 4 / np.sqrt(2 * wrong.size)


def test_the_lorenz_system_runs(tmp_path):
    lorenz = load("latent-sde/lorenz")
    config = lorenz.config(series=8, iterations=2, batch_size=4, width=4)
    record = run(lorenz, config, preset="smoke", folder=tmp_path / "run")
    assert len(record["claims"]) == 2
    assert (tmp_path / "run" / "figures" / "prior.png").exists()


@pytest.mark.slow
def test_walks_are_scored_in_their_own_units(tmp_path):
    generator = np.random.default_rng(0)
    time = np.arange(300)
    folder = tmp_path / "mocap35"
    folder.mkdir()
    sets = {}
    for name, n in (("Xtr", 16), ("Xval", 3), ("Xtest", 4)):
        phase = generator.uniform(0, 2 * np.pi, (n, 1, 50))
        sets[name] = 20 * np.sin(2 * np.pi * time[None, :, None] / 150 + phase)
    np.savez(folder / "mocap35.npz", **sets)
    mocap = load("latent-sde/mocap")
    config = mocap.config(iterations=2, weights=(1.0,), samples=2)
    walk = lambda name, data: run(mocap, config, preset="smoke", folder=tmp_path / name, data=data)
    record = walk("run", tmp_path)
    error = record["claims"][0]["value"]
    # A model that is hardly trained predicts about zero: half the square of the amplitude.
    assert 100 < error < 400
    with pytest.raises(DataError):
        walk("other", tmp_path / "mocap35" / "nothing")


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="seeds must be at least 1, got 0"):
        latent_sde.Config(seeds=0)
    with pytest.raises(ValueError, match="importance must be divisors of 4096, got"):
        latent_sde.Config(importance=(1, 3))
