"""Langevin dynamics on an unnormalised density, plain and corrected."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray, ScalarLike


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
    x: Float[Array, "n ..."],
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
        Where the chains end, `[n, ...]`, and a `LangevinInfo`.

    Raises:
        ValueError: `steps` is below 1, `step_size` is not above 0 or `noise` is negative.

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
    _check(steps, step_size)
    if isinstance(noise, int | float) and not noise >= 0:
        raise ValueError(f"`noise` must be 0 or more, got {noise}.")
    alpha = jnp.asarray(step_size, x.dtype)
    scale = jnp.sqrt(2 * alpha) if noise is None else jnp.asarray(noise, x.dtype)
    slope = jax.vmap(jax.value_and_grad(log_prob))

    def step(x: Array, key: Array) -> tuple[Array, LangevinInfo]:
        value, gradient = slope(x)
        seen = LangevinInfo(jnp.mean(value), jnp.mean(_norm(gradient)))
        return x + alpha * gradient + scale * jr.normal(key, x.shape, x.dtype), seen

    return jax.lax.scan(step, x, jr.split(key, steps))


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
    x: Float[Array, "n ..."],
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
        Where the chains end, `[n, ...]`, and a `MALAInfo`.

    Raises:
        ValueError: `steps` is below 1, `step_size` is not above 0, or `target_accept` is not
            between 0 and 1.

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
    _check(steps, step_size)
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

    start = ((x, *slope(x)), jnp.log(jnp.asarray(step_size, x.dtype)))
    numbered = (jnp.arange(steps), jr.split(key, steps))
    ((x, value, _), log_alpha), shares = jax.lax.scan(step, start, numbered)
    return x, MALAInfo(jnp.mean(shares[searched:]), jnp.exp(log_alpha), value)


def _check(steps: int, step_size: ScalarLike) -> None:
    if steps < 1:
        raise ValueError(f"`steps` must be at least 1, got {steps}.")
    if isinstance(step_size, int | float) and not step_size > 0:
        raise ValueError(f"`step_size` must be above 0, got {step_size}.")


def _square(x: Float[Array, "n ..."]) -> Float[Array, " n"]:
    return jnp.sum(jnp.square(x), axis=tuple(range(1, x.ndim)))


def _norm(x: Float[Array, "n ..."]) -> Float[Array, " n"]:
    return jnp.sqrt(_square(x))


def _choose(accept: Array, new: Array, old: Array) -> Array:
    return jnp.where(accept.reshape(-1, *(1,) * (new.ndim - 1)), new, old)
