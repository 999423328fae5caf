"""Sequences of tokens that end at a stop."""

import numbers
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray
from numpyro.distributions import constraints

from pullback._key import checked_key
from pullback._numbers import check_number

from ._interface import AbstractLikelihood, Kind
from ._support import within_support


def _whole(levels: Any) -> int:
    if isinstance(levels, bool) or not isinstance(levels, numbers.Integral):
        raise TypeError(f"`levels` must be a whole number, got {levels!r}.")
    return int(levels)


class Tokens(AbstractLikelihood):
    r"""Tokens by number, one after another along the last axis; 0 is the stop, and ends them.

    $$ \log p(x_t) = l_{t, x_t} - \log \sum_k e^{l_{t, k}} $$

    up to the first stop and with it; what follows has the log-probability 0, and is drawn as 0. So
    padding by zeros costs nothing and teaches nothing. The parameters are logits, `[..., time, K]`;
    those of one token, `[K]`, are of one before which nothing ended.

    What ends a sequence is the stop, and no mask: `masked_log_prob` is for other likelihoods.

    Args:
        levels: K, the number of tokens, the stop included; 2 or more.
        temperature: $T$ of the draws, whose probabilities are the softmax of $l / T$: below 1 they
            keep to what is likely, and at 0 each is the likeliest. `log_prob` and `mean` are those
            of T = 1. A plain number, for what is an array in a model is trained.

    Raises:
        TypeError: `levels` is no whole number, or `temperature` no number.
        ValueError: `levels` is below 2, or `temperature` below 0 or infinite; when called, the
            parameters are not of K tokens, or, where they are drawn from and not traced, are NaN.

    Example:
        >>> import jax.numpy as jnp
        >>> Tokens(4).log_prob(jnp.zeros((3, 4)), jnp.array([2, 0, 0])).round(4).tolist()
        [-1.386..., -1.386..., 0.0]
    """

    kind: ClassVar[Kind] = "classes"
    levels: int = eqx.field(static=True, converter=_whole)
    temperature: Float[Array, ""] | float | int = 1.0

    def __check_init__(self):
        if self.levels < 2:
            raise ValueError(f"`levels` must be 2 or more, got {self.levels}.")
        check_number("temperature", self.temperature, "0 or more", lambda value: value >= 0)

    @property
    def support(self) -> Any:
        return constraints.integer_interval(0, self.levels - 1)

    def params_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (*shape, self.levels)

    def log_prob(self, params: Float[Array, "..."], x: Array) -> Float[Array, "..."]:
        self._check(params)
        # A sum over one entry: its slope is a product, where that of a look-up is a scatter.
        chosen = jax.nn.one_hot(x.astype(jnp.int32), self.levels, dtype=bool)
        logit = jnp.sum(jnp.where(chosen, params, 0.0), axis=-1)
        log_prob = within_support(self.support, x, logit - jax.nn.logsumexp(params, axis=-1))
        return jnp.where(_ended(x), 0.0, log_prob)

    def mean(self, params: Float[Array, "..."]) -> Float[Array, "..."]:
        """The probability that each token is there, 0 where the sequence has ended."""
        self._check(params)
        p = jax.nn.softmax(params)
        if params.ndim == 1:
            return p
        going = jnp.cumprod(1 - p[..., 0], axis=-1)
        reached = jnp.concatenate([jnp.ones_like(going[..., :1]), going[..., :-1]], axis=-1)
        letters = reached[..., None] * p[..., 1:]
        return jnp.concatenate([(1 - going)[..., None], letters], axis=-1)

    def sample(self, params: Float[Array, "..."], *, key: PRNGKeyArray) -> Int[Array, "..."]:
        key = checked_key(key)
        self._check(params)
        if not isinstance(params, Tracer) and np.isnan(params).any():
            raise ValueError("`params` are NaN: no token can be drawn from them.")
        # By Gumbel's trick, which at 0 is the likeliest, and divides by nothing.
        noise = jnp.asarray(self.temperature, params.dtype) * jr.gumbel(
            key, params.shape, params.dtype
        )
        drawn = jnp.argmax(params + noise, axis=-1).astype(jnp.int32)
        return jnp.where(_ended(drawn), 0, drawn)

    def _check(self, params: Array) -> None:
        if params.shape[-1:] != (self.levels,):
            raise ValueError(
                f"`params` must have {self.levels} logits for each token, `levels`, along the last "
                f"axis; got the shape {params.shape}."
            )


def _ended(x: Array) -> Bool[Array, "..."]:
    """Where a stop lies before, along the last axis."""
    if x.ndim == 0:
        return jnp.zeros((), bool)
    stops = (x == 0).astype(jnp.int32)
    return jnp.cumsum(stops, axis=-1) > stops
