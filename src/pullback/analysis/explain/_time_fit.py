"""Which measurement, at which time, moved a prediction."""

import functools
from numbers import Real
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from pullback._inputs import positive
from pullback._key import checked_key
from pullback.analysis.explain._time_answers import (
    Answers,
    Changes,
    answers,
    blank,
    checked_series,
    checked_subsets,
)
from pullback.analysis.explain._time_outputs import divergence, moments, parts
from pullback.analysis.explain._time_predictors import (
    Kind,
    PrefixPredictor,
    SeriesGenerator,
    StepPredictor,
    check_generator,
    check_predictor,
    drawn_by,
)

Estimator = Literal["kl_of_mean", "mean_of_kl"]
Baseline = Literal["marginal", "previous"]


class TimeImportance(NamedTuple):
    """How much features mattered, by time.

    Attributes:
        score: of each subset; NaN where nothing of it was observed.
        temporal_shift: how far the prediction moved at all: *when* something happened. None for
            methods that do not ask for it.
        unexplained: how much of it the subset alone does not explain: *which* it was not. None
            likewise.
        standard_error: of `score`, by the number of samples. NaN for one sample.
        evaluations: time steps that the predictor took in; of a black box, prefixes.
    """

    score: Float[Array, "*batch time subsets"]
    temporal_shift: Float[Array, "*batch time"] | None
    unexplained: Float[Array, "*batch time subsets"] | None
    standard_error: Float[Array, "*batch time subsets"]
    evaluations: Int[Array, "*batch"]


def fit_importance(
    predictor: StepPredictor | PrefixPredictor,
    generator: SeriesGenerator,
    series: Float[Array | np.ndarray, "time features"],
    *,
    subsets: Bool[Array | np.ndarray, "subsets features"] | None = None,
    samples: int = 10,
    estimator: Estimator = "kl_of_mean",
    baseline: Baseline = "marginal",
    squash: float | None = None,
    key: PRNGKeyArray,
) -> TimeImportance:
    r"""Feature importance in time (FIT): which measurement changed the prediction when it came.

    $$ I(S, t) = KL\big(p_t \,\|\, p(y_t | X_{0:t-1})\big) - KL\big(p_t \,\|\, p_{t | S}\big), \quad
       p_t = f(X_{0:t}), \quad p_{t | S} = E\big[f(X_{0:t-1}, x_{S,t}, \hat x)\big] $$

    with $\hat x$ drawn given the past and the subset. The first term is how far the prediction
    moved, the second how much of that is left where of all that was measured at t only S is seen.
    With an exact generator, the mean of the score over what may come at t is the mutual information
    of $y_t$ and $x_{S,t}$ given the past: the score of nothing is 0, that of all the whole shift. A
    score below 0 says that S alone moves the prediction away from where it went. Two features that
    only tell something together share nothing of it alone: give their pair as a subset.

    It says what changed the prediction now, not what the prediction rests on: where a feature
    matters at all times, and does not change, use `occlusion_importance`; where an effect comes
    late, `window_importance`.

    All subsets share the random keys. Time steps that the predictor takes in: T (K L + 1) for K
    subsets and L samples, and T L more for the marginal.

    Args:
        predictor: of `step_predictor` or `prefix_predictor`.
        generator: what draws features that are hidden.
        series: one series, NaN where nothing was observed. There, nothing is drawn either: what is
            hidden is what was measured.
        subsets: which features go together, a row each. None: each by itself.
        samples: L, draws for each subset and time.
        estimator: "kl_of_mean", as above; "mean_of_kl", the mean of the divergences of single
            draws, as in the authors' code: too large by Jensen's inequality, however many samples,
            so that the score of nothing is below 0.
        baseline: "marginal", the mean of f over all that might have come at t; "previous",
            $f(X_{0:t-1})$, which is of $y_{t-1}$: where y moves by itself, that is a shift too. It
            leaves t = 0 at a score of 0.
        squash: c, to report $\tanh(c I / 2)$ as the score, as the authors' code does with c = 5.
            None: I itself. Orders stay.
        key: for the draws.

    Returns:
        A `TimeImportance`. Several labels are added up; for Gaussians, mixtures are taken as
        Gaussian. No probability counts as less than 1e-7, and no variance as less than 1e-20 of
        that of $p_t$. NaN at a time where the predictor gives no law, in a call that is being
        compiled.

    Raises:
        TypeError: `predictor` or `generator` is no such.
        ValueError: a name is unknown, `subsets` or `series` does not fit, `samples` is below 1,
            `squash` is not above 0, the predictor gives what is no law or takes one length only,
            or the generator is of other features or draws what is no number.

    Warns:
        UserWarning: a black box answers the same question in two ways.

    Example:
        >>> import equinox as eqx, jax, jax.numpy as jnp
        >>> class White(eqx.Module):  # features without memory, independent
        ...     def start(self):
        ...         return ()
        ...     def step(self, state, x):
        ...         return state
        ...     def sample(self, state, x, keep, *, key):
        ...         drawn = jax.random.normal(key, x.shape, x.dtype)
        ...         return jnp.where(keep & ~jnp.isnan(x), x, drawn)
        >>> from pullback.analysis.explain import step_predictor
        >>> predictor = step_predictor(  # of two features, the second is read
        ...     lambda: (), lambda state, x: (state, jnp.stack([x[1], -x[1]])))
        >>> series = jnp.array([[2.0, 0.1], [0.1, 2.0]])
        >>> found = fit_importance(predictor, White(), series, key=jax.random.key(0))
        >>> jnp.unravel_index(jnp.argmax(found.score), (2, 2))[1].item(), int(found.evaluations)
        (1, 62)

    Source: Tonekaboni et al., What Went Wrong and When? Instance-wise Feature Importance for
        Time-Series Black-Box Models, arXiv 2003.02821.
    """
    key = checked_key(key)
    check_predictor(predictor)
    check_generator(generator)
    for name, value, known in (
        ("estimator", estimator, Estimator), ("baseline", baseline, Baseline)
    ):  # fmt: skip
        if value not in get_args(known):
            raise ValueError(f"`{name}` must be one of {get_args(known)}, got {value!r}.")
    positive(samples=samples)
    if squash is not None and not (isinstance(squash, Real) and 0 < squash < np.inf):
        raise ValueError(
            f"`squash` must be a number above 0, got {squash!r}: the authors' code has 5.0."
        )
    given, series = series, checked_series(series)
    subsets = checked_subsets(subsets, series.shape[1])
    groups = subsets
    if baseline == "marginal":
        groups = jnp.concatenate([jnp.zeros_like(subsets[:1]), subsets])

    def rows(state: PyTree, ahead: Array, keys: Array) -> Array:
        found = hidden(generator, state, ahead[0], groups, jr.split(keys[0], samples))
        return found.reshape(-1, *ahead.shape)

    changes = Changes(generator.start, generator.step, rows)
    found = answers(predictor, changes, series, given=given, key=key)
    changed = found.changed.reshape(len(series), len(groups), samples, -1)
    weights = jnp.full(changed.shape[:3], 1 / samples, changed.dtype)
    score, shift, unexplained, error = scores(
        found._replace(changed=changed), weights, predictor.kind, estimator, baseline
    )
    if squash is not None:
        score = jnp.tanh(squash * score / 2)
        error = error * squash / 2 * (1 - score**2)
    nothing = blank(subsets, series)
    score, unexplained, error = (
        jnp.where(nothing, jnp.nan, each) for each in (score, unexplained, error)
    )
    return TimeImportance(score, shift, unexplained, error, found.evaluations)


