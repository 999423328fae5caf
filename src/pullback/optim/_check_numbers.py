"""What is asked of the weights of prior, noise and damping."""

import math

import numpy as np


def check_numbers(
    *, prior_variance: float | int, kl_weight: float | int, damping: float | int
) -> None:
    """Raise TypeError for several numbers and ValueError for one out of range, by its name."""
    above = {"prior_variance": prior_variance, "kl_weight": kl_weight}
    for name, value in {**above, "damping": damping}.items():
        if shape := np.shape(value):
            raise TypeError(
                f"`{name}` must be one number, which is for all weights; got an array of the shape "
                f"{shape}."
            )
    for name, value in above.items():
        if not 0 < value < math.inf:
            raise ValueError(f"`{name}` must be above 0 and finite, got {value}.")
    if not 0 <= damping < math.inf:
        raise ValueError(f"`damping` must be 0 or more and finite, got {damping}.")
