"""The compiled training loop: many steps, one program, one answer to the host."""

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar, cast

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import optax
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array, Bool, Int, PRNGKeyArray, PyTree

from pullback._traced import TracedCall, trace_call
from pullback.nn import follow

M = TypeVar("M")

# What accumulates over several batches has the two methods, and is none of the class.
Optimiser = optax.GradientTransformation | optax.MultiSteps

REASONS = {
    1: "a solver failed (the metric `result` is not zero)",
    2: "the loss is not finite",
    3: "the gradient is not finite",
    4: "the updated parameters are not finite",
}

UPDATE_FAILED = 4

_RESERVED = ("step", "loss", "steps_per_second")


class Setup(eqx.Module):
    """What stays the same during a run."""

    loss: Callable[..., Any]
    optimiser: Any
    rest: PyTree
    data: PyTree
    key: PRNGKeyArray
    clip_norm: float | None = eqx.field(static=True)
    mesh: jax.sharding.Mesh | None = eqx.field(static=True)


class AtStep(eqx.Module):
    """A loss at a step: the step is told to a loss that has the argument, and to no other."""

    loss: Callable[..., Any]
    step: Int[Array, ""]

    def __call__(self, model: PyTree, batch: PyTree, *, key: PRNGKeyArray) -> tuple[Any, Any]:
        if "step" in inspect.signature(self.loss).parameters:
            return self.loss(model, batch, key=key, step=self.step)
        return self.loss(model, batch, key=key)


class State(eqx.Module):
    """What a step changes."""

    params: PyTree
    optimiser: PyTree
    step: Int[Array, ""]


class Chunk(eqx.Module):
    """The steps to take: from where, to where, and on which examples (rows beyond are unused)."""

    start: Int[Array, ""]
    end: Int[Array, ""]
    examples: Int[Array, "steps batch"]


class Report(eqx.Module):
    """What a chunk tells the host: sums over its good steps, and the last step taken or refused."""

    loss_sum: Array
    metrics_sum: PyTree
    loss: Array
    metrics: PyTree
    reason: Int[Array, ""]


def traced_step(setup: Setup, chunk: Chunk, state: State) -> TracedCall:
    """A step of a run, as a function of the chunk and the state.

    It is traced once a run, so that it does what the loss and the optimiser would do now, also
    where they read what has changed since another run of the same functions.
    """
    return trace_call("`loss`", _step, setup, chunk, state, same_as=(setup.loss, setup.optimiser))


@eqx.filter_jit(donate="all-except-first")
def run_chunk(fixed: tuple[TracedCall, Chunk], state: State) -> tuple[State, Report]:
    """Take steps until `chunk.end` or until one fails; a failed step leaves no trace.

    A while loop and not a scan: its length is a run-time value, so that one program serves every
    chunk, and a run cut at another step goes through the same machine code.
    """
    step, chunk = fixed

    def go_on(carry: tuple[State, Report]) -> Bool[Array, ""]:
        state, report = carry
        return (state.step < chunk.end) & (report.reason == 0)

    def body(carry: tuple[State, Report]) -> tuple[State, Report]:
        old, report = carry
        new, loss, metrics, reason = step(chunk, old)
        good = reason == 0

        def keep(new: Array, old: Array) -> Array:
            return jnp.where(good, new, old)

        def add(total: Array, value: Array) -> Array:
            return jnp.where(good, total + value.astype(total.dtype), total)

        return jax.tree.map(keep, new, old), Report(
            loss_sum=add(report.loss_sum, loss),
            metrics_sum=jax.tree.map(add, report.metrics_sum, metrics),
            loss=loss,
            metrics=metrics,
            reason=reason,
        )

    _, loss, metrics, _ = step.program.out
    return jax.lax.while_loop(go_on, body, (state, _empty_report(loss, metrics)))


def _empty_report(loss: jax.ShapeDtypeStruct, metrics: PyTree) -> Report:
    total = sum_dtype(loss)
    return Report(
        loss_sum=jnp.zeros((), total),
        metrics_sum=jax.tree.map(lambda _: jnp.zeros((), total), metrics),
        loss=jnp.zeros((), loss.dtype),
        metrics=jax.tree.map(lambda m: jnp.zeros((), m.dtype), metrics),
        reason=jnp.zeros((), jnp.int32),
    )


