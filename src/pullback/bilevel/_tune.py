"""Hyperparameters and weights trained together, by hypergradients."""

import dataclasses
import os
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
import optax
from jaxtyping import Array, Key, PyTree

from pullback._key import checked_key_or_keys
from pullback._leading_axis import leading_axis
from pullback._traced import compiled
from pullback.bilevel._checks import (
    as_arrays,
    check_apart,
    check_has_gradient,
    check_hyper,
    check_losses,
    check_model,
    check_whole,
)
from pullback.bilevel._hypergradient import (
    AbstractHypergradient,
    Problem,
    checked_method,
    say_if_it_diverges,
)
from pullback.bilevel._hyperparameters import values
from pullback.bilevel._inverse import Neumann
from pullback.bilevel._tune_step import Tuned, TuneStep
from pullback.train import Ending, Stream, TrainingError, TrainingInfo, iterate

M = TypeVar("M")
H = TypeVar("H")


@dataclasses.dataclass(frozen=True)
class TuneInfo:
    """How tuning went.

    Attributes:
        training: of the outer steps, as `iterate` tells it. Its history has the losses `inner` and
            `outer`, their metrics as `inner_NAME` and `outer_NAME`, `gradient_norm`, `ratio` and
            `hypergradient_norm`.
        schedule: what the hyperparameters were at some 500 training steps at most, to be looked at,
            saved or replayed; of several runs, one each.
    """

    training: TrainingInfo
    schedule: Any

    @property
    def history(self) -> dict[str, np.ndarray]:
        """That of `training`."""
        return self.training.history


def tune(
    model: M,
    hyper: H,
    inner: Callable[..., Any],
    outer: Callable[..., Any],
    train: Any,
    validation: Any,
    *,
    optimiser: Any,
    hyper_optimiser: optax.GradientTransformation,
    method: AbstractHypergradient | None = None,
    inner_steps: int,
    outer_steps: int,
    batch_size: int | None = None,
    validation_batch_size: int | None = None,
    restart_every: int | None = None,
    rollbacks: int = 0,
    log_every: int = 10,
    checkpoint_every: int | None = None,
    folder: str | os.PathLike[str] | None = None,
    resume: bool = False,
    progress: bool | None = None,
    mesh: jax.sharding.Mesh | None = None,
    sequential: bool = False,
    key: Key[Array, "*runs"],
) -> tuple[M, H, TuneInfo]:
    r"""Tune hyperparameters while the model trains, by the gradient of the outer loss.

    $$ w \leftarrow \text{inner\_steps of training at } \lambda, \qquad
       \lambda \leftarrow \lambda + \text{update}\Big(\frac{d L_V}{d \lambda}\Big) $$

    and so on, `outer_steps` times. What comes out may be tuned to the path that it was found on: by
    default the model is never started anew, and what it learned at earlier hyperparameters stays in
    it. `retrain_gap` measures how much of the outer loss is lost when a model is trained from the
    start at the tuned values; a penalty on the weights, or `restart_every=1`, makes it small.

    Args:
        model: where training starts, any PyTree; its real floating arrays are trained.
        hyper: where tuning starts: any PyTree of real floating arrays, and of records such as
            `Bounded` and `Positive`.
        inner: `inner(model, hyper, batch, *, key) -> (scalar, dict of scalar metrics)`, what
            training makes small.
        outer: the same, what `hyper` is tuned by, and without what `hyper` adds. It is given the
            model in inference mode.
        train: arrays, a function that draws a batch, or a source on the host, as the `data` of
            `fit`; None where `inner` needs none.
        validation: the same for `outer`, held out from `train`. Arrays are compared with `train`.
        optimiser: of the model: an Optax transformation, or a function of `hyper` that gives one,
            whose settings `Unrolled` tunes.
        hyper_optimiser: of `hyper`.
        method: None: `Implicit(Neumann(10))`. A series that grows to twice its start is warned of.
            Look at `ratio` in the history: near 1 the series is
            too short for the curvature, and hyperparameters hardly move.
        inner_steps: training steps before each step of `hyper`.
        outer_steps: how many steps of `hyper`.
        batch_size: examples of a training batch. None: all of `train` in every step.
        validation_batch_size: examples of a batch of `outer`. None: all of `validation`.
        restart_every: outer steps after which model and optimiser start anew. None: never, a warm
            start. 1: at each, a cold start.
        rollbacks: as for `iterate`.
        log_every: outer steps between points of the history.
        checkpoint_every: as for `iterate`.
        folder: where the log and the checkpoint are written. None: nowhere.
        resume: go on from the checkpoint in `folder`.
        progress: as for `fit`.
        mesh: as for `fit`.
        sequential: as for `fit`.
        key: a random key; or several, `[n]`, for n runs as one program, with a leading axis of n in
            `model` and `hyper`.

    Returns:
        The model and the hyperparameters after the last step, and a `TuneInfo`.

    Raises:
        TypeError: a leaf of `hyper` is not real floating; a loss is none.
        ValueError: there is one loss for two; validation rows are training rows; a hyperparameter
            enters neither loss, under `Implicit`; the numbers do not fit together.
        TrainingError: a number in it became non-finite; the message names the largest
            hyperparameter, for a large decay makes steps of training diverge.

    Example:
        >>> import jax, jax.numpy as jnp, optax
        >>> def inner(w, hyper, batch, *, key):
        ...     return (w - 1) ** 2 / 2 + jnp.exp(hyper) * w**2 / 2, {}
        >>> def outer(w, hyper, batch, *, key):
        ...     return (w - 0.25) ** 2 / 2, {}
        >>> w, hyper, info = tune(
        ...     jnp.asarray(0.0), jnp.asarray(0.0), inner, outer, None, None,
        ...     optimiser=optax.sgd(0.2), hyper_optimiser=optax.adam(0.1), inner_steps=20,
        ...     outer_steps=100, key=jax.random.key(0))
        >>> print(f"{w:.3f} {jnp.exp(hyper):.2f}")
        0.251 2.99

    Source:
        Lorraine et al., arXiv 1911.02590, algorithm 1; warm and cold starts: Vicol et al., "On
        Implicit Bias in Overparameterized Bilevel Optimization", arXiv 2212.14032.
    """
    key = checked_key_or_keys(key)
    check_losses(inner, outer)
    check_model(model)
    check_hyper(hyper)
    check_has_gradient(hyper)
    check_apart(train, validation)
    method = checked_method(method, Neumann(10))
    check_whole(1, inner_steps=inner_steps, outer_steps=outer_steps)
    if restart_every is not None:
        check_whole(1, restart_every=restart_every)
    if method.steps > inner_steps:
        raise ValueError(
            f"`method` goes through {method.steps} training steps, and there are {inner_steps} "
            "before each step of `hyper`: give `inner_steps` as many, or fewer to `method`."
        )
    fresh = method.steps == 0  # an implicit gradient gets a batch that no step was taken on
    streams, whole = {}, {}
    for name, data, size, count in (
        ("train", train, batch_size, inner_steps + fresh),
        ("validation", validation, validation_batch_size, None),
    ):
        if size is not None or callable(data):
            streams[name] = Stream(data, size, count)
        elif data is not None:
            leading_axis(data, name=name)
            whole[name] = jax.tree.map(jnp.asarray, data)
    step = TuneStep(
        Problem(inner, outer, optimiser), hyper_optimiser, method, whole, inner_steps, restart_every
    )
    arrays, rest = eqx.partition(as_arrays((model, hyper)), eqx.is_array)
    begin = lambda arrays: step.start(*eqx.combine(arrays, rest))
    state = compiled(begin if key.ndim == 0 else eqx.filter_vmap(begin))(arrays)
    try:
        state, info = iterate(
            step, state, streams or None, steps=outer_steps, rollbacks=rollbacks,
            log_every=log_every, checkpoint_every=checkpoint_every,
            folder=folder, resume=resume, progress=progress, mesh=mesh, sequential=sequential,
            key=key,
        )  # fmt: skip
    except TrainingError as error:
        if error.info.ending is Ending.FAILED:
            error.add_note(_advice(error.model.hyper))
        raise
    # On its way a network has directions of some negative curvature, which do little harm.
    say_if_it_diverges(float(np.max(info.history["ratio"])), above=2)
    _say_what_was_not_felt(state.felt)
    return state.model, state.hyper, TuneInfo(info, _schedules(state, inner_steps, key.ndim))


