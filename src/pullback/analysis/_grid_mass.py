"""The sum of a density in few dimensions, by brute force."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float


class GridMass(NamedTuple):
    r"""The normaliser of a density on a grid.

    Attributes:
        log_normaliser: $\log Z$ over the box.
        at_edge: the share of the mass in the outermost cells; of more than 1e-3 or so the box is
            too small, and if it does not fall with a larger one, the density has no finite sum.
        log_density: normalised, at the middles of the cells, `[points, ...]` with an axis for each
            dimension.
        axes: the middles of the cells along each dimension.
    """

    log_normaliser: Float[Array, ""]
    at_edge: Float[Array, ""]
    log_density: Float[Array, "..."]
    axes: tuple[Float[Array, " points"], ...]


def grid_mass(
    log_density: Callable[..., Any],
    low: Sequence[float | int],
    high: Sequence[float | int],
    *,
    points: int = 200,
) -> GridMass:
    r"""Normalise an unnormalised density of one to three dimensions.

    $$ \log Z \approx \log \sum_i e^{\log \tilde p(x_i)}\, \Delta $$

    The one way to find out what an energy-based model is worth as a density, or that it has blown
    up where no sample went; in more dimensions there is none.

    Args:
        log_density: from one point `[dim]` to a scalar.
        low: the corner of the box with the smallest coordinates, `[dim]`.
        high: the opposite corner.
        points: cells along each dimension.

    Raises:
        ValueError: the corners do not span a box of one to three dimensions, `points` is below 3,
            or the log-density is NaN or +inf somewhere on the grid, or -inf everywhere (NaN where
            the call is being compiled).

    Example:
        >>> import jax.numpy as jnp
        >>> found = grid_mass(lambda x: -jnp.sum(x**2) / 2, [-6, -6], [6, 6], points=60)
        >>> print(f"{found.log_normaliser:.4f}")  # log(2 pi)
        1.8379
    """
    spans = len(low) == len(high) and all(a < b for a, b in zip(low, high, strict=True))
    if not spans or not 1 <= len(low) <= 3:
        raise ValueError(
            "`low` and `high` must be opposite corners of a box of one to three dimensions, the "
            f"first below the second; got {list(low)} and {list(high)}."
        )
    if points < 3:
        raise ValueError(f"`points` must be at least 3, got {points}.")
    axes, volume = [], 1.0
    for a, b in zip(low, high, strict=True):
        width = (b - a) / points
        volume *= width
        axes.append(a + width * (jnp.arange(points, dtype=jnp.result_type(float)) + 0.5))
    grid = jnp.stack(jnp.meshgrid(*axes, indexing="ij"), axis=-1)
    found = jax.lax.map(jax.vmap(log_density), grid.reshape(points, -1, len(low)))
    values = found.reshape(grid.shape[:-1])
    top = jnp.max(values)
    if not isinstance(top, Tracer) and not bool(jnp.isfinite(top)):
        at = np.asarray(grid.reshape(-1, len(low))[int(jnp.argmax(~(values.ravel() < jnp.inf)))])
        where = f"{float(top)} at {at}" if not float(top) == -np.inf else "-inf everywhere"
        raise ValueError(f"`log_density` must be a number or -inf on the grid; it is {where}.")
    log_z = jax.nn.logsumexp(values) + jnp.log(jnp.asarray(volume, values.dtype))
    inner = values[(slice(1, -1),) * len(low)]
    share = -jnp.expm1(jax.nn.logsumexp(inner) - jax.nn.logsumexp(values))
    return GridMass(log_z, share, values - log_z, tuple(axes))
