"""How good a model of series is, beside what users take instead, and who wins."""

from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.stats import t

from ._series_asked import FORECAST, IMPUTE, Asked, carried, interpolated
from ._series_bands import Bands

LEVELS = (0.5, 0.8, 0.9, 0.95)
MODEL, PROCESS = "this model", "the process"
TASKS = {"impute": "filled in", "forecast": "forecast"}


def rivals(asked: Asked, process: Float[np.ndarray, "r t v"]) -> dict[str, np.ndarray]:
    """What else one would say."""
    return {
        PROCESS: process,
        "linear interpolation": interpolated(asked.seen),
        "the last value carried on": carried(asked.seen),
        "the mean": np.zeros(asked.shown.shape),
    }


def compare(
    asked: Asked, mean: np.ndarray, others: dict[str, np.ndarray], deviation: np.ndarray,
    bands: Bands, names: tuple[str, ...],
) -> dict[str, Any]:  # fmt: skip
    """Mean squared errors of hidden values, in squared deviations, by task and by variable.

    Args:
        asked: held-out series.
        mean: what the model says.
        others: what others say.
        deviation: the model's.
        bands: made without these series.
        names: of the variables.
    """
    found: dict[str, Any] = {"series": len(np.unique(asked.series))}
    inside = {
        level: np.abs(asked.known.values - mean)
        <= bands.width(level, asked.known.times, asked.shown, deviation)
        for level in LEVELS
    }
    for task, number in (("impute", IMPUTE), ("forecast", FORECAST)):
        hidden = asked.hidden_in(number)
        if not hidden.any():
            continue
        own = np.square(asked.known.values - mean)
        squares = {name: np.square(asked.known.values - told) for name, told in others.items()}
        found[task] = {
            "values": int(hidden.sum()),
            **_beside(asked, own, squares, hidden),
            "coverage": {f"{level:g}": float(inside[level][hidden].mean()) for level in LEVELS},
            "variables": {
                name: _variable(asked, own, squares, inside[0.9], hidden, k)
                for k, name in enumerate(names)
                if hidden[:, :, k].any()
            },
        }
    return found


def _beside(
    asked: Asked, own: np.ndarray, squares: dict[str, np.ndarray], hidden: np.ndarray
) -> dict[str, Any]:
    """Errors, averaged over each series and then over series, with the standard errors."""
    mine = by_series(asked, own, hidden)
    told: dict[str, Any] = {
        MODEL: {"error": float(mine.mean()), "standard_error": _error(mine)},
    }
    for name, square in squares.items():
        other = by_series(asked, square, hidden)
        told[name] = {
            "error": float(other.mean()),
            "behind": float((other - mine).mean()),
            "standard_error": _error(other - mine),
            "sure": surely(other - mine) or surely(mine - other),
        }
    return told


def _variable(
    asked: Asked, own: np.ndarray, squares: dict[str, np.ndarray], inside: np.ndarray,
    hidden: np.ndarray, k: int,
) -> dict[str, Any]:  # fmt: skip
    only = np.zeros_like(hidden)
    only[:, :, k] = hidden[:, :, k]
    told = _beside(asked, own, squares, only)
    best = min((name for name in told if name != MODEL), key=lambda name: told[name]["error"])
    behind = told[best]["behind"]
    winner = MODEL if behind > 0 else best
    winner = winner if told[best]["sure"] else "no difference for sure"
    return {
        "error": told[MODEL]["error"],
        "best_other": best,
        "its_error": told[best]["error"],
        "winner": "the same" if behind == 0 else winner,
        "coverage": float(inside[only].mean()),
    }


def by_series(asked: Asked, square: np.ndarray, hidden: np.ndarray) -> Float[np.ndarray, " s"]:
    """The mean over the hidden values of each series that has some."""
    count, total = (
        np.bincount(asked.series, each.sum(axis=(1, 2)))
        for each in (hidden.astype(float), np.where(hidden, square, 0.0))
    )
    return total[count > 0] / count[count > 0]


def surely(gain: Float[np.ndarray, " s"]) -> bool:
    """Whether a mean over series is above 0: by Student's t, for series may be few."""
    if len(gain) < 3:
        return False
    return bool(gain.mean() > t.ppf(0.975, len(gain) - 1) * gain.std(ddof=1) / np.sqrt(len(gain)))


def _error(x: Float[np.ndarray, " n"]) -> float | None:
    return float(np.std(x, ddof=1) / np.sqrt(len(x))) if len(x) > 1 else None


def verdicts(report: dict[str, Any]) -> list[str]:
    """Who wins, in sentences."""
    told = []
    for task, done in TASKS.items():
        if task not in report:
            continue
        own = report[task]
        said = [f"values that are {done} have a mean squared error of {own[MODEL]['error']:.3g}"]
        for name, found in own.items():
            if not (isinstance(found, dict) and "behind" in found):
                continue
            gap, error = found["behind"], found["standard_error"] or np.inf
            if gap == 0:
                said.append(f"{name} has the same")
                continue
            sure = "" if found["sure"] else ", which is no difference for sure"
            how = "behind" if gap > 0 else "ahead"
            margin = f" +- {error:.2g}" if np.isfinite(error) else ""
            said.append(f"{name} {found['error']:.3g} ({how} by {abs(gap):.2g}{margin}{sure})")
        lost = [
            f"{name} ({found['winner']})"
            for name, found in own["variables"].items()
            if found["winner"] not in (MODEL, "no difference for sure", "the same")
        ]
        if lost:
            said.append(f"another is better for {', '.join(lost)}")
        said.append(f"90 % bands hold {100 * own['coverage']['0.9']:.0f} % of them")
        told.append(
            f"On {report['series']} series that took no part in the fit, in squared standard "
            f"deviations: {'; '.join(said)}."
        )
    return told


def uses(method: str, names: tuple[str, ...], kept: Any) -> list[str]:
    """For which variables the network is used, in sentences.

    Args:
        method: of the network.
        names: of the variables.
        kept: for filling in and for forecasts, of each variable; None without a network.
    """
    if kept is None:
        return ["No network was trained, so the model is the process alone."]
    told = []
    for row, what in zip(kept, ("filling in", "forecasts"), strict=True):
        used = [name for name, keep in zip(names, row, strict=True) if keep]
        whom = "every variable" if row.all() else ", ".join(used) or "no variable"
        told.append(f"For {what} the {method} gains for sure on {whom}.")
    return told


def outcome_verdict(found: dict[str, Any]) -> str:
    """How good the probabilities of an outcome are."""
    gap, error = found["behind"], found["standard_error"] or np.inf
    sure = "" if abs(gap) > 2 * error else ", which is no difference for sure"
    how = "behind" if gap > 0 else "ahead"
    margin = f" +- {error:.2g}" if np.isfinite(error) else ""
    of = "summaries and codes" if found["codes"] else "summaries of the series alone"
    return (
        f"Outcomes of {found['series']} series that took no part: accuracy "
        f"{found['accuracy']:.3g} (the most frequent: {found['most_frequent']:.3g}), log loss "
        f"{found['log_loss']:.3g} nats (the share of each outcome is {how} by {abs(gap):.2g}"
        f"{margin}{sure}), by a logistic regression on {of}."
    )
