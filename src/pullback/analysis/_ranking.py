"""How good a ranking of items is for each user."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from pullback._inputs import positive


class Ranking(NamedTuple):
    """How good the first k items of each user are, in the mean over users; arrays over `k`.

    Attributes:
        k: how many items each user is shown.
        ndcg: normalised discounted cumulative gain.
        recall: the share of a user's relevant items that are among the first k.
        precision: the share of the first k that are relevant.
        mrr: one over the place of the first relevant item; 0 where it is not among the first k.
        coverage: the share of items that at least one user is shown.
        standard_error: of `ndcg`, by the spread over users; 0 of one user, which has none.
        n_users: how many users have a relevant item; the others do not count.
        warm: the same of the users that are not cold, where that was said.
        cold: of those that are.
    """

    k: Int[np.ndarray, "..."]
    ndcg: Float[np.ndarray, "..."]
    recall: Float[np.ndarray, "..."]
    precision: Float[np.ndarray, "..."]
    mrr: Float[np.ndarray, "..."]
    coverage: Float[np.ndarray, "..."]
    standard_error: Float[np.ndarray, "..."]
    n_users: int
    warm: "Ranking | None" = None
    cold: "Ranking | None" = None


def ranking(
    scores: Float[np.ndarray | Array, "..."],
    relevant: np.ndarray | Array,
    k: int | Sequence[int] = 10,
    *,
    cold: np.ndarray | Array | None = None,
    seed: int = 0,
) -> Ranking:
    r"""NDCG, recall, precision, MRR and coverage of the items with the highest scores.

    $$ \mathrm{NDCG}_k = \frac{\sum_{p \le k} [\text{item at } p \text{ is relevant}] / \log_2(p+1)}
       {\sum_{p \le \min(k, n)} 1 / \log_2(p + 1)} $$

    of each user with n relevant items. Equal scores are put in an order drawn once for all users,
    so that a recommender that does not tell items apart is at chance.

    Args:
        scores: `[users, items]`, the higher, the earlier; minus infinity for an item that is not to
            be shown, such as one that the user has rated before.
        relevant: `[users, items]`, True for what the user took after all, or liked.
        k: how many items are shown, or several such numbers, for a curve.
        cold: `[users]`, True for users who were new; gives `warm` and `cold` apart.
        seed: of the order of equal scores.

    Raises:
        TypeError: scores are no numbers, or `relevant` is not true or false.
        ValueError: shapes do not fit; a score is NaN; k is not between 1 and the number of items;
            or no user has a relevant item.

    Example:
        >>> import numpy as np
        >>> scores = np.array([[0.9, 0.5, 0.1], [0.2, 0.8, 0.3]])
        >>> found = ranking(scores, np.array([[1, 0, 1], [1, 0, 0]], bool), [1, 2])
        >>> found.recall, found.coverage.round(2)
        (array([0.25, 0.25]), array([0.67, 1.  ]))

    Source: Järvelin and Kekäläinen, Cumulated Gain-Based Evaluation of IR Techniques, ACM TOIS
        20(4), 2002.
    """
    scores, relevant = _numbers(scores), np.asarray(relevant)
    ks = np.asarray(k)
    _check(scores, relevant, ks, cold)
    some = relevant.any(axis=1)
    if not some.any():
        raise ValueError("`relevant` has no relevant item of any user, so there is nothing to say.")
    most = int(ks.max())
    mixed = np.random.default_rng(seed).permutation(scores.shape[1])
    first = mixed[np.argsort(-scores[:, mixed], axis=1, kind="stable")[:, :most]]
    shown = np.take_along_axis(scores, first, axis=1) > -np.inf
    hits = np.take_along_axis(relevant, first, axis=1) & shown
    of = lambda users: _means(ks, hits[users], first[users], shown[users], relevant[users])
    whole = of(some)
    if cold is None:
        return whole
    new = np.asarray(cold)
    parts = [of(users) if users.any() else None for users in (some & ~new, some & new)]
    return whole._replace(warm=parts[0], cold=parts[1])


def _means(
    ks: Int[np.ndarray, "..."],
    hits: Bool[np.ndarray, "users most"],
    first: Int[np.ndarray, "users most"],
    shown: Bool[np.ndarray, "users most"],
    relevant: Bool[np.ndarray, "users items"],
) -> Ranking:
    n, most = hits.shape
    last = ks - 1
    gains = 1 / np.log2(np.arange(most) + 2)
    wanted = relevant.sum(axis=1)
    ideal = np.cumsum(gains)[np.minimum(ks, wanted.reshape(-1, *[1] * ks.ndim)) - 1]
    found = np.cumsum(hits, axis=1)[:, last]
    ndcg = np.cumsum(hits * gains, axis=1)[:, last] / ideal
    best = np.maximum.accumulate(hits / (np.arange(most) + 1), axis=1)[:, last]
    place = np.where(shown, np.arange(most), most)
    earliest = np.full(relevant.shape[1], most)
    np.minimum.at(earliest, first.ravel(), place.ravel())
    return Ranking(
        ks,
        ndcg.mean(axis=0),
        (found / wanted.reshape(-1, *[1] * ks.ndim)).mean(axis=0),
        (found / ks).mean(axis=0),
        best.mean(axis=0),
        (earliest[:, None] <= last.ravel()).mean(axis=0).reshape(ks.shape),
        ndcg.std(axis=0) / np.sqrt(max(n - 1, 1)),
        n,
    )


def _numbers(scores: Any) -> np.ndarray:
    """The scores as floats: of numbers without a sign the least would come first."""
    found = np.asarray(scores)
    if found.dtype.kind in "biu":
        return found.astype(np.float64)
    if not jnp.issubdtype(found.dtype, jnp.floating):
        raise TypeError(f"`scores` must be real numbers, got {found.dtype}.")
    return found if found.dtype.kind == "f" else found.astype(np.float32)


def _check(scores: np.ndarray, relevant: np.ndarray, ks: np.ndarray, cold: object) -> None:
    if scores.ndim != 2 or scores.shape != relevant.shape:
        raise ValueError(
            "`scores` and `relevant` must both be [users, items]; got "
            f"{scores.shape} and {relevant.shape}."
        )
    if relevant.dtype != bool:
        raise TypeError(
            f"`relevant` must be true or false, got {relevant.dtype}: say which count, such as "
            "`ratings >= 4`."
        )
    if np.isnan(scores).any():
        raise ValueError("`scores` must not be NaN; -inf keeps an item from being shown.")
    if ks.ndim > 1 or not ks.size:
        raise ValueError(f"`k` must be a number or a sequence of numbers, got {ks}.")
    for each in ks.ravel():
        positive(k=each)
    if ks.max() > scores.shape[1]:
        raise ValueError(f"`k` must be at most the {scores.shape[1]} items, got {ks.max()}.")
    if cold is not None:
        new = np.asarray(cold)
        if new.shape != scores.shape[:1] or new.dtype != bool:
            raise ValueError(
                f"`cold` must be true or false of each of {len(scores)} users, got {new.dtype} "
                f"{new.shape}."
            )
