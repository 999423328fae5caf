"""The hidden motif, and the score that knows it."""

import math

import jaxtyping
import numpy as np
import pytest

from pullback.data import planted_motif


def by_loops(planted, string):
    total = 0.0
    for start in range(len(string) - 7):
        odds = 1.0
        for place in range(8):
            k = "ACGT".index(string[start + place])
            odds *= planted.motif.counts[place, k] / planted.background[k]
        total += odds
    return math.log(total)


def test_the_score_is_that_of_a_triple_loop():
    planted = planted_motif(30, length=14, seed=3)
    strings = [*planted.sequences.letters, "ACGTACGT", "CCACGTGG" * 4]
    np.testing.assert_allclose(planted.score(strings), [by_loops(planted, s) for s in strings])
    np.testing.assert_array_equal(planted.score(strings)[:30], planted.sequences.scores)


def test_the_motif_is_there_and_the_background_as_asked():
    planted = planted_motif(4000, redrawn=0.0, seed=1)
    best = planted.score(["CCACGTGG"])[0]
    assert best == pytest.approx(4 * np.log(0.85 / 0.35) + 2 * np.log(0.85 / 0.15) + 2 * np.log(
        0.55 / 0.35
    ))  # fmt: skip
    share = np.mean(["CACGTG" in each for each in planted.sequences.letters])
    assert abs(share - 0.85**6) < 4 * np.sqrt(0.85**6 / 4000) + 0.01
    plain = planted_motif(4000, redrawn=1.0, seed=1)
    counts = np.array([sum(s.count(c) for s in plain.sequences.letters) for c in "ACGT"])
    expected = np.array([0.15, 0.35, 0.35, 0.15])
    band = 4 * np.sqrt(expected * (1 - expected) / counts.sum())
    assert (np.abs(counts / counts.sum() - expected) < band).all()


def test_the_draw_of_the_paper_sheet():
    scores = planted_motif().sequences.scores
    low = np.quantile(scores, 0.6)
    assert low == pytest.approx(3.32, abs=0.1)
    assert scores[scores < low].mean() == pytest.approx(1.84, abs=0.1)
    assert scores.max() == pytest.approx(8.6, abs=0.5)


def test_the_seed_decides():
    assert (
        planted_motif(20, seed=1).sequences.letters == planted_motif(20, seed=1).sequences.letters
    )
    assert (
        planted_motif(20, seed=1).sequences.letters != planted_motif(20, seed=2).sequences.letters
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n": 0}, "`n` must be 1 or more"),
        ({"length": 7}, "`length` must be 8 or more, got 7"),
        ({"redrawn": 1.1}, "`redrawn` must be in"),
        ({"redrawn": float("nan")}, "`redrawn` must be in"),
        ({"redrawn": "a"}, "`redrawn` must be in .0, 1., got 'a'"),
        ({"seed": -1}, "`seed` must be a whole number, 0 or more; got -1"),
        ({"background": "ACGT"}, "4 probabilities above 0; got 'ACGT'"),
        ({"background": (0.5, 0.5, 0.0, 0.0)}, "4 probabilities above 0"),
        ({"background": (0.5, 0.5)}, "4 probabilities above 0"),
    ],
)
def test_wrong_arguments(settings, message, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ValueError, match=message):
        planted_motif(**{"n": 5, **settings})


@pytest.mark.parametrize("string", ["ACGTACG", "ACGTACGN", ""])
def test_strings_that_have_no_score(string):
    with pytest.raises(ValueError, match="at least 8 letters; got"):
        planted_motif(5).score(["ACGTACGT", string])
