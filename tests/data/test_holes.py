"""One list of what counts as a hole, and labels that may be one."""

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pullback import data
from pullback.data import DataError

HOLES = ["", "NA", " na ", "N/A", "#N/A", "<NA>", "NaN", "-nan", "NULL", "none", "None", "?"]
WORDS = [word for word in HOLES if word]


@pytest.mark.parametrize("word", HOLES)
def test_every_reader_has_the_same_holes(word, tmp_path):
    file = tmp_path / "t.csv"
    file.write_text(f"a,b,kind\n1,2,x\n3,{word},{word}\n5,6,y\n")
    assert list(data.read_table(file, ["a", "b"]).holes.items()) == [(3, ("b",))]
    mixed = data.read_mixed(file)
    np.testing.assert_array_equal(mixed.column("b"), [2, np.nan, 6])
    assert mixed.column("kind").tolist() == ["x", None, "y"]
    chunk = next(data.mixed_chunks(file, ["b"], optional=["kind"]))
    np.testing.assert_array_equal(chunk.column("b"), [2, np.nan, 6])
    assert chunk.column("kind").tolist() == ["x", None, "y"]
    np.testing.assert_array_equal(data.as_labels(["1", word, "2"]), [1, np.nan, 2])
    assert data.is_hole(word)


@pytest.mark.parametrize("word", ["0", "n", "unknown", "-", "no", "nil"])
def test_other_words_are_none(word, tmp_path):
    assert not data.is_hole(word)
    (tmp_path / "t.csv").write_text(f"a,kind\n1,x\n2,{word}\n3,y\n")
    assert data.read_mixed(tmp_path / "t.csv").column("kind")[1] == word


def _file(kind, cells, folder):
    if kind == "csv":
        text = "a,kind\n" + "".join(f"{k},{cell}\n" for k, cell in enumerate(cells))
        (folder / "t.csv").write_text(text)
    else:
        table = pa.table({"a": range(len(cells)), "kind": cells})
        pq.write_table(table, folder / "t.parquet")
    return folder / f"t.{kind}"


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize("word", WORDS)
def test_a_label_that_may_be_a_hole_is_asked_about(kind, word, tmp_path):
    file = _file(kind, ["x", "y", word, "x", word], tmp_path)
    with pytest.raises(DataError, match=r"may be a class that is called so, or a row") as caught:
        data.read_mixed(file, labels=["kind"])
    told = str(caught.value)
    where = "t.csv, line 4: in column 'kind'" if kind == "csv" else "column 'kind', row 3,"
    assert where in told
    assert f"{word.strip()!r} (2 such)" in told
    assert "na_labels='class' or 'hole'" in told
    assert "--na-labels class or hole" in told
    assert caught.value.line == (4 if kind == "csv" else None)

    def labels(na):
        return data.read_mixed(file, labels=["kind"], na_labels=na).column("kind").tolist()

    assert labels("class") == ["x", "y", word.strip(), "x", word.strip()]
    assert labels("hole") == ["x", "y", None, "x", None]


def test_an_empty_cell_needs_no_answer_and_numbers_have_holes(tmp_path):
    assert data.as_labels(["x", " ", None, "y"]).tolist() == ["x", None, None, "y"]
    assert data.as_labels(["1", "NA", "2"], "class").tolist() == ["1", "NA", "2"]
    np.testing.assert_array_equal(data.as_labels(["1", "NA", "2"], "hole"), [1, np.nan, 2])
    assert data.as_labels(["01", "", "2"]).tolist() == ["01", None, "2"]
    with pytest.raises(ValueError, match=r"row 2: the label 'NA' \(1 such\)"):
        data.as_labels(["01", "NA", "2"])
    with pytest.raises(ValueError, match="`na_labels` must be 'class' or 'hole', or None"):
        data.as_labels(["x"], "yes")


def test_missing_cells_are_holes_and_never_a_class_called_nan(tmp_path):
    for cells in (["x", None, "y"], ["x", np.nan, "y"], [1.0, np.nan, 2.0], [True, None, False]):
        pd.DataFrame({"a": [1, 2, 3], "kind": cells}).to_parquet(tmp_path / "t.parquet")
        table = data.read_mixed(tmp_path / "t.parquet", labels=["kind"])
        known = [str(cell) for cell in table.column("kind") if not data.is_hole(cell)]
        assert len(known) == 2
        assert not {"nan", "None"} & {*known}
    assert data.as_labels(["x", pd.NA, pd.NaT, np.nan, "y"]).tolist() == [
        "x", None, None, None, "y"
    ]  # fmt: skip


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame])
def test_bytes_are_no_labels(frame):
    cells = frame({"kind": [b"x", b"y", None]})["kind"].to_list()
    with pytest.raises(ValueError, match=r"row 1: the label .* is bytes; write it as text"):
        data.as_labels(cells)


def test_whole_numbers_that_a_float_cannot_tell_apart_are_classes_of_their_own():
    cells = ["9007199254740992", "9007199254740993", ""]
    assert data.as_labels(cells).tolist() == [*cells[:2], None]
    assert data.as_labels([True, 1, 1.0, "x"]).tolist() == ["True", "1", "1.0", "x"]
