"""How much of the samples lies where data do, and how much of the data the samples reach."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Float, Num
from scipy.spatial.distance import cdist

from pullback._inputs import positive

from ._rows import both_rows

_TOGETHER = 2**21  # distances that are in memory at once


class DensityAndCoverage(NamedTuple):
    """How samples lie beside data.

    Attributes:
        density: how many real rows' balls hold a sample, in the mean and over `neighbours`: 1 for
            samples of the data's own distribution, 0 far off, and above 1 where samples crowd in
            the midst of the data.
        coverage: the share of real rows whose ball holds a sample.
        expected_coverage: what that share is in the mean of as many samples of the data's own
            distribution, whatever it is: no coverage means anything but beside it.
    """

    density: float
    coverage: float
    expected_coverage: float


def density_and_coverage(
    real: Num[Array | np.ndarray, "n d"],
    fake: Num[Array | np.ndarray, "m d"],
    *,
    neighbours: int = 5,
) -> DensityAndCoverage:
    r"""Density and coverage of samples: whether they lie where data do, and whether everywhere.

    The balls are built on the real rows: $B_i$ reaches from row i to the k-th nearest of the other
    real rows.

    $$ \mathrm{density} = \frac{1}{k m} \sum_{j=1}^m \sum_{i=1}^n [y_j \in B_i], \qquad
       \mathrm{coverage} = \frac1n \sum_{i=1}^n [\exists j: y_j \in B_i] $$

    Where both are drawn of one distribution the means are 1 and
    $1 - \prod_{l=1}^k \frac{n - l}{n + m - l}$, which is near $1 - 2^{-k}$ where n = m. So that
    this holds of repeated rows and of columns on a grid too, a sample that lies exactly as far as
    the k-th neighbour counts by the share of the orders of equals in which it comes before it.

    Distances are Euclidean: columns must have like scales, so standardise them first, by the real
    rows. It takes n (n + m) d operations in flat memory, on the host: not within `jax.jit`.

    Args:
        real: data that the samples were not fitted to, `[n, d]`; a model that repeats what it was
            fitted to looks perfect beside those rows.
        fake: samples, `[m, d]`.
        neighbours: k, below n.

    Raises:
        ValueError: the rows are not finite numbers of the same columns, or there are not more real
            rows than neighbours.

    Example:
        >>> import numpy as np
        >>> x = np.random.default_rng(0).normal(size=(200, 2))
        >>> copies = np.repeat(x[:1], 200, axis=0)
        >>> found = density_and_coverage(x, copies)
        >>> found.density > 0.5, found.coverage < 0.05, round(found.expected_coverage, 2)
        (True, True, 0.97)

    Source: Naeem et al., Reliable Fidelity and Diversity Metrics for Generative Models,
        arXiv 2002.09797, section 3.2 and appendix A; the share of ties is our own.
    """
    positive(neighbours=neighbours)
    real, fake = both_rows(real, fake)
    n, m = len(real), len(fake)
    if neighbours >= n:
        raise ValueError(
            f"`neighbours` must be below the number of real rows, {n}, got {neighbours}: a ball "
            "reaches to another real row."
        )
    # By a power of 2, which rounds nothing, so that squares neither overflow nor underflow.
    power = -np.frexp(max(np.abs(real).max(), np.abs(fake).max()))[1]
    real, fake = np.ldexp(real, power), np.ldexp(fake, power)
    counts, covered = [], []
    size = max(1, _TOGETHER // max(n, m))
    for start in range(0, n, size):
        places = np.arange(start, min(start + size, n))
        inside, missed = _of_balls(real, fake, places, neighbours)
        counts.append(inside)
        covered.append(1 - missed)
    left = np.arange(1, neighbours + 1)
    return DensityAndCoverage(
        density=float(np.concatenate(counts).sum() / (neighbours * m)),
        coverage=float(np.concatenate(covered).mean()),
        expected_coverage=float(1 - np.prod((n - left) / (n + m - left))),
    )


def _of_balls(
    real: Float[np.ndarray, "n d"],
    fake: Float[np.ndarray, "m d"],
    places: np.ndarray,
    neighbours: int,
) -> tuple[Float[np.ndarray, " b"], Float[np.ndarray, " b"]]:
    """Of each ball how many samples it holds, and the chance that it holds none."""
    apart = cdist(real[places], real)
    apart[np.arange(len(places)), places] = np.inf  # no row is its own neighbour
    radius = np.partition(apart, neighbours - 1, axis=1)[:, neighbours - 1, None]
    # The ball ends at the one of `tied` equals that is the k-th neighbour: `left` of them are in.
    tied = (apart == radius).sum(axis=1)
    left = neighbours - (apart < radius).sum(axis=1)
    reach = cdist(real[places], fake)
    within, on_edge = (reach < radius).sum(axis=1), (reach == radius).sum(axis=1)
    missed = np.where(within > 0, 0.0, 1.0)
    for before in range(neighbours):
        # None is in, if all that come before the k-th neighbour in an order of equals are real.
        drawn = (tied - before) / np.maximum(tied + on_edge - before, 1)
        missed *= np.where(before < left, drawn, 1.0)
    return within + on_edge * left / (tied + 1), missed
