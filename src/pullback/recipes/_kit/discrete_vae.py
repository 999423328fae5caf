"""A small autoencoder with discrete latents, which the recipes on discrete gradients train."""

from collections.abc import Callable
from typing import Any, NamedTuple

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
from pullback.data import Split, digits
from pullback.models.vae import bernoulli_log_prob
from pullback.sampling import (
    AbstractEstimator,
    MovingAverage,
    OneHotCategorical,
    ScoreFunction,
    expectation,
)
from pullback.train import fit

# Images of a set that are scored: all latents of all draws are in memory at once.
_SCORED = 1000


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


class DiscreteLoss(eqx.Module):
    """Minus the ELBO, of a model and what its estimator learns; a mean of the distortions so far
    is carried, as a baseline."""

    method: Method = eqx.field(static=True)

    def __call__(
        self, both: tuple[DiscreteVAE, Any], x: Array, *, key: PRNGKeyArray, step: Array,
        state: MovingAverage,
    ) -> tuple[Array, dict[str, Array], MovingAverage]:  # fmt: skip
        model, learned = both
        estimator = self.method.build(learned, state, step)
        value, distortion = negative_elbo(model, x, estimator, self.method.samples, key=key)
        return value, {}, state.update(distortion)


class Scores(eqx.Module):
    """Minus the ELBO with discrete samples, in nats, on training and on held-out images."""

    train: Float[Array, "m pixels"]
    test: Float[Array, "m pixels"]
    draws: int = eqx.field(static=True)

    def __call__(self, both: tuple[DiscreteVAE, Any], *, key: PRNGKeyArray) -> dict[str, Array]:
        keys = jr.split(key)
        of = lambda x, key: negative_elbo(both[0], x, ScoreFunction(), self.draws, key=key)[0]
        return {"train": of(self.train, keys[0]), "test": of(self.test, keys[1])}


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
) -> dict[str, Any]:
    """The scores of models of all seeds, along the way, on training and on held-out images.

    `noise` is the variance of a batch's gradient with respect to the encoder, at the end, summed
    over its parameters.
    """
    loss, adam = DiscreteLoss(method), optax.adam(rate)
    rows = []
    for seed, images, held_out in zip(seeds, train, test, strict=True):
        held_out = jnp.asarray(held_out[:_SCORED])
        model_key, learned_key, key, last_key = jr.split(jr.key(seed), 4)
        (model, learned), info = fit(
            (make(model_key), method.learned(learned_key)), loss, images, optimiser=adam,
            steps=steps // every * every, batch_size=min(batch_size, len(images)), log_every=every,
            validation=Scores(jnp.asarray(images[: len(held_out)]), held_out, draws),
            state=MovingAverage(0.99), progress=False, key=key,
        )  # fmt: skip
        estimator = method.build(learned, info.state, jnp.asarray(info.step - 1, jnp.int32))
        found: dict[str, Any] = {n: info.history[f"validation_{n}"] for n in ("train", "test")}
        found["noise"] = _noise(model, held_out[:batch_size], estimator, method.samples)
        if method.relaxed:
            found["relaxed"] = _score(model, held_out, estimator, draws, last_key)
        rows.append(found)
    steps_at = [every * (i + 1) for i in range(steps // every)]
    return {"step": steps_at, **{name: np.stack([row[name] for row in rows]) for name in rows[0]}}


@eqx.filter_jit
def _score(
    model: DiscreteVAE, x: Array, estimator: AbstractEstimator, draws: int, key: PRNGKeyArray
) -> Array:
    return negative_elbo(model, x, estimator, draws, key=key)[0]


@eqx.filter_jit
def _noise(model: DiscreteVAE, x: Array, estimator: AbstractEstimator, samples: int) -> Array:
    def gradient(key: PRNGKeyArray) -> Array:
        moved = lambda encoder: eqx.tree_at(lambda m: m.encoder, model, encoder)
        loss = lambda encoder: negative_elbo(moved(encoder), x, estimator, samples, key=key)[0]
        return ravel_pytree(eqx.filter_grad(loss)(model.encoder))[0]

    return jnp.sum(jnp.var(jax.lax.map(gradient, jr.split(jr.key(0), 100)), axis=0))


def binary_images(
    seeds: list[int], limit: int, of: Split | None = None
) -> tuple[Float[np.ndarray, "seeds n pixels"], Float[np.ndarray, "seeds m pixels"]]:
    """Images of zeros and ones, some for each seed; of digits each seed has a split of its own."""
    pairs = []
    for seed in seeds:
        split = digits(seed=seed) if of is None else of
        rng = np.random.default_rng(seed)
        parts = []
        for part in split:
            rows = part.x.reshape(len(part.x), -1)
            rows = rows[rng.permutation(len(rows))[:limit]]
            parts.append((rows >= 0.5).astype(np.float32))
        pairs.append(parts)
    train, test = (np.stack(arrays) for arrays in zip(*pairs, strict=True))
    return train, test
