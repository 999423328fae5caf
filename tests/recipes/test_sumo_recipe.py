"""The recipe `sumo`: its own arithmetic."""

import dataclasses
import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from pullback.bounds import ImportanceWeighted
from pullback.data import Labelled, Split
from pullback.models.vae import Bernoulli, mlp_vae
from pullback.recipes import sumo
from pullback.recipes.sumo import Config, funnel, measure, mnist, policy
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


def test_the_first_claim_is_of_sumo_against_the_bound_of_its_cost():
    levels = {
        "IWAE, k = 9": 2.0,
        "SUMO, m = 4": 0.2,
        "IWAE, k = 21": 0.5,
        "multilevel, base = 4": 0.05,
    }
    assert [way.name for way in funnel.WAYS] == list(levels)
    assert [round(way.cost, 1) for way in funnel.WAYS] == [9, 9.1, 21, 19.9]
    run = lambda level: {"objective": np.full(4, -2.0), "exact": np.full(4, level)}
    runs = {name: [run(level), run(3 * level)] for name, level in levels.items()}
    found = {"SUMO, m = 1": {"worst": -40.0}, "multilevel, base = 8": {"worst": 8.0}}
    claims = sumo._claims(found, runs)
    np.testing.assert_allclose([claim.value for claim in claims], [1, 0.4, 1, -2, 5])
    assert [claim.headline is not None for claim in claims] == [True, *[False] * 4]


@pytest.mark.parametrize("decoder", [0.0, 1.0])
def test_what_a_policy_is_short_of_by_enumeration(decoder):
    pairs = policy.couplings(3, 2.0, jr.key(0))
    vae = mlp_vae(3, 2, 4, 1, jnp.tanh, likelihood=Bernoulli(), key=jr.key(1))
    scaled = jax.tree.map(lambda leaf: decoder * leaf if eqx.is_array(leaf) else leaf, vae.decoder)
    vae = eqx.tree_at(lambda vae: vae.decoder, vae, scaled)
    found = policy.Divergence(pairs)(vae, key=jr.key(2))
    x = np.array(list(itertools.product([0.0, 1.0], repeat=3)))
    signs = 2 * x - 1
    rewards = sum(
        float(pairs[i, j]) * signs[:, i] * signs[:, j] for i, j in ((0, 1), (0, 2), (1, 2))
    )
    # p(x) by the rule of Gauss and Hermite, in place of the plane's sum.
    nodes, weights = np.polynomial.hermite_e.hermegauss(20)
    z = jnp.asarray(list(itertools.product(nodes, nodes)))
    mass = np.outer(weights, weights).ravel() / (2 * np.pi)
    one = np.asarray(jax.nn.sigmoid(jax.vmap(vae.decoder)(z)))
    p = mass @ np.prod(np.where(x[:, None] == 1, one, 1 - one), axis=2).T
    assert p.sum() == pytest.approx(1)
    want = p @ (np.log(p) - rewards) + np.log(np.exp(rewards).sum())
    assert float(found["short"]) == pytest.approx(want, abs=2e-3)  # the plane ends at 4
    assert float(found["entropy"]) == pytest.approx(-p @ np.log(p), abs=2e-3)


def test_the_gradient_of_a_policy_climbs_reward_and_entropy():
    # With many samples the bound is log p(x), and the gradient that of the exact divergence.
    pairs = policy.couplings(3, 2.0, jr.key(0))
    vae = mlp_vae(3, 2, 4, 1, jnp.tanh, likelihood=Bernoulli(), key=jr.key(1))
    decoder, rest = eqx.partition(
        vae, eqx.tree_at(lambda vae: vae.decoder.net.layers[-1].bias, _none(vae), replace=True)
    )
    loss = policy.NegativeReturn(ImportanceWeighted(50), pairs, 50)
    total = lambda decoder, key: loss(eqx.combine(decoder, rest), None, key=key)[0]
    each = jax.jit(lambda keys: jax.lax.map(
        lambda key: jax.grad(total)(decoder, key).decoder.net.layers[-1].bias, keys, batch_size=50
    ))(jr.split(jr.key(2), 500))  # fmt: skip
    exact = jax.grad(
        lambda decoder: policy.Divergence(pairs)(eqx.combine(decoder, rest), key=jr.key(3))["short"]
    )(decoder).decoder.net.layers[-1].bias  # fmt: skip
    error = jnp.std(each, axis=0) / np.sqrt(500)
    assert np.all(np.abs(exact) > 8 * error)  # so that another sign or weight is seen
    np.testing.assert_array_less(np.abs(jnp.mean(each, axis=0) - exact), 4 * error)


def _none(tree):
    return jax.tree.map(lambda _: False, tree)


def test_the_gains_are_those_of_the_way_trained_on(tmp_path):
    rows = np.array([[5.0, 4.5, 4.25], [6.0, 5.5, 5.25]])
    gain, more = mnist._claims(mnist.Config(), Context(tmp_path), rows[[0, 1, 1]], 9)
    assert (gain.value, more.value) == (0.25, 0.5)
    assert gain.headline is not None
    assert mnist.Config().exact == 10


@pytest.mark.slow  # Trains four policies, by two programs that take long to compile.
def test_policies_of_few_bits_are_trained_both_ways(tmp_path, x32):
    claims = policy.run(policy.PRESETS["smoke"], Context(tmp_path / "run"))
    assert len(claims) == 3
    assert all(np.isfinite(claim.value) for claim in claims)
    assert {path.stem for path in (tmp_path / "run" / "figures").iterdir()} == {"policies"}


@pytest.mark.slow  # Trains six autoencoders.
def test_images_of_a_folder_train_both_ways(tmp_path, x32, monkeypatch):
    rng = np.random.default_rng(0)
    images = lambda n: rng.uniform(size=(n, 5, 5)).astype(np.float32)
    sets = Split(Labelled(images(40), np.zeros(40)), Labelled(images(9), np.zeros(9)))
    monkeypatch.setattr(mnist, "mnist", lambda folder: sets)
    config = dataclasses.replace(mnist.PRESETS["smoke"], block=1)
    claims = mnist.run(config, Context(tmp_path / "run", data=tmp_path))
    assert len(claims) == 2
    assert all(np.isfinite(claim.value) for claim in claims)


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
