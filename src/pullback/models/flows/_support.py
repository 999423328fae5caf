"""A bijection from the support of the data to the whole line, column by column."""

from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from pullback.sampling import SupportMap

from ._bijection import AbstractBijection, Chain, FixedPointSolver, InverseInfo, closed_form


class OntoLine(AbstractBijection):
    r"""Columns that are positive, in an interval, on a simplex or whole, as numbers of any size.

    By a `pullback.sampling.SupportMap`, whose arguments it takes. Whole numbers have uniform noise
    added, of the `key`: then the density that a flow makes of it bounds the probability from below,
    in the mean over keys, and its exponential has the probability as its mean. Going back they are
    rounded down.

    Args:
        size: columns.
        support: what each of them keeps.

    Raises:
        ValueError: as `SupportMap`; when called, there are whole numbers and no `key`.

    Source: Theis et al., A Note on the Evaluation of Generative Models, arXiv 1511.01844, section
        3.1, of whole numbers.
    """

    map: SupportMap

    def __init__(self, size: int, support: Any = None):
        self.map = SupportMap(size, support)

    def forward_and_log_det(
        self,
        x: Float[Array, "..."],
        *,
        context: Float[Array, "..."] | None = None,
        key: PRNGKeyArray | None = None,
        shared: PRNGKeyArray | None = None,
    ) -> tuple[Float[Array, "..."], Float[Array, ""]]:
        """Column by column; $-\\infty$ outside of the support."""
        if not self.map.whole:
            return self.map.to_line(x)
        if key is None:
            raise ValueError(
                "`key` is missing: columns of whole numbers have noise added, and their "
                "log-density is an estimate of a bound. Pass `key=jax.random.key(...)`."
            )
        return self.map.to_line(x, jr.uniform(key, (self.map.whole,), x.dtype))

    def inverse(
        self,
        y: Float[Array, "..."],
        solver: FixedPointSolver,
        max_steps: int,
        *,
        context: Float[Array, "..."] | None = None,
    ) -> tuple[Float[Array, "..."], InverseInfo]:
        """In closed form."""
        return self.map.from_line(y), closed_form(y.dtype)

    def initialise(
        self, x: Float[Array, "batch ..."], *, context: Float[Array, "batch ..."] | None = None
    ) -> tuple[AbstractBijection, Float[Array, "batch ..."]]:
        """Nothing of it depends on the data."""
        middle = jnp.full(self.map.whole, 0.5, x.dtype)
        return self, jax.vmap(lambda row: self.map.to_line(row, middle)[0])(x)


def support_map(bijection: AbstractBijection) -> SupportMap | None:
    """What takes the data to the line, where it comes first in a bijection."""
    match bijection:
        case OntoLine():
            return bijection.map
        case Chain() if bijection.parts:
            return support_map(bijection.parts[0])
        case _:
            return None
