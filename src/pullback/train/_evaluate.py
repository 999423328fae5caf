"""The mean of a loss over a whole set, in batches of bounded size."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, PRNGKeyArray, PyTree

from pullback._checked_data import check_data
from pullback._key import checked_key
from pullback._leading_axis import leading_axis
from pullback._traced import TracedCall, trace_call
from pullback.train._advice import refuse_traced
from pullback.train._engine import split_over
from pullback.train._gradient import check_loss, sum_dtype, takes


def evaluate(
    model: PyTree,
    loss: Callable[..., Any],
    data: PyTree,
    *,
    batch_size: int,
    state: PyTree = None,
    mesh: jax.sharding.Mesh | None = None,
    key: PRNGKeyArray,
) -> dict[str, float]:
    r"""The mean of a loss and of its metrics over a set of examples.

    $$\bar L = \frac{1}{N} \sum_b |b|\, L(\text{model}, b)$$

    over batches $b$ of at most `batch_size` examples, so a short last batch has its right weight,
    and where `loss` is a mean over its batch the result is the mean over the set. The model is put
    in inference mode (`eqx.nn.inference_mode`: no dropout). One program does the whole pass; `loss`
    is compiled once where some number between half of `batch_size` and `batch_size` divides `N`,
    and twice where none does.

    Args:
        model: any PyTree.
        loss: `loss(model, batch, *, key) -> (scalar, dict of scalar metrics)`.
        data: a PyTree of arrays that share their leading axis, of length `N`.
        batch_size: the most examples that one call of `loss` gets.
        state: what the loss carries, for one with this argument, such as `TrainingInfo.state`; it
            stays as it is.
        mesh: spreads each batch over its devices where their number divides the batch; else every
            device does the whole of it.
        key: batch number `b` gets `fold_in(key, b)`.

    Returns:
        `{"loss": ..., name of a metric: ...}`, means over the set; of `result`, a solver's code,
        the largest.

    Raises:
        ValueError: the arrays of `data` differ in their leading axis, `batch_size < 1`, or the
            loss has a `check` that refuses the data.
        TypeError: `loss` returns something else.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> def loss(model, batch, *, key):
        ...     return jnp.mean((batch - model) ** 2), {"largest": jnp.max(batch)}
        >>> evaluate(jnp.asarray(1.0), loss, jnp.arange(3.0), batch_size=3, key=jax.random.key(0))
        {'loss': 0.666..., 'largest': 2.0}
    """
    key = checked_key(key)
    refuse_traced("evaluate", model, data, key)
    leading_axis(data, name="data")
    if batch_size < 1:
        raise ValueError(f"`batch_size` must be at least 1, got {batch_size}.")
    check_data(loss, model, data)
    data, told = jax.tree.map(jnp.asarray, data), loss
    if takes(loss, "state"):
        told = lambda model, batch, *, key: loss(model, batch, key=key, state=state)[:2]
    arrays, static = eqx.partition(model, eqx.is_array)

    def compute(given: tuple, arrays: PyTree, key: PRNGKeyArray) -> dict[str, Array]:
        told, data = given
        model = eqx.nn.inference_mode(eqx.combine(arrays, static))
        return means(model, told, data, batch_size, mesh, key)

    traced = trace_call(
        "`loss`", compute, (told, data), arrays, key, same_as=loss, differentiable=False
    )
    found = jax.device_get(_call(traced, arrays, key))
    plain = {name: value.item() for name, value in found.items()}
    return {"loss": plain.pop("loss"), **plain}


@eqx.filter_jit
def _call(traced: TracedCall, arrays: PyTree, key: PRNGKeyArray) -> dict[str, Array]:
    return traced(arrays, key)


def means(
    model: PyTree,
    loss: Callable[..., Any],
    data: PyTree,
    batch_size: int,
    mesh: jax.sharding.Mesh | None,
    key: PRNGKeyArray,
) -> dict[str, Array]:
    """The mean of a loss and of its metrics, as `evaluate` describes them, within a program."""
    size = leading_axis(data, name="data")
    batch_size = _even_batch_size(size, batch_size)

    def total(batch: PyTree, number: Array) -> dict[str, Array]:
        weight = jax.tree.leaves(batch)[0].shape[0]
        value, metrics = check_loss(
            *loss(model, split_over(mesh, batch), key=jr.fold_in(key, number))
        )
        dtype = sum_dtype(value)
        found = {**metrics, "loss": value}
        return {
            # No mean of codes is a code.
            name: mean if name == "result" else weight * mean.astype(dtype)
            for name, mean in found.items()
        }

    batches, rest = divmod(size, batch_size)

    def body(numbered: tuple[PyTree, Array]) -> dict[str, Array]:
        return total(*numbered)

    whole = jax.tree.map(
        lambda leaf: leaf[: size - rest].reshape(batches, batch_size, *leaf.shape[1:]), data
    )
    totals = jax.lax.map(body, (whole, jnp.arange(batches, dtype=jnp.int32)))
    if rest:
        last = total(
            jax.tree.map(lambda leaf: leaf[size - rest :], data), jnp.asarray(batches, jnp.int32)
        )
        totals = {name: jnp.append(values, last[name]) for name, values in totals.items()}
    return {
        name: jnp.max(values) if name == "result" else jnp.sum(values) / size
        for name, values in totals.items()
    }


def _even_batch_size(size: int, batch_size: int) -> int:
    largest = min(size, batch_size)
    return next((b for b in range(largest, largest // 2, -1) if size % b == 0), largest)
