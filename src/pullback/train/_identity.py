"""What a loss or an optimiser computes, as text that another process finds again."""

import enum
import hashlib
import platform
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal
from jaxtyping import PRNGKeyArray, PyTree

from pullback import __version__
from pullback._traced import TracedCall, trace_call
from pullback.train._checkpoint import CheckpointError, check_same
from pullback.train._gradient import AtStep, Optimiser, optimise
from pullback.train._structure import digests, structure

_AGAIN = "Resume with the same, or start again in another folder."
_REMEDY = {
    **dict.fromkeys(("data", "loss", "step", "validation"), _AGAIN),
    "optimiser": (
        "Its state is that one's alone. Resume with the same; or train the model on with this one, "
        "afresh from step 0: `model = load_model(folder, model)`, then `fit` without `resume`."
    ),
}


def loss_identity(
    loss: Callable[..., Any], model: PyTree, batch: PyTree, key: PRNGKeyArray, state: PyTree, *,
    whole: Callable[..., Any],
) -> dict[str, Any]:  # fmt: skip
    """The loss: its settings and arrays, and what it computes of a batch.

    `state` is what it carries, and `whole` the loss with the arrays of all runs.
    """

    def compute(
        given: PyTree, batch: PyTree, key: PRNGKeyArray, step: Any, state: PyTree
    ) -> PyTree:
        return AtStep(given[0], step, state).carried(given[1], batch, key=key)

    step = jax.ShapeDtypeStruct((), np.int32)
    traced = trace_call(
        "`loss`",
        compute,
        (loss, model),
        batch,
        key,
        step,
        state,
        same_as=loss,
        differentiable=False,
    )
    return identity_of(whole, traced)


def optimiser_identity(optimiser: Optimiser, params: PyTree, state: PyTree) -> dict[str, Any]:
    """The optimiser, and what its state begins as and its update computes."""

    def update(given: PyTree, gradient: PyTree, state: PyTree, params: PyTree) -> PyTree:
        value = jax.tree.leaves(gradient)[0].sum()
        return optimise(optimiser, gradient, state, params, value, value_fn=lambda params: value)

    def start(given: PyTree, params: PyTree) -> PyTree:
        with jax.numpy_dtype_promotion("standard"):
            return optimiser.init(params)

    trace = lambda function, *inputs: trace_call(
        "`optimiser`", function, None, *inputs, same_as=optimiser, differentiable=False
    )
    # Some keep their settings in the state.
    return identity_of(optimiser, trace(update, params, state, params), trace(start, params))


def draw_identity(draw: Callable[[PRNGKeyArray], PyTree], key: PRNGKeyArray) -> dict[str, Any]:
    """What draws the batches."""
    traced = trace_call(
        "`data`", lambda given, key: draw(key), None, key, same_as=draw, differentiable=False
    )
    return identity_of(draw, traced)


def another_optimiser(error: CheckpointError) -> CheckpointError:
    """The error for a state that is no state of this optimiser."""
    return CheckpointError(
        f"{error} It was written by a run with another optimiser. {_REMEDY['optimiser']}"
    )


def check_computes_the_same(
    path: Path, what: str, *, stored: dict[str, Any], wanted: dict[str, Any]
) -> None:
    """Two identities agree, as far as they can be compared."""
    remedy = f"It was written by a run with another {what}. {_REMEDY[what]}"
    # In another version the same function may be made of others, and for other shapes it is
    # another program.
    if stored["versions"] != wanted["versions"]:
        return
    old, new = (
        {f"`{what}`{at}": text for at, text in each["fixed"].items()} for each in (stored, wanted)
    )
    check_same(path, stored=old, wanted=new, remedy=remedy)
    if stored["inputs"] == wanted["inputs"] and stored["program"] != wanted["program"]:
        raise CheckpointError(f"{path}: `{what}` computes something else. {remedy}")


def identity_of(function: Any, *traced: TracedCall) -> dict[str, Any]:
    """A function and what it computes, and what has to be the same for two to be compared."""
    jaxprs = [each.program.jaxpr for each in traced]
    consts = [_array(value) for each in traced for value in each.params[0]]
    return {
        "versions": versions(),
        # What it reads is in the program; what it holds beside, such as a counter, may change.
        "fixed": structure(function, inside=False) | digests(function),
        "inputs": _digest(str(var.aval) for jaxpr in jaxprs for var in jaxpr.invars),
        "program": _digest([*(line for jaxpr in jaxprs for line in _lines(jaxpr)), *consts]),
    }


def versions() -> dict[str, str]:
    """Of what a program is made by."""
    python = ".".join(platform.python_version_tuple()[:2])
    of_others = {name: version(name) for name in ("jax", "equinox", "optax")}
    return {"python": python, "pullback": __version__, **of_others}


def _digest(lines: Any) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def _lines(jaxpr: Jaxpr) -> Iterator[str]:
    """The equations of a program, with no name in them that another process would not give."""
    numbers: dict[Any, int] = {}

    def atom(x: Any) -> str:
        if isinstance(x, Literal):
            return _array(x.val)
        return f"{numbers.setdefault(x, len(numbers))}"

    def atoms(xs: Any) -> str:
        return " ".join(f"{atom(x)}:{x.aval}" for x in xs)

    yield atoms([*jaxpr.constvars, *jaxpr.invars])
    for eqn in jaxpr.eqns:
        yield f"{atoms(eqn.outvars)} = {eqn.primitive.name} {atoms(eqn.invars)}"
        for name, value in sorted(eqn.params.items()):
            for line in _param(value):
                yield f" {name} {line}"
    yield atoms(jaxpr.outvars)


def _param(value: Any) -> Iterator[str]:
    match value:
        case ClosedJaxpr():
            yield from _lines(value.jaxpr)
            yield from map(_array, value.consts)
        case Jaxpr():
            yield from _lines(value)
        case tuple() | list():
            for part in value:
                yield from _param(part)
        case dict():
            for name, part in value.items():
                yield f"{name!r}"
                yield from _param(part)
        case np.ndarray() | np.generic() | jax.Array():
            yield _array(value)
        case enum.Enum():
            yield f"{type(value).__name__}.{value.name}"
        case None | bool() | int() | float() | str() | np.dtype():
            yield repr(value)
        case _:
            # Functions, meshes: what they print may be another in each process.
            yield type(value).__name__


def _array(value: Any) -> str:
    if hasattr(value, "dtype") and jax.dtypes.issubdtype(value.dtype, jax.dtypes.extended):
        value = jax.random.key_data(value)
    array = np.asarray(value)
    return f"{array.dtype}{array.shape}{hashlib.sha256(array.tobytes()).hexdigest()[:16]}"
