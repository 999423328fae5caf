"""The recipe `latent-sde`: its points, the Lorenz system, and walks."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pullback import ode
from pullback.models import timeseries as ts
from pullback.recipes import latent_sde, load
from pullback.recipes.latent_sde import gradients, points, walkers
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


def test_a_walk_is_entered_at_its_frame_and_what_is_past_its_end_is_not_scored():
    walks = np.random.default_rng(0).normal(size=(2, 20, 4)).astype(np.float32)
    observed, target, _ = walkers.entered(jnp.asarray(walks), jnp.array([0, 8]), 4)
    for row, start in enumerate((0, 8)):
        left = walks[row, start::4]
        np.testing.assert_array_equal(observed.values[row], walks[row, start : start + 3])
        np.testing.assert_array_equal(target.values[row, : len(left)], left)
        scored = np.arange(5) < len(left)
        np.testing.assert_array_equal(target.mask[row], np.tile(scored[:, None], 4))
        np.testing.assert_allclose(observed.times[row], [0.0, 0.1, 0.2], rtol=1e-6)
        np.testing.assert_allclose(target.times[row], 0.4 * np.arange(5), rtol=1e-6)


def test_predictions_between_the_frames_of_the_path_lie_on_a_line():
    class Line(eqx.Module):
        """Says of every angle the number of the frame."""

        likelihood: ts.Normal

        def paths(self, observed, times, *, samples, keys):
            said = jnp.broadcast_to(10 * times[None, :, :, None], (samples, *times.shape, 4))
            zero = jnp.zeros(times.shape[0], int)
            return said, ode.Solution(times, None, ode.Stats(zero, zero, zero), zero, times[:, -1])

    line = Line(ts.Normal(1.0))
    said = walkers.predicted(line, jnp.zeros((2, 20, 4)), 7, 3, jax.random.key(0))
    wanted = np.broadcast_to(np.arange(3.0, 20.0)[:, None], (3, 2, 17, 4))
    np.testing.assert_allclose(said, wanted, rtol=1e-5)


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
    with pytest.raises(ValueError, match="samples must be at least 2"):
        load("latent-sde/mocap").config(samples=1)
