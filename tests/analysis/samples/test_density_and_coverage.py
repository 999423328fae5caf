"""Density and coverage against enumeration, and of samples that are known to be bad."""

import itertools

import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest

from pullback.analysis.samples import _density_and_coverage, density_and_coverage


def enumerated(real, fake, k):
    """By the definition, with the mean over all orders of rows that are equally far away."""
    held, covered = 0.0, 0.0
    for i, row in enumerate(real):
        others = [np.linalg.norm(row - other) for j, other in enumerate(real) if j != i]
        samples = [np.linalg.norm(row - y) for y in fake]
        radius = sorted(others)[k - 1]
        sure = sum(d < radius for d in samples)
        tied, on_edge = others.count(radius), samples.count(radius)
        left = k - sum(d < radius for d in others)
        # An order of equals: the ball ends at its `left`-th real row.
        orders = [*itertools.combinations(range(tied + on_edge), on_edge)]
        inside = []
        for places in orders:
            reals = [place for place in range(tied + on_edge) if place not in places]
            inside.append(sure + sum(place < reals[left - 1] for place in places))
        held += np.mean(inside)
        covered += np.mean([count > 0 for count in inside])
    return held / (k * len(fake)), covered / len(real)


@pytest.mark.parametrize("k", [1, 2, 4])
@pytest.mark.parametrize("levels", [2, 3, None])
def test_they_are_those_of_enumeration_with_ties_and_without(k, levels):
    random = np.random.default_rng(k)
    draw = lambda size: (
        random.normal(size=(size, 2))
        if levels is None
        else random.integers(0, levels, size=(size, 2)).astype(float)
    )
    real, fake = draw(9), draw(5)
    found = density_and_coverage(real, fake, neighbours=k)
    np.testing.assert_allclose(found[:2], enumerated(real, fake, k), rtol=1e-12)


def test_without_ties_they_are_the_papers_counts():
    random = np.random.default_rng(0)
    real, fake = random.normal(size=(40, 3)), random.normal(size=(25, 3)) + 0.3
    apart = np.linalg.norm(real[:, None] - real, axis=2)
    radius = np.sort(apart, axis=1)[:, 5]  # the first is the row itself
    inside = np.linalg.norm(real[:, None] - fake, axis=2) < radius[:, None]
    found = density_and_coverage(real, fake)
    assert found.density == pytest.approx(inside.sum() / (5 * 25))
    assert found.coverage == pytest.approx(inside.any(axis=1).mean())
    swapped = density_and_coverage(fake, real)
    assert swapped.coverage != found.coverage  # the balls are the real rows'


@pytest.mark.parametrize("kind", ["normal", "grid", "mostly zeros"])
def test_of_one_distribution_the_means_are_known_whatever_it_is(kind):
    random = np.random.default_rng(0)
    draws = {
        "normal": lambda size: random.normal(size=(size, 2)),
        "grid": lambda size: random.integers(0, 3, (size, 2)),
        "mostly zeros": lambda size: (
            random.normal(size=(size, 1)) * (random.random((size, 1)) > 0.7)
        ),
    }
    n, m, k = 30, 20, 4
    found = np.asarray(
        [density_and_coverage(draws[kind](n), draws[kind](m), neighbours=k) for _ in range(400)]
    )
    error = found.std(axis=0) / 20
    assert abs(found[:, 0].mean() - 1) < 4 * error[0]
    known = 1 - np.prod([(n - j) / (n + m - j) for j in range(1, k + 1)])
    np.testing.assert_allclose(found[:, 2], known, rtol=1e-12)
    assert abs(found[:, 1].mean() - known) < 4 * error[1]


def test_samples_that_repeat_one_row_are_dense_and_cover_nothing():
    real = np.random.default_rng(0).normal(size=(300, 2))
    centre = real[np.argmin(np.abs(real).sum(axis=1))]
    found = density_and_coverage(real, np.repeat(centre[None], 300, axis=0))
    assert found.density > 0.5
    assert found.coverage < 0.05
    assert found.expected_coverage > 0.95


def test_far_samples_have_neither_and_outliers_do_not_help_them():
    random = np.random.default_rng(0)
    real = random.normal(size=(100, 2))
    assert density_and_coverage(real, real + 100)[:2] == (0, 0)
    # A real outlier has a wide ball, in which one would call samples real by precision.
    real[0] = 30.0
    found = density_and_coverage(real, random.normal(size=(100, 2)) + 15)
    assert found.density < 0.25
    assert found.coverage == pytest.approx(0.01)


def test_memory_is_flat_and_the_answer_the_same(monkeypatch):
    random = np.random.default_rng(0)
    real, fake = random.integers(0, 4, (50, 2)), random.integers(0, 4, (30, 2))
    whole = density_and_coverage(real, fake)
    monkeypatch.setattr(_density_and_coverage, "_TOGETHER", 170)
    parts = density_and_coverage(jnp.asarray(real), fake)
    np.testing.assert_allclose(parts, whole, rtol=1e-12)


@pytest.mark.parametrize("scale", [1e-300, 1e-160, 1e160, 1e300])
def test_scale_does_not_count(scale):
    random = np.random.default_rng(0)
    real, fake = random.normal(size=(40, 3)), random.normal(size=(25, 3)) + 0.3
    found = density_and_coverage(scale * real, scale * fake)
    np.testing.assert_allclose(found, density_and_coverage(real, fake), rtol=1e-12)


def test_repeated_rows_alone_are_covered_by_themselves():
    same = np.zeros((10, 2))
    found = density_and_coverage(same, same, neighbours=3)
    assert found.density == pytest.approx(1)
    assert found.coverage == pytest.approx(found.expected_coverage)
    assert density_and_coverage(same, same + 1, neighbours=3)[:2] == (0, 0)


@pytest.mark.parametrize(
    ("real", "fake", "neighbours", "message"),
    [
        (np.zeros(5), np.zeros((5, 1)), 1, r"`real` must be rows .* of one column take real"),
        (np.zeros((5, 1)), np.zeros((0, 1)), 1, "`fake` must be rows of numbers"),
        (np.zeros((5, 2)), np.zeros((5, 1)), 1, "the same columns, got 2 and 1"),
        (np.array([[0.0], [np.nan]]), np.zeros((5, 1)), 1, r"got \[nan\] in row 1"),
        (np.array([["a"]]), np.zeros((5, 1)), 1, "`real` must be rows of numbers"),
        (np.zeros((5, 1)), np.zeros((5, 1)), 5, "below the number of real rows, 5, got 5"),
        (np.zeros((5, 1)), np.zeros((5, 1)), 0, "`neighbours` must be 1 or more"),
    ],
)
def test_what_does_not_fit_is_refused(real, fake, neighbours, message, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ValueError, match=message):
        density_and_coverage(real, fake, neighbours=neighbours)
