"""Means and deviations against exact rational arithmetic, over the whole range of each dtype."""

import math
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pullback._location_scale import location_and_scale

EAGER, COMPILED = location_and_scale, jax.jit(location_and_scale)
WAYS = {"host": lambda x: EAGER(np.asarray(x)), "eager": EAGER, "compiled": COMPILED}
# Fast as it is, XLA has no numbers that are not normal: those belong to the host.
HUGE, TINY = np.finfo(np.float64).max, 5e-324


def exactly(column) -> tuple[float, float]:
    """Mean and deviation, rounded once."""
    values = [Fraction(float(v)) for v in column]
    mean = sum(values) / len(values)
    variance = sum((v - mean) ** 2 for v in values) / len(values)
    # Of a rational in units that keep its root in range.
    unit = max(abs(v - mean) for v in values)
    root = Fraction(math.sqrt(variance / unit**2)) * unit if unit else Fraction(0)
    return float(mean), float(root)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("rows", [1, 2, 997])
def test_a_constant_column_has_the_scale_one_and_itself_for_its_mean(way, rows):
    for dtype in (np.float64, np.float32):
        values = np.concatenate([np.geomspace(0.1, 100, 1000), [0, 1e30, -1e-30]]).astype(dtype)
        x = np.tile(values, (rows, 1))
        found = WAYS[way](x if way == "host" else jnp.asarray(x))
        assert np.all(found.constant)
        assert np.all(np.asarray(found.scale) == 1)
        np.testing.assert_array_equal(found.mean, values)
        assert found.mean.dtype == found.scale.dtype == dtype


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("unit", "offset"),
    [(10.0**n, a) for n in (-300, -160, -12, 0, 12, 200) for a in (0.0, 1.0, -1e6)] + [(4e307, 0)],
)
def test_any_scale_and_offset_of_float64(way, unit, offset):
    x = unit * (offset + np.random.default_rng(0).uniform(-4, 4, 60))
    mean, scale = exactly(x)
    found = WAYS[way](x if way == "host" else jnp.asarray(x))
    np.testing.assert_allclose(found.mean, mean, rtol=1e-14, atol=1e-14 * scale)
    np.testing.assert_allclose(found.scale, scale, rtol=1e-13)
    assert not found.constant


@pytest.mark.parametrize(
    ("column", "mean", "scale"),
    [
        ([HUGE, -HUGE], 0.0, HUGE),
        ([HUGE, HUGE, 0.0, 0.0], HUGE / 2, HUGE / 2),
        ([1e-310, 3e-310], 2e-310, 1e-310),
        ([TINY, 0.0, 0.0, 0.0], 0.0, TINY),  # less than the least number, yet not 0
        ([0.3, 0.1 + 0.2], 0.3, 2**-55),
    ],
)
def test_the_ends_of_the_range_on_the_host(column, mean, scale):
    found = location_and_scale(np.array(column))
    np.testing.assert_allclose(found.mean, mean, rtol=1e-15, atol=TINY)
    np.testing.assert_allclose(found.scale, scale, rtol=1e-12, atol=0)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, jnp.float32])
@pytest.mark.parametrize("unit", [1e-4, 1.0, 1.5e4])
def test_short_dtypes_are_added_up_in_a_longer_one(way, dtype, unit):
    # The squares of 15,000 overflow float16, and a sum of 3,000 ones in it stays at 2,048.
    x = jnp.asarray(unit * np.random.default_rng(1).uniform(1, 4, 3000), dtype)
    mean, scale = exactly(x)
    found = WAYS[way](np.asarray(x) if way == "host" else x)
    rtol = float(jnp.finfo(dtype).eps)
    assert found.scale.dtype == found.mean.dtype == dtype
    np.testing.assert_allclose(float(found.mean), mean, rtol=rtol)
    np.testing.assert_allclose(float(found.scale), scale, rtol=rtol, atol=6e-8)


@pytest.mark.parametrize("way", WAYS)
def test_a_small_relative_spread_is_one(way):
    noise = np.random.default_rng(2).standard_normal(1000)
    x = np.stack([1e6 + 1e-3 * noise, np.full(1000, 1e6), noise], axis=1)
    found = WAYS[way](x if way == "host" else jnp.asarray(x))
    np.testing.assert_allclose(found.scale, [1e-3 * noise.std(), 1, noise.std()], rtol=1e-6)
    np.testing.assert_array_equal(found.constant, [False, True, False])
