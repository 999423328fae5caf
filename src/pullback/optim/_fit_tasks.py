"""One task after another: `train.fit` of each, and what each of them did to the others."""

import dataclasses
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, Key, PyTree

from pullback._key import checked_key_or_keys
from pullback._traced import compiled
from pullback.optim._consolidate import consolidate
from pullback.optim._continual import ContinualState
from pullback.train import TrainingInfo, fit

M = TypeVar("M")


@dataclasses.dataclass(frozen=True)
class TasksInfo:
    """How the tasks went.

    Attributes:
        training: of each task, as `fit` tells it.
        before: the metric on each of `tests` before the first step. None without a metric.
        metrics: the same after each task, a row for each. `pullback.analysis.continual_metrics`
            sums it up, where there is a test for each task. Several runs are the last axis.
    """

    training: tuple[TrainingInfo, ...]
    before: Float[np.ndarray, "tests *runs"] | None
    metrics: Float[np.ndarray, "tasks tests *runs"] | None


def fit_tasks(
    model: M,
    loss: Callable[..., Any],
    tasks: Sequence[Any],
    *,
    optimiser: Any,
    steps: int,
    batch_size: int | None = None,
    state: ContinualState | None = None,
    metric: Callable[..., Any] | None = None,
    tests: Sequence[Any] = (),
    fisher: Callable[..., PyTree] | None = None,
    reset_inner: bool = True,
    validation: Sequence[Any] | None = None,
    trainable: PyTree = True,
    log_every: int = 100,
    folder: str | os.PathLike[str] | None = None,
    resume: bool = False,
    progress: bool | None = None,
    key: Key[Array, "*runs"],
) -> tuple[M, ContinualState, TasksInfo]:
    r"""Train a model on one task after another, and keep the earlier ones.

    Each task is a call of `pullback.train.fit`, with the penalty of the tasks before it, and ends
    with `consolidate`. Of the data of a task nothing is kept. What comes back is all that the next
    task needs: save `(model, state)` by `pullback.train.save_checkpoint`, load it when there is
    another task, in another process if need be, and call this again with the same `key`. The
    weights are then those of one call with all tasks, bit for bit: tasks are counted in `state`.

    Args:
        model: any PyTree, where training starts or where the last task left it.
        loss: of the data alone, as for `fit`.
        tasks: the data of each task, as the `data` of `fit`.
        optimiser: what `synaptic_intelligence` or `elastic_weight_consolidation` gave. With a
            strength of 0 it is training without memory, to compare with.
        steps: of each task.
        batch_size: examples a step.
        state: after the tasks so far, as this function gave it. None: there were none.
        metric: `metric(model, test) -> scalar` such as the accuracy; the model is in inference
            mode.
        tests: what `metric` is given, one for each task to be looked at; those of earlier and of
            later tasks are welcome.
        fisher: `fisher(model, data, *, key) -> tree like the parameters`, for
            `elastic_weight_consolidation`: a call of `diagonal_fisher`.
        reset_inner: start the wrapped optimiser anew for each task.
        validation: of each task, held-out arrays that `fit` shows the loss of. There is no early
            stop: the importance is that of the whole path, and so of its last weights.
        trainable: which parameters are trained, as for `fit`; the same in all tasks.
        log_every: steps between two points of the history.
        folder: where each task has a folder of its own, `task_1` and so on, as for `fit`.
        resume: go on where the run in `folder` stopped; give the same arguments.
        progress: show a bar on stderr. None: where stderr is a terminal.
        key: a random key; or several, `[n]`, for n runs as one program, with a leading axis of n in
            `model`.

    Returns:
        The model, the state of the optimiser for the next task, and a `TasksInfo`.

    Raises:
        TypeError: `optimiser` is not one of the two, or `state` not one of theirs.
        ValueError: there is no task; `tests` without a `metric`, or the other way round; `fisher`
            is missing or not wanted; or `fit` refuses an argument.
        TrainingError: as for `fit`; the tasks before are in `folder`.

    Example:
        >>> import jax, jax.numpy as jnp, optax
        >>> from pullback.optim import synaptic_intelligence
        >>> def loss(w, batch, *, key):  # each task is about one of the weights
        ...     which, wanted = batch
        ...     return jnp.mean((w[which] - wanted) ** 2), {}
        >>> error = lambda w, test: loss(w, test, key=None)[0]
        >>> tasks = [(jnp.full(4, 0), jnp.full(4, 1.0)), (jnp.full(4, 1), jnp.full(4, -1.0))]
        >>> w, state, info = fit_tasks(
        ...     jnp.zeros(2), loss, tasks, metric=error, tests=tasks, steps=50, batch_size=4,
        ...     optimiser=synaptic_intelligence(optax.sgd(0.2), strength=1.0),
        ...     key=jax.random.key(0))
        >>> print(w.round(2), info.metrics.round(2).tolist(), state.tasks)
        [ 1. -1.] [[0.0, 1.0], [0.0, 0.0]] 2

    Source: Zenke, Poole and Ganguli, arXiv 1703.04200, section 4.
    """
    key = checked_key_or_keys(key)
    tasks, tests = list(tasks), list(tests)
    _check(model, optimiser, tasks, tests, metric, fisher, validation)
    if state is not None and not isinstance(state, ContinualState):
        raise TypeError(
            "`state` must be the `ContinualState` that this function gave after the last task, or "
            f"None before the first one; got {state!r}."
        )
    measure = lambda model: _measured(metric, model, tests, stacked=key.ndim > 0)
    before = measure(model)
    now: Any = state
    rows, training = [], []
    done = 0 if state is None else int(np.max(state.tasks))
    for number, data in enumerate(tasks):
        fold = jr.fold_in if key.ndim == 0 else jax.vmap(jr.fold_in, in_axes=(0, None))
        of_task, of_fisher = _two(fold(key, done + number))
        model, info = fit(
            model, loss, data, optimiser=optimiser, steps=steps, batch_size=batch_size,
            optimiser_state=now, trainable=trainable, log_every=log_every,
            validation=None if validation is None else validation[number],
            folder=None if folder is None else Path(folder) / f"task_{done + number + 1}",
            resume=resume, progress=progress, key=of_task,
        )  # fmt: skip
        now = _at_end(optimiser, info.optimiser_state, model, fisher, data, reset_inner, of_fisher)
        training.append(info)
        rows.append(measure(model))
    metrics = None if metric is None else np.stack(rows)
    return model, now, TasksInfo(tuple(training), before, metrics)