def _objective(
    setup: Setup, chunk: Chunk, state: State
) -> Callable[[PyTree], tuple[Array, dict[str, Array]]]:
    """The loss and the metrics of the next step, as a function of the parameters."""
    indices = chunk.examples[state.step - chunk.start]
    batch = split_over(setup.mesh, jax.tree.map(lambda leaf: leaf[indices], setup.data))

    def objective(params: PyTree) -> tuple[Array, dict[str, Array]]:
        model = eqx.combine(params, setup.rest)
        loss = AtStep(setup.loss, state.step)
        return check_loss(*loss(model, batch, key=jr.fold_in(setup.key, state.step)))

    return objective


@eqx.filter_jit
def loss_of_next_step(setup: Setup, chunk: Chunk, state: State) -> tuple[Array, dict[str, Array]]:
    """Once more, for who wants to know what was wrong with it."""
    return _objective(setup, chunk, state)(state.params)


def _step(setup: Setup, chunk: Chunk, state: State) -> tuple[State, Array, PyTree, Array]:
    objective = _objective(setup, chunk, state)
    (loss, metrics), gradient = jax.value_and_grad(objective, has_aux=True)(state.params)
    finite_gradient = _finite(gradient)
    clipped = _clip(gradient, setup.clip_norm)
    params, optimiser_state = update_params(
        setup.optimiser,
        clipped,
        state.optimiser,
        state.params,
        setup.rest,
        loss,
        slope=gradient,
        value_fn=lambda params: objective(params)[0],
    )
    params, optimiser_state = _copy_to_all(setup.mesh, (params, optimiser_state))
    solver_failed = jnp.asarray(metrics.get("result", 0)) != 0
    reason = jnp.select(
        [solver_failed, ~jnp.isfinite(loss), ~finite_gradient, ~_finite(params)],
        [jnp.asarray(number, jnp.int32) for number in REASONS],
        jnp.asarray(0, jnp.int32),
    )
    return State(params, optimiser_state, state.step + 1), loss, metrics, reason


def _clip(gradient: PyTree, clip_norm: float | None) -> PyTree:
    if clip_norm is None:
        return gradient
    with jax.numpy_dtype_promotion("standard"):
        clip = optax.clip_by_global_norm(clip_norm)
        return clip.update(gradient, optax.EmptyState())[0]


def checked_optimiser(optimiser: Any) -> Any:
    """The optimiser, once it has proved to be one."""
    if not all(callable(getattr(optimiser, name, None)) for name in ("init", "update")):
        raise TypeError(
            "`optimiser` must be an Optax gradient transformation, which has `init` and `update`, "
            f"such as `optax.adam(1e-3)`; got {optimiser!r}."
        )
    return optimiser


def update_params(
    optimiser: Optimiser,
    gradient: PyTree,
    state: PyTree,
    params: PyTree,
    rest: PyTree,
    loss: Array,
    **searching: Any,
) -> tuple[PyTree, PyTree]:
    """The parameters after a step of the optimiser, with what follows them, and its state.

    `rest` is the model's other part; for the last see `optimise`.
    """
    params, state = optimise(optimiser, gradient, state, params, loss, **searching)
    model = follow(eqx.combine(params, rest))
    return eqx.filter(model, is_array_of(params)), state


def optimise(
    optimiser: Optimiser,
    gradient: PyTree,
    state: PyTree,
    params: PyTree,
    loss: Array,
    *,
    slope: PyTree = None,
    value_fn: Callable[[PyTree], Any] | None = None,
) -> tuple[PyTree, PyTree]:
    """A step of the optimiser alone.

    One that searches along a line asks for the loss as a function of the parameters, `value_fn`,
    and for its true gradient, `slope`.
    """
    slope = gradient if slope is None else slope
    # Optax raises floats to integer powers, which strict promotion forbids; the code is not ours.
    with jax.numpy_dtype_promotion("standard"):
        accepting: Any = optax.with_extra_args_support(cast(Any, optimiser))
        updates, new = accepting.update(
            gradient, state, params, value=loss, grad=slope, value_fn=value_fn
        )
        # What an optimiser starts as a plain number it may give back in another dtype.
        as_before = lambda a, b: jnp.asarray(a).astype(jnp.asarray(b).dtype)
        return optax.apply_updates(params, updates), jax.tree.map(as_before, new, state)


