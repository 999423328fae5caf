"""What the tests by Stein's identity have in common: their result, and what they are given."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Float

from pullback._floating import at_least_float32
from pullback._location_scale import location_and_scale
from pullback._promotion import standard_promotion
from pullback.analysis._stein_support import refuse_ends

Points = Float[Array | np.ndarray, "n dim"]
Function = Callable[[Any], Any]


class GoodnessOfFit(eqx.Module):
    """How a test of a model against data came out.

    Attributes:
        statistic: what the test looks at; large where the model does not fit.
        p_value: how often a model that is right gives one as large.
        reject: whether `p_value` is at most the level.
        discrepancy: an estimate of the discrepancy that the test is made of; zero for a model that
            is right, and below zero by chance alone.
        standard_error: of `discrepancy`, for a model that is not right.
        critic: for the learned discrepancy the field that shows where and in which direction the
            data differ from the model, from `[dim]` to `[dim]`; else None.
    """

    statistic: Float[Array, "..."]
    p_value: Float[Array, "..."]
    reject: Bool[Array, "..."]
    discrepancy: Float[Array, "..."]
    standard_error: Float[Array, "..."]
    critic: Any = None

    def __str__(self) -> str:
        if self.p_value.ndim:
            return f"{float(jnp.mean(self.reject)):.0%} of {self.reject.size} tests reject"
        verdict = "does not fit the data" if self.reject else "is not rejected"
        return (
            f"the model {verdict}: p = {float(self.p_value):.3g}, discrepancy "
            f"{float(self.discrepancy):.3g} +- {float(self.standard_error):.2g}"
        )


class LogDensityScore(eqx.Module):
    """The score of a log-density; a module, so that equal ones share a compiled program."""

    log_prob: Any

    def __call__(self, x: Float[Array, " dim"]) -> Float[Array, " dim"]:
        with standard_promotion():
            return jax.grad(self.log_prob)(x)


def checked_points(x: Any, *, fewest: int = 2) -> Float[Array, "n dim"]:
    """The data as float32 or better; NaN, too few of them, and one point only are refused."""
    x = jnp.asarray(x)
    if not jnp.issubdtype(x.dtype, jnp.floating):
        x = x.astype(float)
    x = x.astype(at_least_float32(x.dtype))
    if x.ndim != 2 or not x.shape[1]:
        raise ValueError(
            f"`x` must have shape [n, dim], got {list(x.shape)}; of one column it is x[:, None]."
        )
    if len(x) < fewest:
        raise ValueError(f"`x` must have {fewest} rows or more, got {len(x)}.")
    if not isinstance(x, Tracer):
        bad = np.flatnonzero(~np.isfinite(np.asarray(x)).all(axis=1))
        if len(bad):
            raise ValueError(
                f"`x` must be finite; {len(bad)} of its {len(x)} rows are not, the first of them "
                f"row {bad[0]}. Leave them out, or fill the holes in."
            )
        if (np.asarray(x) == np.asarray(x[:1])).all():
            raise ValueError(f"`x` must hold different points; its {len(x)} rows are all the same.")
    return x


def checked_score(
    score: Function | None, log_prob: Function | None, x: Float[Array, "n dim"]
) -> Function:
    """The model's score, made of its log-density where that is given."""
    if (score is None) == (log_prob is None):
        raise ValueError("give `score` or `log_prob`, and not both.")
    like = jax.ShapeDtypeStruct(x.shape[1:], x.dtype)
    if score is None:
        found = _shape_of("log_prob", log_prob, like)
        if found.shape != () or not jnp.issubdtype(found.dtype, jnp.floating):
            raise ValueError(
                "`log_prob` must map one point to a floating scalar; it gave shape "
                f"{found.shape} and dtype {found.dtype}. Of a NumPyro distribution of independent "
                "entries take `.to_event(1)`."
            )
        field = LogDensityScore(log_prob)
        try:
            jax.eval_shape(field, like)
        except (TypeError, ValueError, NotImplementedError) as error:
            raise ValueError(
                f"`log_prob` cannot be differentiated ({error}); give `score` instead."
            ) from error
        refuse_ends("log_prob", field.log_prob, x)
        return field
    found = _shape_of("score", score, like)
    if found.shape != like.shape or not jnp.issubdtype(found.dtype, jnp.floating):
        raise ValueError(
            f"`score` must map one point of shape {like.shape} to a floating vector of that shape; "
            f"it gave shape {found.shape} and dtype {found.dtype}. A log-density goes in as "
            "`log_prob`."
        )
    refuse_ends("score", score, x)
    return score


def _shape_of(name: str, function: Any, like: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
    with standard_promotion():
        found = eqx.filter_eval_shape(function, like)
    if not isinstance(found, jax.ShapeDtypeStruct):
        raise ValueError(f"`{name}` must give one array, got {type(found).__name__}.")
    return found


def scores_at(score: Function, x: Float[Array, "n dim"], batch_size: int) -> Float[Array, "n dim"]:
    """The score of every point, a batch at a time."""
    with standard_promotion():
        found = jax.lax.map(score, x, batch_size=min(batch_size, len(x)))
    return found.astype(x.dtype)


class Units(eqx.Module):
    """The columns' means and deviations: a test in their units does not ask for the user's."""

    centre: Float[Array, " dim"]
    scale: Float[Array, " dim"]

    def apply(
        self, x: Float[Array, "n dim"], scores: Float[Array, "n dim"]
    ) -> tuple[Float[Array, "n dim"], Float[Array, "n dim"]]:
        """Points in these units, and the scores of the model of those."""
        return (x - self.centre[None]) / self.scale[None], scores * self.scale[None]


def units_of(x: Float[Array, "n dim"], standardise: bool) -> Units:
    """Of the points given; without `standardise` they are left alone."""
    if not standardise:
        return Units(jnp.zeros_like(x[0]), jnp.ones_like(x[0]))
    found = location_and_scale(x)
    return Units(found.mean, found.scale)


def checked_result(
    result: GoodnessOfFit,
    score: Function,
    x: Float[Array, "n dim"],
    batch_size: int,
    *,
    advice: str,
) -> GoodnessOfFit:
    """The result, if it is a number; else an error: where the score is none, or what to do."""
    if isinstance(result.statistic, Tracer) or bool(jnp.isfinite(result.statistic)):
        return result
    bad = np.flatnonzero(~np.isfinite(np.asarray(scores_at(score, x, batch_size))).all(axis=1))
    if len(bad):
        raise ValueError(
            f"the model's score is not finite at {len(bad)} of the {len(x)} rows of `x`, the first "
            f"of them row {bad[0]}: outside of its support there is nothing to test."
        )
    raise ValueError(f"the statistic is not finite though the scores are; {advice}.")


def check_level(alpha: float | int) -> None:
    if not 0 < alpha < 1:
        raise ValueError(f"`alpha` must be between 0 and 1, got {alpha}.")


def check_counts(**counts: int) -> None:
    for name, value in counts.items():
        if value < 1:
            raise ValueError(f"`{name}` must be at least 1, got {value}.")
