"""Times through a cast: what lies between them stays, or an error names the cast."""

import re

import jax.numpy as jnp
import numpy as np
import pytest

from pullback import data
from pullback._times import cast_times
from pullback.models import timeseries as ts

UNIX = 1706695200.0 + np.array([0.0, 1.0, 60.0])


@pytest.mark.parametrize(
    ("times", "dtype", "message"),
    [
        (UNIX, np.float32, "1706695200.0 and 1706695201.0 become the same, 1706695168.0"),
        (1.7e9 + np.array([0.0, 300.0, 900.0]), np.float32, "1700000300.0 becomes 1700000256.0"),
        (np.array([0.0, 1e5, 1e6]), np.float16, "100000.0 becomes inf"),
        (10**18 + np.array([0, 1, 500]), np.float64, "1000000000000000000 and 1000000000000000001"),
        (np.array([256.0, 257.0]), jnp.bfloat16, "256.0 and 257.0 become the same, 256"),
    ],
)
def test_a_cast_that_loses_is_named(times, dtype, message):
    for shown in (times, np.stack([np.arange(len(times)), times])):
        with pytest.raises(ValueError, match=re.escape(message)) as error:
            cast_times("`t`", shown, dtype)
        assert np.dtype(dtype).name in str(error.value)
        assert ("row 1" in str(error.value)) == (shown.ndim == 2)


@pytest.mark.parametrize("dates", [np.array(["2024-01-31"], "M8[D]"), np.array([3], "m8[s]")])
def test_dates_are_no_numbers(dates):
    """Cast, they would be whole numbers of whatever unit they were kept in."""
    with pytest.raises(TypeError, match=r"`t` must be numbers, got .*64: .*/ np.timedelta64"):
        cast_times("`t`", dates, np.float32)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, jnp.bfloat16])
def test_what_a_dtype_can_hold_goes_through(dtype):
    for times in (
        np.linspace(0, 1, 11),
        np.array([1e3]),
        np.zeros((2, 0)),
        np.array([[0.0, 1.0, 1.0]]),
    ):
        found = cast_times("`t`", times, dtype)
        np.testing.assert_array_equal(found, times.astype(dtype))
    days = 19753 + np.linspace(0, 30, 31)
    np.testing.assert_array_equal(cast_times("`t`", days, np.float32), days)


def test_seconds_since_1970_become_observations_by_way_of_the_scaler(x32):
    series = data.irregular_series([(UNIX, np.array([1.0, 2.0, 3.0]))])
    with pytest.raises(ValueError, match=r"1706695201.0 become the same.*rescale_series"):
        ts.observations(series)
    with pytest.raises(ValueError, match="cast to float32"):
        ts.observations(series, window=(1706695199.0, 1706695300.0))
    (scaled,), scaler = data.rescale_series(series)
    found = ts.observations(scaled)
    assert found.times.dtype == jnp.float32
    np.testing.assert_allclose(found.times, [[0, 1 / 60, 1]], rtol=1e-7)
    np.testing.assert_array_equal(scaler.undo(scaled).times, series.times)


def test_observations_keep_float64_times_and_refuse_a_value_beyond_the_dtype():
    series = data.irregular_series([(UNIX, np.array([1.0, 2.0, 1e39]))])
    np.testing.assert_array_equal(ts.observations(series).times, [UNIX])
    near = series._replace(times=series.times - UNIX[0])
    with pytest.raises(ValueError, match=r"series 0, place 2: the value 1e\+39 is more"):
        ts.observations(near, dtype=jnp.float32)


def test_the_scaler_says_where_short_times_merge():
    times = np.array([[-1e9, 1e-3, 2e-3]], np.float32)
    series = data.irregular_series([(times[0], np.ones(3))])
    with pytest.raises(ValueError, match="cast to float32"):
        data.rescale_series(series)


@pytest.mark.parametrize(
    ("times", "message"),
    [
        (
            np.array(["2024-01-31T10:00", "2024-01-31T10:01"], "M8[s]"),
            "has dates for times",
        ),
        (["a", "b"], "numbers for times"),
        (np.array([1, 2]) + 1j, "numbers for times, got complex128"),
        (1706695200123456789 + np.array([0, 1]), "1706695200123456789 and 1706695200123456790"),
    ],
)
def test_series_take_times_that_are_numbers(times, message):
    with pytest.raises(ValueError, match=message):
        data.irregular_series([(times, np.ones(2))])


def test_long_files_keep_their_times_apart(tmp_path):
    def read(rows, **options):
        file = tmp_path / "long.csv"
        file.write_text("id,time,variable,value\n" + "".join(f"a,{t},x,1\n" for t in rows))
        return data.read_long(file, **options)

    assert np.diff(read(["1706695200", "1706695201", "1706695260"]).times).tolist() == [[1, 59]]
    with pytest.raises(data.DataError, match="line 2: '1706695200123456789' in column"):
        read(["1706695200123456789", "1706695200123456790"], on_duplicate="mean")
    dates = ["2024-01-31T10:00:00.000001", "2024-01-31T10:00:00.000002"]
    found = read(dates, time_unit="s")
    np.testing.assert_allclose(found.times, [[0, 1e-6]])
    with pytest.raises(data.DataError, match="shorter `time_unit`"):
        read(["0001-01-01T00:00:00", "9999-01-31T10:00:00.000001", "9999-01-31T10:00:00.000002"])
