"""Tables of any columns: what is read by blocks is what its cells say, one by one."""

import numpy as np
import pandas as pd
import pytest

from pullback import data
from pullback.data import DataError
from pullback.data._cells import BadRows
from pullback.data._csv import csv_rows
from pullback.data._typed_cells import typed

KINDS = {
    "numbers": ["1", "2.5", "-3e2", " 4 "],
    "holes": ["1", "NA", "", "?", "2"],
    "words": ["x", "y", "NA", " z"],
    "codes": ["01", "1", "02"],
    "codes and words": ["01", "1", "x"],
    "yes": ["True", "false", ""],
    "long": ["9007199254740993", "1", "2"],
    "long and holes": ["9007199254740993", "", "2"],
    "nothing": ["", "NA"],
    "infinite": ["1", "inf", "2"],
    "underscore": ["1_000", "2", "3"],
    "dates": ["2024-01-31", "2024-02-01"],
    "few words": ["1"] * 30 + ["x"],
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rows", [3, 40, 3000])
def test_a_column_is_what_its_cells_say(kind, rows, tmp_path):
    random = np.random.default_rng(rows)
    cells = random.choice(KINDS[kind], rows)
    number = random.normal(size=rows)
    lines = [f"{a!r},{b}" for a, b in zip(number.tolist(), cells, strict=True)]
    (tmp_path / "t.csv").write_text("a,b\n" + "\n".join(lines) + "\n")
    read = [row[1] for _, row in csv_rows(tmp_path / "t.csv")][1:]
    places = np.arange(2, 2 + rows)
    bad = BadRows(tmp_path / "t.csv", "line")
    wanted = typed(read, places.tolist(), "b", bad)
    if bad.problems:
        with pytest.raises(DataError) as caught:
            data.read_mixed(tmp_path / "t.csv")
        assert caught.value.line == min(bad.problems) or "column 'b' has" in str(caught.value)
        others = data.read_mixed(tmp_path / "t.csv", ["a"], others=True).column("b")
        assert others.dtype == object
        return
    found = data.read_mixed(tmp_path / "t.csv")
    np.testing.assert_array_equal(found.rows, places)
    np.testing.assert_array_equal(found.column("a"), number)
    assert found.column("b").dtype == wanted.dtype
    np.testing.assert_array_equal(found.column("b"), wanted)
    labels = data.read_mixed(tmp_path / "t.csv", labels=["b"], na_labels="hole").column("b")
    np.testing.assert_array_equal(labels, data.as_labels(read, "hole"))


def test_a_word_far_down_is_found_and_chunks_say_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr("pullback.data._csv_blocks._BYTES", 2**14)
    rows = 10_000
    cells = [*map(str, range(rows - 1)), "oops"]
    lines = [f"{k % 7}.5,{cell}" for k, cell in enumerate(cells)]
    (tmp_path / "t.csv").write_text("a,b\n" + "\n".join(lines) + "\n")
    with pytest.raises(DataError, match=r"line 10001: expected a number in column 'b'; got"):
        data.read_mixed(tmp_path / "t.csv")
    with pytest.raises(DataError, match=r"line 10001: expected a number in column 'b'; got"):
        list(data.mixed_chunks(tmp_path / "t.csv", ["b"]))
    found = data.read_mixed(tmp_path / "t.csv", ["a"], others=True)
    assert found.column("b")[-1] == "oops"
    assert found.column("b")[1] == "1"
    parts = list(data.mixed_chunks(tmp_path / "t.csv", ["a"], optional=["b"]))
    assert len(parts) > 1
    for name in ("a", "b"):
        whole = np.concatenate([part.column(name) for part in parts])
        np.testing.assert_array_equal(whole, found.column(name))
    np.testing.assert_array_equal(np.concatenate([part.rows for part in parts]), found.rows)


@pytest.mark.parametrize("header", [None, True, False])
def test_a_header_of_numbers_is_asked_about(header, tmp_path):
    (tmp_path / "t.csv").write_text("2019,2020\n1,2.5\n3,5\n")

    def first(file, **settings):
        return next(data.mixed_chunks(file, NAMES[header], **settings))

    for read in (data.read_mixed, first):
        if header is None:
            with pytest.raises(DataError, match=r"may be a header or a row of values"):
                read(tmp_path / "t.csv")
            continue
        found = read(tmp_path / "t.csv", header=header)
        assert found.names == NAMES[header]
        assert found.columns[0].tolist() == ([1, 3] if header else [2019, 1, 3])
        assert found.rows[0] == (2 if header else 1)


NAMES = {None: ("2019",), True: ("2019", "2020"), False: ("x1", "x2")}


def test_decimal_commas(tmp_path):
    (tmp_path / "t.csv").write_text("a;b;kind\n1,5;2,25;x\n-0,5;NA;y\n3;1e-1;z\n")
    for settings in ({}, {"decimal": ","}):
        found = data.read_mixed(tmp_path / "t.csv", **settings)
        np.testing.assert_array_equal(found.column("a"), [1.5, -0.5, 3])
        np.testing.assert_array_equal(found.column("b"), [2.25, np.nan, 0.1])
        assert found.column("kind").tolist() == ["x", "y", "z"]
        chunk = next(data.mixed_chunks(tmp_path / "t.csv", ["b"], **settings))
        np.testing.assert_array_equal(chunk.column("b"), [2.25, np.nan, 0.1])
    (tmp_path / "t.csv").write_text("a;b\n1,500;x\n-2,250;y\n")
    with pytest.raises(DataError, match=r"may be 1.500 or 1500; say `decimal=','`"):
        data.read_mixed(tmp_path / "t.csv")
    found = data.read_mixed(tmp_path / "t.csv", decimal=",")
    np.testing.assert_array_equal(found.column("a"), [1.5, -2.25])
    (tmp_path / "t.csv").write_text("a;b\n1,5;x\n2,5;y\nooh;z\n2.5;z\n")
    with pytest.raises(DataError, match="line 4"):
        data.read_mixed(tmp_path / "t.csv")


def test_parquet_of_many_kinds(tmp_path):
    frame = pd.DataFrame(
        {
            "whole": [1, 2, 3],
            "half": [0.5, np.nan, 2.0],
            "yes": [True, False, True],
            "name": ["x", None, "y"],
            "kind": pd.Categorical(["u", "v", None]),
            "day": pd.to_datetime(["2024-01-31", None, "2024-02-01"]),
            "long": [2**60, 2**60 + 1, 5],
        }
    )
    frame.to_parquet(tmp_path / "t.parquet", index=False)
    found = data.read_mixed(tmp_path / "t.parquet")
    np.testing.assert_array_equal(found.column("whole"), [1, 2, 3])
    np.testing.assert_array_equal(found.column("half"), [0.5, np.nan, 2])
    np.testing.assert_array_equal(found.column("yes"), [1, 0, 1])
    assert found.column("name").tolist() == ["x", None, "y"]
    assert found.column("kind").tolist() == ["u", "v", None]
    assert found.column("day")[1] is None
    assert found.column("long").tolist() == [str(2**60), str(2**60 + 1), "5"]
    assert found.rows.tolist() == [1, 2, 3]


def test_a_column_without_a_value_is_one_of_holes_and_named_where_it_is_asked_for(tmp_path):
    (tmp_path / "t.csv").write_text("a,b,c\n" + "".join(f"{k},,{k % 3}\n" for k in range(30)))
    assert np.isnan(data.read_mixed(tmp_path / "t.csv").column("b")).all()
    with pytest.raises(DataError, match=r"b in 30.*columns=\['a', 'c'\]"):
        data.read_table(tmp_path / "t.csv")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a,b\n", "expected rows after the header; there is none"),
        ("a,b\n1\n2,3,4\n", "2 bad rows:\n  line 2: expected 2 cells, got 1"),
        ("a,b\n1,2\n2,3,4\n", "1 bad row:\n  line 3: expected 2 cells, got 3"),
    ],
)
def test_rows_of_another_length_are_told(text, told, tmp_path):
    (tmp_path / "t.csv").write_text(text)
    for read in (data.read_mixed, lambda file: list(data.mixed_chunks(file, ["a"]))):
        with pytest.raises(DataError) as caught:
            read(tmp_path / "t.csv")
        assert told in str(caught.value)


