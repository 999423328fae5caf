"""CSV files by Arrow and by Python's csv: the same rows, numbers, holes and refusals."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pullback.data import DataError, _csv_blocks, read_table
from pullback.data._cells import BadRows
from pullback.data._decimals import Decimals
from pullback.data._sources import open_source

PLAIN = "0 1 -2.5 +3 .5 5. 1e3 1E-3 007 9007199254740993".split()
COMMAS = "1,5 ,5 5, -1,5e3 1,500 +2,000,000 0,500".split()
STRANGE = "+-1 1e400 -0 1_0 0x1 1d5 1e 1,5 1.234,5 1,234.5".split()
WORDS = ["", " ", "NA", " NA", "nan", "NaN", "-nan", "inf", "-Infinity", "None", "?", "N/a", "x"]
ODD = [
    '"',
    '"\n"',
    '"a"',
    '"1,2"',
    '"1\n2"',
    '""',
    '"""1"""',
    'a"b',
    '"1"x',
    ' "1"',
    "\u0661",
    "\u00a01",
]
ODD += ["1\u2003", "\0", "\v", "\u00e9"]
ENDS = ["\n", "\n", "\n", "\r\n", "\n\n", "\r\n\r\n", "\n \n", "\n\t\n", "\r", "\n,\n", "\n;\n"]


@st.composite
def files(draw):
    """What is nearly a table of numbers, with few kinds of oddities in any one."""
    width = draw(st.integers(1, 3))
    delimiter = draw(st.sampled_from(",;\t"))
    commas = delimiter != "," and draw(st.booleans())
    usual = [*PLAIN, *(COMMAS if commas else []), "", "NA"]
    odd = draw(st.lists(st.sampled_from([*STRANGE, *WORDS, *ODD]), max_size=3))
    cell = st.sampled_from(usual + 3 * odd)
    ends = [draw(st.sampled_from(["\n", "\r\n"]))] * 6 + draw(
        st.lists(st.sampled_from(ENDS), max_size=1)
    )
    uneven = draw(st.sampled_from([0, 0, 0, 1]))
    text = delimiter.join("abc"[:width])
    for _ in range(draw(st.integers(1, 12))):
        text += draw(st.sampled_from(ends))
        count = draw(st.integers(1, 4)) if uneven and draw(st.integers(0, 3)) == 0 else width
        text += delimiter.join(draw(cell) for _ in range(count))
    return text + draw(st.sampled_from(["", *ends]))


def told(read):
    try:
        found = read()
    except DataError as error:
        return str(error)
    return [np.asarray(part).tolist() if isinstance(part, np.ndarray) else part for part in found]


def cells_of(file: Path):
    source, rows, columns = open_source(file), [], []
    places = list(range(len(source.names)))
    bad = BadRows(file, source.word)
    for numbers, parts in source.chunks(places, bad):
        rows += numbers
        columns.append(parts)
    joined = [[cell for part in columns for cell in part[place]] for place in places]
    return source.names, rows, joined, bad.problems


@settings(max_examples=400, deadline=None)
@given(
    text=files(),
    size=st.sampled_from([8, 24, 4096]),
    header=st.sampled_from([None, True, True, False]),
    decimal=st.sampled_from([None, None, ".", ","]),
)
def test_arrow_reads_what_csv_reads(text, size, header, decimal, tmp_path_factory):
    file = tmp_path_factory.getbasetemp() / "any.csv"
    file.write_bytes(text.encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_csv_blocks, "_BYTES", size)
        table = lambda: told(lambda: read_table(file, header=header, decimal=decimal))
        quick = table(), told(lambda: cells_of(file))
        patch.setattr(_csv_blocks, "_has_plain_lines", lambda data, delimiter: False)
        patch.setattr(Decimals, "floats", lambda *args: None)
        slow = table(), told(lambda: cells_of(file))
    assert repr(quick) == repr(slow)  # where NaN is NaN


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(_csv_blocks, "_BYTES", 4096)


def only_by_arrow(monkeypatch):
    def slow(*args):
        raise AssertionError("Python was to look at this")

    monkeypatch.setattr(_csv_blocks.CsvRows, "_slow", slow)


def test_numbers_with_quoted_names_and_blank_lines_are_read_by_arrow(
    tmp_path, monkeypatch, small_blocks
):
    only_by_arrow(monkeypatch)
    values = np.random.default_rng(0).normal(size=(2000, 3))
    lines = [f'{a!r}, {b!r} ,"{c!r}"' for a, b, c in values.tolist()]
    lines[700:700] = ["", "NA,1,2", "", ""]
    file = tmp_path / "t.csv"
    file.write_text('"a, of it","b ""c""",d\n' + "\r\n".join(lines))
    table = read_table(file)
    assert table.columns == ("a, of it", 'b "c"', "d")
    np.testing.assert_array_equal(table.values, values)
    assert table.holes == {703: ("a, of it",)}
    np.testing.assert_array_equal(table.rows, [*range(2, 702), *range(706, 2006)])


def test_only_the_column_with_a_strange_cell_is_looked_at_again(tmp_path, monkeypatch):
    only_by_arrow(monkeypatch)
    file = tmp_path / "t.csv"
    file.write_text("a,b\n" + "1,2\n" * 500 + "3, NA\n1,x\n" + "5,6\n" * 500)
    assert len(read_table(file, ["a"]).values) == 1002
    with pytest.raises(DataError, match=r"1 bad row:\n  line 503: .* got 'x'"):
        read_table(file)
    source = open_source(file)
    assert source.blocks is not None
    block = next(source.blocks([0, 1], [], BadRows(file, "line")))
    assert block.numbers[0].sum() == 3004
    assert block.numbers[1] is None
    assert block.cells(1)[499:502] == ["2", " NA", "x"]
    assert block.cells(0)[500] == "3"
    assert pa.types.is_string(block.column(1).type)


def test_a_quoted_cell_goes_over_lines_and_blocks(tmp_path, small_blocks):
    file = tmp_path / "t.csv"
    file.write_text('a,b\n1,"x"\n2,"' + "long\n" * 3000 + '"\n3,y\n4\n')
    with pytest.raises(DataError, match=r"1 bad row:\n  line 3005: expected 2 cells, got 1"):
        read_table(file, ["a"])
    file.write_text(file.read_text()[:-2])
    table = read_table(file, ["a"])
    assert table.values.tolist() == [[1], [2], [3]]
    assert table.rows.tolist() == [2, 3003, 3004]


def test_a_cell_that_is_too_long_is_refused_with_its_line(tmp_path):
    file = tmp_path / "t.csv"
    file.write_text("a,b\n" + "1,2\n" * 3000 + "1," + "x" * 131_073 + "\n1,2\n")
    with pytest.raises(DataError, match="line 3002: not a CSV file: a cell has more than"):
        read_table(file, ["a"])
    file.write_text("a,b\n" + "1,2\n" * 3000 + "1," + "x" * 131_000 + "\n1,2\n")
    assert len(read_table(file, ["a"]).values) == 3002


def test_text_that_is_no_utf8_is_found_in_a_column_that_is_left_out(tmp_path, small_blocks):
    file = tmp_path / "t.csv"
    file.write_bytes(b"a,b\n" + b"1,2\n" * 30_000 + b"1,caf\xe9\n")
    with pytest.raises(DataError, match=r"line 30002: .* 0xe9\. If that is 'é', .* Windows-1252"):
        read_table(file, ["a"])
