"""A recurrent cell by its name."""

from typing import Any, Literal

import jax.numpy as jnp
import jax.random as jr
from jaxtyping import PRNGKeyArray

from pullback._key import checked_key

from ._cde_cell import CDECell
from ._cells import AbstractCell, GRUCell, GRUDCell
from ._dynamics import TanhField
from ._transitions import Decay, ODETransition, PiecewiseConstant

Kind = Literal["gru", "gru-gap", "decay", "gru-d", "ode", "cde"]


def recurrent_cell(
    kind: Kind,
    variables: int,
    size: int,
    *,
    width: int = 50,
    depth: int = 1,
    steps: int = 2,
    dtype: Any = None,
    key: PRNGKeyArray,
) -> AbstractCell:
    """A cell by its name in the comparison of the paper.

    Args:
        kind: "gru"; "gru-gap", a GRU that is told the time since the last observation; "decay",
            the RNN-Decay; "gru-d"; "ode", the ODE-RNN; "cde", a neural CDE (`CDECell`).
        variables: of the series.
        size: of the hidden state.
        width: of the hidden layers of the field, of "ode" and "cde".
        depth: their number.
        steps: for each gap, of "ode" and "cde"; of the latter for each observation too.
        dtype: of the weights; JAX's default float if None.
        key: for the weights.

    Raises:
        ValueError: there is no such kind, or a size is below 1.

    Example:
        >>> import jax
        >>> type(recurrent_cell("decay", 1, 8, key=jax.random.key(0)).transition).__name__
        'Decay'

    Source: Rubanova et al., arXiv 1907.03907, table 2; of "cde" see `CDECell`.
    """
    key, field_key = jr.split(checked_key(key))
    match kind:
        case "gru-d":
            return GRUDCell(variables, size, dtype=dtype, key=key)
        case "cde":
            return CDECell(
                variables, size, width=width, depth=depth, steps=steps, dtype=dtype, key=key
            )
        case "gru" | "gru-gap":
            transition = PiecewiseConstant()
        case "decay":
            transition = Decay(jnp.zeros(size, dtype))
        case "ode":
            field = TanhField(size, width=width, depth=depth, dtype=dtype, key=field_key)
            transition = ODETransition(field, steps)
        case _:
            raise ValueError(
                f"`kind` must be 'gru', 'gru-gap', 'decay', 'gru-d', 'ode' or 'cde', got {kind!r}."
            )
    return GRUCell(
        variables, size, transition=transition, time_gap=kind == "gru-gap", dtype=dtype, key=key
    )
