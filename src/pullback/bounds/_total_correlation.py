"""The divergence from the prior in three parts, of which one is the dependence between latents."""

import math
from dataclasses import KW_ONLY
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from pullback._key import checked_key
from pullback.bounds._aggregate import (
    AggregateLogProb,
    Weights,
    aggregate_log_prob,
    aggregate_log_weights,
    aggregate_samples,
)
from pullback.bounds._objectives import AbstractObjective, BatchTerms, rate_and_distortion
from pullback.sampling import log_prob


class TotalCorrelationSplit(NamedTuple):
    r"""The mean divergence of the posterior from the prior, in three parts, in nats.

    Attributes:
        mutual_information: $I(z; n)$, how much the latents tell of which example it is.
        total_correlation: $\mathrm{KL}(q(z) \| \prod_d q(z_d))$, the dependence between latents.
            An estimate from a batch can be negative.
        dimension_wise_kl: $\sum_d \mathrm{KL}(q(z_d) \| p(z_d))$, for a prior that factorises; for
            another it is what is left of the rate.
    """

    mutual_information: Float[Array, ""]
    total_correlation: Float[Array, ""]
    dimension_wise_kl: Float[Array, ""]

    @property
    def rate(self) -> Float[Array, ""]:
        r"""Their sum, which is the mean of $\log q(z|x) - \log p(z)$ for any weights."""
        return self.mutual_information + self.total_correlation + self.dimension_wise_kl


def total_correlation_split(
    posterior: Any,
    z: Float[Array, "b ..."],
    prior: Any,
    log_weights: Float[Array, "b b"] | Float[Array, ""],
    *,
    batch_size: int | None = None,
) -> TotalCorrelationSplit:
    r"""The divergence from the prior in three parts, estimated from a batch.

    $$ \mathrm{E}\, \mathrm{KL}(q(z|x) \| p(z)) =
       \mathrm{E} \log \frac{q(z|x)}{q(z)} + \mathrm{E} \log \frac{q(z)}{\prod_d q(z_d)} +
       \mathrm{E} \log \frac{\prod_d q(z_d)}{p(z)} $$

    Args:
        posterior: of b examples, with a leading axis on its leaves; it must factorise.
        z: one sample of each, `[b, ...]`.
        prior: p(z), of one example.
        log_weights: see `aggregate_log_weights`.
        batch_size: the most samples whose densities under all b posteriors are held in memory.

    Raises:
        ValueError: the posterior does not factorise, or `batch_size` is below 1.

    Example:
        >>> import jax, jax.numpy as jnp, numpyro.distributions as dist
        >>> encode = lambda x: dist.Normal(x, 1.0).to_event(1)
        >>> from pullback.bounds import aggregate_log_weights
        >>> x = jnp.array([[-2.0, 0.0], [2.0, 0.0], [0.0, 1.0]])
        >>> prior = dist.Normal(jnp.zeros(2), 1.0).to_event(1)
        >>> split = total_correlation_split(
        ...     jax.vmap(encode)(x), x, prior, aggregate_log_weights(3, 60))
        >>> print(f"{split.rate:.3f} {jnp.mean(jnp.sum(x**2, axis=1)) / 2:.3f}")
        1.500 1.500

    Source: Chen et al., arXiv 1802.04942, equation 2.
    """
    aggregate = aggregate_log_prob(posterior, z, log_weights, batch_size=batch_size)
    own = jax.vmap(log_prob)(posterior, z)
    return _split(own, aggregate, jax.vmap(lambda one: log_prob(prior, one))(z))


def exact_total_correlation_split(
    posterior: Any,
    prior: Any,
    *,
    num_samples: int | None = None,
    batch_size: int | None = None,
    key: PRNGKeyArray,
) -> TotalCorrelationSplit:
    r"""The same three parts with the aggregate posterior of a whole data set, and no weights.

    $$ q(z) = \frac1N \sum_{n=1}^N q(z | x_n) $$

    What is random is which samples are taken: the estimates are unbiased. For reports, not for
    training: each sample needs its density under all N posteriors.

    Args:
        posterior: of all N examples, with a leading axis on its leaves; it must factorise.
        prior: p(z), of one example.
        num_samples: how many, from all examples alike; None: one of each of the N.
        batch_size: the most samples whose densities under all N posteriors are held in memory.
        key: a typed PRNG key.

    Raises:
        ValueError: the posterior does not factorise or its leaves do not have the leading axis, or
            `num_samples` or `batch_size` is below 1.

    Example:
        >>> import jax, jax.numpy as jnp, numpyro.distributions as dist
        >>> encode = lambda x: dist.Normal(x, 0.1).to_event(1)
        >>> x = jnp.tile(jax.random.normal(jax.random.key(0), (500, 1)), 2)  # two copies
        >>> prior = dist.Normal(jnp.zeros(2), 1.0).to_event(1)
        >>> split = exact_total_correlation_split(
        ...     jax.vmap(encode)(x), prior, batch_size=100, key=jax.random.key(1))
        >>> print(f"{split.total_correlation:.0f}")  # of a normal with that covariance: 1.96
        2

    Source: Chen et al., arXiv 1802.04942, equation 2.
    """
    key = checked_key(key)
    places, z = aggregate_samples(posterior, num_samples, key=key)
    size = len(jax.tree.leaves(posterior)[0])
    log_weight = -jnp.log(jnp.asarray(size, z.dtype))
    aggregate = aggregate_log_prob(posterior, z, log_weight, batch_size=batch_size)
    chosen = jax.tree.map(lambda leaf: leaf[places], posterior)
    own = jax.vmap(log_prob)(chosen, z)
    return _split(own, aggregate, jax.vmap(lambda one: log_prob(prior, one))(z))


