"""CSV files as people have them: what is read, and what is asked or refused with its remedy."""

import gzip
import inspect
import io
import os

import numpy as np
import pandas
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pullback.data import DataError, _text, read_long, read_mixed, read_ratings, read_table
from pullback.data._csv import choose_columns
from pullback.data._headers import check_header

ROWS = [[1.5, 2.0], [3.0, -4.25]]


def write(tmp_path, text, name="t.csv", encoding="utf-8"):
    (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode(encoding))
    return tmp_path / name


@pytest.mark.parametrize(
    "text",
    [
        "a,b\n1.5,2\n3,-4.25\n",
        "sep=;\na;b\n1.5;2\n3;-4.25\n",
        '"sep=\t"\r\na\tb\r\n1.5\t2\r\n3\t-4.25\r\n',
        "sep=|\na|b\n1.5|2\n3|-4.25\n",
        "a,b,\n1.5,2,\n3,-4.25, \n",
        "a;b\n1,5;2\n3;-4,25\n",
        "a\tb\n1,5\t2\n3\t-4,25\n",
        '"a";"b"\n"1,5";"2"\n"3";"-4,25"\n',
        "a;b\n1,5;2.0\n3;-4.25\n",  # no column has both
    ],
)
def test_tables_as_spreadsheets_write_them(text, tmp_path):
    file = write(tmp_path, text)
    table = read_table(file)
    assert table.columns == ("a", "b")
    np.testing.assert_array_equal(table.values, ROWS)
    lines = text.splitlines()
    assert table.rows.tolist() == [len(lines) - 1, len(lines)]


@pytest.mark.parametrize("delimiter", [";", "\t", ","])
def test_delimiters_within_quotation_marks_and_names_are_none(delimiter, tmp_path):
    frame = pandas.DataFrame({"length, mm; about": ROWS[0], "a,b,c;d\te": ROWS[1]})
    file = tmp_path / "t.csv"
    frame.to_csv(file, sep=delimiter, index=False)
    table = read_table(file)
    assert table.columns == tuple(frame.columns)
    np.testing.assert_array_equal(table.values, frame.to_numpy())
    file.write_text("length, mm;width, mm\n1,5;2\n3;-4,25\n")
    np.testing.assert_array_equal(read_table(file).values, ROWS)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("packed", [False, True])
def test_marks_say_how_a_text_is_written(encoding, packed, tmp_path, monkeypatch):
    monkeypatch.setattr("pullback.data._csv_blocks._BYTES", 1000)
    rows = "".join(f"{number},{number / 8}\r\n" for number in range(1000))
    data = ("größe,𝛼\r\n" + rows).encode(encoding)
    file = write(tmp_path, gzip.compress(data) if packed else data)
    table = read_table(file)
    assert table.columns == ("größe", "𝛼")
    np.testing.assert_array_equal(table.values[:, 1], np.arange(1000) / 8)
    data = "a,b\n1,2\n3,4\n5\n".encode(encoding)
    file = write(tmp_path, gzip.compress(data) if packed else data)
    with pytest.raises(DataError, match="line 4: expected 2 cells, got 1"):
        read_table(file)


@pytest.mark.parametrize("name", ["t.csv.gz", "t.csv"])
def test_gzip_is_told_by_its_name_or_its_first_bytes(name, tmp_path):
    file = write(tmp_path, gzip.compress(b"a,b\n1.5,2\n3,-4.25\n"), name)
    np.testing.assert_array_equal(read_table(file).values, ROWS)
    long = b"id,time,variable,value\nA,0,x,1.5\nA,1,x,2\n"
    assert read_long(write(tmp_path, gzip.compress(long), name)).values.tolist() == [[[1.5], [2]]]


