"""The recipe `iwae-posterior`: its smallest run, and its own arithmetic."""

import json

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from pullback._promotion import standard_promotion
from pullback.models.vae import Bernoulli, mlp_vae
from pullback.recipes import load
from pullback.recipes.iwae_posterior import Config, measure
from pullback.runs import run

RECIPE = load("iwae-posterior")

# Slow: trains every part of the recipe; `make test-slow` runs it.
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    # As from the command line: float32, ordinary promotion.
    with jax.enable_x64(False), standard_promotion():
        folder = tmp_path_factory.mktemp("iwae") / "run"
        return run(RECIPE, RECIPE.presets["smoke"], preset="smoke", folder=folder), folder


def test_the_theorems_hold_at_any_size(finished):
    record, _ = finished
    assert len(record["claims"]) == 9
    held = [c["sentence"] for c in record["claims"] if c["holds"]]
    for words in ("known one", "lies above", "integrates to one", "in every row"):
        assert any(words in sentence for sentence in held), words


def test_the_run_leaves_its_pictures_and_numbers(finished):
    _, folder = finished
    names = {path.stem for path in (folder / "figures").iterdir()}
    assert names == {"one-dimension", "gaps", "planes", "decoded", "few-sets"}
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert {(row["trained"], row["k"]) for row in rows if "k" in row} == {
        (1, 2), (1, 5), (5, 2), (5, 5),
    }  # fmt: skip


def test_a_resumed_run_ends_with_the_same_claims(finished, x32, monkeypatch):
    record, folder = finished

    def again(*args):
        raise RuntimeError("measured a second time")

    for name in ("in_one_dimension", "with_few_sets", "evidence", "gaps", "pictures"):
        monkeypatch.setattr(measure, name, again)
    resumed = run(RECIPE, RECIPE.presets["smoke"], preset="smoke", folder=folder, resume=True)
    assert resumed["claims"] == record["claims"]


def test_of_a_decoder_that_looks_away_everything_is_known(x32):
    # p(x | z) does not depend on z: the posterior is the prior, and so is the implied one of q = p.
    import equinox as eqx

    vae = mlp_vae(4, 2, 3, likelihood=Bernoulli(), key=jr.key(0))
    still = lambda mlp, bias: eqx.tree_at(
        lambda m: [layer.weight for layer in m.net.layers] + [m.net.layers[-1].bias],
        mlp,
        [jnp.zeros_like(layer.weight) for layer in mlp.net.layers] + [bias],
    )
    vae = eqx.tree_at(
        lambda v: (v.encoder, v.decoder),
        vae,
        (still(vae.encoder, jnp.zeros(4)), still(vae.decoder, jnp.zeros(4))),
    )
    found = measure.gaps(vae, jnp.ones((2, 4)), 3, 5, jr.key(1))
    for name in ("evidence", "elbo", "bound", "implied"):
        np.testing.assert_allclose(found[name], 4 * np.log(0.5), atol=1e-4)
    np.testing.assert_allclose(measure.evidence(vae, jnp.ones((2, 4))), 4 * np.log(0.5), atol=1e-4)
    for name in ("variation", "implied_variation"):
        np.testing.assert_allclose(found[name], 0, atol=1e-4)
    np.testing.assert_allclose(found["effective"], 1, rtol=1e-4)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"seeds": 0}, "seeds must be at least 1, got 0"),
        ({"samples": (2, 5)}, "samples must rise from 1 and have 5 in them"),
        ({"trained": (5, 1)}, "trained must be two or more, rising"),
    ],
)
def test_a_configuration_that_makes_no_sense_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        Config(**wrong)
