"""Variational bounds: a model, a posterior, a bound and an estimator, put together in one place."""

import abc
from collections.abc import Callable
from typing import Any, Literal

import equinox as eqx
from jaxtyping import Array, Float, PRNGKeyArray

from pullback._key import checked_key
from pullback.sampling import (
    AbstractEstimator,
    Distribution,
    DoublyReparameterised,
    LogMeanExp,
    PerSite,
    Reparameterised,
    Replicated,
    expectation,
    log_prob,
)

from ._model import LatentModel
from ._sites import divergence, require_sites_inside

LogJoint = Callable[[Any], Float[Array, ""]]


class AbstractBound(eqx.Module):
    r"""A bound on $\log p(x)$, as a function of a model, a posterior and an estimator.

    The four parts are chosen freely; pairs that are invalid are refused with the reason and the
    pair that fits: a posterior whose support is not inside the prior's, and an estimator that sees
    relaxed values where the density of a discrete distribution is needed.

    One of your own is an estimate made of `pullback.sampling.expectation`, which brings the
    estimator's gradient. With a `LatentModel` it begins with `model.normalised(key=key)`, for a
    prior of unknown mass, and asks `pullback.sampling.require_inside(posterior, model.prior)`.
    """

    @abc.abstractmethod
    def __call__(
        self,
        log_joint: LogJoint,
        posterior: Distribution,
        *,
        estimator: AbstractEstimator = ...,
        num_samples: int = 1,
        batch_size: int | None = None,
        key: PRNGKeyArray,
    ) -> Float[Array, ""]:
        r"""Estimate the bound for one example; `jax.vmap` over more, with a key for each.

        `jax.grad` of it is the estimator's gradient with respect to the parameters of the
        posterior, and the ordinary one with respect to those of the model.

        Args:
            log_joint: from z to $\log p(x, z)$; a `LatentModel` is one.
            posterior: $q(z | x)$; see `pullback.sampling.expectation`.
            estimator: of the gradient.
            num_samples: independent estimates of the bound that are averaged.
            batch_size: the most of them held in memory at once.
            key: a typed PRNG key.
        """


class ELBO(AbstractBound):
    r"""The evidence lower bound.

    $$ \mathbb{E}_{q(z|x)}\big[\log p(x, z) - \log q(z | x)\big]
       = \mathbb{E}_{q(z|x)}[\log p(x | z)] - \mathrm{KL}(q(z|x) \| p(z)) \le \log p(x) $$

    Args:
        kl: "sampled", the first form; "analytic", the second, which needs a `LatentModel` and a
            pair of distributions whose divergence is known; or "known", the second where it is
            known and the first elsewhere. Of a `pullback.sampling.JointDistribution` that is said
            of each site, given the samples of those before it: the divergence of a site has a
            closed form if its pair has one and its prior is given nothing that the posterior draws
            later. A site whose estimator is `PathDerivative` is always sampled by "known".

    Raises:
        ValueError: `kl` is none of these; when called, the divergence has no closed form, the
            sites of posterior and prior are not the same, or the estimator is `PathDerivative` with
            "analytic": there is no sampled log q then whose score could be left out.

    Example:
        >>> import jax, numpyro.distributions as dist
        >>> model = LatentModel(lambda z: dist.Normal(z, 1.0).log_prob(2.0), dist.Normal(0.0, 1.0))
        >>> posterior = dist.Normal(1.0, 0.5**0.5)  # the exact one
        >>> print(f"{ELBO()(model, posterior, key=jax.random.key(0)):.4f}")  # log N(2; 0, 2)
        -2.2655

    Source: Kingma and Welling, arXiv 1312.6114.
    """

    kl: Literal["sampled", "analytic", "known"] = eqx.field(default="sampled", static=True)

    def __check_init__(self):
        if self.kl not in ("sampled", "analytic", "known"):
            raise ValueError(f'`kl` must be "sampled", "analytic" or "known", got {self.kl!r}.')

    def __call__(
        self,
        log_joint: LogJoint,
        posterior: Distribution,
        *,
        estimator: AbstractEstimator = Reparameterised(),  # noqa: B008, frozen
        num_samples: int = 1,
        batch_size: int | None = None,
        key: PRNGKeyArray,
    ) -> Float[Array, ""]:
        key = checked_key(key)
        refuse_doubly(estimator, "an ELBO", "`PathDerivative`")
        require_inside_prior(log_joint, posterior)
        log_joint = normalised(log_joint, key)
        if self.kl == "sampled":
            require_densities(estimator)
            f = lambda z, q: log_joint(z) - log_prob(q, z)
        else:
            model = _latent(log_joint, self.kl)
            apart = divergence(model.prior, estimator, self.kl, require_densities)
            f = lambda z, q: model.log_likelihood(z) - apart(z, q)
        return expectation(
            f, posterior, estimator=estimator, num_samples=num_samples, batch_size=batch_size,
            key=key,
        )  # fmt: skip


