"""The recipe `sticking-the-landing`: its own arithmetic."""

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro.distributions as dist
import pytest

from pullback.bounds import kl_divergence
from pullback.data import Labelled, Split
from pullback.recipes.sticking_the_landing import Config, measure, mnist
from pullback.runs import Context


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


@pytest.mark.slow  # Trains eight autoencoders.
def test_images_of_a_folder_train_every_way(tmp_path, x32, monkeypatch):
    rng = np.random.default_rng(0)
    images = lambda n: rng.uniform(size=(n, 5, 5)).astype(np.float32)
    sets = Split(Labelled(images(40), np.zeros(40)), Labelled(images(9), np.zeros(9)))
    monkeypatch.setattr(mnist, "mnist", lambda folder: sets)
    config = mnist.Config(seeds=2, steps=20, samples=(2,))
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