def _say_what_was_not_felt(felt: PyTree) -> None:
    """Warn of hyperparameters to which no gradient came in any step."""
    for path, leaf in jtu.tree_leaves_with_path(felt):
        if not np.any(leaf):
            warnings.warn(
                f"no gradient came to hyper{jtu.keystr(path)} in any step, so it is where it was. "
                "None comes through a draw such as `jax.random.bernoulli(key, rate)`, nor through "
                "a rounded number: tune those by `fit_self_tuning` or `search`.",
                stacklevel=3,
            )


def _schedules(state: Tuned, steps: int, stacked: int) -> Any:
    if not stacked:
        return state.record.schedule(state.hyper, int(state.count), steps=steps)
    arrays, rest = eqx.partition((state.record, state.hyper, state.count), eqx.is_array)
    found = []
    for run in range(len(state.count)):
        one = jax.tree.map(lambda leaf, run=run: leaf[run], arrays)
        record, hyper, count = eqx.combine(one, rest)
        found.append(record.schedule(hyper, int(count), steps=steps))
    return tuple(found)


def _advice(hyper: PyTree) -> str:
    """What to look at where numbers ran away."""
    found = jtu.tree_leaves_with_path(values(hyper))
    found = [(path, leaf) for path, leaf in found if eqx.is_inexact_array(leaf)]
    path, leaf = max(found, key=lambda each: float(jnp.max(each[1])))
    largest = float(jnp.max(leaf))
    said = f"The largest hyperparameter by then was {largest:.3g}, in hyper{jtu.keystr(path)}."
    if not np.isfinite(largest):
        return f"{said} Take smaller steps of `hyper`, or a record with bounds, such as `Bounded`."
    return (
        f"{said} Plain steps of size s diverge once a decay is above 2 / s: a decay of "
        f"{largest:.3g} allows steps of {2 / max(largest, 1e-30):.2g}, and a log-decay of "
        f"{largest:.3g} steps of {2 * float(np.exp(-largest)):.2g}. Bound it, as "
        "`Bounded(value, low, high)` does, or take smaller steps."
    )