def is_array_of(params: PyTree) -> PyTree:
    """Where a tree has something, as a filter of the tree that it is a part of."""
    return jax.tree.map(lambda leaf: leaf is not None, params, is_leaf=lambda leaf: leaf is None)


def apply_gradient(
    optimiser: Optimiser,
    gradient: M,
    state: PyTree,
    model: M,
    *,
    loss: Any = 0.0,
    value_fn: Callable[[M], Any] | None = None,
) -> tuple[M, PyTree]:
    """A model after one step of an Optax optimiser, and the optimiser's state.

    The vectors of its Lipschitz layers follow their weights.

    Args:
        optimiser: any Optax gradient transformation.
        gradient: as `equinox.filter_grad` gives it.
        state: `optimiser.init(equinox.filter(model, equinox.is_inexact_array))` at first.
        model: any PyTree; its real floating arrays are the parameters.
        loss: for an optimiser that asks for the loss.
        value_fn: the loss as a function of the model, for one that searches along a line, such as
            `optax.lbfgs`.

    Returns:
        The model and the state after the step.

    Example:
        >>> import jax.numpy as jnp, optax
        >>> sgd, model = optax.sgd(0.5), {"w": jnp.asarray(1.0), "name": "mine"}
        >>> model, _ = apply_gradient(sgd, {"w": jnp.asarray(1.0), "name": None},
        ...                           sgd.init({"w": model["w"], "name": None}), model)
        >>> float(model["w"])
        0.5
    """
    checked_optimiser(optimiser)
    params, rest = eqx.partition(model, eqx.is_inexact_array)
    of_params = None if value_fn is None else lambda params: value_fn(eqx.combine(params, rest))
    params, state = update_params(
        optimiser, gradient, state, params, rest, jnp.asarray(loss), value_fn=of_params
    )
    return eqx.combine(params, rest), state


def check_loss(loss: Any, metrics: Any) -> tuple[Array, dict[str, Array]]:
    """The loss and metrics as arrays, or an error that says what a loss function has to return."""
    loss = jnp.asarray(loss)
    floating = jnp.issubdtype(loss.dtype, jnp.floating)
    if loss.shape != () or not floating or not isinstance(metrics, dict):
        raise TypeError(
            "`loss` must return a floating scalar and a dictionary of scalar metrics, as in "
            f"`return value, {{}}`; it returned shape {loss.shape}, dtype {loss.dtype} and "
            f"{type(metrics).__name__}."
        )
    for name, value in metrics.items():
        if name in _RESERVED or name.startswith("validation_"):
            raise ValueError(f"metric {name!r} has a name that the log uses itself; rename it.")
        if jnp.shape(value) != ():
            raise TypeError(
                f"metric {name!r} must be a scalar, got shape {jnp.shape(value)}. Take its mean."
            )
    return loss, {name: jnp.asarray(value) for name, value in metrics.items()}


def _finite(*trees: PyTree) -> Bool[Array, ""]:
    leaves = [jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(trees)]
    return functools.reduce(jnp.logical_and, leaves, jnp.asarray(True))


def sum_dtype(loss: Array | jax.ShapeDtypeStruct) -> jnp.dtype:
    """The dtype to add losses up in: theirs, or float32 where theirs is a half."""
    return jnp.dtype(jnp.float32) if loss.dtype.itemsize < 4 else loss.dtype


def split_over(mesh: jax.sharding.Mesh | None, batch: PyTree) -> PyTree:
    """The batch with its leading axis spread over all devices of the mesh, where that divides."""
    if mesh is None or jax.tree.leaves(batch)[0].shape[0] % mesh.size != 0:
        return batch
    split = NamedSharding(mesh, PartitionSpec(mesh.axis_names))
    return jax.lax.with_sharding_constraint(batch, split)


def _copy_to_all(mesh: jax.sharding.Mesh | None, state: PyTree) -> PyTree:
    if mesh is None:
        return state
    return jax.lax.with_sharding_constraint(state, NamedSharding(mesh, PartitionSpec()))
