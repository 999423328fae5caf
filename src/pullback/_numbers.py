"""What a plain number among the arguments is."""

import math
import numbers
from collections.abc import Callable
from typing import Any

import numpy as np
from jax.core import Tracer
from jaxtyping import Array


def check_number(
    name: str,
    value: Any,
    wants: str = "a finite number",
    fits: Callable[[float], bool] = lambda value: True,
) -> None:
    """Raise TypeError for what is no number, ValueError for one not finite or that does not fit.

    A traced one has no value yet, and is let through.
    """
    if np.ndim(value) or not isinstance(value, numbers.Real | np.ndarray | Array):
        raise TypeError(f"`{name}` must be one number, got {value!r}.")
    if isinstance(value, bool | np.bool_):
        raise TypeError(f"`{name}` must be a number, got {value!r}.")
    if isinstance(value, Tracer):
        return
    number = float(value)
    if not (math.isfinite(number) and fits(number)):
        raise ValueError(f"`{name}` must be {wants}, got {value}.")


def as_numbers(name: str, x: Any) -> np.ndarray:
    """An array of float64, once `x` has proved to be one of numbers."""
    try:
        found = np.asarray(x)
        if found.dtype.kind in "US":
            raise TypeError("strings")
        return found.astype(float)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"`{name}` must be an array of numbers, whose rows are equally long; got "
            f"{type(x).__name__}, which is none."
        ) from error
