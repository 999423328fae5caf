"""Times of files: what they are is told, or asked for, and never guessed."""

import datetime

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pullback.data import DataError, read_long, read_ratings

HEADER = "series,time,variable,value\n"


@pytest.fixture
def long(tmp_path):
    def write(*times, head="time", quote=False):
        marks = ['"' * quote + time + '"' * quote for time in times]
        rows = "".join(f"a,{time},v,{k}\n" for k, time in enumerate(marks))
        (tmp_path / "t.csv").write_text(HEADER.replace("time", head) + rows)
        return tmp_path / "t.csv"

    return write


@pytest.mark.parametrize(
    ("times", "pattern", "hours"),
    [
        (["20240131", "20240201"], "%Y%m%d", 24),
        (["202401", "202402"], "%Y%m", 31 * 24),
        (["2024013123", "2024020100"], "%Y%m%d%H", 1),
        (["202401312359", "202402010000"], "%Y%m%d%H%M", 1 / 60),
        (["20240131235959", "20240201000000"], "%Y%m%d%H%M%S", 1 / 3600),
    ],
)
def test_numbers_that_are_dates_too_are_asked_about(long, times, pattern, hours):
    file = long(*times)
    with pytest.raises(DataError, match="may be numbers or dates") as caught:
        read_long(file)
    for said, what in ((pattern, "dates"), ("number", "numbers")):
        flag = f"`time_format='{said}'` (on the command line --time-format '{said}') for {what}"
        assert flag in str(caught.value)
    dates = read_long(file, time_format=pattern)
    assert dates.time_unit == "h"
    np.testing.assert_allclose(dates.times, [[0, hours]], rtol=0, atol=1e-12)
    plain = read_long(file, time_format="number")
    assert plain.times.tolist() == [list(map(float, times))]


@pytest.mark.parametrize(
    "times",
    [
        ["20240131", "20240132"],  # of which the second is none
        ["20240131", "7"],
        ["18991231", "18991230"],
        ["881250949", "891717742"],  # MovieLens 100K: seconds since 1970
        ["1147880044", "1147868817"],
        ["2023", "2024"],
        ["20241301", "20240229"],
        ["20240131.5", "20240201"],
    ],
)
def test_other_numbers_are_numbers(long, times):
    assert read_long(long(*times)).times.tolist() == [sorted(map(float, times))]


def test_digits_among_dates_are_dates(long):
    for times in (["20240131", "2024-02-01"], ["2024-01-31", "20240201"]):
        assert read_long(long(*times)).times.tolist() == [[0, 24]]


@pytest.mark.parametrize(
    ("times", "patterns"),
    [
        (["31.01.2024", "1.02.2024"], ["%d.%m.%Y"]),
        (["1/31/2024 10:00", "2/1/2024 0:30"], ["%m/%d/%Y %H:%M"]),
        (["31/01/2024 10:00:00", "01/02/2024 10:00:00"], ["%d/%m/%Y %H:%M:%S"]),
        (["1/2/2024", "3/4/2024"], ["%d/%m/%Y", "%m/%d/%Y"]),
        (["2024/01/31", "2024/02/01"], ["%Y/%m/%d"]),
        (["31-Jan-2024", "01-Feb-2024"], ["%d-%b-%Y"]),
        (["Jan 31 2024", "Feb 1 2024"], ["%b %d %Y"]),
        (["1/31/2024 10:00 PM", "2/1/2024 1:30 AM"], ["%m/%d/%Y %I:%M %p"]),
        (["31.01.2024T10:00:00.5", "31.01.2024T11:00:00.25"], ["%d.%m.%YT%H:%M:%S.%f"]),
        (["2024-01-31 10:00:00 UTC", "2024-02-01 10:00:00 UTC"], ["%Y-%m-%d %H:%M:%S UTC"]),
        (["31.01.2024 10:00 +0100", "01.02.2024 10:00 +0000"], ["%d.%m.%Y %H:%M %z"]),
        (["01/2024", "02/2024"], ["%m/%Y"]),
    ],
)
def test_dates_in_another_notation_are_read_by_the_pattern_that_is_proposed(long, times, patterns):
    file = long(*times)
    with pytest.raises(DataError, match="line 2: the times in column 'time' are neither") as caught:
        read_long(file)
    told = str(caught.value)
    assert repr(times[0]) in told
    for pattern in patterns:
        assert repr(pattern) in told
        found = read_long(file, time_format=pattern, origin="epoch")
        zone = datetime.UTC if pattern.endswith("z") else None
        epoch = datetime.datetime(1970, 1, 1, tzinfo=zone)
        wanted = [(datetime.datetime.strptime(t, pattern) - epoch).total_seconds() for t in times]
        np.testing.assert_allclose(found.times[0] * 3600, sorted(wanted), rtol=0, atol=1e-5)
        assert found.time_unit == "h since 1970-01-01" + ("T00:00Z" if zone else "")
    assert "--time-format" in told
    assert (len(patterns) > 1) == ("say which" in told)
    assert told.count("%Y") == (2 if len(patterns) == 1 else len(patterns))


