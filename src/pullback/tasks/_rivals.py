"""What a field is compared with: what users take for trajectories instead."""

from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.interpolate import CubicSpline
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures

from ._collocation import known_at, march
from ._field import Frame, Known
from ._pieces import Pieces
from ._smooth import Smooth

_ALPHAS = (1e-6, 1e-2, 1.0)
_MOST = 20_000  # times that a regression learns from, spread over all


def rivals(
    smooths: list[Smooth], frame: Frame, pieces: Pieces, known: Known | None, choose: Pieces
) -> dict[str, Float[np.ndarray, " p"]]:
    """Mean squared errors of pieces, in scales, of each rival.

    Args:
        smooths: what may be learned from.
        frame: units.
        pieces: what is to be forecast.
        known: the known part of the field, which rivals are given too.
        choose: other pieces, for the strength of a penalty.
    """
    found = {"carried on": np.repeat(pieces.starts[:, None], pieces.ts.shape[1], axis=1)}
    names = {1: "linear system (scikit-learn)", 3: "cubic polynomial (scikit-learn)"}
    for degree, name in names.items():
        if len(frame.mean) > 12 and degree > 1:
            continue
        fitted = [_regression(smooths, frame, known, degree, alpha) for alpha in _ALPHAS]
        errors = [choose.errors(_forecast(f, frame, known, choose), frame.scale) for f in fitted]
        best = int(np.argmin([error.mean() for error in errors]))
        found[name] = _forecast(fitted[best], frame, known, pieces)
    errors = {name: pieces.errors(ys, frame.scale) for name, ys in found.items()}
    between = (_between(pieces) - pieces.ys)[:, 1:] / frame.scale
    if not np.isnan(between).all(axis=(1, 2)).any():
        errors["spline between neighbours"] = np.nanmean(between**2, axis=(1, 2))
    return errors


def _regression(
    smooths: list[Smooth], frame: Frame, known: Known | None, degree: int, alpha: float
) -> Any:
    ts = np.concatenate([part.path.ts for part in smooths])
    ys = np.concatenate([part.ys for part in smooths])
    slopes = np.concatenate([part.slopes for part in smooths])
    if len(ts) > _MOST:
        some = np.linspace(0, len(ts) - 1, _MOST).astype(int)
        ts, ys, slopes = ts[some], ys[some], slopes[some]
    if known is not None:
        slopes = slopes - known_at(known, ts, ys)
    model = make_pipeline(PolynomialFeatures(degree), Ridge(alpha, fit_intercept=False))
    return model.fit(frame.to(ys), slopes * frame.time / frame.scale)


def _forecast(
    model: Any, frame: Frame, known: Known | None, pieces: Pieces
) -> Float[np.ndarray, "p t d"]:
    def rate(ts: np.ndarray, zs: np.ndarray) -> np.ndarray:
        found = model.predict(zs).reshape(zs.shape)
        if known is not None:
            found = found + known_at(known, ts, frame.back(zs)) * frame.time / frame.scale
        return found

    since = (pieces.ts - pieces.ts[:, :1]) / frame.time
    with np.errstate(all="ignore"):
        start = frame.to(pieces.starts)
        return frame.back(march(rate, pieces.ts[:, 0], start, since, frame))


def _between(pieces: Pieces) -> Float[np.ndarray, "p t d"]:
    """Each value by a spline through those before and after it, which a forecast does not see.

    Every second value is left out and filled in, then the others; ends are left as NaN.
    """
    found = np.full(pieces.ys.shape, np.nan)
    for number, (ts, ys) in enumerate(zip(pieces.ts, pieces.ys, strict=True)):
        for j, column in enumerate(ys.T):
            there = np.flatnonzero(~np.isnan(column))
            for odd in (0, 1):
                seen, asked = there[odd::2], there[1 - odd :: 2]
                if len(seen) < 4:
                    continue
                inside = asked[(asked > seen[0]) & (asked < seen[-1])]
                found[number, inside, j] = CubicSpline(ts[seen], column[seen])(ts[inside])
    return found


def compare(
    own: Float[np.ndarray, " p"], others: dict[str, Float[np.ndarray, " p"]]
) -> dict[str, Any]:
    """Root mean squared errors, and how far others are behind, with the standard error of that."""
    count = len(own)

    def error(x: Float[np.ndarray, " p"]) -> float | None:
        return float(np.std(x, ddof=1) / np.sqrt(count)) if count > 1 else None

    return {
        "pieces": count,
        "model": {"error": float(np.sqrt(own.mean())), "standard_error": error(np.sqrt(own))},
        **{
            name: {
                "error": float(np.sqrt(other.mean())),
                "behind": float((np.sqrt(other) - np.sqrt(own)).mean()),
                "standard_error": error(np.sqrt(other) - np.sqrt(own)),
            }
            for name, other in others.items()
        },
    }


def verdict(report: dict[str, Any]) -> str:
    """Who wins, in a sentence."""
    pieces = report["pieces"]
    told = [f"the model is off by {report['model']['error']:.2g} deviations"]
    for name, found in report.items():
        if name in ("pieces", "model"):
            continue
        gap, error = found["behind"], found["standard_error"]
        how = "behind" if gap > 0 else "ahead"
        if error is None:
            sure = ""
        elif abs(gap) > 2 * error:
            sure = f" +- {error:.1g}"
        else:
            sure = f" +- {error:.1g}, which is no difference for sure"
        told.append(f"{name} by {found['error']:.2g} ({how} by {abs(gap):.2g}{sure})")
    what = "1 piece" if pieces == 1 else f"{pieces} pieces"
    return f"In forecasts of {what} held out, from a smooth path's start, {'; '.join(told)}."
