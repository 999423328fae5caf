"""The recipe `beta-tcvae`: its smallest run, one that is stopped, and its own arithmetic."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pullback._promotion import standard_promotion
from pullback.bounds import aggregate_log_weights
from pullback.data import drawn_shapes
from pullback.recipes import beta_tcvae, load
from pullback.recipes.beta_tcvae import dsprites, measure
from pullback.recipes.beta_tcvae.models import Config, Kind, kinds, train
from pullback.runs import Context, run

RECIPE = load("beta-tcvae")

# Slow: trains every part of the recipe; `make test-slow` runs it.
pytestmark = pytest.mark.slow

TINY = dataclasses.replace(RECIPE.presets["smoke"], steps=40, width=8, samples=500)


@pytest.fixture(autouse=True, scope="module")
def small():
    """As from the command line: float32, ordinary promotion."""
    with jax.enable_x64(False), standard_promotion():
        yield


@pytest.fixture(scope="module")
def finished(small, tmp_path_factory):
    folder = tmp_path_factory.mktemp("beta-tcvae") / "run"
    return run(RECIPE, TINY, preset="smoke", folder=folder), folder


def test_the_claims_that_hold_of_any_model_hold(finished):
    record, _ = finished
    assert len(record["claims"]) == 13
    assert all(np.isfinite(claim["value"]) for claim in record["claims"])
    held = [claim["sentence"] for claim in record["claims"] if claim["holds"]]
    for words in ("without bias", "(D - 1) log N", "to its sampled rate", "add up to the rate"):
        assert any(words in sentence for sentence in held), words


def test_the_run_leaves_its_pictures_and_numbers(finished):
    _, folder = finished
    assert {path.stem for path in (folder / "figures").iterdir()} == {
        "gaps", "traversals", "information", "parts", "estimates",
    }  # fmt: skip
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [(row["model"], row["number"]) for row in rows] == [
        (name, number) for name in ("VAE", "beta-VAE 8", "beta-TCVAE 8") for number in (0, 1)
    ]
    assert all(0 <= row["gap_x"] <= 1 for row in rows)


def test_a_resumed_run_ends_with_the_same_claims(finished, monkeypatch):
    record, folder = finished

    def again(*args, **kwargs):
        raise RuntimeError("measured a second time")

    monkeypatch.setattr(beta_tcvae, "train", again)
    for name in ("score", "estimates", "walk"):
        monkeypatch.setattr(measure, name, again)
    resumed = run(RECIPE, TINY, preset="smoke", folder=folder, resume=True)
    assert resumed["claims"] == record["claims"]


def test_a_weight_of_one_on_the_total_correlation_alone_is_the_elbo():
    """Both objectives have the mean gradient of the ELBO, by samples and in closed form."""
    x = drawn_shapes(("square",), scales=2, orientations=1, places=5, resolution=8).x
    config = dataclasses.replace(TINY, seeds=1, batch_size=50, steps=150, samples=500)
    ends = [
        train(config, kind, x, [0])[1]["elbo"][0, -5:].mean()
        for kind in (Kind(1.0), Kind(1.0, alone=True))
    ]
    start = train(config, Kind(1.0), x, [0])[1]["elbo"][0, 0]
    assert abs(ends[0] - ends[1]) < 0.05 * (ends[0] - start)


def test_the_published_matrix_has_its_weights_in_the_first_columns():
    batch, size = 6, 40
    found = np.exp(measure.as_published(batch, size))
    assert found.shape == (batch, batch)
    right = np.exp(aggregate_log_weights(batch, size, "stratified"))
    np.testing.assert_allclose(found[:, 0][np.arange(batch) != batch - 2], 1 / size)
    np.testing.assert_allclose(found[:, 1], (size - batch + 1) / (size * (batch - 1)))
    np.testing.assert_allclose(np.diag(right), 1 / size, rtol=1e-6)
    np.testing.assert_allclose(np.diag(found)[2:], 1 / (batch - 1))


def test_the_most_telling_latent_is_moved_first():
    config = dataclasses.replace(TINY, seeds=1, steps=2, warm_up=1)
    x = np.zeros((50, 8, 8), np.float32)
    params, _ = train(config, kinds(config)["VAE"], x, [0])
    information = np.array([[0.1, 0.0, 0.7], [0.0, 0.5, 0.0]])
    factors = np.stack(np.divmod(np.arange(50), 10), axis=1)
    found = measure.walk(config, params[0], information, x, factors)
    assert found["order"].tolist() == [2, 1, 0]
    assert found["images"].shape == (3, 9, 8, 8)
    assert not np.allclose(found["images"][0, 0], found["images"][0, -1])


def test_dsprites_of_a_folder_are_thinned_and_their_kind_is_no_factor(tmp_path, monkeypatch):
    asked = {}

    def some(folder, *, shrink, keep):
        asked.update(folder=folder, shrink=shrink, **{name: len(keep[name]) for name in keep})
        return drawn_shapes(scales=2, orientations=1, places=3, resolution=8)

    monkeypatch.setattr(dsprites, "dsprites", some)
    context = Context(tmp_path / "run", data=tmp_path)
    claims = dsprites.run(dsprites.Config(**vars(TINY)), context)
    assert asked == {"folder": tmp_path, "shrink": 4, "orientation": 10, "x": 8, "y": 8}
    assert len(claims) == 13
    [table] = [item for item in context.contents if item["kind"] == "table"]
    assert table["header"][-3:] == ["gap of scale", "gap of x", "gap of y"]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"seeds": 0}, "seeds must be at least 1, got 0"),
        ({"latent": 1}, "latent must be at least 2, got 1"),
        ({"betas": (1.0, 4.0)}, r"betas must be above 1, rising, got \(1.0, 4.0\)"),
    ],
)
def test_a_configuration_that_makes_no_sense_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        Config(**wrong)


def test_it_is_in_the_table():
    assert jnp.asarray(RECIPE.presets["desk"].betas).max() == 8