class TotalCorrelation(AbstractObjective):
    r"""The distortion, and the three parts of the rate with a weight each: beta-TCVAE.

    $$ D + \alpha\, I(z; n) + \beta\, \mathrm{TC} + \gamma \sum_d \mathrm{KL}(q(z_d) \| p(z_d)) $$

    With all weights equal it is `Beta`, by samples. A larger weight on the total correlation alone
    makes latents independent without making them tell less of x. The metrics `mutual_information`,
    `total_correlation` and `dimension_wise_kl` are the parts; they are estimates from a batch, of
    which the total correlation may be negative: `exact_total_correlation_split` is for reports.

    Args:
        beta: of the total correlation, 0 or more.
        alpha: of the mutual information, 0 or more.
        gamma: of the dimension-wise divergence, 0 or more.
        size: examples in the data set, N; of all, not of the batch.
        weights: how a batch stands for the data set; see `aggregate_log_weights`. The published
            "weighted" is taken without its constants, which have no gradient and would make the
            metrics meaningless.
        batch_size: the most samples whose densities under all posteriors of the batch are held in
            memory at once. Of a batch of 2,048 with 10 latents, all of them with the gradient take
            0.7 GB, and 128 at a time 0.06 GB. Half a batch at a time is faster on a CPU, too: XLA
            else draws the samples' noise again for every pair.

    Raises:
        ValueError: a weight is negative; when called, the batch has no samples that gradients flow
            through, its posterior does not factorise, or `size` is below the batch.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from pullback.bounds import BatchTerms, DiagonalNormal
        >>> from pullback.sampling import StandardNormal
        >>> posterior = jax.vmap(DiagonalNormal(2))(jnp.zeros((3, 4)))  # all of them the prior
        >>> terms = BatchTerms(
        ...     jnp.full(3, 5.0), jnp.zeros(3), posterior, StandardNormal(2), jnp.zeros((3, 2)))
        >>> loss, metrics = TotalCorrelation(6.0, size=100)(terms)
        >>> print(f"{loss:.2f}")
        5.00

    Source: Chen et al., Isolating Sources of Disentanglement in VAEs, arXiv 1802.04942, equation 4.
    """

    beta: Float[Array, "..."] | float | int
    _: KW_ONLY
    alpha: Float[Array, "..."] | float | int = 1.0
    gamma: Float[Array, "..."] | float | int = 1.0
    size: int = eqx.field(static=True)
    weights: Weights = eqx.field(default="symmetric", static=True)
    batch_size: int | None = eqx.field(default=None, static=True)

    def __check_init__(self):
        for name in ("alpha", "beta", "gamma"):
            value = getattr(self, name)
            if isinstance(value, int | float) and not value >= 0:
                raise ValueError(f"`{name}` must be 0 or more, got {value}.")

    def __call__(self, terms: BatchTerms) -> tuple[Float[Array, ""], dict[str, Array]]:
        if terms.z is None:
            raise ValueError(
                "`terms` has no samples `z` that gradients flow through, of which "
                "`TotalCorrelation` is made: take the estimator `Reparameterised`."
            )
        batch = len(terms.z)
        log_weights = aggregate_log_weights(batch, self.size, self.weights)
        if self.weights == "weighted":
            log_weights = jnp.asarray(-math.log(batch))
        split = total_correlation_split(
            terms.posterior, terms.z, terms.prior, log_weights, batch_size=self.batch_size
        )
        metrics = rate_and_distortion(terms)
        loss = (
            metrics["distortion"]
            + self.alpha * split.mutual_information
            + self.beta * split.total_correlation
            + self.gamma * split.dimension_wise_kl
        )
        return loss, {**metrics, **split._asdict()}


def _split(
    own: Float[Array, " n"], aggregate: AggregateLogProb, log_prior: Float[Array, " n"]
) -> TotalCorrelationSplit:
    product = jnp.sum(aggregate.marginals, axis=1)
    return TotalCorrelationSplit(
        jnp.mean(own - aggregate.joint),
        jnp.mean(aggregate.joint - product),
        jnp.mean(product - log_prior),
    )
