import datetime
import re

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pullback.data import DataError, long_table, read_long

HEADER = "series,time,variable,value\n"


@pytest.fixture
def csv(tmp_path):
    def write(text, name="t.csv"):
        (tmp_path / name).write_text(text, encoding="utf-8")
        return tmp_path / name

    return write


@pytest.fixture
def parquet(tmp_path):
    def write(columns, **options):
        pq.write_table(pa.table(columns), tmp_path / "t.parquet", **options)
        return tmp_path / "t.parquet"

    return write


def test_a_small_file_in_any_order(csv):
    got = read_long(
        csv(
            "patient,time [h],parameter,value\n"
            "B,4,HR [1/min],90\n"
            "A,2.5,Temp [degC],36.9\n"
            "\n"
            " A ,0,HR [1/min],70\n"
            'A,0, "Temp [degC]",36.6\n'.replace(', "', ',"')
        )
    )
    assert got.ids == ("B", "A")
    assert got.variables == ("HR", "Temp")
    assert (got.units, got.time_unit) == (("1/min", "degC"), "h")
    np.testing.assert_array_equal(got.times, [[4, 4], [0, 2.5]])
    np.testing.assert_array_equal(got.values, [[[90, 0], [0, 0]], [[70, 36.6], [0, 36.9]]])
    np.testing.assert_array_equal(
        got.mask, [[[True, False], [False, False]], [[True, True], [False, True]]]
    )
    assert got.targets is None


def random_rows(n=7000, seed=0):
    generator = np.random.default_rng(seed)
    places = generator.choice(20 * 500 * 3, n, replace=False)
    series, rest = np.divmod(places, 1500)
    time, variable = np.divmod(rest, 3)
    return series, time / 8, variable, generator.normal(size=n)


def check_rows(got, series, time, variable, value):
    cells = {}
    for row, place, k in zip(*np.nonzero(got.mask), strict=True):
        key = (got.ids[row], float(got.times[row, place]), got.variables[k])
        cells[key] = float(got.values[row, place, k])
    names = [(f"s{a}", float(b), f"v{c}") for a, b, c in zip(series, time, variable, strict=True)]
    assert cells == dict(zip(names, value.tolist(), strict=True))
    assert got.mask.sum() == len(value)
    last = np.where(got.mask.any(axis=2), got.times, -1).max(axis=1, keepdims=True)
    padding = np.cumsum(got.mask.any(axis=2)[:, ::-1], axis=1)[:, ::-1] == 0
    assert padding.any()
    np.testing.assert_array_equal(got.times[padding], np.broadcast_to(last, padding.shape)[padding])
    assert (np.diff(got.times, axis=1)[~padding[:, 1:]] > 0).all()


def test_thousands_of_rows_come_back_as_they_were_written(csv, parquet):
    rows = random_rows()
    lines = [f"s{a};{b!r};v{c};{d!r}" for a, b, c, d in zip(*(x.tolist() for x in rows))]  # noqa: B905
    text = csv("\ufeffseries;time;variable;value\n" + "\n".join(lines))
    check_rows(read_long(text), *rows)
    series, time, variable, value = rows
    columns = {
        "value": value,
        "series": [f"s{a}" for a in series],
        "variable": [f"v{c}" for c in variable],
        "time": time,
    }
    check_rows(read_long(parquet(columns)), *rows)


def test_a_bad_row_far_down_has_its_line_and_a_row_its_number(csv, parquet):
    lines = [f"a,{k},v,{k}" for k in range(5000)]
    lines[4319] = "a,4319,v,x"
    with pytest.raises(DataError, match=r"1 bad row:\n  line 4321: .* got 'x'") as caught:
        read_long(csv(HEADER + "\n".join(lines)))
    assert caught.value.line == 4321
    values: list[float | None] = [float(k) for k in range(5000)]
    values[4319] = None
    columns = {"series": ["a"] * 5000, "time": range(5000), "variable": ["v"] * 5000}
    file = parquet(
        {name: list(column) for name, column in columns.items()} | {"value": values},
        row_group_size=700,
    )
    with pytest.raises(DataError, match=r"1 bad row:\n  row 4320: .* the cell is empty") as caught:
        read_long(file)
    assert caught.value.line is None


