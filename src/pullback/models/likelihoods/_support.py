"""What follows from a likelihood's support: checks of data, masks, and what cannot be."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ._interface import AbstractLikelihood


def within_support(
    support: Any, x: Array, log_prob: Float[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """`log_prob` where x is in a support; elsewhere minus infinity, and NaN where x is NaN.

    Args:
        support: a constraint of `numpyro.distributions.constraints`.
        x: data.
        log_prob: of each entry, in nats.

    Example:
        >>> import jax.numpy as jnp
        >>> from numpyro.distributions import constraints
        >>> within_support(constraints.positive, jnp.array([-1.0, 1.0]), jnp.zeros(2)).tolist()
        [-inf, 0.0]
    """
    return jnp.where(support(x), log_prob, outside(support, x, log_prob.dtype))


def outside(support: Any, x: Array, dtype: Any) -> Float[Array, "..."]:
    """What to add to log-probabilities that are finite everywhere: 0, minus infinity, or NaN.

    It depends on x alone, and leaves the gradient as it is: `within_support` for fewer operations.
    """
    never = jnp.where(jnp.isnan(x), jnp.nan, -jnp.inf)
    return jnp.where(support(x), 0.0, never).astype(dtype)


def check_support(
    likelihood: AbstractLikelihood, x: Any, mask: Any = None, *, name: str = "data"
) -> None:
    """Raise ValueError if data on the host cannot be of a likelihood, with the first such row.

    Models call it wherever data are scored, before anything is compiled.

    Args:
        likelihood: of the data.
        x: one example, or many with a leading axis.
        mask: True where an entry was observed; all, when None.
        name: of the data in the message.

    Example:
        >>> import numpy as np
        >>> from pullback.models.likelihoods import Poisson
        >>> check_support(Poisson(), np.array([[0, 3], [2, -1]]))
        Traceback (most recent call last):
            ...
        ValueError: row 1 of `data` has -1 at [1], and data of a Poisson must be whole numbers ...
    """
    x = np.asarray(x)
    seen = np.ones(x.shape, bool) if mask is None else np.asarray(mask)
    wrong = seen & ~(np.asarray(likelihood.support(x)) & np.isfinite(x))
    places = np.argwhere(wrong)
    if not len(places):
        return
    row, *rest = (int(place) for place in places[0]) if x.ndim else (0,)
    where = f" at {rest}" if rest else ""
    value = x[tuple(places[0])]
    numbers = x[seen & np.isfinite(x)]
    among = f", in data from {numbers.min():g} to {numbers.max():g}" if numbers.size else ""
    more = f" ({len(places)} such entries{among})"
    raise ValueError(
        f"row {row} of `{name}` has {value:g}{where}, and data of a {type(likelihood).__name__} "
        f"must be {_in_words(likelihood.support)}{more}. Scale or leave out such rows, mask "
        "such entries in a series, or take another likelihood."
    )


def _in_words(support: Any) -> str:
    what = "whole numbers" if support.is_discrete else "finite numbers"
    low, high = (getattr(support, f"{end}_bound", None) for end in ("lower", "upper"))
    if low is None and high is None:
        # Not only the real numbers have no bounds; a support of your own says itself what it is.
        return what if repr(support) == "Real()" else f"of the support {support!r}"
    return (
        what
        + (f" from {low:g}" if low is not None else "")
        + (f" to {high:g}" if high is not None else "")
    )


def require_params(likelihood: AbstractLikelihood, params: Array, shape: tuple[int, ...]) -> None:
    """Refuse parameters that are not those of data of such a shape.

    Broadcast, a column of them would be scored against every entry.

    Raises:
        ValueError: the shape is another than `likelihood.params_shape(shape)`.
    """
    wanted = tuple(likelihood.params_shape(tuple(shape)))
    if params.shape != wanted:
        raise ValueError(
            f"the parameters of a {type(likelihood).__name__} for data of shape {tuple(shape)} "
            f"must have the shape {wanted}, and the decoder gives {params.shape}: let it end in "
            "`likelihood.params_shape(shape)`."
        )
