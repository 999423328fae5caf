"""`iterate`: training that is more than a gradient step of one loss, with a way back."""

import dataclasses
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import equinox as eqx
import jax
from jaxtyping import Array, Key, PyTree

from pullback._key import checked_key_or_keys
from pullback._solve_failures import failures_are_nan
from pullback.train._advice import refuse_traced
from pullback.train._folder import held
from pullback.train._info import TrainingInfo
from pullback.train._iterate_job import IterateJob
from pullback.train._plan import Plan, check_plan, check_stack, whole
from pullback.train._run import train
from pullback.train._sources import Feed, Stream, draws
from pullback.train._store import begin, save

S = TypeVar("S")


def iterate(
    step: Callable[..., tuple[Any, dict[str, Any]]],
    state: S,
    streams: Stream | Mapping[str, Any] | Callable[..., PyTree] | None = None,
    *,
    steps: int,
    validation: Callable[..., dict[str, Any]] | None = None,
    patience: int | None = None,
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
) -> tuple[S, TrainingInfo]:
    r"""Take steps that change a state: two players, a sampler's buffer, whatever `fit` is not for.

    $$ s_{t+1} = \text{step}(s_t, b_t, \xi_t) $$

    A step that diverged is not taken: one whose metrics are not finite, whose metric `diverged` is
    true (an energy explodes long before it overflows), or whose metric `result`, the code of a
    solver, is not zero. The run then goes back to its last snapshot and on, with new noise and new
    batches; the steps since the snapshot are lost and are not made up for. Batches are made as in
    `fit`, and depend on `key` and the step alone.

    `log_every` steps run as one compiled program. With a batch of keys, `[n]`, every array of
    `state` has a leading axis n, and n runs go side by side under `jax.vmap`; one that fails keeps
    its last snapshot.

    Args:
        step: `step(state, batch, *, key) -> (state, dict of scalar metrics)`, of one run: a stack
            maps it. The new state has the structure, shapes and dtypes of the old; what in it is no
            array stays as it was. `key` is another one at every step. Metrics go to the history and
            the log by their names; `step`, `rollbacks` and `steps_per_second` are taken, `diverged`
            and `result` mean what is said above. It is traced once a call, and reads what it closes
            over as it is then. Where it is an `eqx.Module`, its arrays stay as they are and are
            shared by the runs of a stack. `apply_gradient` takes an optimiser's step in it.
        state: any PyTree of arrays: models, optimisers' states, buffers. It is copied.
        streams: where the batches come from: one `Stream`, whose rows `step` is given, or several
            by name, of which it is given a dictionary. A stream may be arrays, a function that
            draws, or a source on the host, as the `data` of `fit`; a function needs no `Stream`
            around it. None: there are no batches, and `step` is given None.
        steps: how many in all, those before a resume included.
        validation: `validation(state, *, key) -> dict of scalar metrics`, with the same key each
            time, in the history as `validation_NAME`.
        patience: stop after so many evaluations in a row without a lower `loss` of `validation`,
            and return the state of the lowest. None: no early stop, and the last one is returned.
        rollbacks: how often a run may go back to its snapshot; beyond that it has failed.
        snapshot_every: steps between snapshots, a multiple of `log_every`; default `log_every`.
        log_every: steps between two points of the history, and two looks of the host.
        evaluate_every: steps between evaluations, a multiple of `log_every`; default `log_every`.
        checkpoint_every: the same for checkpoints.
        folder: as for `fit`.
        resume: go on from the last checkpoint in `folder`, if there is one, with the same step,
            streams and numbers, as `fit` does. Without it the run starts afresh, with a warning
            where that replaces the checkpoint of another one.
        progress: show a bar on stderr. None: where stderr is a terminal.
        mesh: as for `fit`.
        sequential: as for `fit`.
        key: a typed PRNG key, or `[n]` of them.

    Returns:
        The state after the last step, and a `TrainingInfo`.

    Raises:
        ValueError: an argument does not fit; the message says which and how.
        CheckpointError: as of `fit`.
        TrainingError: a single run diverged more than `rollbacks` times, or all of a stack did. The
            last snapshot is in the error and, with `folder`, in the checkpoint. Or the disk is
            full, as of `fit`.
        KeyboardInterrupt: on Ctrl-C, at the next log line and after a checkpoint.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> def step(mean, batch, *, key):
        ...     return mean + 0.1 * jnp.mean(batch - mean), {"mean": mean}
        >>> mean, info = iterate(step, jnp.asarray(0.0), Stream(jnp.asarray([1.0, 2.0, 3.0]), 3),
        ...                      steps=50, key=jax.random.key(0))
        >>> print(f"{mean:.2f}", info.rollbacks)
        1.99 0
    """
    key = checked_key_or_keys(key)
    refuse_traced("iterate", state, streams, key)
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
    named, nameless = _named(streams)
    check_plan(plan, named, sequential=sequential, has_validation=validation is not None)
    arrays, rest = eqx.partition(plan.place(state), eqx.is_array)
    check_stack(plan, arrays, name="state")
    feed = Feed(
        named,
        [{name: (*k.seed, n) for n, name in enumerate(named)} for k in plan.keys],
        stacked=plan.stack is not None,
        steps=steps,
        log_every=log_every,
        place=plan.place,
    )
    try:
        with held(plan.folder) as lock:
            plan = dataclasses.replace(plan, lock=lock)
            with failures_are_nan():
                job = IterateJob.of(plan, step, arrays, rest, named, nameless, feed, validation)
                run = begin(plan, job, arrays, snapshots=True)
            run, ending = train(plan, job, run, lambda run: save(plan, job, run))
    finally:
        feed.close()
    last = run.arrays if patience is None else run.best.kept
    return eqx.combine(last, rest), job.info(plan, run, ending)


def _named(streams: Any) -> tuple[dict[str, Stream], bool]:
    """The streams by name, and whether it is one alone."""
    if isinstance(streams, Stream) or draws(streams):
        return {"": _stream(streams)}, True
    if streams is None:
        return {}, True
    return {name: _stream(stream) for name, stream in streams.items()}, False


def _stream(stream: Any) -> Stream:
    if isinstance(stream, Stream):
        numbers = {name: whole(getattr(stream, name), name=name) for name in Stream._fields[1:]}
        return stream._replace(**numbers)
    if draws(stream):
        return Stream(stream)
    raise TypeError(
        "`streams` must be a `Stream`, a function that draws a batch, or a dictionary of them; got "
        f"{type(stream).__name__}. Write Stream(data, batch_size)."
    )
