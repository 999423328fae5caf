"""`fit_stack`: train many small models at once, as one program."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from pullback._checked_data import check_data
from pullback._key import checked_keys
from pullback._leading_axis import leading_axis
from pullback._solve_failures import failures_are_nan
from pullback._traced import TracedCall, trace_call
from pullback.train._advice import refuse_traced
from pullback.train._batches import batches
from pullback.train._learned import refuse_untrained
from pullback.train._loop import AtStep, Optimiser, check_loss, checked_optimiser, update_params
from pullback.train._progress import progress_bar
from pullback.train._run import Keys, split_key
from pullback.train._trainable import split_model

M = TypeVar("M")


class StackInfo(NamedTuple):
    """How the training of a stack went.

    Attributes:
        steps: after which the history was written, `[points]`.
        history: `loss` and each metric, means over the steps since the last point,
            `[points, models]`.
        good: whether a model's loss, gradient and parameters stayed finite and its metric `result`,
            a solver's code, zero; one that did not is left in its last good state, and its history
            has NaN from there on, `[models]`.
    """

    steps: Int[np.ndarray, " points"]
    history: dict[str, Float[np.ndarray, "points models"]]
    good: Bool[np.ndarray, " models"]


def fit_stack(
    models: M,
    loss: Callable[..., Any],
    data: PyTree,
    *,
    optimiser: Optimiser,
    steps: int,
    batch_size: int,
    trainable: PyTree = True,
    log_every: int = 100,
    progress: bool | None = None,
    keys: Key[Array, " models"],
) -> tuple[M, StackInfo]:
    r"""Train several models of one shape at once, such as one for each seed and each weight.

    $$\theta_{s+1}^{(i)} = \theta_s^{(i)} + \text{update}\big(
        \nabla L^{(i)}(\theta_s^{(i)}, b_s^{(i)})\big)$$

    As `fit` does with each model, but vectorised: small models fill the machine only together.
    There are no checkpoints; for what takes long, take `fit`.

    Args:
        models: a model whose arrays all have a leading axis, as `equinox.filter_vmap` of a
            constructor gives.
        loss: as for `fit`. Where it has arrays of its own, they have the leading axis too: an
            `eqx.Module` with a weight for each model. A plain function and an array of no axes are
            the same for all.
        data: as for `fit`, and shared; each model has its own batches of it.
        optimiser: an Optax gradient transformation, which sees one model.
        steps: how many.
        batch_size: examples a step, of each model.
        trainable: as for `fit`, a filter of `models`.
        log_every: steps between two points of the history.
        progress: show a bar on stderr. None: where stderr is a terminal.
        keys: a typed PRNG key for each model, `[models]`.

    Returns:
        The trained models, and a `StackInfo`.

    Raises:
        ValueError: an argument does not fit.

    Example:
        >>> import jax, jax.numpy as jnp, optax
        >>> def loss(mean, batch, *, key):
        ...     return jnp.mean((batch - mean) ** 2), {}
        >>> means, info = fit_stack(
        ...     jnp.zeros(2), loss, jnp.asarray([1.0, 2.0, 3.0]), steps=50, batch_size=3,
        ...     optimiser=optax.sgd(0.1), keys=jax.random.split(jax.random.key(0)),
        ... )
        >>> print(means.round(3), info.good)
        [2. 2.] [ True  True]
    """
    keys = checked_keys(keys)
    refuse_traced("fit_stack", models, data, keys)
    size = leading_axis(data, name="data")
    for name, value in (("steps", steps), ("log_every", log_every), ("batch_size", batch_size)):
        if value < 1:
            raise ValueError(f"`{name}` must be at least 1, got {value}.")
    if batch_size > size:
        raise ValueError(f"`batch_size` is {batch_size}, and there are {size} examples.")
    checked_optimiser(optimiser)
    params, rest = split_model(models, trainable, name="models")
    fixed, _ = eqx.partition(rest, eqx.is_array)
    if leading_axis((params, fixed), name="models") != len(keys):
        raise ValueError(f"`keys` must be one for each of the models, got {len(keys)}.")
    refuse_untrained(loss)
    for leaf in jax.tree.leaves(eqx.filter(loss, lambda leaf: _own(leaf) == 0)):
        if len(leaf) != len(keys):
            raise ValueError(
                f"the arrays of `loss` must have a row for each of the {len(keys)} models, or no "
                f"axis; got the shape {leaf.shape}."
            )
    one = jax.tree.map(lambda leaf: leaf[0] if eqx.is_array(leaf) else leaf, models)
    check_data(loss, one, data)
    each = [split_key(key) for key in keys]
    with jax.numpy_dtype_promotion("standard"):
        state = eqx.filter_vmap(optimiser.init)(params)
    data = jax.tree.map(jnp.asarray, data)
    setup = _Setup(loss, optimiser, rest, data, jnp.stack([k.loss for k in each]))
    state = _State(params, state, jnp.ones(len(keys), bool))
    points, history = [], []
    with progress_bar(progress, steps=steps, done=0) as show, failures_are_nan():
        chunk = _Chunk.of(each, 0, min(log_every, steps), log_every, batch_size, size)
        traced = trace_call(
            "`loss`", _step, setup, chunk, state, chunk.start, same_as=(loss, optimiser)
        )
        refuse_traced("fit_stack", traced)
        for start in range(0, steps, log_every):
            end = min(start + log_every, steps)
            chunk = _Chunk.of(each, start, end, log_every, batch_size, size)
            state, told = _run((traced, chunk), state)
            history.append(jax.device_get(told))
            points.append(end)
            show(end, 0.0, float(np.mean(history[-1]["loss"])))
    found = {name: np.stack([row[name] for row in history]) for name in history[0]}
    return eqx.combine(state.params, rest), StackInfo(
        np.asarray(points), found, np.asarray(state.good)
    )


class _Setup(eqx.Module):
    loss: Callable[..., Any]
    optimiser: Any
    rest: PyTree
    data: PyTree
    keys: Array


class _State(eqx.Module):
    params: PyTree
    optimiser: PyTree
    good: Bool[Array, "..."]


class _Chunk(eqx.Module):
    start: Int[Array, ""]
    end: Int[Array, ""]
    examples: Int[Array, "steps models batch"]

    @classmethod
    def of(
        cls, each: list[Keys], start: int, end: int, log_every: int, batch_size: int, size: int
    ) -> "_Chunk":
        examples = np.zeros((log_every, len(each), batch_size), np.int32)
        for number, keys in enumerate(each):
            examples[: end - start, number] = batches(
                start, end, size=size, batch_size=batch_size, seed=keys.seed
            )
        return cls(jnp.asarray(start), jnp.asarray(end), jnp.asarray(examples))


def _step(
    setup: _Setup, chunk: _Chunk, state: _State, place: Int[Array, ""]
) -> tuple[_State, dict[str, Array]]:
    """A step of every model, and what was measured."""

    def one(
        loss: Callable, rest: PyTree, key: Array, params: PyTree, opt: PyTree, good: Array,
        step: Array, rows: Array,
    ) -> tuple[_State, dict[str, Array]]:  # fmt: skip
        batch = jax.tree.map(lambda leaf: leaf[rows], setup.data)

        def objective(params: PyTree) -> tuple[Array, dict[str, Array]]:
            model = eqx.combine(params, rest)
            return check_loss(*AtStep(loss, step)(model, batch, key=jr.fold_in(key, step)))

        (value, metrics), gradient = jax.value_and_grad(objective, has_aux=True)(params)
        new, new_opt = update_params(
            setup.optimiser, gradient, opt, params, rest, value,
            value_fn=lambda params: objective(params)[0],
        )  # fmt: skip
        finite = [jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves((value, gradient, new))]
        solved = jnp.asarray(metrics.get("result", 0)) == 0
        good = good & solved & jnp.all(jnp.stack(finite))
        keep = lambda a, b: jnp.where(good, a, b)
        state = _State(jax.tree.map(keep, new, params), jax.tree.map(keep, new_opt, opt), good)
        told = {"loss": value, **metrics}
        nan = lambda v: jnp.where(good, v.astype(value.dtype), jnp.nan)
        return state, {name: nan(jnp.asarray(v)) for name, v in told.items()}

    over_models = eqx.filter_vmap(
        one, in_axes=(_own, eqx.if_array(0), 0, 0, eqx.if_array(0), 0, None, 0)
    )
    return over_models(
        setup.loss, setup.rest, setup.keys, state.params, state.optimiser, state.good,
        chunk.start + place, chunk.examples[place],
    )  # fmt: skip


def _own(leaf: Any) -> int | None:
    """The axis of the models in an array of the loss: a scalar is the same for all."""
    return 0 if eqx.is_array(leaf) and jnp.ndim(leaf) else None


@eqx.filter_jit
def _run(fixed: tuple[TracedCall, _Chunk], state: _State) -> tuple[_State, dict[str, Array]]:
    """The steps of a chunk, and means over them of what was measured."""
    traced, chunk = fixed

    def body(place: Array, carry: tuple[_State, Any]) -> tuple[_State, Any]:
        state, sums = carry
        state, told = traced(chunk, state, place)
        return state, jax.tree.map(jnp.add, sums, told)

    _, shapes = traced.program.out
    zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
    number = chunk.end - chunk.start
    state, sums = jax.lax.fori_loop(0, number, body, (state, zeros))
    return state, jax.tree.map(lambda total: total / number.astype(total.dtype), sums)
