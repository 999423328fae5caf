"""The recipe `sticking-the-landing`: its smallest run, and its own arithmetic."""

import json

import jax
import numpy as np
import pytest

from pullback._promotion import standard_promotion
from pullback.data import Labelled, Split
from pullback.recipes import load
from pullback.recipes.sticking_the_landing import Config, measure, mnist
from pullback.runs import Context, run

RECIPE = load("sticking-the-landing")

# Slow: runs every part of the recipe; `make test-slow` runs it.
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    # As from the command line: float32, ordinary promotion.
    with jax.enable_x64(False), standard_promotion():
        folder = tmp_path_factory.mktemp("sticking") / "run"
        return run(RECIPE, RECIPE.presets["smoke"], preset="smoke", folder=folder), folder


def test_the_claims_that_hold_at_any_size_hold(finished):
    record, _ = finished
    held = [c["sentence"] for c in record["claims"] if c["holds"]]
    for words in (
        "every path derivative is zero",
        "ten times too narrow",
        "change places",
        "path derivative is biased",
        "gradient is not",
    ):
        assert any(words in sentence for sentence in held), words
    assert len(record["claims"]) == 13


def test_the_run_leaves_its_pictures_and_numbers(finished):
    _, folder = finished
    names = {path.stem for path in (folder / "figures").iterdir()}
    assert names == {"descents", "variances", "weighted", "mixture"}
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert {row["descent"] for row in rows} == {"full", "diagonal", "mixture", "adam"}


def test_a_resumed_run_ends_with_the_same_claims(finished, x32, monkeypatch):
    record, folder = finished

    def again(*args):
        raise RuntimeError("measured a second time")

    for name in ("descents", "variance_curve", "weighted", "draws_at_the_target"):
        monkeypatch.setattr(measure, name, again)
    resumed = run(RECIPE, RECIPE.presets["smoke"], preset="smoke", folder=folder, resume=True)
    assert resumed["claims"] == record["claims"]


def test_the_closed_forms_are_the_sheets():
    found = measure.closed_forms(np.array([0.3, 0.5**0.5, 1.0]))
    np.testing.assert_allclose(found["path"][0, 0], 9.2, rtol=0.01)
    np.testing.assert_allclose(found["total"][:, 0], [0.09, 0.5, 1])
    np.testing.assert_allclose(found["path"][1], found["total"][1])
    np.testing.assert_allclose(found["path"][2], [0, measure.MEAN**2])


def test_images_of_a_folder_train_every_way(tmp_path, x32, monkeypatch):
    rng = np.random.default_rng(0)
    images = lambda n: rng.uniform(size=(n, 5, 5)).astype(np.float32)
    sets = Split(Labelled(images(40), np.zeros(40)), Labelled(images(9), np.zeros(9)))
    monkeypatch.setattr(mnist, "mnist", lambda folder: sets)
    config = mnist.Config(seeds=2, steps=20, samples=(2,))
    claims = mnist.run(config, Context(tmp_path / "run", data=tmp_path))
    assert len(claims) == 3
    assert all(np.isfinite(claim.value) for claim in claims)
    assert {path.stem for path in (tmp_path / "run" / "figures").iterdir()} == {"scores"}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"seeds": 0}, "seeds must be at least 1, got 0"),
        ({"steps": 10}, "steps must be at least 80, got 10"),
        ({"spreads": (1.0,)}, "spreads must have 0.1, 0.6 and 0.8 among them"),
    ],
)
def test_a_configuration_that_makes_no_sense_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        Config(**wrong)
