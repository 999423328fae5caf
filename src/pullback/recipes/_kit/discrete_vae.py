"""A small autoencoder with discrete latents, which the recipes on discrete gradients train."""

from collections.abc import Callable, Mapping
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
from pullback.recipes._kit.stack import made
from pullback.runs import Context
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
_DRAWS = 20  # of the latents of an image, for a score


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

    def __call__(self, both: tuple[DiscreteVAE, Any], *, key: PRNGKeyArray) -> dict[str, Array]:
        keys = jr.split(key)
        of = lambda x, key: negative_elbo(both[0], x, ScoreFunction(), _DRAWS, key=key)[0]
        return {"train": of(self.train, keys[0]), "test": of(self.test, keys[1])}


def compare(
    config: Any,
    context: Context,
    methods: Mapping[str, Method],
    latents: tuple[int, ...],
    depth: int,
    of: Split | None,
    *,
    noise: bool = False,
) -> dict[str, dict[str, np.ndarray]]:
    """Train autoencoders of images by every method: their scores along the way, a row a seed.

    Args:
        config: has `seeds`, `width`, `iterations`, `batch_size`, `learning_rate` and `images`.
        context: the run's; each method is a stage.
        methods: the ways to train, by name.
        latents: as of `DiscreteVAE`.
        depth: hidden layers of the encoder and of the decoder.
        of: the images; None for handwritten digits.
        noise: whether to measure the variance of a batch's gradient with respect to the encoder, at
            the end, summed over its parameters.
    """
    seeds = context.seeds(config.seeds)
    images = binary_images(seeds, config.images, of)

    def scores(method: Method) -> dict[str, Any]:
        every = config.iterations // 10
        rows = [
            _train(config, method, latents, depth, noise, jr.key(seed), *parts)
            for seed, *parts in zip(seeds, *images, strict=True)
        ]
        found = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
        return {"step": every * np.arange(1, 11), **found}

    return {name: context.stage(f"vae-{name}", scores, method) for name, method in methods.items()}


def _train(
    config: Any,
    method: Method,
    latents: tuple[int, ...],
    depth: int,
    noise: bool,
    key: PRNGKeyArray,
    images: Float[np.ndarray, "n pixels"],
    held_out: Float[np.ndarray, "m pixels"],
) -> dict[str, Any]:
    model_key, learned_key, key, last_key = jr.split(key, 4)
    x = jnp.asarray(held_out[:_SCORED])
    every = config.iterations // 10
    model = made(DiscreteVAE, images.shape[-1], latents, config.width, depth, key=model_key)
    (model, learned), info = fit(
        (model, method.learned(learned_key)), DiscreteLoss(method), images,
        optimiser=optax.adam(config.learning_rate), steps=10 * every,
        batch_size=min(config.batch_size, len(images)), log_every=every,
        validation=Scores(jnp.asarray(images[: len(x)]), x), state=MovingAverage(0.99),
        progress=False, key=key,
    )  # fmt: skip
    estimator = method.build(learned, info.state, jnp.asarray(info.step - 1, jnp.int32))
    found: dict[str, Any] = {name: info.history[f"validation_{name}"] for name in ("train", "test")}
    if noise:
        found["noise"] = _noise(model, x[: config.batch_size], estimator, method.samples)
    if method.relaxed:
        found["relaxed"] = _score(model, x, estimator, last_key)
    return found


@eqx.filter_jit
def _score(model: DiscreteVAE, x: Array, estimator: AbstractEstimator, key: PRNGKeyArray) -> Array:
    return negative_elbo(model, x, estimator, _DRAWS, key=key)[0]


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
