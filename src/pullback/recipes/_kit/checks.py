"""What the settings of several experiments must fulfil."""

import dataclasses
import math
import operator
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any


def check_least(config: Any, **least: float | int) -> None:
    """Raise a `ValueError` that names the first setting of `config` below its least value."""
    for name, bound in least.items():
        value = getattr(config, name)
        if not value >= bound:  # NaN is not
            raise ValueError(f"{name} must be at least {bound:g}, got {value}")


def check_above_zero(config: Any, *, but: Sequence[str] = ()) -> None:
    """Raise a `ValueError` that names the first setting that is not above 0, or empty.

    Every setting is looked at, so that one that comes later is checked too.

    Args:
        config: A dataclass of settings; text and switches are left alone.
        but: The settings to which 0 says something.
    """
    for name in [field.name for field in dataclasses.fields(config) if field.name not in but]:
        value = getattr(config, name)
        if isinstance(value, (str, bool)):
            continue
        numbers = value if isinstance(value, tuple) else (value,)
        if not numbers:
            raise ValueError(f"{name} is empty; name at least one")
        for number in numbers:
            if isinstance(number, (int, float)) and not 0 < number < math.inf:
                wanted = "at least 1" if isinstance(number, int) else "above 0"
                raise ValueError(f"{name} must be {wanted}, got {value}")


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
    limits = {"at least": least, "above": above, "below": below}
    _check_steps(config, name, "rise", getattr(config, name), count, limits)


def check_falling(
    config: Any,
    name: str,
    *,
    count: int = 1,
    above: float | int = -float("inf"),
    below: float | int = float("inf"),
) -> None:
    """Raise a `ValueError` unless a setting of `count` or more numbers falls within its limits."""
    limits = {"above": above, "below": below}
    _check_steps(config, name, "fall", getattr(config, name)[::-1], count, limits)


def _check_steps(
    config: Any,
    name: str,
    verb: str,
    rising: Sequence[float | int],
    count: int,
    limits: Mapping[str, float | int],
) -> None:
    within = {"at least": operator.ge, "above": operator.gt, "below": operator.lt}
    good = len(rising) >= count and all(a < b for a, b in pairwise(rising))
    good &= all(within[words](value, bound) for words, bound in limits.items() for value in rising)
    if not good:
        of = [f"{words} {bound:g}" for words, bound in limits.items() if abs(bound) < float("inf")]
        wanted = ", ".join([f"{count} or more numbers that {verb}", *of])
        raise ValueError(f"{name} must be {wanted}, got {getattr(config, name)}")
