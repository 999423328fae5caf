"""The recipe `inference-gaps`: its smallest run, and its own arithmetic."""

import json

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from pullback._promotion import standard_promotion
from pullback.analysis import LocalSearch
from pullback.data import Labelled, Split
from pullback.recipes import load
from pullback.recipes.inference_gaps import Config, measure, mnist
from pullback.runs import Context, run

RECIPE = load("inference-gaps")

# Slow: trains every part of the recipe; `make test-slow` runs it.
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    # As from the command line: float32, ordinary promotion.
    with jax.enable_x64(False), standard_promotion():
        folder = tmp_path_factory.mktemp("gaps") / "run"
        return run(RECIPE, RECIPE.presets["smoke"], preset="smoke", folder=folder), folder


def test_the_theorem_holds_at_any_size(finished):
    record, _ = finished
    assert len(record["claims"]) == 10
    held = [c["sentence"] for c in record["claims"] if c["holds"]]
    assert any("L[q] <= L[q*] <= log p(x)" in sentence for sentence in held)


def test_the_run_leaves_its_pictures_and_numbers(finished):
    _, folder = finished
    names = {path.stem for path in (folder / "figures").iterdir()}
    assert names == {"gaps", "families", "points", "planes", "evidence"}
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    split = [row for row in rows if "images" in row]
    assert len(split) == 4 * 2 * 2
    for row in split:
        whole = row["evidence"] - row["elbo"]
        assert row["approximation"] + row["amortisation"] == pytest.approx(whole, abs=1e-4)


def test_a_resumed_run_ends_with_the_same_claims(finished, x32, monkeypatch):
    record, folder = finished

    def again(*args, **kwargs):
        raise RuntimeError("measured a second time")

    for name in ("train", "gaps", "annealed", "densities"):
        monkeypatch.setattr(measure, name, again)
    resumed = run(RECIPE, RECIPE.presets["smoke"], preset="smoke", folder=folder, resume=True)
    assert resumed["claims"] == record["claims"]


def test_of_a_decoder_that_looks_away_everything_is_known(x32):
    # p(x | z) does not depend on z: the posterior is the prior, and the best normal is exact.
    vae = measure.make(measure.KINDS[0], 4, 16, jr.key(0))
    zero = lambda net: jax.tree.map(
        lambda leaf: jnp.zeros_like(leaf) if eqx.is_inexact_array(leaf) else leaf, net
    )
    vae = eqx.tree_at(lambda v: v.decoder, vae, zero(vae.decoder))
    x = jnp.array([[1.0, 0.0, 1.0, 1.0], [0.0, 0.0, 0.0, 1.0]])
    exact = measure.exact_evidence(vae, x)
    np.testing.assert_allclose(exact, 4 * np.log(0.5), atol=1e-4)
    search = LocalSearch(steps=200, samples=5, learning_rate=0.05, evaluation_samples=2000)
    row = measure.gaps(vae, x, None, search, 0)
    np.testing.assert_allclose(row["approximation"], 0, atol=1e-3)
    mean, log_std = np.split(np.asarray(jax.vmap(vae.encoder)(x)), 2, axis=1)
    exact = np.sum(np.exp(2 * log_std) + mean**2 - 1 - 2 * log_std, axis=1) / 2
    assert np.all(np.abs(row["amortisation"] - exact) < 4 * row["amortisation_error"] + 1e-3)
    area = measure.plane()[1]
    found = measure.densities(vae, x, jnp.asarray(row["local"]))
    np.testing.assert_allclose(np.sum(found["exact"], axis=(1, 2)) * area, 1, rtol=1e-4)
    np.testing.assert_allclose(found["local"], found["exact"], atol=1e-3)


def test_trained_models_come_back_from_their_arrays(x32):
    kind = measure.KINDS[1]
    images = (jr.uniform(jr.key(0), (20, 4)) > 0.5).astype(float)
    kept = measure.train(kind, images, shrink=16, steps=2, learning_rate=0.0, seeds=[3, 4])
    models = measure.models_of(kind, 4, 16, kept["arrays"])
    # At a rate of zero they are as they were made.
    made = measure.make(kind, 4, 16, jr.split(jr.key(4))[0])
    for one, other in zip(
        jax.tree.leaves(eqx.filter(models[1], eqx.is_array)),
        jax.tree.leaves(eqx.filter(made, eqx.is_array)),
        strict=True,
    ):
        np.testing.assert_allclose(one, other, rtol=1e-6)


def test_images_of_a_folder_are_trained_and_measured(tmp_path, x32, monkeypatch):
    rng = np.random.default_rng(0)
    images = lambda n: rng.uniform(size=(n, 5, 5)).astype(np.float32)
    sets = Split(Labelled(images(40), np.zeros(40)), Labelled(images(9), np.zeros(9)))
    monkeypatch.setattr(mnist, "mnist", lambda folder: sets)
    config = mnist.Config(
        steps=20, scored=3, temperatures=5, chains=2, search_steps=10, search_samples=2,
        evaluation_samples=20,
    )  # fmt: skip
    claims = mnist.run(config, Context(tmp_path / "run", data=tmp_path))
    assert len(claims) == 3
    assert all(np.isfinite(claim.value) for claim in claims)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"seeds": 0}, "seeds must be at least 1, got 0"),
        ({"chains": 0}, "chains must be at least 1, got 0"),
        ({"shrink": 100}, "shrink must be at most 16, got 100"),
    ],
)
def test_a_configuration_that_makes_no_sense_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        Config(**wrong)
