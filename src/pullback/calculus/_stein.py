"""Stein's operator: what has mean zero under a density that is known up to a factor."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from pullback._in_batches import over_rows
from pullback._key import checked_key

from ._divergence import AbstractDivergence, ExactDivergence


def stein_operator(
    f: Any,
    score: Callable[[Any], Any],
    x: Float[Array, " dim"],
    divergence: AbstractDivergence | None = None,
    probe: PyTree | None = None,
) -> Float[Array, ""]:
    r"""Stein's operator of a density q, applied to a vector field, at one point.

    $$ \mathcal{A}_q f(x) = s_q(x) \cdot f(x) + \mathrm{tr} \frac{\partial f}{\partial x}, \qquad
       s_q = \nabla_x \log q $$

    Its mean under q is zero for every smooth f for which $q f$ vanishes at the boundary; under
    another density p it is $\mathrm{E}_p[(s_q - s_p) \cdot f]$. Only the score of q is needed, so q
    may be unnormalised. On a bounded support $q f$ does not vanish by itself: map the variable to
    the whole line first, for instance by a logit.

    Args:
        f: a field from `[dim]` to `[dim]`; callable, or as `divergence` takes it.
        score: the gradient of log q, from `[dim]` to `[dim]`.
        x: the point; `jax.vmap` a batch.
        divergence: how the trace is found; exactly if None.
        probe: the noise of `divergence`, from its `probe`.

    Returns:
        A scalar.

    Raises:
        ValueError: the field or the score has another shape than x.

    Example:
        The field x and a standard Gaussian: the mean of d - |x|^2 is zero.

        >>> import jax.numpy as jnp
        >>> float(stein_operator(lambda x: x, lambda x: -x, jnp.array([1.0, 2.0])))
        -3.0

    Source: Gorham and Mackey, Measuring Sample Quality with Stein's Method, arXiv 1506.03039;
        Grathwohl et al., Learning the Stein Discrepancy, arXiv 2002.05616, section 2.
    """
    s = score(x)
    if jnp.shape(s) != x.shape:
        raise ValueError(
            f"`score` must give one number for each entry of x, {x.shape}; it gave shape "
            f"{jnp.shape(s)}. Of a log-density take `jax.grad`."
        )
    value, trace = (ExactDivergence() if divergence is None else divergence)(f, x, probe)
    return jnp.vdot(s, value) + trace


class SteinTerms(NamedTuple):
    """Of each point of a batch.

    Attributes:
        operator: $\\mathcal{A}_q f(x)$, `[n]`.
        square: $\\|f(x)\\|^2$, which critics are held down by, `[n]`.
    """

    operator: Float[Array, " n"]
    square: Float[Array, " n"]


def stein_terms(
    f: Any,
    scores: Float[Array, "n dim"],
    x: Float[Array, "n dim"],
    *,
    divergence: AbstractDivergence | None = None,
    batch_size: int | None = None,
    key: PRNGKeyArray | None = None,
) -> SteinTerms:
    r"""Stein's operator on a batch whose scores are known, and the squared field.

    $$ \mathcal{A}_q f(x_i) = s_i \cdot f(x_i) + \mathrm{tr} \frac{\partial f}{\partial x}(x_i),
       \qquad \|f(x_i)\|^2 $$

    Args:
        f: a field from `[dim]` to `[dim]`; callable, or as `divergence` takes it.
        scores: $s_q(x_i)$; found once, they serve every f.
        x: the points.
        divergence: how the trace is found; exactly if None.
        batch_size: the most points that are held in memory at once; None: all.
        key: for a divergence that draws noise, fresh at every point.

    Returns:
        `SteinTerms`, both `[n]`.

    Raises:
        ValueError: the field has another shape than a point, or the divergence lacks its key.

    Example:
        >>> import jax.numpy as jnp
        >>> x = jnp.array([[1.0, 2.0], [0.0, 1.0]])
        >>> stein_terms(lambda x: x, -x, x)
        SteinTerms(operator=Array([-3.,  1.], ...), square=Array([5., 1.], ...))

    Source: Grathwohl et al., arXiv 2002.05616, section 3.
    """
    method = ExactDivergence() if divergence is None else divergence
    keys = None if key is None else jr.split(checked_key(key), len(x))

    def one(point: tuple[Array, Array, Array | None]) -> SteinTerms:
        x, s, key = point
        value, trace = method(f, x, method.probe(x, key=key))
        return SteinTerms(jnp.vdot(s, value) + trace, jnp.sum(jnp.square(value)))

    return over_rows(one, (x, scores, keys), batch_size)
