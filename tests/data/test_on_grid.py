"""Irregular series at equal steps."""

import numpy as np
import pytest

from pullback.data import irregular_series, long_table, on_grid

NAN = np.nan


def test_a_step_ends_with_its_last_value_and_what_was_not_observed_is_nan():
    seen = [[True, True], [True, False], [True, True], [False, True]]
    series = irregular_series(
        [
            ([0.0, 0.4, 0.9, 2.5], [[1.0, 7.0], [2.0, 0.0], [3.0, 0.0], [9.0, 4.0]], seen),
            ([1.0], [[5.0, 6.0]]),
        ],
        variables=["pulse", "weight"],
        units=["1/min", "kg"],
        time_unit="h",
        targets=[1.0, 0.0],
    )
    found = on_grid(series, 1.0)
    np.testing.assert_array_equal(found.times, [0.0, 1.0, 2.0])
    want = [[[3.0, 0.0], [NAN, NAN], [NAN, 4.0]], [[NAN, NAN], [5.0, 6.0], [NAN, NAN]]]
    np.testing.assert_array_equal(found.values, want)
    assert found.values.dtype == series.values.dtype
    assert (found.ids, found.variables) == (("0", "1"), ("pulse", "weight"))
    assert (found.units, found.time_unit) == (("1/min", "kg"), "h")
    np.testing.assert_array_equal(found.targets, [1.0, 0.0])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_times_on_the_grid_begin_their_own_step_whatever_their_rounding(dtype):
    times = (np.arange(1000) * dtype(0.1)).astype(dtype)
    found = on_grid(irregular_series([(times, np.arange(1000.0))]), 0.1)
    np.testing.assert_array_equal(found.values[0, :, 0], np.arange(1000.0))


def test_steps_begin_before_zero_too():
    found = on_grid(irregular_series([([-1.5, 0.5], [1.0, 2.0])]), 1.0)
    np.testing.assert_array_equal(found.times, [-2.0, -1.0, 0.0])
    np.testing.assert_array_equal(found.values[0, :, 0], [1.0, NAN, 2.0])


def test_a_long_table_is_its_series(tmp_path):
    path = tmp_path / "long.csv"
    path.write_text("id,time,variable,value\na,0.5,pulse,60\na,2,pulse,70\nb,1,pulse,80\n")
    table = long_table(path, series="id", time="time", variable="variable", value="value")
    found = on_grid(table, 1.0)
    np.testing.assert_array_equal(found.values[:, :, 0], [[60, NAN, 70], [NAN, 80, NAN]])


def test_what_has_no_grid_is_refused():
    series = irregular_series([([0.0, 1e6], [1.0, 2.0])], time_unit="s")
    with pytest.raises(ValueError, match=r"`step` of 1.0 makes 1000001 steps.*\(s\)"):
        on_grid(series, 1.0)
    for step in (0.0, -1.0, NAN, np.inf):
        with pytest.raises(ValueError, match="`step` must be positive and finite"):
            on_grid(series, step)
    for step in (1e-300, 5e-324):
        with pytest.raises(ValueError, match=f"`step` of {step} makes .* steps"):
            on_grid(series, step)
    for step in ("1", None):
        with pytest.raises(TypeError, match="`step` must be a number"):
            on_grid(series, step)
    with pytest.raises(TypeError, match=r"`series` must be IrregularSeries.*got ndarray"):
        on_grid(np.zeros((2, 3)), 1.0)
    with pytest.raises(ValueError, match="must hold an observation"):
        on_grid(series._replace(mask=np.zeros_like(series.mask)), 1.0)
