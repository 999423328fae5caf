"""`fit`: train a model, log it, check it on held-out data, and survive whatever stops it."""

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Key, PyTree

from pullback._checked_data import check_data
from pullback._key import checked_key_or_keys
from pullback._solve_failures import failures_are_nan
from pullback.train._advice import refuse_traced
from pullback.train._fit_job import FitJob, split_own
from pullback.train._folder import held
from pullback.train._gradient import (
    GradientStep,
    Optimiser,
    Trained,
    checked_optimiser,
    refuse_short,
    takes,
)
from pullback.train._info import TrainingInfo
from pullback.train._learned import refuse_untrained
from pullback.train._plan import Plan, check_plan, check_stack, whole
from pullback.train._run import train
from pullback.train._sources import Feed, Stream, draws, on_host
from pullback.train._store import begin, save
from pullback.train._trainable import split_model

M = TypeVar("M")


def fit(
    model: M,
    loss: Callable[..., Any],
    data: Any = None,
    *,
    optimiser: Optimiser,
    steps: int,
    batch_size: int | None = None,
    validation: PyTree | Callable[..., dict[str, Any]] = None,
    patience: int | None = None,
    clip_norm: float | None = None,
    trainable: PyTree = True,
    optimiser_state: PyTree = None,
    state: PyTree = None,
    rollbacks: int = 0,
    snapshot_every: int | None = None,
    log_every: int = 100,
    evaluate_every: int | None = None,
    checkpoint_every: int | None = None,
    folder: str | os.PathLike[str] | None = None,
    resume: bool = False,
    progress: bool | None = None,
    mesh: jax.sharding.Mesh | None = None,
    sequential: bool = False,
    key: Key[Array, "*runs"],
) -> tuple[M, TrainingInfo]:
    r"""Train a model with an Optax optimiser.

    $$\theta_{s+1} = \theta_s + \text{update}\big(\nabla_\theta L(\theta_s, b_s)\big)$$

    The real floating arrays of `model` are its parameters $\theta$, or those of them that
    `trainable` picks; all else in it stays as it is, to the bit, but for arrays of NumPy, which
    become JAX's, of JAX's dtypes. The vectors by which Lipschitz
    layers know their norm follow every update, where they too are picked; else such a layer looks
    for its norm at every step.
    The batch $b_s$ is places $sB$ to $(s+1)B - 1$ of the epochs' permutations laid end to end, so
    every example is seen once an epoch, and the last batch of an epoch is filled up from the next.
    Batches and keys depend on `key` and the step alone: not on the devices, nor on interruptions,
    nor on whether the examples lie on the device or on the host.

    With several keys, `[n]`, every array of `model` has a leading axis n, and n models are trained
    as one program, each as if it were alone. One that fails is left in its last good state.

    `log_every` steps run as one compiled program without a word to the host. `loss` and `optimiser`
    are traced once a call, and read what they close over as it is then. The program is kept:
    another call that computes the same of arrays of the same shapes does not compile again.

    Args:
        model: any PyTree. It is copied, so the caller's stays valid. For several keys, as
            `equinox.filter_vmap` of a constructor gives it.
        loss: `loss(model, batch, *, key) -> (scalar, dict of scalar metrics)`. Metrics are averaged
            over a chunk. One named `result` is a solver's result code: an integer, zero where all
            went well; any other value stops the run as a loss that is not finite does. A loss with
            the argument `step` is told how many steps were taken before, for weights that warm up;
            on the validation data it is told `steps`, so that evaluations compare. A loss with a
            method `check(model, data)` is asked to refuse data that do not fit, before any step.
            Parts of it that are learned, such as a control variate, are trained by `JointLoss`.
            With the argument `state` it is given what is carried, and returns `(scalar, metrics,
            state)`: running averages, `equinox.nn.State`. For several keys the arrays of a loss
            that is an `eqx.Module` have a row for each, or no axis, which is the same for all.
        data: where the examples come from. A PyTree of arrays that share their leading axis, of
            length N, is put on the device once, whole; on a mesh, on each device. A function
            `draw(key) -> batch` is compiled into the step, for fresh samples, noise or
            environments. What has a length and gives the example of a number, `data[i]` (a Grain
            `MapDataset`, a torch `Dataset`), and arrays of which one is a `numpy.memmap`, are read
            on the host by a thread while the device works, and never held whole. None: the loss
            needs no examples, and is given None.
        optimiser: an Optax gradient transformation. It is given `value=` the loss, `grad=` and
            `value_fn=`, the loss of the same batch with the same key as a function of the
            parameters: so `optax.lbfgs` can search along its line. Its state is of what is trained.
        steps: how many steps in all, those before a resume included.
        batch_size: examples a step, B; at most N. Left out where there are none, and for a
            function that draws.
        validation: held-out arrays; evaluated whole by `evaluate`, in inference mode and with the
            same key each time. Or a function `validation(model, *, key) -> dict of scalar metrics`,
            with another name in the history for each: `validation_NAME`.
        patience: stop after so many evaluations in a row without a lower validation loss (the
            metric `loss` of a function), and return the model of the lowest. None: no early stop,
            and the last model is returned.
        clip_norm: the largest global norm of the gradient; a larger gradient is scaled down to it.
        trainable: which parameters are trained, a filter as `equinox.partition` takes it: a
            function from a leaf to a bool, or a tree of bools that fits the model or a front part
            of it. For the last layer alone:
            `eqx.tree_at(lambda m: m.layers[-1], jax.tree.map(lambda _: False, model), True)`.
        optimiser_state: to start from, as `TrainingInfo.optimiser_state` of another call; None:
            `optimiser.init` of what is trained.
        state: what the loss carries from step to step, a PyTree of arrays; with a row for each of
            several keys. It comes back in `TrainingInfo.state`.
        rollbacks: how often a run may go back to its last snapshot where a step fails, and on with
            new batches; beyond that it has failed.
        snapshot_every: steps between snapshots, a multiple of `log_every`; default `log_every`.
        log_every: steps between two log lines, and from one look of the host to the next.
        evaluate_every: steps between evaluations, a multiple of `log_every`; default `log_every`.
        checkpoint_every: the same for checkpoints.
        folder: where `metrics.jsonl` and the last two checkpoints, `checkpoint-STEP.safetensors`,
            are written; `load_model` reads the model there. Held by one training at a time. None:
            nowhere.
        resume: go on from the last checkpoint in `folder`, if there is one, with the same model,
            data, loss, optimiser and numbers; where it is damaged, from the one before, with a
            warning. The parameters come out bit for bit as those of a run that was never stopped,
            on the same machine. `steps` may be another; where fewer than were taken already, no
            step is, and the trained model is returned, with a warning. So may `log_every`, but with
            `rollbacks`, and `validation`, but with `patience`. After a `TrainingError` the loss,
            `clip_norm` and the settings of the optimiser may be others, for they may be what was to
            blame. Of data on the host 128 examples are compared. Where the versions of JAX,
            Equinox, Optax, Python or pullback are others, a warning says so. Without `resume`
            training starts afresh from `model`, with a warning where that replaces the checkpoint
            of another run.
        progress: show a bar on stderr. None: where stderr is a terminal.
        mesh: spread each batch over these devices, as
            `jax.make_mesh((n,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))` gives them.
        sequential: of several runs, one after another rather than all at once under `vmap`: for
            what does not fit into memory, or fills the machine by itself.
        key: a typed PRNG key, or `[n]` of them. Step s passes a key made from it and s to `loss`.

    Returns:
        The trained model and a `TrainingInfo`.

    Raises:
        ValueError: an argument does not fit; the message says which and how.
        TypeError: `loss` returns something else; `optimiser` is none; `model` has no parameters, or
            complex ones, or ones shorter than float32, in which small updates are lost; or the call
            is within `jax.jit`, `vmap` or a gradient, for it compiles itself.
        CheckpointError: `resume` found broken checkpoints, or one of another run; or `folder`
            cannot be written to, or another training holds it.
        TrainingError: the loss, the gradient or the parameters became non-finite, or a solver
            failed, more often than `rollbacks` allows; of several runs, in all. The state before
            that step is in the error and, with `folder`, in the checkpoint. Or the disk is full:
            what was trained is in the error, and the checkpoint before is whole.
        KeyboardInterrupt: on Ctrl-C, at the next log line and after a checkpoint.

    Example:
        >>> import jax, jax.numpy as jnp, optax
        >>> def loss(mean, batch, *, key):
        ...     return jnp.mean((batch - mean) ** 2), {}
        >>> model, info = fit(jnp.asarray(0.0), loss, jnp.asarray([1.0, 2.0, 3.0]), steps=50,
        ...                   optimiser=optax.sgd(0.1), batch_size=3, key=jax.random.key(0))
        >>> print(f"{model:.3f}", info.step, info.ending.value)
        2.000 50 All steps were taken.
    """
    key = checked_key_or_keys(key)
    refuse_traced("fit", model, data, validation, optimiser_state, state, key)
    checked_optimiser(optimiser)
    params, rest = split_model(model, trainable)
    refuse_short(params)
    plan = Plan(
        steps=steps,
        log_every=log_every,
        evaluate_every=log_every if evaluate_every is None else evaluate_every,
        checkpoint_every=log_every if checkpoint_every is None else checkpoint_every,
        snapshot_every=log_every if snapshot_every is None else snapshot_every,
        rollbacks=rollbacks,
        patience=patience,
        folder=None if folder is None else Path(folder),
        resume=resume,
        progress=progress,
        mesh=mesh,
        key=key,
        stack=None if key.ndim == 0 else "sequential" if sequential else "at once",
    )
    batch_size = whole(batch_size, name="batch_size")
    streams = {} if data is None else {"": Stream(data, batch_size)}
    check_plan(plan, streams, sequential=sequential, has_validation=validation is not None)
    if data is None and batch_size is not None:
        raise ValueError(f"`batch_size` needs `data`; got {batch_size} without it.")
    if clip_norm is not None and not clip_norm > 0:
        raise ValueError(f"`clip_norm` must be above 0, got {clip_norm}.")
    refuse_untrained(loss)
    if (state is not None) != takes(loss, "state"):
        raise ValueError(
            "a loss with the argument `state` needs the `state` that it starts from, and `state` "
            "needs such a loss."
        )
    rest = plan.place(rest)
    arrays, _ = eqx.partition(rest, eqx.is_array)
    check_stack(plan, (params, arrays, state), name="model")
    own, shared = split_own(plan, loss, rest)
    check = lambda rows: check_data(loss, _first(plan, model), rows)
    for part in (data, validation):
        if part is not None and not (draws(part) or on_host(part)):
            check(part)
    if on_host(validation):
        raise ValueError(
            "`validation` must be arrays or a function of the model; got a source on the host. "
            "Read the held-out examples into arrays."
        )
    feed = Feed(
        streams,
        [dict.fromkeys(streams, keys.seed) for keys in plan.keys],
        stacked=plan.stack is not None,
        steps=steps,
        log_every=log_every,
        place=plan.place,
        check=check,
    )
    try:
        with held(plan.folder) as lock:
            plan = dataclasses.replace(plan, lock=lock)
            with failures_are_nan():
                shared_loss, shared_rest = plan.place(shared)
                start = _start(plan, optimiser, params, optimiser_state, state)
                limit = None if clip_norm is None else float(clip_norm)
                step = GradientStep(shared_loss, shared_rest, optimiser, limit)
                job = FitJob.of(plan, step, plan.place(own), start, streams, feed, validation)
                run = begin(plan, job, start, snapshots=rollbacks > 0 or plan.stack is not None)
            run, ending = train(plan, job, run, lambda run: save(plan, job, run))
    finally:
        feed.close()
    last = run.arrays.params if patience is None else run.best.kept["params"]
    return eqx.combine(last, rest), job.info(plan, run, ending)


