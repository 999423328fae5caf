"""Langevin dynamics on an unnormalised density, plain and corrected."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, PRNGKeyArray, ScalarLike

from pullback._floating import require_floating
from pullback._key import checked_key
from pullback._power_method import safe_norm


class LangevinInfo(NamedTuple):
    r"""What the chains met, as means over them, before each step.

    Attributes:
        log_prob: the log-density, unnormalised, `[steps]`.
        grad_norm: $\|\nabla \log p\|$, `[steps]`.
    """

    log_prob: Float[Array, " steps"]
    grad_norm: Float[Array, " steps"]


def langevin(
    log_prob: Callable[..., Any],
    x: Float[Array | np.ndarray, "n ..."],
    *,
    steps: int,
    step_size: ScalarLike,
    noise: ScalarLike | None = None,
    key: PRNGKeyArray,
) -> tuple[Float[Array, "n ..."], LangevinInfo]:
    r"""Move each row along the slope of a log-density, with noise: a chain a row.

    $$ x' = x + \alpha \nabla \log p(x) + s\, \epsilon, \qquad \epsilon \sim N(0, I) $$

    With $s = \sqrt{2 \alpha}$ the chains go to p, but for an error of the order of $\alpha$: of
    N(0, 1) the variance becomes $1 / (1 - \alpha / 2)$. With less noise they go to the cooled
    $p^{1/T}$ of temperature $T = s^2 / (2 \alpha)$, which is what energy-based models are often
    trained with: $\alpha = 1$, $s = 0.01$ is a temperature of 5e-5, next to plain ascent.

    Gradients flow through the steps; where they must not, `jax.lax.stop_gradient` the result.

    Args:
        log_prob: from one point, of the shape of a row of `x`, to a scalar.
        x: where the chains start, `[n, ...]`.
        steps: how many.
        step_size: $\alpha$.
        noise: s; $\sqrt{2 \alpha}$ if None.
        key: a typed PRNG key.

    Returns:
        Where the chains end, `[n, ...]`, and a `LangevinInfo`. NaN for a chain that starts where
        its log-density is no number, where that could not be refused because the call is being
        compiled.

    Raises:
        ValueError: `steps` is below 1, `step_size` is not above 0, `noise` is negative, `x` holds
            whole numbers or no chain, or chains start where the log-density or its slope is not
            finite; the message says which.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> log_prob = lambda x: -jnp.sum((x - 1)**2) / 2
        >>> x, info = langevin(
        ...     log_prob, jnp.zeros((4000, 1)), steps=200, step_size=0.02, key=jax.random.key(0))
        >>> print(f"{jnp.mean(x):.1f} {jnp.var(x):.1f} {info.log_prob[0]:.1f}")
        1.0 1.0 -0.5

    Source: Welling and Teh, Bayesian Learning via Stochastic Gradient Langevin Dynamics (2011);
    Grathwohl et al., arXiv 1912.03263, equation 3, for the cooled form.
    """
    key = checked_key(key)
    x = _checked(x, steps, step_size)
    if not isinstance(noise, Tracer | None) and not 0 <= np.asarray(noise) < np.inf:
        raise ValueError(f"`noise` must be 0 or more, and finite; got {noise}.")
    alpha = jnp.asarray(step_size, x.dtype)
    scale = jnp.sqrt(2 * alpha) if noise is None else jnp.asarray(noise, x.dtype)
    slope = jax.vmap(jax.value_and_grad(log_prob))

    def step(x: Array, inputs: tuple[Array, Array]) -> tuple[Array, LangevinInfo]:
        number, key = inputs
        value, gradient = slope(x)
        seen = LangevinInfo(jnp.mean(value), jnp.mean(_norm(gradient)))
        moved = x + alpha * gradient + scale * jr.normal(key, x.shape, x.dtype)
        return _choose((number == 0) & ~jnp.isfinite(value), jnp.nan, moved), seen

    end, info = jax.lax.scan(step, x, (jnp.arange(steps), jr.split(key, steps)))
    met = info.log_prob[0] + info.grad_norm[0]
    if not isinstance(met, Tracer) and not bool(jnp.isfinite(met)):
        _check_starts(*slope(x))
    return end, info


class MALAInfo(NamedTuple):
    """How the walk went.

    Attributes:
        accepted: the share of proposals that were accepted, of the steps whose step size was held.
        step_size: at the end.
        log_prob: of the last points, unnormalised, `[n]`.
    """

    accepted: Float[Array, ""]
    step_size: Float[Array, ""]
    log_prob: Float[Array, " n"]


def mala(
    log_prob: Callable[..., Any],
    x: Float[Array | np.ndarray, "n ..."],
    *,
    steps: int,
    step_size: ScalarLike,
    target_accept: float | None = 0.57,
    key: PRNGKeyArray,
) -> tuple[Float[Array, "n ..."], MALAInfo]:
    r"""Langevin steps that may be refused, so that the chains go to p itself: a chain a row.

    $$ x^* = x + \alpha \nabla \log p(x) + \sqrt{2 \alpha}\, \epsilon, \qquad
       \log r = \log \frac{p(x^*)\, q(x | x^*)}{p(x)\, q(x^* | x)} $$

    In the first half of the steps the step size follows the share that is accepted, of all chains
    together, with a gain that falls; in the second half it is held, and p is kept exactly. A
    proposal whose density is not a number is refused.

    Args:
        log_prob: from one point, of the shape of a row of `x`, to a scalar.
        x: where the chains start, `[n, ...]`.
        steps: how many.
        step_size: $\alpha$, or where its search begins.
        target_accept: the share that should be accepted; None: the step size is held throughout.
        key: a typed PRNG key.

    Returns:
        Where the chains end, `[n, ...]`, and a `MALAInfo`. NaN for a chain that starts where its
        log-density or its slope is no number, and which could never move, where that could not be
        refused because the call is being compiled.

    Raises:
        ValueError: `steps` is below 1, `step_size` is not above 0, `target_accept` is not between
            0 and 1, `x` holds whole numbers or no chain, or chains start where the log-density or
            its slope is not finite; the message says which.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> log_prob = lambda x: -jnp.sum((x - 1)**2) / 2
        >>> x, info = mala(
        ...     log_prob, jnp.zeros((4000, 1)), steps=50, step_size=0.1, key=jax.random.key(0))
        >>> print(f"{jnp.mean(x):.1f} {jnp.var(x):.1f} {info.accepted:.1f}")
        1.0 1.0 0.6

    Source: Roberts and Tweedie, Exponential Convergence of Langevin Distributions and Their
    Discrete Approximations (1996); Roberts and Rosenthal (1998) for the share of 0.57.
    """
    key = checked_key(key)
    x = _checked(x, steps, step_size)
    if target_accept is not None and not 0 < target_accept < 1:
        raise ValueError(f"`target_accept` must be between 0 and 1, got {target_accept}.")
    searched = 0 if target_accept is None else steps // 2
    target = 0.0 if target_accept is None else target_accept
    slope = jax.vmap(jax.value_and_grad(log_prob))

    def step(carry: tuple, inputs: tuple) -> tuple[tuple, Array]:
        (x, value, gradient), log_alpha = carry
        number, key = inputs
        alpha = jnp.exp(log_alpha)
        move, choose = jr.split(key)
        noise = jr.normal(move, x.shape, x.dtype)
        forward = alpha * gradient + jnp.sqrt(2 * alpha) * noise
        there = (x + forward, *slope(x + forward))
        back = forward + alpha * there[2]
        log_ratio = there[1] - value + _square(noise) / 2 - _square(back) / (4 * alpha)
        chance = jnp.where(jnp.isnan(log_ratio), 0, jnp.exp(jnp.minimum(log_ratio, 0)))
        accept = jr.uniform(choose, chance.shape, chance.dtype) < chance
        here = jax.tree.map(lambda new, old: _choose(accept, new, old), there, (x, *carry[0][1:]))
        share = jnp.mean(chance)
        gain = jnp.where(number < searched, 3 / jnp.sqrt(number.astype(x.dtype) + 1), 0)
        return (here, log_alpha + gain * (share - target)), share

    first = slope(x)
    _check_starts(*first)
    start = ((x, *first), jnp.log(jnp.asarray(step_size, x.dtype)))
    numbered = (jnp.arange(steps), jr.split(key, steps))
    ((x, value, _), log_alpha), shares = jax.lax.scan(step, start, numbered)
    x = _choose(_startable(*first), x, jnp.nan)
    return x, MALAInfo(jnp.mean(shares[searched:]), jnp.exp(log_alpha), value)


def _checked(x: Array | np.ndarray, steps: int, step_size: ScalarLike) -> Array:
    x = jnp.asarray(x)
    require_floating("x", x, "chains move by fractions")
    if not x.ndim:
        raise ValueError(f"`x` must have shape [n, ...], a row a chain; got the number {x}.")
    if not len(x):
        raise ValueError("`x` must hold at least one chain, a row each; got none.")
    if steps < 1:
        raise ValueError(f"`steps` must be at least 1, got {steps}.")
    if not isinstance(step_size, Tracer) and not 0 < np.asarray(step_size) < np.inf:
        raise ValueError(f"`step_size` must be above 0, and finite; got {step_size}.")
    return x


def _startable(value: Float[Array, " n"], slope: Float[Array, "n ..."]) -> Bool[Array, " n"]:
    return jnp.isfinite(value) & jnp.isfinite(slope).all(axis=tuple(range(1, slope.ndim)))


def _check_starts(value: Float[Array, " n"], slope: Float[Array, "n ..."]) -> None:
    good = _startable(value, slope)
    if isinstance(good, Tracer) or bool(good.all()):
        return
    bad = np.flatnonzero(~np.asarray(good))
    rows = ", ".join(map(str, bad[:10])) + ", ..." * (len(bad) > 10)
    raise ValueError(
        f"{len(bad)} of the {len(good)} chains start where the log-density or its slope is not "
        f"finite, and cannot move from there: row {rows} of `x`. The first has the log-density "
        f"{float(value[bad[0]])}. Start within the support, or move on a transformed scale."
    )


def _square(x: Float[Array, "n ..."]) -> Float[Array, " n"]:
    return jnp.sum(jnp.square(x), axis=tuple(range(1, x.ndim)))


def _norm(x: Float[Array, "n ..."]) -> Float[Array, " n"]:
    # The slope of a norm at 0 is taken as 0: chains may start on a mode.
    return jax.vmap(safe_norm)(x)


def _choose(accept: Array, new: Array | float, old: Array | float) -> Array:
    ndim = max(jnp.ndim(new), jnp.ndim(old))
    return jnp.where(accept.reshape(-1, *(1,) * (ndim - 1)), new, old)
