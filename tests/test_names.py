"""What messages quote of names and cells."""

import pytest

from pullback._names import did_you_mean, listed, shown


def test_a_long_cell_is_cut_and_its_length_told():
    assert shown("12 kg") == "'12 kg'"
    assert shown("x" * 60) == repr("x" * 60)
    told = shown("x" * 130_000)
    assert told.startswith("'xxx")
    assert told.endswith("x...' (130000 letters)")
    assert len(told) < 80


@pytest.mark.parametrize("cell", [1.5, b"x", None])
def test_what_is_no_text_is_quoted_as_it_is_written(cell):
    assert shown(cell) == repr(str(cell))


def test_of_many_names_the_first_are_listed():
    assert listed(("a", "", "b")) == "a, (no name), b"
    assert listed(["x" * 70_000]) == "x" * 40 + "..."
    assert listed([str(k) for k in range(20)]).endswith("18, 19")
    assert listed([str(k) for k in range(1000)]).endswith("18, 19 and 980 others")


def test_nothing_is_like_a_name_of_many_letters():
    assert did_you_mean("x" * 100_000, ["x" * 100_001]) == ""
