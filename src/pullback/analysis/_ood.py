"""Whether an input is of the kind that a classifier was trained on."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from pullback._floating import at_least_float32, require_floating
from pullback._power_method import safe_norm
from pullback.analysis._chunks import over_chunks


class OODScores(NamedTuple):
    r"""Three scores of each input; larger is more like the training data.

    Attributes:
        log_density: $\log \sum_y e^{f(x)_y}$, which is $\log p(x)$ of a JEM but for a constant.
        max_prob: $\max_y p(y | x)$.
        slope: $-\|\nabla_x \log p(x)\|$: a point that is typical lies where the density is flat,
            while a point of high density in a region of little mass does not.
    """

    log_density: Float[Array, " n"]
    max_prob: Float[Array, " n"]
    slope: Float[Array, " n"]


def ood_scores(
    logits: Callable[..., Any],
    x: Float[Array | np.ndarray, "n ..."],
    *,
    batch_size: int | None = None,
    progress: bool | None = False,
) -> OODScores:
    r"""Scores of inputs by a classifier, of which some may be unlike what it has seen.

    $$ \log \sum_y e^{f(x)_y}, \qquad \max_y p(y|x), \qquad
       -\| \nabla_x \log \sum_y e^{f(x)_y} \| $$

    The classifier need not have been trained as a density: of a plain one the first score is the
    energy score that is taken after the fact, and a JEM's logits make it mean something.

    Args:
        logits: from one input to its logits `[K]`, such as `JEM.logits`.
        x: inputs, `[n, ...]`.
        batch_size: how many at a time; None: all.
        progress: show a bar on stderr. None: where stderr is a terminal.

    Returns:
        The three scores, `[n]` each.

    Raises:
        ValueError: there are no inputs, they are whole numbers, or `batch_size` is below 1.

    Example:
        >>> import jax.numpy as jnp
        >>> logits = lambda x: jnp.array([0.0, 0.0]) - jnp.sum(x**2) / 2
        >>> scores = ood_scores(logits, jnp.array([[0.0], [3.0]]))
        >>> (scores.log_density - scores.log_density[0]).tolist(), scores.slope.tolist()
        ([0.0, -4.5], [-0.0, -3.0])

    Source: Grathwohl et al., arXiv 1912.03263, section 5.3; Liu et al., Energy-based
    Out-of-distribution Detection, arXiv 2010.03759, for a plain classifier.
    """
    require_floating("x", jnp.asarray(x), "scale images as the classifier was trained on them")
    return over_chunks(
        _scores, logits, data=(x,), batch_size=batch_size, progress=progress, what="scores"
    )


def _scores(logits: Callable[..., Any], x: Float[Array, "n ..."]) -> OODScores:
    def one(x: Array) -> OODScores:
        def log_density(x: Array) -> tuple[Array, Array]:
            found = logits(x)
            return jax.nn.logsumexp(found), jnp.max(jax.nn.softmax(found))

        (value, prob), gradient = jax.value_and_grad(log_density, has_aux=True)(x)
        size = safe_norm(gradient.astype(at_least_float32(gradient.dtype)))
        return OODScores(value, prob, -size.astype(gradient.dtype))

    return jax.vmap(one)(x)


def auroc(
    inside: Float[Array | np.ndarray, " n"] | Sequence[float],
    outside: Float[Array | np.ndarray, " m"] | Sequence[float],
) -> float:
    r"""How well a score tells inside from outside: the area under the curve of the receiver.

    $$ P(s_\text{inside} > s_\text{outside}) + \tfrac12 P(s_\text{inside} = s_\text{outside}) $$

    Args:
        inside: scores that should be large, `[n]`.
        outside: scores that should be small, `[m]`.

    Returns:
        1: all of them larger; 0.5: no better than chance; 0: always wrong, as a density that
        prefers what it has not seen.

    Raises:
        ValueError: there are no scores, or a score is NaN.

    Example:
        >>> auroc([2.0, 3.0], [1.0, 2.5])
        0.75
    """
    from sklearn.metrics import roc_auc_score

    parts = [np.asarray(inside, np.float64), np.asarray(outside, np.float64)]
    for name, part in zip(("inside", "outside"), parts, strict=True):
        if part.ndim != 1 or not len(part) or np.isnan(part).any():
            raise ValueError(
                f"`{name}` must be scores [n], n at least 1 and none of them NaN; got the shape "
                f"{part.shape} with {int(np.isnan(part).sum())} NaN."
            )
    truth = np.repeat([1, 0], [len(part) for part in parts])
    # Infinite scores have an order, which is all that counts here.
    scores = np.unique(np.concatenate(parts), return_inverse=True)[1]
    return float(roc_auc_score(truth, scores))
