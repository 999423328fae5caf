"""A world whose posterior is known: z ~ N(0, 1), x = a z + b + s e."""

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.scipy.stats import norm

from pullback.games import AbstractConditional

A, B, S = 1.5, 0.5, 0.8


def posterior(a=A, b=B, s=S):
    """Slope, intercept and deviation of z given x."""
    total = a**2 + s**2
    return a / total, -a * b / total, s / np.sqrt(total)


class Line(AbstractConditional):
    """A normal distribution around a line, of the first column alone: a stranger's conditional."""

    line: tuple

    def sample(self, x, *, key):
        slope, intercept, std = self.line
        return slope * x + intercept + std * jr.normal(key, x.shape, x.dtype)


def log_normal(value, line, given):
    slope, intercept, std = line
    return norm.logpdf(value, slope * given + intercept, std)


def best_logit(x, z, encoder, decoder, data):
    """log q(x, z) - log p(x, z), where data are N(data[0], data[1]^2)."""
    log_q = norm.logpdf(x, *data) + log_normal(z, encoder, x)
    return log_q - norm.logpdf(z, 0.0, 1.0) - log_normal(x, decoder, z)


class BestDiscriminator(eqx.Module):
    """The best discriminator of two lines."""

    encoder: tuple
    decoder: tuple
    data: tuple

    def __call__(self, x, z, *, key=None):
        return best_logit(x[0], z[0], self.encoder, self.decoder, self.data)


WORLD = (A, B, S)
DATA = (B, float(np.hypot(A, S)))


def nodes(count=80):
    """Pairs of standard normal numbers and their weights, by Gauss and Hermite."""
    at, weights = np.polynomial.hermite_e.hermegauss(count)
    first, second = np.meshgrid(at, at, indexing="ij")
    both = np.outer(weights, weights) / (2 * np.pi)
    return jnp.asarray(first.ravel()), jnp.asarray(second.ravel()), jnp.asarray(both.ravel())
