"""What a predictor says of a series as it is, and with parts of some time steps changed."""

import functools
import warnings
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from pullback._floating import require_floating
from pullback._traced import Compiled, compiled
from pullback.analysis.explain._time_outputs import DRAWS, FAULTS, check_shape, fault, laws
from pullback.analysis.explain._time_predictors import Kind, Outputs, PrefixPredictor, StepPredictor

# A batch of another size is rounded another way; dropout is louder than that.
_SAME = 1e-3


class Changes(NamedTuple):
    """How time steps are changed.

    Attributes:
        start: `start() -> state`.
        step: `step(state, x) -> state`, which sums up one time step more.
        rows: `rows(state, ahead, keys) -> [n, window, features]`, from a time step and those after
            it `[window, features]`, each with a key that is its own whenever it is met, what may
            stand in their place.
    """

    start: Callable[[], PyTree]
    step: Callable[[PyTree, Array], PyTree]
    rows: Callable[[PyTree, Array, PRNGKeyArray], Array]


class Answers(NamedTuple):
    """What the predictor said, as `_time_outputs.laws` has it.

    Attributes:
        observed: of the series as it is, at each time.
        changed: of the series with changes from a time on, by that time, so many time steps later,
            with each of the rows. What lies behind the end is not asked of it.
        evaluations: how many time steps, or whole prefixes of a black box, it took in.
    """

    observed: Float[Array, "time k"]
    changed: Float[Array, "time window n k"]
    evaluations: Int[Array, ""]


def answers(
    predictor: StepPredictor | PrefixPredictor,
    changes: Changes,
    series: Float[Array, "time features"],
    *,
    given: Any = None,
    window: int = 1,
    key: PRNGKeyArray,
) -> Answers:
    """All that the predictor is asked about a series. NaN for what is no law, in a compiled call.

    Args:
        predictor: of one's own.
        changes: what is asked.
        series: as it is.
        given: the same before JAX rounded it: a black box is given its numbers to the bit wherever
            none was drawn.
        window: how many predictions are asked for after a change.
        key: for the changes.

    Raises:
        ValueError: it gives no law, or a black box takes one length only.
    """
    times = jnp.arange(len(series) + window - 1)
    keys = _windows(jax.vmap(lambda t: jr.fold_in(key, t))(times), len(series), window)
    if isinstance(predictor, StepPredictor):
        found, faults = compiled(_by_steps)(predictor, changes, series, window, keys)
    else:
        exact = given if isinstance(given, np.ndarray) else series
        found, faults = _by_prefixes(predictor, changes, series, exact, window, keys)
    if not isinstance(faults, Tracer):
        _refuse(faults)
    good = faults == 0
    return found._replace(
        observed=jnp.where(good[:, None], found.observed, jnp.nan),
        changed=jnp.where(good[:, None, None, None], found.changed, jnp.nan),
    )


def checked_series(series: Any) -> Array:
    """A series that can be explained."""
    given = series
    with np.errstate(over="ignore"):  # said below
        series = jnp.asarray(given)
    require_floating("series", series, "NaN is what was not observed")
    if series.ndim != 2 or not series.size:
        raise ValueError(
            f"`series` must have shape [time, features], at least 1 each; got "
            f"{list(series.shape)}. For a batch, use `jax.vmap`."
        )
    if not isinstance(series, Tracer) and np.any(np.isinf(series)):
        t, feature = np.argwhere(np.isinf(series))[0]
        raise ValueError(
            f"`series` must be finite or NaN in {series.dtype}, got {given[t][feature]} at time "
            f"{t} of feature {feature}."
        )
    return series


def checked_subsets(subsets: Any, features: int) -> Bool[Array, "subsets features"]:
    """Which features go together; each by itself where nothing is said."""
    if subsets is None:
        return jnp.eye(features, dtype=bool)
    subsets = jnp.asarray(subsets)
    if subsets.dtype != bool or subsets.ndim != 2 or subsets.shape[1] != features:
        raise ValueError(
            f"`subsets` must be Booleans of shape [subsets, {features}], a row of what is in each; "
            f"got {subsets.dtype} of shape {list(subsets.shape)}."
        )
    if not len(subsets):
        raise ValueError("`subsets` must have at least one row, got none.")
    return subsets


def blank(
    subsets: Bool[Array, "subsets features"], series: Float[Array, "time features"]
) -> Bool[Array, "time subsets"]:
    """Where a subset has features, and none of them was observed."""
    seen = jnp.any(subsets[None] & ~jnp.isnan(series)[:, None], axis=-1)
    return jnp.any(subsets, axis=-1)[None] & ~seen


