"""The lower half of an image, from the upper one, by way of discrete latents."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from pullback.models.vae import bernoulli_log_prob
from pullback.recipes._kit.discrete_vae import AbstractDiscreteModel, inputs_of, latents_of
from pullback.sampling import AbstractEstimator, draw, expectation

_DRAWS = 25  # of the latents of an image, for a score


class BeliefNet(AbstractDiscreteModel):
    """A sigmoid belief network: two layers of latents, linear between them."""

    first: eqx.nn.Linear
    second: eqx.nn.Linear
    last: eqx.nn.Linear
    latents: tuple[int, ...] = eqx.field(static=True)

    def __init__(self, pixels: int, latents: tuple[int, ...], *, key: PRNGKeyArray):
        keys = jr.split(key, 3)
        size, half = int(np.prod(latents)), pixels // 2
        self.first = eqx.nn.Linear(half, size, key=keys[0])
        self.second = eqx.nn.Linear(size, size, key=keys[1])
        self.last = eqx.nn.Linear(size, pixels - half, key=keys[2])
        self.latents = latents

    def objective(
        self, x: Float[Array, " pixels"], estimator: AbstractEstimator, samples: int, *,
        key: PRNGKeyArray,
    ) -> tuple[Array, Array]:  # fmt: skip
        """Minus the log-likelihood of the lower half, at single samples of both layers."""
        del samples
        keys = jr.split(key)
        value = expectation(
            lambda z, q: expectation(
                self._miss(x), self._second(z, x.dtype), estimator=estimator, key=keys[1]
            ),
            self._first(x), estimator=estimator, key=keys[0],
        )  # fmt: skip
        return value, value

    def score(self, x: Float[Array, " pixels"], *, key: PRNGKeyArray) -> Array:
        """Minus the log of the mean likelihood over draws, by which it is bounded from above."""

        def one(key: PRNGKeyArray) -> Array:
            keys = jr.split(key)
            z = draw(self._second(draw(self._first(x), keys[0]), x.dtype), keys[1])
            return -self._miss(x)(z, None)

        draws = jax.vmap(one)(jr.split(key, _DRAWS))
        return jnp.log(_DRAWS) - jax.nn.logsumexp(draws)

    def _first(self, x: Array) -> Any:
        half = self.first.in_features
        return latents_of(self.first(x[: int(half)] - 0.5).reshape(self.latents))

    def _second(self, z: Array, dtype: Any) -> Any:
        return latents_of(self.second(inputs_of(z, dtype)).reshape(self.latents))

    def _miss(self, x: Array) -> Callable[[Array, Any], Array]:
        lower = x[int(self.first.in_features) :]
        return lambda z, q: -bernoulli_log_prob(self.last(inputs_of(z, x.dtype)), lower)
