"""Effects that come late: what a measurement did to the predictions after it."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from pullback._inputs import positive
from pullback._key import checked_key
from pullback.analysis.explain._time_answers import (
    Changes,
    answers,
    blank,
    checked_series,
    checked_subsets,
)
from pullback.analysis.explain._time_fit import apart
from pullback.analysis.explain._time_outputs import moments
from pullback.analysis.explain._time_predictors import (
    Kind,
    PrefixPredictor,
    SeriesGenerator,
    StepPredictor,
    check_generator,
    check_predictor,
    drawn_by,
)


class WindowImportance(NamedTuple):
    """How much features mattered to predictions at their time and after it.

    Attributes:
        score: of each subset by the time of its measurement, the mean over the predictions of the
            window; NaN where nothing of it was observed.
        by_delay: of the prediction so many time steps later, from 0; NaN behind the end too.
        standard_error: of `score`, by the number of samples. NaN for one sample.
        evaluations: time steps that the predictor took in; of a black box, prefixes.
    """

    score: Float[Array, "*batch time subsets"]
    by_delay: Float[Array, "*batch time subsets window"]
    standard_error: Float[Array, "*batch time subsets"]
    evaluations: Int[Array, "*batch"]


def window_importance(
    predictor: StepPredictor | PrefixPredictor,
    generator: SeriesGenerator,
    series: Float[Array | np.ndarray, "time features"],
    *,
    window: int = 10,
    subsets: Bool[Array | np.ndarray, "subsets features"] | None = None,
    samples: int = 10,
    key: PRNGKeyArray,
) -> WindowImportance:
    r"""Windowed importance in time (WinIT): what a measurement did to this and later predictions.

    $$ I(S, a \to t) = J(S, a, t) - J(S, a + 1, t), \qquad
       J(S, a, t) = KL\big(p_t \,\|\, E[f(X_{0:a-1}, \hat x_{S,a:t}, x_{-S,a:t})]\big) $$

    J is how far a prediction is off where the subset is hidden from time a on, drawn step by step
    given the past, as it then is, and the other features; what one step more of hiding adds is the
    part of the measurement at a. The score is the mean over the predictions from a on, of as many
    time steps as `window` has and the series still holds. One below 0 says that hiding more brings
    the prediction back.

    Time steps that the predictor takes in: T (W K L + 1), for W of the window, K subsets and L
    samples.

    Args:
        predictor: of `step_predictor` or `prefix_predictor`.
        generator: what draws the hidden features of a time step, given the others.
        series: one series, NaN where nothing was observed.
        window: W, of how many predictions, the one at the same time among them.
        subsets: which features are hidden together, a row each. None: each by itself.
        samples: L, draws; those of a time step share their keys wherever hiding began.
        key: for the draws.

    Returns:
        A `WindowImportance`.

    Raises:
        TypeError: `predictor` or `generator` is no such.
        ValueError: as `fit_importance`, or `window` is below 1.

    Example:
        >>> import equinox as eqx, jax, jax.numpy as jnp
        >>> from pullback.analysis.explain import step_predictor
        >>> class White(eqx.Module):  # a feature without memory
        ...     def start(self):
        ...         return ()
        ...     def step(self, state, x):
        ...         return state
        ...     def sample(self, state, x, keep, *, key):
        ...         drawn = jax.random.normal(key, x.shape, x.dtype)
        ...         return jnp.where(keep & ~jnp.isnan(x), x, drawn)
        >>> late = step_predictor(  # reads what came one time step before
        ...     lambda: jnp.zeros(1), lambda state, x: (x, 3 * jnp.stack([state[0], -state[0]])))
        >>> series = jnp.array([[0.0], [2.0], [0.0], [0.1]])
        >>> found = window_importance(late, White(), series, window=3, key=jax.random.key(0))
        >>> jnp.unravel_index(jnp.nanargmax(found.by_delay), (4, 1, 3))[2].item()
        1

    Source: Leung et al., Temporal Dependencies in Feature Importance for Time Series Prediction,
        ICLR 2023, whose code takes means of divergences, or of absolute changes, in place of the
        divergence from the mean, and draws a subset without the others at that time by default.
    """
    key = checked_key(key)
    check_predictor(predictor)
    check_generator(generator)
    positive(samples=samples, window=window)
    given, series = series, checked_series(series)
    subsets = checked_subsets(subsets, series.shape[1])

    def rows(state: PyTree, ahead: Array, keys: Array) -> Array:
        def hidden(subset: Array, keys: Array) -> Array:
            def at(state: PyTree, item: tuple[Array, Array]) -> tuple[PyTree, Array]:
                x, key = item
                hides = subset & ~jnp.isnan(x)
                keep = ~subset & ~jnp.isnan(x)
                drawn = drawn_by(generator, state, jnp.where(keep, x, jnp.nan), keep, key=key)
                x = jnp.where(hides, drawn, x)
                return generator.step(state, x), x

            return jax.lax.scan(at, state, (ahead, keys))[1]

        split = jax.vmap(lambda key: jr.split(key, samples), out_axes=1)(keys)
        of = lambda subset: jax.vmap(lambda keys: hidden(subset, keys))(split)
        return jax.vmap(of)(subsets).reshape(-1, *ahead.shape)

    changes = Changes(generator.start, generator.step, rows)
    found = answers(predictor, changes, series, given=given, window=window, key=key)
    shape = (len(series), window, len(subsets), samples, -1)
    by_delay, score, error = _scores(found.observed, found.changed.reshape(shape), predictor.kind)
    nothing = blank(subsets, series)
    return WindowImportance(
        jnp.where(nothing, jnp.nan, score),
        jnp.where(nothing[..., None], jnp.nan, by_delay),
        jnp.where(nothing, jnp.nan, error),
        found.evaluations,
    )


@functools.partial(jax.jit, static_argnames="kind")
def _scores(
    observed: Float[Array, "time k"],
    changed: Float[Array, "time window subsets samples k"],
    kind: Kind,
) -> tuple[Array, Array, Array]:
    """By delay, the means of those, and their errors."""
    times, window, _, samples, _ = changed.shape
    weights = jnp.full(samples, 1 / samples, changed.dtype)
    at = jnp.arange(times)[:, None] + jnp.arange(window)[None]
    own = observed[jnp.minimum(at, times - 1)]
    of = lambda p, q: apart(p, moments(p, q, kind), weights, kind, "kl_of_mean")
    hidden = jax.vmap(jax.vmap(jax.vmap(of, in_axes=(None, 0))))(own, changed)

    def less(values: Array) -> Array:
        """Without what hiding from the next time on does to the same prediction."""
        later = jnp.zeros_like(values).at[:-1, 1:].set(values[1:, :-1])
        return jnp.moveaxis(values - later, 1, 2)

    by_delay, noise = (less(values) for values in hidden)
    there = jnp.broadcast_to((at < times)[:, None], by_delay.shape)
    count = jnp.sum(there, axis=2).astype(by_delay.dtype)
    score = jnp.sum(jnp.where(there, by_delay, 0), axis=2) / count
    noise = jnp.sum(jnp.where(there[..., None], noise, 0), axis=2) / count[..., None]
    error = jnp.std(noise, axis=-1, ddof=1) / samples**0.5
    return jnp.where(there, by_delay, jnp.nan), score, error
