"""A recurrent cell along a series: it evolves to each time, and jumps where something is seen."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PyTree

from ._cells import AbstractCell


class CellPath(NamedTuple):
    """What a cell went through along a series.

    Attributes:
        before: the state at each time, before what was observed there; leaves `[time, ...]`.
        after: the state at each time, after it.
        seen: whether anything had been observed up to and with each time, `[time]`.
        last: the state after the last entry in the direction of the run.
    """

    before: PyTree
    after: PyTree
    seen: Bool[Array, " time"]
    last: PyTree


def run_cell(
    cell: AbstractCell,
    times: Float[Array, " time"],
    values: Float[Array, "time variables"],
    mask: Bool[Array, "time variables"],
    *,
    reverse: bool = False,
) -> CellPath:
    r"""Run a cell over one series: evolve to each time, and jump where something was observed.

    $$ s'_i = \mathrm{evolve}(s_{i-1}; t_{i-1} \to t_i), \qquad
       s_i = \mathrm{jump}(s'_i, x_i, m_i) \text{ if any of } m_i \text{ else } s'_i $$

    Up to the first observation the state stays at its start. So a time at which nothing was
    observed changes nothing but how a gap is cut into steps, and padding (the last time again,
    under a false mask) changes nothing at all.

    Args:
        cell: the cell.
        times: increasing; equal neighbours are allowed where nothing is observed.
        values: what was observed; entries under a false mask are not looked at.
        mask: True where a value was observed.
        reverse: run from the last time to the first.

    Returns:
        The states along the way, in the order of `times`.

    Raises:
        ValueError: the shapes do not fit together.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from pullback.models.timeseries import GRUCell
        >>> cell = GRUCell(1, 2, key=jax.random.key(0))
        >>> times, values = jnp.array([0.0, 1.0, 2.0]), jnp.ones((3, 1))
        >>> path = run_cell(cell, times, values, jnp.array([[False], [True], [False]]))
        >>> path.seen.tolist(), path.after[0][0].tolist()
        ([False, True, True], [0.0, 0.0])

    Source: Rubanova et al., arXiv 1907.03907, algorithm 1.
    """
    if times.shape != values.shape[:1] or values.shape != mask.shape:
        raise ValueError(
            "`times`, `values` and `mask` of a series must have shapes [time], [time, variable] "
            f"and [time, variable], got {times.shape}, {values.shape} and {mask.shape}."
        )

    def entry(carry: tuple, inputs: tuple) -> tuple[tuple, tuple]:
        state, last_t, seen = carry
        t, x, m = inputs
        before = cell.evolve(state, jnp.where(seen, last_t, t), t)
        observed = jnp.any(m)
        jumped = cell.jump(before, jnp.where(m, x, jnp.zeros_like(x)), m)
        after = jax.tree.map(lambda new, old: jnp.where(observed, new, old), jumped, before)
        seen = seen | observed
        return (after, t, seen), (before, after, seen)

    start = (cell.start(), times[0], jnp.asarray(False))
    (last, _, _), (before, after, seen) = jax.lax.scan(
        entry, start, (times, values, mask), reverse=reverse
    )
    return CellPath(before, after, seen, last)
