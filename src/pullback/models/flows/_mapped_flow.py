"""A flow of what a bijection makes of the data."""

from typing import Any

import equinox as eqx
import jax.random as jr
import optimistix as optx
from jaxtyping import Array, Float, PRNGKeyArray

from pullback._key import checked_key
from pullback.sampling import SupportMap

from ._bijection import AbstractBijection, require_bijection
from ._interface import AbstractFlow
from ._residual_flow import forward_rows, inverse_rows
from ._rows import points_in_rows
from ._support import support_map


class MappedFlow(AbstractFlow):
    r"""A flow of the images of the data under a bijection in closed form.

    $$ \log p(x) = \log p_{\mathrm{flow}}(f(x)) + \ln |\det \partial f / \partial x| $$

    `cnf` makes one: its bijection takes columns to the whole line, and to mean 0 and deviation 1.

    Args:
        flow: of the images; the context is its own.
        bijection: f, from the data to what the flow is of. Its inverse has a closed form.
        shape: of one point of the data, where it is not that of the flow.

    Raises:
        TypeError: `bijection` is none.
        ValueError: as those of `flow`; a `key` is missing for the noise of whole numbers.

    Example:
        >>> import jax, jax.numpy as jnp, pullback as pb
        >>> flow = pb.models.flows.cnf(2, width=8, support={0: "positive"}, key=jax.random.key(0))
        >>> flow.log_prob(jnp.array([[1.0, 0.0], [-1.0, 0.0]])).round(2).tolist()
        [-1.84, -inf]
    """

    flow: AbstractFlow
    bijection: AbstractBijection
    shape: tuple[int, ...] = eqx.field(static=True)

    def __init__(
        self,
        flow: AbstractFlow,
        bijection: AbstractBijection,
        *,
        shape: tuple[int, ...] | None = None,
    ):
        require_bijection("bijection", bijection)
        self.flow, self.bijection = flow, bijection
        self.shape = flow.shape if shape is None else tuple(shape)

    @property
    def context_shape(self) -> tuple[int, ...] | None:
        """That of the flow."""
        return self.flow.context_shape

    @property
    def support_map(self) -> SupportMap | None:
        """From the support of the data to the line; None for numbers of any size."""
        return support_map(self.bijection)

    @property
    def support(self) -> Any:
        """Of the data; None if none is named."""
        found = self.support_map
        return None if found is None else found.support

    def log_prob(
        self,
        x: Float[Array, "..."],
        *,
        context: Float[Array, "..."] | None = None,
        batch_size: int | None = None,
        key: PRNGKeyArray | None = None,
    ) -> Float[Array, "..."]:
        """The log-density of `x` in nats; of whole numbers, an estimate of a lower bound.

        `key` is for an estimate, and for the noise of whole numbers.
        """
        y, log_det, key = self._forward(x, batch_size, key)
        return self.flow.log_prob(y, context=context, batch_size=batch_size, key=key) + log_det

    def log_prob_in_training(
        self,
        x: Float[Array, "batch ..."],
        *,
        context: Float[Array, "batch ..."] | None = None,
        key: PRNGKeyArray,
    ) -> tuple[Float[Array, " batch"], dict[str, Array]]:
        """That of the flow, with the log-determinant of the bijection."""
        key = checked_key(key)
        y, log_det, key = self._forward(x, None, key)
        log_probs, metrics = self.flow.log_prob_in_training(y, context=context, key=key)
        return log_probs + log_det, metrics

    def sample(
        self,
        key: PRNGKeyArray,
        shape: tuple[int, ...] = (),
        *,
        context: Float[Array, "..."] | None = None,
        batch_size: int | None = None,
    ) -> Float[Array, "..."]:
        """Draws of shape `[*shape, *self.shape]`; of contexts `[*batch, ...]`, of each of them."""
        key = checked_key(key)
        y = self.flow.sample(key, shape, context=context, batch_size=batch_size)
        return self._inverse(y, batch_size)

    def transform_and_log_det(
        self,
        z: Float[Array, "..."],
        *,
        context: Float[Array, "..."] | None = None,
        batch_size: int | None = None,
        key: PRNGKeyArray | None = None,
    ) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
        """From the base to the data: `x`, and the log-determinant of `dx/dz`."""
        own, key = _two(key)
        y, log_det = self.flow.transform_and_log_det(
            z, context=context, batch_size=batch_size, key=key
        )
        x = self._inverse(y, batch_size)
        _, back, _ = self._forward(x, batch_size, own)
        return x, log_det - back

    def inverse_and_log_det(
        self,
        x: Float[Array, "..."],
        *,
        context: Float[Array, "..."] | None = None,
        batch_size: int | None = None,
        key: PRNGKeyArray | None = None,
    ) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
        """From the data to the base: `z`, and the log-determinant of `dz/dx`."""
        y, first, key = self._forward(x, batch_size, key)
        z, log_det = self.flow.inverse_and_log_det(
            y, context=context, batch_size=batch_size, key=key
        )
        return z, first + log_det

    def _forward(self, x: Any, batch_size: int | None, key: Any) -> tuple[Array, Array, Any]:
        """Images, log-determinants, and a key that is left."""
        rows, batch = points_in_rows(x, self.shape)
        own, key = _two(key)
        keys = None if own is None else jr.split(own, len(rows))
        y, log_det = forward_rows(self.bijection, rows, None, keys, None, batch_size)
        return y.reshape(*batch, *y.shape[1:]), log_det.reshape(batch), key

    def _inverse(self, y: Array, batch_size: int | None) -> Array:
        rows, batch = points_in_rows(y, self.flow.shape)
        solver = optx.FixedPointIteration(1e-6, 1e-6)  # for nothing: there is a closed form
        x, _ = inverse_rows(self.bijection, rows, None, solver, 1, batch_size)
        return x.reshape(*batch, *x.shape[1:])


def _two(key: Any) -> tuple[Any, Any]:
    if key is None:
        return None, None
    own, other = jr.split(checked_key(key))
    return own, other
