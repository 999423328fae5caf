"""Reverse divergence to a funnel: a latent-variable model is fitted to a density without data.

The model's own evidence is to be made small where the target is small, so an estimate that is a
bound from below is exploited.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro.distributions as dist
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from pullback.bounds import ImportanceWeighted
from pullback.recipes._kit.stack import made
from pullback.recipes.sumo.measure import Way, lists_of, log_evidence
from pullback.sampling import DoublyReparameterised, log_prob, stop_gradient
from pullback.train import fit

WAYS = (Way("IWAE", 9), Way("SUMO", 4), Way("IWAE", 21), Way("multilevel", 4))
_ENCODER_SAMPLES = 8


class Sampler(eqx.Module):
    """z ~ N(0, I) in the plane, x | z a normal with the decoder's mean and scale."""

    encoder: eqx.nn.MLP
    decoder: eqx.nn.MLP

    def __init__(self, width: int, *, key: PRNGKeyArray):
        encoder, decoder = jr.split(key)
        self.encoder = eqx.nn.MLP(2, 4, width, 2, jnp.tanh, key=encoder)
        self.decoder = eqx.nn.MLP(2, 4, width, 1, jnp.tanh, key=decoder)

    def likelihood(self, z: Float[Array, " 2"]) -> Any:
        """p(x | z)."""
        return _normal(self.decoder(z))

    def posterior(self, x: Float[Array, " 2"]) -> Any:
        """q(z | x)."""
        return _normal(self.encoder(x))

    def log_joint(self, x: Float[Array, " 2"], z: Float[Array, " 2"]) -> Float[Array, ""]:
        """log p(x, z)."""
        return log_prob(self.likelihood(z), x) + jnp.sum(dist.Normal(0.0, 1.0).log_prob(z))

    def sample(self, key: PRNGKeyArray) -> Float[Array, " 2"]:
        """A draw of x, through which gradients flow."""
        latent, noise = jr.split(key)
        return self.likelihood(jr.normal(latent, (2,))).sample(noise)


def _normal(parts: Float[Array, " 4"]) -> Any:
    return dist.Normal(parts[:2], jnp.exp(jnp.clip(parts[2:], -2.5, 2.0))).to_event(1)


def log_target(x: Float[Array, " 2"]) -> Float[Array, ""]:
    """The funnel: x_1 ~ N(0, 1.35^2), x_0 ~ N(0, exp(x_1)^2)."""
    return dist.Normal(0.0, 1.35).log_prob(x[1]) + dist.Normal(0.0, jnp.exp(x[1])).log_prob(x[0])


def _loss(way: Way, count: int) -> Callable:
    """The reverse divergence for the decoder, and a weighted bound for the encoder."""

    def loss(model: Sampler, batch: Any, *, key: PRNGKeyArray) -> tuple[Array, dict]:
        draws, noise, inner = jr.split(key, 3)
        x = jax.vmap(model.sample)(jr.split(draws, count))
        held = eqx.tree_at(lambda m: m.encoder, model, stop_gradient(model.encoder))
        estimates = _log_evidence(way, held, x, jax.tree.map(lambda a: a[0], batch), noise)
        objective = jnp.mean(estimates - jax.vmap(log_target)(x))
        fixed = jax.lax.stop_gradient(x)
        other = eqx.tree_at(lambda m: m.decoder, model, stop_gradient(model.decoder))
        bound = jax.vmap(
            lambda x, key: ImportanceWeighted(_ENCODER_SAMPLES)(
                lambda z: other.log_joint(x, z),
                other.posterior(x),
                estimator=DoublyReparameterised(),
                key=key,
            )
        )(fixed, jr.split(inner, count))
        # The encoder's part adds its gradient and not its value.
        encoder = jnp.mean(bound)
        return objective - (encoder - jax.lax.stop_gradient(encoder)), {"objective": objective}

    return loss


def _log_evidence(
    way: Way, model: Sampler, x: Float[Array, "n 2"], lists: Any, key: PRNGKeyArray
) -> Float[Array, " n"]:
    posteriors = jax.vmap(model.posterior)(x)

    def log_weight(q: Any, x: Array, key: Array) -> Array:
        z = q.sample(key)
        return model.log_joint(x, z) - log_prob(q, z)

    needed, stop = lists
    rows = jax.tree.map(lambda a: a[needed.row], posteriors)
    weights = jax.vmap(log_weight)(rows, x[needed.row], jr.split(key, len(needed.row)))
    return log_evidence(way, weights, needed, stop)


class Divergence(eqx.Module):
    """The exact divergence from the target, by a grid over z and samples of the model."""

    samples: int = eqx.field(static=True)
    key: PRNGKeyArray

    def __call__(self, model: Sampler, *, key: PRNGKeyArray) -> dict[str, Array]:
        del key  # the same samples at each look
        axis = jnp.linspace(-5, 5, 101)
        z = jnp.stack(jnp.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
        x = jax.vmap(model.sample)(jr.split(self.key, self.samples))
        likelihoods = jax.vmap(model.likelihood)(z)
        prior = jnp.sum(dist.Normal(0.0, 1.0).log_prob(z), axis=-1)
        cell = 2 * jnp.log(axis[1] - axis[0])
        evidence = lambda x: jax.nn.logsumexp(likelihoods.log_prob(x) + prior) + cell
        log_p = jax.lax.map(evidence, x, batch_size=100)
        return {"exact": jnp.mean(log_p - jax.vmap(log_target)(x))}


def follow(
    way: Way, seed: int, *, steps: int, count: int, width: int, learning_rate: float,
    progress: bool,
) -> dict[str, np.ndarray]:  # fmt: skip
    """Train a model; its objective and its exact divergence at four looks."""
    weights, stops, draws, look = jr.split(jr.key(seed), 4)
    _, info = fit(
        made(Sampler, width, key=weights),
        _loss(way, count),
        lists_of(way, count, steps, stops),
        optimiser=optax.adam(learning_rate),
        steps=steps,
        batch_size=1,
        clip_norm=5.0,
        validation=Divergence(min(1000, 100 * count), look),
        log_every=steps // 40,
        evaluate_every=steps // 4,
        progress=None if progress else False,
        key=draws,
    )
    history = info.history
    looks = np.flatnonzero(np.isfinite(history["validation_exact"]))
    return {
        "steps": history["step"][looks],
        "exact": history["validation_exact"][looks],
        # Of the steps of late: that of a single one fluctuates.
        "objective": np.stack([history["objective"][at - 5 : at + 1].mean() for at in looks]),
    }
