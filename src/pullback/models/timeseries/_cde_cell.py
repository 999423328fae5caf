"""A neural CDE as a cell: along a path that never looks ahead."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from pullback._key import checked_key

from ._cells import AbstractCell
from ._controlled import Drive, begin, drive


class CDECell(AbstractCell):
    r"""A neural CDE along the rectilinear path of a series, which never looks ahead.

    $$ dz = F(z)\, dX, \qquad X = (t, x, c) $$

    where x is the last value of each variable and c how many there were of it. Between observations
    the path moves along t alone; at an observation it moves in a straight line to the new values
    and counts while t stands still:

    $$ z'_i = z_{i-1} + \int F(z)\, (dt, 0, 0), \qquad
       z_i = z'_i + \int F(z)\, (0, dx_i, m_i), \qquad z_1 = W [x_1, m_1] + b $$

    Until a variable is first seen its value is 0: standardise the values. The equation does not
    hang on how fast the path is run through, so two observations at one time are as right as two
    near each other.

    Args:
        variables: of the series.
        size: of the state.
        width: of the hidden layers of the field.
        depth: their number.
        steps: for each gap, and for each observation.
        dtype: of the weights; JAX's default float if None.
        key: for the weights.

    Raises:
        ValueError: a size, or `steps`, is below 1.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> cell = CDECell(2, 4, key=jax.random.key(0))
        >>> state = cell.jump(cell.start(), jnp.ones(2), jnp.ones(2, bool))
        >>> cell.read(cell.evolve(state, jnp.array(0.0), jnp.array(0.5))).shape
        (4,)

    Source: Morrill et al., Neural Controlled Differential Equations for Online Prediction Tasks,
        arXiv 2106.11028, section 3 (rectilinear); Kidger et al., arXiv 2005.08926, section 3.
    """

    first: eqx.nn.Linear
    drive: Drive
    features: int = eqx.field(static=True)

    def __init__(
        self,
        variables: int,
        size: int,
        *,
        width: int = 50,
        depth: int = 1,
        steps: int = 2,
        dtype: Any = None,
        key: PRNGKeyArray,
    ):
        self.first, self.drive = drive(
            size, variables, width=width, depth=depth, steps=steps, dtype=dtype,
            key=checked_key(key),
        )  # fmt: skip
        self.features = size

    def start(self) -> tuple[Array, Array, Array]:
        weight = self.first.weight
        size, twice = weight.shape
        zeros = jnp.zeros(twice // 2, weight.dtype)
        return jnp.zeros(size, weight.dtype), zeros, zeros[:1]

    def evolve(self, state: tuple, t0: Array, t1: Array) -> tuple[Array, Array, Array]:
        z, last, seen = state
        gap = (t1 - t0).astype(z.dtype)[None]
        return self.drive(z, lambda s: gap, slice(0, 1)), last, seen

    def jump(self, state: tuple, x: Array, mask: Array) -> tuple[Array, Array, Array]:
        z, last, seen = state
        now = jnp.where(mask, x.astype(last.dtype), last)
        change = jnp.concatenate([now - last, mask.astype(z.dtype)])
        moved = self.drive(z, lambda s: change, slice(1, None))
        z = jnp.where(seen > 0, moved, begin(self.first, now, mask))
        return z, now, jnp.ones_like(seen)

    def read(self, state: tuple) -> Array:
        return state[0]
