"""What the draws of a heavy-tailed estimate say of it."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float


class DrawDiagnosis(NamedTuple):
    """A look at independent draws of one estimate whose variance may be infinite.

    Attributes:
        mean: of the draws.
        standard_error: of the mean; it means nothing where the variance is infinite.
        median_of_means: of equal groups, which one wild draw does not move.
        worst: the draw farthest from the median.
        worst_share: its share of the sum of squared distances from the mean. Near zero where the
            variance is finite; a tenth or more says that the standard error is not to be trusted.
    """

    mean: float
    standard_error: float
    median_of_means: float
    worst: float
    worst_share: float


def diagnose_draws(draws: Float[np.ndarray, " draw"], *, groups: int = 20) -> DrawDiagnosis:
    r"""Summarise the draws of a randomly truncated sum, whose variance may be infinite.

    $$ \mathrm{MoM} = \mathrm{median}_g \, \frac{1}{|g|} \sum_{i \in g} \hat S_i $$

    Args:
        draws: independent estimates.
        groups: of the median of means.

    Returns:
        A `DrawDiagnosis`.

    Raises:
        ValueError: there are fewer draws than twice `groups`, or one is not finite.

    Example:
        >>> import numpy as np
        >>> draws = np.zeros(1000)
        >>> draws[3] = 1e6
        >>> found = diagnose_draws(draws)
        >>> found.mean, found.median_of_means, found.worst, round(found.worst_share, 2)
        (1000.0, 0.0, 1000000.0, 1.0)

    Source: Lugosi and Mendelson, Mean Estimation and Regression under Heavy-Tailed Distributions,
    arXiv 1906.04280 (median of means).
    """
    draws = np.asarray(draws, np.float64)
    if groups < 1 or len(draws) < 2 * groups:
        raise ValueError(
            f"`draws` must be {2 * max(groups, 1)} or more for `groups` {groups}, got {len(draws)}."
        )
    if not np.all(np.isfinite(draws)):
        raise ValueError(f"`draws` has {np.sum(~np.isfinite(draws))} entries that are not finite.")
    means = [part.mean() for part in np.array_split(draws, groups)]
    square = np.square(draws - draws.mean())
    worst = draws[np.argmax(np.abs(draws - np.median(draws)))]
    return DrawDiagnosis(
        mean=float(draws.mean()),
        standard_error=float(draws.std(ddof=1) / np.sqrt(len(draws))),
        median_of_means=float(np.median(means)),
        worst=float(worst),
        worst_share=float(square.max() / square.sum()) if square.any() else 0.0,
    )
