"""Classes by number."""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray
from numpyro.distributions import constraints

from pullback._key import checked_key

from ._interface import AbstractLikelihood, Kind
from ._support import within_support


class Categorical(AbstractLikelihood):
    r"""Entries of one of `levels` classes, given by number; the parameters are logits, `[..., K]`.

    $$ \log p(x) = l_x - \log \sum_k e^{l_k} $$

    Args:
        levels: K, the number of classes, 2 or more; they are numbered from 0.

    Raises:
        ValueError: `levels` is below 2.

    Example:
        >>> import jax.numpy as jnp
        >>> Categorical(4).log_prob(jnp.zeros((2, 4)), jnp.array([0, 3])).round(4).tolist()
        [-1.386..., -1.386...]
    """

    kind: ClassVar[Kind] = "classes"
    levels: int = eqx.field(static=True)

    def __check_init__(self):
        if not isinstance(self.levels, int):
            raise TypeError(f"`levels` must be a whole number, got {self.levels!r}.")
        if self.levels < 2:
            raise ValueError(f"`levels` must be 2 or more, got {self.levels}.")

    @property
    def support(self) -> Any:
        return constraints.integer_interval(0, self.levels - 1)

    def params_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (*shape, self.levels)

    def log_prob(self, params: Float[Array, "..."], x: Array) -> Float[Array, "..."]:
        places = x.astype(jnp.int32)[..., None]
        log_prob = jnp.take_along_axis(jax.nn.log_softmax(params), places, axis=-1)[..., 0]
        return within_support(self.support, x, log_prob)

    def mean(self, params: Float[Array, "..."]) -> Float[Array, "..."]:
        return jax.nn.softmax(params)

    def sample(self, params: Float[Array, "..."], *, key: PRNGKeyArray) -> Array:
        key = checked_key(key)
        return jr.categorical(key, params)
