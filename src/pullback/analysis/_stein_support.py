"""Models on a support with ends, on which Stein's identity need not hold."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float
from numpyro.distributions import constraints

from pullback._promotion import standard_promotion
from pullback._traced import compiled
from pullback.sampling import SupportMap


def refuse_ends(name: str, function: Callable[[Any], Any], x: Float[Array, "n dim"]) -> None:
    """Refuse a density that ends, as its distribution says or as is seen just beyond the points.

    Its slope is all that a test takes, and of that an end shows nothing: an exponential law is
    taken for one whose density goes on growing beyond 0. What is traced is not looked at.
    """
    law = getattr(function, "__self__", None)
    support = getattr(law, "support", None)
    if isinstance(support, constraints.Constraint) and _has_ends(support, x.shape[1]):
        _refuse(f"`{name}` is of a {type(law).__name__}, whose support has an end")
    if isinstance(x, Tracer):
        return
    spread = jnp.std(x, axis=0)
    beyond = jnp.stack([jnp.min(x, axis=0) - spread, jnp.max(x, axis=0) + spread])
    found = np.asarray(_values(function, jnp.concatenate([beyond, x[:1]])))
    if np.isfinite(found[2]).all() and not np.isfinite(found[:2]).all():
        side = int(np.isfinite(found[0]).all())
        _refuse(
            f"`{name}` is {found[side]} at {np.asarray(beyond[side])}, just beyond the rows of `x`"
        )


@compiled
def _values(function: Callable[[Any], Any], x: Float[Array, "n dim"]) -> Float[Array, "n ..."]:
    with standard_promotion():
        return jax.lax.map(function, x)


def _has_ends(support: Any, dim: int) -> bool:
    try:
        parts = SupportMap(dim, support).parts
    except ValueError:
        return True  # a surface, or a kind that has no map
    return any(part.kind != "numbers" or np.isfinite([part.low, part.high]).any() for part in parts)


def _refuse(found: str) -> None:
    raise ValueError(
        f"{found}: a test by the slope cannot see the end, and would reject a model that is right. "
        "Test on the whole line: with `map = pullback.sampling.SupportMap(dim, support)` the rows "
        "`jax.vmap(lambda x: map.to_line(x)[0])(x)`, and as `log_prob` "
        "`lambda y: log_prob(map.from_line(y)) - map.to_line(map.from_line(y))[1]`."
    )