def test_every_kind_of_bad_row_is_told_with_its_line(csv):
    text = HEADER.replace("value", "value,unit") + (
        "a,0,u,1,kg\n"  # 2
        "a,1,u,,kg\n"  # 3
        "a,2,u,nan,kg\n"
        "a,3,u,-inf,kg\n"
        "a,4,u,1_0,kg\n"
        "a,,u,1,kg\n"  # 7
        "a,soon,u,1,kg\n"
        ",5,u,1,kg\n"
        "a,6, ,1,kg\n"
        "a,7,u,1,g\n"  # 11
        "a,8,u [g],1,kg\n"
        "a,9,u,1\n"
        "a,10,u,1,kg,2\n"
        "\n"
        "a,0.0,u,3,kg\n"  # 16
        "a,11,u,three,g\n"  # two things wrong: one entry
        "a,12,w,1,\n"
        "a,13,w,1,m\n"  # 19
    )
    with pytest.raises(DataError) as caught:
        read_long(csv(text))
    head, *told = str(caught.value).split("\n")
    assert head.endswith("t.csv: 15 bad rows:")
    expected = {
        3: "column 'value'; the cell is empty",
        4: "column 'value'; got 'nan'",
        5: "column 'value'; got '-inf'",
        6: "column 'value'; got '1_0'",
        7: "column 'time'; the cell is empty",
        8: "column 'time'; got 'soon'",
        9: "the cell in column 'series' is empty",
        10: "the cell in column 'variable' is empty",
        11: "'u' is in g here and in kg on line 2",
        12: "'u [g]' stands beside another unit, 'kg'",
        13: "expected 5 cells, got 4",
        14: "expected 5 cells, got 6",
        16: "series 'a' has a value of 'u' at this time on line 2 too; on_duplicate=",
        17: "'u' is in g here",
        19: "'w' is in m here and in no unit on line 18",
    }
    for text, (line, problem) in zip(told, expected.items(), strict=True):
        assert text.startswith(f"  line {line}: ")
        assert problem in text
    assert caught.value.line == 3


@pytest.mark.parametrize("cell", ["nan", "inf", "1_0", ""])
def test_one_bad_value_among_good_ones(csv, cell):
    with pytest.raises(DataError, match=r"1 bad row:\n  line 3: expected a number"):
        read_long(csv(HEADER + f"a,0,v,1\na,1,v,{cell}\na,2,v,3\n"))


def test_masses_of_bad_rows_are_cut_short(csv):
    some = csv(HEADER + "a,0,v,\n" * 30)
    with pytest.raises(DataError) as caught:
        read_long(some)
    told = str(caught.value).split("\n")
    assert told[0].endswith("30 bad rows:")
    assert told[1:] == [
        "  lines 2, 3, 4 and 27 more: expected a number in column 'value'; the cell is empty."
    ]
    many = csv(HEADER + "a,0,v,\n" * 20000)
    with pytest.raises(
        DataError, match="bad rows or more, where reading stopped:\n  lines 2, 3, 4 and"
    ):
        read_long(many)


@pytest.mark.parametrize(
    ("policy", "wanted"), [("mean", [[3.0, 9.0]]), ("last", [[5.0, 9.0]]), ("error", None)]
)
def test_several_values_at_one_time(csv, policy, wanted):
    file = csv(HEADER + "a,1,v,2\na,2,v,9\na,1.0,v,2\na,1,v,5\n")
    if wanted is None:
        with pytest.raises(DataError, match=r"2 bad rows:\n  line 4: .* line 2 too.*\n  line 5: "):
            read_long(file)
    else:
        got = read_long(file, on_duplicate=policy)
        np.testing.assert_array_equal(got.values[:, :, 0], wanted)
        np.testing.assert_array_equal(got.times, [[1.0, 2.0]])


@pytest.mark.parametrize(
    ("head", "cells", "unit"),
    [
        ("variable,value", "v,1", ""),
        ("variable,value [mm]", "v,1", "mm"),
        ("variable,value", "v [mm],1", "mm"),
        ("variable,value [cm]", "v [mm],1", "mm"),
        ("unit,variable,value", "mm,v,1", "mm"),
        ("Units,variable,value", "mm,v [mm],1", "mm"),
    ],
)
def test_the_unit_in_each_of_its_places(csv, head, cells, unit):
    got = read_long(csv(f"series,time,{head}\na,0,{cells}\n"))
    assert (got.variables, got.units) == (("v",), (unit,))


def test_dates_become_times_since_the_first(csv):
    file = csv(
        HEADER + "a,2024-02-28,v,1\n"
        "a,2024-02-29T12:00,v,2\n"
        "b,2024-03-01 00:30:00,v,3\n"
        "b,2024-03-02T00:30:00.000036,v,4\n"
    )
    each = read_long(file)
    assert each.time_unit == "h"
    np.testing.assert_array_equal(each.times[0], [0, 36])
    np.testing.assert_allclose(each.times[1], [0, 24 + 1e-8], rtol=0, atol=1e-14)
    first = read_long(file, origin="first", time_unit="min")
    assert first.time_unit == "min"
    np.testing.assert_allclose(first.times, [[0, 2160], [2910, 4350 + 6e-7]], rtol=0, atol=1e-11)
    header = read_long(csv(file.read_text().replace("time", "time [d]")))
    assert header.time_unit == "d"
    np.testing.assert_array_equal(header.times[0], [0, 1.5])


