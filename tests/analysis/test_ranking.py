"""Rankings beside scikit-learn's and beside loops over users."""

import numpy as np
import pytest
from sklearn.metrics import ndcg_score

from pullback.analysis import ranking


def drawn(seed=0, users=30, items=12):
    rng = np.random.default_rng(seed)
    scores, relevant = rng.normal(size=(users, items)), rng.random((users, items)) < 0.3
    relevant[0] = False
    return scores, relevant


@pytest.mark.parametrize("k", [1, 4, 12])
def test_ndcg_is_that_of_scikit_learn_over_users_who_have_something_relevant(k):
    scores, relevant = drawn()
    some = relevant.any(1)
    found = ranking(scores, relevant, k)
    want = ndcg_score(relevant[some].astype(float), scores[some], k=k)
    np.testing.assert_allclose(found.ndcg, want, atol=1e-12)
    assert found.n_users == some.sum() < 30


def test_the_others_are_those_of_a_loop_and_a_curve_is_its_points():
    scores, relevant = drawn(1)
    scores[:, 3] = -np.inf
    ks = (1, 2, 5, 12)
    curve = ranking(scores, relevant, ks)
    for place, k in enumerate(ks):
        recall, precision, mrr, shown, ndcg = [], [], [], set(), []
        for own, wanted in zip(scores, relevant, strict=True):
            if not wanted.any():
                continue
            first = [item for item in np.argsort(-own)[:k] if own[item] > -np.inf]
            shown |= set(first)
            hits = [bool(wanted[item]) for item in first]
            recall.append(sum(hits) / wanted.sum())
            precision.append(sum(hits) / k)
            mrr.append(1 / (1 + hits.index(True)) if any(hits) else 0)
            gain = sum(hit / np.log2(p + 2) for p, hit in enumerate(hits))
            ndcg.append(gain / sum(1 / np.log2(p + 2) for p in range(min(k, wanted.sum()))))
        found = ranking(scores, relevant, k)
        wants = (np.mean(recall), np.mean(precision), np.mean(mrr), len(shown) / 12)
        for name, want in zip(("recall", "precision", "mrr", "coverage"), wants, strict=True):
            np.testing.assert_allclose(getattr(found, name), want, atol=1e-12)
            np.testing.assert_allclose(getattr(curve, name)[place], want, atol=1e-12)
        np.testing.assert_allclose(curve.ndcg[place], np.mean(ndcg), atol=1e-12)
        error = np.std(ndcg, ddof=1) / np.sqrt(len(ndcg))
        np.testing.assert_allclose(curve.standard_error[place], error, atol=1e-12)


def test_cold_and_warm_are_as_if_alone():
    scores, relevant = drawn(2)
    cold = np.arange(30) % 3 == 0
    found = ranking(scores, relevant, 5, cold=cold)
    for part, users in ((found.cold, cold), (found.warm, ~cold)):
        for ours, alone in zip(part, ranking(scores[users], relevant[users], 5), strict=True):
            assert ours == alone
    assert ranking(scores, relevant, 5, cold=np.zeros(30, bool)).cold is None


def test_equal_scores_are_at_chance_and_not_in_the_order_of_columns():
    relevant = np.zeros((200, 50), bool)
    relevant[:, 0] = True
    found = [ranking(np.zeros((200, 50)), relevant, 10, seed=s).recall for s in range(200)]
    assert abs(np.mean(found) - 0.2) < 4 * np.sqrt(0.16 / 200)
    assert ranking(np.zeros((200, 50)), relevant, 10).coverage == 0.2


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"scores": np.zeros(3)}, ValueError, r"must both be \[users, items\]"),
        ({"relevant": np.zeros((2, 3))}, TypeError, "`relevant` must be true or false, got float"),
        ({"relevant": np.zeros((2, 3), bool)}, ValueError, "no relevant item of any user"),
        ({"scores": np.full((2, 3), np.nan)}, ValueError, "must not be NaN; -inf keeps"),
        ({"k": 4}, ValueError, "`k` must be at most the 3 items, got 4"),
        ({"k": 0}, ValueError, "`k` must be 1 or more, got 0"),
        ({"k": []}, ValueError, "`k` must be a number or a sequence"),
        ({"cold": np.zeros(3, bool)}, ValueError, "each of 2 users"),
    ],
)
def test_what_is_refused(changes, error, message):
    given = {"scores": np.eye(2, 3), "relevant": np.eye(2, 3) > 0, "k": 2, **changes}
    with pytest.raises(error, match=message):
        ranking(given.pop("scores"), given.pop("relevant"), given.pop("k"), **given)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint64, np.int64, bool, np.float16])
def test_scores_of_any_numbers_are_ranked_alike(dtype):
    scores = np.array([[3, 0, 2, 1], [0, 1, 3, 2]]).astype(dtype)
    relevant = np.array([[1, 0, 0, 0], [0, 0, 1, 0]], bool)
    found = ranking(scores, relevant, 4 if dtype is bool else 1)
    want = ranking(scores.astype(float), relevant, found.k)
    assert found.ndcg == want.ndcg
    assert dtype is bool or found.ndcg == 1


@pytest.mark.parametrize("dtype", [object, str, complex])
def test_scores_that_are_no_numbers_are_refused(dtype):
    with pytest.raises(TypeError, match="`scores` must be real numbers"):
        ranking(np.eye(2).astype(dtype), np.eye(2, dtype=bool), 1)
