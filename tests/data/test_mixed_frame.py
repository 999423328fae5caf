"""Data frames by the rules of files."""

import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest

from pullback.data import (
    DataError,
    is_data_frame,
    mixed_frame,
    read_long,
    read_mixed,
    read_molecules,
    read_ratings,
    read_sequences,
)
from pullback.tasks import FlowDensity

BOTH = pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame])
CELLS = {
    "holes": ["1", "NA", "3", "?"],
    "empty": ["1", "", "3", " "],
    "names": ["a", "None", " b ", "null"],
    "underscore": ["1_000", "x", "y", "2"],
    "infinite": ["inf", "x", "y", "2"],
    "yes": ["True", "false", "", "TRUE"],
    "code": ["01", "2", "x", ""],
    "large": ["9007199254740993", "9007199254740992", "1", "2"],
    "dates": ["2024-01-31", "", "2024-02-01", "2024-02-02"],
}


def _same(one: np.ndarray, other: np.ndarray) -> None:
    assert one.dtype == other.dtype
    assert repr(one.tolist()) == repr(other.tolist())


@BOTH
@pytest.mark.parametrize("name", CELLS)
def test_cells_of_text_are_what_they_are_in_a_file(tmp_path, frame, name):
    file = tmp_path / "t.csv"
    pd.DataFrame({name: CELLS[name], "beside": "z"}).to_csv(file, index=False)
    wanted = read_mixed(file).column(name)
    _same(mixed_frame(frame({name: CELLS[name]})).column(name), wanted)


@BOTH
def test_what_a_file_refuses_a_frame_does_too(tmp_path, frame):
    cells = {"a": ["1_000", "2", "3"], "b": ["x", "y", "z"]}
    file = tmp_path / "t.csv"
    pd.DataFrame(cells).to_csv(file, index=False)
    with pytest.raises(DataError, match="expected a number in column 'a'; got '1_000'"):
        read_mixed(file)
    with pytest.raises(DataError, match=r"DataFrame: 1 bad row:\n  row 1: .* got '1_000'"):
        mixed_frame(frame(cells))
    # Nobody asks for it as numbers.
    assert mixed_frame(frame(cells), ["c"]).column("a").tolist() == cells["a"]
    assert mixed_frame(frame(cells), labels=["a"]).column("a").tolist() == cells["a"]


@BOTH
def test_whole_numbers_that_a_float_cannot_tell_apart_only_name_the_rows(frame):
    large = [2**53, 2**53 + 1, 1]
    assert mixed_frame(frame({"a": large})).column("a").tolist() == [*map(str, large)]
    assert mixed_frame(frame({"a": [-(2**53), 1]})).column("a").dtype == object
    assert mixed_frame(frame({"a": [2**53 - 1, 1]})).column("a").tolist() == [2**53 - 1, 1.0]


def test_nested_cells_are_refused_by_name():
    frames = [
        pd.DataFrame({"a": [[1, 2], [3, 4]], "b": [1.0, 2.0]}),
        pd.DataFrame({"a": [{"x": 1}, None], "b": [1.0, 2.0]}),
        pl.DataFrame({"a": [[1, 2], [3, 4]], "b": [1.0, 2.0]}),
        pl.DataFrame({"a": [{"x": 1}, {"x": 2}], "b": [1.0, 2.0]}),
        pl.DataFrame({"a": np.ones((2, 2)), "b": [1.0, 2.0]}),
    ]
    for frame in frames:
        with pytest.raises(DataError, match=r"column 'a' holds cells of type .*; expected numbers"):
            mixed_frame(frame)
    with pytest.raises(DataError, match="column 'a' holds cells of type"):
        FlowDensity().fit(frames[-1])
    with pytest.raises(DataError, match="column 'a' holds bytes; decode them as text"):
        mixed_frame(pd.DataFrame({"a": [b"x", b"y"]}))


@BOTH
def test_lists_name_nothing(frame):
    cells = [["a"], ["b"]]
    long = {"id": cells, "time": [0.0, 1.0], "variable": ["v", "v"], "value": [1.0, 2.0]}
    with pytest.raises(DataError, match="column 'id' holds cells of type list"):
        read_long(frame(long))
    with pytest.raises(DataError, match="column 'user' holds cells of type list"):
        read_ratings(frame({"user": cells, "item": ["x", "y"], "rating": [1.0, 2.0]}))


def test_a_lazy_frame_is_to_be_collected():
    lazy = pl.LazyFrame({"a": [1.0, 2.0]})
    readers = (
        is_data_frame, read_long, read_ratings, read_molecules, read_sequences, FlowDensity().fit
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for read in readers:
            with pytest.raises(TypeError, match=r"a LazyFrame has no rows yet; .*collect\(\)"):
                read(lazy)
