"""What codes decode to, and searches for the strings of the highest scores."""

import inspect

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from pullback.models.sequences import GaussianProcess, LatentSpace, bayes_opt, decode_many
from pullback.models.sequences._bayes_opt import _propose

CODES = jnp.asarray(np.random.default_rng(0).standard_normal((12, 2)) * np.array([1.0, 5.0]))
SPACE = LatentSpace.from_data(CODES)
TARGET = np.array([1.5, -4.0])


def decode(z, *, key):
    return [f"{x:.3f},{y:.3f}" for x, y in np.asarray(z)]


def score(string):
    z = np.array([float(part) for part in string.split(",")])
    return -np.square((z - TARGET) / np.array([1.0, 5.0])).sum()


class Recorder:
    """An oracle that keeps what it was asked."""

    def __init__(self, score):
        self.score, self.calls = score, []

    def __call__(self, strings):
        assert type(strings) is list
        self.calls.append(strings)
        return [self.score(each) for each in strings]

    @property
    def asked(self):
        return [each for call in self.calls for each in call]


KNOWN = np.array([score(each) for each in decode(CODES, key=None)])
SIZES = {"rounds": 4, "batch": 3, "starts": 4, "steps": 10}


def search(oracle, decode=decode, codes=CODES, scores=KNOWN, space=SPACE, **options):
    return bayes_opt(decode, space, oracle, codes, scores, **{"key": jr.key(0)} | SIZES | options)


def test_the_optimum_is_found_in_fewer_calls_than_by_chance():
    oracle = Recorder(score)
    trace = search(oracle)
    # Every call, in order, once each, with what was said.
    assert oracle.asked == [each for each, c in zip(trace.strings, trace.called, strict=True) if c]
    assert len(set(oracle.asked)) == len(oracle.asked) == trace.calls <= 12
    assert len(oracle.calls) <= 4
    np.testing.assert_allclose(trace.scores, [score(each) for each in trace.strings])
    assert trace.rounds.tolist() == np.repeat(np.arange(4), 3).tolist()
    np.testing.assert_allclose(trace.distances, SPACE.mahalanobis(jnp.asarray(trace.codes)))
    best, value = trace.best()[0]
    assert value == score(best) == trace.scores.max()
    two = trace.best(2)
    assert two[0][1] > two[1][1]
    assert two[0][0] != two[1][0]
    # A thousand points at random within reach of the start's best do no better than 12 calls.
    start = CODES[int(KNOWN.argmax())]
    near = jnp.concatenate([SPACE.neighbours(start, r, 20, key=jr.key(1)) for r in (0.5, 1.5, 3)])
    by_chance = [score(each) for each in decode(near, key=None)]
    assert KNOWN.max() < np.quantile(by_chance, 0.95) < value
    assert value > -0.01
    again = search(Recorder(score))
    assert again.strings == trace.strings


def test_proposals_are_those_of_the_process_within_reach():
    # The worst but one has no score, and counts as the worst.
    some, filled = KNOWN.copy(), KNOWN.copy()
    some[np.argsort(KNOWN)[1]], filled[np.argsort(KNOWN)[1]] = np.nan, KNOWN.min()
    trace = search(Recorder(score), scores=some, rounds=1, batch=5, trust_radius=0.4)
    w = np.asarray(SPACE.whiten(jnp.asarray(trace.codes)))
    best = np.argsort(-KNOWN)[:4]
    away = np.linalg.norm(w[:, None] - np.asarray(SPACE.whiten(CODES))[None, best], axis=2)
    assert (away.min(axis=1) <= 0.4 + 1e-9).all()
    process = GaussianProcess.fit(SPACE.whiten(CODES), filled)
    mean, sd = jax.vmap(process.predict)(jnp.asarray(w))
    np.testing.assert_allclose(trace.means, mean, atol=1e-8)
    # The first knows what the process knows, the next ones believe those before.
    np.testing.assert_allclose(trace.sds[0], sd[0], atol=1e-8)
    assert (trace.sds[1:] < np.asarray(sd)[1:]).all()


def test_one_program_serves_all_rounds():
    search(Recorder(score))
    before = _propose._cached._cache_size()
    search(Recorder(score), key=jr.key(7), trust_radius=1.0)
    assert _propose._cached._cache_size() == before


def test_what_was_asked_is_not_asked_again():
    oracle = Recorder(len)
    trace = search(oracle, decode=lambda z, *, key: ["a" * (1 + n % 2) for n in range(len(z))])
    assert oracle.asked == ["a", "aa"]
    assert trace.calls == 2
    np.testing.assert_array_equal(trace.scores, [1, 2, 1] * 4)
    assert trace.best(5) == [("aa", 2.0), ("a", 1.0)]


