"""The recipe `sumo`: its smallest run, and its own arithmetic."""

import json

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from pullback._promotion import standard_promotion
from pullback.data import Labelled, Split
from pullback.recipes import load
from pullback.recipes.sumo import Config, measure, mnist
from pullback.recipes.sumo import funnel as _sumo_funnel
from pullback.runs import Context, run

RECIPE = load("sumo")

# Slow: trains every part of the recipe; `make test-slow` runs it.
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    # As from the command line: float32, ordinary promotion.
    with jax.enable_x64(False), standard_promotion():
        folder = tmp_path_factory.mktemp("sumo") / "run"
        return run(RECIPE, RECIPE.presets["smoke"], preset="smoke", folder=folder), folder


def test_the_claims_without_training_hold(finished):
    record, _ = finished
    assert len(record["claims"]) == 11
    held = [c["sentence"] for c in record["claims"] if c["holds"]]
    for words in ("gradient of the ELBO", "bound of six samples is smaller", "are zero"):
        assert any(words in sentence for sentence in held), words


def test_the_run_leaves_its_pictures_and_numbers(finished):
    _, folder = finished
    names = {path.stem for path in (folder / "figures").iterdir()}
    assert names == {"optimum", "climb", "funnel", "samples"}
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert len(rows) == 5 * 2 * 2


def test_a_resumed_run_ends_with_the_same_claims(finished, x32, monkeypatch):
    record, folder = finished

    def again(*args, **kwargs):
        raise RuntimeError("measured a second time")

    for name in ("at_the_optimum", "climb"):
        monkeypatch.setattr(measure, name, again)
    monkeypatch.setattr(_sumo_funnel, "follow", again)
    resumed = run(RECIPE, RECIPE.presets["smoke"], preset="smoke", folder=folder, resume=True)
    assert resumed["claims"] == record["claims"]


@pytest.mark.parametrize("way", [measure.WAYS[1], measure.WAYS[4], measure.WAYS[6]])
def test_the_lists_hold_every_sample_of_every_row(way):
    (row, term, mask), stop = measure.lists_of(way, 7, 4, jr.key(0))
    assert row.shape == term.shape == mask.shape
    for step in range(4):
        each = {
            "iwae": stop[step],
            "sumo": way.size + stop[step],
            "multilevel": way.size * (1 + 2 ** stop[step]),
        }[way.kind]
        assert np.bincount(row[step][mask[step]], minlength=7).tolist() == each.tolist()
    # Weights of one: every estimate is log 1.
    needed = measure.RaggedTerms(row[0], term[0], mask[0])
    zeros = jnp.zeros(row.shape[1])
    found = measure.log_evidence(way, zeros, needed, jnp.asarray(stop[0]))
    np.testing.assert_allclose(found, np.zeros(7), atol=1e-12)


def test_the_expected_cost_is_that_of_the_draws():
    for way in measure.WAYS:
        (_, _, mask), _ = measure.lists_of(way, 100, 100, jr.key(0))
        counts = mask.sum(axis=1) / 100
        error = counts.std() / 10
        assert abs(counts.mean() - way.cost) <= 4 * error


def test_images_of_a_folder_train_both_ways(tmp_path, x32, monkeypatch):
    rng = np.random.default_rng(0)
    images = lambda n: rng.uniform(size=(n, 5, 5)).astype(np.float32)
    sets = Split(Labelled(images(40), np.zeros(40)), Labelled(images(9), np.zeros(9)))
    monkeypatch.setattr(mnist, "mnist", lambda folder: sets)
    config = mnist.Config(seeds=2, steps=20, costs=(6,))
    claims = mnist.run(config, Context(tmp_path / "run", data=tmp_path))
    assert len(claims) == 1
    assert np.isfinite(claims[0].value)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"seeds": 0}, "seeds must be at least 1, got 0"),
        ({"draws": 10}, "draws must be at least 200, got 10"),
        ({"looks": (100, 50)}, "looks must be rising"),
        ({"looks": (30,)}, "looks must be multiples of 50"),
    ],
)
def test_a_configuration_that_makes_no_sense_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        Config(**wrong)
