"""The recipe `inference-gaps`: its own arithmetic, and images of a folder."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from pullback.analysis import Annealing, LocalSearch
from pullback.data import Labelled, Split
from pullback.recipes.inference_gaps import Config, claims, measure, mnist
from pullback.runs import Context


def test_of_a_decoder_that_looks_away_everything_is_known(x32):
    # p(x | z) does not depend on z: the posterior is the prior, and the best normal is exact.
    vae = _looking_away(measure.make(measure.KINDS[0], 4, 16, measure.NORMAL, jr.key(0)))
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
    bound = measure.bounds([vae], jnp.repeat(x, 100, axis=0), [0])[0].reshape(2, 100).mean(1)
    np.testing.assert_allclose(bound, 4 * np.log(0.5) - exact, atol=0.05)


def test_annealing_brackets_what_is_known_exactly(x32):
    # Every weight is p(x) itself: both bounds are it.
    vae = _looking_away(measure.make(measure.KINDS[0], 4, 16, measure.NORMAL, jr.key(0)))
    found = measure.brackets([vae], 2, Annealing(3, 2, 1), [0])
    for bound in found.values():
        np.testing.assert_allclose(bound, 4 * np.log(0.5), atol=1e-3)


def test_of_a_frozen_model_the_encoder_alone_is_new(tmp_path, x32):
    config = Config(steps=3, shrink=16)
    images = jnp.asarray(np.random.default_rng(0).integers(0, 2, (8, 4)), jnp.float32)
    train = lambda *frozen: measure.train(
        config, Context(tmp_path / "run"), measure.KINDS[1], measure.NORMAL, images, [0], *frozen
    )[0]  # fmt: skip
    before = measure.make(measure.KINDS[1], 4, 16, measure.NORMAL, jr.key(5))
    after = train([before])
    assert eqx.tree_equal(after.decoder, before.decoder)
    start = measure.make(measure.KINDS[1], 4, 16, measure.NORMAL, jr.split(jr.key(0))[0])
    moved = [a - b for a, b in zip(*map(_arrays, (after.encoder, start.encoder)), strict=True)]
    # Three steps of Adam, each as long as its rate at most.
    assert 0 < max(np.max(np.abs(each)) for each in moved) < 4 * config.learning_rate


def test_a_flow_is_credited_with_what_it_saves_the_encoder_of_held_out_images_alone():
    # Two training images and two held-out ones, of one seed.
    row = lambda family, encoder: {
        "approximation": np.array([family]), "amortisation": np.array([encoder]),
    }  # fmt: skip
    plain, adapted = (
        row([1.0, 3.0, 9.0, 9.0], [4.0, 6.0, 7.0, 9.0]),
        row([5.0, 7.0, 0.0, 0.0], [0.0] * 4),
    )
    # Of held-out images there is a third, which has no local fit.
    encoders = {
        name: measure.with_encoder({"elbo_local": np.array([best])}, np.array([bound]))
        for name, best, bound in (
            (measure.NORMAL, [-1.0, -1.0, -2.0, -2.0], [-7.0, -7.0, -5.0, -7.0, -9.0]),
            (measure.FLOW, [-1.0, -1.0, -1.5, -1.5], [-3.0, -3.0, -4.0, -4.0, -4.0]),
        )
    }
    assert claims.encoder_is_to_blame(plain, 2).value == 5.0 - 2.0
    assert claims.model_adapts(plain, adapted, 2).value == 6.0 - 2.0
    assert claims.flow_helps_to_generalise(encoders, 2).value == (-4.0 + 7.0) - 0.5
    np.testing.assert_array_equal(encoders[measure.FLOW]["amortisation"], [[2, 2, 2.5, 2.5]])


def _looking_away(vae):
    zero = lambda leaf: jnp.zeros_like(leaf) if eqx.is_inexact_array(leaf) else leaf
    return eqx.tree_at(lambda v: v.decoder, vae, jax.tree.map(zero, vae.decoder))


def _arrays(net):
    return jax.tree.leaves(eqx.filter(net, eqx.is_inexact_array))


@pytest.mark.slow  # Trains four models, and anneals.
def test_images_of_a_folder_are_trained_and_measured(tmp_path, x32, monkeypatch):
    rng = np.random.default_rng(0)
    images = lambda n: rng.uniform(size=(n, 28, 28)).astype(np.float32)
    sets = Split(Labelled(images(40), np.zeros(40)), Labelled(images(9), np.zeros(9)))
    monkeypatch.setattr(mnist, "mnist", lambda folder: sets)
    config = mnist.Config(
        seeds=2, side=7, width=8, steps=20, scored=3, temperatures=5, chains=2, search_steps=10,
        search_samples=2, evaluation_samples=20,
    )  # fmt: skip
    claims = mnist.run(config, Context(tmp_path / "run", data=tmp_path))
    assert all(np.isfinite(claim.value) for claim in claims)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"seeds": 0}, "seeds must be at least 1, got 0"),
        ({"chains": 0}, "chains must be at least 1, got 0"),
        ({"simulated": 0}, "simulated must be at least 1, got 0"),
    ],
)
def test_a_configuration_that_makes_no_sense_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        Config(**wrong)


def test_the_side_of_an_image_divides_28():
    with pytest.raises(ValueError, match="side must be a divisor of 28, got 10"):
        mnist.Config(side=10)
