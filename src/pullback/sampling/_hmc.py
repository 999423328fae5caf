"""Hamiltonian Monte Carlo on an unnormalised density."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jaxtyping import PRNGKeyArray, PyTree, ScalarLike

from pullback._key import checked_key

from ._chains import ChainInfo, checked_chains, walk


def hmc(
    log_prob: Callable[..., Any],
    x: PyTree,
    *,
    steps: int,
    step_size: ScalarLike,
    leapfrog_steps: int = 10,
    target_accept: float | None = 0.65,
    warmup: int | None = None,
    thin: int | None = None,
    key: PRNGKeyArray,
) -> tuple[PyTree, ChainInfo]:
    r"""Walk far in each proposal, along a path that keeps the energy: a chain a row.

    $$ \dot x = v, \quad \dot v = \nabla \log p(x), \quad v \sim N(0, I), \qquad
       \log r = H(x, v) - H(x^*, v^*), \quad H = \tfrac12 \|v\|^2 - \log p(x) $$

    by so many leapfrog steps of length $\epsilon$, whose error of the energy is of order
    $\epsilon^2$. In the warm-up $\epsilon$ is sought by dual averaging of the share that is
    accepted, of all chains together; after it it is held, and p is kept exactly. Masses are 1:
    bring variables to like scales first. A path that leaves the numbers is refused. On a support
    with ends walk on the line, by `SupportMap`.

    The length of the path, $\epsilon$ times `leapfrog_steps`, is yours to choose: about a quarter
    of the period of the slowest variable, $\pi / 2$ of its standard deviation. Where that is not
    known, or differs from place to place, take the No-U-Turn sampler of BlackJAX or NumPyro.

    Args:
        log_prob: from one point, of the shapes of a row of `x`, to a scalar.
        x: where the chains start, an array `[n, ...]` or a PyTree of such.
        steps: how many proposals, the warm-up among them.
        step_size: $\epsilon$, or where its search begins.
        leapfrog_steps: of each proposal.
        target_accept: the share that should be accepted; None: the step size is held throughout.
        warmup: proposals in which it is sought; None: half of them, or none where it is held.
        thin: keep each chain's point every so many steps after the warm-up, in `ChainInfo.draws`.
        key: a typed PRNG key.

    Returns:
        Where the chains end, as `x`, and a `ChainInfo`. NaN for a chain that starts where its
        log-density or its slope is no number, where that could not be refused because the call is
        being compiled.

    Raises:
        ValueError: `leapfrog_steps` is below 1, or as `mala`.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> def log_prob(x):  # a mean, and a value around it
        ...     return -x["mean"] ** 2 / 2 - jnp.sum((x["value"] - x["mean"]) ** 2) / 2
        >>> start = {"mean": jnp.zeros(2000), "value": jnp.zeros((2000, 3))}
        >>> x, info = hmc(log_prob, start, steps=40, step_size=0.3, key=jax.random.key(0))
        >>> print(x["value"].shape, jnp.var(x["value"]).round(1))
        (2000, 3) 2.0

    Source: Neal, MCMC Using Hamiltonian Dynamics, arXiv 1206.1901; Hoffman and Gelman, The
    No-U-Turn Sampler, arXiv 1111.4246, section 3.2, for the step size.
    """
    key = checked_key(key)
    chains = checked_chains(x, steps, step_size)
    if leapfrog_steps < 1:
        raise ValueError(f"`leapfrog_steps` must be at least 1, got {leapfrog_steps}.")
    return walk(
        log_prob, chains, steps=steps, warmup=warmup, thin=thin,
        size=jnp.asarray(step_size, chains.rows.dtype), leapfrog_steps=leapfrog_steps,
        target_accept=target_accept, key=key,
    )  # fmt: skip
