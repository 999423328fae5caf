"""FIDO: the mask that decides, with what was removed filled in."""

from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from pullback._key import checked_key
from pullback.analysis.explain._classifier import refuse_traced
from pullback.analysis.explain._explained import asked, explained
from pullback.analysis.explain._infill import AbstractInfill
from pullback.analysis.explain._saliency import Saliency
from pullback.analysis.explain._search import Noise
from pullback.sampling import AbstractEstimator


def fido(
    model: Any,
    x: Float[Array | np.ndarray, "*n C H W"],
    infill: AbstractInfill,
    *,
    target: int | Int[Array | np.ndarray, " n"] | None = None,
    objective: Literal["ssr", "sdr", "joint"] = "ssr",
    grid: tuple[int, int] | None = None,
    size_weight: float | Sequence[float] | Float[Array, " k"] | None = None,
    steps: int = 300,
    samples: int = 8,
    estimator: AbstractEstimator | None = None,
    noise: Noise = "coarse",
    learning_rate: float | None = None,
    warmup: int = 0,
    fresh: int = 16,
    progress: bool | None = None,
    key: PRNGKeyArray,
) -> Saliency:
    r"""Which part of an image decides its class, what is removed being filled in (FIDO).

    Each pixel is kept with a probability p of its own, $z_u \sim \mathrm{Bernoulli}(p_u)$, and the
    p are sought by gradient descent,

    $$ \text{SSR: } \min_p \mathbb{E}_z[-s_c(\phi(z))] + \lambda \sum_u p_u, \qquad
       \text{SDR: } \min_p \mathbb{E}_z[s_c(\phi(z))] + \lambda \sum_u (1 - p_u), \qquad
       \phi(z) = z\, x + (1 - z)\, \hat x(z) $$

    with s the log-odds of `classifier` and $\hat x$ a background of `infill`: the smallest region
    that is sufficient for the class, and the smallest whose removal destroys it. `joint` seeks both
    and is high where they agree. All images, weights and both searches are one program, which
    reports to the host only where a bar is shown.

    Args:
        model: what `classifier` takes, or made by it.
        x: an image `[C, H, W]`, or several `[n, C, H, W]`.
        infill: what stands in for removed pixels, such as `GaussianInfill.fit(images)`.
        target: the class, one for all images or one each. None: that which the model predicts.
        objective: "ssr", "sdr" or "joint".
        grid: rows and columns of the mask, which is enlarged linearly. None: one for each pixel.
        size_weight: $\lambda$: how many nats of log-odds a pixel must be worth. Several give a
            curve. None: 10 over the number of pixels.
        steps: of gradient descent.
        samples: masks a step; they share the draw of the infill. 2 or more for
            `ScoreFunction("leave_one_out")`.
        estimator: of the gradient, of `pullback.sampling`. None: `GumbelSoftmax(0.1)`, masks nearly
            0 or 1, whose gradient takes the background as given; for a black box
            `ScoreFunction("leave_one_out")`, which needs no gradient, misses none of what a pixel
            tells the infill, and is noisier.
        noise: on a grid: "coarse" draws masks on the grid and enlarges these, "fine" enlarges the
            probabilities and draws each pixel, as the paper does.
        learning_rate: of Adam, decayed to 0 linearly. None: 60 / steps.
        warmup: steps over which $\lambda$ rises from 0; the paper's are a tenth, at a learning rate
            of 15 / steps. At a high rate pixels run away while it is low.
        fresh: infills under which the regions that were found are scored.
        progress: show a bar on stderr. None: where stderr is a terminal.
        key: a random key, of which each of several images gets a part by its place: beside others
            an image has another map, within the noise that another key shows.

    Returns:
        A `Saliency`.

    Raises:
        TypeError: `model`, `infill`, `estimator` or `x` is none, or it is called inside of
            `jax.jit` or `jax.vmap`: it searches on the host.
        ValueError: an argument does not fit, or the model gives what is no classification; the
            message says which and what to do.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from pullback.analysis.explain import ConstantInfill
        >>> def logits(x):  # the first pixel alone speaks for class 1
        ...     return jnp.stack([0 * x[0, 0, 0], 4 * x[0, 0, 0]])
        >>> found = fido(logits, jnp.ones((1, 1, 3)), ConstantInfill(0.0), size_weight=0.5,
        ...              key=jax.random.key(0))
        >>> print(found.map.round(1), found.target, f"{found.area:.2f}")
        [[1. 0. 0.]] 1 0.33

    Source: Chang, Creager, Goldenberg and Duvenaud, Explaining Image Classifiers by Counterfactual
    Generation, arXiv 1807.08024, sections 2 and 3; the joint map and masks on the grid: Korsch et
    al., Simplified Concrete Dropout, arXiv 2307.14825.
    """
    key = checked_key(key)
    refuse_traced((x, infill, target, size_weight, key))
    question = asked(
        model, x, infill, target=target, objective=objective, grid=grid, size_weight=size_weight,
        fresh=fresh, steps=steps, samples=samples,
    )  # fmt: skip
    if noise not in get_args(Noise):
        raise ValueError(f"`noise` must be 'coarse' or 'fine', got {noise!r}.")
    search = question.search(
        estimator=question.checked_estimator(estimator), noise=noise, steps=steps,
        samples=samples, learning_rate=learning_rate, warmup=warmup,
    )  # fmt: skip
    return explained(search, question, progress=progress, key=key)
