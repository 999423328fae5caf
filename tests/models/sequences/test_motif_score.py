"""Motifs, weights and targets against loops in Python."""

import itertools
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest

from pullback.data import Motif
from pullback.models.sequences import MotifScore, near_target, weighted
from pullback.models.sequences._objective import members_of

RNG = np.random.default_rng(0)
COUNTS = RNG.integers(1, 20, (3, 4))
BACKGROUND = np.asarray([0.15, 0.35, 0.35, 0.15])
PAIR = {"A": "T", "C": "G", "G": "C", "T": "A"}


def one_hot(text, alphabet="ACGT"):
    return jnp.asarray(np.eye(len(alphabet))[[alphabet.index(c) for c in text]])


def reverse_complement(text):
    return "".join(PAIR[c] for c in reversed(text))


def by_loops(text, counts, background, smoothing):
    """The log-odds of every place, read letter by letter."""
    found = []
    for p in range(len(text) - len(counts) + 1):
        total = 0.0
        for k, row in enumerate(counts):
            for v, letter in enumerate("ACGT"):
                if text[p + k] == letter:
                    share = (1 - smoothing) * row[v] / sum(row) + smoothing * background[v]
                    total += math.log(share / background[v])
        found.append(total)
    return np.asarray(found)


@pytest.mark.parametrize("compile", [lambda f: f, eqx.filter_jit])
def test_a_scan_is_that_of_three_loops_on_both_strands(compile):
    score = MotifScore(COUNTS, BACKGROUND)
    texts = ["".join(p) for p in itertools.islice(itertools.product("ACGT", repeat=6), 0, 4096, 41)]
    found = compile(lambda x: jax.vmap(score.scan)(x))(jnp.stack([one_hot(text) for text in texts]))
    for text, (forward, backward) in zip(texts, np.asarray(found), strict=True):
        loops = lambda text: by_loops(text, COUNTS.tolist(), BACKGROUND, 0.01)
        np.testing.assert_allclose(forward, loops(text), atol=1e-12)
        np.testing.assert_allclose(backward[::-1], loops(reverse_complement(text)), atol=1e-12)


def test_reductions_and_temperature():
    x = one_hot("ACGTTGCA")
    scan = np.asarray(MotifScore(COUNTS, BACKGROUND).scan(x))
    for strands in (True, False):
        seen = scan if strands else scan[:1]
        largest = MotifScore(COUNTS, BACKGROUND, both_strands=strands, reduce="max")(x)
        np.testing.assert_allclose(largest, seen.max(), atol=1e-12)
        for tau in (1.0, 0.1):
            smooth = MotifScore(COUNTS, BACKGROUND, both_strands=strands, temperature=tau)(x)
            want = tau * np.log(np.sum(np.exp(seen / tau)))
            np.testing.assert_allclose(smooth, want, atol=1e-12)


def test_both_strands_score_alike_and_one_does_not():
    text = "ACCTGATTAC"
    there, back = one_hot(text), one_hot(reverse_complement(text))
    both, one = MotifScore(COUNTS), MotifScore(COUNTS, both_strands=False)
    np.testing.assert_allclose(both(there), both(back), atol=1e-12)
    assert abs(one(there) - one(back)) > 0.1
    palindrome = one_hot("CACGTG")
    np.testing.assert_allclose(*MotifScore(palindrome).scan(one_hot("TTCACGTGAA")), atol=1e-12)


def test_a_letter_that_is_not_known_counts_by_its_share():
    score = MotifScore(COUNTS, BACKGROUND, both_strands=False)
    unknown = one_hot("ACG").at[1].set(0.25)
    want = np.mean([score.scan(one_hot(f"A{c}G")) for c in "ACGT"])
    np.testing.assert_allclose(score.scan(unknown), want, atol=1e-12)


def test_the_smooth_maximum_has_a_slope_everywhere():
    x = one_hot("ACGTTGCA")
    slope = jax.grad(MotifScore(COUNTS))(x)
    assert bool(jnp.all(jnp.any(slope != 0, axis=1)))
    one_place = jax.grad(MotifScore(COUNTS, reduce="max"))(x)
    assert int(jnp.sum(jnp.any(one_place != 0, axis=1))) == 3


