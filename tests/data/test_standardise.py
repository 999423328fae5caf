"""The scaler of the training set: at every scale, on constant columns, and what it refuses."""

from typing import Any

import numpy as np
import pytest

from pullback import data


def test_standardise_uses_the_numbers_of_the_training_set_only():
    generator = np.random.default_rng(0)
    train, test = generator.normal(3, 2, size=(50, 2)), generator.normal(size=(9, 2))
    train[:, 1] = 7.0
    (a, b), scaler = data.standardise(train, test)
    np.testing.assert_allclose(a[:, 0].mean(), 0, atol=1e-14)
    np.testing.assert_allclose((a[:, 0] ** 2).mean(), 1)
    np.testing.assert_array_equal(a[:, 1], 0)
    np.testing.assert_allclose(b * scaler.scale + scaler.mean, test)
    (same,), _ = data.standardise(train.astype(np.float32))
    assert same.dtype == np.float32
    with pytest.raises(ValueError, match="number 1 has \\(3,\\)"):
        data.standardise(train, np.zeros((4, 3)))
    with pytest.raises(ValueError, match="at least one"):
        data.standardise(train[:0])


def test_a_held_out_number_beside_a_constant_column_keeps_its_distance():
    (train, test), scaler = data.standardise(np.full((1000, 1), 0.1), np.array([[0.2]]))
    np.testing.assert_array_equal(train, 0)
    np.testing.assert_allclose(test, [[0.1]])
    assert (scaler.mean, scaler.scale) == (0.1, 1)
    (one, none), scaler = data.standardise(np.array([[5.0, -3.0]]), np.zeros((0, 2)))
    assert one.tolist() == [[0, 0]]
    assert none.shape == (0, 2)
    assert scaler.scale.tolist() == [1, 1]


@pytest.mark.parametrize(
    ("dtype", "unit", "offset"),
    [
        (np.float64, 1e200, 0), (np.float64, 1e-310, 0), (np.float64, 5e307, 0),
        (np.float64, 1e-3, 1e6), (np.float32, 1e36, 0), (np.float32, 1e-30, 0),
        (np.float32, 1e-3, 1e3), (np.float16, 1.5e4, 0), (np.float16, 1e-3, 0),
    ],
)  # fmt: skip
def test_mean_zero_and_deviation_one_at_every_scale(dtype, unit, offset):
    train = (unit * np.random.default_rng(0).uniform(-3, 3, (500, 2)) + offset).astype(dtype)
    (z,), scaler = data.standardise(train)
    assert z.dtype == dtype
    assert np.isfinite(scaler.scale).all()
    atol = max(1e-9, 4 * np.finfo(dtype).eps * max(1, abs(offset) / unit))
    np.testing.assert_allclose(z.astype(float).mean(axis=0), 0, atol=atol)
    np.testing.assert_allclose(z.astype(float).std(axis=0), 1, atol=atol)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_number_that_is_none_is_named(bad):
    good, wrong = np.ones((3, 2)), np.ones((4, 2))
    wrong[2, 1] = bad
    for sets, name in (((wrong,), "`train`"), ((good, wrong), "the set after `train` number 1")):
        with pytest.raises(ValueError, match=f"{name} must be finite; row 2, column 1, is {bad}"):
            data.standardise(*sets)


def series(*columns, dtype: Any = np.float64):
    return data.irregular_series(
        [(np.arange(float(len(columns[0]))), np.stack(columns, 1).astype(dtype))]
    )


@pytest.mark.parametrize("method", ["standardise", "min-max"])
def test_series_are_scaled_alike(method):
    steps = np.linspace(-1.0, 1.0, 997)
    constants = [np.full(997, c) for c in np.geomspace(0.1, 100, 50)]
    varying = [1e200 * steps, 1e-310 * steps, 1e6 + 1e-3 * steps]
    (scaled,), scaler = data.rescale_series(series(*constants, *varying), method=method)
    np.testing.assert_array_equal(scaler.values.scale[:50], 1)
    np.testing.assert_array_equal(scaled.values[..., :50], 0)
    z = scaled.values[0, :, 50:]
    found = (z.mean(0), z.std(0)) if method == "standardise" else (z.min(0), z.max(0))
    np.testing.assert_allclose(found, np.array([[0], [1]]) * np.ones(3), atol=1e-6)
    (single,), _ = data.rescale_series(series(steps, dtype=np.float32), method=method)
    assert single.values.dtype == np.float32
    np.testing.assert_allclose(
        single.values[0, 0, 0], -1.729 if method == "standardise" else 0, atol=2e-3
    )


def test_series_refuse_what_cannot_be_scaled():
    whole = series(np.array([1.0, 2.0, 4.0]))
    holes = whole._replace(values=np.array([[[1.0], [np.nan], [4.0]]]))
    with pytest.raises(ValueError, match=r"observed values of set 1 must be finite; row 0, .* nan"):
        data.rescale_series(whole, holes)
    unseen = holes._replace(mask=np.isfinite(holes.values))
    (scaled, _), _ = data.rescale_series(unseen, unseen)
    np.testing.assert_allclose(scaled.values.ravel(), [-1, 0, 1])
    wide = series(np.array([-1.7e308, 1.7e308]))
    (scaled,), _ = data.rescale_series(wide)
    np.testing.assert_allclose(scaled.values.ravel(), [-1, 1])
    with pytest.raises(ValueError, match=r"range of variable 'x1'.*more than float64 holds"):
        data.rescale_series(wide, method="min-max")
