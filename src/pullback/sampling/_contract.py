"""What makes an object a distribution: what it does, whichever library it is from."""

from typing import Any

import numpyro.distributions as dist

_METHODS = {"log_prob": "log_prob(z)", "sample": "sample(key, shape)"}


def require_distribution(q: Any, name: str) -> None:
    """Refuse what lacks a part of a distribution, before anything is computed with it.

    One of NumPyro, FlowJAX, distreqx or your own is known by its methods: `log_prob(z)`, and
    `sample(key, shape)` or `sample(key)`. What can be evaluated and not drawn from is a density of
    unknown mass, under which a bound is none.

    Args:
        q: the object.
        name: of the argument, for the message.

    Raises:
        ValueError: a method is missing, or is not implemented.
    """
    missing = [
        written for method, written in _METHODS.items() if not callable(getattr(q, method, None))
    ]
    if not missing and _is_improper(q):
        missing = [_METHODS["sample"]]
    if not missing:
        return
    raise ValueError(
        f"`{name}` must be a normalised distribution, with `log_prob(z)` and `sample(key, shape)`, "
        f"got {type(q).__name__}, which lacks `{'` and `'.join(missing)}`: take one of NumPyro's, "
        "a flow of `pullback.models.flows`, or a module with both methods; for a density whose "
        "mass is not known, `pullback.bounds.EnergyPrior(log_density, base)`."
    )


def _is_improper(q: Any) -> bool:
    """Whether a distribution of NumPyro, under what it is wrapped in, cannot be drawn from."""
    while isinstance(q, dist.Independent | dist.ExpandedDistribution | dist.MaskedDistribution):
        q = q.base_dist
    return isinstance(q, dist.Distribution) and type(q).sample is dist.Distribution.sample
