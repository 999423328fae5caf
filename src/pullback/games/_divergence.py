"""Divergences between two densities, of which only the log of their ratio is known."""

import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from pullback._floating import require_floating

# From here on an alpha-divergence is written as KL is, and below as reverse KL is.
_COVERS = 0.9

# A power this small is a logarithm to the last digit; float32 has numbers hardly smaller.
_NO_POWER = 1e-30


class FDivergence(eqx.Module):
    r"""An f-divergence from the data p to the samples q, written in the log of their ratio.

    $$ D_f(p \| q) = E_q\big[f(r)\big], \qquad r = p / q, \quad f \text{ convex}, \quad f(1) = 0 $$

    **To descend it, do not minimise f(r) at the samples**: a ratio that a discriminator gave is
    frozen, and depends on q all the same. Of the Kullback-Leibler, chi-squared and Hellinger
    divergences that plug-in loss pushes samples away from where the data are: the wrong way.
    What has the gradient of $D_f$ while the ratio is frozen is `exact`,

    $$ \ell(r) = f(r) - r f'(r) = f - \frac{d f}{d \log r} $$

    | name | f(r) | `exact` but for a constant | what it is |
    |---|---|---|---|
    | `kl` | r log r | -r | KL(p, q): covers all that p covers |
    | `reverse_kl` | -log r | -log r | KL(q, p): seeks a mode |
    | `jensen_shannon` | r log r - (1 + r) log((1 + r) / 2) | -log(1 + r) | twice Jensen-Shannon's; the loss of the first GANs |
    | `pearson` | (r - 1)^2 | -r^2 | chi-squared of p |
    | `neyman` | (r - 1)^2 / r | 2 / r | chi-squared of q |
    | `squared_hellinger` | (sqrt r - 1)^2 | -sqrt r | bounded, and its weights have little variance |
    | `alpha(a)` | (r^a - 1 - a (r - 1)) / (a (a - 1)) | -r^a / a | from reverse KL (a = 0) to KL (a = 1) |
    | `minimax` | -log((1 + r) / 2) | -log(1 + r) + r / (1 + r) | KL(q, (p + q) / 2) |
    | `non_saturating` | log((1 + 1 / r) / 2) | log(1 + 1 / r) + 1 / (1 + r) | E_q log((p + q) / 2p) |

    `minimax` and `non_saturating` have the names of the losses that practice took as they are, with
    `estimator="plug_in"`: log(1 - D) and -log D. What these descend is twice Jensen-Shannon's and
    KL(q, p) less that, as `effective_divergence` finds.

    Args:
        f: of the log of the ratio, entry by entry; convex in the ratio, and 0 at a ratio of one.
        closed_exact: `exact` in closed form; None: by differentiation of `f`.
        closed_slope: $f'(r)$, of the log ratio; None: the same.

    Example:
        >>> import jax.numpy as jnp
        >>> mine = FDivergence(lambda log_ratio: jnp.exp(log_ratio) * log_ratio)
        >>> print(mine.exact(jnp.log(3.0)), kl.exact(jnp.log(3.0)))
        -3.0 -3.0

    Source: Poole et al., Improved generator objectives for GANs, arXiv 1612.02780, for one
        discriminator and any f; Nowozin et al., f-GAN, arXiv 1606.00709, for the exact term.
    """  # noqa: E501

    f: Callable[[Array], Array]
    closed_exact: Callable[[Array], Array] | None = None
    closed_slope: Callable[[Array], Array] | None = None

    def __call__(self, log_ratio: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """f of the ratio, whose mean over samples estimates the divergence: a value to look at."""
        return self.f(checked_log_ratio(log_ratio))

    def exact(self, log_ratio: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """The loss of a sample whose gradient, with a frozen ratio, is that of the divergence."""
        log_ratio = checked_log_ratio(log_ratio)
        if self.closed_exact is not None:
            return self.closed_exact(log_ratio)
        value, slope = _with_slope(self.f, log_ratio)
        return value - slope

    def slope(self, log_ratio: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """$f'(r)$, by the ratio: the best critic of the variational bound, at the data."""
        log_ratio = checked_log_ratio(log_ratio)
        if self.closed_slope is not None:
            return self.closed_slope(log_ratio)
        return _with_slope(self.f, log_ratio)[1] * jnp.exp(-log_ratio)


def _with_slope(f: Callable[[Array], Array], at: Array) -> tuple[Array, Array]:
    """The values of a function of each entry, and its derivatives by the log of the ratio."""
    return jax.jvp(f, (at,), (jnp.ones_like(at),))


def check_divergence(divergence: Any) -> None:
    """Raise where it is none."""
    if not isinstance(divergence, FDivergence):
        raise TypeError(
            "`divergence` must be an `FDivergence`, such as `pullback.games.jensen_shannon`, or "
            f"`FDivergence(f)` of a function of the log ratio; got {divergence!r}."
        )


def checked_log_ratio(log_ratio: Any, name: str = "log_ratio") -> Array:
    """An array, once it has proved to have floating entries."""
    log_ratio = jnp.asarray(log_ratio)
    require_floating(name, log_ratio, "it is the log of a ratio, and not a label")
    return log_ratio


def _log_mean_exp_zero(v: Array) -> Array:
    """log((1 + r) / 2)."""
    return jax.nn.softplus(v) - jnp.log(2.0).astype(v.dtype)


def _non_saturating_slope(v: Array) -> Array:
    # -1 / (r (1 + r)), written so that neither value nor slope is a product of infinity and 0.
    low, high = jnp.minimum(v, 0), jnp.maximum(v, 0)
    return -jnp.where(
        v < 0,
        jnp.exp(-low) - jax.nn.sigmoid(-low),
        jnp.exp(-high) * jax.nn.sigmoid(-high),
    )


def _with_ends(f: Callable[[Array], Array], at_zero: float | None = None) -> Callable:
    """`f`, which grows with the ratio without bound, where its terms are no numbers.

    `at_zero` is its limit where the ratio is 0; None: terms are numbers there.
    """

    def of(v: Array) -> Array:
        ratio = jnp.exp(v)
        over = jnp.isinf(ratio)
        if at_zero is None:
            return jnp.where(over, ratio, f(jnp.where(over, 0, v)))
        none = ratio == 0
        within = f(jnp.where(over | none, 0, v))
        return jnp.where(over, ratio, jnp.where(none, at_zero, within))

    return of


def _jensen_shannon(v: Array) -> Array:
    # r log(2 r / (1 + r)) - log((1 + r) / 2): no difference of large numbers.
    return -jnp.exp(v) * _log_mean_exp_zero(-v) - _log_mean_exp_zero(v)


kl = FDivergence(_with_ends(lambda v: v * jnp.exp(v), 0.0), lambda v: -jnp.exp(v), lambda v: v + 1)
reverse_kl = FDivergence(lambda v: -v, lambda v: 1 - v, lambda v: -jnp.exp(-v))
jensen_shannon = FDivergence(
    _with_ends(_jensen_shannon, math.log(2)),
    lambda v: -_log_mean_exp_zero(v),
    lambda v: -_log_mean_exp_zero(-v),
)
pearson = FDivergence(
    lambda v: jnp.square(jnp.expm1(v)), lambda v: -jnp.expm1(2 * v), lambda v: 2 * jnp.expm1(v)
)
neyman = FDivergence(
    lambda v: jnp.square(2 * jnp.sinh(v / 2)),
    lambda v: 2 * jnp.expm1(-v),
    lambda v: -jnp.expm1(-2 * v),
)
squared_hellinger = FDivergence(
    lambda v: jnp.square(jnp.expm1(v / 2)),
    lambda v: -jnp.expm1(v / 2),
    lambda v: -jnp.expm1(-v / 2),
)
minimax = FDivergence(
    lambda v: -_log_mean_exp_zero(v),
    lambda v: jax.nn.sigmoid(v) - _log_mean_exp_zero(v),
    lambda v: -jax.nn.sigmoid(-v),
)
non_saturating = FDivergence(
    lambda v: _log_mean_exp_zero(-v),
    lambda v: jax.nn.sigmoid(-v) + _log_mean_exp_zero(-v),
    _non_saturating_slope,
)


def alpha(a: float | int) -> FDivergence:
    r"""The alpha-divergences: one number between seeking modes and covering them.

    $$ f(r) = \frac{r^a - 1 - a (r - 1)}{a (a - 1)} $$

    0 is `reverse_kl` and 1 is `kl`, but for a multiple of r - 1; 1/2 is twice `squared_hellinger`,
    2 is half of `pearson` and -1 half of `neyman`. Between 0 and 1 the weights of samples have
    less variance than those of `kl`, and the data are covered all the same.

    Args:
        a: any finite number.

    Returns:
        The divergence.

    Raises:
        ValueError: `a` is not finite.

    Example:
        >>> import jax.numpy as jnp
        >>> print(alpha(0.5)(jnp.log(4.0)), 2 * squared_hellinger(jnp.log(4.0)))
        2.0 2.0

    Source: Cichocki and Amari, Families of alpha-, beta- and gamma-divergences, 2010.
    """
    if not abs(float(a)) < float("inf"):
        raise ValueError(f"`a` must be a finite number, got {a!r}: 0 is reverse KL, 1 is KL.")
    a = float(a)
    # Two ways to write one f, of which each loses its digits at the end of the other.
    seeking = lambda v: (jnp.expm1(v) - _power(v, a)) / (1 - a)
    covering = lambda v: (jnp.exp(v) * _power(v, a - 1) - jnp.expm1(v)) / a
    f = _with_ends(seeking) if a < _COVERS else _with_ends(covering, 1 / a)
    return FDivergence(f, lambda v: -_power(v, a), lambda v: _power(v, a - 1))


def _power(v: Array, a: float) -> Array:
    """(r^a - 1) / a, and its limit log r at 0."""
    return v if abs(a) < _NO_POWER else jnp.expm1(a * v) / a