def hidden(
    generator: SeriesGenerator,
    state: PyTree,
    x: Float[Array, " features"],
    keeps: Bool[Array, "groups features"],
    keys: Array,
) -> Float[Array, "groups samples features"]:
    """The time step with all that was measured and is not kept drawn anew, for each key."""
    seen = ~jnp.isnan(x)

    def one(keep: Array, key: PRNGKeyArray) -> Array:
        # What is not kept is not shown: no generator can peek.
        drawn = drawn_by(generator, state, jnp.where(keep, x, jnp.nan), keep, key=key)
        return jnp.where(seen, jnp.where(keep, x, drawn), jnp.nan)

    return jax.vmap(lambda keep: jax.vmap(lambda key: one(keep, key))(keys))(keeps & seen[None])


@functools.partial(jax.jit, static_argnames=("kind", "estimator", "baseline"))
def scores(
    found: Answers,
    weights: Float[Array, "time groups samples"],
    kind: Kind,
    estimator: Estimator,
    baseline: Baseline,
) -> tuple[Array, Array, Array, Array]:
    """Scores, shifts, what is unexplained, and standard errors: `found.changed` by group and draw.

    Where the baseline is the marginal, the first group is of draws of everything.
    """
    previous = jnp.concatenate([found.observed[:1], found.observed[:-1]])

    def at(p: Array, before: Array, changed: Array, weights: Array) -> tuple[Array, ...]:
        q = moments(p, changed, kind)
        own = lambda q, weights: apart(p, q, weights, kind, estimator)
        if baseline == "marginal":
            shift, noise = apart(p, q[0], weights[0], kind, "kl_of_mean")
            q, weights = q[1:], weights[1:]
        else:
            shift = divergence(p, moments(p, before, kind), kind)
            noise = jnp.zeros_like(q[0, :, 0])
        unexplained, noises = jax.vmap(own)(q, weights)
        # Draws are paired: subsets share their keys with the marginal.
        spread = jnp.std(noise[None] - noises, axis=-1, ddof=1) / len(noise) ** 0.5
        return shift - unexplained, shift, unexplained, spread

    score, shift, unexplained, error = jax.vmap(at)(
        found.observed, previous, found.changed, weights
    )
    if baseline == "previous":
        score, error = score.at[0].set(0), error.at[0].set(0)
    return score, shift, unexplained, error


def apart(
    p: Float[Array, " k"],
    q: Float[Array, "samples k"],
    weights: Float[Array, " samples"],
    kind: Kind,
    estimator: Estimator,
) -> tuple[Float[Array, ""], Float[Array, " samples"]]:
    """How far p is from laws of these moments, and what each of them has to do with it."""
    if estimator == "mean_of_kl":
        each = jax.vmap(lambda q: divergence(p, q, kind))(q)
        return jnp.sum(weights * each), each
    # No product of matrices: some devices round those more.
    own, law = parts(q, weights, kind)
    mixed = jnp.sum(weights[:, None] * own, axis=0)
    value, slope = jax.value_and_grad(lambda mixed: divergence(p, law(mixed), kind))(mixed)
    return value, jnp.sum(own * slope[None], axis=-1)