def _two(key: Key[Array, "*runs"]) -> tuple[Key[Array, "*runs"], Key[Array, "*runs"]]:
    split = jr.split if key.ndim == 0 else jax.vmap(jr.split, out_axes=1)
    first, second = split(key)
    return first, second


def _at_end(
    optimiser: Any,
    state: ContinualState,
    model: PyTree,
    fisher: Callable[..., PyTree] | None,
    data: PyTree,
    reset_inner: bool,
    key: Key[Array, "*runs"],
) -> ContinualState:
    """The state for the next task."""
    trained = jax.tree.map(
        lambda leaf: leaf is not None, state.reference, is_leaf=lambda leaf: leaf is None
    )
    params = eqx.filter(model, trained)
    stacked = key.ndim > 0
    found = None
    if fisher is not None:
        each = lambda model, key: fisher(model, data, key=key)
        found = _over_runs(each, model, key) if stacked else each(model, key)
    end = lambda state, params, found: consolidate(
        optimiser, state, params, fisher=found, reset_inner=reset_inner
    )
    with jax.numpy_dtype_promotion("standard"):
        return (jax.vmap(end) if stacked else end)(state, params, found)


def _over_runs(function: Callable[..., PyTree], model: PyTree, key: Key[Array, " runs"]) -> PyTree:
    """One run after another, for a function that compiles itself."""
    arrays, rest = eqx.partition(model, eqx.is_array)
    row = lambda n: eqx.combine(jax.tree.map(lambda leaf: leaf[n], arrays), rest)
    found = [function(row(n), key[n]) for n in range(len(key))]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *found)


def _measured(
    metric: Callable[..., Any] | None, model: PyTree, tests: list[Any], *, stacked: bool
) -> Any:
    """The metric on each of the tests."""
    if metric is None:
        return None

    def one(model: PyTree, test: PyTree) -> Array:
        found = jnp.asarray(metric(eqx.nn.inference_mode(model), test))
        if found.shape != ():
            raise TypeError(f"`metric` must return one number, got shape {found.shape}.")
        return found

    call = eqx.filter_vmap(one, in_axes=(eqx.if_array(0), None)) if stacked else one
    tests = jax.tree.map(lambda leaf: jnp.asarray(leaf) if eqx.is_array_like(leaf) else leaf, tests)
    return np.stack([np.asarray(compiled(call)(model, test)) for test in tests])


def _check(
    model: PyTree,
    optimiser: Any,
    tasks: list[Any],
    tests: list[Any],
    metric: Any,
    fisher: Any,
    validation: Any,
) -> None:
    if not tasks:
        raise ValueError("`tasks` must hold the data of one task or more, got none.")
    if (metric is None) != (not tests):
        raise ValueError("`tests` need a `metric` that is measured on them, and it needs them.")
    if validation is not None and len(validation) != len(tasks):
        raise ValueError(
            f"`validation` must have one entry for each of the {len(tasks)} tasks, got "
            f"{len(validation)}."
        )
    floats = eqx.filter(model, eqx.is_inexact_array)
    init = getattr(optimiser, "init", None)
    with jax.numpy_dtype_promotion("standard"):
        state = jax.eval_shape(init, floats) if callable(init) else None
    if not isinstance(state, ContinualState):
        raise TypeError(
            "`optimiser` must be what `synaptic_intelligence(inner, strength=...)` or "
            f"`elastic_weight_consolidation` gives; got {type(optimiser).__name__}. For training "
            "without memory give a strength of 0."
        )
    if (state.omega is None) != (fisher is not None):
        raise ValueError(
            "`fisher` is needed with `elastic_weight_consolidation`, such as `lambda model, data, "
            "*, key: diagonal_fisher(model, likelihood, data[0], key=key)`, and with it alone."
        )
