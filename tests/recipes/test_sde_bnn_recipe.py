"""The recipe `sde-bnn`: its smallest run, and its own arithmetic."""

import dataclasses
import gzip

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from scipy.integrate import quad

from pullback import data
from pullback.recipes import load, sde_bnn
from pullback.recipes.sde_bnn import Config, bimodal, estimators, mnist
from pullback.recipes.sde_bnn.stack import Stacked, stacked, unstacked
from pullback.runs import Context, run

RECIPE = load("sde-bnn")

# Slow: trains every part of the recipe; `make test-slow` runs it.
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    # As from the command line: float32, ordinary promotion.
    with jax.enable_x64(False), jax.numpy_dtype_promotion("standard"):
        folder = tmp_path_factory.mktemp("sde-bnn") / "run"
        # A short training: what is claimed of it is not this test's business.
        config = dataclasses.replace(RECIPE.presets["smoke"], seeds=1, iterations=3)
        return run(RECIPE, config, preset="smoke", folder=folder), folder, config


def test_the_claims_that_need_no_training_hold(finished):
    record, *_ = finished
    assert len(record["claims"]) == 14
    for words in ("noise vanishes", "have one mean", "stays near the prior"):
        [claim] = [claim for claim in record["claims"] if words in claim["sentence"]]
        assert claim["holds"], claim


def test_the_run_leaves_its_pictures_and_shows_the_negative_result(finished):
    _record, folder, _ = finished
    names = {path.stem for path in (folder / "figures").iterdir()}
    assert names == {"two-modes", "calibration", "precision", "estimators", "gap"}
    assert "Negative result" in (folder / "report.html").read_text()


def test_a_resumed_run_ends_with_the_same_claims(finished, x32, monkeypatch):
    record, folder, config = finished

    def again(*args):
        raise RuntimeError("measured a second time")

    for name in ("bimodal", "estimators"):
        module = {"bimodal": bimodal, "estimators": estimators}[name]
        monkeypatch.setattr(module, "measure", again)
    resumed = run(RECIPE, config, preset="smoke", folder=folder, resume=True)
    assert resumed["claims"] == record["claims"]


def test_the_quadratures_are_those_of_scipy():
    found = bimodal.truth()
    variance = 9 * np.exp(-0.6) + 10 * (1 - np.exp(-0.6))
    cauchy = lambda y, z: 1 / (np.pi * 0.5 * (1 + ((y - z) / 0.5) ** 2))
    joint = lambda z: (
        cauchy(5, z) * cauchy(-5, z) * np.exp(-(z**2) / 2 / variance)
        / np.sqrt(2 * np.pi * variance)
    )  # fmt: skip
    evidence = 2 * quad(joint, 0, 30, points=[5], epsabs=1e-12)[0]
    assert found["evidence"] == pytest.approx(np.log(evidence), abs=1e-6)
    assert found["gaussian_gap"] == pytest.approx(0.537, abs=2e-3)
    assert found["least_gap"] == pytest.approx(0.064, abs=1e-3)
    assert estimators.LOG_EVIDENCE == pytest.approx(-2.15622, abs=5e-6)


def test_stacked_networks_have_the_gradients_of_each_by_itself():
    def loss(model, batch, *, key):
        return jnp.sum(model.weight * batch) * jr.normal(key), {}

    make = lambda key, scale: eqx.tree_at(
        lambda m: m.weight, eqx.nn.Linear(2, 1, key=key), scale * jnp.ones((1, 2))
    )
    keys = jr.split(jr.key(0), 3)
    models = stacked(make, keys, jnp.array([1.0, 2.0]))
    batch = jnp.arange(12.0).reshape(2, 3, 2)
    grads = eqx.filter_grad(lambda m: Stacked(loss)(m, batch, key=jr.key(1))[0])(models)
    own = jr.split(jr.key(1), (3, 2))
    for i in range(3):
        for j in range(2):
            one = unstacked(models, i, j)
            assert float(one.weight[0, 0]) == j + 1
            want = eqx.filter_grad(lambda m, i=i, j=j: loss(m, batch[:, i], key=own[i, j])[0])(one)
            np.testing.assert_allclose(unstacked(grads, i, j).weight, want.weight)


def test_each_seed_has_training_images_of_its_own(tmp_path, monkeypatch):
    made = []

    def kept(config, context, images):
        made.append(images)
        return []

    monkeypatch.setattr(sde_bnn, "on_images", kept)
    sde_bnn.run(Config(), Context(tmp_path / "a"))
    first, second = (made[0](seed) for seed in (0, 1))
    assert (len(first.train.x), len(first.test.x)) == (300, 1497)
    assert np.any(first.train.x != second.train.x)
    images = np.random.default_rng(0).integers(0, 256, (5, 28, 28), dtype=np.uint8)
    for part in ("train", "t10k"):
        for kind, array in (("images-idx3", images), ("labels-idx1", np.arange(5, dtype=np.uint8))):
            sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
            header = bytes([0, 0, 8, array.ndim]) + sizes
            file = tmp_path / f"{part}-{kind}-ubyte.gz"
            file.write_bytes(gzip.compress(header + array.tobytes()))
    train, test = mnist.images(Config(examples=2), data.mnist(tmp_path), 0)
    assert (train.x.shape, test.x.shape) == ((2, 14, 14), (5, 14, 14))
    block = images[1, 4:6, 10:12].astype(float).mean() / 255
    assert float(test.x[1, 2, 5]) == pytest.approx(block, rel=1e-5)
    assert mnist.images(Config(net="conv"), data.mnist(tmp_path), 0).train.x.shape == (5, 28, 28)


def test_a_configuration_that_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match="sigma one of them"):
        Config(sigma=0.2)
    with pytest.raises(ValueError, match="test_steps must be two or more, rising"):
        Config(test_steps=(5, 2))
    with pytest.raises(ValueError, match="seeds must be at least 1, got 0"):
        Config(seeds=0)
