"""Tables with a column of labels: what is read, and what is refused."""

import numpy as np
import pytest

from pullback.data import DataError, read_labelled


@pytest.fixture
def write(tmp_path):
    def write(text):
        file = tmp_path / "my.csv"
        file.write_text(text)
        return file

    return write


def test_labels_may_be_text_numbers_or_missing(write):
    table = read_labelled(write("a;kind;b\n1;cat;2\n3; ;4\n5;ant;-6\n7;cat;8\n"), "kind")
    np.testing.assert_array_equal(table.values, [[1, 2], [3, 4], [5, -6], [7, 8]])
    assert (table.columns, table.classes) == (("a", "b"), ("ant", "cat"))
    np.testing.assert_array_equal(table.y, [1, -1, 0, 1])
    assert (table.label, table.rows.tolist()) == ("kind", [2, 3, 4, 5])
    table = read_labelled(write("y,a,b\n1,1,2\n0,3,4\n"), "y", ["b"])
    assert (table.columns, table.classes, table.y.tolist()) == (("b",), ("0", "1"), [1, 0])
    assert read_labelled(write("a,b\n1,u\n2,v\n")).label == "b"


def test_every_hole_is_named_with_its_line(write):
    file = write("a,b,y\n1,2,u\n,3,v\n4,x,u\n5,nan,\n")
    with pytest.raises(DataError) as caught:
        read_labelled(file, "y")
    told = str(caught.value)
    assert "3 bad rows" in told
    assert "line 3: expected a number in column 'a'; the cell is empty" in told
    assert "line 4: expected a number in column 'b'; got 'x'" in told
    assert "line 5: expected a number in column 'b'; got 'nan'" in told
    assert caught.value.line == 3


@pytest.mark.parametrize(
    ("text", "flags", "message"),
    [
        ("a,kind\n1,u\n2,v\n", {"label": "kimd"}, "no column 'kimd'; did you mean 'kind'"),
        ("a,y\n1,u\n2,v\n", {"label": "y", "columns": ["b"]}, "no column 'b'; did you mean"),
        ("a,y\n1,u\n2,v\n", {"label": "y", "columns": ["y"]}, "cannot be one of `columns`"),
        ("y\nu\nv\n", {"label": "y"}, "expected columns of numbers beside the label 'y'"),
        ("a,y\n1,u\n2,u\n", {"label": "y"}, "two or more labels in column 'y'; got 'u' alone"),
        ("a,y\n1,\n2,\n", {"label": "y"}, "two or more labels in column 'y'; got none"),
        ("a,y\n", {"label": "y"}, "expected rows after the header"),
        ("a,y\n1,u\n2\n", {"label": "y"}, "line 3: expected 2 cells, got 1"),
    ],
)
def test_what_cannot_be_used_is_refused(write, text, flags, message):
    with pytest.raises(DataError, match=message):
        read_labelled(write(text), **flags)
