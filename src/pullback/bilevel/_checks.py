"""What is asked of hyperparameters, of the two losses and of the two sets of data."""

import hashlib
import operator
import warnings
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jax.core import Tracer
from jax.extend.core import Literal
from jaxtyping import Array, PRNGKeyArray, PyTree

from pullback._leading_axis import leading_axis
from pullback.bilevel._hyperparameters import Integer, is_record


def check_hyper(hyper: PyTree, *, name: str = "hyper") -> None:
    """Raise a TypeError where a leaf cannot be moved along a gradient."""
    leaves = [(path, leaf) for path, leaf in jtu.tree_leaves_with_path(hyper) if _is_number(leaf)]
    if not leaves:
        raise TypeError(
            f"`{name}` has no hyperparameters: no leaf of it is an array. Give a PyTree of "
            'floating arrays, such as {"log_decay": jnp.asarray(-3.0)}.'
        )
    for path, leaf in leaves:
        if not isinstance(leaf, Array | np.ndarray | np.generic):
            raise TypeError(
                f"{name}{jtu.keystr(path)} is the Python number {leaf!r}, which nothing could "
                f"tune. Write jnp.asarray({float(leaf)!r})."
            )
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            raise TypeError(
                f"{name}{jtu.keystr(path)} must be real floating, got {leaf.dtype}: it has no "
                "gradient. Keep what is not tuned outside of it."
            )


def as_arrays(tree: PyTree) -> PyTree:
    """The tree with arrays of JAX's for those of NumPy: a derivative comes to them alone."""
    numpy = lambda leaf: isinstance(leaf, np.ndarray | np.generic)
    return jax.tree.map(lambda leaf: jnp.asarray(leaf) if numpy(leaf) else leaf, tree)


def check_has_gradient(hyper: PyTree) -> None:
    """Raise a TypeError for a whole number, through whose steps no gradient comes."""
    for path, leaf in jtu.tree_leaves_with_path(hyper, is_leaf=is_record):
        if isinstance(leaf, Integer):
            raise TypeError(
                f"hyper{jtu.keystr(path)} is an `Integer`, which has no hypergradient: it moves in "
                "steps. Tune it by `fit_self_tuning` or `search`; or let it be `Bounded`, where a "
                "fraction means something."
            )


def _is_number(leaf: Any) -> bool:
    return eqx.is_array_like(leaf) and not isinstance(leaf, str)


def check_model(model: PyTree) -> None:
    """Raise a TypeError for a model with nothing to train."""
    floats = [leaf for leaf in jax.tree.leaves(model) if eqx.is_inexact_array(leaf)]
    if not floats:
        raise TypeError(
            "`model` has no weights: no leaf of it is a floating array. Of Python numbers make "
            "arrays, such as jnp.asarray(0.5)."
        )
    if any(jnp.iscomplexobj(leaf) for leaf in floats):
        raise TypeError("`model` has complex weights; store real and imaginary parts apart.")


def check_whole(least: int, **numbers: Any) -> None:
    """Raise for what is no whole number, or below the least."""
    for name, number in numbers.items():
        try:
            found = operator.index(number)
        except TypeError:
            raise TypeError(f"`{name}` must be a whole number, got {number!r}.") from None
        if found < least:
            raise ValueError(f"`{name}` must be {least} or more, got {number}.")


def check_losses(inner: Any, outer: Any) -> None:
    """Raise where there are not two losses."""
    for name, loss in (("inner", inner), ("outer", outer)):
        if not callable(loss):
            raise TypeError(
                f"`{name}` must be a loss, `loss(model, hyper, batch, *, key) -> (scalar, dict)`; "
                f"got {type(loss).__name__}."
            )
    if inner is outer:
        raise ValueError(
            "`inner` and `outer` are one loss, and must be two: the inner one has the penalties "
            "and the noise that `hyper` sets, and the outer one has not, or training would be "
            "judged by what it makes small itself."
        )


def check_apart(train: PyTree, validation: PyTree) -> None:
    """Raise a ValueError where the validation rows are rows of the training data.

    Some equal rows come by chance, where columns are rounded: of those a warning tells.
    """
    if not (_are_arrays(train) and _are_arrays(validation)):
        return
    dtypes = {leaf.dtype for leaf in jax.tree.leaves((train, validation))}
    dtype = np.float32 if np.dtype(np.float32) in dtypes else np.float64
    ours, theirs = (
        _rows(data, dtype, name=name)
        for name, data in (("train", train), ("validation", validation))
    )
    known = set(ours)
    # Rows of a few categories are equal by chance, and say nothing.
    if 2 * len(known) < len(ours):
        return
    shared = sum(row in known for row in theirs)
    if 2 * shared >= len(theirs):
        raise ValueError(
            f"`validation` must be held out, and {shared} of its {len(theirs)} rows are training "
            "rows: hyperparameters tuned on them would be those that overfit. Split the data "
            "first, and give each part once."
        )
    if shared:
        warnings.warn(
            f"{shared} of {len(theirs)} validation rows are training rows too. Where that is no "
            "chance, leave them out of one.",
            stacklevel=3,
        )


