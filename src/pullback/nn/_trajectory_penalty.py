"""A penalty on how much the layers before it stretch a batch."""

import math
import numbers
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from pullback._floating import at_least_float32, require_floating
from pullback._power_method import divided, row_norms


class TrajectoryPenalty(eqx.Module):
    r"""A layer that scales what passes it, and says by how much the layers before it stretch.

    $$ z \mapsto \lambda z, \qquad
       P = \lambda \frac{\sum_i \| z_{i+1} - z_i \|}{\sum_i \| x_{i+1} - x_i \|} $$

    The sums run along the rows of a batch, in the order that they come in: batches must be
    shuffled, and the penalty of one batch is not that of another order. Add c P to the loss, such
    as c = 0.01. The layer does the same in training and after it, so it may stand where a batch
    normalisation would.

    It is batched: apply the layers before it by `jax.vmap`, this to the whole batch, and go on.

    Args:
        scale: $\lambda$ at the start, above 0. It is learned, and stays above 0.

    Attributes:
        log_scale: $\log \lambda$.

    Raises:
        TypeError: `scale` is no number.
        ValueError: it is not above 0.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> x = jnp.array([[0.0, 0.0], [1.0, 0.0], [1.0, 2.0]])
        >>> z, penalty = TrajectoryPenalty(0.5)(3 * x, x)
        >>> z[1].tolist(), float(penalty)
        ([1.5, 0.0], 1.5)

    Source: trajectory regularisation in Raghu et al., On the Expressive Power of Deep Neural
        Networks, arXiv 1606.05336; positive by its parametrisation here.
    """

    log_scale: Float[Array, ""]

    def __init__(self, scale: float = 1.0):
        if isinstance(scale, bool) or not isinstance(scale, numbers.Real | Array | np.ndarray):
            raise TypeError(f"`scale` must be a number above 0, got {scale!r}.")
        if not 0 < scale < math.inf:
            raise ValueError(f"`scale` must be above 0 and finite, got {scale}.")
        self.log_scale = jnp.asarray(math.log(scale), float)

    @property
    def scale(self) -> Float[Array, ""]:
        r"""$\lambda$."""
        return jnp.exp(self.log_scale)

    def __call__(
        self, z: Float[Array, "batch ..."], x: Float[Array, "batch ..."]
    ) -> tuple[Float[Array, "batch ..."], Float[Array, ""]]:
        r"""The scaled batch, and the penalty.

        Args:
            z: what the layers before give of each row.
            x: what they were given, row by row.

        Returns:
            $\lambda z$ and P; P is 0 where all rows of `x` are alike. Where neighbours are alike
            its gradient is that of the others. P is float32 or wider, and NaN where a row of `x`
            is not finite.

        Raises:
            TypeError: `z` or `x` is no array.
            ValueError: there are fewer than two rows, or not as many in `x` as in `z`; one of the
                two has no column, or whole numbers.
        """
        _check("z", z)
        _check("x", x)
        if len(z) != len(x) or len(z) < 2:
            raise ValueError(
                "`z` and `x` must have the same rows, two or more, for a path to run through them; "
                f"got {len(z)} and {len(x)}."
            )
        after = _length(z)
        before = _length(x).astype(after.dtype)
        still = before == 0
        ratio = jnp.where(still, 0, divided(after, jnp.where(still, 1, before)))
        # A batch that is infinitely long would have no penalty.
        ratio = jnp.where(jnp.isfinite(before), ratio, jnp.nan)
        return self.scale.astype(z.dtype) * z, self.scale.astype(after.dtype) * ratio


def _check(name: str, rows: Any) -> None:
    if not isinstance(rows, Array | np.ndarray) or rows.ndim == 0:
        raise TypeError(f"`{name}` must be an array of rows, got {rows!r}.")
    require_floating(name, rows, "the length of whole numbers is measured as well")
    if len(rows) and not rows.size:
        raise ValueError(f"`{name}` must have a column or more, got the shape {rows.shape}.")


def _length(rows: Array) -> Array:
    rows = jnp.asarray(rows)
    # Lengths of half-precision rows add up to more than half precision holds.
    return jnp.sum(row_norms(jnp.diff(rows.astype(at_least_float32(rows.dtype)), axis=0)))
