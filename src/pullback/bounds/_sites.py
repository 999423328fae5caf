"""Divergences of several latent variables, each by its closed form or at its sample."""

from collections.abc import Callable, Iterator
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float

from pullback.sampling import (
    AbstractEstimator,
    JointDistribution,
    PathDerivative,
    PerSite,
    draw,
    log_prob,
    require_inside,
)

from ._closed_forms import pair_name
from ._model import known_kl


def require_sites_inside(posterior: Any, prior: Any) -> None:
    """Refuse a posterior that can draw what the prior has not, or of other sites.

    Raises:
        ValueError: it is one; the message names the site.
    """
    if not isinstance(prior, JointDistribution):
        require_inside(posterior, prior)
        return
    if not isinstance(posterior, JointDistribution):
        return
    if set(posterior.names) != set(prior.names):
        raise ValueError(
            f"the posterior's sites must be the prior's, {sorted(prior.names)}: `posterior` has "
            f"{sorted(posterior.names)}."
        )

    def look(key: Array) -> Array:
        z = draw(posterior, key)
        for name, q, p in _pairs(z, posterior, prior):
            try:
                require_inside(q, p)
            except ValueError as error:
                raise ValueError(f"site {name!r}: {error}") from None
        return jnp.zeros(())

    eqx.filter_eval_shape(look, jr.key(0))


def divergence(
    prior: Any,
    estimator: AbstractEstimator,
    kl: str,
    require_densities: Callable[[AbstractEstimator], None],
) -> Callable[[Any, Any], Float[Array, ""]]:
    """The integrand whose mean over q is the divergence, from a sample and q.

    Args:
        prior: p(z).
        estimator: of the gradient; of a site by `PerSite`.
        kl: "analytic", or "known".
        require_densities: refuses an estimator that cannot take a sampled divergence.
    """

    def at(z: Any, q: Any) -> Array:
        parts = []
        for name, own, of_prior in _pairs(z, q, prior):
            way = estimator
            if name is not None and isinstance(estimator, PerSite):
                way = estimator.estimators[name]
            held = isinstance(way, PathDerivative)
            if held and kl == "analytic":
                raise ValueError(
                    "`estimator` PathDerivative leaves out the score of a sampled log q, and with "
                    '`kl="analytic"` there is none: take `kl="sampled"`, or `Reparameterised`.'
                )
            fixed = not held and _given_alike(name, q, prior)
            found = known_kl(own, of_prior) if fixed else None
            if found is None:
                if kl == "analytic":
                    raise ValueError(_unknown(name, own, of_prior, fixed))
                require_densities(way)
                sample = z if name is None else z[name]
                found = log_prob(own, sample) - log_prob(of_prior, sample)
            parts.append(found)
        return sum(parts[1:], start=parts[0])

    return at


def _pairs(z: Any, q: Any, prior: Any) -> Iterator[tuple[str | None, Any, Any]]:
    """Each site's posterior and prior, given the samples before it; None names all as one."""
    if not isinstance(q, JointDistribution) or not isinstance(prior, JointDistribution):
        yield None, q, prior
        return
    of_prior = prior.at(z)
    for name, own in q.at(z).items():
        yield name, own, of_prior[name]


def _given_alike(name: str | None, q: Any, prior: Any) -> bool:
    """Whether what the prior of a site is given is drawn before it: else no form is its mean."""
    if name is None or not prior.depends(name):
        return True
    before = lambda joint: set(joint.names[: joint.names.index(name)])
    return before(prior) <= before(q)


def _unknown(name: str | None, q: Any, p: Any, given_alike: bool) -> str:
    where = "" if name is None else f"site {name!r}: "
    take = 'take `kl="sampled"`, or "known", which samples such a part.'
    if not given_alike:
        return f"{where}its prior depends on what the posterior draws later: {take}"
    return f"{where}there is no closed form for {pair_name(q, p)}: {take}"
