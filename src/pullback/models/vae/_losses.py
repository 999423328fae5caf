"""Losses of variational autoencoders, for `pullback.train.fit`."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, Int, PRNGKeyArray

from pullback._checked_data import check_data
from pullback._key import checked_key
from pullback.bounds import (
    SUMO,
    AbstractBound,
    AbstractObjective,
    BatchTerms,
    kl_divergence,
    require_densities,
)
from pullback.sampling import (
    AbstractEstimator,
    DoublyReparameterised,
    PathDerivative,
    Reparameterised,
    draw,
    expectation,
    log_prob,
    require_inside,
)

from ._vae import VAE


class BoundLoss(eqx.Module):
    """Minus the mean bound over the batch, in nats.

    Call it as `loss(vae, batch, key=...)`, with a batch of `[n, ...]`; it returns the scalar and no
    metrics.

    Args:
        bound: on each example's log-evidence.
        estimator: of its gradient.
        binarise: draw each pixel from its grey level anew at every step, the usual protocol for
            MNIST and Omniglot. Without it grey levels are taken as they are.

    Raises:
        ValueError: the bound is `SUMO` and the estimator `Reparameterised`.

    Source: Burda, Grosse and Salakhutdinov, arXiv 1509.00519 (protocol).
    """

    bound: AbstractBound
    estimator: AbstractEstimator = Reparameterised()
    binarise: bool = eqx.field(default=False, static=True, kw_only=True)

    def __check_init__(self):
        if isinstance(self.bound, SUMO) and isinstance(self.estimator, Reparameterised):
            raise ValueError(
                "`estimator` Reparameterised gives the encoder noise to follow under SUMO, whose "
                "expectation hardly depends on the posterior: take "
                "`PathDerivative(allow_bias=True)`, which draws it over the true one."
            )

    def check(self, vae: VAE, batch: Any) -> None:
        """Raise ValueError if the data cannot be of the likelihood."""
        vae.check(batch)

    def __call__(
        self, vae: VAE, batch: Array, *, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], dict[str, Array]]:
        key = checked_key(key)
        pixels, samples = jr.split(key)
        if self.binarise:
            batch = _binary(batch, pixels)

        if isinstance(self.bound, SUMO):  # of which a whole batch costs less than its examples
            values = self.bound.estimates(vae.target, batch, estimator=self.estimator, key=samples)
            return -jnp.mean(values), {}

        def one(x: Array, key: Array) -> Array:
            return self.bound(*vae.target(x), estimator=self.estimator, key=key)

        return -jnp.mean(jax.vmap(one)(batch, jr.split(samples, len(batch)))), {}


class ObjectiveLoss(eqx.Module):
    r"""An objective of rate and distortion over the batch, in nats.

    Call it as `loss(vae, batch, key=..., step=...)`; its metrics are the objective's.

    Args:
        objective: such as `pullback.bounds.Beta`; or a function from the step, an integer, to one,
            for what warms up.
        estimator: of the gradient.
        kl: "analytic", where posterior and prior have a closed form, or "sampled".
        num_samples: of each posterior.
        binarise: draw each pixel from its grey level anew at every step.

    Raises:
        ValueError: when called, the estimator does not fit, or the objective is a function of the
            step and there is none.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from pullback.bounds import Beta
        >>> from pullback.models.vae import Bernoulli, mlp_vae
        >>> vae = mlp_vae(4, latent=1, width=3, likelihood=Bernoulli(), key=jax.random.key(0))
        >>> warm = lambda step: Beta(jnp.minimum(step / 1000, 1.0))
        >>> loss = ObjectiveLoss(warm)
        >>> _, metrics = loss(vae, jnp.ones((2, 4)), key=jax.random.key(1), step=0)
        >>> sorted(metrics)
        ['distortion', 'elbo', 'rate']
    """

    objective: AbstractObjective | Callable[[Int[Array, ""]], AbstractObjective]
    estimator: AbstractEstimator = Reparameterised()
    kl: str = eqx.field(default="analytic", static=True, kw_only=True)
    num_samples: int = eqx.field(default=1, static=True, kw_only=True)
    binarise: bool = eqx.field(default=False, static=True, kw_only=True)

    def __check_init__(self):
        if self.kl not in ("analytic", "sampled"):
            raise ValueError(f'`kl` must be "analytic" or "sampled", got {self.kl!r}.')
        if isinstance(self.estimator, DoublyReparameterised):
            raise ValueError(
                "`estimator` DoublyReparameterised is for importance-weighted bounds: take "
                "`PathDerivative`, or `BoundLoss` with `ImportanceWeighted`."
            )
        if self.kl == "sampled":
            require_densities(self.estimator)
        if isinstance(self.estimator, PathDerivative) and self.kl == "analytic":
            raise ValueError(
                "`estimator` PathDerivative leaves out the score of a sampled log q, and with "
                '`kl="analytic"` there is none: take `kl="sampled"`, or `Reparameterised`.'
            )

    def check(self, vae: VAE, batch: Any) -> None:
        """Raise ValueError if the data cannot be of the likelihood."""
        vae.check(batch)

    def __call__(
        self,
        vae: VAE,
        batch: Array,
        *,
        key: PRNGKeyArray,
        step: Int[Array, ""] | int | None = None,
    ) -> tuple[Float[Array, ""], dict[str, Array]]:
        key = checked_key(key)
        objective = self.objective
        if not isinstance(objective, AbstractObjective):
            if step is None:
                raise ValueError("`step` is needed: the objective is a function of it.")
            objective = objective(jnp.asarray(step))
        pixels, samples = jr.split(key)
        if self.binarise:
            batch = _binary(batch, pixels)
        return objective(batch_terms(
            vae, batch, self.estimator, kl=self.kl, num_samples=self.num_samples, key=samples
        ))  # fmt: skip


def batch_terms(
    vae: VAE,
    batch: Array,
    estimator: AbstractEstimator = Reparameterised(),  # noqa: B008, frozen
    *,
    kl: str = "analytic",
    num_samples: int = 1,
    told: Array | None = None,
    key: PRNGKeyArray,
) -> BatchTerms:
    """Rate and distortion of each example of a batch, with the gradients of an estimator.

    Args:
        vae: the model.
        batch: examples, `[n, ...]`.
        estimator: of the gradients.
        kl: "analytic" or "sampled".
        num_samples: of each posterior.
        told: what an autoregressive decoder is told of each example in its place, such as the
            examples with parts that are hidden; they themselves, when None.
        key: a typed PRNG key.

    Returns:
        What the objectives of `pullback.bounds` are functions of. A sample z is with it where
        gradients flow through samples, which is with `Reparameterised`.
    """

    key = checked_key(key)
    check_data(vae, batch)
    if kl == "sampled":
        require_densities(estimator)

    def one(x: Array, told: Array | None, key: Array) -> tuple[Array, Array, object, object]:
        model, posterior = vae.target(x, told=told)
        require_inside(posterior, model.prior)
        model = model.normalised(key=key)
        mean = lambda f: expectation(
            f, posterior, estimator=estimator, num_samples=num_samples, key=key
        )
        # The same key: both means are over the same samples.
        distortion = mean(lambda z, q: -model.log_likelihood(z))
        if kl == "analytic":
            rate = kl_divergence(posterior, model.prior)
        else:
            rate = mean(lambda z, q: log_prob(q, z) - log_prob(model.prior, z))
        through = isinstance(estimator, Reparameterised)
        z = draw(posterior, jr.split(key, num_samples)[0]) if through else None
        return distortion, rate, posterior, z

    distortion, rate, posterior, z = jax.vmap(one)(batch, told, jr.split(key, len(batch)))
    prior = vae.latent_prior()
    return BatchTerms(distortion, rate, posterior, prior, z, vae.committed_rate)


def importance_weighted_evidence(
    vae: VAE,
    x: Float[Array, "n ..."],
    *,
    samples: int = 5000,
    batch_size: int = 20,
    key: PRNGKeyArray,
) -> Float[Array, " n"]:
    """The log-evidence of each example, estimated from below by many importance samples.

    `pullback.analysis.evidence_by_annealing(vae.model, x, key=key)` needs no encoder.

    Args:
        vae: the model.
        x: examples.
        samples: importance samples for each, k. The papers' figures are of 5,000.
        batch_size: the most examples held in memory at once, each with all its samples.
        key: a typed PRNG key.

    Returns:
        The bounds, in nats.

    Raises:
        ValueError: the examples cannot be of the likelihood.
    """
    key = checked_key(key)
    check_data(vae, x)
    return _importance_weighted_evidence(vae, x, samples, batch_size, key)


@eqx.filter_jit
def _importance_weighted_evidence(
    vae: VAE, x: Array, samples: int, batch_size: int, key: PRNGKeyArray
) -> Float[Array, " n"]:
    one = lambda pair: vae.log_prob(pair[0], samples=samples, key=pair[1])
    return jax.lax.map(one, (x, jr.split(key, len(x))), batch_size=batch_size)


def _binary(grey: Array, key: PRNGKeyArray) -> Array:
    return jr.bernoulli(key, grey).astype(grey.dtype)
