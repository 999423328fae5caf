"""Counts."""

import math
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jax.scipy.special import gammaln
from jaxtyping import Array, Float, PRNGKeyArray
from numpyro.distributions import constraints

from pullback._key import checked_key

from ._interface import AbstractLikelihood, Kind
from ._scale import learned_log, of_variables
from ._support import within_support

_STIRLING = 16.0


class Poisson(AbstractLikelihood):
    r"""Counts from 0, whose variance is their mean; the parameters are log-rates l.

    $$ \log p(x) = x l - e^l - \log x! $$

    Example:
        >>> import jax.numpy as jnp
        >>> Poisson().log_prob(jnp.zeros(2), jnp.array([0.0, 1.0])).round(4).tolist()
        [-1.0, -1.0]
    """

    kind: ClassVar[Kind] = "whole"

    @property
    def support(self) -> Any:
        return constraints.nonnegative_integer

    def params_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return shape

    def log_prob(self, params: Float[Array, "..."], x: Array) -> Float[Array, "..."]:
        count = x.astype(params.dtype)
        return within_support(
            self.support, x, count * params - jnp.exp(params) - gammaln(count + 1)
        )

    def mean(self, params: Float[Array, "..."]) -> Float[Array, "..."]:
        return jnp.exp(params)

    def sample(self, params: Float[Array, "..."], *, key: PRNGKeyArray) -> Array:
        key = checked_key(key)
        return jr.poisson(key, jnp.exp(params)).astype(params.dtype)


class NegativeBinomial(AbstractLikelihood):
    r"""Counts from 0 that scatter more than a Poisson's: of mean $m$, the variance is $m + m^2/r$.

    $$ p(x) = \frac{\Gamma(x + r)}{\Gamma(r)\, x!}
       \Big(\frac{r}{r + m}\Big)^r \Big(\frac{m}{r + m}\Big)^x $$

    The concentration r is fixed, `NegativeBinomial(2.0)`; learned for each variable, the last axis
    of the data, `NegativeBinomial(2.0, variables=3)`; or emitted, `NegativeBinomial()`. With the
    first two the parameters are $\log m$; with the third $\log m$ and $\log r$, `[..., 2]`. As r
    grows this becomes `Poisson`.

    Args:
        concentration: r; where it starts if it is learned. None: emitted.
        variables: how many variables have a concentration of their own to learn; 1 for one that all
            share. None: `concentration` is fixed.

    Raises:
        ValueError: `concentration` is not positive, or `variables` is below 1, or given without
            `concentration`.

    Example:
        >>> import jax.numpy as jnp
        >>> NegativeBinomial(1.0).log_prob(jnp.zeros(1), jnp.ones(1)).round(4).tolist()
        [-1.386...]

    Source: Cameron and Trivedi, Regression Analysis of Count Data, section 3.3 (NB2).
    """

    kind: ClassVar[Kind] = "whole"
    fixed: float | None = eqx.field(static=True)
    log_concentration: Float[Array, " variables"] | None

    def __init__(self, concentration: float | int | None = None, *, variables: int | None = None):
        self.log_concentration = learned_log("concentration", concentration, variables)
        self.fixed = None if concentration is None else float(concentration)

    @property
    def support(self) -> Any:
        return constraints.nonnegative_integer

    def params_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (*shape, 2) if self.fixed is None else shape

    def log_prob(self, params: Float[Array, "..."], x: Array) -> Float[Array, "..."]:
        count = x.astype(params.dtype)
        log_mean, log_r = self._split(params)
        # Beyond, it is a Poisson's to rounding, and r itself may overflow.
        log_r = jnp.minimum(log_r, math.log(float(jnp.finfo(params.dtype).max)) / 3)
        value = (
            _log_rising(count, log_r)
            - gammaln(count + 1)
            + _log_of_none(log_mean, log_r)
            + count * jax.nn.log_sigmoid(log_mean - log_r)
        )
        return within_support(self.support, x, value)

    def mean(self, params: Float[Array, "..."]) -> Float[Array, "..."]:
        return jnp.exp(self._split(params)[0])

    def sample(self, params: Float[Array, "..."], *, key: PRNGKeyArray) -> Array:
        """A Poisson count whose rate is drawn from a gamma distribution."""
        key = checked_key(key)
        of_rate, of_count = jr.split(key)
        log_mean, log_r = self._split(params)
        log_rate = log_mean - log_r + jr.loggamma(of_rate, jnp.exp(log_r), dtype=params.dtype)
        return jr.poisson(of_count, jnp.exp(log_rate)).astype(params.dtype)

    def _split(self, params: Float[Array, "..."]) -> tuple[Array, Array]:
        """Logarithms of the mean and of the concentration of each entry."""
        if self.fixed is None:
            return params[..., 0], params[..., 1]
        if self.log_concentration is None:
            return params, jnp.log(jnp.full_like(params, self.fixed))
        return params, jnp.log(of_variables(self.log_concentration, params))


def _log_of_none(log_mean: Array, log_r: Array) -> Array:
    r"""$r \log(r / (r + m))$, the log-mass of 0, which tends to -m for a large r."""
    mean = jnp.exp(jnp.minimum(log_mean, log_r))
    share = jnp.exp(jnp.minimum(log_mean - log_r, 0.0))
    tiny = share < jnp.finfo(share.dtype).eps
    some = jnp.where(tiny, 1.0, share)
    by_mean = -mean * jnp.where(tiny, 1 - share / 2, jnp.log1p(some) / some)
    by_r = jnp.exp(log_r) * jax.nn.log_sigmoid(log_r - log_mean)
    return jnp.where(log_mean < log_r, by_mean, by_r)


def _log_rising(count: Array, log_r: Array) -> Array:
    r"""$\log \Gamma(x + r) - \log \Gamma(r)$: differences of large numbers, taken by hand.

    It is 0 for x = 0, else $\log r + \log \Gamma(x + r) - \log \Gamma(1 + r)$, where nothing is
    infinite for a small r; for a large one by Stirling's series, where nothing cancels.
    """
    more = jnp.maximum(count, 1) - 1
    start = 1 + jnp.exp(log_r)
    small = start < _STIRLING
    low, high = jnp.where(small, start, 1.0), jnp.where(small, _STIRLING, start)
    direct = gammaln(low + more) - gammaln(low)
    series = (
        (high - 0.5) * jnp.log1p(more / high)
        + more * jnp.log(high + more)
        - more
        + _stirling_rest(high + more)
        - _stirling_rest(high)
    )
    return jnp.where(count > 0, log_r + jnp.where(small, direct, series), 0.0)


def _stirling_rest(x: Array) -> Array:
    """Of log Gamma, beside Stirling's formula; to 1e-12 from 16 on."""
    square = jnp.square(1 / x)
    return (1 / 12 - square * (1 / 360 - square * (1 / 1260 - square / 1680))) / x
