"""The recipe `sticking-the-landing`: its own arithmetic."""

import dataclasses

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro.distributions as dist
import pytest

from pullback.bounds import ELBO, kl_divergence
from pullback.data import Labelled, Split
from pullback.recipes._kit.paired_vaes import held_out_scores
from pullback.recipes.sticking_the_landing import Config, measure, mnist
from pullback.runs import Context
from pullback.sampling import PathDerivative


def test_the_closed_forms_are_the_sheets():
    found = measure.closed_forms(np.array([0.3, 0.5**0.5, 1.0]))
    np.testing.assert_allclose(found["path"][0, 0], 9.2, rtol=0.01)
    np.testing.assert_allclose(found["total"][:, 0], [0.09, 0.5, 1])
    np.testing.assert_allclose(found["path"][1], found["total"][1])
    np.testing.assert_allclose(found["path"][2], [0, measure.MEAN**2])


def test_the_divergence_by_a_sum_over_the_plane_is_that_in_closed_form(x32):
    q, p = (
        dist.Normal(jnp.array(mean), jnp.array(spread)).to_event(1)
        for mean, spread in (((0.5, -1.0), (0.7, 0.4)), ((0.0, 0.0), (1.0, 1.3)))
    )
    found = measure.divergence_in_the_plane(q, p)
    np.testing.assert_allclose(found, kl_divergence(q, p), rtol=1e-4)


def test_a_target_is_its_own_landing(x32):
    for descent in measure.descents(1.0, 1.0, 1.0).values():
        target, start = descent.problem(4, jr.key(0))
        of = lambda params, descent=descent, target=target: float(
            descent.divergence(descent.family(params), descent.family(target))
        )
        assert abs(of(target)) < 1e-5
        assert of(start) > 0.05


def test_the_measured_variances_are_the_closed_forms(x32):
    draws = 4000
    found, exact = measure.variance_curve(draws, 0), measure.closed_forms(np.array(measure.SPREADS))
    # The square of a normal has a kurtosis of 15, and nothing here has more.
    for way in measure.ESTIMATORS:
        np.testing.assert_allclose(found[way], exact[way], rtol=4 * (14 / draws) ** 0.5, atol=1e-9)


def test_ways_that_are_one_and_the_same_have_the_same_score(tmp_path, x32):
    way = ELBO(), PathDerivative()
    config = mnist.Config(
        seeds=2, steps=5, block=1, width=4, latent=2, scored=5, score_samples=7, batch_size=10
    )
    context = Context(tmp_path / "run")
    scores = held_out_scores(config, context, _images(), {"one": way, "other": way})
    np.testing.assert_array_equal(scores["one"], scores["other"])
    assert scores["one"][0] != scores["one"][1]
    # An image of 25 fair coins is 17.3 nats.
    assert np.all(np.abs(scores["one"] - 25 * np.log(2)) < 5)


def test_the_gain_is_that_of_the_paths_likelihood():
    config = mnist.Config(samples=(2,))
    names = list(mnist.ways(config))
    levels = dict(zip(names, (5.0, 4.0, 3.0, 2.5, 2.75), strict=True))
    scores = {name: level + np.array([0.0, 0.1]) for name, level in levels.items()}
    claims = mnist.claims(config, scores)
    np.testing.assert_allclose([claim.value for claim in claims], [1, 0.5, 0.25])
    assert [claim.headline is not None for claim in claims] == [True, True, False]


def _images():
    rng = np.random.default_rng(0)
    part = lambda n: Labelled(rng.uniform(size=(n, 5, 5)).astype(np.float32), np.zeros(n))
    return Split(part(40), part(9))


@pytest.mark.slow  # Trains ten autoencoders.
def test_images_of_a_folder_train_every_way(tmp_path, x32, monkeypatch):
    monkeypatch.setattr(mnist, "mnist", lambda folder: _images())
    config = dataclasses.replace(mnist.PRESETS["smoke"], steps=20, block=1, samples=(2,))
    claims = mnist.run(config, Context(tmp_path / "run", data=tmp_path))
    assert len(claims) == 3
    assert all(np.isfinite(claim.value) for claim in claims)
    assert {path.stem for path in (tmp_path / "run" / "figures").iterdir()} == {"scores"}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"seeds": 0}, "seeds must be at least 1, got 0"),
        ({"steps": 10}, "steps must be at least 80, got 10"),
        ({"samples": (5, 1)}, "samples must be 2 or more numbers that rise, at least 1"),
    ],
)
def test_a_configuration_that_makes_no_sense_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        Config(**wrong)