def _by_steps(
    predictor: StepPredictor, changes: Changes, series: Array, window: int, keys: Array
) -> tuple[Answers, Array]:
    """With the state carried on: no time step is taken in twice."""
    take = lambda state, x: _stepped(predictor, state, x)
    state = _settled("predictor", predictor.start(), lambda s: take(s, series[0])[0])
    filled = _settled("generator", changes.start(), lambda s: changes.step(s, series[0]))

    def along(state: PyTree, row: Array) -> Array:
        # The first step by itself: what it makes of the state alone is then made once for all rows.
        later, first = take(state, row[0])
        return jnp.concatenate([first[None], jax.lax.scan(take, later, row[1:])[1]])

    def at(carry: tuple[PyTree, PyTree], item: tuple[Array, ...]) -> tuple[Any, Any]:
        (state, filled), (x, ahead, keys) = carry, item
        rows = changes.rows(filled, ahead, keys)
        changed = jax.vmap(along, in_axes=(None, 0), out_axes=1)(state, rows)
        state, observed = take(state, x)
        drawn = _are_drawn(rows, ahead)
        return (state, changes.step(filled, x)), (observed, changed, drawn)

    def checked(observed: Array, changed: Array, drawn: Array) -> tuple[Array, ...]:
        told = [laws(each, predictor.kind, predictor.outputs) for each in (observed, changed)]
        wrong = jnp.max(jnp.stack([fault(each, predictor.kind) for each in told]))
        return *told, jnp.where(drawn, wrong, DRAWS)

    _, raw = jax.lax.scan(
        at, (state, filled), (series, _windows(series, len(series), window), keys)
    )
    # Of all time steps at once: in the loop, small steps would take as long as the predictor.
    observed, changed, faults = jax.vmap(checked)(*raw)
    count = observed.shape[0] + changed.shape[0] * changed.shape[1] * changed.shape[2]
    return Answers(observed, changed, jnp.asarray(count, int)), faults


def _by_prefixes(
    predictor: PrefixPredictor, changes: Changes, series: Array, exact: Any, window: int,
    keys: Array,
) -> tuple[Answers, Array]:  # fmt: skip
    """Of a black box: one call a time step, for which each different prefix is made once."""
    if isinstance(series, Tracer) or isinstance(keys, Tracer):
        raise ValueError(
            "a predictor of `prefix_predictor` is called on the host, which a compiled or mapped "
            "call cannot do: explain one series after another, or use `step_predictor`."
        )
    given, ahead = np.asarray(exact), _windows(series, len(series), window)
    rounded = np.asarray(series)
    state = _settled("generator", changes.start(), lambda s: changes.step(s, series[0]))

    def at(state: PyTree, x: Array, ahead: Array, keys: Array) -> tuple[PyTree, Array, Array]:
        rows = changes.rows(state, ahead, keys)
        return changes.step(state, x), rows, _are_drawn(rows, ahead)

    run = Compiled(at, state, series[0], ahead[0], keys[0])
    observed, changed, faults, count = [], [], [], 0
    begun: deque[np.ndarray] = deque(maxlen=window)
    for t in range(len(given)):
        state, rows, drawn = run(state, series[t], ahead[t], keys[t])
        _refuse(np.where(np.arange(t + 1) == t, np.where(drawn, 0, DRAWS), 0))
        later = np.minimum(np.arange(t, t + window), len(given) - 1)
        # What was not drawn, to the bit.
        kept = np.asarray(rows) == rounded[later]
        begun.appendleft(np.where(kept, given[later], np.asarray(rows)))
        since = max(0, t + 1 - window)
        recent = [given[since : t + 1][None]]
        for late, rows in enumerate(begun):
            before = given[since : t - late]
            before = np.broadcast_to(before, (len(rows), *before.shape))
            recent.append(np.concatenate([before, rows[:, : late + 1]], axis=1))
        different, which = _different(np.concatenate(recent))
        past = np.broadcast_to(given[:since], (len(different), since, given.shape[1]))
        said = _asked(predictor, np.concatenate([past, different], axis=1), given)
        count += len(said)
        # The last one again and again, up to a number that one program serves at all times.
        said = said[np.minimum(np.arange(1 + window * len(begun[0])), len(said) - 1)]
        law, wrong = _read(said.astype(series.dtype), predictor.kind, predictor.outputs)
        _refuse(np.where(np.arange(t + 1) == t, wrong, 0))
        own, *others = np.asarray(law)[which].reshape(len(which), -1)
        observed.append(own)
        changed.append(np.reshape(others, (len(begun), -1, law.shape[1])))
        faults.append(0)
    again = laws(
        jnp.asarray(_asked(predictor, given[None].copy(), given), series.dtype),
        predictor.kind, predictor.outputs,
    )  # fmt: skip
    _say_if_changed(np.asarray(again)[0], observed[-1])
    by_start = np.zeros((len(given), window, *changed[0].shape[1:]), series.dtype)
    by_start[...] = observed[0]
    for t, answered in enumerate(changed):
        for late, each in enumerate(answered):
            by_start[t - late, late] = each
    found = Answers(
        jnp.asarray(np.stack(observed)), jnp.asarray(by_start), jnp.asarray(count + 1, int)
    )
    return found, jnp.asarray(faults)


