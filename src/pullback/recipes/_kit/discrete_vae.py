"""Small networks with discrete latents, which the recipes on discrete gradients train."""

import abc
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
from pullback.recipes._kit.stack import made_stack, one_by_one
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
_SCORED = 500
_DRAWS = 20  # of the latents of an image, for a score

Estimators = Callable[[Float[Array, " pixels"]], AbstractEstimator]


class AbstractDiscreteModel(eqx.Module):
    """A model whose loss is an expectation over discrete latents."""

    @abc.abstractmethod
    def objective(
        self, x: Float[Array, " pixels"], estimator: AbstractEstimator, samples: int, *,
        key: PRNGKeyArray,
    ) -> tuple[Array, Array]:  # fmt: skip
        """Of one image: what is minimised, and its part that is sampled."""

    @abc.abstractmethod
    def score(self, x: Float[Array, " pixels"], *, key: PRNGKeyArray) -> Array:
        """Of one image: nats by discrete samples, lower is better."""


class DiscreteVAE(AbstractDiscreteModel):
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
        return latents_of(self.encoder(x - 0.5).reshape(self.prior.shape))

    def distortion(self, x: Array) -> Callable[[Array, Any], Array]:
        """Minus the log-likelihood of an image, of its latents."""
        return lambda z, q: -bernoulli_log_prob(self.decoder(inputs_of(z, x.dtype)), x)

    def objective(
        self, x: Float[Array, " pixels"], estimator: AbstractEstimator, samples: int, *,
        key: PRNGKeyArray,
    ) -> tuple[Array, Array]:  # fmt: skip
        q = self.posterior(x)
        distortion = expectation(
            self.distortion(x), q, estimator=estimator, num_samples=samples, key=key
        )
        return distortion + kl_divergence(q, latents_of(self.prior)), distortion

    def score(self, x: Float[Array, " pixels"], *, key: PRNGKeyArray) -> Array:
        return self.objective(x, ScoreFunction(), _DRAWS, key=key)[0]


def latents_of(logits: Float[Array, "..."]) -> Any:
    """Independent latents: of a matrix one-hot ones, a row each."""
    return OneHotCategorical(logits) if logits.ndim == 2 else dist.BernoulliLogits(logits)


def inputs_of(z: Array, dtype: Any) -> Float[Array, " size"]:
    """Latents as inputs of unit size: of many classes all but one are zero."""
    z = z.astype(dtype)
    return jnp.ravel(2 * z - 1 if z.ndim == 1 else z * z.shape[-1] ** 0.5)


class Method(NamedTuple):
    """A way to train: `build(learned, average, step)` gives the estimator of each image.

    `relaxed` asks for a score with the estimator's own samples at the end, besides.
    """

    build: Callable[[Any, MovingAverage, Int[Array, ""]], Estimators]
    samples: int = 1
    learned: Callable[..., Any] = lambda key: None
    relaxed: bool = False


def mean_objective(
    model: AbstractDiscreteModel,
    x: Float[Array, "batch pixels"],
    estimators: Estimators,
    samples: int,
    *,
    key: PRNGKeyArray,
) -> tuple[Array, Array]:
    """The mean over a batch, and its part that is sampled."""
    one = lambda x, key: model.objective(x, estimators(x), samples, key=key)
    both = jax.vmap(one)(x, jr.split(key, len(x)))
    return jnp.mean(both[0]), jnp.mean(both[1])


class DiscreteLoss(eqx.Module):
    """The objective of a model and what its estimator learns; a mean of the sampled parts so far
    is carried, as a baseline."""

    method: Method = eqx.field(static=True)

    def __call__(
        self, both: tuple[AbstractDiscreteModel, Any], x: Array, *, key: PRNGKeyArray, step: Array,
        state: MovingAverage,
    ) -> tuple[Array, dict[str, Array], MovingAverage]:  # fmt: skip
        model, learned = both
        estimators = self.method.build(learned, state, step)
        value, sampled = mean_objective(model, x, estimators, self.method.samples, key=key)
        return value, {}, state.update(sampled)


class Scores(eqx.Module):
    """Mean scores of training and of held-out images."""

    train: Float[Array, "m pixels"]
    test: Float[Array, "m pixels"]

    def __call__(
        self, both: tuple[AbstractDiscreteModel, Any], *, key: PRNGKeyArray
    ) -> dict[str, Array]:
        def of(x: Array, key: PRNGKeyArray) -> Array:
            return jnp.mean(
                jax.vmap(lambda x, k: both[0].score(x, key=k))(x, jr.split(key, len(x)))
            )

        keys = jr.split(key)
        return {"train": of(self.train, keys[0]), "test": of(self.test, keys[1])}