def test_a_comma_before_the_hour(long):
    file = long("31.01.2024, 10:00", "01.02.2024, 10:00", quote=True)
    with pytest.raises(DataError, match=r"`time_format='%d\.%m\.%Y, %H:%M'`"):
        read_long(file)
    assert read_long(file, time_format="%d.%m.%Y, %H:%M").times.tolist() == [[0, 24]]


@pytest.mark.parametrize(
    ("times", "told"),
    [
        (["10:00", "11:30:15"], "write its date before it"),
        (["week 3", "week 4"], r"Say how they are written, .* '%d.%m.%Y %H:%M'"),
        (["31.01.2024", "soon"], "Say how they are written"),
        (["31.01.2024", "01.02.2024 10:00"], "Say how they are written"),
        (["x" * 130_000, "y"], r"x\.\.\.' \(130000 letters\)"),
    ],
)
def test_times_for_which_no_pattern_is_known(long, times, told):
    with pytest.raises(DataError, match=told) as caught:
        read_long(long(*times * 15))
    assert len(str(caught.value)) < 500


def test_a_pattern_that_does_not_fit(long):
    with pytest.raises(DataError) as caught:
        read_long(long("31.01.2024", "01.02.2024"), time_format="%m/%d/%Y")
    assert "line 2: no time in column 'time' is as time_format='%m/%d/%Y' says" in str(caught.value)
    assert "Say `time_format='%d.%m.%Y'`" in str(caught.value)
    with pytest.raises(DataError) as caught:
        read_long(long("31.01.2024", "2024-01-31", "", "17"), time_format="%d.%m.%Y")
    told = str(caught.value).split("\n")[1:]
    wanted = "expected a time such as '01.11.2023', as `time_format` says, in column 'time'"
    assert told == [
        f"  line 3: {wanted}; got '2024-01-31'.",
        f"  line 4: {wanted}; the cell is empty.",
        f"  line 5: {wanted}; got '17'.",
    ]


@pytest.mark.parametrize("pattern", ["%H:%M", "%Y", "%d.%m.", "%Q", "%", "dd.mm.yyyy", ""])
def test_what_is_no_pattern_of_a_date(long, pattern):
    for read in (read_long, read_ratings):
        with pytest.raises(ValueError, match="`time_format` must be a pattern of strptime"):
            read(long("1"), time_format=pattern)
    with pytest.raises(TypeError, match="time_format"):
        read_long(long("1"), time_format=8)


@pytest.mark.parametrize(
    "called", ["h", "hours", "Hours", "hr", "d", "days", "min", "minutes", "s"]
)
def test_the_unit_in_the_header_of_dates(long, called):
    found = read_long(long("2024-01-31", "2024-02-01", head=f"time [{called}]"))
    unit, day = {"h": ("h", 24), "d": ("d", 1), "m": ("min", 1440), "s": ("s", 86400)}[
        called[0].lower()
    ]
    assert (found.time_unit, found.times.tolist()) == (unit, [[0, day]])


def test_a_header_in_which_dates_cannot_be_counted(long):
    file = long("2024-01-31", "2024-02-01", head="time [UTC]")
    with pytest.raises(DataError, match=r"cannot be counted in 'UTC'.*; say time_unit='h'"):
        read_long(file)
    assert read_long(file, time_unit="d").times.tolist() == [[0, 1]]
    assert read_long(long("1", "2", head="time [hours]")).time_unit == "hours"


def _table(times) -> dict:
    return {"series": ["a", "a"], "time": times, "variable": ["v", "v"], "value": [1.0, 2.0]}


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("head", ["time", "time [d]"])
def test_the_unit_of_dates_is_never_that_of_their_type(tmp_path, unit, head):
    times = np.array(["2024-01-31", "2024-02-01T12"], f"M8[{unit}]")
    columns = {head if name == "time" else name: cells for name, cells in _table(times).items()}
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    given = [pd.DataFrame(columns), tmp_path / "t.parquet"]
    if unit != "s":
        given.append(pl.DataFrame(columns))
    for each in given:
        found = read_long(each)
        assert found.time_unit == ("h" if head == "time" else "d")
        np.testing.assert_array_equal(found.times, [[0, 36 if head == "time" else 1.5]])
        seconds = read_long(each, time_unit="s")
        assert (seconds.time_unit, seconds.times.tolist()) == ("s", [[0, 129600]])


