"""Derivatives beyond the first.

What is held for the first derivative (a sample, a log-density, a control variate's slope) is not
held for the next: with it held, automatic differentiation gives a second derivative without a word,
and it is another one. Here are the functions whose first derivative is the estimator's, and whose
further ones are those of that estimator: differentiated as it is written, with each held sample
weighted by its likelihood ratio.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree


def beside(value: Array, *trees: PyTree) -> Array:
    """`value`, with the axes that `jax.vmap` maps the arrays of `trees` over.

    JAX gives the result of a function with a derivative of its own the mapped axes of its value;
    where those of the derivative are more, it fails in a compiled map.
    """
    for leaf in jax.tree.leaves(trees):
        value = jnp.where(jnp.any(leaf != 0), value, value)
    return value


@jax.custom_jvp
def likelihood_ratio(log_prob: Float[Array, "..."]) -> Float[Array, "..."]:
    r"""One, with every derivative of $q_\phi(z) / q_{\phi_0}(z)$ at $\phi = \phi_0$.

    Times an integrand at a held sample, its mean has every derivative of the expectation.

    Args:
        log_prob: $\log q_\phi(z)$ of the samples, which are held.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> ratio = lambda mean: likelihood_ratio(-((1.0 - mean) ** 2) / 2)
        >>> ratio(jnp.asarray(0.25)).item(), jax.grad(ratio)(jnp.asarray(0.25)).item()
        (1.0, 0.75)

    Source: Foerster et al., DiCE: The Infinitely Differentiable Monte Carlo Estimator, arXiv
    1802.05098.
    """
    return beside(jnp.ones_like(log_prob), log_prob)


@likelihood_ratio.defjvp
def _likelihood_ratio_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    (log_prob,), (moved,) = primals, tangents
    ratio = likelihood_ratio(log_prob)
    return ratio, ratio * moved


@eqx.filter_custom_jvp
def reweighted(
    values: Float[Array, " n"], log_probs: Float[Array, " n"], gaps: Float[Array, " n"]
) -> Float[Array, " n"]:
    r"""$f + (r - 1) g$ with the likelihood ratio r, which is f exactly, even an infinite one.

    With the gap $g = f - b$, for a baseline b that does not depend on the sample, its mean has
    every derivative of $\mathbb{E}_q[f]$.

    Source: Foerster et al., arXiv 1802.05098; Mao et al., A Baseline for Any Order Gradient
    Estimation in Stochastic Computation Graphs, ICML 2019.
    """
    return beside(values, log_probs, gaps)


@reweighted.def_jvp
def _reweighted_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array | None]:
    values, log_probs, gaps = primals
    moved, scores, widened = tangents
    ratio = likelihood_ratio(log_probs).astype(values.dtype)
    of_scores = None if scores is None else ratio * gaps * scores.astype(values.dtype)
    of_gaps = None if widened is None else (ratio - 1) * widened
    return reweighted(values, log_probs, gaps), _total(moved, of_scores, of_gaps)


@eqx.filter_custom_jvp
def weighted_later(value: Float[Array, ""], log_prob: Float[Array, ""]) -> Float[Array, ""]:
    """`value`, whose derivative is weighted by the likelihood ratio, and which is itself not.

    For a value that gets the first derivative by its sample's distribution from `attach`.
    """
    return beside(value, log_prob)


@weighted_later.def_jvp
def _weighted_later_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array | None]:
    value, log_prob = primals
    moved, _ = tangents
    if moved is not None:
        moved = moved * likelihood_ratio(log_prob).astype(value.dtype)
    return weighted_later(value, log_prob), moved


@eqx.filter_custom_jvp
def attach(value: Float[Array, ""], point: PyTree, slope: PyTree) -> Float[Array, ""]:
    """`value`, with `slope` as its gradient with respect to `point`, added to what it has.

    The second derivative has that of `slope`, so nothing in `slope` may be held that moves.
    """
    return beside(value, point, slope)


@attach.def_jvp
def _attach_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array | None]:
    value, point, slope = primals
    moved, apart, _ = tangents
    product = lambda s, d: None if d is None else jnp.sum(s * d).astype(value.dtype)
    products = jax.tree.map(product, slope, apart)
    return attach(value, point, slope), _total(moved, *jax.tree.leaves(products))


def at_first(f: Callable[[Any, Any], Array], z: Any, q: Any, shares: Array | None = None) -> Array:
    """`f(z, q)`, whose first derivative has q held, and that by z is multiplied by the shares.

    That by what `f` closes over is in it. The second derivative has all three as they are.

    Args:
        f: the integrand.
        z: the sample.
        q: its distribution.
        shares: one for each entry of the first axis of z; None for ones.
    """
    closed = eqx.filter_closure_convert(f, z, q)
    (z, q, witnesses), rest = eqx.partition((z, q, closed), eqx.is_inexact_array)
    z, q = _at_first(z, q, shares, witnesses)
    z, q, _ = eqx.combine((z, q, witnesses), rest)
    return closed(z, q)


@eqx.filter_custom_jvp
def _at_first(z: PyTree, q: PyTree, shares: Array | None, witnesses: PyTree) -> tuple:
    # Whatever is differentiated first is among the arguments, so that the next time the sample and
    # its distribution come as they are.
    return z, q


@_at_first.def_jvp
def _at_first_jvp(primals: tuple, tangents: tuple) -> tuple[tuple, tuple]:
    z, q, shares, _ = primals
    moved, *_ = tangents
    if shares is not None:
        scaled = lambda d: d * shares.reshape(-1, *[1] * (d.ndim - 1)).astype(d.dtype)
        moved = jax.tree.map(scaled, moved)
    return (z, q), (moved, jax.tree.map(lambda _: None, q))


def _total(*parts: Array | None) -> Array | None:
    """The sum of the parts, of which None is zero."""
    there = [part for part in parts if part is not None]
    return sum(there[1:], start=there[0]) if there else None
