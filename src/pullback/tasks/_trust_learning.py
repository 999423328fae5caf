"""Weights of a table's rows: from cross-validated probabilities on, along hypergradients."""

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int
from scipy.special import expit, log_softmax
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from pullback._on_device import on_device
from pullback.bilevel import ConjugateGradient, Hypergradient, Implicit, hypergradient

from ._class_scores import OURS, quiet_others
from ._class_start import Parts, cross_folds, start_of, temper
from ._padded import power_of_two

PENALTY = 0.03  # on the squares of the classifier's slopes, which keeps its minimum a proper one
_FOLDS = 5
_LEAST = 256  # rows, so that one program serves all small tables
_STOPS = (2, 5, 10, 20, 50)  # steps at which it is looked whether they gain
_MOVE = 0.2  # of the logits of the weights in the first step, in the root mean square
_FAR = 8.0  # logits of the weights at the start
_LINES, TREES, _GIVEN = "lines", "boosted trees", "every label trusted"


class Pool(NamedTuple):
    """The rows of a table that have a class, and after them the clean ones.

    Attributes:
        z: standardised columns.
        v: whitened columns.
        codes: the classes.
        clean: which rows are clean.
        classes: how many there are.
    """

    z: Float[np.ndarray, "n d"]
    v: Float[np.ndarray, "n d"]
    codes: Int[np.ndarray, " n"]
    clean: Bool[np.ndarray, " n"]
    classes: int

    def margins(self, log_probs: Float[np.ndarray, "n k"]) -> Float[np.ndarray, " n"]:
        """By how many nats a row's own class is ahead of the best other one; 0 if nothing says."""
        own = np.eye(self.classes, dtype=bool)[self.codes]
        found = log_probs[own] - np.max(np.where(own, -np.inf, log_probs), axis=1)
        return np.clip(np.nan_to_num(found), -_FAR, _FAR)

    def where(self, rows: Bool[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
        """The classes, -1 of other rows."""
        return np.where(rows, self.codes, -1)


class Part(NamedTuple):
    """Rows to weigh, rows that say how good the weights are, and rows that judge both."""

    inner: Bool[np.ndarray, " n"]
    outer: Bool[np.ndarray, " n"]
    judge: Int[np.ndarray, " j"]


class Learned(NamedTuple):
    """What is found of the rows of a pool.

    Attributes:
        log_probs: of the classes of the table's rows, cross-validated; NaN where nothing says.
        start: by what the labels are judged in the end, "lines" or "boosted trees".
        steps: that were taken from there, as far as they gain for sure.
        gain: by how much the log loss of rows held out falls in the best number of steps, and its
            standard error; None where no row could be held out.
        weight: slopes of the classifier.
        bias: of the classifier.
        judged: places of the rows that were held out in turn.
        probs: their probabilities by the same classifier with each of the weights.
    """

    log_probs: Float[np.ndarray, "n k"]
    start: str
    steps: int
    gain: tuple[float, float] | None
    weight: Float[np.ndarray, "k d"]
    bias: Float[np.ndarray, " k"]
    judged: Int[np.ndarray, " m"]
    probs: dict[str, Float[np.ndarray, "m k"]]


def learn(
    pool: Pool,
    parts: Parts,
    *,
    max_steps: int,
    generator: np.random.RandomState,
    shown: Callable[[Sequence[Part]], Iterable[Part]],
) -> Learned:
    """Weights to train with, the classifier that they make, and what it says of their labels.

    Args:
        pool: the rows.
        parts: what lines are mixed of.
        max_steps: the most steps along hypergradients.
        generator: of the folds.
        shown: what shows how far a loop is, of what is looped over.
    """
    table = ~pool.clean
    rivals = _rivals(pool, generator)
    alone = _lines(pool, parts, table, np.zeros_like(table), generator)
    trees = not pool.clean.any() and _trees_know_more(pool, alone, rivals)
    # What no line tells apart, lines do not teach.
    most = 0 if trees else max_steps
    stops = [0, *(stop for stop in sorted({*_STOPS, most}) if 0 < stop <= most)]
    logits: dict[int, list[np.ndarray]] = {stop: [] for stop in stops}
    probs: dict[Any, list[np.ndarray]] = {key: [] for key in (*stops, _GIVEN, *rivals)}
    judged, data = [np.zeros(0, int)], Device(pool)
    for part in shown(list(parts_of(pool, generator))):
        # The rows that judge have no part in where their own judgement starts.
        start = _lines(pool, parts, part.inner, part.outer, generator)
        judged.append(part.judge)
        for step, found in enumerate(_path(pool, data, part, start, most)):
            if step in logits:
                logits[step].append(np.where(part.inner, found, np.nan))
                probs[step].append(_held(pool, part, expit(found)))
        for rival, logs in rivals.items():
            own = np.exp(logs[np.arange(len(table)), pool.codes])
            probs[rival].append(_held(pool, part, np.nan_to_num(own, nan=0.5)))
        probs[_GIVEN].append(_held(pool, part, np.ones(len(table))))
    places, steps, gain, factor, told = np.concatenate(judged), 0, None, 1.0, {}
    if len(places):
        joined = {key: np.concatenate(each) for key, each in probs.items()}
        labels = {_GIVEN: _GIVEN, **{f"weights by {one}": one for one in rivals}}
        if pool.clean.any() and TREES in rivals:
            given = pool.z[table], pool.codes[table], pool.z[places], pool.classes
            joined["predict"] = np.log(np.maximum(quiet_others(*given)[TREES], 1e-6))
            labels[f"{TREES} themselves"] = "predict"
        tempered = {key: temper(each, pool.codes[places]) for key, each in joined.items()}
        steps, gain = _kept({stop: tempered[stop].loss for stop in stops})
        if "predict" in tempered:
            trees = _sure(tempered[steps].loss - tempered["predict"].loss)
            steps = 0 if trees else steps
        factor = tempered[steps].factor
        labels = {OURS: steps, **labels, **({"without hypergradients": 0} if steps else {})}
        told = {
            label: np.exp(log_softmax(tempered[key].factor * joined[key], axis=1))
            for label, key in labels.items()
        }
    found = _mean(logits[steps], pool.margins(rivals[TREES] if trees else alone))
    trained = np.where(pool.clean, 1.0, expit(found))
    weight, bias = (factor * part for part in classifier(pool, trained))
    said = rivals[TREES] if trees else factor * _unseen(pool, trained, generator)
    name = TREES if trees else _LINES
    return Learned(said, name, steps, gain, weight, bias, places, told)


def parts_of(pool: Pool, generator: np.random.RandomState) -> Iterator[Part]:
    """Clean rows judge in turn; without any, fifths of the table judge, and say, in turn."""
    rows, any_clean = np.arange(len(pool.codes)), bool(pool.clean.any())
    folds = list(cross_folds(pool.where(pool.clean == any_clean), _FOLDS, generator))
    if any_clean:
        same = np.unique(pool.z, axis=0, return_inverse=True)[1].ravel()
        for fold in folds:
            # A row that judges may stand in the table too.
            inner = ~pool.clean & ~np.isin(same, same[fold])
            if len(set(pool.codes[inner])) < pool.classes:
                inner = ~pool.clean
            yield Part(inner, pool.clean & ~np.isin(rows, fold), fold)
    elif len(folds) > 2:
        for fold, other in zip(folds, [*folds[1:], folds[0]], strict=True):
            outer = np.isin(rows, other)
            yield Part(~outer & ~np.isin(rows, fold), outer, fold)


def _rivals(pool: Pool, generator: np.random.RandomState) -> dict[str, Float[np.ndarray, "n k"]]:
    """Log-probabilities of the table's rows by what one would have taken, cross-validated."""
    table = np.flatnonzero(~pool.clean)
    found: dict[str, np.ndarray] = {}
    folds = list(cross_folds(pool.where(~pool.clean), _FOLDS, generator))
    for fold in folds:
        rest = np.setdiff1d(table, fold)
        for name, probs in quiet_others(
            pool.z[rest], pool.codes[rest], pool.z[fold], pool.classes
        ).items():
            whole = found.setdefault(name, np.full((len(pool.z), pool.classes), np.nan))
            whole[fold] = np.log(np.maximum(probs, 1e-6))
    # Where a fold leaves too few rows for one of them, it is not taken.
    seen = np.concatenate([np.zeros(0, int), *folds])
    return {name: logs for name, logs in found.items() if not np.isnan(logs[seen]).any()}


def _lines(
    pool: Pool,
    parts: Parts,
    inner: Bool[np.ndarray, " n"],
    outer: Bool[np.ndarray, " n"],
    generator: np.random.RandomState,
) -> Float[np.ndarray, "n k"]:
    """Log-probabilities of inner rows by lines of the other ones, and of outer rows; else NaN."""
    found = np.full((len(pool.z), pool.classes), np.nan)
    for fold in cross_folds(pool.where(inner), _FOLDS, generator):
        rest = np.setdiff1d(np.flatnonzero(inner | outer), fold)
        start = start_of(pool.z[rest], pool.codes[rest], pool.classes, parts)
        found[fold] = start.log_probs(start.whiten(pool.z[fold]))
    return found


def _trees_know_more(
    pool: Pool, lines: Float[np.ndarray, "n k"], rivals: dict[str, Float[np.ndarray, "n k"]]
) -> bool:
    """Whether trees know the labels that rows have better than lines, for sure."""
    seen = np.flatnonzero(~np.isnan(lines).any(axis=1))
    if TREES not in rivals or not len(seen):
        return False
    before, after = (temper(logs[seen], pool.codes[seen]).loss for logs in (lines, rivals[TREES]))
    return _sure(before - after)


def _sure(gain: Float[np.ndarray, " m"]) -> bool:
    return bool(gain.mean() > 2 * gain.std() / np.sqrt(len(gain)))


def classifier(
    pool: Pool, weights: Float[np.ndarray, " n"]
) -> tuple[Float[np.ndarray, "k d"], Float[np.ndarray, " k"]]:
    """Slopes and biases at the minimum of `inner`, by weights of which those of no part are 0."""
    weight, bias = _minimum(pool, weights, int((weights > 0).sum()))
    if pool.classes == 2:
        return np.concatenate([0 * weight, weight]), np.concatenate([0 * bias, bias])
    return weight, bias


def _minimum(
    pool: Pool, weights: Float[np.ndarray, " n"], count: int
) -> tuple[Float[np.ndarray, "m d"], Float[np.ndarray, " m"]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = LogisticRegression(C=1 / (PENALTY * count), tol=1e-6, max_iter=500)
        model.fit(pool.v, pool.codes, sample_weight=weights)
    return model.coef_, model.intercept_


def _held(pool: Pool, part: Part, weights: Float[np.ndarray, " n"]) -> Float[np.ndarray, "j k"]:
    """Log-probabilities of the rows that judge, by weights of the inner rows."""
    both = np.where(part.inner, weights, np.where(part.outer, 1.0, 0.0))
    weight, bias = classifier(pool, both)
    return log_softmax(pool.v[part.judge] @ weight.T + bias, axis=1)


def _unseen(
    pool: Pool, weights: Float[np.ndarray, " n"], generator: np.random.RandomState
) -> Float[np.ndarray, "n k"]:
    """Log-probabilities of the table's rows by a classifier of the others; NaN of those of none."""
    found = np.full((len(pool.v), pool.classes), np.nan)
    for fold in cross_folds(pool.where(~pool.clean), _FOLDS, generator):
        others = weights.copy()
        others[fold] = 0
        weight, bias = classifier(pool, others)
        found[fold] = log_softmax(pool.v[fold] @ weight.T + bias, axis=1)
    return found


class Device:
    """The rows of a pool where JAX computes, filled up to a number that it has met before."""

    def __init__(self, pool: Pool):
        self.room = max(_LEAST, power_of_two(len(pool.v))) - len(pool.v)
        self.v = on_device(np.pad(pool.v, ((0, self.room), (0, 0))))
        self.codes = on_device(np.pad(pool.codes, (0, self.room)), np.int32)

    def along(self, rows: np.ndarray) -> Array:
        """Numbers of rows."""
        return on_device(np.pad(rows.astype(np.float64), (0, self.room)))

    def shares(self, rows: Bool[np.ndarray, " n"]) -> tuple[Array, Array, Array]:
        """The batch of a loss that is the mean over some rows."""
        return self.v, self.codes, self.along(rows / rows.sum())


def slope(
    pool: Pool, data: Device, part: Part, logits: Float[np.ndarray, " n"]
) -> Float[np.ndarray, " n"]:
    """The hypergradient of the outer rows' mean loss, by the logit of each weight."""
    weights = np.where(part.inner, expit(logits), 0.0)
    model = tuple(map(on_device, _minimum(pool, weights, int(part.inner.sum()))))
    found = _hypergradient(
        model, data.along(logits), data.shares(part.inner), data.shares(part.outer)
    )
    return np.asarray(found.gradient, np.float64)[: len(logits)]


def _path(
    pool: Pool, data: Device, part: Part, log_probs: Float[np.ndarray, "n k"], steps: int
) -> Iterator[Float[np.ndarray, " n"]]:
    """The logits of the weights after each step of gradient descent, from margins on."""
    logits, rate = pool.margins(log_probs), None
    # The only row of its class has no say in what that class is, and none on itself.
    free = part.inner & ~np.isnan(log_probs).any(axis=1)
    yield logits
    for _ in range(steps):
        down = np.where(free, np.nan_to_num(slope(pool, data, part, logits)), 0.0)
        if rate is None:
            size = np.sqrt(np.mean(down[part.inner] ** 2))
            rate = _MOVE / size if size > 0 else 0.0
        logits = logits - rate * down
        yield logits


@eqx.filter_jit
def _hypergradient(model: Any, logits: Array, train: Any, validation: Any) -> Hypergradient:
    method = Implicit(ConjugateGradient(100, rtol=1e-4))
    key = jax.random.key(0)
    return hypergradient(inner, outer, model, logits, train, validation, method=method, key=key)


def inner(model: Any, logits: Array, batch: Any, *, key: Any) -> tuple[Array, dict[str, Array]]:
    """The weighted cross-entropy of lines, and a small penalty on their slopes."""
    v, codes, shares = batch
    weighed = shares * jax.nn.sigmoid(logits)
    return jnp.sum(weighed * _losses(model, v, codes)) + PENALTY / 2 * jnp.sum(model[0] ** 2), {}


def outer(model: Any, logits: Array, batch: Any, *, key: Any) -> tuple[Array, dict[str, Array]]:
    """The cross-entropy of rows that are taken to be right."""
    v, codes, shares = batch
    return jnp.sum(shares * _losses(model, v, codes)), {}


def _losses(model: Any, v: Array, codes: Array) -> Array:
    weight, bias = model
    found = v @ weight.T + bias[None]
    if len(bias) == 1:  # of two classes the first one's logits are 0
        found = jnp.concatenate([jnp.zeros_like(found), found], axis=1)
    return optax.softmax_cross_entropy_with_integer_labels(found, codes)


def _kept(losses: dict[int, Float[np.ndarray, " m"]]) -> tuple[int, tuple[float, float]]:
    """How many steps are kept: the best number of them, if it gains for sure."""
    best = min([s for s in losses if s] or [0], key=lambda stop: losses[stop].mean())
    gain = losses[0] - losses[best]
    error = float(gain.std() / np.sqrt(len(gain)))
    return best if _sure(gain) else 0, (float(gain.mean()), error)


def _mean(found: Sequence[np.ndarray], other: np.ndarray) -> np.ndarray:
    """The mean of each entry where it is known, and the other one where it is not."""
    there = ~np.isnan(found) if len(found) else np.zeros((1, len(other)), bool)
    total = np.where(there, found if len(found) else 0.0, 0).sum(axis=0)
    return np.where(there.any(axis=0), total / np.maximum(there.sum(axis=0), 1), other)
