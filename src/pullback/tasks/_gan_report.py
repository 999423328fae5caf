"""Whether to believe samples: beside rows held out, a Gaussian copula, and real rows."""

from typing import Any

import jax.random as jr
import numpy as np
from jaxtyping import Float

from pullback._on_device import on_device
from pullback.analysis.samples import density_and_coverage, two_sample_auroc

from ._page import Check

OURS, COPULA, REAL = "this model", "Gaussian copula", "rows it was fitted to"
_NEIGHBOURS = 5
_DENSITY = 0.8, 1.25  # of samples that lie as data do, give or take


def judge(
    test: Float[np.ndarray, "n f"], others: dict[str, Float[np.ndarray, "n f"]], seed: int
) -> dict[str, Any]:
    """How each set of samples lies beside rows that none was fitted to.

    Args:
        test: rows as features of like scales.
        others: by name as many samples.
        seed: of the classifier.
    """
    found: dict[str, Any] = {"rows": len(test)}
    for name, fake in others.items():
        lies = density_and_coverage(test, fake, neighbours=_NEIGHBOURS)
        key = jr.wrap_key_data(on_device(np.asarray([0, seed], np.uint32)))
        told = two_sample_auroc(test, fake, key=key)
        found[name] = {**told._asdict(), **lies._asdict()}
    return found


def checks(report: dict[str, Any]) -> list[Check]:
    """What should be so of the samples, and what to do where it is not."""
    ours, other, rows = report[OURS], report[COPULA], report["rows"]
    found = []
    area, error = ours["auroc"], ours["standard_error"]
    if area + 4 * error < 0.5:
        found.append(
            Check(False, f"The samples repeat some of {rows} rows held out (AUROC {area:.2f} ± "
                  f"{error:.2f}, far below 0.5): leave out of the table rows that occur twice, and "
                  "fit again.")
        )  # fmt: skip
    elif area - 2 * error <= 0.5:
        found.append(
            Check(True, f"A classifier does not tell samples from {rows} rows held out (AUROC "
                  f"{area:.2f} ± {error:.2f}).")
        )  # fmt: skip
    else:
        found.append(
            Check(False, f"A classifier tells samples from {rows} rows held out (AUROC {area:.2f} "
                  f"± {error:.2f}): what is computed of them need not hold of the table.")
        )  # fmt: skip
    covered, expected = ours["coverage"], ours["expected_coverage"]
    spread = np.sqrt(max(covered * (1 - covered), 1 / rows) / rows)
    if is_collapsed(report):
        sentence = (
            f"The samples are all alike: they reach {100 * covered:.0f} % of the rows, and samples "
            f"of the same distribution {100 * expected:.0f} %. Fit again with another "
            "`random_state` or a smaller `max_steps`; `FlowDensity` does not fail so."
        )
    elif covered < expected - 2 * spread:
        sentence = (
            f"The samples leave out a part of the table: they reach {100 * covered:.0f} % of the "
            f"rows, and samples of the same distribution {100 * expected:.0f} %."
        )
    else:
        sentence = f"The samples reach {100 * covered:.0f} % of the rows: no part is left out."
    found.append(Check(bool(covered >= expected - 2 * spread), sentence))
    density, (low, high) = ours["density"], _DENSITY
    where = "lie beside the rows" if density < low else "crowd in the midst of the rows"
    sentence = "lie where the rows do" if low <= density <= high else where
    found.append(Check(low <= density <= high, f"The samples {sentence} (density {density:.2f})."))
    gap, chance = behind(report)
    how = f"AUROC {other['auroc']:.2f}, this model {area:.2f}"
    if abs(gap) <= 2 * chance:
        sentence = f"A Gaussian copula is no better and no worse for sure ({how})."
    elif gap > 0:
        sentence = f"The samples are better than those of a Gaussian copula ({how})."
    else:
        sentence = (
            f"A Gaussian copula is better ({how}): take it by `max_steps=0` (on the command line "
            "--max-steps 0), or `FlowDensity`."
        )
    found.append(Check(gap >= -2 * chance, sentence))
    return found


def behind(report: dict[str, Any]) -> tuple[float, float]:
    """By how much the copula is told more easily than this model, and the standard error."""
    ours, other = report[OURS], report[COPULA]
    chance = np.hypot(ours["standard_error"], other["standard_error"])
    return other["auroc"] - ours["auroc"], float(chance)


def is_lost(report: dict[str, Any]) -> bool:
    """Whether the copula is better for sure."""
    gap, chance = behind(report)
    return gap < -2 * chance


def is_collapsed(report: dict[str, Any]) -> bool:
    """Whether the samples reach less than half of what they should."""
    return report[OURS]["coverage"] < 0.5 * report[OURS]["expected_coverage"]
