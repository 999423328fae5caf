"""Binary data."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray
from numpyro.distributions import constraints

from pullback._key import checked_key

from ._interface import AbstractLikelihood, Kind
from ._support import outside


class Bernoulli(AbstractLikelihood):
    r"""Binary entries; the parameters are logits l.

    $$ \log p(x) = x l - \log(1 + e^l) $$

    Grey levels in [0, 1] are taken as they are: the value is then the mean over binary images with
    those probabilities, and no density of grey levels.

    Example:
        >>> import jax.numpy as jnp
        >>> Bernoulli().log_prob(jnp.zeros(2), jnp.array([0.0, 1.0])).round(4).tolist()
        [-0.693..., -0.693...]
    """

    kind: ClassVar[Kind] = "whole"

    @property
    def support(self) -> Any:
        return constraints.unit_interval

    def params_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return shape

    def log_prob(self, params: Float[Array, "..."], x: Array) -> Float[Array, "..."]:
        never = outside(self.support, x, params.dtype)
        return x.astype(params.dtype) * params - _softplus(params) + never

    def mean(self, params: Float[Array, "..."]) -> Float[Array, "..."]:
        return jax.nn.sigmoid(params)

    def sample(self, params: Float[Array, "..."], *, key: PRNGKeyArray) -> Array:
        key = checked_key(key)
        return jr.bernoulli(key, jax.nn.sigmoid(params)).astype(params.dtype)


def bernoulli_log_prob(logits: Float[Array, "..."], x: Float[Array, "..."]) -> Float[Array, ""]:
    r"""$\sum_i x_i l_i - \log(1 + e^{l_i})$: of independent binary entries with logits l."""
    return jnp.sum(x * logits - _softplus(logits))


# `jax.nn.softplus` minds infinities and so takes half as long again, in a loop over all pixels.
@jax.custom_jvp
def _softplus(x: Array) -> Array:
    return jnp.maximum(x, 0) + jnp.log1p(jnp.exp(-jnp.abs(x)))


_softplus.defjvp(lambda x, moved: (_softplus(*x), jax.nn.sigmoid(x[0]) * moved[0]))
