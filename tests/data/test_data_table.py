"""Tables of numbers: three formats, holes, and files that are refused."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pullback.data import DataError, read_table

CSV = "a,b,name\n1,2,x\n3,,y\n NaN ,5,z\n7,8.5,w\n"


def test_the_same_table_from_csv_and_parquet(tmp_path):
    (tmp_path / "t.csv").write_text(CSV)
    columns = {"a": [1.0, 3.0, None, 7.0], "b": [2.0, None, 5.0, 8.5], "name": list("xyzw")}
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    for file, rows in (("t.csv", [2, 5]), ("t.parquet", [1, 4])):
        table = read_table(tmp_path / file, ["b", "a"])
        np.testing.assert_array_equal(table.values, [[2, 1], [8.5, 7]])
        assert table.columns == ("b", "a")
        assert table.rows.tolist() == rows
        assert list(table.holes.values()) == [("b",), ("a",)]
    assert "2 of 4 rows have holes" in table.describe_holes()
    # A hole in a column that is not taken is none.
    assert len(read_table(tmp_path / "t.csv", ["b"]).values) == 3


def test_a_file_without_a_header_has_numbered_columns(tmp_path):
    (tmp_path / "t.csv").write_text("1.0;2\n3;4\n")
    table = read_table(tmp_path / "t.csv", ["x2"])
    assert table.values.tolist() == [[2], [4]]
    assert table.rows.tolist() == [1, 2]


@pytest.mark.parametrize(
    ("text", "columns", "values"),
    [
        ("a,b\n1,2\n3,4\n", ("a", "b"), [[1, 2], [3, 4]]),
        ("1.,2\n3,4.5e-1", ("x1", "x2"), [[1, 2], [3, 0.45]]),
        ('\ufeff"a b";c\r\n-1;+2\r\n\r\n3;4\r\n', ("a b", "c"), [[-1, 2], [3, 4]]),
        ("a\tb\n 1 \t2\n", ("a", "b"), [[1, 2]]),
        ("a\n1\n2\n", ("a",), [[1], [2]]),
    ],
)
def test_csv_as_people_write_it(text, columns, values, tmp_path):
    (tmp_path / "t.csv").write_bytes(text.encode())
    table = read_table(tmp_path / "t.csv")
    assert table.columns == columns
    np.testing.assert_array_equal(table.values, np.array(values, float))


def test_csv_takes_the_columns_asked_for_and_looks_at_no_other(tmp_path):
    (tmp_path / "t.csv").write_text("name,b,c\nx,2,3\ny,5,6\n")
    table = read_table(tmp_path / "t.csv", ["c", "b"])
    np.testing.assert_array_equal(table.values, [[3.0, 2.0], [6.0, 5.0]])
    with pytest.raises(DataError, match="no column 'naem'; did you mean 'name'"):
        read_table(tmp_path / "t.csv", ["naem"])


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("", None, "is empty"),
        ("\n\n", None, "is empty"),
        ("a,b\n", None, "after the header; there is none"),
        ("a,b\n1,2\n\n3,x\n", 4, "number in column 'b'; got 'x'"),
        ("1,1,x\n", 1, "number in column 'x3'; got 'x'"),
        ("1,x\n", 1, "the first row, 1, x, may be a header or a row"),
        ("a,b\n1,2,3\n", 2, "expected 2 cells, got 3"),
        ("a,b\n1\n", 2, "expected 2 cells, got 1"),
        ("a,b\n1,-inf\n", 2, "number in column 'b'; got '-inf'"),
        ("a,b\n1,1e999\n", 2, "got '1e999'"),
        ("a,b\n1,1_000\n", 2, "got '1_000'"),
        (",b\n1,2\n", None, r"column 1 has no name.*index=False.*columns=\['b'\].*--columns b\)"),
        ("a,a\n1,2\n", 1, "'a' twice"),
        ('a,b\n"1,2\n', 2, "not a CSV file"),
    ],
)
def test_a_broken_csv_file_is_named_with_its_line(text, line, message, tmp_path):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        read_table(tmp_path / "t.csv")
    assert caught.value.line == line
    assert str(caught.value).startswith(str(tmp_path / "t.csv"))
    assert (f"line {line}" in str(caught.value)) == (line is not None)


def test_csv_that_is_no_text_or_not_there(tmp_path):
    (tmp_path / "t.csv").write_bytes(b"a,b\n1,\xff\xfe\n")
    with pytest.raises(DataError, match="UTF-8"):
        read_table(tmp_path / "t.csv")
    with pytest.raises(DataError, match="No such file"):
        read_table(tmp_path / "none.csv")


def test_npz_has_the_inputs_and_the_target(tmp_path):
    x, y = np.arange(6.0).reshape(3, 2), np.array([1, 2, 3])
    np.savez(tmp_path / "t.npz", x=x, y=y, other=np.zeros(9))
    table = read_table(tmp_path / "t.npz")
    assert table.columns == ("x1", "x2", "y")
    np.testing.assert_array_equal(table.values, np.column_stack([x, y]))
    assert read_table(tmp_path / "t.npz", ["y"]).values[:, 0].tolist() == [1, 2, 3]
    assert table.describe_holes() == ""


@pytest.mark.parametrize(
    ("text", "columns", "message"),
    [
        (
            CSV,
            None,
            r"column 'name' has 4 cells that are no numbers, such as 'x' on line 2.*"
            r"columns=\['a', 'b'\] \(on the command line --columns a b\)",
        ),
        (
            "a,b\n1,x\n3,4\n",
            None,
            r"1 bad row:\n  line 2: expected a number in column 'b'; got 'x'",
        ),
        (
            "a,when\n1,31/01/2024\n2,01/02/2024\n",
            None,
            r"column 'when' has 2 dates, .*days from the "
            r"first.*--columns a\)",
        ),
        (CSV, ["c"], r"there is no column 'c'\. The columns are a, b, name"),
        (CSV, ["a", "b", "a"], "column 'a' is asked for twice"),
        ("a,b\n1,2\n1,2,3\n", None, "line 3: expected 2 cells, got 3"),
        ("a,b\n1,\n,2\n", None, r"none of 2 is whole \(a in 1, b in 1\)\. Leave out columns"),
        ("a,b\n1,\n2,\n", None, r"none of 2 is whole \(b in 2\)\. .*columns=\['a'\]"),
        ("a,b\n", None, "there is none"),
        ("a,b\n1,inf\n", None, "expected a number in column 'b'; got 'inf'"),
    ],
)
def test_files_that_are_refused(tmp_path, text, columns, message):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        read_table(tmp_path / "t.csv", columns)


def test_npz_that_are_refused(tmp_path):
    np.savez(tmp_path / "t.npz", z=np.zeros(3))
    with pytest.raises(DataError, match="has no array x; it has z"):
        read_table(tmp_path / "t.npz")
    (tmp_path / "t.npz").write_bytes(b"nothing")
    with pytest.raises(DataError, match="cannot be read as npz"):
        read_table(tmp_path / "t.npz")


@pytest.mark.parametrize(
    ("cell", "told"),
    [
        ("Oslo", "column 'c' has 30 cells that are no numbers, such as 'Oslo' on line 2"),
        ("31/01/2024", "column 'c' has 30 dates, such as '31/01/2024' on line 2; as numbers"),
        ('"1,5"', "column 'c' has 30 numbers with a decimal comma, such as '1,5' on line 2; write"),
    ],
)
def test_a_column_that_is_none_of_numbers_is_one_problem(cell, told, tmp_path):
    file = tmp_path / "t.csv"
    file.write_text("a,b x,c\n" + f"1,2,{cell}\n" * 30)
    with pytest.raises(DataError) as caught:
        read_table(file)
    assert told in str(caught.value)
    assert "columns=['a', 'b x'] (on the command line --columns a 'b x')" in str(caught.value)
    assert str(caught.value).count("on line") == 1
    assert caught.value.line == 2
    assert read_table(file, ["a", "b x"]).values.tolist() == [[1, 2]] * 30
    file.write_text("c\n" + f"{cell}\n" * 5000)
    with pytest.raises(DataError, match=r"has .* or more") as caught:
        read_table(file)
    assert "--columns" not in str(caught.value)  # there is no other


def test_a_spreadsheet_is_told_from_text(tmp_path):
    with pytest.raises(DataError, match="save the sheet as CSV"):
        read_table(tmp_path / "t.xlsx")


def test_the_index_of_a_pandas_table_is_no_column(tmp_path):
    file = tmp_path / "t.csv"
    file.write_text(",a,kind\n0,1.5,x\n1,2.5,y\n")
    assert read_table(file, ["a"]).values.tolist() == [[1.5], [2.5]]
    file.write_text("Unnamed: 0,a\n0,1.5\n1,2.5\n")
    with pytest.raises(DataError, match=r"column 1, 'Unnamed: 0', has no name.*columns=\['a'\]"):
        read_table(file)
    file = tmp_path / "t.parquet"
    pq.write_table(pa.table({"a": [1.5, 2.5], "__index_level_0__": [7, 9]}), file)
    with pytest.raises(DataError, match=r"column 2, .* has no name of its own, as the index"):
        read_table(file)
    assert read_table(file, ["a"]).values.tolist() == [[1.5], [2.5]]


@pytest.mark.parametrize("rows", [8, 19, 40])
def test_cells_alike_are_told_in_one_line(rows, tmp_path):
    cells = "".join(f"{k},{'abc' if k % 2 else k}\n" for k in range(rows))
    (tmp_path / "t.csv").write_text("a,b\n" + cells)
    with pytest.raises(DataError) as caught:
        read_table(tmp_path / "t.csv")
    assert str(caught.value).count("'abc'") == 1
    more = rows // 2 - 3
    last = "9" if more == 1 else f"{more} more"
    assert f"{rows // 2} bad rows:\n  lines 3, 5, 7 and {last}: expected a number in" in str(
        caught.value
    )
    assert caught.value.line == 3
