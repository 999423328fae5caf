"""A batch of irregular series as arrays on the device."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Float

from pullback._times import cast_times
from pullback.data import IrregularSeries
from pullback.models.likelihoods import AbstractLikelihood, check_support


class Observations(NamedTuple):
    """What was observed of a batch of series; for one series, without the leading axis.

    The first and the last entry of a series' `times` are the ends of its window, whether anything
    was observed there or not. A row that is shorter than the others is padded by repeating its last
    time under a false mask.

    Attributes:
        times: increasing along each row, `[batch, time]`.
        values: `[batch, time, variable]`; entries under a false mask are not looked at.
        mask: True where a value was observed, `[batch, time, variable]`.
    """

    times: Float[Array, "*batch time"]
    values: Float[Array, "*batch time variable"]
    mask: Bool[Array, "*batch time variable"]


def observations(
    series: IrregularSeries,
    *,
    window: tuple[float, float] | None = None,
    dtype: Any = float,
) -> Observations:
    """The arrays of a batch of series, checked.

    A series with nothing observed stays: its posterior is what the encoder says of no data.

    Args:
        series: from one of the loaders of `pb.data`.
        window: the first and the last time of the window of every series, put in as times at which
            nothing was observed. None: a series' window goes from its first to its last time.
        dtype: of times and values; JAX's default float.

    Returns:
        The arrays on the device.

    Raises:
        ValueError: shapes that do not fit together, times that are not finite or that decrease, an
            observed value that is not finite, also in `dtype`, or a time outside the window; or
            times that lose in `dtype` what lies between them, such as seconds since 1970 in
            float32: `pb.data.rescale_series` counts them from the first. The message has the place.

    Example:
        >>> import numpy as np, pullback as pb
        >>> series = pb.data.irregular_series([(np.arange(3.0), np.ones(3)), ([0.5], [2.0])])
        >>> observed = observations(series)
        >>> observed.times.tolist()
        [[0.0, 1.0, 2.0], [0.5, 0.5, 0.5]]
        >>> observations(series, window=(0.0, 3.0)).times[1].tolist()
        [0.0, 0.5, 0.5, 0.5, 3.0]
    """
    times, values, mask = series.times, series.values, series.mask
    if values.ndim != 3 or mask.shape != values.shape or times.shape != values.shape[:2]:
        raise ValueError(
            "`times`, `values` and `mask` must have shapes [series, time], [series, time, variable]"
            f" and [series, time, variable], got {times.shape}, {values.shape} and {mask.shape}."
        )
    _refuse_faults(times, values, mask)
    if window is not None:
        outside = np.argwhere((times < window[0]) | (times > window[1]))
        if len(outside) or not window[0] < window[1]:
            where = f"; series {outside[0, 0]} does not" if len(outside) else ""
            raise ValueError(f"every time must lie in `window`, got {window}{where}.")
        times = np.pad(times, ((0, 0), (1, 1)))
        times[:, 0], times[:, -1] = window
        values, mask = (np.pad(a, ((0, 0), (1, 1), (0, 0))) for a in (values, mask))
    dtype = jax.dtypes.canonicalize_dtype(dtype)
    times = cast_times("`series.times`", times, dtype)
    values = np.where(mask, values, 0)
    with np.errstate(over="ignore"):
        cast = values.astype(dtype)
    if not np.isfinite(cast).all():
        row, place, variable = np.argwhere(~np.isfinite(cast))[0]
        raise ValueError(
            f"series {row}, place {place}: the value {values[row, place, variable]:g} is more than "
            f"{dtype.name} holds; use another unit, or `pb.data.rescale_series`."
        )
    return Observations(jnp.asarray(times), jnp.asarray(cast), jnp.asarray(mask))


def check_values(
    likelihood: AbstractLikelihood, observed: Observations, *, name: str = "observed"
) -> None:
    """Raise ValueError if an observed value cannot be of the likelihood, with the series' number.

    What is traced has no values yet, and is let through: whoever compiles a score looks before.
    """
    if not any(isinstance(a, Tracer) for a in observed):
        check_support(likelihood, observed.values, observed.mask, name=f"{name}.values")


def check_observations(model: Any, observed: Observations, *, name: str = "observed") -> None:
    """As `check_values`, and at times that are not finite or that fall."""
    _refuse_faults(*map(np.asarray, observed))
    # A process of events scores when something was observed, and not what.
    likelihood = getattr(model, "likelihood", None)
    if likelihood is not None:
        check_values(likelihood, observed, name=name)


def check_training_series(model: Any, series: Any) -> None:
    """As `check_observations`, of what is seen and of what is scored."""
    check_observations(model, series.observed)
    if series.target is not None:
        check_observations(model, series.target, name="target")


def _refuse_faults(times: np.ndarray, values: np.ndarray, mask: np.ndarray) -> None:
    for what, wrong in (
        ("a time that is not finite", ~np.isfinite(times)),
        ("a time before the one ahead of it", np.diff(times, axis=1, prepend=times[:, :1]) < 0),
        ("an observed value that is not finite", (mask & ~np.isfinite(values)).any(axis=2)),
    ):
        places = np.argwhere(wrong)
        if len(places):
            raise ValueError(
                f"series {places[0, 0]}, place {places[0, 1]}: {what}; {len(places)} such places."
            )
