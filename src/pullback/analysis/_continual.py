"""What learning one task after another has cost, and gained."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float

from pullback._floating import at_least_float32


class ContinualMetrics(NamedTuple):
    """What one matrix of accuracies says.

    Attributes:
        average: over all tasks, after the last one.
        learned: of each task just after it was learned, on average.
        forgetting: by how much the earlier tasks have fallen below their best, on average.
        backward_transfer: what they gained since they were learned, on average; below 0 where they
            were forgotten.
        forward_transfer: what tasks gain by those before them, before they are learned, on average.
            None where nothing is known of the untrained model.
    """

    average: Float[Array, ""]
    learned: Float[Array, ""]
    forgetting: Float[Array, ""]
    backward_transfer: Float[Array, ""]
    forward_transfer: Float[Array, ""] | None


def continual_metrics(
    accuracy: Float[Array | np.ndarray, "tasks tasks"],
    *,
    before: Float[Array | np.ndarray, " tasks"] | None = None,
) -> ContinualMetrics:
    r"""Average accuracy, forgetting and transfer, of $R_{ij}$, task j's accuracy after task i.

    $$ \text{average} = \frac1T \sum_j R_{Tj}, \qquad
       \text{forgetting} = \frac{1}{T-1} \sum_{j<T} \big(\max_{j \le i < T} R_{ij} - R_{Tj}\big) $$

    $$ \text{backward} = \frac{1}{T-1} \sum_{j<T} (R_{Tj} - R_{jj}), \qquad
       \text{forward} = \frac{1}{T-1} \sum_{j>1} (R_{j-1,j} - b_j) $$

    It is of one run. What `fit_tasks` measured on several has them along the last axis:
    `jax.vmap(continual_metrics, in_axes=-1)(info.metrics)`.

    With one task nothing is forgotten nor gained: all but `average` and `learned` are 0.

    Args:
        accuracy: $R$, a row after each task and a column for each; or any other score of which more
            is better.
        before: $b$, the same of the untrained model.

    Raises:
        ValueError: `accuracy` is not square or `before` not of as many tasks; a number is not
            finite, where the call is not being compiled.

    Example:
        >>> import jax.numpy as jnp
        >>> found = continual_metrics(jnp.asarray([[0.9, 0.1], [0.5, 0.8]]))
        >>> print(f"{found.average:.2f} {found.forgetting:.2f} {found.backward_transfer:.2f}")
        0.65 0.40 -0.40

    Source: Lopez-Paz and Ranzato, Gradient Episodic Memory, arXiv 1706.08840, section 2; of
        forgetting, Chaudhry et al., Riemannian Walk, arXiv 1801.10112, section 3.1.
    """
    r = _checked("accuracy", accuracy)
    t = r.shape[0]
    if r.ndim != 2 or r.shape[1] != t or t == 0:
        raise ValueError(
            "`accuracy` must have a row after each task and a column for each task, so be square; "
            f"got shape {r.shape}. Of several runs, along the last axis: "
            "`jax.vmap(continual_metrics, in_axes=-1)`."
        )
    learned, last = jnp.diagonal(r), r[-1, :-1]
    mean = lambda x: jnp.mean(x) if x.size else jnp.zeros((), r.dtype)
    # A task is not forgotten before it has been learned.
    since = jnp.where(jnp.tril(jnp.ones((t, t), bool)), r, -jnp.inf)
    best = jnp.max(since[:-1, :-1], axis=0) if t > 1 else last
    forward = None
    if before is not None:
        b = _checked("before", before).astype(r.dtype)
        if b.shape != (t,):
            raise ValueError(f"`before` must have one number for each of {t} tasks, got {b.shape}.")
        forward = mean(jnp.diagonal(r, offset=1) - b[1:])
    return ContinualMetrics(
        jnp.mean(r[-1]), jnp.mean(learned), mean(best - last), mean(last - learned[:-1]), forward
    )


def _checked(name: str, given: Array | np.ndarray) -> Array:
    found = jnp.asarray(given)
    if not jnp.issubdtype(found.dtype, jnp.floating):
        found = found.astype(jnp.result_type(float))
    if not isinstance(found, Tracer) and not bool(jnp.all(jnp.isfinite(found))):
        raise ValueError(f"`{name}` must be finite: it has a NaN, as of a task not yet measured.")
    return found.astype(at_least_float32(found.dtype))
