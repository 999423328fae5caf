"""What the settings of several experiments must fulfil."""

from itertools import pairwise
from typing import Any


def check_least(config: Any, **least: float | int) -> None:
    """Raise a `ValueError` that names the first setting of `config` below its least value."""
    for name, bound in least.items():
        value = getattr(config, name)
        if not value >= bound:  # NaN is not
            raise ValueError(f"{name} must be at least {bound:g}, got {value}")


def check_between(config: Any, low: float | int, high: float | int, *names: str) -> None:
    """Raise a `ValueError` that names the first setting not strictly between two values."""
    for name in names:
        value = getattr(config, name)
        if not low < value < high:
            limits = f"above {low:g}" if high == float("inf") else f"between {low:g} and {high:g}"
            raise ValueError(f"{name} must be {limits}, got {value}")


def check_rising(
    config: Any,
    name: str,
    *,
    count: int = 1,
    least: float | int = -float("inf"),
    above: float | int = -float("inf"),
    below: float | int = float("inf"),
) -> None:
    """Raise a `ValueError` unless a setting of `count` or more numbers rises within its limits.

    >>> from types import SimpleNamespace
    >>> check_rising(SimpleNamespace(sizes=(1, 5, 5)), "sizes", least=1)
    Traceback (most recent call last):
    ...
    ValueError: sizes must be 1 or more numbers that rise, at least 1, got (1, 5, 5)
    """
    values = getattr(config, name)
    rises = len(values) >= count and all(a < b for a, b in pairwise(values))
    if not (rises and all(least <= value and above < value < below for value in values)):
        limits = (("at least", least), ("above", above), ("below", below))
        of = [f"{words} {limit:g}" for words, limit in limits if abs(limit) < float("inf")]
        wanted = ", ".join([f"{count} or more numbers that rise", *of])
        raise ValueError(f"{name} must be {wanted}, got {values}")
