"""A small autoencoder with discrete latents, which the recipes on discrete gradients train."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro.distributions as dist
import optax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int, PRNGKeyArray

from pullback.bounds import kl_divergence
from pullback.data import digits, mnist, omniglot
from pullback.models.vae import bernoulli_log_prob
from pullback.runs import Context
from pullback.sampling import (
    AbstractEstimator,
    MovingAverage,
    OneHotCategorical,
    ScoreFunction,
    expectation,
)

# Images of a set that are scored: all latents of all draws are in memory at once.
_SCORED = 1000

Source = Literal["mnist", "omniglot"]


class DiscreteVAE(eqx.Module):
    """Binary latents `[n]`, or one-hot ones `[n, k]`, between binary pixels."""

    encoder: eqx.nn.MLP
    decoder: eqx.nn.MLP
    prior: Float[Array, "..."]

    def __init__(
        self, pixels: int, latents: tuple[int, ...], width: int, depth: int, *, key: PRNGKeyArray
    ):
        first, second = jr.split(key)
        size = int(np.prod(latents))
        self.encoder = eqx.nn.MLP(pixels, size, width, depth, jnp.tanh, key=first)
        self.decoder = eqx.nn.MLP(size, pixels, width, depth, jnp.tanh, key=second)
        self.prior = jnp.zeros(latents)

    def posterior(self, x: Float[Array, " pixels"]) -> Any:
        """The distribution of the latents given one image."""
        return self._latents(self.encoder(x - 0.5).reshape(self.prior.shape))

    def distortion(self, x: Array) -> Callable[[Array, Any], Array]:
        """Minus the log-likelihood of an image, of its latents."""

        def f(z: Array, q: Any) -> Array:
            del q
            z = z.astype(x.dtype)
            # Inputs of unit size: of many classes all but one are zero.
            z = 2 * z - 1 if z.ndim == 1 else z * z.shape[-1] ** 0.5
            logits = self.decoder(jnp.ravel(z))
            return -bernoulli_log_prob(logits, x)

        return f

    def kl(self, q: Any) -> Array:
        """From the prior, in closed form."""
        return kl_divergence(q, self._latents(self.prior))

    def _latents(self, logits: Array) -> Any:
        return OneHotCategorical(logits) if logits.ndim == 2 else dist.BernoulliLogits(logits)


class Method(NamedTuple):
    """A way to train: `build(learned, average, step)` is the estimator of a step.

    `relaxed` asks for a score with the estimator's own samples at the end, besides.
    """

    build: Callable[[Any, MovingAverage, Int[Array, ""]], AbstractEstimator]
    samples: int = 1
    learned: Callable[[PRNGKeyArray], Any] = lambda key: None
    relaxed: bool = False


def negative_elbo(
    model: DiscreteVAE,
    x: Float[Array, "batch pixels"],
    estimator: AbstractEstimator,
    samples: int,
    *,
    key: PRNGKeyArray,
) -> tuple[Array, Array]:
    """The mean over a batch, and its part that is the distortion."""

    def one(x: Array, key: PRNGKeyArray) -> tuple[Array, Array]:
        q = model.posterior(x)
        distortion = expectation(
            model.distortion(x), q, estimator=estimator, num_samples=samples, key=key
        )
        return distortion + model.kl(q), distortion

    both = jax.vmap(one)(x, jr.split(key, len(x)))
    return jnp.mean(both[0]), jnp.mean(both[1])


def train(
    method: Method,
    make: Callable[[PRNGKeyArray], DiscreteVAE],
    train: Float[np.ndarray, "seeds n pixels"],
    test: Float[np.ndarray, "seeds m pixels"],
    *,
    steps: int,
    every: int,
    batch_size: int,
    rate: float,
    draws: int,
    seeds: list[int],
) -> tuple[DiscreteVAE, dict[str, Any]]:
    """Models of all seeds, trained one after another by one compiled program, and their scores.

    A score is minus the ELBO with discrete samples, in nats, on training and on held-out images.
    `noise` is the variance of a batch's gradient with respect to the encoder, at the end, summed
    over its parameters.
    """
    adam = optax.adam(rate)
    rest: dict[str, Any] = {}

    def start(seed: Array) -> tuple[Any, Any]:
        model_key, learned_key = jr.split(jr.key(seed))
        both = make(model_key), method.learned(learned_key)
        params, rest["rest"] = eqx.partition(both, eqx.is_inexact_array)
        return params, adam.init(params)

    def run(inputs: tuple) -> tuple[Any, dict[str, Array]]:
        seed, images, held_out = inputs
        held_out = held_out[:_SCORED]

        def step(carry: tuple, inputs: tuple) -> tuple[tuple, None]:
            params, state, average = carry
            number, key = inputs
            batch_key, key = jr.split(key)
            x = images[jr.randint(batch_key, (batch_size,), 0, len(images))]

            def loss(params: Any) -> tuple[Array, Array]:
                model, learned = eqx.combine(params, rest["rest"])
                estimator = method.build(learned, average, number)
                return negative_elbo(model, x, estimator, method.samples, key=key)

            grads, distortion = jax.grad(loss, has_aux=True)(params)
            updates, state = adam.update(grads, state)
            return (eqx.apply_updates(params, updates), state, average.update(distortion)), None

        def chunk(carry: tuple, inputs: tuple) -> tuple[tuple, dict[str, Array]]:
            numbers, key = inputs
            step_key, *keys = jr.split(key, 3)
            carry, _ = jax.lax.scan(step, carry, (numbers, jr.split(step_key, every)))
            model, _ = eqx.combine(carry[0], rest["rest"])
            sets = {"train": (images[: len(held_out)], keys[0]), "test": (held_out, keys[1])}
            return carry, {
                name: negative_elbo(model, x, ScoreFunction(), draws, key=key)[0]
                for name, (x, key) in sets.items()
            }

        numbers = jnp.arange(steps // every * every).reshape(-1, every)
        carry = (*start(seed), MovingAverage(0.99))
        keys = jr.split(jr.fold_in(jr.key(seed), 1), len(numbers))
        (params, _, average), rows = jax.lax.scan(chunk, carry, (numbers, keys))
        model, learned = eqx.combine(params, rest["rest"])
        estimator = method.build(learned, average, numbers[-1, -1])
        found = {"noise": noise(model, held_out[:batch_size], estimator)}
        if method.relaxed:
            found["relaxed"] = negative_elbo(model, held_out, estimator, draws, key=keys[0])[0]
        return params, rows | found

    def noise(model: DiscreteVAE, x: Array, estimator: AbstractEstimator) -> Array:
        def gradient(key: PRNGKeyArray) -> Array:
            moved = lambda encoder: eqx.tree_at(lambda m: m.encoder, model, encoder)
            loss = lambda e: negative_elbo(moved(e), x, estimator, method.samples, key=key)[0]
            return ravel_pytree(eqx.filter_grad(loss)(model.encoder))[0]

        return jnp.sum(jnp.var(jax.lax.map(gradient, jr.split(jr.key(0), 100)), axis=0))

    inputs = jnp.asarray(seeds), jnp.asarray(train), jnp.asarray(test)
    params, rows = jax.jit(lambda inputs: jax.lax.map(run, inputs))(inputs)
    model, _ = eqx.combine(params, rest["rest"])
    return model, {"step": [every * (i + 1) for i in range(steps // every)], **rows}


def binary_images(
    context: Context, seeds: list[int], limit: int, source: Source
) -> tuple[Float[np.ndarray, "seeds n pixels"], Float[np.ndarray, "seeds m pixels"]]:
    """Images of zeros and ones: digits in a split of each seed's own, or with --data `source`."""
    load = {"mnist": mnist, "omniglot": omniglot}[source]
    own = None if context.data is None else load(context.data)
    pairs = []
    for seed in seeds:
        split = digits(seed=seed) if own is None else own
        rng = np.random.default_rng(seed)
        parts = []
        for part in split:
            rows = part.x.reshape(len(part.x), -1)
            rows = rows[rng.permutation(len(rows))[:limit]]
            parts.append((rows >= 0.5).astype(np.float32))
        pairs.append(parts)
    train, test = (np.stack(arrays) for arrays in zip(*pairs, strict=True))
    return train, test