def test_dates_with_a_zone_are_compared_in_utc(csv):
    zoned = csv(HEADER + "a,2024-01-01T00:00Z,v,1\na,2024-01-01T03:00+02:00,v,2\n")
    np.testing.assert_array_equal(read_long(zoned).times, [[0, 1]])
    mixed = csv(zoned.read_text() + "a,2024-01-02,v,3\na,17,v,4\na,2024-13-01,v,4\n")
    with pytest.raises(DataError) as caught:
        read_long(mixed)
    told = str(caught.value).split("\n")[1:]
    assert "line 4: 2024-01-02 in column 'time' has no zone; the first time has one" in told[0]
    assert "line 5: expected a date or time in ISO 8601" in told[1]
    assert "got '2024-13-01'" in told[2]


def test_columns_named_by_the_caller(csv):
    file = csv("who,when (h),when,what,much\nz,9,1,v,5\n")
    got = read_long(file, series="who", time="when", variable="what", value="much", time_unit="h")
    assert (got.ids, got.time_unit) == (("z",), "h")
    np.testing.assert_array_equal(got.times, [[1]])


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("", {}, "the file is empty"),
        (HEADER, {}, "there is none"),
        ("1,2,v,3\n", {}, "line 1: expected a header"),
        ("series,time,variable,\n", {}, r"series, time, variable, \(no name\)"),
        ("a,b,c,d\n", {}, "usual name for the series; which is it: series=.*a, b, c, d"),
        ("seres,time,variable,value\n", {}, "did you mean series='seres'"),
        (HEADER, {"value": "valu"}, "no column 'valu'; did you mean 'value'"),
        ("id,patient,time,variable,value\n", {}, "'id' and 'patient' may each be the series"),
        (HEADER, {"variable": "series"}, "'series' is named for series and for variable"),
        ("id,time [h],variable,value\na,1,v,2\n", {"time_unit": "s"}, "header says 'h'"),
    ],
)
def test_a_header_that_does_not_do(csv, text, options, message):
    with pytest.raises(DataError, match=message):
        read_long(csv(text), **options)


@pytest.mark.parametrize("option", ["origin", "on_duplicate"])
def test_an_option_that_is_not_there(csv, option):
    with pytest.raises(ValueError, match=f"`{option}` must be one of .*; got 'drop'"):
        read_long(csv(HEADER + "a,0,v,1\n"), **{option: "drop"})


def test_a_unit_that_dates_cannot_be_turned_into(csv):
    with pytest.raises(ValueError, match="`time_unit` must be one of s, min, h, d; got 'year'"):
        read_long(csv(HEADER + "a,2024-01-01,v,1\n"), time_unit="year")


def test_files_that_cannot_be_read(tmp_path, csv):
    with pytest.raises(DataError, match="No such file"):
        read_long(tmp_path / "none.csv")
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        read_long(tmp_path / "none.parquet")
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        read_long(csv("PAR1 and no more", "broken.parquet"))


def test_parquet_types(parquet):
    day = datetime.datetime(2024, 1, 1)
    nanoseconds = np.array(["2024-01-01T00:00:00.000000001", "2024-01-01T06:00"], "M8[ns]")
    columns = {
        "id": pa.array([7, 7]),
        "variable": pa.array(["v [m]", "v [m]"]).dictionary_encode(),
        "value": pa.array([1, 2], pa.int8()),
    }
    for times, wanted in (
        (pa.array(nanoseconds), [0, 6]),
        (pa.array([day, day + datetime.timedelta(1)], pa.timestamp("s", "Europe/Berlin")), [0, 24]),
        (pa.array([day.date(), datetime.date(2024, 1, 3)]), [0, 48]),
        (pa.array([3, 4], pa.int32()), [3, 4]),
        (pa.array(["2024-01-01", "2024-01-02"]), [0, 24]),
        (pa.array([0.5, 0.75], pa.float32()), [0.5, 0.75]),
    ):
        got = read_long(parquet({**columns, "time": times}))
        assert (got.ids, got.variables, got.units) == (("7",), ("v",), ("m",))
        np.testing.assert_array_equal(got.times, [wanted])
        np.testing.assert_array_equal(got.values[0, :, 0], [1.0, 2.0])


