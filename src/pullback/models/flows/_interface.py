"""What every flow can do, and the loss that trains it."""

import abc
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from pullback._checked_data import check_rows, checked_by
from pullback._floating import require_floating
from pullback._key import checked_key

from ._rows import checked_context


class AbstractFlow(eqx.Module):
    """A density of points that an invertible map carries to a base whose density is known.

    Methods take batches: points `[..., *shape]`. Whatever has `log_prob(x)` and
    `sample(key, shape)` is a base, so that a flow can be the base of another.

    A flow with a `context_shape` is a density $p(x | c)$ of each context: its methods need
    `context`, `[..., *context_shape]`, whose axes in front are broadcast with those of the points.
    `given(c)` is the distribution of one context.

    Attributes:
        shape: of one point of the data.
        context_shape: of one context; None where there is none.
    """

    if TYPE_CHECKING:  # which takes an `AbstractVar` for an argument of every constructor

        @property
        def shape(self) -> tuple[int, ...]: ...

        @property
        def context_shape(self) -> tuple[int, ...] | None: ...

    else:
        shape: eqx.AbstractVar[tuple[int, ...]]
        context_shape: eqx.AbstractVar[tuple[int, ...] | None]

    @abc.abstractmethod
    def log_prob(
        self,
        x: Float[Array, "..."],
        *,
        context: Float[Array, "..."] | None = None,
        batch_size: int | None = None,
        key: PRNGKeyArray | None = None,
    ) -> Float[Array, "..."]:
        """The log-density of `x` in nats; `key` is for an estimate."""

    @abc.abstractmethod
    def sample(
        self,
        key: PRNGKeyArray,
        shape: tuple[int, ...] = (),
        *,
        context: Float[Array, "..."] | None = None,
        batch_size: int | None = None,
    ) -> Float[Array, "..."]:
        """Draws of shape `[*shape, *self.shape]`.

        Of contexts `[*batch, *self.context_shape]` they are `[*shape, *batch, *self.shape]`.
        """

    @abc.abstractmethod
    def transform_and_log_det(
        self,
        z: Float[Array, "..."],
        *,
        context: Float[Array, "..."] | None = None,
        batch_size: int | None = None,
        key: PRNGKeyArray | None = None,
    ) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
        """From the base to the data: `x`, and the log-determinant of `dx/dz`."""

    @abc.abstractmethod
    def inverse_and_log_det(
        self,
        x: Float[Array, "..."],
        *,
        context: Float[Array, "..."] | None = None,
        batch_size: int | None = None,
        key: PRNGKeyArray | None = None,
    ) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
        """From the data to the base: `z`, and the log-determinant of `dz/dx`."""

    @abc.abstractmethod
    def log_prob_in_training(
        self,
        x: Float[Array, "batch ..."],
        *,
        context: Float[Array, "batch ..."] | None = None,
        key: PRNGKeyArray,
    ) -> tuple[Float[Array, " batch"], dict[str, Array]]:
        """`log_prob` that never raises, and metrics that say what went wrong and what it cost."""


def check_points(flow: AbstractFlow, data: Any) -> None:
    """Raise ValueError unless `data` are finite points of the flow, one a row, and one at least.

    Of a flow that depends on a context they are the pair of points and contexts, row by row.
    """
    x, context = points_and_context(flow, data)
    if np.shape(x)[1:] != flow.shape:
        axes = ", ".join(["n", *map(str, flow.shape)])
        hint = " Take `x[:, None]`." if np.ndim(x) == 1 and flow.shape == (1,) else ""
        raise ValueError(
            f"`data` of this flow must have shape [{axes}], got {list(np.shape(x))}.{hint}"
        )
    if not len(x):
        raise ValueError("`data` must hold at least one point, got none.")
    support = getattr(flow, "support_map", None)
    whole = support is not None and support.whole
    noise = "is added within" if whole else "has to be added first for whole numbers"
    require_floating("data", np.asarray(x), f"noise {noise}")
    check_rows(x)
    if support is not None:
        support.check(x)
    if context is not None:
        checked_context(context, flow.context_shape)
        if len(context) != len(x):
            raise ValueError(
                f"`data` must have one context a point, got {len(x)} points and {len(context)} "
                "contexts."
            )
        check_rows(context, name="context")


def points_and_context(flow: AbstractFlow, data: Any) -> tuple[Any, Any]:
    """Points alone, or the pair of points and contexts, as the flow needs them."""
    if getattr(flow, "context_shape", None) is None:
        if isinstance(data, tuple):
            raise ValueError(
                f"`data` must be points alone, got {len(data)} parts: this flow is of no context."
            )
        return data, None
    if not isinstance(data, tuple | list) or len(data) != 2:
        raise ValueError(
            "`data` must be the pair (points, contexts): this flow depends on a context."
        )
    return data[0], data[1]


@checked_by(check_points)
def maximum_likelihood_loss(
    flow: AbstractFlow, batch: Any, *, key: PRNGKeyArray
) -> tuple[Float[Array, ""], dict[str, Array]]:
    r"""The mean negative log-likelihood of a batch, as `pb.train.fit` takes it.

    $$ L = -\tfrac1n \sum_i \log p(x_i) \qquad \text{or} \qquad
       L = -\tfrac1n \sum_i \log p(x_i | c_i) $$

    Args:
        flow: the flow.
        batch: points, `[n, *flow.shape]`; of a flow that depends on a context the pair of them and
            the contexts, `[n, *flow.context_shape]`.
        key: for an estimated divergence or log-determinant, and for the noise of whole numbers.

    Returns:
        The loss in nats, and the flow's metrics: for `CNF` `result` (a code of `pb.ode.Result`, the
        largest over the batch; `fit` stops where it is not zero) and `nfe` (mean number of
        evaluations).

    Raises:
        ValueError: there is no point, or points and contexts are not those of the flow.

    Example:
        >>> import jax, jax.numpy as jnp, pullback as pb
        >>> field = pb.nn.ConcatMLP(2, width=8, depth=2, key=jax.random.key(0))
        >>> flow = pb.models.flows.CNF(field, pb.sampling.StandardNormal(2), steps=4)
        >>> loss, metrics = maximum_likelihood_loss(flow, jnp.zeros((3, 2)), key=jax.random.key(1))
        >>> round(float(loss), 4), int(metrics["result"])
        (1.8379, 0)

    Source: Grathwohl et al., "FFJORD", arXiv 1810.01367, section 3.
    """
    key = checked_key(key)
    x, context = points_and_context(flow, batch)
    if not len(x):
        raise ValueError("`batch` must hold at least one point, got none.")
    log_probs, metrics = flow.log_prob_in_training(x, context=context, key=key)
    return -jnp.mean(log_probs), metrics
