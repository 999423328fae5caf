"""Score matching: fit a score without samples of the model and without its normaliser."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from ._divergence import AbstractDivergence, ExactDivergence


def hyvarinen_objective(
    score: Callable[[Any], Any],
    x: Float[Array, " dim"],
    divergence: AbstractDivergence | None = None,
    probe: PyTree | None = None,
) -> Float[Array, ""]:
    r"""Hyvarinen's objective of score matching, at one point.

    $$ \mathrm{tr} \frac{\partial s}{\partial x}(x) + \tfrac12 \|s(x)\|^2 $$

    Its mean over data of density p is $\tfrac12 \mathrm{E}_p \|s - s_p\|^2$ less a constant of p.
    With `HutchinsonDivergence` it is sliced score matching with the variance of the second term
    taken out.

    Args:
        score: the model's score, from `[dim]` to `[dim]`.
        x: the point; `jax.vmap` a batch and take the mean.
        divergence: how the trace of the Hessian is found; exactly if None.
        probe: the noise of `divergence`, from its `probe`.

    Returns:
        A scalar.

    Raises:
        ValueError: the score has another shape than x.

    Example:
        >>> import jax.numpy as jnp
        >>> float(hyvarinen_objective(lambda x: -x, jnp.array([1.0, 2.0])))
        0.5

    Source: Hyvarinen, Estimation of Non-Normalized Statistical Models by Score Matching, JMLR 6
        (2005), equation 4; Song et al., Sliced Score Matching, arXiv 1905.07088, equation 8.
    """
    value, trace = (ExactDivergence() if divergence is None else divergence)(score, x, probe)
    return trace + jnp.sum(jnp.square(value)) / 2
