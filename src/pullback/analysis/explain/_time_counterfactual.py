"""What a prediction would be, had a measurement been another: hidden one by one."""

from collections.abc import Callable
from numbers import Real
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, PRNGKeyArray, PyTree

from pullback._floating import require_floating
from pullback._inputs import positive
from pullback._key import checked_key
from pullback.analysis.explain._time_answers import (
    Changes,
    answers,
    blank,
    checked_series,
    checked_subsets,
)
from pullback.analysis.explain._time_fit import TimeImportance
from pullback.analysis.explain._time_outputs import change, divergence, moments
from pullback.analysis.explain._time_predictors import (
    Kind,
    PrefixPredictor,
    SeriesGenerator,
    StepPredictor,
    check_generator,
    check_predictor,
    drawn_by,
)


def ffc_importance(
    predictor: StepPredictor | PrefixPredictor,
    generator: SeriesGenerator,
    series: Float[Array | np.ndarray, "time features"],
    *,
    subsets: Bool[Array | np.ndarray, "subsets features"] | None = None,
    samples: int = 10,
    key: PRNGKeyArray,
) -> TimeImportance:
    r"""Feed-forward counterfactuals (FFC): how far off a prediction is without a measurement.

    $$ I(S, t) = E\big[KL\big(p_t \,\|\, f(X_{0:t-1}, \hat x_{S}, x_{-S,t})\big)\big], \qquad
       \hat x \sim p(x_t | X_{0:t-1}) $$

    What `fit_importance` hides all but S of, this hides S alone of. What other measurements at the
    same time tell as well is not missed, and drawn values may not go with them.

    Args:
        predictor: of `step_predictor` or `prefix_predictor`.
        generator: what draws a time step given those before it.
        series: one series, NaN where nothing was observed.
        subsets: which features are hidden together, a row each. None: each by itself.
        samples: draws, the same for all subsets.
        key: for the draws.

    Returns:
        A `TimeImportance` of scores, at least 0, and their errors.

    Raises:
        TypeError: `predictor` or `generator` is no such.
        ValueError: as `fit_importance`.

    Example:
        >>> import equinox as eqx, jax, jax.numpy as jnp
        >>> from pullback.analysis.explain import step_predictor
        >>> class Still(eqx.Module):  # all is as it was
        ...     def start(self):
        ...         return jnp.zeros(2)
        ...     def step(self, state, x):
        ...         return x
        ...     def sample(self, state, x, keep, *, key):
        ...         return jnp.where(keep & ~jnp.isnan(x), x, state)
        >>> predictor = step_predictor(
        ...     lambda: (), lambda state, x: (state, jnp.stack([x[1], -x[1]])))
        >>> series = jnp.array([[2.0, 0.0], [0.0, 2.0], [1.0, 2.0]])
        >>> found = ffc_importance(predictor, Still(), series, key=jax.random.key(0))
        >>> print(found.score[:, 1].round(1))
        [0.  0.6 0. ]

    Source: Tonekaboni et al., arXiv 2003.02821, version 1, and the authors' code.
    """
    key = checked_key(key)
    check_generator(generator)

    def draw(state: PyTree, key: PRNGKeyArray, x: Array) -> Array:
        nothing = jnp.zeros(x.shape, bool)
        return drawn_by(generator, state, jnp.full_like(x, jnp.nan), nothing, key=key)

    def far(p: Array, q: Array, kind: Kind) -> Array:
        each = lambda q: divergence(p, q, kind)
        return jax.vmap(jax.vmap(each))(moments(p, q, kind))

    draws = _Draws(generator.start, generator.step, draw, samples)
    return _replaced(predictor, draws, far, series, subsets, key=key)


