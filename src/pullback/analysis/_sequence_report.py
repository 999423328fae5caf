"""How like the sequences that they were made from some sequences are, and how much better."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Array, Int, Real
from scipy.spatial.distance import jensenshannon

from pullback._inputs import positive
from pullback._names import check_several
from pullback.analysis._nearest_edit import nearest_edits
from pullback.data import Sequences

_NUCLEOTIDES = frozenset("ACGTUN")


class SequenceReport(NamedTuple):
    """How like those of the reference some sequences are, and how much better.

    Attributes:
        count: how many sequences there are.
        unique: the share that is left when each sequence counts once.
        kmer_divergence: between the words of k letters of both sides, in nats, from 0 to 0.69.
        gc: the share of G and C of all letters; NaN where there are others than nucleotides.
        reference_gc: the same of the reference.
        hamming: the mean number of places at which two of the sequences differ; NaN of one alone,
            and where their lengths differ.
        nearest: the fewest letters that must be changed, left out or put in, to make each sequence
            from one of the reference, of the first `most`.
        hits: the mean of what `motif` says of a sequence; NaN without it.
        reference_hits: the same of the reference.
        above: the share whose score is above the best of the reference; NaN without scores.
    """

    count: int
    unique: float
    kmer_divergence: float
    gc: float
    reference_gc: float
    hamming: float
    nearest: Int[np.ndarray, " nearest"]
    hits: float
    reference_hits: float
    above: float

    def rows(self) -> list[tuple[str, float]]:
        """Names and numbers, for a table; of `nearest` the mean."""
        found = {name: getattr(self, name) for name in self._fields if name != "count"}
        found["nearest"] = self.nearest.mean()
        return [(name, float(value)) for name, value in found.items()]


def sequence_report(
    sequences: Sequence[str] | Sequences,
    reference: Sequence[str] | Sequences,
    *,
    k: int = 3,
    scores: Sequence[float | int] | Real[Array | np.ndarray, " n"] | None = None,
    reference_scores: Sequence[float | int] | Real[Array | np.ndarray, " m"] | None = None,
    motif: Callable[[str], float] | None = None,
    most: int = 1000,
) -> SequenceReport:
    r"""How like those of a reference some sequences are: designs, or what a generator draws.

    Words of k letters are compared by Jensen and Shannon's divergence, of their shares p and q,

    $$ \tfrac12 KL(p \,\|\, m) + \tfrac12 KL(q \,\|\, m), \qquad m = \tfrac12 (p + q) $$

    Args:
        sequences: designs, for example `Designs.letters`; small letters count as capital ones.
        reference: what the models were trained on.
        k: letters of a word.
        scores: of the sequences, by a judge that the search did not see.
        reference_scores: of the reference by the same judge.
        motif: from a sequence to how often, or how well, a motif is found in it.
        most: of so many sequences, the first, `nearest` is sought.

    Raises:
        TypeError: `sequences` or `reference` is one string, or holds what is none.
        ValueError: one of them is empty or has no word of k letters, there are not as many scores,
            one is not finite, or those of one side are missing.

    Example:
        >>> found = sequence_report(["CACGTG", "CACGTG", "CACGTT"], ["CACGAA", "TTTTTT"],
        ...                         scores=[3.0, 3.0, 1.0], reference_scores=[2.0, 0.0])
        >>> round(found.unique, 2), found.nearest.tolist(), round(found.above, 2)
        (0.67, [2, 2, 2], 0.67)

    Source: Killoran, Lee, Delong, Duvenaud and Frey, Generating and designing DNA with deep
    generative models, arXiv 1712.06148, section 4 (edit distances, and scores beside the best of
    the training set); Lin, Divergence measures based on the Shannon entropy, IEEE Trans. Inf.
    Theory 37, 1991.
    """
    positive(k=k, most=most)
    ours = _checked(sequences, "sequences", k)
    theirs = _checked(reference, "reference", k)
    return SequenceReport(
        count=len(ours),
        unique=len(set(ours)) / len(ours),
        kmer_divergence=_divergence(ours, theirs, k),
        gc=_gc(ours),
        reference_gc=_gc(theirs),
        hamming=_hamming(ours),
        nearest=nearest_edits(ours[:most], sorted(set(theirs))),
        hits=_mean(motif, ours),
        reference_hits=_mean(motif, theirs),
        above=_above(scores, reference_scores, len(ours), len(theirs)),
    )


def _checked(strings: Any, name: str, k: int) -> list[str]:
    if isinstance(strings, str):
        raise TypeError(f"`{name}` must be several strings, got one: write [{strings[:10]!r}].")
    check_several(name, strings, "several strings")
    found = list(strings.letters if isinstance(strings, Sequences) else strings)
    for each in found:
        if not isinstance(each, str):
            raise TypeError(
                f"`{name}` must hold strings, got {type(each).__name__}; of one-hot rows "
                "`pullback.data.from_one_hot` makes some."
            )
    if not any(len(each) >= k for each in found):
        raise ValueError(
            f"`{name}` must hold a sequence of k = {k} letters or more, has {len(found)} sequences."
        )
    return [each.upper() for each in found]


def _divergence(ours: list[str], theirs: list[str], k: int) -> float:
    words = lambda strings: Counter(
        each[i : i + k] for each in strings for i in range(len(each) - k + 1)
    )
    p, q = words(ours), words(theirs)
    all_words = sorted(p | q)
    # SciPy's is the root of the divergence.
    return float(jensenshannon([p[w] for w in all_words], [q[w] for w in all_words]) ** 2)


def _gc(strings: list[str]) -> float:
    letters = Counter("".join(strings))
    if not _NUCLEOTIDES.issuperset(letters):
        return np.nan
    return (letters["G"] + letters["C"]) / letters.total()


def _hamming(strings: list[str]) -> float:
    """By the letters of each place: of n, of which c are alike, c (c - 1) ordered pairs are."""
    n = len(strings)
    if n < 2 or len({len(each) for each in strings}) > 1:
        return np.nan
    places = [Counter(place).values() for place in zip(*strings, strict=True)]
    alike = sum(c * (c - 1) for counts in places for c in counts)
    return len(places) - alike / (n * (n - 1))


def _mean(motif: Callable[[str], float] | None, strings: list[str]) -> float:
    return np.nan if motif is None else float(np.mean([motif(each) for each in strings]))


def _above(scores: Any, reference_scores: Any, n: int, m: int) -> float:
    if scores is None and reference_scores is None:
        return np.nan
    if scores is None or reference_scores is None:
        raise ValueError("`scores` and `reference_scores` go together: give both, or neither.")
    ours, theirs = np.asarray(scores, float), np.asarray(reference_scores, float)
    for name, found, count in (("scores", ours, n), ("reference_scores", theirs, m)):
        if found.shape != (count,) or not np.all(np.isfinite(found)):
            raise ValueError(
                f"`{name}` must be {count} finite numbers, one a sequence; got the shape "
                f"{found.shape} with {int(np.sum(~np.isfinite(found)))} that are not finite."
            )
    return float(np.mean(ours > theirs.max()))
