"""Damaged checkpoints, stages, models and runs: refused by their name, or the same to the bit."""

import pytest
from kept_files import MADE
from outcomes import bounds, fingerprint, fuzzed, laid, outcome

# Of what is being mended.
PENDING = {"checkpoint", "training", "resumed", "model", "resumed_run", "page"}
NAMES = [name for name in MADE if name not in PENDING]


@pytest.mark.parametrize("name", NAMES)
def test_thirty_damaged_files(name, tmp_path):
    tally = fuzzed(MADE[name](), tmp_path, range(30))
    assert not tally.faults, "\n".join(tally.faults)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_three_hundred_damaged_files(name, tmp_path):
    tally = fuzzed(MADE[name](), tmp_path, range(300))
    assert not tally.faults, "\n".join(tally.faults)
    assert tally.refused > 50, "the damage is not seen"


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in ("checkpoint", "stage") if name in NAMES])
def test_every_byte_cut_and_every_bit_flipped(name, tmp_path):
    case = MADE[name]()
    ((file, whole),) = case.files.items()
    laid(case.files, tmp_path)
    wanted = fingerprint(case.load(tmp_path))
    mutants = [whole[:length] for length in range(len(whole))]
    for bit in range(8 * len(whole)):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        mutants.append(bytes(flipped))
    for mutant in mutants:
        (tmp_path / file).write_bytes(mutant)
        assert outcome(case, tmp_path, wanted) == "refused"


def test_the_bounds_end_with_the_block():
    with bounds(1.0, 2**30):
        pass
    assert bytearray(2**31)