@functools.partial(jax.jit, static_argnames=("kind", "outputs"))
def _read(said: Array | np.ndarray, kind: Kind, outputs: Outputs) -> tuple[Array, Array]:
    law = laws(jnp.asarray(said), kind, outputs)
    return law, fault(law, kind)


def _asked(predictor: PrefixPredictor, prefixes: np.ndarray, series: np.ndarray) -> np.ndarray:
    """The black box's answers, as floating numbers of a shape that is right."""
    size = predictor.batch_size or len(prefixes)
    parts = []
    for start in range(0, len(prefixes), size):
        part = prefixes[start : start + size]
        try:
            said = predictor.function(part)
        except Exception as error:
            _refuse_one_length(predictor, part, series, error)
            raise
        said = np.asarray(said)
        if said.dtype.kind in "SU":
            raise TypeError(
                f"the predictor must give numbers, [n, K]; it gives {said.dtype}: give "
                "probabilities, as `predict_proba` does, and not the names of classes."
            )
        if said.ndim != 2 or len(said) != len(part):
            raise ValueError(
                f"the predictor must give [n, K] for prefixes [n, time, features]; of "
                f"{list(part.shape)} it gives {list(said.shape)}. One probability of a yes is "
                '[n, 1] with `kind="multilabel"`.'
            )
        check_shape(said.shape[1:], predictor.kind)
        parts.append(said.astype(np.float64))
    return np.concatenate(parts)


def _refuse_one_length(
    predictor: PrefixPredictor, prefixes: np.ndarray, series: np.ndarray, error: Exception
) -> None:
    """Say so where it was the length that the black box did not take."""
    error.add_note(f"the predictor was given prefixes of shape {list(prefixes.shape)}")
    if prefixes.shape[1] == len(series):
        return
    try:
        predictor.function(series[None].copy())
    except Exception:
        return
    raise ValueError(
        f"the predictor takes series of {len(series)} time steps and fails on the first "
        f"{prefixes.shape[1]}, but what changed at a time is seen from what it says up to then. "
        "Give a function that fills prefixes up with NaN, or with what it takes for unknown, "
        "before it calls the model."
    ) from error


def _say_if_changed(again: np.ndarray, before: np.ndarray) -> None:
    far = float(np.max(np.abs(again - before) / (1 + np.abs(before))))
    if far > _SAME:
        warnings.warn(
            f"the predictor gave two answers to one question, {far:.2g} apart, so that scores are "
            "partly its noise: turn dropout off, let it not keep state between calls, and let an "
            "answer not depend on the rest of the batch",
            stacklevel=5,
        )


def _different(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows that differ, to the bit, and where each is among them."""
    flat = np.ascontiguousarray(rows.reshape(len(rows), -1))
    bits = flat.view(np.dtype((np.void, flat.dtype.itemsize * flat.shape[1])))[:, 0]
    _, first, which = np.unique(bits, return_index=True, return_inverse=True)
    return rows[first], which


def _stepped(predictor: StepPredictor, state: PyTree, x: Array) -> tuple[PyTree, Array]:
    found = predictor.step(state, x)
    if not isinstance(found, tuple) or len(found) != 2:
        raise TypeError(f"`step` must return (state, output), got {type(found).__name__}.")
    state, output = found
    output = jnp.asarray(output)
    check_shape(output.shape, predictor.kind)
    require_floating("output of the predictor", output, "it is of logits or probabilities")
    return state, output.astype(x.dtype)


def _are_drawn(rows: Array, ahead: Array) -> Bool[Array, ""]:
    """Whether there is a number wherever there was one."""
    return jnp.all(jnp.isfinite(rows) | jnp.isnan(ahead)[None])


def _settled(whose: str, state: PyTree, step: Callable[[PyTree], PyTree]) -> PyTree:
    """The first state in the dtypes that later ones have."""
    later = jax.eval_shape(step, state)
    like = lambda a, b: jnp.shape(a) == jnp.shape(b)
    if jax.tree.structure(state) != jax.tree.structure(later) or not all(
        jax.tree.leaves(jax.tree.map(like, state, later))
    ):
        shapes = [jax.tree.map(jnp.shape, each) for each in (state, later)]
        raise ValueError(
            f"`start` and `step` of the {whose} must give states of one shape, got {shapes[0]} and "
            f"{shapes[1]}."
        )
    return jax.tree.map(lambda a, b: jnp.asarray(a, b.dtype), state, later)


def _windows(rows: Array, count: int, window: int) -> Array:
    """Each of the first rows with those after it; behind the end, the last one."""
    at = jnp.arange(count)[:, None] + jnp.arange(window)[None]
    return rows[jnp.minimum(at, len(rows) - 1)]


def _refuse(faults: Array | np.ndarray) -> None:
    """Raise for the first time at which something was no law."""
    wrong = np.flatnonzero(np.asarray(faults))
    if len(wrong):
        told = FAULTS[int(faults[wrong[0]])]
        raise ValueError(f"at time {wrong[0]}, {told}.")