def _first(plan: Plan, tree: M) -> M:
    """The tree of one run."""
    if plan.stack is None:
        return tree
    arrays, rest = eqx.partition(tree, eqx.is_array)
    return eqx.combine(_first_rows(arrays), rest)


@jax.jit
def _first_rows(arrays: PyTree) -> PyTree:
    return jax.tree.map(lambda leaf: leaf[0], arrays)


def _start(
    plan: Plan, optimiser: Any, params: PyTree, optimiser_state: PyTree, state: PyTree
) -> Trained:
    """The state's arrays before the first step."""
    with jax.numpy_dtype_promotion("standard"):
        # Of a stack it is traced anyway: one program, and not one for each shape.
        init = optimiser.init if plan.stack is None else jax.jit(jax.vmap(optimiser.init))
        fresh = jax.tree.map(jnp.asarray, init(plan.place(params)))
    if optimiser_state is None:
        optimiser_state = fresh
    shapes = lambda tree: jax.tree.map(lambda leaf: (jnp.shape(leaf), jnp.result_type(leaf)), tree)
    if shapes(optimiser_state) != shapes(fresh):
        raise ValueError(
            "`optimiser_state` must be a state of `optimiser` for what is trained of `model`: "
            f"{shapes(fresh)}; got {shapes(optimiser_state)}."
        )
    return Trained(params, optimiser_state, jax.tree.map(jnp.asarray, state))
