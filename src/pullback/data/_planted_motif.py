"""Sequences with a motif hidden in each, and what a protein that binds it would think of them."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from pullback._sizes import positive
from pullback.data._sequences import Motif, Sequences

_LETTERS = "ACGT"
_EBOX, _CORE, _FLANK = "CCACGTGG", 0.85, 0.55


class PlantedMotif(NamedTuple):
    """Sequences of a known motif, with the score that it gives to any others.

    Attributes:
        sequences: with the scores of `score`.
        motif: what was planted, in probabilities.
        background: the probability of each letter elsewhere.
    """

    sequences: Sequences
    motif: Motif
    background: Float[np.ndarray, " letters"]

    def score(self, strings: Sequence[str]) -> Float[np.ndarray, " n"]:
        r"""How strongly a protein of this motif would bind, on the strand as it is written.

        $$s(x) = \log \sum_p \prod_{k=1}^{w} \frac{P_{k, x_{p+k}}}{b_{x_{p+k}}}$$

        Args:
            strings: of ACGT, each at least as long as the motif; their lengths may differ.

        Raises:
            ValueError: a string is too short, or has another letter.
        """
        odds = np.log(self.motif.counts / self.background)
        width = len(odds)
        short = [string for string in strings if len(string) < width or {*string} - {*_LETTERS}]
        if short:
            raise ValueError(
                f"`strings` must be of ACGT, with at least {width} letters; got {short[0]!r}."
            )
        lengths = np.array(list(map(len, strings)))
        found = np.empty(len(lengths))
        for length in np.unique(lengths).tolist():
            at = np.flatnonzero(lengths == length)
            codes = np.array([[_LETTERS.index(c) for c in strings[place]] for place in at.tolist()])
            windows = np.lib.stride_tricks.sliding_window_view(codes, width, axis=1)
            found[at] = np.logaddexp.reduce(odds[np.arange(width), windows].sum(-1), axis=1)
        return found


def planted_motif(
    n: int = 12_000,
    *,
    length: int = 36,
    background: Sequence[float] = (0.15, 0.35, 0.35, 0.15),
    redrawn: float = 0.35,
    seed: int = 0,
) -> PlantedMotif:
    """Random DNA with one noisy copy of the E-box, CACGTG, at a random place of each sequence.

    Each letter of the copy is drawn from the motif, and then with probability `redrawn` from the
    background instead: so most copies are damaged, and the best are rare.

    Args:
        n: the number of sequences.
        length: letters in each, 8 or more.
        background: the probabilities of A, C, G and T.
        redrawn: in [0, 1]; at 1 no motif is left.
        seed: of the draw.

    Returns:
        The sequences with their scores, the motif and the background.

    Raises:
        ValueError: an argument is out of its range; the message says which.

    Example:
        >>> planted = planted_motif(100)
        >>> planted.sequences.scores.shape, bool(planted.score(["A" * 14 + "CCACGTGG"]) > 7.9)
        ((100,), True)
    """
    positive(n=n, length=length)
    width = len(_EBOX)
    if length < width:
        raise ValueError(f"`length` must be {width} or more, got {length}.")
    if not isinstance(redrawn, float | int | np.number) or not 0 <= redrawn <= 1:
        raise ValueError(f"`redrawn` must be in [0, 1], got {redrawn!r}.")
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise ValueError(f"`seed` must be a whole number, 0 or more; got {seed!r}.")
    try:
        chances = np.asarray(background, np.float64)
    except (TypeError, ValueError):
        chances = np.zeros(0)
    if chances.shape != (4,) or not (chances > 0).all() or abs(chances.sum() - 1) > 1e-6:
        raise ValueError(f"`background` must be 4 probabilities above 0; got {background!r}.")
    kept = np.array([_FLANK, *[_CORE] * (width - 2), _FLANK])
    counts = np.repeat((1 - kept[:, None]) / 3, 4, axis=1)
    counts[np.arange(width), [_LETTERS.index(letter) for letter in _EBOX]] = kept
    generator = np.random.default_rng(seed)
    codes = generator.choice(4, size=(n, length), p=chances)
    copies = np.stack([generator.choice(4, size=n, p=row) for row in counts], axis=1)
    noise = generator.choice(4, size=(n, width), p=chances)
    copies = np.where(generator.random((n, width)) < redrawn, noise, copies)
    starts = generator.integers(0, length - width + 1, n)
    codes[np.arange(n)[:, None], starts[:, None] + np.arange(width)] = copies
    letters = tuple("".join(row) for row in np.array(list(_LETTERS))[codes].tolist())
    names = tuple(str(place + 1) for place in range(n))
    sequences = Sequences(names, letters, None, "planted_motif")
    planted = PlantedMotif(sequences, Motif("planted", "E-box", counts), chances)
    return planted._replace(sequences=sequences._replace(scores=planted.score(letters)))
