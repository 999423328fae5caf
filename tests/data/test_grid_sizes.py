"""Grids that would be all but empty are refused, with what they would take, before that."""

import tracemalloc

import numpy as np
import pytest

from pullback.data import DataError, irregular_series, on_grid, read_long

HEADER = "series,time,variable,value\n"


@pytest.fixture
def csv(tmp_path):
    def write(rows):
        (tmp_path / "t.csv").write_text(HEADER + "".join(rows))
        return tmp_path / "t.csv"

    return write


def test_a_variable_for_each_series(csv):
    file = csv(f"s{k},0,v{k},1\n" for k in range(20_000))
    with pytest.raises(DataError) as caught:
        read_long(file)
    told = str(caught.value)
    assert "20000 series x 1 times x 20000 variables on one grid would take 3.35 GiB" in told
    assert "for 20000 observations; a time has 1 of the variables on average" in told
    assert "variable=..." in told


def test_one_long_series_among_short_ones(csv):
    rows = [f"s{k},0,v,1\n" for k in range(40_000)] + [f"z,{k},v,1\n" for k in range(40_000)]
    with pytest.raises(DataError) as caught:
        read_long(csv(rows))
    told = str(caught.value)
    assert "40001 series x 40000 times x 1 variables on one grid would take 13.4 GiB" in told
    assert "the longest series, 'z', has 40000 times, and half of them have 1 or fewer" in told


def test_variables_and_times_at_once(csv):
    rows = [f"s{k},0,v{k},1\n" for k in range(3000)] + [f"z,{k},w,1\n" for k in range(3000)]
    with pytest.raises(DataError, match=r"3001 series x 3000 times x 3001 variables .* 226 GiB"):
        read_long(csv(rows))


def test_series_that_are_put_together():
    one = (np.zeros(1), np.zeros((1, 40)))
    with pytest.raises(ValueError, match=r"501 series x 100000 times x 40 variables .* 16\.8 GiB"):
        irregular_series([one] * 500 + [(np.arange(1e5), np.zeros((100_000, 40)))])


def test_steps_that_are_too_many():
    series = irregular_series([([60.0 * k, 60.0 * k + 1], np.ones((2, 20))) for k in range(1600)])
    with pytest.raises(ValueError, match=r"1600 series x 95942 steps .* give a longer `step`"):
        on_grid(series, 1.0)
    assert on_grid(series, 1000.0).values.shape == (1600, 96, 20)


def test_a_full_grid_of_more_than_this_machine_has(monkeypatch):
    from pullback.data import _room

    monkeypatch.setattr(_room, "_memory", lambda: 2.0 * (1 << 30))
    lengths = np.full(1000, 1000)
    _room.check_room(lengths, 230, 230_000_000, 9)
    with pytest.raises(ValueError, match=r"would take 2\.1 GiB, for 250000000 observations"):
        _room.check_room(lengths, 250, 250_000_000, 9)
    _room.check_room(lengths, 230, 2_300_000, 9)
    with pytest.raises(ValueError, match="for 2299999 observations"):
        _room.check_room(lengths, 230, 2_299_999, 9)


def test_grids_up_to_a_gib_are_made_whatever_they_hold(csv):
    found = read_long(csv(f"s{k},0,v{k},1\n" for k in range(2000)))
    assert found.values.shape == (2000, 1, 2000)
    assert found.mask.sum() == 2000


def test_no_memory_is_taken_before_it_is_refused(csv):
    file = csv(f"s{k},0,v{k},1\n" for k in range(12_000))
    tracemalloc.start()
    try:
        with pytest.raises(DataError):
            read_long(file)
        assert tracemalloc.get_traced_memory()[1] < 50e6
    finally:
        tracemalloc.stop()


def test_many_variables_of_one_series(csv):
    with pytest.raises(DataError, match="a time has 1 of the variables on average"):
        read_long(csv(f"s,{k},v{k},1\n" for k in range(40_000)))


def test_many_duplicates_are_told_in_the_order_of_their_lines(csv):
    names = [*range(2000), *range(1999, -1, -1)]
    with pytest.raises(DataError) as caught:
        read_long(csv(f"s{k},0,v{k},1\n" for k in names))
    head, *told = str(caught.value).split("\n")
    assert "1000 bad rows or more, where reading stopped; the first 20 are:" in head
    for place, line in enumerate(told):
        name = 1999 - place
        assert line.startswith(f"  line {2002 + place}: series 's{name}' has a value of 'v{name}'")
        assert f"on line {2001 - place} too" in line