class ImportanceWeighted(AbstractBound):
    r"""The importance-weighted bound of k samples.

    $$ \mathcal{L}_k = \mathbb{E}_{z_{1..k} \sim q}\Big[ \log \frac1k \sum_i w(z_i) \Big]
       \le \log p(x), \qquad w(z) = \frac{p(x, z)}{q(z | x)} $$

    It rises with k, as $\log p(x) - \mathrm{Var}(w / p(x)) / 2k$ for large k. The signal to noise
    of the total derivative for q falls as $k^{-1/2}$: take `DoublyReparameterised`.

    Args:
        samples: k. (`num_samples` of a call is the number of such bounds that are averaged.)

    Raises:
        ValueError: `samples` is below 1; when called, the estimator is `PathDerivative` and k is
            2 or more, unless it allows the bias.

    Example:
        >>> import jax, numpyro.distributions as dist
        >>> model = LatentModel(lambda z: dist.Normal(z, 1.0).log_prob(2.0), dist.Normal(0.0, 1.0))
        >>> bound = ImportanceWeighted(500)(model, dist.Normal(0.8, 1.0), key=jax.random.key(0))
        >>> print(f"{bound:.1f}")  # log N(2; 0, 2) = -2.27
        -2.3

    Source: Burda, Grosse and Salakhutdinov, Importance Weighted Autoencoders, arXiv 1509.00519.
    """

    samples: int = eqx.field(static=True)

    def __check_init__(self):
        if self.samples < 1:
            raise ValueError(f"`samples` must be 1 or more, got {self.samples}.")

    def __call__(
        self,
        log_joint: LogJoint,
        posterior: Distribution,
        *,
        estimator: AbstractEstimator = Reparameterised(),  # noqa: B008, frozen
        num_samples: int = 1,
        batch_size: int | None = None,
        key: PRNGKeyArray,
    ) -> Float[Array, ""]:
        key = checked_key(key)
        require_inside_prior(log_joint, posterior)
        require_densities(estimator)
        log_joint = normalised(log_joint, key)
        return expectation(
            LogMeanExp(lambda z, q: log_joint(z) - log_prob(q, z)),
            Replicated(posterior, self.samples),
            estimator=estimator,
            num_samples=num_samples,
            batch_size=batch_size,
            key=key,
        )


def require_inside_prior(log_joint: LogJoint, posterior: Distribution) -> None:
    """Refuse a posterior that can draw what the prior of a `LatentModel` has not."""
    if isinstance(log_joint, LatentModel):
        require_sites_inside(posterior, log_joint.prior)


def normalised(log_joint: LogJoint, key: PRNGKeyArray) -> LogJoint:
    """`LatentModel.normalised`, of one; a function is taken as it is."""
    return log_joint.normalised(key=key) if isinstance(log_joint, LatentModel) else log_joint


def require_densities(estimator: AbstractEstimator) -> None:
    """Refuse an estimator that evaluates a sampled divergence at values between the outcomes."""
    if isinstance(estimator, PerSite):
        for each in estimator.estimators.values():
            require_densities(each)
    if getattr(estimator, "relaxes", False):
        raise ValueError(
            f"`estimator` {type(estimator).__name__} evaluates the integrand at relaxed values, "
            "where a discrete distribution has no density, and a sampled divergence is of "
            "densities: take "
            '`kl="analytic"`, as in `ELBO("analytic")`, or another estimator: `Enumeration`, '
            '`ScoreFunction("leave_one_out")`, `Relax(NeuralControlVariate(...))`, '
            "`StraightThrough`, or `GumbelSoftmax(..., hard=True)`."
        )


def _latent(log_joint: LogJoint, kl: str) -> LatentModel:
    if not isinstance(log_joint, LatentModel):
        raise ValueError(
            f'`log_joint` must be a `LatentModel` for `kl="{kl}"`, which needs the prior, got '
            f'{type(log_joint).__name__}: give one, or take `kl="sampled"`.'
        )
    return log_joint


def refuse_doubly(estimator: AbstractEstimator, what: str, instead: str) -> None:
    if isinstance(estimator, DoublyReparameterised):
        raise ValueError(
            f"`estimator` DoublyReparameterised is for importance-weighted bounds, not {what}: "
            f"take {instead}, which it is at one sample, or the bound `ImportanceWeighted`."
        )