def test_gzip_that_is_damaged_or_swells(tmp_path, monkeypatch):
    packed = gzip.compress(b"a,b\n" + b"1,2\n" * 10_000)
    with pytest.raises(DataError, match=r"t\.csv: cannot be read: "):
        read_table(write(tmp_path, packed[:-20]))
    with pytest.raises(DataError, match=r"t\.csv: cannot be read: "):
        read_table(write(tmp_path, packed[:40] + b"\xff\xff" + packed[42:]))
    with pytest.raises(DataError, match=r"t\.csv\.gz: cannot be read: Not a gzipped file"):
        read_table(write(tmp_path, "a,b\n1,2\n", "t.csv.gz"))
    monkeypatch.setattr(_text, "_SMALL", 10_000)
    with pytest.raises(DataError, match="unpacks to more than 100 times its size"):
        read_table(write(tmp_path, packed))
    monkeypatch.setattr(_text, "_RATIO", 1000)
    assert len(read_table(tmp_path / "t.csv").values) == 10_000


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "größe,b\n1,2\n".encode("cp1252"),
            r"line 1: .* 0xf6\. If that is 'ö', .*Windows-1252",
        ),
        (b"a,b\n1,2\n3,\xe9\n", r"line 3: .*save it as CSV UTF-8, or run iconv -f cp1252 -t utf-8"),
        ("a,b\n1,2\n".encode("utf-16-le"), "UTF-16 without its mark"),
        ("a,b\n1,2\n".encode("utf-16")[:-1], "has the mark of UTF-16, and cannot be read so"),
        (b"PK\x03\x04rest", "a zip file or a spreadsheet; .*save the sheet as CSV"),
        (b"\xd0\xcf\x11\xe0rest", "a spreadsheet; save the sheet as CSV"),
        (b"PAR1rest", r"this is Parquet; let its name end in \.parquet"),
        (b"BZh91AY&SY", "packed by bzip2; unpack it"),
        (b"", "the file is empty"),
    ],
)
def test_what_is_no_text_in_utf8_is_named(text, message, tmp_path):
    with pytest.raises(DataError, match=message):
        read_table(write(tmp_path, text))


def test_a_pipe_would_lose_its_first_rows(tmp_path):
    os.mkfifo(tmp_path / "t.csv")
    with pytest.raises(DataError, match="is a pipe, which can be read only once; write it to a"):
        read_table(tmp_path / "t.csv")


@pytest.mark.parametrize("name", ["t.xlsx", "t.xls", "t.ods"])
def test_spreadsheets_are_named_by_their_ending(name, tmp_path):
    with pytest.raises(DataError, match="is a spreadsheet; save the sheet as CSV"):
        read_table(write(tmp_path, b"PK\x03\x04", name))


@pytest.mark.parametrize(
    "first",
    [
        *("0,1,2", "2019,2020,2021", "3,1,2", "+3,-1,0", ",0,1", "1e3,2e3,4e3"),
        *("400.5,401.0,401.5", "4000.2,4000.1,4000.0", "0.1,0.2,0.3", "dose,0.5,2", "a,1,3"),
        *("NA,nan,?", "nan,NA,"),
    ],
)
def test_a_first_row_of_numbers_that_may_be_names_is_asked_about(first, tmp_path):
    file = write(tmp_path, f"{first}\n3,4,5\n6,7,8.5\n")
    with pytest.raises(DataError, match=r"line 1: the first row, .* may be a header or a row"):
        read_table(file)
    with pytest.raises(DataError, match=r"`header=True` \(on the command line --header yes\) or"):
        read_table(file)
    if "" not in first.split(","):
        table = read_table(file, header=True)
        assert table.columns == tuple(first.split(","))
        assert table.values.tolist() == [[3, 4, 5], [6, 7, 8.5]]
        if not first[0].isalpha():
            table = read_table(file, header=False)
            assert table.columns == ("x1", "x2", "x3")
            assert len(table.values) + len(table.holes) == 3


def test_a_first_row_of_one_number_and_of_years_beside_a_name(tmp_path):
    file = write(tmp_path, "7\n8\n9\n")
    with pytest.raises(DataError, match="may be a header or a row"):
        read_table(file)
    assert read_table(file, header=False).values.tolist() == [[7], [8], [9]]
    with pytest.raises(DataError, match="may be a header or a row"):
        read_table(write(tmp_path, "country,2019,2020,2021\nNorway,1,2,3\n"))
    table = read_table(tmp_path / "t.csv", ["2020"], header=True)
    assert table.values.tolist() == [[2]]


@pytest.mark.parametrize(
    "first",
    [
        *("0.5,1,2", "1,1,2", "1.,2", "39,Oslo,77516,13", "0.5,1.5", "1.5,nan,2"),
        *("5.1,3.5,1.4,0.2,Iris-setosa", "2024-01-01,1,2", "1.0,1,2"),
    ],
)
def test_a_first_row_of_values_is_a_row(first, tmp_path):
    file = write(tmp_path, f"{first}\n{first}\n")
    assert read_mixed(file).names[0] == "x1"
    assert len(read_mixed(file).rows) == 2


