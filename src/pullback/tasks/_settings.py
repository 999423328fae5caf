"""Settings that models of rows share."""

import numbers
from typing import Any


def check_contamination(share: Any) -> None:
    """Raise for what is no share of rows that may be anomalies."""
    if not isinstance(share, numbers.Real) or not 0 < float(share) <= 0.5:
        raise ValueError(f"`contamination` must be in (0, 0.5], got {share!r}.")


def check_max_steps(steps: Any, *, least: int = 0) -> None:
    """Raise for what is neither None nor a number of training steps."""
    if steps is None:
        return
    if isinstance(steps, bool) or not isinstance(steps, numbers.Integral):
        raise TypeError(f"`max_steps` must be a whole number or None, got {steps!r}.")
    if steps < least:
        raise ValueError(f"`max_steps` must be {least} or more, got {steps}.")
