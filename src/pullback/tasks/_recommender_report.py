"""How good a recommender is on ratings held out, beside what one would have taken."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from pullback.analysis import Ranking, ranking
from pullback.data import Ratings
from pullback.models.recommenders import fit_biases, fit_popularity

from ._page import Check
from ._recommender_core import Core, core_of, own_ratings, vectors
from ._recommender_held import Held

NAMES = {"chains": "evidence chains", "als": "least squares (ALS)", "biases": "biases",
         "popularity": "popularity"}  # fmt: skip
_K = 1, 2, 5, 10, 20, 50
_CELLS, _RANKED = 20_000_000, 1000  # scores of users and items, and users, that are ranked
_TOP = 10


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
            if len(held.warm.values):
                warm = core.rated(core.users[held.warm.users], held.warm.items)
                squares[key] = (warm - held.warm.values) ** 2
                said["rmse"], said["rmse_error"] = _root(squares[key])
            if new is not None:
                cold = core.rated(new[at], held.cold.items)
                said["cold_rmse"], said["cold_rmse_error"] = _root((cold - held.cold.values) ** 2)
        if table.relevant.any():
            said |= _ranked(core, table, held, newcomers, new)
        found["models"][key] = said
    if squares:
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


def told(report: dict[str, Any]) -> list[str]:
    """What was held out and who wins, in sentences."""
    how = "from one date on" if report["by"] == "time" else "at random"
    found = [
        f"Held out: {report['rows']} ratings {how}, and {report['newcomers']} users, of whom "
        "up to 10 ratings are shown and no parameter has seen any."
    ]
    if not report["rows"]:
        found.append(
            "No rating held out is of a user who has others, so nothing says how good it is for "
            "known users, nor who wins; held_out='random' would."
        )
    if report["by"] == "random":
        found.append(
            "What is held out at random flatters: in use it is the future that is asked for; "
            "with a column of times the latest are held out."
        )
    return [*found, *(check.sentence for check in checks(report))]


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