def _are_arrays(data: PyTree) -> bool:
    leaves = jax.tree.leaves(data)
    known = lambda leaf: isinstance(leaf, Array | np.ndarray)
    plain = lambda leaf: known(leaf) and not isinstance(leaf, np.memmap | Tracer)
    if not leaves or not all(plain(leaf) and leaf.dtype.kind in "biuf" for leaf in leaves):
        return False
    # Whole numbers alone, one a row, are places of rows that the loss looks up.
    return any(np.ndim(leaf) > 1 or leaf.dtype.kind == "f" for leaf in leaves)


def _rows(data: PyTree, dtype: Any, *, name: str) -> list[bytes]:
    """A digest of each row, in a dtype, for a copy of a row may have fewer digits."""
    count = leading_axis(data, name=name)
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(data)]
    flat = [np.ascontiguousarray(leaf.reshape(count, -1), dtype) for leaf in leaves]
    row_of = lambda row: b"".join(leaf[row].tobytes() for leaf in flat)
    return [hashlib.blake2b(row_of(row), digest_size=16).digest() for row in range(count)]


def value_of(
    name: str,
    loss: Callable[..., Any],
    model: PyTree,
    hyper: PyTree,
    batch: PyTree,
    *,
    key: PRNGKeyArray,
) -> tuple[Array, dict[str, Array]]:
    """The value of one of the two losses and its metrics.

    The outer one is given the model in inference mode, as whoever uses the model will have it.
    """
    model = eqx.nn.inference_mode(model) if name == "outer" else model
    found = loss(model, hyper, batch, key=key)
    fits = isinstance(found, tuple) and len(found) == 2 and isinstance(found[1], dict)
    if not fits or jnp.shape(found[0]) != ():
        raise TypeError(
            f"`{name}` must return a floating scalar and a dictionary of scalar metrics, as in "
            f"`return value, {{}}`; got {jax.tree.map(jnp.shape, found)}."
        )
    return jnp.asarray(found[0]), {n: jnp.asarray(metric) for n, metric in found[1].items()}


IMPLICIT = (
    "an implicit gradient does not see it. A setting of the optimiser, such as its learning rate, "
    "is tuned by `Unrolled(steps, optimiser=lambda hyper: ...)`; of others, look whether the "
    "losses use it, and not a copy of its value."
)
UNROLLED = (
    "no gradient comes to it. What an optimiser keeps in its state, as `optax.inject_hyperparams` "
    "does, is not read again: write `lambda hyper: optax.sgd(jnp.exp(hyper['log_rate']))`. Of "
    "others, look whether the losses use it, and not a copy of its value."
)
SELF_TUNING = (
    "nothing responds to it. A setting of the optimiser, such as its learning rate, is tuned by "
    "`search`, or by `tune` with `Unrolled`; of others, look whether the losses use it, and not a "
    "copy of its value."
)


def check_enters(
    functions: dict[str, Callable[[PyTree], Any]], hyper: PyTree, *, remedy: str = IMPLICIT
) -> None:
    """Raise a ValueError for a hyperparameter that none of the functions depends on.

    It is read from their programs: what is multiplied by zero depends on it still.
    """
    leaves = jtu.tree_leaves_with_path(eqx.filter(hyper, eqx.is_inexact_array))
    enters = [False] * len(leaves)
    for function in functions.values():
        for n, found in enumerate(_depends(function, hyper)):
            enters[n] |= found
    for (path, _), found in zip(leaves, enters, strict=True):
        if not found:
            raise ValueError(
                f"hyper{jtu.keystr(path)} does not enter {' or '.join(functions)}: {remedy}"
            )


def _depends(function: Callable[[PyTree], Any], hyper: PyTree) -> list[bool]:
    """For each array of `hyper`, whether the value of `function` depends on it."""
    arrays, rest = eqx.partition(hyper, eqx.is_inexact_array)
    leaves, structure = jax.tree.flatten(arrays)

    def of_leaves(*leaves: Array) -> PyTree:
        return function(eqx.combine(jax.tree.unflatten(structure, leaves), rest))

    jaxpr = jax.make_jaxpr(of_leaves)(*leaves).jaxpr
    reached = [{var} for var in jaxpr.invars]
    for equation in jaxpr.eqns:
        inputs = {var for var in equation.invars if not isinstance(var, Literal)}
        for of_one in reached:
            if of_one & inputs:
                of_one.update(equation.outvars)
    out = {var for var in jaxpr.outvars if not isinstance(var, Literal)}
    return [bool(of_one & out) for of_one in reached]
