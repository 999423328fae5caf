"""Discrete expectations whose gradients are known by enumeration, shared by tests."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpyro.distributions as dist

from pullback.sampling import Enumeration, OneHotCategorical, expectation, relaxed_sample

BINARY = jnp.array([0.4, -0.7, 1.2])
ONE_HOT = jnp.array([[0.5, -0.2, 0.1], [-1.0, 0.3, 0.8]])


def of_binary(b, q):
    """Distance, an interaction, and a term that q itself is in."""
    b = b.astype(BINARY.dtype)
    with jax.numpy_dtype_promotion("standard"):
        return jnp.sum((b - 0.45) ** 2) + 2 * b[0] * b[2] + 0.3 * jnp.sum(q.log_prob(b))


def of_one_hot(b, q):
    """A table, read by the outcome."""
    table = jnp.array([[1.0, -2.0, 0.5], [0.3, 1.5, -1.0], [2.0, 0.0, 1.0]])
    return b[0] @ table @ b[1] + 0.3 * jnp.sum(q.log_prob(b))


PROBLEMS: dict[str, tuple[Any, Any, Any]] = {
    "binary": (of_binary, dist.BernoulliLogits, BINARY),
    "one_hot": (of_one_hot, OneHotCategorical, ONE_HOT),
}


def exact_gradient(f, family, logits):
    """The sum over all outcomes, differentiated."""
    loss = lambda x: expectation(f, family(x), estimator=Enumeration(), key=jr.key(0))
    return jax.jit(jax.grad(loss))(logits)


class SameSamples(eqx.Module):
    """A distribution that draws, with the same key, what relaxed estimators draw."""

    base: Any

    def sample(self, key, sample_shape=()):
        return relaxed_sample(self.base, key=key).b

    def log_prob(self, value):
        return self.base.log_prob(value)
