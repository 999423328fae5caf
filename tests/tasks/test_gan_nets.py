"""The players of a table GAN start as a Gaussian copula and its inverse."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from scipy.stats import norm, spearmanr
from sklearn.exceptions import ConvergenceWarning

from pullback.tasks import _gan_nets as nets
from pullback.tasks._copula import fit_copula


def table(rows, seed=0):
    """Two numbers and a kind that hangs together with them."""
    random = np.random.RandomState(seed)
    z = random.normal(size=(rows, 3)) @ np.linalg.cholesky(0.3 * np.eye(3) + 0.7).T
    kind = np.digitize(z[:, 2], norm.ppf([0.2, 0.7]))
    return np.column_stack([np.exp(z[:, 0]), z[:, 1], np.asarray([2, 0, 1])[kind]])


@pytest.fixture(scope="module")
def fitted():
    rows = table(2000)
    copula = fit_copula(rows, [3], np.random.RandomState(1))
    return rows, copula, nets.begin(copula, 0)


def features(copula, rows):
    found = copula.features(rows, np.random.RandomState(2))
    return np.concatenate([copula.whiten(found[:, :2]), found[:, 2:]], axis=1)


def test_a_copula_of_normal_scores_draws_what_it_was_fitted_to(fitted):
    rows, copula, _ = fitted
    drawn = copula.sample(4000, np.random.RandomState(0))
    assert spearmanr(drawn[:, :2]).statistic == pytest.approx(
        spearmanr(rows[:, :2]).statistic, abs=4 / np.sqrt(4000)
    )
    for part in (rows, drawn):
        assert np.bincount(part[:, 2].astype(int)) / len(part) == pytest.approx(
            [0.5, 0.3, 0.2], abs=4 * 0.5 / np.sqrt(2000)
        )
    means = lambda part: [part[part[:, 2] == kind, 1].mean() for kind in range(3)]
    # A place within its kind's share, drawn for each row, hides some of what hangs together.
    np.testing.assert_allclose(means(drawn), means(rows), atol=0.25)
    assert means(drawn)[2] < means(drawn)[0] < means(drawn)[1]
    white = copula.whiten(copula.features(rows)[:, :2])
    np.testing.assert_allclose(np.cov(white.T), np.eye(2), atol=0.1)
    np.testing.assert_allclose(copula.colour(white), copula.features(rows)[:, :2], rtol=1e-9)


def test_the_decoder_starts_as_the_copula(fitted):
    rows, copula, model = fitted
    drawn = nets.sample(model, 4000, 0)
    np.testing.assert_allclose(np.cov(drawn[:, :2].T), np.eye(2), atol=0.1)
    assert set(np.unique(drawn[:, 2:])) == {0, 1}
    np.testing.assert_array_equal(drawn[:, 2:].sum(axis=1), 1)
    np.testing.assert_allclose(
        drawn[:, 2:].mean(axis=0), [0.5, 0.3, 0.2], atol=4 * 0.5 / np.sqrt(4000)
    )
    scores, kinds = copula.colour(drawn[:, :2]), drawn[:, 2:].argmax(axis=1)
    known = copula.features(rows)[:, 1], rows[:, 2]
    means = lambda t, kind: np.asarray([t[kind == k].mean() for k in range(3)])
    np.testing.assert_allclose(means(scores[:, 1], kinds), means(*known), atol=0.25)


def test_both_joints_are_one_at_the_start(fitted):
    """Latents of rows have the prior's moments, and lie beside their rows as the decoder's do."""
    rows, copula, model = fitted
    white = jnp.asarray(features(copula, rows), jnp.float32)
    z = np.asarray(model.infer(white, key=jr.key(0)))[:, :2]
    both = np.cov(np.concatenate([np.asarray(white[:, :2]), z], axis=1).T)
    wanted = np.block([[np.eye(2), 0.9 * np.eye(2)], [0.9 * np.eye(2), np.eye(2)]])
    np.testing.assert_allclose(both, wanted, atol=0.1)


def test_scores_are_the_formula_whatever_is_beside_a_row(fitted):
    rows, copula, model = fitted
    x = features(copula, rows[:1500])
    told = nets.tell(model, x)
    np.testing.assert_allclose(told.latents[:, :2], 0.9 * x[:, :2], rtol=1e-5)
    np.testing.assert_allclose(told.missed, 0.19 * x[:, :2], rtol=1e-3, atol=1e-5)
    deviation = nets.deviations(told)
    found = nets.score(told, deviation)
    wanted = -0.5 * (
        np.square(told.latents).sum(axis=1) + np.square(told.missed / deviation).sum(axis=1)
    )
    np.testing.assert_allclose(found, wanted + told.kinds, rtol=1e-9)
    few = nets.tell(model, x[[7, 1400]])
    np.testing.assert_array_equal(nets.score(few, deviation), found[[7, 1400]])
    assert nets.tell(model, x[:0]).latents.shape == (0, 3)


def test_training_moves_both_networks_and_leaves_the_copula(fitted):
    rows, copula, model = fitted
    x = features(copula, rows[:100])
    trained, steps = nets.train(model, x, steps=20, seed=0, progress=False)
    assert steps == 20
    for net in (trained.encoder.net.net, trained.decoder.net):
        assert np.abs(net.layers[-1].weight).max() > 1e-4
    for before, after in zip(
        jax.tree.leaves(model.decoder.start), jax.tree.leaves(trained.decoder.start), strict=True
    ):
        np.testing.assert_array_equal(before, after)
    again = nets.from_arrays(copula, nets.arrays_of(trained))
    np.testing.assert_array_equal(nets.sample(again, 50, 3), nets.sample(trained, 50, 3))
    for one, other in zip(nets.tell(again, x), nets.tell(trained, x), strict=True):
        np.testing.assert_array_equal(one, other)


def test_where_training_fails_the_model_is_what_it_starts_from(fitted, monkeypatch):
    rows, copula, model = fitted
    monkeypatch.setattr(nets, "_RATE", 1e30)
    with pytest.warns(ConvergenceWarning, match="could not be trained"):
        left, steps = nets.train(
            model, features(copula, rows[:50]), steps=20, seed=0, progress=False
        )
    assert steps == 0
    assert left is model


def test_a_kind_that_no_row_has_and_columns_that_follow_are_no_trouble():
    x = np.random.RandomState(0).normal(size=(60, 1))
    rows = np.column_stack([x, 2 * x, np.arange(60) % 2])
    copula = fit_copula(rows, [3], np.random.RandomState(0))  # the third kind is nobody's
    drawn = nets.sample(nets.begin(copula, 0), 500, 0)
    assert np.isfinite(drawn).all()
    assert drawn[:, 4].mean() < 0.02
    grad = jax.grad(
        lambda h: sum(
            jnp.sum(part) for part in nets.begin(copula, 0).decoder.parts(h, jnp.zeros_like(h))[1]
        )
    )(jnp.zeros(3, jnp.float32))
    assert np.isfinite(grad).all()


def test_small_tables_are_not_trained_on():
    assert nets.steps_for(79, 3) == 0
    assert nets.steps_for(80, 4) == 2000
    assert nets.steps_for(10_000, 3) == 6000
