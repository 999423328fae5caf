"""How good a density is on rows that took no part in the fit, beside what users take instead."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.special import logsumexp
from sklearn.model_selection import KFold

_FOLDED, _FOLDS = 1000, 5
_BANDWIDTHS = (0.1, 0.16, 0.25, 0.4, 0.6, 1.0)
_AT_ONCE = 1000  # rows beside as many kernels
_KERNELS = 5000  # rows that carry a kernel, at most
_JUDGES = 20_000  # rows, for which more tell no better how good a fit is


class Parts(NamedTuple):
    """Places of rows: to train on, to choose by, and to tell how good the fit is."""

    train: Int[np.ndarray, " t"]
    choose: Int[np.ndarray, " c"]
    test: Int[np.ndarray, " h"]

    def folds(self, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """Rows to fit and rows to choose by: of fewer than 1000 each is one of the others once."""
        own = np.union1d(self.train, self.choose)
        if len(own) >= _FOLDED:
            return [(self.train, self.choose)]
        fold = KFold(min(_FOLDS, len(own)), shuffle=True, random_state=seed)
        return [(own[fit], own[other]) for fit, other in fold.split(own)]


def split(count: int, generator: np.random.RandomState) -> Parts:
    """Seven tenths of the rows, or more of many, and the rest in two; all where there are few."""
    order = generator.permutation(count)
    if count < 20:
        return Parts(order, order, order)
    test = min(count * 15 // 100, _JUDGES)
    choose = min(count * 30 // 100, 2 * _JUDGES)
    return Parts(order[choose:], order[test:choose], order[:test])


def kernel_density(
    train: Float[np.ndarray, "n d"],
    choose: Float[np.ndarray, "m d"],
    test: Float[np.ndarray, "t d"],
) -> Float[np.ndarray, " t"]:
    """Log-densities of a Gaussian kernel of the width that does best on the rows to choose by."""
    kernels = train[:_KERNELS]

    def log_prob(rows: Float[np.ndarray, "m d"], width: float) -> Float[np.ndarray, " m"]:
        squares = np.square(rows).sum(axis=1)[:, None] + np.square(kernels).sum(axis=1)
        apart = squares - 2 * rows @ kernels.T
        norm = np.log(len(kernels)) + kernels.shape[1] * np.log(width * np.sqrt(2 * np.pi))
        return logsumexp(-apart / (2 * width**2), axis=1) - norm

    best = max(_BANDWIDTHS, key=lambda width: log_prob(choose[:_AT_ONCE], width).mean())
    pieces = [test[k : k + _AT_ONCE] for k in range(0, len(test), _AT_ONCE)]
    return np.concatenate([log_prob(piece, best) for piece in pieces])


def compare(
    flow: Float[np.ndarray, " n"], others: dict[str, Float[np.ndarray, " n"]]
) -> dict[str, Any]:
    """Mean log-densities in nats, with the standard errors of how far the others are behind."""
    error = lambda x: float(np.std(x, ddof=1) / np.sqrt(len(x))) if len(x) > 1 else None
    return {
        "rows": len(flow),
        "flow": {"log_density": float(flow.mean()), "standard_error": error(flow)},
        **{
            name: {
                "log_density": float(other.mean()),
                "behind": float((flow - other).mean()),
                "standard_error": error(flow - other),
            }
            for name, other in others.items()
        },
    }


def told_of_others(rows: int, mixed: int) -> list[str]:
    """Of how many rows the others are, where that is not all of those that trained.

    Args:
        rows: that trained.
        mixed: that the mixture was fitted to.
    """
    if rows <= _KERNELS:
        return []
    mixture = f"the mixture was fitted to {mixed:,}, and " if mixed < rows else ""
    return [
        f"Of the {rows:,} rows that trained {mixture}the kernel density has {_KERNELS:,}: with "
        "more they would take minutes."
    ]


def verdict(report: dict[str, Any]) -> str:
    """Who wins, in a sentence."""
    told = [f"the flow has {report['flow']['log_density']:.4g} nats a row"]
    for name, found in report.items():
        if name in ("rows", "flow"):
            continue
        gap, error = found["behind"], found["standard_error"] or np.inf
        if gap == 0:
            told.append(f"{name} the same")
            continue
        sure = abs(gap) > 2 * error
        how = "behind" if gap > 0 else "ahead"
        told.append(
            f"{name} {found['log_density']:.4g} ({how} by {abs(gap):.2g} +- {error:.2g}"
            f"{'' if sure else ', which is no difference for sure'})"
        )
    return f"On {report['rows']} rows that took no part in the fit {', '.join(told)}."
