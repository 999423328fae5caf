"""What is asked of tokens that a net is told."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer


def check_tokens(x: Any, known: int) -> None:
    """Raise TypeError for what are no whole numbers, ValueError for one that is not below `known`.

    What is traced has a dtype and no values yet.
    """
    if not jnp.issubdtype(x.dtype, jnp.integer):
        raise TypeError(f"`x` must be tokens by number, whole numbers; got {x.dtype}.")
    if isinstance(x, Tracer):
        return
    tokens = np.asarray(x)
    wrong = np.flatnonzero((tokens < 0) | (tokens >= known))
    if len(wrong):
        raise ValueError(
            f"`x` must be of tokens from 0 to {known - 1}; it has {tokens[wrong[0]]} at "
            f"{wrong[0]}, one of {len(wrong)} such."
        )