def test_whole_numbers_of_parquet_and_frames_that_are_dates_too(tmp_path):
    for cells in (pa.array([20240131, 20240201]), pa.array([20240131.0, 20240201.0])):
        table = pa.table(_table(cells))
        pq.write_table(table, tmp_path / "t.parquet")
        for given in (tmp_path / "t.parquet", table.to_pandas()):
            with pytest.raises(DataError, match="may be numbers or dates"):
                read_long(given)
            assert read_long(given, time_format="%Y%m%d").times.tolist() == [[0, 24]]
            found = read_long(given, time_format="number")
            assert found.times.tolist() == [[20240131, 20240201]]


def test_durations_are_refused_with_what_to_do(tmp_path):
    hours = np.array([1, 2], "m8[h]").astype("m8[us]")
    pq.write_table(pa.table(_table(pa.array(hours))), tmp_path / "t.parquet")
    frame = pd.DataFrame(_table(hours))
    for given in (tmp_path / "t.parquet", frame, pl.DataFrame(_table(hours))):
        with pytest.raises(DataError, match=r"holds durations; .* / pd.Timedelta\(hours=1\)"):
            read_long(given)


def test_times_of_ratings(tmp_path):
    file = tmp_path / "films.csv"
    file.write_text("user,item,rating,date\na,x,1,02.01.1970\nb,x,2,01.01.1970\n")
    with pytest.raises(DataError, match="--time-format"):
        read_ratings(file)
    assert read_ratings(file, time_format="%d.%m.%Y").times.tolist() == [86400, 0]
    file.write_text("user,item,rating,date\na,x,1,20240102\nb,x,2,20240101\n")
    with pytest.raises(DataError, match="may be numbers or dates"):
        read_ratings(file)
    found = read_ratings(file, time_format="%Y%m%d").times
    assert (found[0] - found[1]) == 86400
    assert read_ratings(file, time_format="number").times.tolist() == [20240102, 20240101]


NANOSECONDS = ("2024-01-31T10:00:00.000000001", "2024-01-31T10:00:00.000000002")


@pytest.mark.parametrize("kind", ["csv", "parquet", "frame"])
def test_times_that_differ_in_nanoseconds_are_not_merged(tmp_path, kind):
    def given(times):
        if kind == "csv":
            pd.DataFrame(_table(times)).to_csv(tmp_path / "t.csv", index=False)
            return tmp_path / "t.csv"
        frame = pd.DataFrame(_table(np.array(times, "M8[ns]")))
        if kind == "parquet":
            frame.to_parquet(tmp_path / "t.parquet")
        return tmp_path / "t.parquet" if kind == "parquet" else frame

    with pytest.raises(DataError, match="at this time, of which the microseconds count, on"):
        read_long(given(NANOSECONDS))
    for how in ("mean", "last"):
        with pytest.raises(DataError, match=r"'time' have nanoseconds, .*; round them to micro"):
            read_long(given(NANOSECONDS), on_duplicate=how)
    # Apart by more, they are what they are to the microsecond.
    for last in ("2024-01-31T11:00:00.000000999", "2024-01-31T11:00"):
        for how in ("error", "mean", "last"):
            found = read_long(given((NANOSECONDS[0], last)), on_duplicate=how)
            assert found.times.tolist() == [[0, 1]]
    # Without nanoseconds two rows of one time are merged, as was asked.
    same = ("2024-01-31T10:00:00.123456000",) * 2
    assert read_long(given(same), on_duplicate="mean").values.tolist() == [[[1.5]]]


@pytest.mark.parametrize("kind", ["csv", "parquet", "frame"])
def test_times_that_a_float_cannot_tell_apart_are_refused(tmp_path, kind):
    times = [2**53, 2**53 + 1]
    frame, given = pd.DataFrame(_table(times)), tmp_path / f"t.{kind}"
    if kind == "frame":
        given = frame
    elif kind == "csv":
        frame.to_csv(given, index=False)
    else:
        frame.to_parquet(given)
    with pytest.raises(DataError, match="2 bad rows:") as caught:
        read_long(given, on_duplicate="mean")
    for each in times:
        assert f"'{each}' in column 'time' has more digits than float64 keeps" in str(caught.value)
    rated = {"user": "series", "item": "variable", "rating": "value"}
    with pytest.raises(DataError, match="has more digits than float64 keeps"):
        read_ratings(given, **rated, on_duplicate="last")
