"""The recipe `i-resnet`: its smallest run, one that is stopped, and its own arithmetic."""

import dataclasses
import json

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from pullback._promotion import standard_promotion
from pullback.data import Labelled, Split
from pullback.recipes import i_resnet, load
from pullback.recipes.i_resnet import measure, models
from pullback.recipes.i_resnet.models import Config, Kind
from pullback.runs import run

RECIPE = load("i-resnet")

# Slow: trains every part of the recipe; `make test-slow` runs it.
pytestmark = pytest.mark.slow

TINY = dataclasses.replace(RECIPE.presets["smoke"], steps=20, flow_steps=10)


@pytest.fixture(autouse=True, scope="module")
def small():
    """As from the command line: float32, ordinary promotion."""
    with jax.enable_x64(False), standard_promotion():
        yield


@pytest.fixture(scope="module")
def finished(small, tmp_path_factory):
    folder = tmp_path_factory.mktemp("i-resnet") / "run"
    return run(RECIPE, TINY, preset="smoke", folder=folder), folder


def test_the_claims_that_hold_of_any_model_hold(finished):
    record, _ = finished
    assert len(record["claims"]) == 14
    assert all(np.isfinite(claim["value"]) for claim in record["claims"])
    held = [claim["sentence"] for claim in record["claims"] if claim["holds"]]
    for words in ("bound is kept", "Iterates of every block", "has converged", "is a density",
                  "inverse is one", "series leaves out"):  # fmt: skip
        assert any(words in sentence for sentence in held), words


def test_the_run_leaves_its_pictures_and_numbers(finished):
    _, folder = finished
    assert {path.stem for path in (folder / "figures").iterdir()} == {
        "inverse", "images", "rates", "moons",
    }  # fmt: skip
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [(row["model"], row["number"]) for row in rows] == [
        (name, number) for name in ("no bound", "c = 0.9") for number in (0, 1)
    ]


def test_a_resumed_run_ends_with_the_same_claims(finished, monkeypatch):
    record, folder = finished

    def again(*args, **kwargs):
        raise RuntimeError("measured a second time")

    for name in ("train", "train_flows"):
        monkeypatch.setattr(i_resnet, name, again)
    for name in ("score", "rates", "walk", "score_flows"):
        monkeypatch.setattr(measure, name, again)
    resumed = run(RECIPE, TINY, preset="smoke", folder=folder, resume=True)
    assert resumed["claims"] == record["claims"]


def test_iterates_of_linear_blocks_are_partial_sums():
    config = Config(blocks=2, width=4)
    model = models.new_classifier(config, 0.5, (3,), jr.key(0))
    net = models.LipschitzMLP(3, 4, 0, bound=0.5, activation=lambda x: x, key=jr.key(1))
    nets = jax.tree.map(
        lambda leaf: jnp.stack([leaf, 0.5 * leaf]) if eqx.is_array(leaf) else leaf, net
    )
    model = eqx.tree_at(lambda m: m.nets, model, measure.settled(nets))
    one, other = (np.asarray(f.layers[0].effective_weight()) for f in measure.each(model.nets, 2))
    shifts = np.asarray(model.nets.layers[0].bias)
    x = np.array([0.3, -0.2, 0.5], np.float32)
    z = (np.eye(3) + other) @ ((np.eye(3) + one) @ x + shifts[0]) + shifts[1]
    np.testing.assert_allclose(model.features(jnp.asarray(x)), z, rtol=1e-5)

    def partial(weight, shift, y, n):
        found = y
        for _ in range(n):
            found = y - weight @ found - shift
        return found

    for n in (0, 1, 4):
        want = partial(one, shifts[0], partial(other, shifts[1], z, n), n)
        np.testing.assert_allclose(
            measure.after(model, jnp.asarray(z, jnp.float32), n), want, atol=1e-5
        )


def test_mnist_is_squeezed_and_back_and_trains():
    rng = np.random.default_rng(0)
    part = Labelled(
        rng.uniform(size=(40, 28, 28)).astype(np.float32), np.arange(40, dtype=np.int32) % 10
    )
    found = models.squeezed(Split(part, part))
    assert found.train.x.shape == (40, 16, 7, 7)
    np.testing.assert_allclose(models.pictures(found.train.x), part.x, atol=1e-6)
    config = dataclasses.replace(TINY, steps=2, width=8, batch_size=8, images=10)
    arrays = models.train(config, Kind(0.9), found.train.x, found.train.y, [0])
    row = measure.score(config, Kind(0.9), arrays, found.test.x, found.test.y)
    assert row["layers"].max() < 0.9 + 1e-4
    assert np.median(row["errors"][:, -1]) < 1e-4


def test_a_config_that_makes_no_sense_is_refused():
    for wrong, match in (
        ({"seeds": 0}, "seeds must be at least 1"),
        ({"bounds": (0.5, 0.9)}, "falling"),
        ({"bounds": (1.5,)}, "falling"),
        ({"iterations": 3}, "iterations must be at least 20"),
    ):
        with pytest.raises(ValueError, match=match):
            dataclasses.replace(TINY, **wrong)