def test_a_motif_brings_its_letters():
    rna = MotifScore(Motif("MA1", "x", COUNTS.astype(float), "ACGU"))
    np.testing.assert_allclose(
        rna(one_hot("ACGUUG", "ACGU")), MotifScore(COUNTS)(one_hot("ACGTTG"))
    )
    protein = MotifScore(np.ones((2, 20)), alphabet="ACDEFGHIKLMNPQRSTVWY", both_strands=False)
    assert protein.scan(jnp.full((5, 20), 0.05)).shape == (1, 4)


def test_float32_in_and_out(x32):
    found = MotifScore(COUNTS)(jnp.asarray(one_hot("ACGTTG"), jnp.float32))
    assert found.dtype == jnp.float32


def test_a_score_of_float64_takes_float32():
    assert MotifScore(COUNTS)(one_hot("ACGTTG").astype(jnp.float32)).dtype == jnp.float32
    both = weighted([(MotifScore(COUNTS), 1), (lambda x: x.sum(), 0.5)])
    assert near_target(both, 2)(one_hot("ACGTTG").astype(jnp.float32)).dtype == jnp.float32


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"motif": [[0, 1, 2]]}, r"4 columns.*\(1, 3\)"),
        ({"motif": np.zeros((0, 4))}, "row a place"),
        ({"motif": [[0, 0, 0, 0]]}, "some at every place"),
        ({"motif": [[1, -1, 2, 3]]}, "not negative"),
        ({"motif": [[1, np.nan, 2, 3]]}, "finite"),
        ({"motif": [[1, 0, 2, 3]], "smoothing": 0}, "no C at place 1.*smoothing=0.01"),
        ({"smoothing": 1.0}, "below 1"),
        ({"background": [0.5, 0.5, 0.0, 0.0]}, "positive numbers"),
        ({"background": [0.5, 0.5]}, "4 positive numbers"),
        ({"reduce": "mean"}, "'logsumexp' or 'max', got 'mean'"),
        ({"temperature": 0.0}, "reduce='max'"),
        ({"alphabet": "ACGX"}, "no reverse complement: use both_strands=False"),
    ],
)
def test_what_is_no_motif(arguments, match, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ValueError, match=match):
        MotifScore(**{"motif": COUNTS, **arguments})


@pytest.mark.parametrize("shape", [(2, 4), (6, 5), (7, 6, 4)])
def test_what_is_no_sequence_for_it(shape, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ValueError, match="one sequence of at least 3 rows"):
        MotifScore(COUNTS)(jnp.zeros(shape))


def test_a_sum_of_scores_and_its_slope():
    first, second = MotifScore(COUNTS), MotifScore(COUNTS[::-1], reduce="max")
    x = one_hot("ACGTTGCA")
    both = weighted([(first, 2.0), (second, -0.5)])
    np.testing.assert_allclose(both(x), 2 * first(x) - 0.5 * second(x))
    want = 2 * jax.grad(first)(x) - 0.5 * jax.grad(second)(x)
    np.testing.assert_allclose(eqx.filter_jit(lambda x: jax.grad(both)(x))(x), want, atol=1e-12)


def test_a_target_pulls_from_both_sides_and_rests_there():
    score = lambda x: jnp.sum(x[:, 0])
    x = one_hot("AACG")
    for value in (1.0, 2.0, 3.0):
        slope = jax.grad(near_target(score, value))(x)[:, 0]
        np.testing.assert_allclose(slope, value - 2.0, atol=1e-15)
    batch = RNG.normal(size=(50, 4, 4))
    scores = np.asarray(jax.vmap(score)(jnp.asarray(batch)))
    paper = -(0.5 * (scores.mean() - 1.5) ** 2 + 0.5 * scores.var())
    found = jnp.mean(jax.vmap(near_target(score, 1.5))(jnp.asarray(batch)))
    np.testing.assert_allclose(found, paper, rtol=1e-12)


