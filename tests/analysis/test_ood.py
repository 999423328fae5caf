"""Scores of what a classifier has not seen, against closed forms and a count of pairs."""

import inspect

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from pullback.analysis import auroc, grid_mass, ood_scores

W = jnp.array([[1.0, -2.0], [0.5, 0.0], [0.0, 1.0]])


def test_the_scores_of_linear_logits_are_those_written_out(key):
    x = jr.normal(key, (5, 2))
    scores = ood_scores(lambda x: W @ x, x, batch_size=2)
    logits = np.asarray(x) @ np.asarray(W).T
    weights = np.exp(logits)
    prob = weights / weights.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(scores.log_density, np.log(weights.sum(axis=1)), rtol=1e-12)
    np.testing.assert_allclose(scores.max_prob, prob.max(axis=1), rtol=1e-12)
    np.testing.assert_allclose(scores.slope, -np.linalg.norm(prob @ W, axis=1), rtol=1e-12)


def test_the_area_is_the_share_of_pairs_in_the_right_order():
    generator = np.random.default_rng(0)
    inside, outside = generator.integers(0, 6, 40) + 1.0, generator.integers(0, 6, 30) * 1.0
    inside[0], outside[0] = np.inf, -np.inf
    pairs = inside[:, None] - outside
    want = np.mean(pairs > 0) + np.mean(pairs == 0) / 2
    assert auroc(inside, outside) == pytest.approx(want, abs=1e-12)
    assert auroc(outside, inside) == pytest.approx(1 - want, abs=1e-12)


def test_a_grid_knows_a_correlated_gaussian_and_that_a_box_is_too_small():
    precision = np.array([[2.0, 0.6], [0.6, 1.0]])
    log_density = lambda x: 0.3 - x @ precision @ x / 2
    found = grid_mass(log_density, [-6, -7], [6, 7], points=60)
    want = 0.3 + np.log(2 * np.pi) - np.log(np.linalg.det(precision)) / 2
    np.testing.assert_allclose(found.log_normaliser, want, atol=1e-9)
    assert abs(float(found.at_edge)) < 1e-6
    assert found.axes[1][0] == pytest.approx(-7 + 14 / 120)
    # Rows go along the first axis.
    np.testing.assert_allclose(
        found.log_density[5, 20],
        log_density(np.array([found.axes[0][5], found.axes[1][20]])) - want,
    )
    flat = grid_mass(lambda x: jnp.sum(x) * 0, [0.0], [2.0], points=10)
    np.testing.assert_allclose([flat.log_normaliser, flat.at_edge], [np.log(2), 0.2], rtol=1e-9)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: auroc(np.array([1.0, np.nan]), np.array([0.0])), "`inside` must be .* 1 NaN"),
        (lambda: auroc(np.array([1.0]), np.array([])), "`outside` must be scores"),
        (lambda: grid_mass(jnp.sum, [0], [0]), "`low` and `high` must be opposite corners"),
        (lambda: grid_mass(jnp.sum, [0] * 4, [1] * 4), "one to three dimensions"),
        (lambda: grid_mass(jnp.sum, [0], [1], points=2), "`points` must be at least 3, got 2"),
    ],
)
def test_what_makes_no_sense_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_float32_stays_float32(x32):
    scores = ood_scores(lambda x: x, jnp.ones((2, 3)))
    assert {leaf.dtype for leaf in jax.tree.leaves(scores)} == {jnp.dtype(jnp.float32)}


@pytest.mark.parametrize(
    ("log_density", "where"),
    [
        (lambda x: jnp.log(x[0]), r"nan at \[-0.75\]"),
        (lambda x: jnp.where(x[0] > 0, jnp.inf, 0.0), r"inf at \[0.25\]"),
        (lambda x: jnp.where(x[0] > 9, 0.0, -jnp.inf), "-inf everywhere"),
    ],
)
def test_a_grid_that_meets_no_number_says_where(log_density, where):
    with pytest.raises(ValueError, match=f"or -inf on the grid; it is {where}"):
        grid_mass(log_density, [-1], [1], points=4)
    mass = jax.jit(lambda: grid_mass(log_density, [-1], [1], points=4).log_normaliser)()
    assert not bool(jnp.isfinite(mass))
    half = grid_mass(lambda x: jnp.where(x[0] > 0, -x[0], -jnp.inf), [-1], [1], points=400)
    assert float(half.log_normaliser) == pytest.approx(np.log(1 - np.exp(-1)), abs=1e-5)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.float32])
@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e3])
def test_a_slope_of_any_size_is_measured(dtype, scale):
    """The scores of two equal logits s.x have the gradient s, whose squares leave float16."""
    s = scale * jnp.array([3.0, 4.0], dtype)
    logits = lambda x: jnp.stack([s @ x, s @ x])
    found = ood_scores(logits, jnp.zeros((2, 2), dtype)).slope
    assert found.dtype == dtype
    np.testing.assert_allclose(found.astype(float), -5 * scale, rtol=2e-3)


def test_whole_numbers_have_no_slope():
    scores = inspect.unwrap(ood_scores)
    with pytest.raises(ValueError, match="`x` must be floating, got uint8"):
        scores(lambda x: x, np.zeros((2, 2), np.uint8))