def test_names_that_look_like_numbers(tmp_path):
    table = read_mixed(write(tmp_path, "species,2019\ncat,1\ndog,2\n"), header=True)
    assert table.names == ("species", "2019")
    assert read_mixed(write(tmp_path, "a,NaN,b\n1,2,3\n")).names == ("a", "NaN", "b")
    assert read_table(write(tmp_path, "Inf,b\n1,2\n")).columns == ("Inf", "b")
    table = read_mixed(write(tmp_path, "2024-01-01,1\n2024-01-02,2\n"))
    assert table.column("x1").tolist() == ["2024-01-01", "2024-01-02"]


def test_arguments_that_say_nothing(tmp_path):
    with pytest.raises(ValueError, match="`columns` must name a column or more"):
        read_table(write(tmp_path, "a,b\n1,2\n"), [])
    choose = inspect.unwrap(choose_columns)  # without the checks of types around it
    with pytest.raises(DataError, match="asked for by their names, got 0; they are a, b"):
        choose(tmp_path, ("a", "b"), [0])
    for header in ("no", 0):
        with pytest.raises(
            ValueError, match=f"`header` must be True, False or None, got {header!r}"
        ):
            check_header(header)
    check_header(None)


def test_rows_of_one_comma_are_asked_about(tmp_path):
    file = write(tmp_path, "1,5\n2,7\n3,0\n")
    with pytest.raises(DataError, match=r"If '1,5' is one number, say `decimal=','` \(on the com"):
        read_table(file)
    with pytest.raises(DataError, match=r"say `decimal='.'` .* for two, `decimal=','` .* for one"):
        read_table(file, header=False)
    with pytest.raises(DataError, match="may be a header or a row"):
        read_table(file, decimal=".")
    table = read_table(file, header=False, decimal=".")
    assert table.values.tolist() == [[1, 5], [2, 7], [3, 0]]
    assert read_table(file, decimal=",").values.tolist() == [[1.5], [2.7], [3.0]]
    assert read_table(file, header=True).values.tolist() == [[2, 7], [3, 0]]
    with pytest.raises(DataError, match=r"`decimal='.'` .* for two"):
        read_table(write(tmp_path, "5,5\n2,7\n"))
    # Ratings have no header in files that are known, and no fractions either.
    assert read_ratings(
        write(tmp_path, "196,242\n186,302\n"), feedback="implicit"
    ).items.tolist() == [0, 1]


def test_a_column_below_its_name_with_decimal_commas(tmp_path):
    file = write(tmp_path, "a\n1,5\n2,7\n")
    with pytest.raises(DataError, match=r"got 2.*\nIf .* a comma .*, say `decimal=','"):
        read_table(file)
    assert read_table(file, decimal=",").values.tolist() == [[1.5], [2.7]]


@pytest.mark.parametrize("text", ["a,b\n1,2\n3,4\n", "a,b\n1,\n3,4\n"])
def test_a_comma_in_the_header_separates_cells(text, tmp_path):
    for read in (read_table, read_mixed):
        with pytest.raises(DataError, match=r"the header 'a,b' .* as many commas.*leave `decimal`"):
            read(write(tmp_path, text), decimal=",")
    file = write(tmp_path, "length, mm\n1,5\n2,0\n")
    assert read_table(file, decimal=",").values.tolist() == [[1.5], [2]]


