"""Variational bounds of a chosen order, from the least weight's side to the largest weight."""

import math
from typing import Any

import equinox as eqx
from jaxtyping import Array, Float, PRNGKeyArray

from pullback._key import checked_key
from pullback.sampling import (
    AbstractEstimator,
    Distribution,
    LogMeanExp,
    Reparameterised,
    Replicated,
    expectation,
    log_prob,
)

from ._variational import (
    ELBO,
    AbstractBound,
    LogJoint,
    normalised,
    require_densities,
    require_inside_prior,
)


class Renyi(AbstractBound):
    r"""The variational Renyi bound of the order $\alpha$, from k samples.

    $$ \mathcal{L}_\alpha = \frac{1}{1 - \alpha} \log \mathbb{E}_{q}\big[w(z)^{1 - \alpha}\big]
       = \log p(x) - D_\alpha\big(q \,\|\, p(z | x)\big), \qquad w(z) = \frac{p(x, z)}{q(z | x)} $$

    It falls as $\alpha$ rises: $\alpha = 1$ is the ELBO, 0 the log-evidence itself, and below 0 it
    lies above that. A larger $\alpha$ makes a posterior that keeps to one mode, a smaller one a
    posterior that covers all of them.

    What is estimated is another number, the expectation over k samples of

    $$ \hat{\mathcal{L}}_{\alpha, k}
       = \frac{1}{1 - \alpha} \log \frac1k \sum_i w(z_i)^{1 - \alpha}, $$

    whose gradient is unbiased and which itself is biased: too low for $\alpha < 1$ and too high for
    $\alpha > 1$, towards the ELBO, which it is at k = 1 whatever $\alpha$ is. The bias falls as 1 /
    k where $w^{1 - \alpha}$ has a variance. So at $\alpha = 0$ it is `ImportanceWeighted`, at minus
    infinity the largest of the k weights (VR-max), and for $0 \le \alpha \le 1$ it stays a lower
    bound of $\log p(x)$; below 0 it may be on either side.

    Args:
        alpha: $\alpha$, any number or minus infinity.
        samples: k. (`num_samples` of a call is the number of such bounds that are averaged.)

    Raises:
        ValueError: an argument is out of range; when called, the estimator is `PathDerivative` and
            k is 2 or more, unless it allows the bias, or the order is 1 and it is
            `DoublyReparameterised`: that is the ELBO's `PathDerivative`.

    Example:
        >>> import jax, numpyro.distributions as dist
        >>> from pullback.bounds import LatentModel
        >>> model = LatentModel(lambda z: dist.Normal(z, 1.0).log_prob(2.0), dist.Normal(0.0, 1.0))
        >>> posterior = dist.Normal(1.0, 0.5**0.5)  # the exact one
        >>> bound = Renyi(0.5, 10)(model, posterior, key=jax.random.key(0))
        >>> print(f"{bound:.4f}")  # log N(2; 0, 2)
        -2.2655

    Source: Li and Turner, Renyi Divergence Variational Inference, arXiv 1602.02311.
    """

    alpha: float = eqx.field(static=True)
    samples: int = eqx.field(static=True)

    def __check_init__(self):
        if not -math.inf <= self.alpha < math.inf:
            raise ValueError(f"`alpha` must be a number or minus infinity, got {self.alpha}.")
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
        of: dict[str, Any] = {"estimator": estimator, "batch_size": batch_size, "key": key}
        if self.alpha == 1:
            return ELBO()(log_joint, posterior, num_samples=num_samples * self.samples, **of)
        require_inside_prior(log_joint, posterior)
        require_densities(estimator)
        log_joint = normalised(log_joint, key)
        return expectation(
            LogMeanExp(lambda z, q: log_joint(z) - log_prob(q, z), 1 - self.alpha),
            Replicated(posterior, self.samples),
            num_samples=num_samples,
            **of,
        )
