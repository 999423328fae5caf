"""The validation of every run of a training, in one program."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from pullback._traced import TracedCall, trace_call
from pullback.train._advice import refuse_traced


class Measure:
    """`score(given, own, arrays, key) -> metrics` of each run, traced now, with its own key.

    Args:
        score: of one run.
        given: what is the same for all runs.
        own: what each run has of its own and keeps.
        arrays: the state, for its shapes.
        keys: of the evaluations.
        stack: as for `Program`.
        name: of the user's function, for errors.
        same_as: that function.
    """

    def __init__(
        self, score: Callable[..., dict[str, Array]], given: PyTree, own: PyTree, arrays: PyTree,
        keys: Array, *, stack: str | None, name: str, same_as: Any,
    ) -> None:  # fmt: skip
        of_one = lambda leaf: jax.ShapeDtypeStruct(leaf.shape[stack is not None :], leaf.dtype)
        shapes = jax.tree.map(of_one, (own, arrays, keys))
        self.traced = trace_call(
            f"`{name}`", score, given, *shapes, same_as=same_as, differentiable=False
        )
        refuse_traced(name, self.traced)
        self._own, self._keys, self._stack = own, keys, stack

    def __call__(self, arrays: PyTree) -> dict[str, np.ndarray]:
        found = jax.device_get(_call(self.traced, self._stack, self._own, arrays, self._keys))
        return {"loss": found.pop("loss"), **found} if "loss" in found else found


@eqx.filter_jit
def _call(traced: TracedCall, stack: str | None, *runs: PyTree) -> dict[str, Array]:
    if stack is None:
        return traced(*runs)
    if stack == "at once":
        return jax.vmap(traced)(*runs)
    return jax.lax.map(lambda run: traced(*run), runs)


def checked_metrics(found: Any, *, wants_loss: bool) -> dict[str, Array]:
    """What a validation function gave, if that is scalars by name."""
    if not isinstance(found, dict) or any(jnp.shape(value) != () for value in found.values()):
        raise TypeError(
            "`validation` must return a dictionary of scalar metrics; got "
            f"{jax.tree.map(jnp.shape, found)}."
        )
    if wants_loss and "loss" not in found:
        raise ValueError(
            f"`patience` watches the metric `loss` of `validation`, which gave {sorted(found)}."
        )
    return {name: jnp.asarray(value) for name, value in found.items()}
