"""The recipe `beta-tcvae`: what it measures of a model, and dSprites."""

import dataclasses

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from pullback.bounds import exact_total_correlation_split
from pullback.data import drawn_shapes
from pullback.models.vae import Bernoulli, mlp_vae
from pullback.recipes._kit.stack import stacked
from pullback.recipes.beta_tcvae import PRESETS, Config, claims, dsprites, measure
from pullback.runs import Context

SMOKE = PRESETS["smoke"]


@pytest.fixture(scope="module")
def vae():
    return mlp_vae((8, 8), 3, 4, likelihood=Bernoulli(), key=jr.key(0))


def test_the_most_telling_latent_is_moved_first(vae):
    information = np.array([[0.1, 0.0, 0.7], [0.0, 0.5, 0.0]])
    factors = np.stack(np.divmod(np.arange(50), 10), axis=1)
    found = measure.walk(vae, information, np.zeros((50, 8, 8)), factors)
    assert found["order"].tolist() == [2, 1, 0]
    assert found["images"].shape == (3, 9, 8, 8)
    assert not np.allclose(found["images"][0, 0], found["images"][0, -1])


def test_a_batch_of_all_images_says_what_is_exact(vae):
    x = np.random.default_rng(0).uniform(size=(12, 8, 8))
    config = dataclasses.replace(SMOKE, batch_size=12, batches=2000)
    [seen] = measure.estimates(config, stacked([vae]), x, 0)
    posterior = jax.vmap(vae.posterior)(jnp.asarray(x))
    exact = exact_total_correlation_split(posterior, vae.prior, num_samples=24_000, key=jr.key(1))
    # As many samples again are behind the exact value.
    error = seen.std() / np.sqrt(len(seen))
    assert abs(seen.mean() - float(exact.total_correlation)) < 4 * 2**0.5 * error


def test_gaps_are_held_against_the_line_through_models_of_several_weights():
    row = lambda distortion, mig: {"distortion": np.array(distortion), "mig": np.array(mig)}
    # Of two seeds; of the second the larger weight has the smaller distortion.
    rows = [row([10.0, 14.0], [0.2, 0.3]), row([12.0, 13.0], [0.4, 0.1])]
    found = measure.at_distortion(np.array([10.5, 13.25]), rows)
    np.testing.assert_allclose(found, [0.25, 0.15])
    found = measure.at_distortion(np.array([9.0, 20.0]), rows)
    np.testing.assert_allclose(found, [0.2, 0.3])


def test_a_rank_correlation_comes_with_its_spread_over_seeds():
    rng = np.random.default_rng(0)
    correlation = rng.uniform(size=(2, 5))
    rows = [{"total_correlation": each, "mig": -(each**3)} for each in correlation]
    found, spread = claims.rank_correlation(rows)
    np.testing.assert_allclose((found, spread), (-1, 0), atol=1e-12)
    # The jackknife's error of a mean is the usual one, and nearly so of ranks without ties.
    error = []
    for _ in range(200):
        rows = [dict(zip(("total_correlation", "mig"), each, strict=True)) for each in
                rng.normal(size=(2, 2, 30))]  # fmt: skip
        found, spread = claims.rank_correlation(rows)
        error.append((found, spread / 30**0.5))
    values, errors = np.array(error).T
    assert 0.8 < errors.mean() / values.std() < 1.25
    one = [{"total_correlation": np.array([a]), "mig": np.array([b])} for a, b in ((1, 3), (2, 2))]
    found, spread = claims.rank_correlation(one)
    assert (round(found, 12), spread) == (-1.0, None)


@pytest.mark.slow  # Trains four kinds of models.
def test_dsprites_of_a_folder_are_thinned_and_their_kind_is_no_factor(tmp_path, monkeypatch, x32):
    asked = {}

    def some(folder, *, shrink, keep):
        asked.update(folder=folder, shrink=shrink, **{name: len(keep[name]) for name in keep})
        return drawn_shapes(scales=2, orientations=1, places=3, resolution=8)

    monkeypatch.setattr(dsprites, "dsprites", some)
    context = Context(tmp_path / "run", data=tmp_path)
    claims = dsprites.run(dsprites.Config(**vars(SMOKE)), context)
    assert asked == {"folder": tmp_path, "shrink": 4, "orientation": 10, "x": 8, "y": 8}
    assert all(np.isfinite(claim.value) for claim in claims)
    [table] = [item for item in context.contents if item["kind"] == "table"]
    assert table["header"][-3:] == ["gap of scale", "gap of x", "gap of y"]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"seeds": 0}, "seeds must be at least 1, got 0"),
        ({"latent": 1}, "latent must be at least 2, got 1"),
        ({"betas": (1.0, 4.0)}, r"betas must be .*, above 1, got \(1.0, 4.0\)"),
    ],
)
def test_a_configuration_that_makes_no_sense_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        Config(**wrong)
