"""Columns of any kind as columns of mean 0 and covariance I, and back."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from pullback.tasks._columns import Repeats, fit_columns, with_a_density
from pullback.tasks._mixture import MOST, choose_kind
from pullback.tasks._padded import CHUNK, in_chunks, padded
from pullback.tasks._report import kernel_density, split


def table(rows=400):
    random = np.random.default_rng(0)
    heavy, skewed = random.standard_t(2, rows), np.exp(random.normal(size=rows))
    grid = random.integers(0, 9, rows) * 0.1
    return np.stack([heavy + skewed, skewed, grid], axis=1)


@pytest.mark.parametrize("copula", [False, True])
def test_the_map_has_the_slope_that_it_says_and_an_inverse(copula):
    x = table()
    repeats = Repeats.of(x)
    np.testing.assert_allclose(repeats.step, [0, 0, 0.1], atol=1e-12)
    x = repeats.spread(x, np.random.RandomState(0))
    found = fit_columns(x, repeats._replace(step=np.zeros(3)), copula=copula)
    assert found.log.tolist() == [False, True, False]
    far = np.concatenate([x, 3 * x[:50], x.mean(axis=0) + 30 * np.abs(x[:50])])
    z, log_det = found.to_line(far)
    np.testing.assert_allclose(found.from_line(z), far, rtol=1e-9, atol=1e-9)
    step = 1e-6 * np.eye(3)
    slopes = [(found.to_line(far + h)[0] - found.to_line(far - h)[0]) / 2e-6 for h in step]
    known = np.linalg.slogdet(np.stack(slopes, axis=2))[1]
    np.testing.assert_allclose(log_det, known, atol=1e-5)
    # The covariance is shrunk a little before it is taken for that of the rows.
    np.testing.assert_allclose(np.cov(found.to_line(x)[0].T), np.eye(3), atol=0.2)


def test_a_row_outside_of_the_support_has_no_density_and_a_draw_lies_on_the_grid():
    x = table()
    found = fit_columns(x, Repeats.of(x), copula=False)
    _, log_det = found.to_line(np.array([[0.0, -1.0, 0.3], [0.0, 0.0, 0.3], [0.0, 1.0, 0.3]]))
    assert np.isneginf(log_det).tolist() == [True, True, False]
    z, _ = found.to_line(x + np.array([0, 0, 0.03]))
    np.testing.assert_allclose(found.from_line(z)[:, 2], x[:, 2], atol=1e-9)


@pytest.mark.parametrize(
    ("column", "step", "uneven"),
    [
        (np.arange(40) % 10, 1.0, False),
        (np.asarray([0.1, 0.3, 0.2, 0.7] * 10, np.float32), 0.1, False),
        ([0.0, 1.0] * 20, 1.0, False),
        ([0.0, 1.0, 2.618] * 14, 0.0, True),
        ([0.0, 0.33, 0.67, 1.0] * 10, 0.0, True),
        ([0.0, 1.0, 2.0, 3.04] * 10, 0.0, True),
        ([0.1, 0.2, 0.299999, 0.5] * 10, 0.1, False),  # decimals that were rounded
        (np.linspace(0, 1, 40), 0.0, False),
    ],
)
def test_repeats_are_found(column, step, uneven):
    found = Repeats.of(np.asarray(column, float)[:, None])
    np.testing.assert_allclose(found.step, [step], rtol=1e-6)
    assert found.uneven.tolist() == [uneven]


def test_whole_numbers_from_0_on_are_not_taken_as_logarithms():
    counts = np.random.default_rng(0).poisson(2.0, (200, 1)).astype(float)
    for shift, log in ((0.0, False), (1.0, True)):
        repeats = Repeats.of(counts + shift)
        spread = np.abs(repeats.spread(counts + shift, np.random.RandomState(0)))
        assert fit_columns(spread, repeats, copula=False).log.tolist() == [log]


def test_noise_stays_within_half_a_step_and_half_the_way_to_the_next_value():
    x = np.stack([np.arange(600) % 5, np.tile([0.0, 1.0, 2.618], 200)], axis=1)
    moved = Repeats.of(x).spread(x, np.random.RandomState(0)) - x
    assert 0.45 < np.abs(moved[:, 0]).max() <= 0.5
    # Toward the nearer neighbour alone is the way known: it is 1 for 0 and for 1, and 1.618.
    largest = [np.abs(moved[k::3, 1]).max() for k in range(3)]
    np.testing.assert_allclose(largest, [0.5, 0.5, 0.809], rtol=0.03)


def test_columns_without_a_density_are_named():
    x = table(100)
    x = np.column_stack([x, np.ones(100), x[:, 0] - 2 * x[:, 1] + 5])
    assert with_a_density(x, "abcde") == {
        3: "the same in all rows", 4: "it follows from the columns before it"
    }  # fmt: skip
    assert with_a_density(x[:4, :3], "abc") == {}


def test_the_mixture_is_that_of_scikit_learn_whatever_is_padded():
    random = np.random.default_rng(0)
    x = np.concatenate([random.normal(size=(300, 3)) * [1, 2, 0.5], random.normal(5, 1, (300, 3))])
    random.shuffle(x)
    mixture = choose_kind(x, [(np.arange(400), np.arange(400, len(x)))], 0)[0].fit(x[:400], 0)
    assert 2 <= len(mixture.mean) <= 3
    covariance = np.linalg.inv(np.swapaxes(mixture.root, 1, 2) @ mixture.root)
    parts = [
        weight + multivariate_normal(mean, cov).logpdf(x)
        for weight, mean, cov in zip(mixture.log_weight, mixture.mean, covariance, strict=True)
    ]
    np.testing.assert_allclose(mixture.log_prob(x), np.asarray(logsumexp(parts, axis=0)), rtol=1e-9)
    base = mixture.base(8)
    assert base.mean.shape == (MOST, 8)
    wide = jnp.asarray(np.pad(x, ((0, 0), (0, 5))), jnp.float32)
    np.testing.assert_allclose(base.log_prob(wide), mixture.log_prob(x), rtol=1e-4, atol=1e-4)
    slope = jax.grad(lambda base: base.log_prob(wide).sum())(base)
    assert all(np.isfinite(part).all() for part in jax.tree.leaves(slope))
    draws = np.asarray(base.sample(jax.random.key(0), (20_000,)), float)
    assert (draws[:, 3:] == 0).all()
    mean = np.exp(mixture.log_weight) @ mixture.mean
    np.testing.assert_allclose(draws[:, :3].mean(axis=0), mean, atol=0.08)
    np.testing.assert_allclose(np.cov(draws[:, :3].T), np.cov(x.T), atol=0.4)


@pytest.mark.parametrize("count", [1, 63, 64, 100])
def test_padded_rows_weigh_what_rows_weigh(count):
    places, weights = padded(count, 64)
    assert len(places) == (64 if count <= 64 else 128)
    values = np.random.default_rng(0).normal(size=count)
    np.testing.assert_allclose((weights * values[places]).mean(), values.mean())


def test_a_function_of_chunks_sees_one_size_alone():
    sizes = []

    def function(rows):
        sizes.append(len(rows))
        return rows.sum(axis=1)

    x = np.random.default_rng(0).normal(size=(CHUNK + 3, 2))
    np.testing.assert_array_equal(in_chunks(function, x), x.sum(axis=1))
    assert sizes == [CHUNK, CHUNK]
    assert in_chunks(function, x[:0]).shape == (0,)


def test_parts_are_apart_and_kernels_have_the_mass_one():
    parts = split(200, np.random.RandomState(0))
    assert sorted(np.concatenate(parts).tolist()) == list(range(200))
    assert [len(part) for part in parts] == [140, 30, 30]
    random = np.random.default_rng(0)
    grid = np.linspace(-8, 8, 2001)[:, None]
    found = kernel_density(random.normal(size=(200, 1)), random.normal(size=(50, 1)), grid)
    assert np.trapezoid(np.exp(found), grid[:, 0]) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("step", [0.01, 0.1, 0.25, 1.0, 3.0, 1e6])
def test_a_draw_on_a_grid_is_the_number_that_one_would_write(step):
    x = np.random.default_rng(0).integers(800, 1500, (200, 1)) * step
    column = fit_columns(x + 0.3 * step, Repeats.of(x), copula=False)
    drawn = column.from_line(np.linspace(-2, 2, 101)[:, None])[:, 0]
    shortest = [repr(value).removesuffix(".0") for value in drawn.tolist()]
    assert [f"{value:.12g}" for value in drawn] == shortest


@pytest.mark.parametrize("values", [[-1.0, 1.0], [0.5, 1.5, 2.5], [10.25, 10.5, 10.75], [3.0, 7.0]])
def test_draws_lie_on_a_grid_that_0_is_no_place_of(values):
    x = np.random.default_rng(0).choice(values, (300, 1))
    repeats = Repeats.of(x)
    column = fit_columns(repeats.spread(x, np.random.RandomState(0)), repeats, copula=False)
    drawn = column.from_line(np.linspace(-1, 1, 51)[:, None])[:, 0]
    places = (drawn - values[0]) / (values[1] - values[0])
    np.testing.assert_allclose(places, np.round(places), atol=1e-12)
    assert set(values) & set(drawn.tolist())


@pytest.mark.parametrize("values", [[10.0, 20.4], [0.03, 1.03, 2.03], [9.9, 10.0, 10.2]])
def test_a_grid_goes_through_the_values_seen(values):
    x = np.resize(values, 40)[:, None]
    repeats = Repeats.of(x)
    places = (x[:, 0] - repeats.origin) / repeats.step
    np.testing.assert_allclose(places, np.round(places), atol=1e-9)
    z, _ = fit_columns(x, repeats, copula=False).to_line(x)
    np.testing.assert_allclose(fit_columns(x, repeats, copula=False).from_line(z), x, rtol=1e-12)
