"""The recipe `inference-gaps`: its own arithmetic, and images of a folder."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from pullback.analysis import LocalSearch
from pullback.data import Labelled, Split
from pullback.recipes.inference_gaps import Config, measure, mnist
from pullback.runs import Context


def test_of_a_decoder_that_looks_away_everything_is_known(x32):
    # p(x | z) does not depend on z: the posterior is the prior, and the best normal is exact.
    vae = measure.make(measure.KINDS[0], 4, 16, jr.key(0))
    zero = lambda net: jax.tree.map(
        lambda leaf: jnp.zeros_like(leaf) if eqx.is_inexact_array(leaf) else leaf, net
    )
    vae = eqx.tree_at(lambda v: v.decoder, vae, zero(vae.decoder))
    x = jnp.array([[1.0, 0.0, 1.0, 1.0], [0.0, 0.0, 0.0, 1.0]])
    search = LocalSearch(steps=200, samples=5, learning_rate=0.05, evaluation_samples=2000)
    row = {name: value[0] for name, value in measure.gaps([vae], x, None, search, [0]).items()}
    np.testing.assert_allclose(row["log_evidence"], 4 * np.log(0.5), atol=1e-4)
    np.testing.assert_allclose(row["approximation"], 0, atol=1e-3)
    mean, log_std = np.split(np.asarray(jax.vmap(vae.encoder)(x)), 2, axis=1)
    exact = np.sum(np.exp(2 * log_std) + mean**2 - 1 - 2 * log_std, axis=1) / 2
    assert np.all(np.abs(row["amortisation"] - exact) < 4 * row["amortisation_error"] + 1e-3)
    found = measure.densities(vae, x, jnp.asarray(row["local"]))
    np.testing.assert_allclose(
        np.sum(found["exact"], axis=(1, 2)) * measure.PLANE.area, 1, rtol=1e-4
    )
    np.testing.assert_allclose(found["local"], found["exact"], atol=1e-3)


@pytest.mark.slow  # Trains two models, and anneals.
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
    assert all(np.isfinite(claim.value) for claim in claims)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"seeds": 0}, "seeds must be at least 1, got 0"),
        ({"chains": 0}, "chains must be at least 1, got 0"),
        ({"annealed": 101}, "annealed must be between 0 and 101, got 101"),
    ],
)
def test_a_configuration_that_makes_no_sense_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        Config(**wrong)