def test_quoted_decimal_commas_between_commas_are_asked_about(tmp_path):
    file = write(tmp_path, 'a,b\n"1,5","2"\n"3","-4,25"\n')
    with pytest.raises(DataError, match=r"write 1\.5 for 1,5, or say `decimal=','"):
        read_table(write(tmp_path, 'a,b\n"1,5","2"\n"3,5","-4,25"\n'))
    assert read_table(file, decimal=",").values.tolist() == [[1.5, 2], [3.5, -4.25]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "a;b\n1,234;2\n",
            r"line 2: '1,234' in column 'a' .* may be 1\.234 or 1234; say `d",
        ),
        ("a;b\n1,5;2\n1.5;3\n", "line 2: column 'a' has '1,5' on line 2 and '1.5' on line 3"),
        (
            "a;b\n1.234,5;2\n2.345,6;3\n",
            r"signs between thousands.*write 1234\.5 for 1,234\.5",
        ),
        ("a;b\n1 234;2\n2 345;3\n", "column 'a' has 2 numbers with signs between thousands"),
        (
            'a,b\n"1,234",2\n"2,345",3\n',
            r"1234 for 1,234, or say `decimal=','.*if that is 1\.2",
        ),
        ("a;b\n1.234;0,5\n2.345;0,7\n", r"line 2: '1\.234' in column 'a' .* may be 1234 or 1,234"),
        ("a;b\n1;0,5\n2.345;1,234\n", "line 3: .*decimal commas, such as '0,5'"),
        ("a;b\n1.234,5;2\n", r"got '1\.234,5'; write 1234\.5 for 1,234\.5"),
        ("a;b\n1,5,6;2\n", "expected a number in column 'a'; got '1,5,6'"),
    ],
)
def test_numbers_that_may_mean_more_than_one_thing(text, message, tmp_path):
    with pytest.raises(DataError, match=message):
        read_table(write(tmp_path, text))


def test_points_of_which_one_is_before_a_fraction_are_no_thousands(tmp_path, monkeypatch):
    monkeypatch.setattr("pullback.data._csv_blocks._BYTES", 64)
    rows = "1.234;0,5\n" * 30
    with pytest.raises(DataError, match=r"line 2: '1\.234' in column 'a'"):
        read_table(write(tmp_path, "a;b\n" + rows))
    for cell in ("1.5", "0.234", "1234.567"):
        table = read_table(write(tmp_path, f"a;b\n{rows}{cell};1\n{rows}"))
        assert table.values[[0, 30]].tolist() == [[1.234, 0.5], [float(cell), 1]]


def test_what_the_decimal_sign_is_said_to_be(tmp_path):
    file = write(tmp_path, "a;b\n1,234;2\n4;5\n")
    assert read_table(file, decimal=",").values.tolist() == [[1.234, 2], [4, 5]]
    with pytest.raises(DataError, match=r"expected a number in column 'a'; got '1,234'"):
        read_table(file, decimal=".")
    # One column with a fraction that is none of thousands settles the others.
    table = read_table(write(tmp_path, "a;b\n1,234;2,5\n4;5\n"))
    assert table.values.tolist() == [[1.234, 2.5], [4, 5]]
    with pytest.raises(DataError, match=r"got '1\.5'"):
        read_table(write(tmp_path, "a;b\n1.5;2\n"), decimal=",")
    with pytest.raises(ValueError, match=r"`decimal` must be '\.', ',' or None, got ';'"):
        read_table(file, decimal=";")


def test_points_far_above_a_decimal_comma_are_remembered(tmp_path, monkeypatch):
    monkeypatch.setattr("pullback.data._csv_blocks._BYTES", 64)
    for cell in ("1.0", "1.5"):
        text = f"a;b\n{cell};2\n" + "1;2\n" * 100 + "2,5;3\n"
        with pytest.raises(DataError, match=f"'2,5' on line 103 and '{cell}' on line 2"):
            read_table(write(tmp_path, text))
    text = "a;b\n1e-3;2\n" + "1;2\n" * 100 + "2,5;3\n"
    assert read_table(write(tmp_path, text)).values[[0, -1]].tolist() == [[0.001, 2], [2.5, 3]]


def test_a_delimiter_behind_each_line(tmp_path):
    file = write(tmp_path, "a,b,\n" + "1,2,\n" * 30 + "3,4,5\n6,7,8\n")
    with pytest.raises(DataError, match=r"2 bad rows:\n  line 32: expected nothing behind"):
        read_table(file)
    with pytest.raises(DataError, match=r"2 cells, got 3.*\nThe last is empty: take the sign"):
        read_table(write(tmp_path, "a,b\n1,2,\n3,4,\n"))
    with pytest.raises(DataError, match=r"x3 in 2.*--columns x1 x2"):
        read_table(write(tmp_path, "1.5,2,\n3,4,\n"))


def test_an_index_that_the_header_lacks(tmp_path):
    frame = pandas.DataFrame({"a": [1.5, 2.5], "b": [3, 4]})
    text = io.StringIO()
    frame.to_csv(text)
    file = write(tmp_path, text.getvalue())
    with pytest.raises(DataError, match=r"column 1 has no name of its own.*--columns a b\)"):
        read_table(file)
    assert read_table(file, ["b", "a"]).values.tolist() == [[3, 1.5], [4, 2.5]]
    with pytest.raises(DataError, match=r"got 3.*\nIf the first is an index, give it a name"):
        read_table(write(tmp_path, "a,b\n1,0.5,2\n2,0.25,3\n"), ["a"])


