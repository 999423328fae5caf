"""The compiled part of training: many steps of one run or of a stack, one answer to the host."""

import functools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array, Bool, Int, Key, PRNGKeyArray, PyTree

from pullback._traced import TracedCall, trace_call
from pullback.train._sources import Chunk

REASONS = {
    1: "a solver failed (the metric `result` is not zero)",
    2: "the loss is not finite",
    3: "the gradient is not finite",
    4: "the updated parameters are not finite",
    5: "the step says that it diverged",
    6: "a metric is not finite",
    7: "the state is not finite",
}

UPDATE_FAILED, DIVERGED, METRIC, STATE = 4, 5, 6, 7


class Setup(eqx.Module):
    """What stays the same during a training and is the same for all runs.

    Args:
        advance: `advance(own, state, batch, *, key, step) -> (state, metrics, reason)`, one step of
            one run; a reason that is not 0 says that the step is not to be taken.
        draws: the streams that draw their batches.
        nameless: whether there is one stream, whose batch comes by itself.
        mesh: over which a batch is spread.
        batches: the streams of several batches a step, and how many.
    """

    advance: Callable[..., Any]
    draws: dict[str, Callable[[PRNGKeyArray], PyTree]]
    nameless: bool = eqx.field(static=True)
    mesh: jax.sharding.Mesh | None = eqx.field(static=True)
    batches: tuple[tuple[str, int], ...] = eqx.field(static=True, default=())


class Own(eqx.Module):
    """What each run of a stack has for itself: keys, and what does not change of its model."""

    key: Key[Array, "*runs"]
    draw_keys: dict[str, Key[Array, "*runs"]]
    fixed: PyTree


class Report(eqx.Module):
    """What some steps tell the host, for each run.

    Sums are over the steps that were taken; `metrics` and `reason` are of the last one tried.
    """

    taken: Int[Array, "*runs"]
    sums: dict[str, Array]
    metrics: dict[str, Array]
    reason: Int[Array, "*runs"]


class Program(eqx.Module):
    """The steps, ready to run.

    Args:
        step: one step of one run, traced.
        own: with a leading axis where there is a stack.
        stack: how the runs of a stack go: at once, or one after another; None for one run.
        watch: whether the state is looked at too, and not what a step says of itself alone.
    """

    step: TracedCall
    own: Own
    stack: str | None = eqx.field(static=True)
    watch: bool = eqx.field(static=True)


def program_of(
    name: str, setup: Setup, own: Own, arrays: PyTree, shapes: tuple[PyTree, PyTree], *,
    stack: str | None, watch: bool, same_as: Any,
) -> Program:  # fmt: skip
    """The program of a training, traced anew: what the user's functions read may have changed."""
    of_one = lambda leaf: jax.ShapeDtypeStruct(leaf.shape[stack is not None :], leaf.dtype)
    one_own, one_state = jax.tree.map(of_one, (own, arrays))
    step = trace_call(
        f"`{name}`",
        _step,
        setup,
        *shapes,
        one_own,
        one_state,
        _COUNT,
        same_as=same_as,
        differentiable=False,
    )
    return Program(step, own, stack, watch)


_COUNT = jax.ShapeDtypeStruct((), jnp.int32)


def _step(
    setup: Setup, data: dict[str, PyTree], places: dict[str, Array], own: Own, arrays: PyTree,
    step: Array,
) -> tuple[PyTree, dict[str, Array], Array]:  # fmt: skip
    batch, several = {}, dict(setup.batches)
    for name, at in places.items():
        at = at.reshape(several[name], -1) if name in several else at
        batch[name] = jax.tree.map(lambda leaf, at=at: leaf[at], data[name])
    batch |= drawn(setup, own, step)
    batch = {n: split_over(setup.mesh, rows, axis=int(n in several)) for n, rows in batch.items()}
    only = batch.get("") if setup.nameless else batch
    key = jr.fold_in(own.key, step)
    arrays, metrics, reason = setup.advance(own.fixed, arrays, only, key=key, step=step)
    return copy_to_all(setup.mesh, arrays), metrics, reason


def drawn(setup: Setup, own: Own, step: Array) -> dict[str, PyTree]:
    """What the streams that draw give at a step, to one run."""
    several, found = dict(setup.batches), {}
    for name, draw in setup.draws.items():
        key = jr.fold_in(own.draw_keys[name], step)
        found[name] = jax.vmap(draw)(jr.split(key, several[name])) if name in several else draw(key)
    return found