def occlusion_importance(
    predictor: StepPredictor | PrefixPredictor,
    series: Float[Array | np.ndarray, "time features"],
    *,
    background: Float[Array | np.ndarray, "... features"] | None = None,
    bounds: tuple[float, float] = (-3.0, 3.0),
    subsets: Bool[Array | np.ndarray, "subsets features"] | None = None,
    samples: int = 10,
    key: PRNGKeyArray,
) -> TimeImportance:
    r"""Feature occlusion (FO) and its augmented form (AFO): no generator, no past.

    $$ I(S, t) = E\Big[\frac{1}{K} \sum_k \big| f_k(X_{0:t-1}, \hat x_S, x_{-S,t}) - p_{t,k} \big|
       \Big] $$

    It tells what the prediction rests on at each time, be it new or not. Of Gaussian outputs it is
    the mean's change in standard deviations.

    Args:
        predictor: of `step_predictor` or `prefix_predictor`.
        series: one series, NaN where nothing was observed.
        background: measurements to draw from, such as all series that the predictor was fitted to,
            `[series, time, features]`: each feature from its own, of any time; NaN is not drawn.
            None: uniform draws.
        bounds: between which these are, for features that were standardised.
        subsets: which features are replaced together, a row each. None: each by itself.
        samples: draws, the same for all subsets.
        key: for the draws.

    Returns:
        A `TimeImportance` of scores, at least 0, and their errors.

    Raises:
        TypeError: `predictor` is no such.
        ValueError: as `fit_importance`; `background` has other features, or never saw one that was
            observed in `series`; `bounds` do not rise.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from pullback.analysis.explain import step_predictor
        >>> predictor = step_predictor(  # of two features, the second is read
        ...     lambda: (), lambda state, x: (state, jnp.stack([x[1], -x[1]])))
        >>> series = jnp.array([[2.0, 0.1], [0.1, 2.0]])
        >>> found = occlusion_importance(predictor, series, key=jax.random.key(0))
        >>> (found.score > 0).tolist()
        [[False, True], [False, True]]

    Source: the baselines of Tonekaboni et al., arXiv 2003.02821.
    """
    key = checked_key(key)
    given, series = series, checked_series(series)
    pair = isinstance(bounds, tuple | list) and len(bounds) == 2
    if not pair or not all(isinstance(bound, Real) for bound in bounds):
        raise ValueError(f"`bounds` must be two finite numbers that rise, got {bounds!r}.")
    low, high = bounds
    if not -np.inf < low < high < np.inf:
        raise ValueError(f"`bounds` must be two finite numbers that rise, got {bounds}.")
    values = None if background is None else _values(background, series)

    def draw(state: PyTree, key: PRNGKeyArray, x: Array) -> Array:
        if values is None:
            return jr.uniform(key, x.shape, x.dtype, low, high)
        count = jnp.sum(~jnp.isnan(values), axis=0)
        place = jr.randint(key, x.shape, 0, jnp.maximum(count, 1))
        return values[place, jnp.arange(len(x))]

    draws = _Draws(tuple, lambda state, x: (), draw, samples)
    return _replaced(predictor, draws, change, given, subsets, key=key)


class _Draws(NamedTuple):
    """So many draws of a time step, by what sums up those before it."""

    start: Callable[[], PyTree]
    step: Callable[[PyTree, Array], PyTree]
    draw: Callable[[PyTree, PRNGKeyArray, Array], Array]
    samples: int


def _replaced(
    predictor: Any,
    draws: _Draws,
    far: Callable[[Array, Array, Kind], Array],
    series: Any,
    subsets: Any,
    *,
    key: PRNGKeyArray,
) -> TimeImportance:
    """How far predictions are from those with what was measured of a subset drawn."""
    start, step, draw, samples = draws
    check_predictor(predictor)
    positive(samples=samples)
    given, series = series, checked_series(series)
    subsets = checked_subsets(subsets, series.shape[1])

    def rows(state: PyTree, ahead: Array, keys: Array) -> Array:
        x = ahead[0]
        drawn = jax.vmap(lambda key: draw(state, key, x))(jr.split(keys[0], samples))
        hides = subsets & ~jnp.isnan(x)[None]
        found = jnp.where(hides[:, None], drawn[None], x[None, None])
        return found.reshape(-1, *ahead.shape)

    found = answers(predictor, Changes(start, step, rows), series, given=given, key=key)
    changed = found.changed.reshape(len(series), len(subsets), samples, -1)
    each = jax.vmap(lambda p, q: far(p, q, predictor.kind))(found.observed, changed)
    error = jnp.std(each, axis=-1, ddof=1) / samples**0.5
    nothing = blank(subsets, series)
    score, error = (jnp.where(nothing, jnp.nan, x) for x in (jnp.mean(each, axis=-1), error))
    return TimeImportance(score, None, None, error, found.evaluations)


def _values(background: Any, series: Array) -> Float[Array, "n features"]:
    """The measurements of each feature, what is NaN behind."""
    values = jnp.asarray(background)
    require_floating("background", values, "NaN is what was not observed")
    if values.ndim < 2 or values.shape[-1] != series.shape[1]:
        raise ValueError(
            f"`background` must have shape [..., {series.shape[1]}], the features of `series`; got "
            f"{list(values.shape)}."
        )
    values = jnp.sort(values.reshape(-1, series.shape[1]).astype(series.dtype), axis=0)
    if not isinstance(values, Tracer) and not isinstance(series, Tracer):
        unseen = ~np.isnan(series).all(axis=0) & np.isnan(values).all(axis=0)
        if np.any(unseen):
            raise ValueError(
                f"`background` must have a measurement of each feature that `series` has one of; "
                f"it has none of feature {int(np.argmax(unseen))}."
            )
    return values