def test_a_chunk_with_a_bad_row_is_not_given(tmp_path, monkeypatch):
    monkeypatch.setattr("pullback.data._csv_blocks._BYTES", 2**14)
    lines = [f"{k},{'oops' if k == 5000 else k}" for k in range(10_000)]
    (tmp_path / "t.csv").write_text("a,b\n" + "\n".join(lines) + "\n")
    given = []
    chunks = data.mixed_chunks(tmp_path / "t.csv", ["b"])
    with pytest.raises(DataError, match="line 5002: expected a number"):
        given.extend(row for chunk in chunks for row in chunk.rows.tolist())
    assert given == list(range(2, 2 + len(given)))
    assert 0 < len(given) < 5000


def test_points_and_commas_in_one_column_are_refused(tmp_path):
    (tmp_path / "t.csv").write_text("a;b\n1,5;x\n2.5;y\n")
    with pytest.raises(DataError, match=r"column 'a' has '1,5' on line 2 and '2.5' on line 3"):
        data.read_mixed(tmp_path / "t.csv")
    (tmp_path / "t.csv").write_text("a;b\n1.5;x\n2.5;y\n")
    with pytest.raises(DataError, match="column 'a' has 2 cells that are no numbers"):
        data.read_mixed(tmp_path / "t.csv", ["a"], decimal=",")