def test_strings_that_are_empty_and_scores_that_are_none():
    oracle = Recorder(score)
    with pytest.warns(UserWarning, match="none of 12 proposals has a score: 0 strings"):
        trace = search(oracle, decode=lambda z, *, key: [""] * len(z))
    assert oracle.calls == []
    assert trace.calls == 0
    assert trace.best() == []
    assert np.isnan(trace.scores).all()
    oracle = Recorder(lambda each: np.nan)
    with pytest.warns(UserWarning, match="none of 12 proposals has a score: 12 strings"):
        trace = search(oracle)
    assert trace.strings == tuple(oracle.asked)
    assert trace.best() == []
    # It is not caught in one place: what has no score counts as low, so it goes elsewhere.
    assert len({*trace.strings}) == 12
    assert np.isfinite(trace.codes).all()
    # A region without scores is left for the rest.
    half = Recorder(lambda each: score(each) if float(each.split(",")[1]) < 0 else np.nan)
    known = np.array([half.score(each) for each in decode(CODES, key=None)])
    assert 0 < np.isnan(known).sum() < 12
    trace = search(half, scores=known)
    assert trace.best()[0][1] > -1 > np.nanmax(known)


def test_little_is_known():
    equal = search(Recorder(lambda each: 2.5), scores=np.full(12, 2.5))
    np.testing.assert_array_equal(equal.scores, 2.5)
    assert (equal.sds > 0).all()
    # Nothing is known but where was looked: those of a batch lie apart.
    w = np.asarray(SPACE.whiten(jnp.asarray(equal.codes[:3])))
    assert min(np.linalg.norm(w[a] - w[b]) for a, b in ((0, 1), (0, 2), (1, 2))) > 0.5
    one = search(Recorder(score), codes=CODES[:1], scores=KNOWN[:1])
    assert one.best()[0][1] > KNOWN[0]
    same = search(Recorder(score), codes=jnp.tile(CODES[:1], (9, 1)), scores=np.arange(9.0) / 100)
    assert np.isfinite(same.scores).all()
    wide = jnp.asarray(np.random.default_rng(1).standard_normal((6, 20)))
    first = lambda z, *, key: [f"{x:.4f}" for x in z[:, 0]]
    many = search(Recorder(float), first, wide, np.asarray(wide[:, 0]), LatentSpace.from_data(wide))
    assert many.best()[0][1] > float(wide[:, 0].max())


def test_single_precision(x32):
    space = LatentSpace.from_data(jnp.asarray(CODES, jnp.float32))
    trace = search(Recorder(score), codes=np.asarray(CODES, np.float32), space=space)
    assert trace.codes.dtype == np.float32
    assert trace.best()[0][1] > -0.01


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scores": KNOWN[:3]}, r"`scores` must be one number a code.*12; got the shape \(3,\)"),
        ({"scores": np.full(12, np.nan)}, "`scores` must hold a number, got NaN alone"),
        ({"scores": np.full(12, np.inf)}, "got an infinite one"),
        ({"oracle": lambda strings: [1.0]}, r"one number a string, 3 here; got the shape \(1,\)"),
        ({"oracle": lambda s: [-np.inf] * 3}, "infinite score for '.*': give NaN"),
        ({"decode": lambda z, *, key: ["a"]}, "one string a code, 3 here; got 1 of str"),
        ({"decode": lambda z, *, key: [1, 2, 3]}, "3 of int"),
        ({"decode": lambda z, *, key: []}, "0 of nothing"),
        ({"trust_radius": float("inf")}, "`trust_radius` must be above 0 and finite, got inf"),
        ({"oracle": lambda s: ["a"] * 3}, "`oracle` must give one number a string, got .'a'"),
        ({"decode": lambda z, *, key: "abc"}, "a list of strings, one a code; got 'abc'"),
        ({"canonical": lambda each: True}, "`canonical` must give a string, or None .* got True"),
        ({"batch": 0}, "`batch` must be 1 or more"),
        ({"codes": CODES.at[2].set(jnp.nan)}, "1 of 12 rows are not, row 2"),
    ],
)
def test_what_a_search_refuses(options, message):
    wanted = {"decode": decode, "space": SPACE, "oracle": Recorder(score), "codes": CODES}
    with pytest.raises(ValueError, match=message):
        inspect.unwrap(bayes_opt)(**wanted | {"scores": KNOWN, "key": jr.key(0)} | SIZES | options)


