"""What a bound is a bound on: the terms of a latent-variable model at one example."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from pullback._key import checked_key
from pullback.sampling import (
    JointDistribution,
    enumerated_kl,
    log_prob,
    require_distribution,
)

from ._closed_forms import continuous_kl, pair_name
from ._energy_prior import EnergyPrior, Normalised

_MASS = 0x5EED


class LatentModel(eqx.Module):
    r"""A model of one example, $p(x, z) = p(z)\, p(x | z)$, as a function of z.

    It may be called: `model(z)` is $\log p(x, z)$. Several latent variables that depend on each
    other are a prior that is a `pullback.sampling.JointDistribution`; z is then a dictionary.

    Args:
        log_likelihood: from z to $\log p(x | z)$, a scalar.
        prior: the distribution $p(z)$, with `log_prob` and `sample`; or an `EnergyPrior`, whose
            mass is not known.

    Raises:
        ValueError: the prior is no distribution, and the message names what it lacks; or a site of
            it is an `EnergyPrior`.

    Example:
        >>> import numpyro.distributions as dist
        >>> from pullback.sampling import JointDistribution
        >>> prior = JointDistribution({
        ...     "far": dist.Normal(0.0, 1.0),
        ...     "near": lambda before: dist.Normal(before["far"], 1.0),
        ... })
        >>> model = LatentModel(lambda z: dist.Normal(z["near"], 1.0).log_prob(2.0), prior)
        >>> print(f"{model({'far': 0.0, 'near': 1.0}):.3f}")
        -3.757
    """

    log_likelihood: Callable[[Any], Float[Array, ""]]
    prior: Any

    def __check_init__(self):
        require_distribution(self.prior, "prior")
        parts = self.prior.parts if isinstance(self.prior, JointDistribution) else ()
        if any(isinstance(part, EnergyPrior) for part in parts):
            raise ValueError(
                "`prior` has a site that is an `EnergyPrior`, whose mass is not known, where it "
                "must be all of the prior: give it as `EnergyPrior(log_density, base)` alone."
            )

    def __call__(self, z: Any) -> Float[Array, ""]:
        """The log of the joint density."""
        return self.log_likelihood(z) + log_prob(self.prior, z)

    def normalised(self, *, key: PRNGKeyArray) -> "LatentModel":
        """The model itself; of an `EnergyPrior`, that prior less an estimate of its log-mass.

        The estimate is too large in expectation, so that a lower bound stays one.
        """
        key = checked_key(key)
        if not isinstance(self.prior, EnergyPrior):
            return self
        # Folded in, so that the key still serves for what the caller draws.
        mass = self.prior.log_normaliser(key=jr.fold_in(key, _MASS)).upper
        return LatentModel(self.log_likelihood, Normalised(self.prior, mass))


def kl_divergence(q: Any, p: Any) -> Float[Array, ""]:
    r"""$\mathrm{KL}(q \| p)$ in closed form, over all independent variables together.

    By `p.kl_from(q)` where p has such a method, as `pullback.sampling.StandardNormal` does; of
    discrete distributions that can list their outcomes by a sum over them; by formula

    - of two of one family: normals of every covariance, LogNormal, HalfNormal, Laplace, Cauchy,
      HalfCauchy, Exponential and Gamma (of each other, too), InverseGamma, Weibull, Gumbel, Pareto,
      VonMises, Uniform, Poisson and Geometric;
    - of Laplace, Uniform, Gamma, Exponential, LogNormal or HalfNormal from Normal; of Normal from
      Laplace; of Gamma, Exponential, LogNormal or HalfNormal from Gamma, Exponential or LogNormal;
      of Beta from Uniform;

    and by NumPyro where it knows the pair, as Beta, Dirichlet, or Kumaraswamy from Beta. It is
    infinite where q has a range that p has not. The batch shapes are broadcast to the common one,
    and what `expand` says counts.

    Args:
        q: one of `numpyro.distributions`.
        p: another, or an object with `kl_from`.

    Raises:
        ValueError: there is no closed form for the pair.

    Example:
        >>> import numpyro.distributions as dist
        >>> print(f"{kl_divergence(dist.Normal(1.0, 1.0), dist.Normal(0.0, 1.0)):.2f}")
        0.50
    """
    found = known_kl(q, p)
    if found is None:
        raise ValueError(
            f'there is no closed form for {pair_name(q, p)}: take `kl="sampled"`, or "known", '
            "which samples such a part."
        )
    return found


def known_kl(q: Any, p: Any) -> Float[Array, ""] | None:
    """`kl_divergence`, or None where the pair has no closed form."""
    if hasattr(p, "kl_from"):
        return p.kl_from(q)
    found = enumerated_kl(q, p)
    return continuous_kl(q, p) if found is None else found
