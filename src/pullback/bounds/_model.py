"""What a bound is a bound on: the terms of a latent-variable model at one example."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, Float

from pullback._promotion import standard_promotion
from pullback.sampling import independent_parts, log_prob


class LatentModel(eqx.Module):
    r"""A model of one example, $p(x, z) = p(z)\, p(x | z)$, as a function of z.

    It may be called: `model(z)` is $\log p(x, z)$.

    Args:
        log_likelihood: from z to $\log p(x | z)$, a scalar.
        prior: the distribution $p(z)$.
    """

    log_likelihood: Callable[[Any], Float[Array, ""]]
    prior: Any

    def __call__(self, z: Any) -> Float[Array, ""]:
        """The log of the joint density."""
        return self.log_likelihood(z) + log_prob(self.prior, z)


def kl_divergence(q: Any, p: Any) -> Float[Array, ""]:
    r"""$\mathrm{KL}(q \| p)$ in closed form, over all independent variables together.

    By `p.kl_from(q)` where p has such a method, as `pullback.sampling.StandardNormal` does; by
    NumPyro where it knows the pair; of discrete distributions by a sum over the support of each
    variable.

    Args:
        q: one of `numpyro.distributions`.
        p: another, with the same support, or an object with `kl_from`.

    Raises:
        ValueError: there is no closed form for the pair.

    Example:
        >>> import numpyro.distributions as dist
        >>> print(f"{kl_divergence(dist.Normal(1.0, 1.0), dist.Normal(0.0, 1.0)):.2f}")
        0.50
    """
    if hasattr(p, "kl_from"):
        return p.kl_from(q)
    q, p = independent_parts(q), independent_parts(p)
    with standard_promotion():
        if getattr(q, "has_enumerate_support", False):
            support = q.enumerate_support(expand=False)
            log_q, log_p = q.log_prob(support), p.log_prob(support)
            # 0 log 0 is 0, and so is its gradient.
            apart = jnp.where(log_q == -jnp.inf, 0, log_q - log_p)
            return jnp.sum(jnp.exp(log_q) * apart)
        try:
            return jnp.sum(dist.kl_divergence(q, p))
        except NotImplementedError:
            raise ValueError(
                f"there is no closed form for KL({type(q).__name__} || {type(p).__name__}): take "
                '`kl="sampled"`.'
            ) from None