def test_rows_of_empty_cells_count(tmp_path):
    file = write(tmp_path, "a,b\n1,2\n,\n3,4\n")
    table = read_table(file)
    assert table.holes == {3: ("a", "b")}
    assert table.rows.tolist() == [2, 4]
    with pytest.raises(DataError, match=r"line 3: .* the cell is empty"):
        read_long(write(tmp_path, "id,time,variable,value\nA,0,x,1\n,,,\n"))


def test_a_column_without_any_value_is_named(tmp_path):
    file = write(tmp_path, "a,b,c\n1,,2\n3,NA,4\n")
    with pytest.raises(DataError, match=r"none of 2 is whole \(b in 2\)\. .*--columns a c\)"):
        read_table(file)


def test_many_columns_take_no_time_of_their_square(tmp_path):
    names = [f"c{number}" for number in range(10_000)]
    file = write(tmp_path, ",".join(names) + "\n" + ",".join("1" * 10_000) + "\n")
    assert read_table(file).values.shape == (1, 10_000)
    assert read_table(file, names[::-1]).columns[0] == "c9999"


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (pa.array([b"1", b"2"]), "column 'a' holds bytes; write it as text"),
        (pa.array([b"1", b"2"], pa.binary(1)), "column 'a' holds bytes"),
        (pa.array([b"1", b"2"]).dictionary_encode(), "column 'a' holds bytes"),
        (pa.array([[1], [2]]), "column 'a' holds list<"),
        (pa.array([10**7, 1], pa.date32()), "rows 1 to 2 have cells that cannot be read"),
        (pa.array([2**62, 1], pa.timestamp("us")), "rows 1 to 2 have cells that cannot be read"),
        (pa.array([1.5, float("inf")]), "number in column 'a'; got 'inf'"),
        (pa.array([True, False]), "column 'a' has 2 cells that are no numbers, such as 'True'"),
    ],
)
def test_columns_of_parquet_that_are_no_numbers(column, message, tmp_path):
    file = tmp_path / "t.parquet"
    pq.write_table(pa.table({"a": column}), file)
    with pytest.raises(DataError, match=message):
        read_table(file)


def test_numbers_of_parquet_of_every_kind(tmp_path):
    file = tmp_path / "t.parquet"
    text = ["1", " NA ", None]
    columns = {
        "whole": pa.array([1, None, 3], pa.int8()),
        "single": pa.array([0.1, float("nan"), None], pa.float32()),
        "text": text,
        "named": pa.array(text).dictionary_encode(),
        "exact": pa.array([1, None, 3]).cast(pa.decimal128(30, 2)),
    }
    pq.write_table(pa.table(columns), file)
    for name in columns:
        found = read_table(file, [name])
        assert found.values[0] == (np.float32(0.1) if name == "single" else 1)
        assert 2 in found.holes
    pq.write_table(pa.table({"a": ["1,5", "2"], "b": ["1.5", "2"]}), file)
    assert read_table(file, ["b"]).values.tolist() == [[1.5], [2]]
    assert read_table(file, ["a"], decimal=",").values.tolist() == [[1.5], [2]]
    with pytest.raises(DataError, match=r"got '1\.5'"):
        read_table(file, decimal=",")
    with pytest.raises(DataError, match="say no `header`"):
        read_table(file, header=False)


ROUNDED = 2**53 + 1


@pytest.mark.parametrize("text", [f"{ROUNDED}", f'"{ROUNDED}"', f" -{ROUNDED}"])
@pytest.mark.parametrize("delimiter", [",", ";"])
def test_whole_numbers_that_float64_would_round_are_refused(text, delimiter, tmp_path):
    file = write(tmp_path, f"a,b\n1,2\n{text},3\n".replace(",", delimiter))
    with pytest.raises(DataError, match=r"line 3: .*column 'a'; got .*; float64 would round it"):
        read_table(file)
    assert read_table(file, ["b"]).values.tolist() == [[2], [3]]
    with pytest.raises(DataError, match=r"line 3: .*float64 would round it"):
        read_mixed(file, ["a"])
    # Of whole numbers alone they name the rows.
    assert read_mixed(file).column("a").tolist() == ["1", text.strip(' "')]
    file.write_text(file.read_text() + f"0.5{delimiter}4\n1.5{delimiter}5\n")
    with pytest.raises(DataError, match=r"line 3: .*float64 would round it"):
        read_mixed(file)