@pytest.mark.parametrize(
    ("make", "kind", "match"),
    [
        (lambda: weighted([]), ValueError, "at least one"),
        (lambda: weighted([(jnp.sum, np.nan)]), ValueError, "finite"),
        (lambda: weighted([(jnp.sum, "1")]), TypeError, "`parts` must be one number, got '1'"),
        (lambda: weighted([(jnp.sum, True)]), TypeError, "`parts` must be a number, got True"),
        (lambda: weighted([("E-box", 1.0)]), TypeError, "callable"),
        (lambda: weighted([jnp.sum, jnp.sum]), TypeError, "pairs of a score and its weight"),
        (lambda: near_target(3.0, 1.0), TypeError, "callable"),
        (lambda: near_target(jnp.sum, np.inf), ValueError, "finite"),
        (lambda: near_target(jnp.sum, None), TypeError, "`value` must be one number, got None"),
        (lambda: MotifScore([[1, 2, 3, 4], [1]]), TypeError, "`motif` must be an array of numbers"),
        (lambda: MotifScore(COUNTS, {"A": 1}), TypeError, "`background` must be an array of num"),
        (lambda: MotifScore(COUNTS, alphabet=None), TypeError, "`alphabet` must be a string"),
        (lambda: MotifScore(COUNTS, temperature="a"), TypeError, "`temperature` must be one num"),
        (lambda: MotifScore(COUNTS, temperature=1e-45), ValueError, "reduce='max'"),
        (lambda: MotifScore(COUNTS)([[1, 0, 0, 0]] * 3), TypeError, "an array.*; got list"),
    ],
)
def test_what_is_no_score(make, kind, match, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(kind, match=match):
        make()


@pytest.mark.parametrize("dtype", [int, bool, np.uint8, np.float16])
def test_a_sequence_of_whole_numbers_is_scored_as_one_of_floats(dtype, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    x, close = one_hot("ACGTTGCA"), 1e-2 if dtype is np.float16 else 1e-14
    for score in (MotifScore(COUNTS), MotifScore(COUNTS, reduce="max")):
        np.testing.assert_allclose(score(x.astype(dtype)), score(x), rtol=close)
        np.testing.assert_allclose(score.scan(x.astype(dtype)), score.scan(x), rtol=0, atol=close)


@pytest.mark.parametrize("compile", [lambda f: f, eqx.filter_jit])
def test_scores_that_are_counts_or_plain_numbers_are_weighed_as_they_are(compile):
    x = one_hot("AAAAAGGG")
    first, third = lambda x: x[:, 0].sum(), lambda x: (x.argmax(1) == 2).sum()
    some, plain = lambda x: (x.argmax(1) == 2).any(), lambda x: 2.0
    for parts, want in (
        ([(first, 1.0), (third, 0.5)], 6.5),
        ([(third, 0.5), (first, 1.0)], 6.5),
        ([(some, 0.25), (some, 0.5)], 0.75),
        ([(plain, 0.25), (lambda x: 3, 0.5)], 2.0),
    ):
        assert compile(weighted(parts))(x) == want
    for score, value, want in ((third, 2.5, -0.125), (some, 0.5, -0.125), (plain, 1, -0.5)):
        assert compile(near_target(score, value))(x) == want


def test_members_of_whole_numbers_are_weighed_as_they_are():
    class Counts(eqx.Module):
        def members(self, x):
            return jnp.arange(3)

        def __call__(self, x):
            return jnp.asarray(1)

    score = near_target(weighted([(Counts(), 0.5), (lambda x: 2, 0.25)]), 0.75)
    members = members_of(score)
    assert members is not None
    np.testing.assert_array_equal(members(one_hot("ACG")), [-0.03125, -0.03125, -0.28125])


def test_a_weight_and_a_target_may_be_traced():
    x = one_hot("AACG")
    count = lambda x: jnp.sum(x[:, 0])
    slope = jax.jit(jax.grad(lambda w: weighted([(count, w), (count, 1.0)])(x)))
    assert slope(3.0) == 2.0
    assert jax.jit(jax.grad(lambda v: near_target(count, v)(x)))(0.5) == 1.5
