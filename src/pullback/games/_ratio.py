"""What a loss of the log ratio descends, and whether logits are log ratios at all."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float

from pullback.games._divergence import FDivergence, checked_log_ratio
from pullback.games._objectives import check_some, rises

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(64)


def effective_divergence(
    loss: Callable[[Array], Array], *, low: float | int = -10.0, high: float | int = 10.0
) -> FDivergence:
    r"""The divergence that a generator descends by a loss of the frozen log ratio.

    $$ \tilde f(r) = -r \int_1^r \frac{\ell(s)}{s^2} ds, \qquad
       \tilde f - r \tilde f' = \ell, \qquad \tilde f'' = -\ell'(r) / r $$

    It is convex, and a divergence, where the loss falls with the ratio, and nowhere else.

    Args:
        loss: of the log ratio, entry by entry: an `FDivergence`, for its plug-in loss, or any
            function.
        low: the least log ratio that it must hold for.
        high: the largest.

    Returns:
        The divergence, whose `exact` loss is `loss`. Its values are by Gauss-Legendre quadrature
        with 64 points between a log ratio and 0, which is exact to the dtype for a smooth loss. Of
        one with a kink, as a hinge has, expect three digits, and do not differentiate the values
        beyond the kink: `exact` and `slope` have no integral in what a gradient takes.

    Raises:
        ValueError: the loss rises somewhere between, so what it descends is not convex; or it is
            not finite there.

    Example:
        >>> import jax.numpy as jnp
        >>> from pullback.games import jensen_shannon, minimax
        >>> found = effective_divergence(minimax)  # log(1 - D): twice Jensen-Shannon's
        >>> v = jnp.asarray([-1.0, 2.0])
        >>> left = found(v) - jensen_shannon(v)  # a multiple of r - 1, which has no mean
        >>> print(jnp.allclose(left / jnp.expm1(v), 0.0, atol=1e-5))
        True

    Source: the inverse of f - r f' (`FDivergence.exact`); for -log D compare Shannon et al.,
        Non-saturating GAN training as divergence minimization, arXiv 2010.08029.
    """
    if not -np.inf < low < high < np.inf:
        raise ValueError(f"`low` and `high` must be finite and rise, got {low} and {high}.")
    undefined = _not_finite(loss, low, high)
    if undefined is not None:
        raise ValueError(
            f"`loss` must be finite for log ratios from {low:g} to {high:g}, and is not at "
            f"{undefined:.3g}. Give `low` and `high` between which it is."
        )
    where = rises(loss, low, high)
    if where is not None:
        raise ValueError(
            f"`loss` rises with the ratio of data to samples from {where:.3g} on, so what it "
            "descends is not convex and no divergence: there it pushes samples away from where "
            "they are missing. Take the exact loss of the divergence, `divergence.exact`."
        )

    def integral(v: Array, power: float) -> Array:
        """Of the loss times e^(power v - s) along s from 0 to v."""
        shape = (-1, *(1,) * v.ndim)
        nodes = jnp.asarray((_NODES + 1) / 2, v.dtype).reshape(shape)
        weights = jnp.asarray(_WEIGHTS / 2, v.dtype).reshape(shape)
        along = nodes * v[None]
        return v * jnp.sum(weights * loss(along) * jnp.exp(power * v[None] - along), axis=0)

    return FDivergence(
        lambda v: -integral(v, 1.0),
        lambda v: loss(v),
        lambda v: -integral(v, 0.0) - loss(v) * jnp.exp(-v),
    )


def _not_finite(
    loss: Callable[[Array], Array], low: float | int, high: float | int
) -> float | None:
    """The first log ratio at which a loss is no finite number; None where there is none."""
    with jax.ensure_compile_time_eval():
        at = np.linspace(low, high, 401)
        value = loss(jnp.asarray(at))
    if isinstance(value, Tracer):
        return None  # of a function that is being differentiated there are no numbers
    found = np.flatnonzero(~np.isfinite(np.asarray(value)))
    return float(at[found[0]]) if len(found) else None


class RatioDiagnostics(NamedTuple):
    """Whether logits are the log of a ratio of densities.

    Attributes:
        mean_ratio: of samples, 1 for the true ratio: below, samples lack what data have; far off in
            either way, the discriminator is no ratio.
        mean_inverse_ratio: of the inverse at data, 1 for the true ratio.
        effective_share: of the samples, how many carry the weights of the ratio, over their number:
            near 0 `kl` and `pearson` learn from a few samples alone.
        accuracy: of the discriminator, 0.5 where data and samples cannot be told apart. Near 1 most
            losses have no slope but `reverse_kl`'s and -log D's.
    """

    mean_ratio: Float[Array, ""]
    mean_inverse_ratio: Float[Array, ""]
    effective_share: Float[Array, ""]
    accuracy: Float[Array, ""]


def ratio_diagnostics(real: Float[Array, " n"], fake: Float[Array, " m"]) -> RatioDiagnostics:
    r"""Ask a discriminator's logits whether they are log p / q.

    $$ E_q[e^V] = 1, \qquad E_p[e^{-V}] = 1, \qquad
       \frac{(\sum e^V)^2}{m \sum e^{2 V}} \text{ at samples} $$

    Weight decay, a gradient penalty, label smoothing and early stopping shrink V; a hinge or a
    Wasserstein critic has no such scale at all.

    Args:
        real: logits of data that the discriminator was not trained on, `[n]`.
        fake: logits of samples, `[m]`.

    Returns:
        The means, of which those of the ratios are infinite where they overflow. Of a logit that is
        NaN they are NaN; where every ratio is 0, none carries weight, and the share is 0.

    Raises:
        ValueError: there is none of either, or they are no floating numbers.

    Example:
        >>> import jax.numpy as jnp
        >>> found = ratio_diagnostics(jnp.asarray([0.5, 1.0]), jnp.asarray([-1.0, 0.2]))
        >>> print(f"{found.mean_ratio:.2f} {found.accuracy:.2f}")
        0.79 0.75
    """
    real, fake = checked_log_ratio(real, "real"), checked_log_ratio(fake, "fake")
    check_some(real=real, fake=fake)
    log_sum = lambda v: jax.nn.logsumexp(v)
    log_count = lambda v: jnp.log(v.size).astype(v.dtype)
    right = [jnp.mean((1 + jnp.sign(side)) / 2) for side in (real, -fake)]
    share = jnp.exp(2 * log_sum(fake) - log_sum(2 * fake) - log_count(fake))
    return RatioDiagnostics(
        jnp.exp(log_sum(fake) - log_count(fake)),
        jnp.exp(log_sum(-real) - log_count(real)),
        jnp.where(jnp.max(fake) == -jnp.inf, jnp.zeros_like(share), share),
        (right[0] + right[1]) / 2,
    )
