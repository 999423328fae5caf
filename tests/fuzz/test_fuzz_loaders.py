"""Damaged files of data: each is refused by its name, or read as a record that is allowed."""

import warnings
from random import Random

import array_files
import numpy as np
import pytest
import text_files
from mutations import mutated
from outcomes import Case, Tally, fingerprint, fuzzed, outcome

ALL = (*array_files.CASES, *text_files.CASES)
CASES = ALL
by_name = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def check(tally: Tally) -> None:
    assert not tally.faults, "\n".join(tally.faults)


@by_name
def test_thirty_damaged_files(case, tmp_path):
    check(fuzzed(case, tmp_path, range(30)))


@pytest.mark.slow
@by_name
def test_three_hundred_damaged_files(case, tmp_path):
    tally = fuzzed(case, tmp_path, range(300))
    check(tally)
    assert tally.refused > 50, "the damage is not seen"


def test_the_same_seed_makes_the_same_file():
    case = ALL[0]
    ((name, content),) = case.files.items()
    first, again, other = (mutated(name, content, Random(seed)) for seed in (1, 1, 2))
    assert first == again != other


@pytest.mark.parametrize(
    ("load", "guarded", "found"),
    [
        (lambda folder: [1.0], True, "same"),
        (lambda folder: [2.0], False, "other"),
        (lambda folder: [2.0], True, "read as other values"),
        (lambda folder: np.array([np.inf]), False, "read, but it holds an infinity"),
        (lambda folder: np.array([1j]), False, "read, but it holds an array of complex"),
        (lambda folder: [][0], False, "IndexError in test_fuzz_loaders.py"),
        (lambda folder: bytearray(2**31), False, "MemoryError"),
        (lambda folder: forever(), False, "TimeoutError"),
        (lambda folder: warn(), False, "warns: of something"),
        (lambda folder: refuse("a file is bad"), False, "names no file"),
        (lambda folder: refuse(f"{folder}/a.csv: is bad"), False, "refused"),
        (lambda folder: refuse(f"{folder}/a.csv: {'x' * 9999}"), False, "names no file"),
    ],
)
def test_what_is_a_fault(load, guarded, found, tmp_path, monkeypatch):
    monkeypatch.setattr("outcomes.SECONDS", 0.1)
    case = Case("mine", {"a.csv": b""}, load, (KeyError,), guarded, lambda value: "")
    assert outcome(case, tmp_path, fingerprint([1.0])).startswith(found)


def forever():
    while True:
        pass


def warn():
    warnings.warn("of something", stacklevel=1)
    return [1.0]


def refuse(text):
    raise KeyError(text)
