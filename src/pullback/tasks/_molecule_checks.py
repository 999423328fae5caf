"""What should be so of a designer of molecules, and what to do where it is not, in sentences."""

import math
from typing import Any

from ._molecule_judge import MEAN, NET, PROCESS, RIDGE, SAMPLES
from ._page import Check

_VALID, _BACK, _UNIQUE, _NOVEL = 0.5, 0.1, 0.9, 0.5


def told(report: dict[str, Any] | None, selfies: bool) -> list[str]:
    """What was held out and who wins, in sentences."""
    if report is None:
        return ["Too few different molecules to hold any out, so nothing says how good it is."]
    return [check.sentence for check in checks(report, selfies)]


def checks(report: dict[str, Any], selfies: bool) -> list[Check]:
    """What should be so, and what to do where it is not."""
    found = [_of_predictions(name, said) for name, said in report["predictions"].items()]
    return [*found, *_of_strings(report, selfies)]


def _of_predictions(name: str, said: dict[str, Any]) -> Check:
    errors = said["mae"]
    how = ", ".join(f"{way} {errors[way]:.3g}" for way in (NET, PROCESS, RIDGE, MEAN))
    what = f"Of {said['rows']} molecules held out {name} is predicted with a mean error of: {how}."
    gap, error = said["ahead"], said["ahead_error"]
    if min(errors[NET], errors[PROCESS]) >= errors[MEAN]:
        return Check(
            False,
            f"{what} The code says nothing of it: designs by it are guesses. More molecules with "
            "a measurement would help.",
        )
    if abs(gap) <= 2 * error:
        return Check(True, f"{what} Neither the network nor the ridge is better for sure.")
    if gap > 0:
        return Check(True, f"{what} The network on the code is better than the ridge.")
    return Check(
        False,
        f"{what} The ridge is better: to predict, take it. Designs climb the Gaussian process; "
        "rank them by a ridge on fingerprints too. Train longer (`max_steps`), or add molecules, "
        "also such as were not measured (an empty cell): the code is learned from all.",
    )


def _of_strings(report: dict[str, Any], selfies: bool) -> list[Check]:
    back, said = report["reconstructed"], report["sets"][SAMPLES]
    found = [
        _check(
            back >= _BACK,
            f"{100 * back:.0f} % of {report['rows']} molecules held out come back exactly from "
            "their codes",
            "more molecules, those without a measurement too, or more `max_steps`",
        ),
        _check(
            said["valid"] >= _VALID,
            f"{100 * said['valid']:.0f} % of {report['drawn']} drawn strings are molecules",
            "more `max_steps`" if selfies else "write them as `selfies`, or more `max_steps`",
        ),
    ]  # fmt: skip
    if math.isnan(said["unique"]):
        return found
    far = ", ".join(f"{name} {value:.2g}" for name, value in report["distance"].items())
    return [
        *found,
        _check(
            said["unique"] >= _UNIQUE and said["novel"] >= _NOVEL,
            f"Of these {100 * said['unique']:.0f} % are unique, and of the unique "
            f"{100 * said['novel']:.0f} % are not among those that were learned from; from those "
            f"they are this far (Wasserstein): {far}",
            "fewer `max_steps`, or more molecules",
        ),
    ]


def _check(good: bool, what: str, remedy: str) -> Check:
    return Check(good, f"{what}." if good else f"{what}. What may help: {remedy}.")
