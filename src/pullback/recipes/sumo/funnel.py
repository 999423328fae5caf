"""Reverse divergence to a funnel: a latent-variable model is fitted to a density without data.

The model's own evidence is to be made small where the target is small, so an estimate that is a
bound from below is exploited.
"""

from collections.abc import Callable, Sequence
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
from pullback.recipes.sumo.measure import Way, lists_of, log_evidence
from pullback.runs import Context
from pullback.sampling import DoublyReparameterised, log_prob, stop_gradient
from pullback.train import fit

WAYS = (
    Way("IWAE, k = 5", "iwae", 5),
    Way("IWAE, k = 9", "iwae", 9),
    Way("IWAE, k = 21", "iwae", 21),
    Way("SUMO, m = 4", "sumo", 4),
    Way("multilevel, base 4", "multilevel", 4),
)
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


@eqx.filter_jit
def _exact(model: Sampler, key: PRNGKeyArray) -> tuple[Array, Array]:
    """The exact divergence from the target, by a grid over z, and samples of the model."""
    axis = jnp.linspace(-5, 5, 101)
    z = jnp.stack(jnp.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    x = jax.vmap(model.sample)(jr.split(key, 1000))
    likelihoods = jax.vmap(model.likelihood)(z)
    prior = jnp.sum(dist.Normal(0.0, 1.0).log_prob(z), axis=-1)

    def evidence(x: Array) -> Array:
        return jax.nn.logsumexp(likelihoods.log_prob(x) + prior) + 2 * jnp.log(axis[1] - axis[0])

    log_p = jax.lax.map(evidence, x, batch_size=100)
    return jnp.mean(log_p - jax.vmap(log_target)(x)), x


def follow(
    context: Context,
    way: Way,
    number: int,
    seed: int,
    *,
    steps: Sequence[int],
    count: int,
    width: int,
    optimiser: optax.GradientTransformation,
) -> dict[str, Any]:
    """Train one model, and look at it after each of `steps`."""
    weights, stops, draws, look = jr.split(jr.key(seed), 4)
    model = Sampler(width, key=weights)
    data = lists_of(way, count, steps[-1], stops)
    found: dict[str, Any] = {"steps": list(steps), "objective": [], "exact": []}
    x = np.zeros((0, 2))
    for place, end in enumerate(steps):
        trained, info = fit(
            model,
            _loss(way, count),
            data,
            optimiser=optimiser,
            steps=end,
            batch_size=1,
            clip_norm=5.0,
            folder=context.folder(f"{way.kind}{way.size}-{number}"),
            # Each run is short and kept whole: one that was cut off begins again.
            resume=place > 0,
            progress=None if context.progress else False,
            key=draws,
        )
        exact, x = _exact(trained, look)
        recent = [e["objective"] for e in info.lines() if e["step"] > end - 300]
        found["objective"].append(float(np.mean(recent)))
        found["exact"].append(float(exact))
        context.metrics(
            {
                "way": way.name,
                "number": number,
                "step": end,
                "objective": found["objective"][-1],
                "exact": found["exact"][-1],
            }
        )
    found["samples"] = np.asarray(x)
    return found
