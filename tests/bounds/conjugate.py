"""A model of which everything is known: z ~ N(theta, I), x | z ~ N(z, I)."""

import jax.numpy as jnp
import numpyro.distributions as dist

from pullback.bounds import LatentModel

D = 5
X = jnp.array([0.3, -1.2, 0.8, 2.0, 0.1])


def model(theta=0.0, x=X):
    return LatentModel(
        lambda z: jnp.sum(dist.Normal(z, 1.0).log_prob(x)),
        dist.Normal(jnp.full(len(x), theta), 1.0).to_event(1),
    )


def log_evidence(theta=0.0, x=X):
    return jnp.sum(dist.Normal(theta, jnp.sqrt(2.0)).log_prob(x))


def exact_posterior(theta=0.0, x=X):
    return dist.Normal((x + theta) / 2, jnp.sqrt(0.5) * jnp.ones(len(x))).to_event(1)


def proposal(delta, theta=0.0, x=X, variance=2 / 3):
    """The posterior's mean shifted by delta, with a variance of 2/3 in place of 1/2."""
    mean = (x + theta) / 2 + delta
    return dist.Normal(mean, jnp.sqrt(variance) * jnp.ones(len(x))).to_event(1)
