"""Long tables and ratings by Arrow and by Python: the same series, names, units and refusals."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pullback.data import DataError, _csv_blocks, _parts, long_table, read_long, read_ratings
from pullback.data._blocks import Block
from pullback.data._pack import Entries, order

NUMBERS = "0 1 2 -2.5 +3 1e3 007 9007199254740993 1_0 12345678901234567890".split()
DATES = (
    "2024-01-31 2024-02-01T10 2024-02-01T10:30 2024-02-01T10:30:00.25 2024-02-01T10:30:00.123456789"
    " 0001-01-01 9999-12-31 2024-W05-3 20240229 1969-12-31T23:59:59.999999"
).split()
ZONED = "2024-01-31T10:00Z 2024-01-31T10:00+01:00 2024-01-31T10:00-0230".split()
ODD = ["", " ", "NA", "nan", "inf", "soon", "0000-01-01", "2024-02-30", "31.01.2024", "\u0661"]
KINDS = (
    (NUMBERS[:7], None), (NUMBERS, None), (DATES, None), (ZONED, None), (DATES, "%Y%m%d"),
    (["20240131", "20240201"], None), (["20240131", "20240201"], "%Y%m%d"),
    (["20240131", "2"], "number"), (["31.01.2024", "1.2.2024"], "%d.%m.%Y"),
)  # fmt: skip


@st.composite
def files(draw):
    """What is a long table, or nearly; and the pattern of its times."""
    times, pattern = draw(st.sampled_from(KINDS))
    odd = 0 if draw(st.booleans()) else 10
    some = lambda cells: draw(st.sampled_from(ODD if draw(st.integers(0, 100)) < odd else cells))
    unit = draw(st.booleans())
    variables, units = ["u", "v", "u [kg]", "w [m]"], ["kg", "", "m"]
    if not odd:
        variables, units = (["u", "v"], ["kg"]) if unit else (["u [kg]", "v", "w [m]"], [""])
    lines = ["series,time,variable,value" + ",unit" * unit]
    for _ in range(draw(st.integers(1, 12))):
        row = [some(["a", "b", " a", "c"]), some(times), some(variables), some(NUMBERS[:7])]
        row += [some(units)] * unit
        lines.append(",".join(row[: 3 if draw(st.integers(0, 100)) < odd / 4 else 5]))
    return "\n".join(lines) + "\n", pattern


def told(read):
    try:
        found = read()
    except DataError as error:
        return str(error)
    columns = found.series if hasattr(found, "series") else found
    return repr([(x.dtype, x.tolist()) if hasattr(x, "dtype") else x for x in columns])


def by_python(patch):
    """From here on no cell is read by Arrow."""
    patch.setattr(_csv_blocks, "_has_plain_lines", lambda data, delimiter: False)
    patch.setattr(_parts.Part, "floats", lambda self, place: None)
    patch.setattr(_parts.Part, "moments", lambda self, place, zoned: None)
    patch.setattr(_parts, "_is_plain", lambda kind: False)


@settings(max_examples=60, deadline=None)
@given(
    file_and_format=files(),
    holes=st.sampled_from(["error", "ask"]),
    on_duplicate=st.sampled_from(["error", "mean", "last"]),
)
def test_arrow_reads_what_python_reads(file_and_format, holes, on_duplicate, tmp_path_factory):
    text, time_format = file_and_format
    file = tmp_path_factory.getbasetemp() / "any.csv"
    file.write_text(text)
    read = lambda: told(
        lambda: long_table(
            file, holes=holes, on_duplicate=on_duplicate, time_format=time_format, origin="epoch"
        )
    )
    with pytest.MonkeyPatch.context() as patch:
        quick = read()
        by_python(patch)
        assert read() == quick


@st.composite
def ratings(draw):
    """What is nearly a file of ratings; and the pattern of its times."""
    times, pattern = draw(st.sampled_from(KINDS))
    odd = 0 if draw(st.booleans()) else 10
    some = lambda cells: draw(st.sampled_from(ODD if draw(st.integers(0, 100)) < odd else cells))
    lines = ["user,item,rating,time"]
    for _ in range(draw(st.integers(1, 12))):
        lines.append(",".join([some("ab"), some("xyz"), some(NUMBERS[:7]), some(times)]))
    return "\n".join(lines) + "\n", pattern


@settings(max_examples=40, deadline=None)
@given(file_and_format=ratings(), on_duplicate=st.sampled_from(["error", "last", "sum"]))
def test_ratings_are_the_same_too(file_and_format, on_duplicate, tmp_path_factory):
    text, time_format = file_and_format
    file = tmp_path_factory.getbasetemp() / "any.csv"
    file.write_text(text)
    read = lambda: told(
        lambda: read_ratings(file, on_duplicate=on_duplicate, time_format=time_format)
    )
    with pytest.MonkeyPatch.context() as patch:
        quick = read()
        by_python(patch)
        assert read() == quick


def test_names_go_on_from_block_to_block(tmp_path, monkeypatch):
    file = tmp_path / "t.csv"
    rows = [f"s{k % 7},{k},v{k % 5} [u{k % 5}],{k}\n" for k in range(600)]
    file.write_text("series,time,variable,value\n" + "".join(rows))
    whole = told(lambda: read_long(file))
    monkeypatch.setattr(_csv_blocks, "_BYTES", 500)
    assert told(lambda: read_long(file)) == whole
    assert read_long(file).ids == tuple(f"s{k}" for k in range(7))
    file.write_text(file.read_text() + "s0,600,v1 [u2],1\ns0,5000,v1,x\n")
    with pytest.raises(DataError, match=r"line 602: .*'v1' is in u2 here and in u1 on line 3\."):
        read_long(file)


@pytest.mark.parametrize("cell", ["0000-01-01", "2024-02-30", "2024-01-31T24:00:00.0000001"])
def test_dates_that_python_does_not_know_are_bad_rows(tmp_path, cell):
    (tmp_path / "t.csv").write_text(
        f"series,time,variable,value\na,2024-01-31,v,1\na,{cell},v,2\na,9999-12-31,v,3\n"
    )
    with pytest.raises(DataError, match=rf"1 bad row:\n  line 3: expected a date .* '{cell}'"):
        read_long(tmp_path / "t.csv")


def test_entries_of_a_dictionary_that_no_row_has_are_no_names():
    cells = pa.DictionaryArray.from_arrays(pa.array([2, 1, None, 2]), pa.array(["c", "a", "b"]))
    block = Block(Path("t.parquet"), np.arange(4), {}, {0: cells}.__getitem__)
    part = _parts.Part(block.rows, block)
    names, which = part.coded(0)
    assert names == ["b", "a", None]
    assert which.tolist() == [0, 1, 2, 0]


def test_the_unit_of_a_variable_is_the_one_that_comes_first(tmp_path):
    rows = "a,0,v,1,kg\na,1,u,1,m\na,2,u,1,kg\n"
    (tmp_path / "t.csv").write_text("series,time,variable,value,unit\n" + rows)
    with pytest.raises(
        DataError, match="line 4: the variable 'u' is in kg here and in m on line 3"
    ):
        read_long(tmp_path / "t.csv")


def test_a_bad_row_is_nobodys_duplicate(tmp_path):
    (tmp_path / "t.csv").write_text("series,time,variable,value\na,0,v,x\na,0,v,1\n")
    with pytest.raises(DataError, match="1 bad row:"):
        read_long(tmp_path / "t.csv")


@pytest.mark.parametrize("many", [3, 70_000])
def test_the_order_of_entries_is_that_of_lexsort(many):
    rng = np.random.default_rng(0)
    series, variable = rng.integers(0, many, (2, 500))
    series[:4], variable[:4] = many - 1, many - 1  # of which four are at one place
    time = np.append(np.full(4, -1.5), rng.integers(-2, 2, 496) / 2)
    entries = Entries(series, time, variable, np.arange(500.0))
    by_place, same = order(entries)
    np.testing.assert_array_equal(by_place, np.lexsort((variable, time, series)))
    seen = list(zip(series[by_place], time[by_place], variable[by_place], strict=True))
    assert same.tolist() == [False, *(a == b for a, b in zip(seen[1:], seen, strict=False))]
    again, _ = order(entries.take(by_place))
    np.testing.assert_array_equal(again, np.arange(500))


def test_parquet_of_every_type_is_read_as_python_reads_it(tmp_path, monkeypatch):
    stamps = pd.DatetimeIndex(
        np.array(["2024-01-31", "1969-12-31T23:59:59.999999999", "2024-02-01"], "M8[ns]")
    )
    names = pa.array(["b", "a", "b"])
    columns = {
        "series": [names, pa.array([2, 1, 2]), pa.array([2.0, 1.5, 2.0]), names.dictionary_encode(),
                   pa.array(stamps), pa.array(["b", None, "b"])],
        "time": [pa.array(stamps), pa.array(stamps.tz_localize("UTC").tz_convert("Asia/Tokyo")),
                 pa.array([3, 1, 2]), pa.array([0.5, None, 2.0]), pa.array([1, 2, 2**60]),
                 pa.array(["2024-01-31", "2024-01-30", None]), pa.array(stamps.date)],
        "value": [pa.array([1.0, 2.0, 3.0]), pa.array([True, False, True]), pa.array([1, 2, None]),
                  pa.array(["1", " 2", "x"])],
    }  # fmt: skip
    # With entries that no row has, in another order than that of the rows.
    two = pa.array(["c", "a", "b"])
    columns["series"].append(pa.DictionaryArray.from_arrays(pa.array([2, 1, 2]), two))
    first = {name: cells[0] for name, cells in columns.items()} | {"variable": pa.array(["v"] * 3)}
    tables = [first | {name: each} for name, cells in columns.items() for each in cells]
    files = [tmp_path / f"{place}.parquet" for place in range(len(tables))]
    for file, table in zip(files, tables, strict=True):
        pq.write_table(pa.table(table), file)
    quick = [told(lambda file=file: read_long(file)) for file in files]
    by_python(monkeypatch)
    assert [told(lambda file=file: read_long(file)) for file in files] == quick
    assert sum("bad row" in each for each in quick) == 6
