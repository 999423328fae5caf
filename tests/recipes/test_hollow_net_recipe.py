"""The recipe `hollow-net`: a whole run, one that is stopped, and what it measures."""

import jax
import numpy as np
import pytest

from pullback.recipes import hollow_net, load
from pullback.runs import run
from pullback.train._engine import run_chunk

RECIPE = load("hollow-net")

# Slow: trains every part of the recipe; `make test-slow` runs it.
pytestmark = pytest.mark.slow

TINY = hollow_net.Config(
    seeds=2, width=8, features=1, inner=4, solver_steps=1, score_steps=(1, 2), iterations=4,
    batch_size=16, dims=(2, 3), cost_batch=2, cost_turns=1, stiff_dim=4, root_steps=5,
)  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def small():
    """JAX as it is out of the box."""
    with jax.enable_x64(False), jax.numpy_dtype_promotion("standard"):
        yield


@pytest.fixture(scope="module")
def whole(small, tmp_path_factory):
    """A run, its folder, and how many programs its training compiled."""
    folder = tmp_path_factory.mktemp("hollow-net") / "run"
    run_chunk._cached.clear_cache()  # pyright: ignore[reportFunctionMemberAccess]
    record = _run(folder)
    programs = run_chunk._cached._cache_size()  # pyright: ignore[reportFunctionMemberAccess]
    return record, folder, programs


def _run(folder, **options):
    return run(RECIPE, TINY, preset="smoke", folder=folder, **options)


def test_a_run_measures_every_claim_and_shows_every_picture(whole):
    record, folder, _ = whole
    claims = record["claims"]
    assert len(claims) == 11
    assert all(np.isfinite(claim["value"]) for claim in claims)
    # What needs no trained flow and no clock holds at any size.
    for start in ("The divergence is", "Its gradients", "Field and", "On a stiff", "There, func"):
        assert next(c["holds"] for c in claims if c["sentence"].startswith(start)), start
    assert {path.stem for path in (folder / "figures").iterdir()} == {
        "cost", "training", "scores", "roots", "jacobians", "samples",
    }  # fmt: skip


def test_all_flows_share_the_programs_that_train_them(whole):
    # One with the exact trace and one with Hutchinson's, whatever the number of seeds.
    assert whole[2] == 2


def test_a_run_that_was_stopped_goes_on_to_the_same_result(whole, tmp_path, monkeypatch):
    def stop(*args, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(hollow_net, "_scores", stop)
        with pytest.raises(KeyboardInterrupt):
            _run(tmp_path / "cut")
    found, expected = (
        # A time of its own is all that may differ.
        [claim for claim in record["claims"] if "longer" not in claim["sentence"]]
        for record in (_run(tmp_path / "cut", resume=True), whole[0])
    )
    assert found == expected


def test_images_get_noise_within_a_grey_level_and_come_back():
    images = hollow_net._images(3)
    again = hollow_net._images(3)
    np.testing.assert_array_equal(images.train, again.train)
    pixels = images.test * images.scale + images.mean
    levels = np.floor(pixels * 16)
    assert levels.min() >= 0
    assert levels.max() <= 16
    noise = pixels * 16 - levels
    assert abs(noise.mean() - 0.5) < 4 / np.sqrt(12 * noise.size)
    assert len(images.train) + len(images.test) == 1797


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="seeds must be at least 1, got 0"):
        hollow_net.Config(seeds=0)
    with pytest.raises(ValueError, match="dims must be two or more, rising"):
        hollow_net.Config(dims=(8, 4))