@pytest.mark.parametrize("kind", [KeyError, KeyboardInterrupt])
def test_what_was_asked_before_an_error_is_handed_over(kind):
    whole = search(Recorder(score))

    def failing(after):
        calls = []

        def oracle(strings):
            calls.append(strings)
            if len(calls) > after:
                raise kind("the instrument is out")
            return [score(each) for each in strings]

        return oracle

    for rounds in (2, 0):
        with pytest.raises(kind, match="the instrument is out") as caught:
            search(failing(rounds))
        trace = caught.value.trace
        assert trace.strings == whole.strings[: 3 * rounds]
        for name in ("codes", "scores", "called", "rounds", "means", "sds", "distances"):
            part, want = getattr(trace, name), getattr(whole, name)[: 3 * rounds]
            np.testing.assert_array_equal(part, want)
            assert part.dtype == want.dtype
        assert trace.calls == 3 * rounds
        assert trace.best() == ([] if rounds == 0 else trace.best())
        assert (
            f"round {rounds}, counted from 0: the {3 * rounds} proposals"
            in (caught.value.__notes__[0])
        )
    # Also where what the oracle said is what stops it, in the next round.
    with pytest.raises(ValueError, match="beyond the range of float64") as caught:
        search(Recorder(lambda each: 1e307))
    assert caught.value.trace.scores.tolist() == [1e307] * 3
    with pytest.raises(ValueError, match="`count` must be 1 or more, got -1"):
        whole.best(-1)


def letters(z, *, key):
    """ "a" or "A" and as many letters more as the code says, or none at all; by chance."""
    draws = np.asarray(jr.randint(key, (len(z),), 0, 4))
    first = [("", "a", "A", "b")[d] for d in draws]
    return [a and a + "c" * int(n) for a, n in zip(first, z[:, 0], strict=True)]


def test_what_codes_decode_to():
    z = jnp.array([[2.0, 0.0], [0.0, 0.0]])
    canonical = lambda each: None if each.startswith("b") else each.lower()
    two, none = decode_many(letters, z, attempts=400, canonical=canonical, key=jr.key(0))
    assert two.strings == ("acc",)
    assert none.strings == ("a",)
    assert two.counts[0] + none.counts[0] == pytest.approx(400, abs=4 * (800 * 0.25) ** 0.5)
    assert two.valid == two.counts[0] / two.attempts
    assert two.distances is None
    plain, _ = decode_many(letters, z, attempts=400, key=jr.key(0))
    assert {*plain.strings} == {"acc", "Acc", "bcc"}
    assert (np.diff(plain.counts) <= 0).all()
    assert plain.counts.sum() < 400  # "" is never valid
    empty = decode_many(lambda z, *, key: [""] * len(z), z, attempts=3, key=jr.key(0))
    assert [(each.strings, each.counts.tolist(), each.valid) for each in empty] == [((), [], 0)] * 2


def test_what_codes_decode_to_by_distance():
    codes = {"acc": [1.0, 0.0], "Acc": [2.0, 1.0], "bcc": [2.0, 9.0], "a": [0.0, 0.0]}
    encode = lambda strings: np.array([codes.get(each, [9.0, 9.0]) for each in strings])
    space = LatentSpace.from_data(CODES)
    run = lambda decode, **o: decode_many(
        decode, jnp.array([[2.0, 0.0], [0.0, 0.0]]), attempts=100, key=jr.key(0), **o
    )
    two, none = run(letters, encode=encode, space=space)
    scale = np.asarray(space.scale)
    assert two.strings == ("Acc", "acc", "bcc")  # 0.2, 1 and 1.8 standard deviations or so
    np.testing.assert_allclose(two.distances, [1 / scale[1], 1 / scale[0], 9 / scale[1]])
    assert none.strings[0] == "a"
    assert none.distances[0] == 0
    nothing = run(lambda z, *, key: [""] * len(z), encode=encode, space=space)
    assert nothing[0].distances.shape == (0,)
    with pytest.raises(ValueError, match="`encode` and `space` go together"):
        run(letters, encode=encode)
    with pytest.raises(ValueError, match=r"finite codes, and 6 of 6 are not, that of '.*' first"):
        run(letters, encode=lambda strings: np.full((len(strings), 2), np.nan), space=space)
    with pytest.raises(ValueError, match=r"`encode` must give a code a string, \(6, 2\); got \(1,"):
        run(letters, encode=lambda strings: np.zeros((1, 2)), space=space)


def test_batches_of_one_size_and_codes_in_their_order():
    sizes = []

    def first(z, *, key):
        sizes.append(len(z))
        return [str(int(n)) for n in z[:, 0]]

    z = jnp.arange(7.0)[:, None]
    found = decode_many(first, z, attempts=700, key=jr.key(0))
    assert [each.strings for each in found] == [(str(n),) for n in range(7)]
    assert [each.counts.tolist() for each in found] == [[700]] * 7
    assert sizes == [4096, 4096]


def test_the_most_frequent_string_that_has_no_score_is_asked_about():
    often = lambda z, *, key: ["x", "y", "x", "", "z", "x", "y", "bad"] * (len(z) // 8)
    oracle = Recorder({"x": 1.0, "y": 2.0, "z": 3.0}.get)
    canonical = lambda each: None if each == "bad" else each
    trace = search(oracle, often, rounds=2, batch=2, attempts=8, canonical=canonical)
    assert oracle.asked == ["x", "y", "z"]
    assert trace.strings == ("x", "y", "z", "x")
    assert trace.called.tolist() == [True, True, True, False]
