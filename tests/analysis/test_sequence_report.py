"""Reports of sequences against loops over them, and edit distances against an aligner's."""

import itertools

import jaxtyping
import numpy as np
import pytest
from Bio.Align import PairwiseAligner

from pullback.analysis import sequence_report
from pullback.analysis._nearest_edit import nearest_edits
from pullback.data import Sequences

RNG = np.random.default_rng(0)


def strings(n, lengths, letters="ACGT"):
    return ["".join(RNG.choice(list(letters), RNG.choice(lengths))) for _ in range(n)]


def by_aligner(a, b):
    aligner = PairwiseAligner(mode="global", match_score=0, mismatch_score=-1, gap_score=-1)
    return max(len(a), len(b)) if not (a and b) else round(-aligner.score(a, b))


@pytest.mark.parametrize("lengths", [[12], [0, 1, 3, 9, 20], [130, 140]])
def test_edit_distances_are_those_of_an_aligner(lengths):
    ours, theirs = strings(8, lengths), strings(25, lengths)
    want = [min(by_aligner(a, b) for b in theirs) for a in ours]
    np.testing.assert_array_equal(nearest_edits(ours, theirs), want)


def test_a_long_reference_is_taken_in_parts(monkeypatch):
    ours, theirs = strings(4, [8]), strings(25, [6, 8])
    whole = nearest_edits(ours, theirs)
    monkeypatch.setattr("pullback.analysis._nearest_edit._TOGETHER", 7)
    np.testing.assert_array_equal(nearest_edits(ours, theirs), whole)


def test_letters_put_in_and_left_out_count_once():
    found = sequence_report(["ACGTACGT", "CGTACGTA", "ACGTACG"], ["ACGTACGT"])
    assert found.nearest.tolist() == [0, 2, 1]


def test_words_are_compared_by_their_shares():
    ours, theirs = strings(6, [9]), strings(11, [7, 9], "ACG")
    words = lambda texts: [t[i : i + 2] for t in texts for i in range(len(t) - 1)]
    p, q = (
        np.asarray([words(texts).count("".join(w)) for w in itertools.product("ACGT", repeat=2)])
        for texts in (ours, theirs)
    )
    p, q = p / p.sum(), q / q.sum()
    kl = lambda a: np.sum(a[a > 0] * np.log(a[a > 0] / ((p + q) / 2)[a > 0]))
    found = sequence_report(ours, theirs, k=2).kmer_divergence
    np.testing.assert_allclose(found, (kl(p) + kl(q)) / 2, rtol=1e-12)
    assert sequence_report(ours, ours[::-1]).kmer_divergence == 0
    np.testing.assert_allclose(sequence_report(["AAAA"], ["CCC"]).kmer_divergence, np.log(2))


def test_pairs_are_compared_place_by_place():
    ours = strings(7, [10])
    pairs = list(itertools.combinations(ours, 2))
    want = np.mean([sum(a != b for a, b in zip(*pair, strict=True)) for pair in pairs])
    np.testing.assert_allclose(sequence_report(ours, ours).hamming, want, rtol=1e-12)
    assert sequence_report(["ACGT"] * 3, ours).hamming == 0
    assert np.isnan(sequence_report(["ACGT"], ours).hamming)
    assert np.isnan(sequence_report(["ACGT", "ACG"], ours).hamming)


def test_shares():
    found = sequence_report(
        ["GGCA", "GGCA", "ATTT", "acgu"], ["AATT"], scores=[3, 2, 1, 2.5],
        reference_scores=[2], motif=lambda text: text.count("G"),
    )  # fmt: skip
    assert (found.count, found.unique) == (4, 0.75)
    assert (found.gc, found.reference_gc) == (8 / 16, 0.0)
    assert (found.hits, found.reference_hits) == (1.25, 0.0)
    assert found.above == 0.5
    bare = sequence_report(["ACDE"], ["ACDF"])
    assert np.isnan([bare.gc, bare.reference_gc, bare.hits, bare.reference_hits, bare.above]).all()
    rows = dict(found.rows())
    assert rows["nearest"] == found.nearest.mean()
    assert list(rows)[:3] == ["unique", "kmer_divergence", "gc"]


def test_small_letters_count_as_capital_ones_and_sequences_are_taken():
    ours, theirs = strings(3, [9]), strings(4, [9])
    found = sequence_report([each.lower() for each in ours], theirs)
    np.testing.assert_equal(found.rows(), sequence_report(ours, theirs).rows())
    records = [Sequences(tuple(map(str, each)), tuple(each)) for each in (ours, theirs)]
    np.testing.assert_equal(sequence_report(*records).rows(), found.rows())
    assert sequence_report(["ACGT", "acgt"], ["acga"]).unique == 0.5


def test_the_nearest_is_sought_of_the_first():
    assert len(sequence_report(["ACGT"] * 5, ["ACGT"], most=2).nearest) == 2


@pytest.mark.parametrize(
    ("arguments", "kind", "match"),
    [
        ({"sequences": "ACGT"}, TypeError, r"several strings, got one: write \['ACGT'\]"),
        ({"reference": np.eye(4)[None]}, TypeError, "from_one_hot"),
        ({"sequences": []}, ValueError, "k = 3 letters or more, has 0 sequences"),
        ({"reference": ["AC", ""]}, ValueError, "k = 3 letters or more, has 2 sequences"),
        ({"k": 0}, ValueError, "`k` must be 1 or more"),
        ({"most": 0}, ValueError, "`most` must be 1 or more"),
        ({"scores": [1.0]}, ValueError, "go together"),
        ({"scores": [1.0], "reference_scores": [1.0, 2.0]}, ValueError, "`reference_scores`"),
        ({"scores": [np.nan], "reference_scores": [1.0]}, ValueError, "1 that are not finite"),
    ],
)
def test_what_nothing_is_reported_of(arguments, kind, match, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(kind, match=match):
        sequence_report(**{"sequences": ["ACGT"], "reference": ["ACGA"], **arguments})
