"""How good predicted numbers and their bands are on rows that took no part, beside others."""

import warnings
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.special import ndtri
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import BayesianRidge

OURS = "this model"
LEVEL = 0.9  # of the bands that are judged
_TREES = 200  # rows from which on boosted trees are asked
_MOST, _FEWEST = 20_000, 2000  # rows that the others learn from
_WORK = 5 * 10**6  # rows times columns, which take seconds


class Predicted(NamedTuple):
    """Of some rows what was predicted.

    Attributes:
        mean: the number.
        lower: the lower end of the band.
        upper: its upper end.
        std: the deviation, of a normal distribution; None where there is none.
    """

    mean: Float[np.ndarray, " n"]
    lower: Float[np.ndarray, " n"]
    upper: Float[np.ndarray, " n"]
    std: Float[np.ndarray, " n"] | None


def others(
    x: Float[np.ndarray, "n d"], y: Float[np.ndarray, " n"], test: Float[np.ndarray, "m d"]
) -> dict[str, Predicted]:
    """What one would have taken instead: a Bayesian line, and quantiles by boosted trees."""
    taught = _taught(*x.shape)
    x, y = x[:taught], y[:taught]
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore", RuntimeWarning)
        mean, std = BayesianRidge().fit(x, y).predict(test, return_std=True)
    half = float(ndtri((1 + LEVEL) / 2)) * std
    found = {"Bayesian ridge": Predicted(mean, mean - half, mean + half, std)}
    if len(x) >= _TREES and x.size <= _WORK:
        mean, low, high = (
            HistGradientBoostingRegressor(random_state=0, **kind).fit(x, y).predict(test)
            for kind in (
                {},
                {"loss": "quantile", "quantile": (1 - LEVEL) / 2},
                {"loss": "quantile", "quantile": (1 + LEVEL) / 2},
            )
        )
        found["boosted trees"] = Predicted(mean, low, high, None)
    return found


def _taught(rows: int, columns: int) -> int:
    return min(rows, _MOST, max(_FEWEST, _WORK // columns))


def judge(found: Mapping[str, Predicted], y: Float[np.ndarray, " n"]) -> dict[str, dict[str, Any]]:
    """RMSE, log-likelihood, coverage and width of the band, and how far behind each is.

    Args:
        found: what `OURS` and others predicted.
        y: what came true.
    """
    squares = {name: np.square(y - p.mean) for name, p in found.items()}
    told = {}
    for name, p in found.items():
        inside = (p.lower <= y) & (y <= p.upper)
        told[name] = {
            "rmse": float(np.sqrt(squares[name].mean())),
            "log_likelihood": None if p.std is None else float(_normal(y - p.mean, p.std).mean()),
            "coverage": float(inside.mean()),
            "width": float((p.upper - p.lower).mean()),
        }
        if name != OURS:
            gap = squares[name] - squares[OURS]
            error = float(np.std(gap, ddof=1) / np.sqrt(len(gap))) if len(gap) > 1 else None
            told[name] |= {"square_behind": float(gap.mean()), "square_error": error}
    return told


def _normal(apart: Float[np.ndarray, " n"], std: Float[np.ndarray, " n"]) -> np.ndarray:
    std = np.maximum(std, 1e-12 * max(float(np.abs(apart).max()), 1e-300))
    return -np.square(apart / std) / 2 - np.log(std * np.sqrt(2 * np.pi))


def number_verdict(
    report: Mapping[str, Mapping[str, Any]], rows: int, how: str, learned: tuple[int, ...]
) -> str:
    """Who wins, in a sentence, and another where the others have not learned from all rows.

    Args:
        report: of each.
        rows: that judge.
        how: they were held out.
        learned: rows and columns that this model has learned from.
    """
    ours = report[OURS]
    band = lambda found: (
        f"its {100 * LEVEL:g} % band covers {100 * found['coverage']:.3g} % and is "
        f"{found['width']:.3g} wide"
    )
    told = [f"this model is off by {ours['rmse']:.3g} (RMSE; {band(ours)})"]
    for name, found in report.items():
        if name == OURS:
            continue
        gap, error = found["square_behind"], found["square_error"] or np.inf
        how_far = "behind" if gap > 0 else "ahead"
        sure = how_far if abs(gap) > 2 * error else "no difference for sure"
        told.append(f"{name} by {found['rmse']:.3g} ({sure}; {band(found)})")
    taught = _taught(*learned)
    trees = "" if "boosted trees" in report else "; boosted trees would take minutes even of these"
    few = "" if taught == learned[0] else (
        f" The others have learned from {taught:,} of {learned[0]:,} rows: with more they would "
        f"take minutes{trees}."
    )  # fmt: skip
    return f"On {rows} rows {how} {', '.join(told)}.{few}"
