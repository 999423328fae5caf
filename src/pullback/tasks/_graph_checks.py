"""What should be so of a generator of graphs, and what to do where it is not, in sentences."""

import math
from typing import Any

from ._page import Check

SAMPLES, RANDOM, FITTED, HELD = "samples", "erdos_renyi", "fitted", "held_out"
_SILENT = 2.0  # times what graphs of the fit have: nearer than that all are alike
_UNIQUE, _NEW = 0.9, 0.5
_APART, _ERRORS = 0.1, 2.0  # shares that differ by less, or by fewer standard errors, are alike
_ALL = 0.9  # of graphs held out, from which on samples are to be connected
FEW = 10  # graphs held out, of fewer of which the figures vary


def told(report: dict[str, Any] | None) -> list[str]:
    """What was held out and who wins, in sentences."""
    if report is None:
        return [
            "Too few different graphs to hold any out (10 are needed), so nothing says how good "
            "the samples are; expect the graphs of the fit again."
        ]
    return [check.sentence for check in checks(report)]


def checks(report: dict[str, Any]) -> list[Check]:
    """What should be so, and what to do where it is not."""
    return [*_of_statistics(report), _of_pieces(report), *_of_copies(report)]


def _of_statistics(report: dict[str, Any]) -> list[Check]:
    better: list[str] = []
    worse: list[str] = []
    silent: list[str] = []
    for name, said in report["mmd2"].items():
        ours, other, floor = said[SAMPLES], said[RANDOM], said[FITTED]
        how = f"{name} ({ours:.2g} beside {other:.2g}; graphs of the fit {floor:.2g})"
        if other <= _SILENT * floor and ours <= _SILENT * floor:
            silent.append(name)
        elif ours < other:
            better.append(how)
        else:
            worse.append(how)
    what = f"By squared MMD to {report['rows']} graphs held out"
    found = []
    if better:
        found.append(
            Check(True, f"{what} samples are nearer than Erdos-Renyi graphs in {_and(better)}.")
        )
    if worse:
        found.append(
            Check(
                False,
                f"{what} Erdos-Renyi graphs of the same sizes and densities are nearer than "
                f"samples in {_and(worse)}: train longer by `max_steps`, and give more graphs.",
            )
        )
    if silent:
        found.append(
            Check(True, f"In {_and(silent)} even Erdos-Renyi graphs are like those of the fit.")
        )
    if report["rows"] < FEW:
        found.append(
            Check(
                False,
                f"Only {report['rows']} graphs judge, so these figures vary by much; more graphs "
                "would tell more.",
            )
        )
    return found


def _of_pieces(report: dict[str, Any]) -> Check:
    ours, held = report["connected"][SAMPLES], report["connected"][HELD]
    how = f"{100 * ours:.0f} % of samples are connected, of graphs held out {100 * held:.0f} %"
    mean = (ours + held) / 2
    chance = _ERRORS * math.sqrt(2 * mean * (1 - mean) / report["rows"])  # as many of both
    if ours >= held - max(_APART, chance):
        return Check(True, f"{how}.")
    if held >= _ALL:
        remedy = "draw with `connected=True` (on the command line --connected)"
    else:
        remedy = "train longer by `max_steps`"
    return Check(False, f"{how}: {remedy}.")


def _of_copies(report: dict[str, Any]) -> list[Check]:
    unique, new = report["unique"], report["novel"]
    good = unique >= _UNIQUE
    found = [
        Check(
            good,
            f"{100 * unique:.0f} % of samples are unique"
            + ("." if good else ": the generator draws few graphs; fit more, or less long."),
        )
    ]
    good = new >= _NEW
    how = f"{100 * new:.0f} % of samples are no copies of graphs of the fit"
    remedy = ": it has learned them by heart, unless graphs so small are all alike; fit more graphs"
    return [*found, Check(good, f"{how}{'' if good else remedy}.")]


def _and(parts: list[str]) -> str:
    *rest, last = parts
    return f"{', '.join(rest)} and {last}" if rest else last
