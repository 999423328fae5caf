"""A flow at one context: a distribution, and the family of all of them."""

from typing import Any

import equinox as eqx
from jaxtyping import Array, Float, PRNGKeyArray

from pullback._key import checked_key
from pullback.bounds import AbstractFamily, LatentModel

from ._interface import AbstractFlow
from ._rows import checked_context


class Given(eqx.Module):
    r"""The distribution $p(x | c)$ of a flow at one context.

    Args:
        flow: one that depends on a context.
        context: c, of the flow's `context_shape`.

    Raises:
        ValueError: the flow depends on no context, or c has another shape.

    Example:
        >>> import jax, jax.numpy as jnp, pullback as pb
        >>> flow = pb.models.flows.cnf(2, context=3, width=8, key=jax.random.key(0))
        >>> q = Given(flow, jnp.ones(3))
        >>> q.log_prob(q.sample(jax.random.key(1), (5,))).shape
        (5,)
    """

    flow: AbstractFlow
    context: Float[Array, "..."]

    def __init__(self, flow: AbstractFlow, context: Any):
        context = checked_context(context, flow.context_shape)
        if context is None or context.shape != flow.context_shape:
            raise ValueError(
                f"`context` must be one context of the flow, {flow.context_shape}, got "
                f"{None if context is None else context.shape}."
            )
        self.flow, self.context = flow, context

    @property
    def has_rsample(self) -> bool:
        """Whether gradients flow through a sample: not through whole numbers."""
        support = getattr(self.flow, "support_map", None)
        return support is None or not support.whole

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """One distribution; `jax.vmap` over more."""
        return ()

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Of one sample."""
        return self.flow.shape

    @property
    def support(self) -> Any:
        """Of the flow; None if it names none."""
        return getattr(self.flow, "support", None)

    def log_prob(self, value: Float[Array, "..."]) -> Float[Array, "..."]:
        """Of any points, `[..., *event_shape]`."""
        return self.flow.log_prob(value, context=self.context)

    def sample(self, key: PRNGKeyArray, sample_shape: tuple[int, ...] = ()) -> Float[Array, "..."]:
        """Draws of shape `[*sample_shape, *event_shape]`."""
        key = checked_key(key)
        return self.flow.sample(key, sample_shape, context=self.context)


class FlowFamily(AbstractFamily):
    r"""The members of a conditional flow as a family of posteriors.

    $$ q_\lambda(z) = p(z | c = \lambda) $$

    What an encoder returns is the context, and the flow's weights are shared by all members. With
    `base=DiagonalNormal(dim)` and a field or blocks that start at zero it starts as the mean field.

    Args:
        flow: one that depends on a context, with an exact divergence or log-determinant: a
            posterior's density is asked without a key.

    Raises:
        ValueError: the flow depends on no context.

    Example:
        >>> import jax, jax.numpy as jnp, pullback as pb
        >>> from pullback.models.vae import Bernoulli, mlp_vae
        >>> flow = pb.models.flows.cnf(2, context=4, width=8, key=jax.random.key(0))
        >>> vae = mlp_vae((9,), latent=2, width=8, likelihood=Bernoulli(), family=FlowFamily(flow),
        ...               key=jax.random.key(1))
        >>> vae.posterior(jnp.ones(9)).sample(jax.random.key(2)).shape
        (2,)
    """

    flow: AbstractFlow
    shape: tuple[int, ...] = eqx.field(static=True)

    def __init__(self, flow: AbstractFlow):
        if flow.context_shape is None:
            raise ValueError(
                "`flow` must depend on a context, which is what an encoder says: make it by "
                "`context=` of `residual_flow` or `cnf`."
            )
        self.flow, self.shape = flow, flow.context_shape

    def __call__(self, params: Float[Array, "..."]) -> Given:
        """The distribution at this context."""
        if params.shape != self.shape:
            raise ValueError(
                f"`params` must have the family's `shape`, {self.shape}, got {params.shape}: does "
                "the encoder end in it?"
            )
        return Given(self.flow, params)

    def augment(self, model: LatentModel, params: Float[Array, "..."]) -> LatentModel:
        """The model itself."""
        return model
