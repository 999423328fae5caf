"""What a latent-variable model is trained for, as a function of its rate and distortion."""

import abc
from typing import Any, Literal, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, Float

from pullback.sampling import StandardNormal, independent_parts, normal_kl


class BatchTerms(NamedTuple):
    r"""Rate and distortion of a batch, and what they are made of.

    Attributes:
        distortion: $-\mathbb{E}_{q(z|x)}[\log p(x | z)]$ of each example, `[B]`.
        rate: $\mathrm{KL}(q(z|x) \| p(z))$ of each, `[B]`.
        posterior: the distributions $q(z | x)$, with a leading axis of B on every array.
        prior: the distribution p(z).
        z: a sample of each posterior that gradients flow through, `[B, ...]`, or None.
        committed_rate: what the rate cannot fall below, in nats.
    """

    distortion: Float[Array, " batch"]
    rate: Float[Array, " batch"]
    posterior: Any
    prior: Any
    z: Any = None
    committed_rate: float = 0.0


class AbstractObjective(eqx.Module):
    """A function of a batch's rate and distortion that training minimises.

    Its numbers may be arrays of one for each model, for `pullback.train.fit` with several keys.
    """

    @abc.abstractmethod
    def __call__(self, terms: BatchTerms) -> tuple[Float[Array, ""], dict[str, Array]]:
        """The objective, in nats, and metrics.

        The metrics are `distortion`, `rate` and `elbo`, which is minus their sum whatever the
        objective is, and those of the objective itself.
        """


class Beta(AbstractObjective):
    r"""The weighted sum of distortion and rate.

    $$ D + \beta R $$

    At $\beta = 1$ it is minus the ELBO; below, more information goes through z, and above, less.
    Where models of many rates have the same ELBO, $\beta$ only chooses between the ends: take
    `TargetRate`.

    Args:
        beta: $\beta$, 0 or more.

    Example:
        >>> import jax.numpy as jnp
        >>> terms = BatchTerms(jnp.array([3.0, 5.0]), jnp.array([1.0, 2.0]), None, None)
        >>> loss, metrics = Beta(2.0)(terms)
        >>> float(loss), float(metrics["elbo"])
        (7.0, -5.5)

    Source: Higgins et al., beta-VAE, ICLR 2017; Alemi et al., Fixing a Broken ELBO, arXiv
    1711.00464.
    """

    beta: Float[Array, "..."] | float | int = 1.0

    def __call__(self, terms: BatchTerms) -> tuple[Float[Array, ""], dict[str, Array]]:
        metrics = rate_and_distortion(terms)
        return metrics["distortion"] + self.beta * metrics["rate"], metrics


class TargetRate(AbstractObjective):
    r"""The least distortion at a chosen rate.

    $$ D + w \, | \sigma - R | \qquad \text{or} \qquad D + R + w \max(0, \sigma - R) $$

    of the means over the batch: it is the rate of the data that has a target, not that of each
    example. The first, "absolute", holds the rate at $\sigma$ from both sides; with a larger weight
    it is the capacity objective of Burgess et al. At w = 1 it holds targets above the rate of the
    ELBO; for one below, w has to be as large as the $\beta$ of that rate. But a large w also pays
    for rate that tells nothing of x: look at the information
    (`pullback.analysis.rate_distortion`). The second, "hinge", is the ELBO with a floor under the
    rate; there w is above 1, or nothing would lift it.

    Args:
        rate: $\sigma$, in nats, above 0. It may be traced, as when it grows with the step. As an
            array it may be 0, which is `Beta(w)`: so that one stack of models can have both.
        weight: w, above 0.
        kind: "absolute" or "hinge".

    Raises:
        ValueError: an argument is out of range; when called, the target lies below the rate that
            the prior and the family commit to.

    Example:
        >>> import jax.numpy as jnp
        >>> terms = BatchTerms(jnp.array([3.0, 5.0]), jnp.array([1.0, 2.0]), None, None)
        >>> float(TargetRate(2.5)(terms)[0])
        5.0

    Source: Alemi et al., arXiv 1711.00464; Burgess et al., Understanding Disentangling in
    beta-VAE, arXiv 1804.03599.
    """

    rate: Float[Array, "..."] | float | int
    weight: Float[Array, "..."] | float | int = 1.0
    kind: Literal["absolute", "hinge"] = eqx.field(default="absolute", static=True)

    def __check_init__(self):
        if self.kind not in ("absolute", "hinge"):
            raise ValueError(f'`kind` must be "absolute" or "hinge", got {self.kind!r}.')
        if isinstance(self.rate, int | float) and not self.rate > 0:
            raise ValueError(f"`rate` must be above 0 nats, got {self.rate}.")
        least = 1.0 if self.kind == "hinge" else 0.0
        if isinstance(self.weight, int | float) and not self.weight > least:
            raise ValueError(f"`weight` must be above {least:g} here, got {self.weight}.")

    def __call__(self, terms: BatchTerms) -> tuple[Float[Array, ""], dict[str, Array]]:
        if isinstance(self.rate, int | float) and self.rate < terms.committed_rate:
            raise ValueError(
                f"`rate` cannot be reached: the target is {self.rate:g} nats, and prior and family "
                f"commit to {terms.committed_rate:g} or more. Raise it, or commit to less."
            )
        metrics = rate_and_distortion(terms)
        distortion, rate = metrics["distortion"], metrics["rate"]
        if self.kind == "absolute":
            return distortion + self.weight * jnp.abs(self.rate - rate), metrics
        return distortion + rate + self.weight * jnp.maximum(self.rate - rate, 0), metrics


class FreeBits(AbstractObjective):
    r"""The ELBO, with no reward for a latent's rate below a floor.

    $$ D + \sum_j \max\big(\lambda, \overline{\mathrm{KL}_j}\big) $$

    where the mean is over the batch, and j runs over the entries of z.

    Args:
        nats: $\lambda$, of each entry, above 0.

    Raises:
        ValueError: `nats` is not positive; when called, the posteriors are not independent normals
            or the prior is not `StandardNormal`, so that the rate does not split by entries.

    Source: Kingma et al., Improving Variational Inference with Inverse Autoregressive Flow, arXiv
    1606.04934, section C.8.
    """

    nats: float | int

    def __check_init__(self):
        if not self.nats > 0:
            raise ValueError(f"`nats` must be above 0, got {self.nats}.")

    def __call__(self, terms: BatchTerms) -> tuple[Float[Array, ""], dict[str, Array]]:
        parts = independent_parts(terms.posterior)
        if not isinstance(parts, dist.Normal) or not isinstance(terms.prior, StandardNormal):
            raise ValueError(
                "`FreeBits` needs a rate that splits by latents: the family `DiagonalNormal` and "
                f"the prior `StandardNormal`, got {type(parts).__name__} and "
                f"{type(terms.prior).__name__}. `TargetRate` takes any."
            )
        each = jnp.mean(normal_kl(parts), axis=0)
        metrics = rate_and_distortion(terms)
        return metrics["distortion"] + jnp.sum(jnp.maximum(each, self.nats)), metrics


def rate_and_distortion(terms: BatchTerms) -> dict[str, Array]:
    """The batch's mean `distortion` and `rate`, and the `elbo` that they make."""
    distortion, rate = jnp.mean(terms.distortion), jnp.mean(terms.rate)
    return {"distortion": distortion, "rate": rate, "elbo": -distortion - rate}
