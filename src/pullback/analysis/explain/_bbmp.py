"""BBMP: one mask between 0 and 1, without chance."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from pullback._key import checked_key
from pullback.analysis.explain._black_box import BlackBox
from pullback.analysis.explain._classifier import refuse_traced
from pullback.analysis.explain._explained import asked, explained
from pullback.analysis.explain._infill import AbstractInfill
from pullback.analysis.explain._saliency import Saliency


def bbmp(
    model: Any,
    x: Float[Array | np.ndarray, "*n C H W"],
    infill: AbstractInfill,
    *,
    target: int | Int[Array | np.ndarray, " n"] | None = None,
    objective: Literal["ssr", "sdr", "joint"] = "sdr",
    grid: tuple[int, int] | None = None,
    size_weight: float | Sequence[float] | Float[Array, " k"] | None = None,
    steps: int = 300,
    learning_rate: float | None = None,
    warmup: int = 0,
    fresh: int = 16,
    progress: bool | None = None,
    key: PRNGKeyArray,
) -> Saliency:
    r"""The region that decides, by one mask of shares instead of a law of masks (BBMP).

    $$ \min_{m \in [0, 1]^U} \pm s_c\big(m\, x + (1 - m)\, \hat x\big) + \lambda \sum_u m_u
       \text{ or } \lambda \sum_u (1 - m_u) $$

    It starts where all is kept. Half of a pixel is an image that no classifier was trained on, and
    such a mask can fool it; `fido` asks at whole pixels. This is what to compare with.

    Args:
        model: as for `fido`; a black box must have `value_and_grad`.
        x: as for `fido`, and so are all that are not listed here.
        infill: as for `fido`, at the mask rounded to 0 and 1.
        target: as for `fido`.
        objective: as for `fido`.
        grid: as for `fido`; a coarse one makes the mask smooth.
        size_weight: as for `fido`.
        steps: of Adam, one image each.
        learning_rate: decayed to 0 linearly. None: 15 / steps.
        warmup: as for `fido`.
        fresh: as for `fido`.
        progress: as for `fido`.
        key: a random key, for an infill that draws.

    Returns:
        A `Saliency`, whose `keep_probability` is the mask.

    Raises:
        TypeError: as `fido`.
        ValueError: as `fido`, or the model has no gradients.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from pullback.analysis.explain import ConstantInfill
        >>> def logits(x):  # the first pixel alone speaks for class 1
        ...     return jnp.stack([0 * x[0, 0, 0], 4 * x[0, 0, 0]])
        >>> found = bbmp(logits, jnp.ones((1, 1, 3)), ConstantInfill(0.0), size_weight=0.5,
        ...              key=jax.random.key(0))
        >>> print(found.map.round(1))
        [[1. 0. 0.]]

    Source: Fong and Vedaldi, Interpretable Explanations of Black Boxes by Meaningful Perturbation,
    arXiv 1704.03296, section 4; as the baseline of Chang et al., arXiv 1807.08024.
    """
    key = checked_key(key)
    refuse_traced((x, infill, target, size_weight, key))
    question = asked(
        model, x, infill, target=target, objective=objective, grid=grid, size_weight=size_weight,
        fresh=fresh, steps=steps, samples=1,
    )  # fmt: skip
    if isinstance(question.model, BlackBox) and question.model.gradient is None:
        raise ValueError(
            "`bbmp` needs gradients, and `model` is a black box without: take `fido`, or give "
            "`classifier(model, value_and_grad=...)`."
        )
    search = question.search(
        estimator=None, noise="coarse", steps=steps, samples=1,
        learning_rate=15 / steps if learning_rate is None else learning_rate, warmup=warmup,
    )  # fmt: skip
    return explained(search, question, progress=progress, key=key)
