"""`fit`: train a model, log it, check it on held-out data, and survive whatever stops it."""

import dataclasses
import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray, PyTree

from pullback._checked_data import check_data
from pullback._key import checked_key
from pullback._leading_axis import leading_axis
from pullback._solve_failures import Told, failures_are_nan, failures_are_told
from pullback._traced import TracedCall
from pullback.train._advice import bad_row, refuse_traced, what_to_try
from pullback.train._batches import batches
from pullback.train._evaluate import means_of, traced_means
from pullback.train._info import Ending, FitInfo, TrainingError
from pullback.train._interrupt import deferred_interrupt
from pullback.train._learned import refuse_untrained
from pullback.train._log import append_line
from pullback.train._loop import (
    REASONS,
    AtStep,
    Chunk,
    Optimiser,
    Report,
    Setup,
    checked_optimiser,
    loss_of_next_step,
    run_chunk,
    traced_step,
)
from pullback.train._progress import progress_bar
from pullback.train._run import (
    Plan,
    Run,
    begin,
    check_plan,
    ending_of,
    info_of,
    place,
    save,
    save_as_failed,
    split_key,
    update_best,
)
from pullback.train._trainable import split_model

M = TypeVar("M")


def fit(
    model: M,
    loss: Callable[..., Any],
    data: PyTree,
    *,
    optimiser: Optimiser,
    steps: int,
    batch_size: int,
    validation: PyTree = None,
    patience: int | None = None,
    clip_norm: float | None = None,
    trainable: PyTree = True,
    log_every: int = 100,
    evaluate_every: int | None = None,
    checkpoint_every: int | None = None,
    folder: str | os.PathLike[str] | None = None,
    resume: bool = False,
    progress: bool | None = None,
    mesh: jax.sharding.Mesh | None = None,
    key: PRNGKeyArray,
) -> tuple[M, FitInfo]:
    r"""Train a model with an Optax optimiser.

    $$\theta_{s+1} = \theta_s + \text{update}\big(\nabla_\theta L(\theta_s, b_s)\big)$$

    The real floating arrays of `model` are its parameters $\theta$, or those of them that
    `trainable` picks; all else in it stays as it is, to the bit. The vectors by which Lipschitz
    layers know their norm follow every update.
    The batch $b_s$ is places $sB$ to $(s+1)B - 1$ of the epochs' permutations laid end to end, so
    every example is seen once an epoch, and the last batch of an epoch is filled up from the next.
    Batches and keys depend on `key` and the step alone: not on the devices, nor on interruptions.

    `log_every` steps run as one compiled program without a word to the host. `loss` and `optimiser`
    are traced once a call, and read what they close over as it is then. The program is kept:
    another call that computes the same of arrays of the same shapes does not compile again.

    Args:
        model: any PyTree. It is copied, so the caller's stays valid.
        loss: `loss(model, batch, *, key) -> (scalar, dict of scalar metrics)`. Metrics are averaged
            over a chunk. One named `result` is a solver's result code: an integer, zero where all
            went well; any other value stops the run as a loss that is not finite does. A loss with
            the argument `step` is told how many steps were taken before, for weights that warm up;
            on the validation data it is told `steps`, so that evaluations compare. A loss with a
            method `check(model, data)` is asked to refuse data that do not fit, before any step.
            Parts of it that are learned, such as a control variate, are trained by `JointLoss`.
        data: a PyTree of arrays that share their leading axis, of length N. It is put on the device
            once, whole; on a mesh, on each device.
        optimiser: an Optax gradient transformation. It is given `value=` the loss, `grad=` and
            `value_fn=`, the loss of the same batch with the same key as a function of the
            parameters: so `optax.lbfgs` can search along its line. Its state is of what is trained.
        steps: how many steps in all, those before a resume included.
        batch_size: examples a step, B; at most N.
        validation: held-out data, like `data`; evaluated whole by `evaluate`, in inference mode and
            with the same key each time.
        patience: stop after so many evaluations in a row without a lower validation loss, and
            return the model of the lowest. None: no early stop, and the last model is returned.
        clip_norm: the largest global norm of the gradient; a larger gradient is scaled down to it.
        trainable: which parameters are trained, a filter as `equinox.partition` takes it: a
            function from a leaf to a bool, or a tree of bools that fits the model or a front part
            of it. For the last layer alone:
            `eqx.tree_at(lambda m: m.layers[-1], jax.tree.map(lambda _: False, model), True)`.
        log_every: steps between two log lines, and from one look of the host to the next.
        evaluate_every: steps between evaluations, a multiple of `log_every`; default `log_every`.
        checkpoint_every: the same for checkpoints.
        folder: where `metrics.jsonl` and `checkpoint.npz` are written; `load_model` reads the
            model there. None: nowhere.
        resume: go on from the checkpoint in `folder`, if there is one, with the same model, loss,
            optimiser and numbers. The parameters come out bit for bit as those of a run that was
            never stopped, on the same machine. After a `TrainingError` the loss, `clip_norm` and
            the settings of the optimiser may be others, for they may be what was to blame. Without
            `resume` training starts afresh from `model`, with a warning where that replaces the
            checkpoint of another run.
        progress: show a bar on stderr. None: where stderr is a terminal.
        mesh: spread each batch over these devices, as
            `jax.make_mesh((n,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))` gives them.
        key: a typed PRNG key. Step s passes a key made from it and s to `loss`.

    Returns:
        The trained model and a `FitInfo`.

    Raises:
        ValueError: an argument does not fit; the message says which and how.
        TypeError: `loss` returns something else; `optimiser` is none; `model` has no parameters, or
            complex ones; or the call is within `jax.jit`, `vmap` or a gradient, for it compiles
            itself.
        CheckpointError: `resume` found a broken checkpoint, or one of another run.
        TrainingError: the loss, the gradient or the parameters became non-finite, or a solver
            failed. The state before that step is in the error and, with `folder`, in the
            checkpoint.
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
    key = checked_key(key)
    refuse_traced("fit", model, data, validation, key)
    checked_optimiser(optimiser)
    params, rest = split_model(model, trainable)
    plan = Plan(
        steps=steps,
        batch_size=batch_size,
        log_every=log_every,
        evaluate_every=log_every if evaluate_every is None else evaluate_every,
        checkpoint_every=log_every if checkpoint_every is None else checkpoint_every,
        patience=patience,
        clip_norm=clip_norm,
        folder=None if folder is None else Path(folder),
        resume=resume,
        size=leading_axis(data, name="data"),
        keys=split_key(key),
    )
    check_plan(plan, mesh=mesh, has_validation=validation is not None)
    refuse_untrained(loss)
    for part in (data, validation):
        if part is not None:
            check_data(loss, model, part)
    data, validation, rest, loss_key = place((data, validation, rest, plan.keys.loss), mesh)
    setup = Setup(loss, optimiser, rest, data, loss_key, clip_norm, mesh)
    shapes = lambda leaf: jax.ShapeDtypeStruct((batch_size, *leaf.shape[1:]), leaf.dtype)
    with failures_are_nan():
        run = begin(plan, setup, params, jax.tree.map(shapes, data), mesh)
        with (
            progress_bar(progress, steps=steps, done=int(run.state.step)) as show,
            deferred_interrupt() as interrupted,
        ):
            ending, run = _train(plan, setup, validation, run, show, interrupted)
    params = run.state.params if patience is None else run.best.params
    return eqx.combine(params, rest), info_of(plan, run, ending)


def _train(
    plan: Plan,
    setup: Setup,
    validation: PyTree,
    run: Run,
    show: Callable[[int, float, float], None],
    interrupted: Callable[[], bool],
) -> tuple[Ending, Run]:
    ending = ending_of(plan, run)
    if ending is not None:
        return ending, run
    start = int(run.state.step)
    traced = traced_step(setup, _chunk(plan, start, start + 1), run.state)
    means = None if validation is None else _traced_means(plan, setup, run, validation)
    refuse_traced("fit", traced, means)
    while ending is None:
        tick, before = time.perf_counter(), int(run.state.step)
        step = min(plan.steps, (before // plan.log_every + 1) * plan.log_every)
        chunk = _chunk(plan, before, step)
        state, report = run_chunk((traced, chunk), run.state)
        run, report = dataclasses.replace(run, state=state), jax.device_get(report)
        if report.reason != 0:
            raise _failed_step(plan, setup, chunk, run, report)
        rate = (step - before) / (time.perf_counter() - tick)
        entry = {"step": step, **_means(report, step - before), "steps_per_second": rate}
        if means is not None and (step % plan.evaluate_every == 0 or step == plan.steps):
            held_out = means_of(means, _model(setup, run), plan.keys.evaluation)
            if not math.isfinite(held_out["loss"]) or held_out.get("result", 0) != 0:
                raise _failed_evaluation(plan, setup, run, validation, held_out)
            entry |= {f"validation_{name}": value for name, value in held_out.items()}
            run = dataclasses.replace(run, best=update_best(plan, run, held_out["loss"]))
        run = dataclasses.replace(run, history=(*run.history, entry))
        if plan.log is not None:
            append_line(plan.log, entry)
        show(step, rate, entry["loss"])
        ending, stop = ending_of(plan, run), interrupted()
        if ending is not None or stop or step % plan.checkpoint_every == 0:
            save(plan, setup, run)
        if stop:
            raise KeyboardInterrupt
    return ending, run


def _chunk(plan: Plan, start: int, end: int) -> Chunk:
    examples = np.zeros((plan.log_every, plan.batch_size), np.int32)
    examples[: end - start] = batches(
        start, end, size=plan.size, batch_size=plan.batch_size, seed=plan.keys.seed
    )
    return Chunk(jnp.asarray(start, jnp.int32), jnp.asarray(end, jnp.int32), jnp.asarray(examples))


def _means(report: Report, steps: int) -> dict[str, float]:
    means = {"loss": report.loss_sum, **report.metrics_sum}
    return {name: float(total) / steps for name, total in means.items()}


def _model(setup: Setup, run: Run) -> PyTree:
    return eqx.combine(run.state.params, setup.rest)


def _traced_means(plan: Plan, setup: Setup, run: Run, validation: PyTree) -> TracedCall:
    return traced_means(
        _model(setup, run),
        AtStep(setup.loss, jnp.asarray(plan.steps, jnp.int32)),
        validation,
        batch_size=plan.batch_size,
        mesh=setup.mesh,
        key=plan.keys.evaluation,
    )


def _failed_step(plan: Plan, setup: Setup, chunk: Chunk, run: Run, report: Report) -> TrainingError:
    step = int(run.state.step)
    values = {"loss": float(report.loss), **jax.tree.map(float, report.metrics)}
    reason = REASONS[int(report.reason)]
    if not math.isfinite(values["loss"]) and "result" not in values:
        told = _failed_solves(lambda: loss_of_next_step(setup, chunk, run.state))
        if told.lines:
            reason = f"a solver failed inside of the loss ({told.lines[0]})"
            values |= {"result": float(told.codes[0])} if told.codes else {}
    rows = np.asarray(chunk.examples[step - int(chunk.start)])
    advice = what_to_try(setup.data, rows, step=step, reason=int(report.reason))
    return _failure(
        f"Training stopped at step {step + 1}: {reason}. {advice} The state after step {step} is "
        "kept",
        step=step + 1,
        values=values,
        model=_model(setup, run),
        info=save_as_failed(plan, setup, run),
    )


def _failed_solves(run_again: Callable[[], Any]) -> Told:
    """What the solves say of themselves when all is run once more, the first cause first."""
    with failures_are_told() as told:
        try:
            jax.block_until_ready(run_again())
        except RuntimeError as error:  # of what can tell by raising alone
            told.lines.append(str(error).strip().splitlines()[-1])
    return told


def _failed_evaluation(
    plan: Plan, setup: Setup, run: Run, validation: PyTree, values: dict[str, float]
) -> TrainingError:
    step = int(run.state.step)
    reason = "the loss on the validation data is not finite"
    if values.get("result", 0) != 0:
        reason = "a solver failed on the validation data (the metric `result` is not zero)"
    else:
        told = _failed_solves(
            lambda: means_of(
                _traced_means(plan, setup, run, validation),
                _model(setup, run),
                plan.keys.evaluation,
            )
        )
        if told.lines:
            reason = f"a solver failed on the validation data ({told.lines[0]})"
            values |= {"result": float(told.codes[0])} if told.codes else {}
    return _failure(
        f"Training stopped after step {step}: {reason}. {bad_row(validation, name='validation')}"
        "The state is kept",
        step=step,
        values=values,
        model=_model(setup, run),
        info=save_as_failed(plan, setup, run),
    )


def _failure(
    text: str, *, step: int, values: dict[str, float], model: PyTree, info: FitInfo
) -> TrainingError:
    shown = ", ".join(f"{name} = {value:g}" for name, value in values.items())
    file = "" if info.checkpoint is None else f" and in {info.checkpoint}"
    return TrainingError(
        f"{text} in the `model` of this error{file}. What was measured: {shown}.",
        step=step,
        loss=values["loss"],
        metrics={name: value for name, value in values.items() if name != "loss"},
        model=model,
        info=info,
    )
