"""What the settings of several experiments must fulfil."""

from itertools import pairwise
from typing import Any


def check_least(config: Any, **least: float) -> None:
    """Raise a `ValueError` that names the first setting of `config` below its least value."""
    for name, bound in least.items():
        value = getattr(config, name)
        if not value >= bound:  # NaN is not
            raise ValueError(f"{name} must be at least {bound:g}, got {value}")


def check_rising(
    config: Any, name: str, *, least: float, count: int = 1, below: float = float("inf")
) -> None:
    """Raise a `ValueError` unless a setting of `count` or more numbers rises from `least` on.

    >>> from types import SimpleNamespace
    >>> check_rising(SimpleNamespace(sizes=(1, 5, 5)), "sizes", least=1)
    Traceback (most recent call last):
    ...
    ValueError: sizes must be numbers that rise, at least 1, got (1, 5, 5)
    """
    values = getattr(config, name)
    rises = all(a < b for a, b in pairwise(values))
    if len(values) < count or not rises or not values[0] >= least or not values[-1] < below:
        some = f"{count} or more numbers" if count > 1 else "numbers"
        limit = f" and below {below:g}" if below < float("inf") else ""
        raise ValueError(
            f"{name} must be {some} that rise, at least {least:g}{limit}, got {values}"
        )
