"""The recipe `sumo`: its own arithmetic."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from pullback.data import Labelled, Split
from pullback.recipes.sumo import Config, funnel, measure, mnist
from pullback.runs import Context


@pytest.mark.parametrize("way", [measure.WAYS[1], measure.WAYS[4], measure.WAYS[6]])
def test_the_lists_hold_every_sample_of_every_row(way):
    (row, term, mask), stop = measure.lists_of(way, 7, 4, jr.key(0))
    assert row.shape == term.shape == mask.shape
    for step in range(4):
        each = {
            "IWAE": stop[step],
            "SUMO": way.size + stop[step],
            "multilevel": way.size * (1 + 2 ** stop[step]),
        }[way.kind]
        assert np.bincount(row[step][mask[step]], minlength=7).tolist() == each.tolist()
    # Weights of one: every estimate is log 1.
    needed = measure.RaggedTerms(row[0], term[0], mask[0])
    zeros = jnp.zeros(row.shape[1])
    found = jax.jit(measure.log_evidence, static_argnums=0)(
        way, zeros, needed, jnp.asarray(stop[0])
    )
    np.testing.assert_allclose(found, np.zeros(7), atol=1e-12)


def test_the_expected_cost_is_that_of_the_draws():
    for way in measure.WAYS:
        (_, _, mask), _ = measure.lists_of(way, 100, 100, jr.key(0))
        counts = mask.sum(axis=1) / 100
        error = counts.std() / 10
        assert abs(counts.mean() - way.cost) <= 4 * error


def test_the_bias_of_the_elbo_is_known_and_the_series_have_none(x32, monkeypatch):
    elbo, series = measure.Way("IWAE", 1), measure.Way("multilevel", 8)
    monkeypatch.setattr(measure, "WAYS", (elbo, series))
    found = measure.at_the_optimum(20_000, 0.5, 0)
    # In each dimension, from N(m + delta, 2/3) to N(m, 1/2); and the gradient is delta.
    kl = measure.DIM * (np.log(3 / 4) / 2 + 2 / 3 + 0.5**2 - 1 / 2)
    for way, bias, slope in ((elbo, -kl, 0.5), (series, 0, 0)):
        row, left = found[way.name], 0.0 if way is elbo else 0.02  # by the longest bound
        assert abs(row["bias"] - bias) < 4 * row["bias_error"] + left
        assert abs(row["slope"] - slope) < 4 * row["slope_error"] + left


def test_the_divergence_of_a_normal_from_the_funnel(promotion):
    # A decoder of zeros: x is N(0, I), whatever z.
    model = funnel.Sampler(4, key=jr.key(0))
    model = jax.tree.map(lambda leaf: 0 * leaf if eqx.is_array(leaf) else leaf, model)
    found = float(eqx.filter_jit(funnel.Divergence(1000, jr.key(1)))(model, key=jr.key(2))["exact"])
    x = np.asarray(jax.vmap(model.sample)(jr.split(jr.key(1), 1000)))
    want = np.mean(
        -np.sum(x**2, axis=1) / 2 + np.log(1.35) + x[:, 1] ** 2 / (2 * 1.35**2) + x[:, 1]
        + np.exp(-2 * x[:, 1]) * x[:, 0] ** 2 / 2
    )  # fmt: skip
    assert found == pytest.approx(want, abs=1e-3)


@pytest.mark.slow  # Trains four autoencoders.
def test_images_of_a_folder_train_both_ways(tmp_path, x32, monkeypatch):
    rng = np.random.default_rng(0)
    images = lambda n: rng.uniform(size=(n, 5, 5)).astype(np.float32)
    sets = Split(Labelled(images(40), np.zeros(40)), Labelled(images(9), np.zeros(9)))
    monkeypatch.setattr(mnist, "mnist", lambda folder: sets)
    config = mnist.Config(seeds=2, steps=20, samples=(6,))
    claims = mnist.run(config, Context(tmp_path / "run", data=tmp_path))
    assert len(claims) == 1
    assert np.isfinite(claims[0].value)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"seeds": 0}, "seeds must be at least 1, got 0"),
        ({"draws": 10}, "draws must be at least 200, got 10"),
        ({"steps": 100}, "steps must be a multiple of 40, got 100"),
    ],
)
def test_a_configuration_that_makes_no_sense_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        Config(**wrong)
