"""Normal noise."""

import math
from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray
from numpyro.distributions import constraints

from pullback._key import checked_key

from ._interface import AbstractLikelihood, Kind
from ._scale import learned_log, of_variables

_HALF_LOG_TWO_PI = math.log(2 * math.pi) / 2


class Normal(AbstractLikelihood):
    r"""Independent normals, with the normaliser kept.

    $$ \log p(x) = -\frac{(x - m)^2}{2 s^2} - \log s - \tfrac12 \log 2 \pi $$

    The standard deviation s is one of three: fixed, `Normal(0.1)`, a scaled squared error; learned
    for each variable, the last axis of the data, `Normal(0.1, variables=3)`; or emitted by the
    decoder for each entry, `Normal()`. With the first two the parameters are the means; with the
    third m and $\log s$, `[..., 2]`, and nothing then keeps s from falling to zero where the data
    allow it.

    Args:
        std: s, in units of the data; where it starts if it is learned. None: emitted.
        variables: how many variables have a deviation of their own to learn; 1 for one that all
            share. None: `std` is fixed.

    Raises:
        ValueError: `std` is not positive, or `variables` is below 1, or given without `std`.

    Example:
        >>> import jax.numpy as jnp
        >>> Normal(1.0).log_prob(jnp.zeros(1), jnp.ones(1)).round(4).tolist()
        [-1.418...]
        >>> Normal().params_shape((3,))
        (3, 2)

    Source: Rubanova et al., arXiv 1907.03907, section 3.2, for series.
    """

    kind: ClassVar[Kind] = "real"
    fixed: float | None = eqx.field(static=True)
    log_std: Float[Array, " variables"] | None

    def __init__(self, std: float | int | None = None, *, variables: int | None = None):
        self.log_std = learned_log("std", std, variables)
        self.fixed = None if std is None else float(std)

    @property
    def support(self) -> Any:
        return constraints.real

    def params_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (*shape, 2) if self.fixed is None else shape

    def log_prob(self, params: Float[Array, "..."], x: Array) -> Float[Array, "..."]:
        if self.fixed is None:
            return normal_log_prob(x, params[..., 0], params[..., 1])
        return self.of_error(x - params)

    def of_error(self, error: Float[Array, "..."]) -> Float[Array, "..."]:
        """The log-density of x less its mean, where the deviation is fixed or learned."""
        std = self._std(error)
        return -jnp.square(error / std) / 2 - jnp.log(std) - _HALF_LOG_TWO_PI

    def mean(self, params: Float[Array, "..."]) -> Float[Array, "..."]:
        return params[..., 0] if self.fixed is None else params

    def sample(self, params: Float[Array, "..."], *, key: PRNGKeyArray) -> Array:
        key = checked_key(key)
        mean = self.mean(params)
        return mean + self._std(params) * jr.normal(key, mean.shape, mean.dtype)

    def _std(self, params: Float[Array, "..."]) -> Float[Array, "..."]:
        """The deviation of each entry."""
        if self.fixed is None:
            return jnp.exp(params[..., 1])
        if self.log_std is None:
            return jnp.full_like(params, self.fixed)
        return of_variables(self.log_std, params)


def normal_log_prob(
    x: Float[Array, "*shape"], mean: Float[Array, "*shape"], log_std: Float[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """The log-density of each entry, in nats, by the logarithm of its deviation."""
    square = jnp.square((x - mean) * jnp.exp(-log_std))
    return -(square / 2 + log_std + _HALF_LOG_TWO_PI)
