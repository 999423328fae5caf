"""What is asked of the weights of prior, noise and damping."""

import math


def check_numbers(
    *, prior_variance: float | int, kl_weight: float | int, damping: float | int
) -> None:
    """Raise ValueError for a number out of range, by its name."""
    for name, value in {"prior_variance": prior_variance, "kl_weight": kl_weight}.items():
        if not 0 < value < math.inf:
            raise ValueError(f"`{name}` must be above 0 and finite, got {value}.")
    if not 0 <= damping < math.inf:
        raise ValueError(f"`damping` must be 0 or more and finite, got {damping}.")
