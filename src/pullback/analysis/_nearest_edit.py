"""How many letters lie between a sequence and the nearest of many."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

# Sequences of the reference at a time, so that what is compared stays near the processor.
_TOGETHER = 8192


def nearest_edits(sequences: Sequence[str], reference: Sequence[str]) -> Int[np.ndarray, " n"]:
    """For each sequence the edit distance to the nearest of the reference.

    Every pair by Wagner and Fischer's table, those of one sequence side by side: an aligner of
    Biopython's, called pair by pair, takes five times as long.
    """
    longest = max(map(len, (*sequences, *reference)))
    # Distances are at most the longer length, and one more in between.
    dtype = np.int8 if longest < 126 else np.int32
    found = np.full(len(sequences), longest)
    for start in range(0, len(reference), _TOGETHER):
        table = _Table(reference[start : start + _TOGETHER], dtype)
        for row, sequence in enumerate(sequences):
            found[row] = min(found[row], table.nearest(sequence))
    return found


class _Table:
    """A part of the reference, a column a sequence, filled up where it is shorter."""

    def __init__(self, reference: Sequence[str], dtype: type) -> None:
        self._lengths = np.asarray([len(each) for each in reference])
        length = int(self._lengths.max())
        letters = np.asarray([list(each.ljust(length, "\0")) for each in reference])
        self._letters = letters.reshape(len(reference), length).T
        self._differs: dict[str, np.ndarray] = {}
        steps = np.arange(length + 1, dtype=dtype)
        self._begin = np.tile(steps[:, None], (1, len(reference)))

    def nearest(self, sequence: str) -> int:
        row = self._begin
        for letter in sequence:
            if letter not in self._differs:
                self._differs[letter] = (self._letters != letter).astype(row.dtype)
            new = row + 1
            np.minimum(new[1:], row[:-1] + self._differs[letter], out=new[1:])
            for place in range(1, len(new)):
                np.minimum(new[place], new[place - 1] + 1, out=new[place])
            row = new
        return int(row[self._lengths, np.arange(len(self._lengths))].min())
