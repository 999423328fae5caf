"""Langevin dynamics on an unnormalised density, plain and corrected."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, PRNGKeyArray, PyTree, ScalarLike

from pullback._hamiltonian import standard_noise
from pullback._key import checked_key
from pullback._power_method import safe_norm

from ._chains import ChainInfo, check_starts, checked_chains, walk


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
    x: PyTree,
    *,
    steps: int,
    step_size: ScalarLike,
    noise: ScalarLike | None = None,
    key: PRNGKeyArray,
) -> tuple[PyTree, LangevinInfo]:
    r"""Move each row along the slope of a log-density, with noise: a chain a row.

    $$ x' = x + \alpha \nabla \log p(x) + s\, \epsilon, \qquad \epsilon \sim N(0, I) $$

    With $s = \sqrt{2 \alpha}$ the chains go to p, but for an error of the order of $\alpha$: of
    N(0, 1) the variance becomes $1 / (1 - \alpha / 2)$. With less noise they go to the cooled
    $p^{1/T}$ of temperature $T = s^2 / (2 \alpha)$, which is what energy-based models are often
    trained with: $\alpha = 1$, $s = 0.01$ is a temperature of 5e-5, next to plain ascent.

    Gradients flow through the steps; where they must not, `jax.lax.stop_gradient` the result.

    Args:
        log_prob: from one point, of the shapes of a row of `x`, to a scalar.
        x: where the chains start, an array `[n, ...]` or a PyTree of such.
        steps: how many.
        step_size: $\alpha$.
        noise: s; $\sqrt{2 \alpha}$ if None.
        key: a typed PRNG key.

    Returns:
        Where the chains end, as `x`, and a `LangevinInfo`. NaN for a chain that starts where
        its log-density is no number, where that could not be refused because the call is being
        compiled.

    Raises:
        ValueError: `steps` is below 1, `step_size` is not above 0, `noise` is negative, `x` holds
            whole numbers, no chain, or arrays that do not go together, or chains start where the
            log-density or its slope is not finite; the message says which.

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
    chains = checked_chains(x, steps, step_size)
    if not isinstance(noise, Tracer | None) and not 0 <= np.asarray(noise) < np.inf:
        raise ValueError(f"`noise` must be 0 or more, and finite; got {noise}.")
    rows = chains.rows
    alpha = jnp.asarray(step_size, rows.dtype)
    scale = jnp.sqrt(2 * alpha) if noise is None else jnp.asarray(noise, rows.dtype)
    look = jax.vmap(chains.value_and_slope(log_prob))

    def step(rows: Array, inputs: tuple[Array, Array]) -> tuple[Array, LangevinInfo]:
        number, key = inputs
        value, slope = look(rows)
        seen = LangevinInfo(jnp.mean(value), jnp.mean(_norm(slope)))
        moved = rows + alpha * slope + scale * standard_noise(key, rows.shape, rows.dtype)
        lost = (number == 0) & ~jnp.isfinite(value)
        return jnp.where(lost[:, None], jnp.nan, moved), seen

    end, info = jax.lax.scan(step, rows, (jnp.arange(steps), jr.split(key, steps)))
    met = info.log_prob[0] + info.grad_norm[0]
    if not isinstance(met, Tracer) and not bool(jnp.isfinite(met)):
        check_starts(*look(rows))
    return chains.back(end), info


def mala(
    log_prob: Callable[..., Any],
    x: PyTree,
    *,
    steps: int,
    step_size: ScalarLike,
    target_accept: float | None = 0.57,
    warmup: int | None = None,
    thin: int | None = None,
    key: PRNGKeyArray,
) -> tuple[PyTree, ChainInfo]:
    r"""Langevin steps that may be refused, so that the chains go to p itself: a chain a row.

    $$ x^* = x + \alpha \nabla \log p(x) + \sqrt{2 \alpha}\, \epsilon, \qquad
       \log r = \log \frac{p(x^*)\, q(x | x^*)}{p(x)\, q(x^* | x)} $$

    It is `hmc` of one leap. In the warm-up the step size is sought by dual averaging of the share
    that is accepted, of all chains together; after it the step size is held, and p is kept exactly.
    A proposal whose density is not a number is refused.

    Args:
        log_prob: from one point, of the shapes of a row of `x`, to a scalar.
        x: where the chains start, an array `[n, ...]` or a PyTree of such.
        steps: how many, the warm-up among them.
        step_size: $\alpha$, or where its search begins.
        target_accept: the share that should be accepted; None: the step size is held throughout.
        warmup: steps in which it is sought; None: half of them, or none where it is held.
        thin: keep each chain's point every so many steps after the warm-up, in `ChainInfo.draws`.
        key: a typed PRNG key.

    Returns:
        Where the chains end, as `x`, and a `ChainInfo`. NaN for a chain that starts where its
        log-density or its slope is no number, and which could never move, where that could not be
        refused because the call is being compiled.

    Raises:
        ValueError: `steps` is below 1, `step_size` is not above 0, `target_accept` is not between
            0 and 1, `warmup` or `thin` leaves no step, `x` holds whole numbers, no chain, or arrays
            that do not go together, or chains start where the log-density or its slope is not
            finite; the message says which.

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
    chains = checked_chains(x, steps, step_size)
    size = jnp.sqrt(2 * jnp.asarray(step_size, chains.rows.dtype))
    end, info = walk(
        log_prob, chains, steps=steps, warmup=warmup, thin=thin, size=size, leapfrog_steps=1,
        target_accept=target_accept, key=key,
    )  # fmt: skip
    return end, info._replace(step_size=jnp.square(info.step_size) / 2)


def _norm(x: Float[Array, "n d"]) -> Float[Array, " n"]:
    # The slope of a norm at 0 is taken as 0: chains may start on a mode.
    return jax.vmap(safe_norm)(x)
