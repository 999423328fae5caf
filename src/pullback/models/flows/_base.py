"""What a flow starts from."""

import math
from typing import Any, Protocol, runtime_checkable

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray


@runtime_checkable
class Distribution(Protocol):
    """A density that can be evaluated and sampled, such as NumPyro's and FlowJAX's."""

    def log_prob(self, x: Any, /) -> Any:
        """The log-density of points `[..., dim]` in nats, of shape `[...]`."""
        ...

    def sample(self, key: Any, shape: Any, /) -> Any:
        """Draws of shape `[*shape, dim]`."""
        ...


class StandardNormal(eqx.Module):
    r"""The Gaussian of mean zero and unit covariance.

    $$ \log p(x) = -\tfrac12 \|x\|^2 - \tfrac{d}{2} \log 2\pi $$

    Attributes:
        dim: size `d` of a point.
        dtype: of the samples; JAX's default float if None.

    Raises:
        ValueError: `dim` is below 1.

    Example:
        >>> import jax.numpy as jnp
        >>> round(float(StandardNormal(2).log_prob(jnp.zeros(2))), 4)
        -1.8379
    """

    dim: int = eqx.field(static=True)
    dtype: Any = eqx.field(default=None, static=True)

    def __check_init__(self) -> None:
        if self.dim < 1:
            raise ValueError(f"`dim` must be 1 or more, got {self.dim}")

    def log_prob(self, x: Float[Array, "*batch dim"]) -> Float[Array, "*batch"]:
        """The log-density of `x`, in nats."""
        return -jnp.sum(jnp.square(x), axis=-1) / 2 - self.dim / 2 * math.log(2 * math.pi)

    def sample(self, key: PRNGKeyArray, shape: tuple[int, ...] = ()) -> Float[Array, "*batch dim"]:
        """Draws of shape `[*shape, dim]`."""
        return jr.normal(key, (*shape, self.dim), self.dtype)
