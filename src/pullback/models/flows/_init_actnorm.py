"""What of a flow is set by data before training."""

from typing import TypeVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from pullback._checked_data import check_data

from ._interface import maximum_likelihood_loss
from ._mapped_flow import MappedFlow
from ._residual_flow import ResidualFlow
from ._rows import with_context

F = TypeVar("F", ResidualFlow, MappedFlow)


def init_actnorm(
    flow: F, x: Float[Array, "batch ..."], *, context: Float[Array, "batch ..."] | None = None
) -> F:
    """The flow with its act-norms set by a batch of data, as they have to be before training.

    Args:
        flow: a new `ResidualFlow`, or a `MappedFlow`.
        x: some hundred examples or more.
        context: of each of them, of a flow that depends on one.

    Raises:
        TypeError: the flow has no bijection that could be set.
        ValueError: there is no point, one is not finite or has another shape, or they are whole
            numbers.

    Example:
        >>> import jax, jax.numpy as jnp, pullback as pb
        >>> flow = pb.models.flows.residual_flow(2, blocks=1, width=8, key=jax.random.key(0))
        >>> x = 5 + 2 * jax.random.normal(jax.random.key(1), (500, 2))
        >>> z, _ = init_actnorm(flow, x).inverse_and_log_det(x)
        >>> bool(jnp.allclose(z.mean(0), 0, atol=1e-4) & jnp.allclose(z.std(0), 1, atol=1e-4))
        True

    Source: Kingma and Dhariwal, Glow, arXiv 1807.03039, section 3.1.
    """
    if not isinstance(flow, ResidualFlow | MappedFlow):
        raise TypeError(
            "`flow` must be a ResidualFlow or a MappedFlow, whose bijection is set by data; got "
            f"{type(flow).__name__}, which needs no such thing."
        )
    rows, contexts, _ = with_context(x, flow.shape, context, flow.context_shape)
    given = rows.astype(jnp.asarray(x).dtype)
    check_data(maximum_likelihood_loss, flow, given if contexts is None else (given, contexts))
    bijection, _ = flow.bijection.initialise(rows, context=contexts)
    return eqx.tree_at(lambda f: f.bijection, flow, bijection)