@eqx.filter_jit
def step_again(
    setup: Setup, data: dict[str, PyTree], places: dict[str, Array], own: Own, arrays: PyTree,
    step: Array,
) -> PyTree:  # fmt: skip
    """A step of one run once more, traced anew, for who wants to know what was wrong with it."""
    return _step(setup, data, places, own, arrays, step)


@eqx.filter_jit(donate="all-except-first")
def run_chunk(
    fixed: tuple[Program, Chunk, Bool[Array, "*runs"]], arrays: PyTree, step: Array
) -> tuple[PyTree, Array, Report]:
    """Take steps until the end of the chunk, or until a run that is not given up fails.

    A while loop and not a scan: its length is a run-time value, so that one program serves every
    chunk, and a run cut at another step goes through the same machine code.
    """
    program, chunk, good = fixed
    if program.stack != "sequential":
        return _loop(program, program.own, chunk, chunk.places, good, arrays, step)
    one = lambda run: _loop(program, run[0], chunk, *run[1:])
    places = jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 0, 1), chunk.places)
    return jax.lax.map(one, (program.own, places, good, arrays, step))


def _loop(
    program: Program, own: Own, chunk: Chunk, places: PyTree, good: Array, arrays: PyTree,
    step: Array,
) -> tuple[PyTree, Array, Report]:  # fmt: skip
    take = program.step
    if program.stack == "at once":
        take = jax.vmap(program.step, in_axes=(None, 0, 0, 0, None))

    def go_on(carry: tuple) -> Array:
        _, step, report = carry
        return (step < chunk.end) & ~jnp.any((report.reason != 0) & good)

    def body(carry: tuple) -> tuple:
        arrays, step, report = carry
        at = jax.tree.map(lambda leaf: leaf[step - chunk.start], places)
        arrays, metrics, reason = take(chunk.data, at, own, arrays, step)
        taken = (reason == 0) & good
        add = lambda total, value: jnp.where(taken, total + value.astype(total.dtype), total)
        sums = jax.tree.map(add, report.sums, metrics)
        count = report.taken + taken.astype(report.taken.dtype)
        return arrays, step + 1, Report(count, sums, metrics, reason)

    report = _empty_report(program.step.program.out, jnp.shape(good))
    arrays, step, report = jax.lax.while_loop(go_on, body, (arrays, step, report))
    if program.watch:
        # What no metric showed yet must not come into a snapshot.
        unseen = (report.reason == 0) & ~_finite_runs(arrays, jnp.ndim(good))
        report = eqx.tree_at(lambda r: r.reason, report, jnp.where(unseen, STATE, report.reason))
    return arrays, step, report


def _empty_report(out: tuple, runs: tuple[int, ...]) -> Report:
    _, metrics, _ = out
    total = jnp.result_type(float)
    return Report(
        taken=jnp.zeros(runs, jnp.int32),
        sums={name: jnp.zeros(runs, total) for name in metrics},
        metrics={name: jnp.zeros(runs, value.dtype) for name, value in metrics.items()},
        reason=jnp.zeros(runs, jnp.int32),
    )


def _finite_runs(arrays: PyTree, runs: int) -> Bool[Array, "*runs"]:
    finite = [
        jnp.all(jnp.isfinite(leaf), axis=tuple(range(runs, leaf.ndim)))
        for leaf in jax.tree.leaves(arrays)
        if jnp.issubdtype(leaf.dtype, jnp.inexact)
    ]
    return functools.reduce(jnp.logical_and, finite, jnp.asarray(True))


@eqx.filter_jit
def choose(first: Array, these: PyTree, those: PyTree) -> PyTree:
    """`these` for the runs where `first` is true, `those` for the others."""

    def rows(one: Array, other: Array) -> Array:
        return jnp.where(first.reshape(first.shape + (1,) * (one.ndim - first.ndim)), one, other)

    return jax.tree.map(rows, these, those)


def split_over(mesh: jax.sharding.Mesh | None, batch: PyTree, *, axis: int = 0) -> PyTree:
    """The batch with an axis of it spread over all devices of the mesh, where that divides."""
    leaves = jax.tree.leaves(batch)
    if mesh is None or not leaves:
        return batch
    if any(jnp.ndim(x) <= axis or x.shape[axis] % mesh.size for x in leaves):
        return batch
    split = NamedSharding(mesh, PartitionSpec(*(None,) * axis, mesh.axis_names))
    return jax.lax.with_sharding_constraint(batch, split)


def copy_to_all(mesh: jax.sharding.Mesh | None, state: PyTree) -> PyTree:
    """The state as it is on every device of the mesh."""
    if mesh is None:
        return state
    return jax.lax.with_sharding_constraint(state, NamedSharding(mesh, PartitionSpec()))
