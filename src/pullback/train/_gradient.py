"""A step along the gradient of a loss: what `fit` does, and what steps of one's own are made of."""

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar, cast

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Int, PRNGKeyArray, PyTree

from pullback.nn import follow
from pullback.train._engine import REASONS, UPDATE_FAILED

M = TypeVar("M")

# What accumulates over several batches has the two methods, and is none of the class.
Optimiser = optax.GradientTransformation | optax.MultiSteps

_RESERVED = ("step", "loss", "rollbacks", "steps_per_second")


class AtStep(eqx.Module):
    """A loss at a step, with what is carried: each is told to a loss that has the argument."""

    loss: Callable[..., Any]
    step: Int[Array, ""]
    state: PyTree = None

    def __call__(self, model: PyTree, batch: PyTree, *, key: PRNGKeyArray) -> tuple[Any, Any]:
        return self.carried(model, batch, key=key)[:2]

    def carried(
        self, model: PyTree, batch: PyTree, *, key: PRNGKeyArray
    ) -> tuple[Any, Any, PyTree]:
        """The loss, the metrics, and what is carried to the next step."""
        told = {}
        if takes(self.loss, "step"):
            told["step"] = self.step
        if not takes(self.loss, "state"):
            return *_pair(self.loss(model, batch, key=key, **told)), self.state
        found = self.loss(model, batch, key=key, state=self.state, **told)
        if not isinstance(found, tuple) or len(found) != 3:
            raise TypeError(
                "`loss` has the argument `state`, and must return a floating scalar, a dictionary "
                f"of scalar metrics and the new state; got {type(found).__name__}."
            )
        return found


def takes(loss: Callable[..., Any], name: str) -> bool:
    """Whether a loss has an argument of this name."""
    return name in inspect.signature(loss).parameters


def _pair(found: Any) -> tuple[Any, Any]:
    if not isinstance(found, tuple) or len(found) != 2:
        raise TypeError(
            "`loss` must return a floating scalar and a dictionary of scalar metrics, as in "
            f"`return value, {{}}`; got {_described(found)}."
        )
    return found


def _described(found: Any) -> str:
    return f"{len(found)} values" if isinstance(found, tuple) else type(found).__name__


class Trained(eqx.Module):
    """What a step of `fit` changes."""

    params: PyTree
    optimiser: PyTree
    carried: PyTree


class GradientStep(eqx.Module):
    """A step of an optimiser along the gradient of a loss; one that fails leaves all as it was.

    `loss` and `rest`, the part of the model that is not trained, lack what each run of a stack has
    of its own, which comes as `own`.
    """

    loss: Callable[..., Any]
    rest: PyTree
    optimiser: Any
    clip_norm: float | None = eqx.field(static=True)

    def __call__(
        self, own: PyTree, state: Trained, batch: PyTree, *, key: PRNGKeyArray, step: Array
    ) -> tuple[Trained, dict[str, Array], Array]:
        loss, rest = eqx.combine(own, (self.loss, self.rest))

        def objective(params: PyTree) -> tuple[Array, tuple[dict[str, Array], PyTree]]:
            # A copy: some states, such as Equinox's, may be read once alone.
            at = AtStep(loss, step, jax.tree.map(lambda leaf: leaf, state.carried))
            value, metrics, carried = at.carried(eqx.combine(params, rest), batch, key=key)
            return _swap(check_loss(value, metrics), carried)

        (value, (metrics, carried)), gradient = jax.value_and_grad(objective, has_aux=True)(
            state.params
        )
        params, optimiser_state = update_params(
            self.optimiser,
            _clip(gradient, self.clip_norm),
            state.optimiser,
            state.params,
            rest,
            value,
            slope=gradient,
            value_fn=lambda params: objective(params)[0],
        )
        solver_failed = jnp.asarray(metrics.get("result", 0)) != 0
        checks = [solver_failed, ~jnp.isfinite(value), ~finite(gradient), ~finite(params)]
        reasons = [jnp.asarray(n, jnp.int32) for n in REASONS if n <= UPDATE_FAILED]
        reason = jnp.select(checks, reasons, jnp.asarray(0, jnp.int32))
        new = Trained(params, optimiser_state, same_kind(state.carried, carried))
        keep = lambda new, old: jnp.where(reason == 0, new, old)
        return jax.tree.map(keep, new, state), {"loss": value, **metrics}, reason


def _swap(checked: tuple[Array, dict[str, Array]], carried: PyTree) -> tuple[Array, tuple]:
    value, metrics = checked
    return value, (metrics, carried)


def same_kind(old: PyTree, new: PyTree) -> PyTree:
    """`new`, if it has the structure, the shapes and the dtypes of `old`."""
    kinds = lambda tree: [(jnp.shape(x), jnp.result_type(x)) for x in jax.tree.leaves(tree)]
    if jax.tree.structure(old) != jax.tree.structure(new) or kinds(old) != kinds(new):
        raise TypeError(
            "`loss` must give back a state of the structure, the shapes and the dtypes of the one "
            f"that it was given, {jax.eval_shape(lambda: old)}; got {jax.eval_shape(lambda: new)}."
        )
    return new


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
    refuse_short(params)
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


def refuse_short(params: PyTree) -> None:
    """Parameters of 16 bits or fewer: an update below half a unit in their last place is lost."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        if jnp.dtype(leaf.dtype).itemsize < 4:
            raise TypeError(
                f"the parameter{' ' * bool(path)}{jax.tree_util.keystr(path)} is of {leaf.dtype}, "
                "in which small updates are lost in rounding and training stands still. Keep the "
                "parameters in float32 and cast them in the loss: `jax.tree.map(lambda p: "
                f"p.astype(jnp.{leaf.dtype}) if equinox.is_inexact_array(p) else p, model)`."
            )


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

    Raises:
        TypeError: `optimiser` is none, or a parameter is shorter than float32.

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


def finite(*trees: PyTree) -> Bool[Array, ""]:
    leaves = [jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(trees)]
    return functools.reduce(jnp.logical_and, leaves, jnp.asarray(True))


def sum_dtype(loss: Array | jax.ShapeDtypeStruct) -> jnp.dtype:
    """The dtype to add losses up in: theirs, or float32 where theirs is a half."""
    return jnp.dtype(jnp.float32) if loss.dtype.itemsize < 4 else loss.dtype
