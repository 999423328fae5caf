"""What the recipe `gumbel-softmax` measures apart from a training."""

import time
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from pullback.recipes._kit.stack import made
from pullback.sampling import (
    AbstractEstimator,
    Enumeration,
    GumbelSoftmax,
    OneHotCategorical,
    ScoreFunction,
    StraightThrough,
    expectation,
    grad_stats,
)


def bias_and_variance(
    temperatures: Sequence[float], draws: int, seeds: Sequence[int]
) -> dict[str, Any]:
    """Of one-sample gradients of a quadratic of four classes, `[problem, temperature]`.

    Each is a norm over the four entries; `noise` is four standard errors of a bias.
    """
    taus = jnp.asarray(temperatures, float)

    def problem(seed: Array) -> dict[str, Any]:
        size_key, point_key, key = jr.split(jr.key(seed), 3)
        square = jr.normal(size_key, (4, 4))
        logits = jr.normal(point_key, (4,)) / 2

        def f(z: Array, q: Any) -> Array:
            del q
            return jnp.sum(jnp.square(square @ (z - 0.25)))

        def loss(logits: Array, estimator: AbstractEstimator, *, key: PRNGKeyArray) -> Array:
            return expectation(f, OneHotCategorical(logits), estimator=estimator, key=key)

        exact = jax.grad(lambda x: loss(x, Enumeration(), key=key))(logits)

        def measure(estimator: AbstractEstimator) -> dict[str, Array]:
            one = lambda x, *, key: loss(x, estimator, key=key)
            stats = grad_stats(one, logits, jr.split(key, draws), batch_size=2000)
            noise = jnp.linalg.norm(stats.standard_error)
            # The squared distance holds the noise of the mean as well, and is on average too large.
            square = jnp.sum(jnp.square(stats.mean - exact)) - jnp.square(noise)
            return {
                "bias": jnp.sqrt(jnp.maximum(square, 0)),
                "variance": jnp.sum(stats.variance),
                "noise": 4 * noise,
            }

        return {
            "gumbel": jax.lax.map(lambda t: measure(GumbelSoftmax(t)), taus),
            "hard": jax.lax.map(lambda t: measure(GumbelSoftmax(t, hard=True)), taus),
            "straight_through": measure(StraightThrough()),
            "score": measure(ScoreFunction()),
            "size": jnp.linalg.norm(exact),
        }

    return jax.jit(lambda seeds: jax.lax.map(problem, seeds))(jnp.asarray(seeds))


class Semi(eqx.Module):
    """The unlabelled step of a semi-supervised autoencoder: a class, a code, an image."""

    classifier: eqx.nn.MLP
    encoder: eqx.nn.MLP
    decoder: eqx.nn.MLP

    def __init__(self, pixels: int, classes: int, width: int, *, key: PRNGKeyArray):
        keys = jr.split(key, 3)
        mlp = lambda i, o, key: eqx.nn.MLP(i, o, width, 2, jax.nn.relu, key=key)
        self.classifier = mlp(pixels, classes, keys[0])
        self.encoder = mlp(pixels + classes, 2 * 16, keys[1])
        self.decoder = mlp(16 + classes, pixels, keys[2])

    def loss(
        self, x: Float[Array, " pixels"], estimator: AbstractEstimator, key: PRNGKeyArray
    ) -> Array:
        """Minus the bound, with the class summed or sampled as the estimator will."""
        code_key, key = jr.split(key)

        def f(y: Array, q: Any) -> Array:
            del q
            mean, log_std = jnp.split(self.encoder(jnp.concatenate([x, y])), 2)
            code = mean + jnp.exp(log_std) * jr.normal(code_key, mean.shape)
            logits = self.decoder(jnp.concatenate([code, y]))
            rate = 0.5 * jnp.sum(mean**2 + jnp.exp(2 * log_std) - 2 * log_std - 1)
            return jnp.sum(jax.nn.softplus(logits) - x * logits) + rate

        q = OneHotCategorical(self.classifier(x))
        return expectation(f, q, estimator=estimator, key=key) - q.entropy()


def cost(pixels: int, classes: Sequence[int], width: int, repeats: int) -> list[dict[str, float]]:
    """Milliseconds of a gradient for 50 images: the sum over classes, and one relaxed sample.

    The least of some repeats, taken in turns: what else the machine does makes them longer.
    """
    x = jr.uniform(jr.key(0), (50, pixels))
    keys = jr.split(jr.key(1), len(x))
    ways = {"sum": Enumeration(), "sample": GumbelSoftmax(1.0)}

    @eqx.filter_jit
    def gradient(model: Semi, way: AbstractEstimator) -> Semi:
        mean = lambda model: jnp.mean(jax.vmap(lambda x, k: model.loss(x, way, k))(x, keys))
        return eqx.filter_grad(mean)(model)

    def seconds(model: Semi, way: AbstractEstimator) -> float:
        start = time.perf_counter()
        jax.block_until_ready(eqx.filter(gradient(model, way), eqx.is_array))
        return time.perf_counter() - start

    found = []
    for count in classes:
        model = made(Semi, pixels, count, width, key=jr.key(2))
        turns = [
            {name: seconds(model, way) for name, way in ways.items()} for _ in range(repeats + 1)
        ]
        # The first compiles.
        found.append({name: 1000 * min(turn[name] for turn in turns[1:]) for name in ways})
    return found
