"""A penalty on how much the layers before it stretch a batch."""

import math

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

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
        ValueError: `scale` is not above 0.

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
            its gradient is that of the others.

        Raises:
            ValueError: there are fewer than two rows, or not as many in `x` as in `z`.
        """
        if len(z) != len(x) or len(z) < 2:
            raise ValueError(
                "`z` and `x` must have the same rows, two or more, for a path to run through them; "
                f"got {len(z)} and {len(x)}."
            )
        scale = self.scale.astype(z.dtype)
        before = _length(x).astype(z.dtype)
        some = before > 0
        ratio = jnp.where(some, divided(_length(z), jnp.where(some, before, 1)), 0)
        return scale * z, scale * ratio


def _length(rows: Array) -> Array:
    return jnp.sum(row_norms(jnp.diff(rows, axis=0)))
