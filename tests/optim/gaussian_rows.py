"""A linear regression with its exact posterior, and likelihoods of known Fisher matrices."""

import equinox as eqx
import jax
import jax.flatten_util
import jax.numpy as jnp
import jax.random as jr
import numpy as np

N, D, NOISE, PRIOR = 60, 4, 0.5, 2.0
_RNG = np.random.default_rng(0)
X = _RNG.normal(size=(N, D)) @ (0.5 * np.ones((D, D)) + 0.5 * np.eye(D))
Y = X @ _RNG.normal(size=D) + np.sqrt(NOISE) * _RNG.normal(size=N)
PRECISION = X.T @ X / NOISE + np.eye(D) / PRIOR
COVARIANCE = np.linalg.inv(PRECISION)
MEAN = COVARIANCE @ X.T @ Y / NOISE


class TwoPoints:
    """A normal density whose labels lie one deviation off: each has the mean square of all."""

    def __init__(self, mean, variance=NOISE):
        self.mean, self.variance = mean, variance

    def log_prob(self, y):
        return -jnp.sum((y - self.mean) ** 2) / (2 * self.variance)

    def sample(self, key):
        sign = jr.rademacher(key, jnp.shape(self.mean)).astype(self.mean.dtype)
        return self.mean + np.sqrt(self.variance) * sign


def weights_of(posterior, draws):
    """The weights of networks that are drawn."""
    flat = lambda key: jax.flatten_util.ravel_pytree(
        eqx.filter(posterior.sample(key=key), eqx.is_array)
    )[0]
    return np.asarray(jax.jit(jax.vmap(flat))(jr.split(jr.key(9), draws)))
