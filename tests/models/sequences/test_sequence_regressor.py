"""Regressors of sequences: by hand, both strands, ensembles, what they learn, and bad scores."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jaxtyping
import numpy as np
import pytest

from pullback.models.sequences import (
    SequenceEnsemble,
    SequenceRegressor,
    fit_sequence_regressor,
)


def one_hot(codes):
    return np.eye(4, dtype=np.float32)[np.asarray(codes)]


def test_a_regressor_is_its_formula():
    net = SequenceRegressor(4, 3, filters=5, width=6, depth=1, dtype=jnp.float64, key=jr.key(0))
    x = np.asarray(one_hot([0, 3, 1, 1, 2]), float)
    padded = np.concatenate([np.full((1, 4), 0.25), x, np.full((1, 4), 0.25)])
    weight = np.asarray(net.conv.weight)
    leaky = lambda h: np.where(h > 0, h, 0.1 * h)
    h = leaky(np.stack([sum(padded[t + j] @ weight[j] for j in range(3)) for t in range(5)]))
    first, last = net.mlp.layers
    h = np.concatenate([h.max(axis=0), h.mean(axis=0)])
    want = last.weight @ leaky(first.weight @ h + first.bias) + last.bias
    np.testing.assert_allclose(net(jnp.asarray(x)), np.squeeze(want), rtol=1e-12)


def test_of_both_strands_it_is_one_score():
    x = jnp.asarray(one_hot(np.random.default_rng(0).integers(0, 4, (6, 9))), jnp.float64)
    other = x[:, ::-1, ::-1]
    for both in (True, False):
        net = SequenceRegressor(4, 5, 3, 6, both_strands=both, dtype=jnp.float64, key=jr.key(0))
        gap = jnp.abs(jax.vmap(net)(x) - jax.vmap(net)(other))
        assert (jnp.max(gap) < 1e-12) == both


def test_an_ensemble_is_the_mean_of_its_members_less_their_spread():
    make = lambda key: SequenceRegressor(4, 3, 4, 8, dtype=jnp.float64, key=key)
    nets = [make(key) for key in jr.split(jr.key(0), 3)]
    stack = eqx.filter_vmap(make)(jr.split(jr.key(0), 3))
    ensemble = SequenceEnsemble(stack, jnp.asarray(2.0), jnp.asarray(3.0))
    x = jnp.asarray(one_hot([0, 3, 1, 1, 2]), jnp.float64)
    each = np.asarray([2 + 3 * net(x) for net in nets])
    np.testing.assert_allclose(ensemble(x), each.mean(), rtol=1e-12)
    np.testing.assert_allclose(eqx.filter_jit(ensemble.members)(x), each, rtol=1e-12)
    lower = eqx.filter_jit(ensemble.lower)(x, 2)
    np.testing.assert_allclose(lower, each.mean() - 2 * each.std(), rtol=1e-12)
    one = eqx.filter(ensemble, eqx.is_array)
    one = eqx.combine(jax.tree.map(lambda leaf: leaf[:1] if leaf.ndim else leaf, one), ensemble)
    slope = jax.grad(one.lower)(x)
    assert one.lower(x) == one(x)
    assert jnp.all(jnp.isfinite(slope))


def test_members_learn_the_score_in_its_unit_and_apart():
    rng = np.random.default_rng(0)
    x = one_hot(rng.integers(0, 4, (600, 8)))
    y = 100 + 20 * x[:, :, 2].sum(axis=1)
    ensemble, info = fit_sequence_regressor(
        x, y, members=3, kernel=3, filters=8, width=16, depth=1, steps=300, learning_rate=5e-3,
        progress=False, key=jr.key(0),
    )  # fmt: skip
    fresh = one_hot(rng.integers(0, 4, (200, 8)))
    each = np.asarray(eqx.filter_vmap(ensemble.members)(fresh))
    want = 100 + 20 * fresh[:, :, 2].sum(axis=1)
    left = ((each - want[:, None]) ** 2).mean(axis=0) / want.var()
    assert each.dtype == np.float32
    assert np.all(left < 0.1)
    filters = np.asarray(ensemble.regressors.conv.weight).reshape(3, -1)
    assert np.all(np.corrcoef(filters)[np.triu_indices(3, 1)] < 0.5)  # they did not start alike
    loss = info.history["validation_loss"]
    assert loss.shape == (3, 3)
    np.testing.assert_allclose(loss[-1], left, atol=0.05)


@pytest.mark.parametrize(("y", "options", "message"), [
    (np.ones(20), {}, "all the same, 1: .* the right column"),
    (np.ones(19), {}, "a score for each of the 20 sequences"),
    (np.where(np.arange(20) == 3, np.nan, 1.0), {}, "`y` must be finite; row 3"),
    (np.arange(20.0), {"kernel": 4}, "`kernel` must be odd"),
    (np.arange(20.0), {"members": 0}, "`members` must be 1 or more"),
    (np.arange(20) * 1e39, {}, "`y` cannot be held in float32: it goes to 1.9e.40.*Rescale"),
    (np.arange(20) * 1e200, {}, "`y` cannot be held in float32"),
    (1e8 + np.arange(20), {}, r"goes to 1e\+08 in size and deviates by 5.8, .*float32.*its mean"),
    (np.arange(20) * 1e-50, {}, "`y` cannot be held in float32: .* deviation of 5.8e-50"),
    (np.arange(20.0), {"learning_rate": -1.0}, "`learning_rate` must be positive, got -1"),
    (np.arange(20.0), {"learning_rate": np.nan}, "`learning_rate` must be positive, got nan"),
])  # fmt: skip
def test_bad_scores(y, options, message, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ValueError, match=message):
        fit_sequence_regressor(one_hot(np.zeros((20, 5), int)), y, **options, key=jr.key(0))


@pytest.mark.parametrize("shape", [(5, 3), (2, 5, 4), (0, 4)])
def test_other_shapes_are_refused(shape, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ValueError, match="one sequence, with 4 numbers"):
        SequenceRegressor(key=jr.key(0))(jnp.ones(shape))
    with pytest.raises(TypeError, match=r"`x` must be an array .*pullback.data.one_hot"):
        fit_sequence_regressor(["ACGT"], np.ones(1), key=jr.key(0))


@pytest.mark.parametrize("dtype", [int, bool])
def test_whole_numbers_are_padded_by_the_uniform_law_too(dtype, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    net = SequenceRegressor(filters=4, width=4, key=jr.key(0))
    stack = jax.tree.map(lambda leaf: leaf[None] if eqx.is_array(leaf) else leaf, net)
    ensemble = SequenceEnsemble(stack, jnp.asarray(2.0), jnp.asarray(0.5))
    x = jnp.asarray(one_hot([0, 1, 3]), float)
    for score in (net, ensemble, ensemble.lower):
        np.testing.assert_allclose(score(x.astype(dtype)), score(x), rtol=1e-12)


@pytest.mark.parametrize(("y", "options"), [
    (["a"] * 20, {}), (["1.5"] * 20, {}), (np.arange(20.0), {"learning_rate": "a"}),
])  # fmt: skip
def test_strings_are_no_numbers(y, options, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(TypeError, match=r"`(y|learning_rate)` must be (an array of|one) number"):
        fit_sequence_regressor(one_hot(np.zeros((20, 5), int)), y, **options, key=jr.key(0))