def test_large_whole_numbers_that_float64_holds_are_numbers(tmp_path):
    cells = [
        str(2**53),
        str(2**60),
        "1e300",
        f"{ROUNDED}.0",
        "123456789012345680000",
        "1" + "0" * 22,
    ]
    file = write(tmp_path, "a\n" + "\n".join(cells) + "\n")
    np.testing.assert_array_equal(read_table(file).values[:, 0], list(map(float, cells)))


def test_whole_numbers_of_parquet_and_npz_that_float64_would_round(tmp_path):
    file, packed = tmp_path / "t.parquet", tmp_path / "t.npz"
    for kind in (np.int64, np.uint64):
        wrong, right = np.array([ROUNDED, 1], kind), np.array([2**60, 1], kind)
        pq.write_table(pa.table({"a": wrong}), file)
        with pytest.raises(DataError, match=r"row 1: .*float64 would round it"):
            read_table(file)
        pq.write_table(pa.table({"a": pa.array([ROUNDED, None])}), file)
        assert read_mixed(file).column("a").tolist() == [str(ROUNDED), None]
        pq.write_table(pa.table({"a": right}), file)
        assert read_table(file).values.tolist() == [[2.0**60], [1]]
        np.savez(packed, x=wrong[:, None])
        with pytest.raises(DataError, match=f"{ROUNDED}, which is {2**53} as float64"):
            read_table(packed)
        np.savez(packed, x=right[:, None])
        assert read_table(packed).values.tolist() == [[2.0**60], [1]]


def test_messages_on_many_columns_and_long_names_end(tmp_path):
    many = ",".join(f"c{number}" for number in range(2000))
    file = write(tmp_path, many + ("\n" + ",".join(["xx"] * 2000)) * 5 + "\n")
    with pytest.raises(DataError, match="So have 1980 other columns") as caught:
        read_table(file)
    assert len(str(caught.value)) < 4000
    with pytest.raises(DataError, match=r"--columns NAME NAME\)") as caught:
        read_table(write(tmp_path, f"x,{'y' * 10_000}\nq,1\nr,2\n"))
    assert len(str(caught.value)) < 500
    with pytest.raises(DataError) as caught:
        read_table(write(tmp_path, "x,\x1b[31m\nq,1\nr,2\n"))
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('a,b\n1,2\n3,"4\n5,6\n7,8\n', "line 3: .*in the row that begins here a quotation mark is"),
        (
            'a,b\n1,"2\n' + "3,4\n" * 50_000,
            "line 2: .*in the row that begins here a quotation mark",
        ),
        ("a,b\n1,2\n3," + "4" * 140_000, "line 3: .*cell has more than 131072 letters; cut it"),
        ('a,b\n1,"2"3\n', 'line 2: .*behind a closing quotation mark; write ""'),
        ("a|b\n1|2\n", r"separated by \|; write sep=\| alone on a first line"),
        ("# a b\n1.0 2.0\n3.0 4.0\n", "separated by spaces; separate them by commas"),
        ("1.0  2.0\n3.0 4.0\n", "separated by spaces"),
        ("My table\na,b,c\n1,2,3\n", "got 3.*\nIf the first line is a title or a comment"),
        ("a,b\n[m],[s]\n1,2\n3,4\n", "or take rows that are none of numbers out of the file"),
        (gzip.compress(gzip.compress(b"a,b\n1,2\n")), "packed by gzip twice; unpack it once"),
        ("a,b\n1,2\n".encode("utf-16-le"), "iconv -f utf-16le -t utf-8"),
    ],
)
def test_what_is_broken_is_told_with_its_remedy(text, message, tmp_path):
    with pytest.raises(DataError, match=f"(?s){message}"):
        read_table(write(tmp_path, text))


def test_columns_of_one_text_may_have_bars_and_spaces(tmp_path):
    assert read_mixed(write(tmp_path, "kinds\nA|B\nC\n")).column("kinds").tolist() == ["A|B", "C"]
    assert read_mixed(write(tmp_path, "name\nAnn Lee\n")).column("name").tolist() == ["Ann Lee"]
