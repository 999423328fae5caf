"""The recipe `latent-sde`: its points, the Lorenz system, and walks."""

import jax
import numpy as np
import pytest

from pullback.recipes import latent_sde, load
from pullback.recipes.latent_sde import gradients, points
from pullback.runs import run


@pytest.fixture(autouse=True, scope="module")
def plain():
    """JAX as it is out of the box."""
    with jax.enable_x64(False), jax.numpy_dtype_promotion("standard"):
        yield


def test_gradients_come_near_the_closed_form_at_the_order_of_heuns_method():
    ((few, many),) = gradients.errors([0], (8, 32), 4)
    assert np.max(few) < 0.5
    assert np.min(few / many) > 2.5


def test_the_points_scatter_about_the_cosine_by_the_noise_of_the_likelihood():
    drawn = points.points(3)
    seen = np.asarray(drawn.mask[0, :, 0])
    np.testing.assert_allclose(drawn.times[0, seen], points.SEEN, rtol=1e-6)
    np.testing.assert_allclose(points.QUERY[points.ASKED], (0.0, 0.4, 1.0, 1.5, 2.0), rtol=1e-12)
    many = np.stack([np.asarray(points.points(s).values)[0, seen, 0] for s in range(200)])
    wrong = many - np.cos(2 * np.pi * np.array(points.SEEN))
    assert abs(wrong.std() / points.NOISE - 1) < 4 / np.sqrt(2 * wrong.size)


@pytest.mark.slow
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
    config = mocap.config(seeds=1, iterations=2, stride=30, samples=2)
    record = run(mocap, config, preset="smoke", folder=tmp_path / "run", data=tmp_path)
    # A model that is hardly trained predicts about zero: half the square of the amplitude.
    assert 100 < record["claims"][1]["value"] < 400


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="memory_steps must be 2 or more numbers that rise"):
        latent_sde.Config(memory_steps=(4, 4))
