"""Trajectories of tables and arrays: the unit of times is told, and sizes are what they hold."""

import numpy as np
import pandas as pd
import pytest

from pullback.tasks._trajectories import read_trajectories


@pytest.mark.parametrize("unit", ["D", "h", "s", "ns"])
def test_dates_are_never_counted_in_the_unit_of_their_type(unit):
    times = np.array(["2024-01-31", "2024-02-01", "2024-02-02"], f"M8[{unit}]")
    ys = np.arange(3.0)
    with pytest.raises(ValueError, match=rf"got dates \(datetime64\[{unit}\]\).* / np.timedelta64"):
        read_trajectories(times, ys)
    with pytest.raises(ValueError, match=r"got durations .*: \(ts\) / np\.timedelta64\(1, 'h'\)"):
        read_trajectories([times - times[0]], [ys])
    with pytest.raises(ValueError, match="got dates"):
        read_trajectories(np.arange(3.0), times)
    hours = (times - times[0]) / np.timedelta64(1, "h")
    assert read_trajectories(hours, ys).paths[0].ts.tolist() == [0, 24, 48]


def test_rows_of_several_series_are_told_apart_wherever_they_stand():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"id": rng.integers(0, 300, 3000), "t": rng.random(3000)})
    frame["x"] = np.sin(frame.t) + frame.id
    found = read_trajectories(frame)
    assert [path.name for path in found.paths] == list(map(str, frame.id.drop_duplicates()))
    for path in found.paths:
        own = frame[frame.id == int(path.name)].sort_values("t")
        np.testing.assert_array_equal(path.ts, own.t)
        np.testing.assert_array_equal(path.ys[:, 0], own.x)


def test_a_variable_for_each_row_is_refused_with_what_it_would_take():
    rows = 20_000
    frame = pd.DataFrame({"t": np.arange(rows), "variable": np.arange(rows), "value": 1.0})
    with pytest.raises(ValueError, match=r"20000 different names in 20000 rows, .* 2\.98 GiB"):
        read_trajectories(frame)
