"""Grey levels by a mixture of logistics."""

import math
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float, PRNGKeyArray
from numpyro.distributions import constraints

from pullback._key import checked_key

from ._interface import AbstractLikelihood, Kind
from ._support import within_support

# Where a bin is so narrow beside the scale, 1 - e^-w is w (1 - w / 2) to rounding.
_NARROW = -16


class DiscretisedLogisticMixture(AbstractLikelihood):
    r"""Whole numbers from 0 to `levels` - 1: the mass that a mixture of logistics has in each bin.

    $$ p(x) = \sum_k \pi_k \left[ \sigma\Big(\frac{u(x) + w - m_k}{s_k}\Big)
       - \sigma\Big(\frac{u(x) - w - m_k}{s_k}\Big) \right], \qquad
       u(x) = \frac{2 x}{\text{levels} - 1} - 1, \quad w = \frac{1}{\text{levels} - 1} $$

    The first bin has all the mass below it, the last all above, so it sums to 1. The parameters are
    $(\log \pi_k, m_k, \log s_k)$, `[..., K, 3]`; $\log s$ is held above -7.

    Args:
        components: K.
        levels: how many grey levels there are, 2 or more.

    Source: Salimans et al., PixelCNN++, arXiv 1701.05517, section 2.1.
    """

    kind: ClassVar[Kind] = "whole"
    components: int = eqx.field(default=5, static=True)
    levels: int = eqx.field(default=256, static=True)

    def __check_init__(self):
        if self.components < 1 or self.levels < 2:
            raise ValueError(
                "`components` must be 1 or more and `levels` 2 or more, got "
                f"{self.components} and {self.levels}."
            )

    @property
    def support(self) -> Any:
        return constraints.integer_interval(0, self.levels - 1)

    def params_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (*shape, self.components, 3)

    def log_prob(self, params: Float[Array, "..."], x: Array) -> Float[Array, "..."]:
        log_weights, mean, log_std = self._split(params)
        level = x.astype(params.dtype)[..., None]
        half = 1 / (self.levels - 1)
        centred = 2 * half * level - 1 - mean
        upper, lower = (centred + half) * jnp.exp(-log_std), (centred - half) * jnp.exp(-log_std)
        # log(sigmoid(b) - sigmoid(a)) is log sigmoid(b) + log sigmoid(-a) + log(1 - e^(a - b)).
        log_width = math.log(2 * half) - log_std
        wide = log_width > _NARROW
        beyond = jnp.log(-jnp.expm1(-jnp.exp(jnp.where(wide, log_width, 0.0))))
        inside = (
            jax.nn.log_sigmoid(upper)
            + jax.nn.log_sigmoid(-lower)
            + jnp.where(wide, beyond, log_width - jnp.exp(log_width) / 2)
        )
        first, last = level < 0.5, level > self.levels - 1.5
        log_mass = jnp.where(
            first, jax.nn.log_sigmoid(upper), jnp.where(last, jax.nn.log_sigmoid(-lower), inside)
        )
        return within_support(self.support, x, logsumexp(log_weights + log_mass, axis=-1))

    def mean(self, params: Float[Array, "..."]) -> Float[Array, "..."]:
        r"""The mean of x, $\sum_{j \ge 1} P(x \ge j)$, level after level."""
        log_weights, mean, log_std = self._split(params)
        weights, half = jnp.exp(log_weights), 1 / (self.levels - 1)

        def add(total: Array, level: Array) -> tuple[Array, None]:
            edge = (2 * level.astype(params.dtype) - 1) * half - 1
            above = jax.nn.sigmoid((mean - edge) / jnp.exp(log_std))
            return total + jnp.sum(weights * above, axis=-1), None

        start = jnp.zeros(mean.shape[:-1], params.dtype)
        return jax.lax.scan(add, start, jnp.arange(1, self.levels))[0]

    def sample(self, params: Float[Array, "..."], *, key: PRNGKeyArray) -> Array:
        key = checked_key(key)
        log_weights, mean, log_std = self._split(params)
        which, noise = jr.split(key)
        chosen = jr.categorical(which, log_weights)[..., None]
        mean, log_std = (
            jnp.take_along_axis(each, chosen, axis=-1)[..., 0] for each in (mean, log_std)
        )
        u = mean + jnp.exp(log_std) * jr.logistic(noise, mean.shape, mean.dtype)
        return jnp.clip(jnp.round((u + 1) / 2 * (self.levels - 1)), 0, self.levels - 1)

    def _split(self, params: Array) -> tuple[Array, Array, Array]:
        weights, mean, log_std = (params[..., i] for i in range(3))
        return jax.nn.log_softmax(weights, axis=-1), mean, jnp.maximum(log_std, -7)
