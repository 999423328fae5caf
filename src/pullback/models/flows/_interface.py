"""What every flow can do, and the loss that trains it."""

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from pullback._checked_data import check_rows, checked_by
from pullback._floating import require_floating
from pullback.sampling import Distribution


class AbstractFlow(eqx.Module):
    """A density of points that an invertible map carries to a base whose density is known.

    Methods take batches: points `[..., *shape]`. Whatever has `log_prob(x)` and
    `sample(key, shape)` is a base, so that a flow can be the base of another.
    """

    @abc.abstractmethod
    def log_prob(
        self,
        x: Float[Array, "..."],
        *,
        batch_size: int | None = None,
        key: PRNGKeyArray | None = None,
    ) -> Float[Array, "..."]:
        """The log-density of `x` in nats; `key` is for an estimate."""

    @abc.abstractmethod
    def sample(
        self, key: PRNGKeyArray, shape: tuple[int, ...] = (), *, batch_size: int | None = None
    ) -> Float[Array, "..."]:
        """Draws of shape `[*shape, *self.shape]`."""

    @abc.abstractmethod
    def transform_and_log_det(
        self,
        z: Float[Array, "..."],
        *,
        batch_size: int | None = None,
        key: PRNGKeyArray | None = None,
    ) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
        """From the base to the data: `x`, and the log-determinant of `dx/dz`."""

    @abc.abstractmethod
    def inverse_and_log_det(
        self,
        x: Float[Array, "..."],
        *,
        batch_size: int | None = None,
        key: PRNGKeyArray | None = None,
    ) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
        """From the data to the base: `z`, and the log-determinant of `dz/dx`."""

    @abc.abstractmethod
    def log_prob_in_training(
        self, x: Float[Array, "batch ..."], *, key: PRNGKeyArray
    ) -> tuple[Float[Array, " batch"], dict[str, Array]]:
        """`log_prob` that never raises, and metrics that say what went wrong and what it cost."""


def check_points(flow: AbstractFlow, x: Any) -> None:
    """Raise ValueError unless `x` are finite points of the flow, one a row, and one at least."""
    shape, base = getattr(flow, "shape", None), getattr(flow, "base", None)
    shape = shape_of(base) if shape is None and base is not None else shape
    if shape is not None and np.shape(x)[1:] != shape:
        axes = ", ".join(["n", *map(str, shape)])
        hint = " Take `x[:, None]`." if np.ndim(x) == 1 and shape == (1,) else ""
        raise ValueError(
            f"`data` of this flow must have shape [{axes}], got {list(np.shape(x))}.{hint}"
        )
    if not len(x):
        raise ValueError("`data` must hold at least one point, got none.")
    require_floating("data", np.asarray(x), "a density of whole numbers needs noise added first")
    check_rows(x)


def shape_of(base: Distribution) -> tuple[int, ...]:
    """Of one draw."""
    return jax.eval_shape(lambda key: base.sample(key, ()), jr.key(0)).shape


@checked_by(check_points)
def maximum_likelihood_loss(
    flow: AbstractFlow, x: Float[Array, "batch ..."], *, key: PRNGKeyArray
) -> tuple[Float[Array, ""], dict[str, Array]]:
    r"""The mean negative log-likelihood of a batch, as `pb.train.fit` takes it.

    $$ L = -\tfrac1n \sum_i \log p(x_i) $$

    Args:
        flow: the flow.
        x: data.
        key: for an estimated divergence or log-determinant.

    Returns:
        The loss in nats, and the flow's metrics: for `CNF` `result` (a code of `pb.ode.Result`, the
        largest over the batch; `fit` stops where it is not zero) and `nfe` (mean number of
        evaluations).

    Example:
        >>> import jax, jax.numpy as jnp, pullback as pb
        >>> field = pb.nn.ConcatMLP(2, width=8, depth=2, key=jax.random.key(0))
        >>> flow = pb.models.flows.CNF(field, pb.sampling.StandardNormal(2), steps=4)
        >>> loss, metrics = maximum_likelihood_loss(flow, jnp.zeros((3, 2)), key=jax.random.key(1))
        >>> round(float(loss), 4), int(metrics["result"])
        (1.8379, 0)

    Source: Grathwohl et al., "FFJORD", arXiv 1810.01367, section 3.
    """
    log_probs, metrics = flow.log_prob_in_training(x, key=key)
    return -jnp.mean(log_probs), metrics
