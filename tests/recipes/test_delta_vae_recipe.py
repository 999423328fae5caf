"""The recipe `delta-vae`: its smallest run, on bits and on images, and what it knows exactly."""

import dataclasses
import gzip
import itertools

import jax
import jax.random as jr
import numpy as np
import pytest

from pullback.recipes import delta_vae, load
from pullback.recipes.delta_vae import Config, measure
from pullback.recipes.delta_vae.models import Way, autoencoder, sequences
from pullback.runs import run

RECIPE = load("delta-vae")

SMOKE = RECIPE.presets["smoke"]


@pytest.mark.slow  # Compiles the training and the evaluation.
def test_the_smallest_run_measures_every_claim_and_resumes_to_the_same(tmp_path, monkeypatch):
    with jax.enable_x64(False), jax.numpy_dtype_promotion("standard"):
        record = run(RECIPE, SMOKE, preset="smoke", folder=tmp_path / "run")
        assert len(record["claims"]) == 12
        assert all(np.isfinite(claim["value"]) for claim in record["claims"])
        names = {path.stem for path in (tmp_path / "run" / "figures").iterdir()}
        assert names == {"rates", "plane", "probes", "paths"}
        # What is no matter of training holds already.
        assert [claim["holds"] for claim in record["claims"][:2]] == [True, True]
        again = lambda *args: pytest.fail("computed again")
        for module, name in ((delta_vae, "train"), (measure, "measure")):
            monkeypatch.setattr(module, name, again)
        resumed = run(RECIPE, SMOKE, preset="smoke", folder=tmp_path / "run", resume=True)
        assert resumed["claims"] == record["claims"]


@pytest.mark.slow  # Compiles two trainings.
def test_images_of_a_folder_are_sequences_of_rows(tmp_path):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (70, 28, 28), dtype=np.uint8)
    for part in ("train", "t10k"):
        for kind, array in (
            ("images-idx3", images),
            ("labels-idx1", np.arange(70, dtype=np.uint8) % 10),
        ):
            sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
            header = bytes([0, 0, 8, array.ndim]) + sizes
            file = tmp_path / f"{part}-{kind}-ubyte.gz"
            file.write_bytes(gzip.compress(header + array.tobytes()))
    with jax.enable_x64(False), jax.numpy_dtype_promotion("standard"):
        mnist = load("delta-vae/mnist")
        smoke = mnist.presets["smoke"]
        record = run(mnist, smoke, preset="smoke", folder=tmp_path / "run", data=tmp_path)
    assert len(record["claims"]) == 4
    assert record["claims"][1]["holds"]
    names = {path.stem for path in (tmp_path / "run" / "figures").iterdir()}
    assert names == {"images", "image-probes"}


def test_the_sums_over_hidden_states_are_those_of_all_paths_enumerated():
    config = dataclasses.replace(SMOKE, length=4)
    x, states = (np.asarray(part) for part in sequences(config, 5, jr.key(0)))
    paths = np.array(list(itertools.product([0, 1], repeat=4)))
    stays = (paths[:, 1:] == paths[:, :-1]).sum(1)
    prior = 0.5 * config.stay**stays * (1 - config.stay) ** (3 - stays)
    chance = np.where(paths == 1, config.contrast, 1 - config.contrast)[..., None]
    given = np.prod(np.where(x[:, None] == 1, chance[None], 1 - chance[None]), axis=(2, 3))
    joint = given * prior[None]
    later = (joint @ paths) / joint.sum(1)[:, None] > 0.5
    found = measure.exact(config, x, states)
    assert found["entropy"] == pytest.approx(-np.log(joint.sum(1)).mean(), rel=1e-12)
    assert found["accuracy"] == pytest.approx(np.mean(later == states))


def test_the_bits_follow_the_hidden_state():
    config, count = Config(length=20), 2000
    x, states = (np.asarray(part) for part in sequences(config, count, jr.key(0)))
    for share, chance, n in (
        (np.mean(states[:, 1:] == states[:, :-1]), config.stay, 19 * count),
        (x[states == 1].mean(), config.contrast, x[states == 1].size),
        (x[states == 0].mean(), 1 - config.contrast, x[states == 0].size),
        (states[:, 0].mean(), 0.5, count),
    ):
        assert abs(share - chance) < 4 * np.sqrt(chance * (1 - chance) / n)


def test_a_way_is_what_it_says(key, promotion):
    config = dataclasses.replace(SMOKE, length=5)
    x = jr.normal(key, (5, config.bits))
    z = jr.normal(key, (5, 1))
    for way, later in ((Way(), True), (Way(1, causal=True), False)):
        vae = autoencoder(config, way, key)
        seen = np.any(np.asarray(jax.jacrev(vae.encoder)(x)) != 0, axis=(1, 3))
        past = np.tri(5, dtype=bool)
        np.testing.assert_array_equal(seen, past.T if later else past)
    alone = autoencoder(config, Way(alone=True), key).outputs
    np.testing.assert_array_equal(alone(z, x), alone(2 * z, x))
    told = autoencoder(config, Way(), key).outputs
    assert not np.array_equal(told(z, x), told(2 * z, x))


def test_the_closed_form_is_the_minimum():
    for row in measure.committed_rates():
        assert row["closed"] == pytest.approx(row["minimised"], abs=1e-5)


def test_a_probe_reads_what_is_there_and_nothing_else():
    rng = np.random.default_rng(0)
    states = rng.integers(0, 2, (400, 8))
    noise = rng.standard_normal((400, 8, 1))
    assert measure.probe(noise, states) == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(1600))
    assert measure.probe(0.01 * (2 * states[..., None] - 1) + 0 * noise, states) == 1


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"seeds": 0}, "seeds must be at least 1, got 0"),
        ({"length": 1}, "length must be at least 2, got 1"),
        ({"alphas": (0.9, 0.5)}, "alphas must rise and lie between 0 and 1"),
        ({"alphas": (1.0,)}, "alphas must rise and lie between 0 and 1"),
        ({"stay": 0.3}, "stay and contrast must lie between 0.5 and 1, got 0.3"),
    ],
)
def test_a_configuration_that_makes_no_sense_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(Config(), **wrong)
