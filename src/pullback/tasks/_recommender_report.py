"""How good a recommender is on ratings held out, beside what one would have taken."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from pullback.analysis import Ranking, ranking
from pullback.data import Ratings
from pullback.models.recommenders import fit_biases, fit_popularity

from ._page import Check
from ._recommender_core import Core, core_of, own_ratings, vectors

NAMES = {"chains": "evidence chains", "als": "least squares (ALS)", "biases": "biases",
         "popularity": "popularity"}  # fmt: skip
_FEWEST_RATINGS, _FEWEST_USERS = 100, 10
_NEWCOMERS, _TEST = 0.1, 0.2
_SHOWN = 10  # ratings of a newcomer that are shown, at most; and no more than half
_K = 1, 2, 5, 10, 20, 50
_CELLS, _RANKED = 20_000_000, 1000  # scores of users and items, and users, that are ranked
_TOP = 10


class Held(NamedTuple):
    """Ratings to learn from, and those to be judged by.

    Attributes:
        train: of users who are known.
        warm: held out, of the same users.
        shown: what is shown of newcomers, who take no part in the fit.
        cold: held out, of these.
    """

    train: Ratings
    warm: Ratings
    shown: Ratings
    cold: Ratings


def hold_out(ratings: Ratings, by: str, seed: int) -> Held | None:
    """Hold ratings out, and users; None where there are too few."""
    users = np.unique(ratings.users)
    if len(ratings.values) < _FEWEST_RATINGS or len(users) < _FEWEST_USERS:
        return None
    random = np.random.default_rng(seed)
    if by == "time" and ratings.times is not None:
        late = ratings.split("time", test=_TEST)
        new = ~np.isin(ratings.users, late.train.users)
        train, warm = late.train, late.test.take(np.isin(late.test.users, late.train.users))
        order = np.lexsort((ratings.times, ratings.users))
    else:
        chosen = random.permutation(users)[: max(1, round(_NEWCOMERS * len(users)))]
        new = np.isin(ratings.users, chosen)
        train, warm = ratings.take(~new).split("random", test=_TEST, seed=seed)
        order = np.lexsort((random.random(len(new)), ratings.users))
    order = order[new[order]]
    of = ratings.users[order]
    place = np.arange(len(of)) - np.searchsorted(of, of)
    count = np.searchsorted(of, of, side="right") - np.searchsorted(of, of)
    shown = place < np.minimum(_SHOWN, count // 2)
    return Held(train, warm, ratings.take(order[shown]), ratings.take(order[~shown]))


def rivals(train: Ratings, feedback: str) -> dict[str, Core]:
    """What one would have taken, beside least squares."""
    popular = fit_popularity(train)
    users = np.zeros((len(train.user_names), 0))
    n_items = len(train.item_names)
    found = {"popularity": core_of(popular, popular, users, n_items)}
    if feedback == "explicit":
        biases = fit_biases(train)
        found["biases"] = core_of(biases, biases, biases.users[:, None], n_items)
    return found


def judge(held: Held, cores: dict[str, Core], feedback: str, seed: int) -> dict[str, Any]:
    """The errors and the rankings of each model.

    Args:
        held: what was held out.
        cores: by their key in `NAMES`.
        feedback: as of the task.
        seed: of the users that are ranked.
    """
    explicit = feedback == "explicit"
    newcomers = np.unique(held.cold.users)
    table = _relevant(held, explicit, seed)
    found: dict[str, Any] = {
        "rows": len(held.warm.values), "newcomers": len(newcomers),
        "cold_rows": len(held.cold.values), "k": table.k, "models": {},
    }  # fmt: skip
    squares: dict[str, np.ndarray] = {}
    for key, core in cores.items():
        at = np.searchsorted(newcomers, held.cold.users)
        new = vectors(core.model, *own_ratings(held.shown, newcomers)) if len(newcomers) else None
        said: dict[str, Any] = {}
        if explicit and key != "popularity":
            warm = core.rated(core.users[held.warm.users], held.warm.items)
            squares[key] = (warm - held.warm.values) ** 2
            said["rmse"], said["rmse_error"] = _root(squares[key])
            if new is not None:
                cold = core.rated(new[at], held.cold.items)
                said["cold_rmse"], said["cold_rmse_error"] = _root((cold - held.cold.values) ** 2)
        if table.relevant.any():
            said |= _ranked(core, table, held, newcomers, new)
        found["models"][key] = said
    if explicit:
        found["behind"] = _behind(squares)
    return found


class _Asked(NamedTuple):
    users: Int[np.ndarray, " n"]
    cold: np.ndarray
    relevant: np.ndarray
    hidden: np.ndarray
    k: list[int]


def _relevant(held: Held, explicit: bool, seed: int) -> _Asked:
    """Whom to rank for, what is relevant, and what they have rated before."""
    n_items = len(held.train.item_names)
    least = held.train.values.mean() if explicit else 0
    most = min(_RANKED, max(1, _CELLS // n_items))
    random, parts = np.random.default_rng(seed), []
    for test in (held.warm, held.cold):
        liked = np.unique(test.users[test.values >= least])
        parts.append(np.sort(random.permutation(liked)[:most]))
    users = np.concatenate(parts)
    cold = np.arange(len(users)) >= len(parts[0])
    relevant, hidden = (np.zeros((len(users), n_items), bool) for _ in range(2))
    for test, before, rows in (
        (held.warm, held.train, np.flatnonzero(~cold)),
        (held.cold, held.shown, np.flatnonzero(cold)),
    ):
        good = test.take(test.values >= least)
        for matrix, ratings in ((relevant, good), (hidden, before)):
            own, _ = own_ratings(ratings, users[rows])
            for row, items in zip(rows, own, strict=True):
                matrix[row, items] = True
    return _Asked(users, cold, relevant, hidden, [k for k in _K if k <= n_items])


def _ranked(
    core: Core, asked: _Asked, held: Held, newcomers: Int[np.ndarray, " n"], new: Any
) -> dict[str, Any]:
    users = core.users[asked.users[~asked.cold]]
    parts = [core.scores(users)]
    if new is not None:
        at = np.searchsorted(newcomers, asked.users[asked.cold])
        parts.append(core.scores(new[at]))
    found = np.where(asked.hidden, -np.inf, np.concatenate(parts))
    both = ranking(found, asked.relevant, asked.k, cold=asked.cold)
    said = {}
    for prefix, part in (("", both.warm), ("cold_", both.cold)):
        if part is not None:
            said |= {f"{prefix}{name}": getattr(part, name).tolist() for name in _MEASURES}
    return said


_MEASURES = [name for name in Ranking._fields if name not in ("k", "n_users", "warm", "cold")]


def _root(squares: Float[np.ndarray, " n"]) -> tuple[float, float]:
    """The root of the mean, and its standard error."""
    root = float(np.sqrt(squares.mean()))
    error = squares.std() / np.sqrt(len(squares))
    return root, float(error / (2 * root)) if root else 0.0


def _behind(squares: dict[str, np.ndarray]) -> dict[str, Any]:
    """By how much the first model's squared error is above the best other's, pair by pair."""
    ours, *others = squares
    best = min(others, key=lambda key: squares[key].mean())
    gap = squares[ours] - squares[best]
    return {"best": best, "gap": float(gap.mean()), "error": float(gap.std() / len(gap) ** 0.5)}


def checks(report: dict[str, Any]) -> list[Check]:
    """Who wins, and what to do where another does."""
    models, found = report["models"], []
    ours = next(iter(models))
    if "behind" in report:
        best, gap, error = (report["behind"][name] for name in ("best", "gap", "error"))
        how = ", ".join(f"{NAMES[key]} {models[key]['rmse']:.3f}" for key in (ours, best))
        found.append(_check("ratings", ours, best, gap, error, f"RMSE {how}", report["rows"]))
    if "ndcg" in models[ours]:
        place = len([k for k in report["k"] if k <= _TOP]) - 1
        value = lambda key: models[key]["ndcg"][place]
        best = max((key for key in models if key != ours), key=value)
        error = np.hypot(*(models[key]["standard_error"][place] for key in (ours, best)))
        how = f"NDCG@{report['k'][place]} {NAMES[ours]} {value(ours):.3f}, {NAMES[best]} "
        gap = value(best) - value(ours)
        how += f"{value(best):.3f}"
        found.append(_check("rankings", ours, best, gap, error, how, report["rows"]))
    return found


def _check(what: str, ours: str, best: str, gap: float, error: float, how: str, rows: int) -> Check:
    if abs(gap) <= 2 * error:
        return Check(
            True, f"Of {what} held out ({rows} ratings), {NAMES[best]} is no better and no worse "
            f"for sure ({how})."
        )  # fmt: skip
    if gap < 0:
        return Check(True, f"Of {what} held out ({rows} ratings), {NAMES[ours]} wins ({how}).")
    other = {"als": "chains", "chains": "als"}[ours]
    remedy = f": take it by method={other!r}" if best == other else ""
    return Check(
        False, f"Of {what} held out ({rows} ratings), {NAMES[best]} wins ({how}){remedy}."
    )  # fmt: skip


def scores_table(report: dict[str, Any]) -> dict[str, list[Any]]:
    """How good each model is, for users who were known and for newcomers, by k."""
    rows: list[dict[str, Any]] = []
    for key, said in report["models"].items():
        for part, prefix in (("warm", ""), ("cold", "cold_")):
            if f"{prefix}ndcg" not in said:
                continue
            for place, k in enumerate(report["k"]):
                row = {
                    "model": NAMES[key],
                    "users": part,
                    "rmse": said.get(f"{prefix}rmse"),
                    "k": k,
                }
                for name in ("ndcg", "recall", "precision", "mrr", "coverage"):
                    row[name] = said[f"{prefix}{name}"][place]
                rows.append(row)
    names = ["model", "users", "rmse", "k", "ndcg", "recall", "precision", "mrr", "coverage"]
    return {name: [row[name] for row in rows] for name in names}
