"""The recipe `neural-ode`: its smallest run, and its own arithmetic."""

import dataclasses
import gzip
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from pullback import data
from pullback.recipes import load
from pullback.recipes.neural_ode import Config, measure, mnist
from pullback.runs import run

RECIPE = load("neural-ode")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    # As from the command line: float32, ordinary promotion.
    with jax.enable_x64(False), jax.numpy_dtype_promotion("standard"):
        folder = tmp_path_factory.mktemp("neural-ode") / "run"
        # A short training: what is claimed of it is not this test's business.
        config = dataclasses.replace(RECIPE.presets["smoke"], epochs=2, seeds=1, probe=60)
        return run(RECIPE, config, preset="smoke", folder=folder), folder, config


def measured(record: dict, words: str) -> dict:
    [claim] = [claim for claim in record["claims"] if words in claim["sentence"]]
    return claim


@pytest.mark.slow
def test_the_claims_that_hold_of_any_network_hold(finished):
    record, *_ = finished
    assert len(record["claims"]) == 11
    for words in ("Backsolve does not grow", "Replay stays", "plain back-prop", "paths converge"):
        assert measured(record, words)["holds"], words
    share = measured(record, "a third of the residual network's parameters")
    assert share["value"] == pytest.approx(17_418 / 55_498)


@pytest.mark.slow
def test_the_run_leaves_its_pictures_and_tables(finished):
    _, folder, _ = finished
    names = {path.stem for path in (folder / "figures").iterdir()}
    assert names == {"paths", "training", "tolerance", "cost", "memory", "gradients"}
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [(r["network"], r["epoch"]) for r in rows] == [
        (kind, epoch)
        for kind in ("ODE network", "residual network", "residual network, relu")
        for epoch in (1, 2)
    ]


@pytest.mark.slow
def test_a_resumed_run_ends_with_the_same_claims(finished, x32, monkeypatch):
    record, folder, config = finished

    def again(*args):
        raise RuntimeError("measured a second time")

    # What is finished is read.
    for name in ("dial", "cost", "gradient_gap", "trap", "memory", "paths"):
        monkeypatch.setattr(measure, name, again)
    resumed = run(RECIPE, config, preset="smoke", folder=folder, resume=True)
    assert resumed["claims"] == record["claims"]


def test_the_traps_closed_form_is_its_solution():
    solution = solve_ivp(lambda t, z: -7.0 * (z - np.cos(t)), (0, 2), [0.0], rtol=1e-11, atol=1e-12)
    exact = measure._trap_solution(jnp.asarray(7.0), jnp.asarray(2.0))
    np.testing.assert_allclose(exact, solution.y[0, -1], rtol=1e-9)


def test_mnist_comes_from_the_folder_that_was_named_and_in_blocks_of_four(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (3, 28, 28), dtype=np.uint8)
    for part in ("train", "t10k"):
        for kind, array in (("images-idx3", images), ("labels-idx1", np.arange(3, dtype=np.uint8))):
            sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
            header = bytes([0, 0, 8, array.ndim]) + sizes
            file = tmp_path / f"{part}-{kind}-ubyte.gz"
            file.write_bytes(gzip.compress(header + array.tobytes()))
    train, test = mnist.images(Config(), data.mnist(tmp_path))
    assert (len(train.x), len(test.x), test.x.shape[1:]) == (3, 3, (7, 7))
    block = images[1, 8:12, 20:24].astype(float).mean() / 255
    np.testing.assert_allclose(train.x[1, 2, 5], block, rtol=1e-6)
    assert mnist.images(Config(net="conv"), data.mnist(tmp_path)).train.x.shape == (3, 28, 28)


def test_a_configuration_that_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match="tolerances must be two or more, falling"):
        Config(tolerances=(1e-5, 1e-1))
    with pytest.raises(ValueError, match="memory_steps must be two or more, rising"):
        Config(memory_steps=(16,))
    with pytest.raises(ValueError, match="seeds must be at least 1, got 0"):
        Config(seeds=0)
