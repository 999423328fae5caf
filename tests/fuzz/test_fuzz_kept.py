"""Damaged checkpoints, stages, models and runs: refused by their name, or the same to the bit."""

import numpy as np
import pytest
from kept_files import BITS, MADE
from outcomes import bounds, fuzzed, whole_or_refused


@pytest.mark.parametrize("name", list(MADE))
def test_thirty_damaged_files(name, tmp_path):
    tally = fuzzed(MADE[name](), tmp_path, range(30))
    assert not tally.faults, "\n".join(tally.faults)


@pytest.mark.slow
@pytest.mark.parametrize("name", list(MADE))
def test_three_hundred_damaged_files(name, tmp_path):
    tally = fuzzed(MADE[name](), tmp_path, range(300))
    assert not tally.faults, "\n".join(tally.faults)
    # What is damaged is not the last of two checkpoints alone.
    assert tally.refused > 50 or name in ("training", "resumed")


@pytest.mark.slow
@pytest.mark.parametrize("name", BITS)
def test_every_byte_cut_and_every_bit_flipped(name, tmp_path):
    found = whole_or_refused(MADE[name](), tmp_path)
    assert found["bytes"] > 500
    assert found["refused"] == found["cuts"] + found["flips"] == 9 * found["bytes"]


def test_the_bounds_end_with_the_block():
    with bounds(1.0, 2**30):
        pass
    assert np.empty(2**31, np.uint8).size == 2**31