def test_bad_rows_of_parquet(parquet):
    file = parquet(
        {
            "series": ["a", None, "a", "a"],
            "time": [0.0, 1.0, None, float("nan")],
            "variable": ["v", "v", None, "v"],
            "value": [1.0, 2.0, 3.0, 4.0],
        }
    )
    with pytest.raises(DataError) as caught:
        read_long(file)
    told = str(caught.value).split("\n")
    assert "3 bad rows" in told[0]
    for row, (line, problem) in enumerate(
        zip(told[1:], ["'series' is empty", *["'time'; the cell is empty"] * 2], strict=True)
    ):
        assert line.startswith(f"  row {row + 2}: ")
        assert problem in line


def test_parquet_without_rows_or_with_lists(parquet):
    columns = {"series": [], "time": [], "variable": [], "value": []}
    with pytest.raises(DataError, match="expected rows after the header; there is none"):
        read_long(parquet(columns))
    nested = {"series": [["a"]], "time": [0.0], "variable": ["v"], "value": [1.0]}
    with pytest.raises(DataError, match=r"column .series. holds list<"):
        read_long(parquet(nested))


def test_an_index_of_pandas_does_not_matter(csv):
    found = read_long(csv("," + HEADER + "0,a,0,v,1\n1,a,2,v,3\n"))
    assert found.values.tolist() == [[[1.0], [3.0]]]


def test_frames_are_read_as_files_are(csv):
    file = csv("patient,time [h],what,value\n7,0,HR [1/min],70\n8,2.5,T,37\n8,2.5,HR [1/min],60\n")
    wanted = long_table(file, variable="what")
    for frame in (pd.read_csv(file), pl.read_csv(file)):
        got = long_table(frame, variable="what")
        for ours, theirs in zip(got.series[:7], wanted.series[:7], strict=True):
            np.testing.assert_array_equal(ours, theirs)
        assert got.columns == wanted.columns
        assert (got.source, got.is_file) == ("the DataFrame", False)
    assert (wanted.source, wanted.is_file) == ("t.csv", True)
    assert wanted.columns["time"] == "time [h]"
    assert wanted.written == ("HR [1/min]", "T")
    with pytest.raises(DataError, match=r"the DataFrame: .*\n  row 2: expected a number"):
        read_long(pd.DataFrame(np.array([["a", 0, "x", 1], ["a", 1, "x", "?"]], object),
                               columns=["id", "time", "variable", "value"]))  # fmt: skip


@pytest.mark.parametrize("hole", ["", " ", "NA", "nan", "?", "null", "None", "N/A"])
def test_a_row_without_a_value_may_ask(csv, hole):
    file = csv(HEADER + f"a,0,x,1\na,2,x,{hole}\na,3,y,4\n")
    got = read_long(file, holes="ask")
    assert got.times.tolist() == [[0, 2, 3]]
    assert got.mask[0].tolist() == [[True, False], [False, False], [False, True]]
    assert got.values[0, 1].tolist() == [0, 0]
    told = f"got '{hole}'" if hole.strip() else "the cell is empty"
    with pytest.raises(DataError, match=f"line 3: .*{re.escape(told)}"):
        read_long(file)
    with pytest.raises(ValueError, match="`holes` must be one of error, ask; got 'drop'"):
        read_long(file, holes="drop")


def test_dates_are_counted_from_1970_where_that_is_asked(csv):
    day = csv(HEADER + "a,1970-01-02T06:00,x,1\nb,1970-01-03,x,2\n")
    got = read_long(day, origin="epoch")
    assert got.times.tolist() == [[30], [48]]
    assert got.time_unit == "h since 1970-01-01"
    zoned = csv(HEADER + "a,1970-01-02T01:00+01:00,x,1\n", "z.csv")
    got = read_long(zoned, origin="epoch", time_unit="d")
    assert (got.times.tolist(), got.time_unit) == ([[1]], "d since 1970-01-01T00:00Z")
    assert read_long(csv(HEADER + "a,5,x,1\n", "n.csv"), origin="epoch").time_unit == ""


def test_decimal_commas_beside_semicolons(csv):
    text = "series;time;variable;value\na;0,5;v;1,25\na;2;v;-3\n"
    for options in ({}, {"decimal": ","}):
        got = read_long(csv(text), **options)
        assert (got.times.tolist(), got.values.tolist()) == ([[0.5, 2]], [[[1.25], [-3]]])
    with pytest.raises(DataError, match="column 'time'; got '0,5'"):
        read_long(csv(text), decimal=".")
    with pytest.raises(DataError, match=r"'1,25' on line 2 and '1\.5' on line 3"):
        read_long(csv(text.replace("-3", "1.5")))
    quoted = csv(text.replace(",", ".").replace(";", ",").replace("1.25", '"1,25"'), "q.csv")
    with pytest.raises(DataError, match="got '1,25'"):
        read_long(quoted)
    with pytest.raises(ValueError, match="`decimal` must be"):
        read_long(quoted, decimal="comma")