def compare(
    config: Any,
    context: Context,
    methods: Mapping[str, Method],
    make: Callable[..., AbstractDiscreteModel],
    images: tuple[Array, Array],
    *,
    name: str = "vae",
    noise: bool = False,
) -> dict[str, dict[str, np.ndarray]]:
    """Train models of images by every method: their scores along the way, a row a seed.

    Args:
        config: has `seeds`, `iterations`, `batch_size` and `learning_rates`; of each method the
            rate counts at which the training images end up best.
        context: the run's; each method is a stage.
        methods: the ways to train, by name.
        make: `make(key=key)`, an untrained model.
        images: for training and held out, the same for all.
        name: of the stages.
        noise: whether to measure the variance of a batch's gradient with respect to the encoder, at
            the end, summed over its parameters.
    """
    seeds = context.seeds(config.seeds)
    stage = lambda way, method: context.stage(
        f"{name}-{way}", _tuned, config, method, make, noise, seeds, images
    )
    return {way: stage(way, method) for way, method in methods.items()}


def _tuned(config: Any, *rest: Any) -> dict[str, Any]:
    rows = [_train(rate, config, *rest) for rate in config.learning_rates]
    return min(rows, key=lambda row: float(row["train"][:, -1].mean()))


def _train(
    rate: float,
    config: Any,
    method: Method,
    make: Callable[..., AbstractDiscreteModel],
    noise: bool,
    seeds: list[int],
    images: tuple[Float[Array, "n pixels"], Float[Array, "m pixels"]],
) -> dict[str, Any]:
    keys = jax.vmap(lambda key: jr.split(key, 4))(jnp.stack([jr.key(seed) for seed in seeds]))
    train, x = images[0], images[1][:_SCORED]
    every = config.iterations // 10
    both = made_stack(make, keys[:, 0]), made_stack(method.learned, keys[:, 1])
    (models, learned), info = fit(
        both, DiscreteLoss(method), train,
        optimiser=optax.adam(rate), steps=10 * every,
        batch_size=min(config.batch_size, len(train)), log_every=every,
        validation=Scores(train[: len(x)], x),
        state=made_stack(lambda key: MovingAverage(0.99), keys[:, 0]),
        sequential=train.shape[1] > 100,  # such images keep a core busy one run at a time
        progress=False, key=keys[:, 2],
    )  # fmt: skip
    last = jnp.asarray(10 * every - 1, jnp.int32)
    found = {of: info.history[f"validation_{of}"].T for of in ("train", "test")}
    runs = models, learned, info.state, keys[:, 3]
    if noise:
        found["noise"] = one_by_one(_noise, runs, method, x[: config.batch_size], last)
    if method.relaxed:
        found["relaxed"] = one_by_one(_relaxed, runs, method, x, last)
    return {"step": every * np.arange(1, 11), "rate": rate, **jax.tree.map(np.asarray, found)}


def _relaxed(run: tuple, method: Method, x: Array, step: Array) -> Array:
    model, learned, average, key = run
    estimators = method.build(learned, average, step)
    return mean_objective(model, x, estimators, _DRAWS, key=key)[0]


def _noise(run: tuple, method: Method, x: Array, step: Array) -> Array:
    model, learned, average, _ = run
    estimators = method.build(learned, average, step)

    def gradient(key: PRNGKeyArray) -> Array:
        moved = lambda encoder: eqx.tree_at(lambda m: m.encoder, model, encoder)
        loss = lambda encoder: mean_objective(
            moved(encoder), x, estimators, method.samples, key=key
        )[0]
        return ravel_pytree(eqx.filter_grad(loss)(model.encoder))[0]

    return jnp.sum(jnp.var(jax.lax.map(gradient, jr.split(jr.key(0), 100)), axis=0))


def binary_images(limit: int, of: Split | None, seed: int) -> tuple[Array, Array]:
    """Images of zeros and ones as rows, for training and held out, at most so many of each."""
    split = digits(seed=seed) if of is None else of
    rng = np.random.default_rng(seed)
    parts = []
    for part in split:
        rows = part.x.reshape(len(part.x), -1)
        rows = rows[rng.permutation(len(rows))[:limit]]
        parts.append(jnp.asarray(rows >= 0.5, jnp.float32))
    return parts[0], parts[1]
