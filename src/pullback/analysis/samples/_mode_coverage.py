"""How many of the modes that are known samples are at."""

import numbers
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, Int, Num

from pullback._floating import at_least_float32


class ModeCoverage(NamedTuple):
    """What samples there are of each mode.

    Attributes:
        covered: how many modes have at least the least share of all samples.
        counts: of samples at each mode.
        kl: of the shares of the modes among the samples that are at one from even shares, in nats:
            0 where all modes have as many, and log m where one has all, or none has any.
        share: of the samples, how many are at a mode.
    """

    covered: Int[Array, ""]
    counts: Int[Array, " m"]
    kl: Float[Array, ""]
    share: Float[Array, ""]


def mode_coverage(
    samples: Num[Array | np.ndarray, "n d"],
    centres: Num[Array | np.ndarray, "m d"],
    *,
    radius: float | int,
    least_share: float | int = 0.01,
) -> ModeCoverage:
    r"""Count the modes that samples cover, where the modes are known, as in toys.

    $$ c_j = \sum_i \Big[ j = \arg\min_k \|x_i - \mu_k\|,\; \|x_i - \mu_j\| < r \Big], \qquad
       \mathrm{KL} = \sum_j p_j \log (m p_j), \quad p_j = c_j / \sum_k c_k $$

    Take several seeds, and more than one time of a training: generators that go from mode to mode
    look fine now and then.

    Args:
        samples: `[n, d]`, some hundreds for each mode.
        centres: of the modes, `[m, d]`.
        radius: how far from its centre a sample may be.
        least_share: of all samples, what a covered mode has, above 0.

    Returns:
        A `ModeCoverage`; within `jax.jit` too, where distances have the rows' own precision and
        otherwise double precision.

    Raises:
        ValueError: shapes do not fit, there is nothing to count, a sample is not finite, or a
            setting is none.
        TypeError: they, or a setting, are no real numbers.

    Example:
        >>> import jax.numpy as jnp
        >>> centres = jnp.asarray([[-1.0], [1.0]])
        >>> found = mode_coverage(jnp.asarray([[0.9], [1.1], [0.0]]), centres, radius=0.5)
        >>> int(found.covered), found.counts.tolist(), f"{found.kl:.3f} {found.share:.2f}"
        (1, [0, 2], '0.693 0.67')

    Source: Metz et al., Unrolled Generative Adversarial Networks, arXiv 1611.02163, appendix.
    """
    samples, centres = _rows("samples", samples), _rows("centres", centres)
    fits = samples.ndim == 2 and centres.ndim == 2 and samples.shape[1] == centres.shape[1]
    if not fits or not samples.size or not centres.size:
        raise ValueError(
            "`samples` and `centres` must be rows of the same columns, [n, d] and [m, d], at least "
            f"one of each; got {samples.shape} and {centres.shape}."
        )
    for name, setting in {"radius": radius, "least_share": least_share}.items():
        if isinstance(setting, bool) or not isinstance(setting, numbers.Real | Array):
            raise TypeError(f"`{name}` must be a number above 0, got {setting!r}.")
    if not 0 < radius < np.inf or not 0 < least_share <= 1:
        raise ValueError(
            "`radius` must be above 0 and `least_share` above 0 and at most 1; got "
            f"{radius!r} and {least_share!r}."
        )
    _check_finite("samples", samples)
    _check_finite("centres", centres)
    dtype = at_least_float32(jnp.result_type(samples, centres, float))
    counts = jnp.sum(jnp.asarray(_at_centres(samples, centres, radius, dtype)), axis=0)
    near = jnp.sum(counts)
    shares = counts.astype(dtype) / jnp.maximum(near, 1).astype(dtype)
    # A share of 7 of 100 is 0.07, though 0.07 of 100 is rounded to more than 7.
    least = int(np.searchsorted(np.arange(len(samples) + 1) / len(samples), least_share))
    # Of no sample there is no logarithm, and nothing to add.
    logs = jnp.log(len(centres) * jnp.where(counts > 0, shares, 1))
    return ModeCoverage(
        jnp.sum(counts >= least),
        counts,
        jnp.where(near > 0, jnp.sum(shares * logs), float(np.log(len(centres)))),
        near.astype(dtype) / len(samples),
    )


def _rows(name: str, given: Any) -> Any:
    rows = given if isinstance(given, Tracer) else np.asarray(given)
    if not any(jnp.issubdtype(rows.dtype, kind) for kind in (jnp.floating, jnp.integer, bool)):
        raise TypeError(f"`{name}` must be real numbers, got {rows.dtype}.")
    return rows


def _at_centres(samples: Any, centres: Any, radius: float | int, dtype: Any) -> Bool[Any, "n m"]:
    """Whether the centre is the nearest to the sample, and near enough."""
    traced = isinstance(samples, Tracer) or isinstance(centres, Tracer)
    # Whole numbers would wrap around, and single precision rounds what is far off zero.
    xp, dtype = (jnp, dtype) if traced else (np, np.float64)
    if radius < jnp.finfo(dtype).tiny:
        raise ValueError(
            f"`radius` must be {jnp.finfo(dtype).tiny} or more in {jnp.dtype(dtype)}, got "
            f"{radius!r}: measure in other units."
        )
    samples, centres = xp.asarray(samples, dtype), xp.asarray(centres, dtype)
    with np.errstate(over="ignore"):
        # In units of the radius, so that squares of what is near are of ordinary size.
        apart = (samples[:, None] - centres[None]) / radius
        far = xp.sum(xp.square(apart), axis=-1)
    nearest = xp.argmin(far, axis=1)[:, None] == xp.arange(len(centres))[None]
    return nearest & (far < 1)


def _check_finite(name: str, rows: Any) -> None:
    if isinstance(rows, Tracer):
        return
    bad = np.flatnonzero(~np.isfinite(np.asarray(rows, np.float64)).all(axis=1))
    if len(bad):
        raise ValueError(
            f"`{name}` must be finite, and row {bad[0]} of it is not: its generator or its data "
            "are to be mended first."
        )
