"""The compiled part of `iterate`: many steps, until one diverges."""

import functools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Bool, Int, PyTree

from pullback._traced import TracedCall, trace_call

RESERVED = ("step", "restarts", "steps_per_second")


class Setup(eqx.Module):
    """What stays the same during a run. `single`: one nameless stream."""

    step: Callable[..., Any]
    data: PyTree
    keys: Array
    stacked: bool = eqx.field(static=True)
    single: bool = eqx.field(static=True)


class Report(eqx.Module):
    """What was done: the steps taken by each run, the sums over them, and who diverged."""

    taken: Int[Array, "*runs"]
    sums: dict[str, Array]
    bad: Bool[Array, "*runs"]


class Chunk(eqx.Module):
    """The steps to take: from where, to where, and on which examples of each stream."""

    start: Int[Array, ""]
    end: Int[Array, ""]
    examples: dict[str, Int[Array, "steps *runs batch"]]


def traced_step(
    setup: Setup, rest: PyTree, chunk: Chunk, arrays: PyTree, step: Int[Array, ""]
) -> TracedCall:
    """A step of each run, as a function of the chunk, the state's arrays and the step's number.

    It is traced once a run: what the user's step reads may have changed since another run.
    """
    return trace_call("`step`", _step, (setup, rest), chunk, arrays, step, same_as=setup.step)


def _step(
    given: tuple[Setup, PyTree], chunk: Chunk, arrays: PyTree, step: Array
) -> tuple[PyTree, dict[str, Array], Array]:
    setup, rest = given

    def one(arrays: PyTree, rows: dict[str, Array], key: Array) -> tuple:
        batch = {n: jax.tree.map(lambda x, n=n: x[rows[n]], setup.data[n]) for n in rows}
        batch = batch[""] if setup.single else batch
        new, metrics = setup.step(eqx.combine(arrays, rest), batch, key=jr.fold_in(key, step))
        metrics = _checked(metrics)
        bad = jnp.asarray(metrics.pop("diverged", False))
        bad = bad | (metrics.get("result", jnp.asarray(0)) != 0)
        for value in metrics.values():
            bad = bad | ~jnp.isfinite(value)
        return eqx.filter(new, eqx.is_array), metrics, bad

    take = jax.vmap(one) if setup.stacked else one
    return take(arrays, {n: x[step - chunk.start] for n, x in chunk.examples.items()}, setup.keys)


@eqx.filter_jit(donate="all-except-first")
def run_chunk(fixed: tuple, carry: tuple[PyTree, Array]) -> tuple[PyTree, Array, Report]:
    """Take steps until the end, or until a run that is not given up diverges."""
    at, chunk, good = fixed

    def go_on(carry: tuple) -> Array:
        _, step, report = carry
        return (step < chunk.end) & ~jnp.any(report.bad & good)

    def body(carry: tuple) -> tuple:
        arrays, step, report = carry
        arrays, metrics, bad = at(chunk, arrays, step)
        add = lambda total, value: jnp.where(bad | ~good, total, total + value.astype(total.dtype))
        sums = jax.tree.map(add, report.sums, metrics)
        return arrays, step + 1, Report(add(report.taken, jnp.ones_like(bad)), sums, bad)

    arrays, step = carry
    _, metrics, bad = at.program.out
    runs = bad.shape
    dtype = jnp.result_type(float)
    zeros = {name: jnp.zeros(runs, dtype) for name in metrics}
    report = Report(jnp.zeros(runs, int), zeros, jnp.zeros(runs, bool))
    arrays, step, report = jax.lax.while_loop(go_on, body, (arrays, step, report))
    # What no metric showed yet must not come into a snapshot.
    axes = lambda x: tuple(range(len(runs), x.ndim))
    broken = [
        ~jnp.all(jnp.isfinite(x), axis=axes(x))
        for x in jax.tree.leaves(arrays)
        if jnp.issubdtype(x.dtype, jnp.inexact)
    ]
    bad = functools.reduce(jnp.logical_or, broken, report.bad)
    return arrays, step, eqx.tree_at(lambda r: r.bad, report, bad)


def _checked(metrics: Any) -> dict[str, Array]:
    if not isinstance(metrics, dict) or any(jnp.shape(value) != () for value in metrics.values()):
        raise TypeError(
            "`step` must return the state and a dictionary of scalar metrics; got "
            f"{jax.tree.map(jnp.shape, metrics)} for the metrics."
        )
    for name in RESERVED:
        if name in metrics:
            raise ValueError(f"metric {name!r} has a name that the log uses itself; rename it.")
    return {name: jnp.asarray(value) for name, value in metrics.items()}


@eqx.filter_jit
def fall_back(state: PyTree, snapshot: PyTree, fallen: Array) -> PyTree:
    """The snapshot where `fallen`, a truth for each run."""

    def choose(new: Array, old: Array) -> Array:
        return jnp.where(fallen.reshape(fallen.shape + (1,) * (new.ndim - fallen.ndim)), old, new)

    return jax.tree.map(choose, state, snapshot)
