"""How good a map is, by what the classifier says once pixels are taken in its order."""

import numbers
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from pullback._inputs import positive
from pullback._key import checked_key
from pullback.analysis.explain._classifier import (
    as_classifier,
    asked_first,
    checked_images,
    refuse_traced,
    steady_predictions,
)
from pullback.analysis.explain._explained import checked_target
from pullback.analysis.explain._fresh import judge, mean_and_error
from pullback.analysis.explain._infill import AbstractInfill, checked_infill

Map = Float[Array | np.ndarray, "H W"]


class Curve(eqx.Module):
    """Log-odds of a class as pixels go or come in the order of a map.

    Attributes:
        share: of the pixels that were removed, or kept, from 0 to 1.
        log_odds: at each share, the mean over infills.
        standard_error: of that mean; 0 for an infill that is always the same, and NaN of a single
            draw.
        area: under the curve, the mean log-odds over all shares.
        evaluations: how many images the classifier was given.
    """

    share: Float[Array, " points"]
    log_odds: Float[Array, " points"]
    standard_error: Float[Array, " points"]
    area: Float[Array, ""]
    evaluations: int = eqx.field(static=True)


def deletion_curve(
    model: Any,
    x: Float[Array | np.ndarray, "C H W"],
    map: Map,
    infill: AbstractInfill,
    *,
    target: int | Int[Array, ""] | None = None,
    points: int = 20,
    fresh: int = 8,
    key: PRNGKeyArray,
) -> Curve:
    r"""Log-odds as the pixels that matter most are removed first; a good map makes it fall fast.

    $$ s_c\big(z_k\, x + (1 - z_k)\, \hat x\big), \qquad z_k = 0 \text{ at the } k \text{ pixels of
       the highest map} $$

    Pixels of the same value go in random order. An infill that differs from what a map was found
    with says whether the map is about the image or about that infill.

    Args:
        model: what `classifier` takes, or made by it.
        x: the image, `[C, H, W]`.
        map: high where a pixel matters, `[H, W]`, such as that of a `Saliency`.
        infill: what stands in for removed pixels.
        target: the class. None: that which the model predicts.
        points: steps from none to all.
        fresh: draws of the infill, the same ones at all points.
        key: a random key.

    Returns:
        A `Curve` of `points + 1` shares.

    Raises:
        TypeError: `model`, `infill` or `x` is none, or it is called inside of `jax.jit` or
            `jax.vmap`.
        ValueError: an argument does not fit; the message says which.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from pullback.analysis.explain import ConstantInfill
        >>> def logits(x):
        ...     return jnp.stack([0 * x[0, 0, 0], 4 * x[0, 0, 0]])
        >>> curve = deletion_curve(logits, jnp.ones((1, 1, 2)), jnp.array([[0.9, 0.1]]),
        ...                        ConstantInfill(0.0), points=2, key=jax.random.key(0))
        >>> print(curve.log_odds)
        [4. 0. 0.]

    Source: Samek et al., Evaluating the Visualization of What a Deep Neural Network Has Learned,
    arXiv 1509.06321; Chang et al., arXiv 1807.08024, section 4.
    """
    key = checked_key(key)
    return _curve(
        model, x, map, infill, target=target, points=points, fresh=fresh, keep=False, key=key
    )


def insertion_curve(
    model: Any,
    x: Float[Array | np.ndarray, "C H W"],
    map: Map,
    infill: AbstractInfill,
    *,
    target: int | Int[Array, ""] | None = None,
    points: int = 20,
    fresh: int = 8,
    key: PRNGKeyArray,
) -> Curve:
    """Log-odds as the pixels that matter most come first; a good map makes it rise fast.

    Args:
        model: as for `deletion_curve`, and so are the others.
        x: the image, `[C, H, W]`.
        map: high where a pixel matters, `[H, W]`.
        infill: what stands in for pixels that are not yet there.
        target: the class. None: that which the model predicts.
        points: steps from none to all.
        fresh: draws of the infill.
        key: a random key.

    Returns:
        A `Curve` of `points + 1` shares.

    Raises:
        TypeError: as `deletion_curve`.
        ValueError: as `deletion_curve`.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from pullback.analysis.explain import ConstantInfill
        >>> def logits(x):
        ...     return jnp.stack([0 * x[0, 0, 0], 4 * x[0, 0, 0]])
        >>> curve = insertion_curve(logits, jnp.ones((1, 1, 2)), jnp.array([[0.9, 0.1]]),
        ...                         ConstantInfill(0.0), points=2, key=jax.random.key(0))
        >>> print(curve.log_odds)
        [0. 4. 4.]

    Source: Petsiuk, Das and Saenko, RISE, arXiv 1806.07421, section 4.
    """
    key = checked_key(key)
    return _curve(
        model, x, map, infill, target=target, points=points, fresh=fresh, keep=True, key=key
    )


def localisation(
    map: Map,
    truth: Bool[Array | np.ndarray, "H W"] | tuple[int, int, int, int],
    *,
    threshold: float = 0.5,
) -> Float[Array, ""]:
    """How well the tight box around a map fits the box of an object: intersection over union.

    Usual errors are the share of images where it is below 1/2. For rows of a table, or truths of
    another shape than a box, compare maps and truths by ranks instead.

    Args:
        map: high where a pixel matters, `[H, W]`.
        truth: the object's box, (top, left, bottom, right), the last two not of it; or its pixels.
        threshold: above which a pixel belongs to the map's box.

    Returns:
        From 0 to 1; 0 where nothing is above `threshold`.

    Raises:
        ValueError: `truth` is no box inside the image, or has another shape than `map`, or is
            empty; `threshold` is no number.

    Example:
        >>> import jax.numpy as jnp
        >>> map = jnp.zeros((4, 4)).at[1:3, 1:4].set(0.9)
        >>> print(f"{localisation(map, (1, 1, 3, 3)):.2f}")
        0.67

    Source: Chang et al., arXiv 1807.08024, section 4 (weakly supervised localisation).
    """
    map = _checked_map(map)
    _check_threshold(threshold)
    height, width = map.shape
    if isinstance(truth, tuple):
        if len(truth) != 4 or not all(isinstance(edge, numbers.Integral) for edge in truth):
            raise ValueError(
                "`truth` must be a box of four whole numbers, (top, left, bottom, right), got "
                f"{truth!r}."
            )
        top, left, bottom, right = truth
        if not (0 <= top < bottom <= height and 0 <= left < right <= width):
            raise ValueError(
                f"`truth` must be a box (top, left, bottom, right) inside of {[height, width]}, "
                f"with 0 <= top < bottom and 0 <= left < right; got {truth}."
            )
        there = np.zeros((height, width), bool)
        there[top:bottom, left:right] = True
    else:
        if np.shape(truth) != map.shape or np.asarray(truth).dtype != bool:
            raise ValueError(
                "`truth` must be a tuple, (top, left, bottom, right), or the object's pixels as "
                f"booleans {list(map.shape)}; got {np.asarray(truth).dtype} "
                f"{list(np.shape(truth))}."
            )
        if not np.any(truth):
            raise ValueError("`truth` has no pixel of an object.")
        there = np.asarray(truth)
    ours, theirs = _box(map > threshold), _box(jnp.asarray(there))
    both = jnp.sum(ours & theirs)
    return (both / jnp.sum(ours | theirs)).astype(map.dtype)


def saliency_metric(
    model: Any,
    x: Float[Array | np.ndarray, "C H W"],
    map: Map,
    infill: AbstractInfill,
    *,
    target: int | Int[Array, ""] | None = None,
    threshold: float = 0.5,
    fresh: int = 8,
    key: PRNGKeyArray,
) -> Float[Array, ""]:
    r"""How small a box still shows the class; lower is better.

    $$ \log \max(a, 0.05) - \log p_c(x \text{ inside the tight box around the map}) $$

    with a the share of the image in the box. What lies outside is filled in, and the mean of
    $\log p$ over fresh infills taken; the original enlarges the box instead, which is to show the
    classifier an image of another scale.

    Args:
        model: what `classifier` takes, or made by it.
        x: the image, `[C, H, W]`.
        map: high where a pixel matters, `[H, W]`.
        infill: what stands outside of the box.
        target: the class. None: that which the model predicts.
        threshold: above which a pixel belongs to the box.
        fresh: draws of the infill.
        key: a random key.

    Returns:
        A scalar.

    Raises:
        TypeError: as `deletion_curve`.
        ValueError: as `deletion_curve`.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from pullback.analysis.explain import ConstantInfill
        >>> def logits(x):
        ...     return jnp.stack([0 * x[0, 0, 0], 4 * x[0, 0, 0]])
        >>> found = saliency_metric(logits, jnp.ones((1, 1, 2)), jnp.array([[0.9, 0.1]]),
        ...                         ConstantInfill(0.0), key=jax.random.key(0))
        >>> print(f"{found:.3f}")  # log 1/2 + log(1 + exp(-4))
        -0.675

    Source: Dabkowski and Gal, Real Time Image Saliency for Black Box Classifiers, arXiv 1705.07857,
    section 3.
    """
    key = checked_key(key)
    refuse_traced((x, map, infill, target, key))
    called, x, map, found = _asked(model, x, map, infill, target)
    positive(fresh=fresh)
    _check_threshold(threshold)
    box = _box(map > threshold)
    keys = jr.split(key, fresh if infill.stochastic else 1)
    values = judge(called, infill)(x, box[None].astype(x.dtype), found, keys)
    area = max(float(jnp.mean(box)), 0.05)
    return jnp.asarray(np.log(area) - np.mean(jax.nn.log_sigmoid(values)), x.dtype)


def _curve(
    model: Any, x: Any, map: Any, infill: Any, *, target: Any, points: int, fresh: int, keep: bool,
    key: PRNGKeyArray,
) -> Curve:  # fmt: skip
    refuse_traced((x, map, infill, target, key))
    of_ties, of_infill = jr.split(key)
    called, x, map, found = _asked(model, x, map, infill, target)
    positive(points=points, fresh=fresh)
    size = map.size
    order = np.lexsort((np.asarray(jr.uniform(of_ties, (size,))), -np.asarray(map).ravel()))
    rank = np.empty(size, int)
    rank[order] = np.arange(size)
    counts = np.round(np.linspace(0, size, points + 1)).astype(int)
    taken = (rank[None] < counts[:, None]).reshape(-1, *map.shape)
    keys = jr.split(of_infill, fresh if infill.stochastic else 1)
    keeps = jnp.asarray(taken if keep else ~taken, x.dtype)
    values = judge(called, infill)(x, keeps, found, keys)
    mean, error = mean_and_error(values, infill)
    share = counts / size
    area = np.trapezoid(mean, share)
    as_x = lambda a: jnp.asarray(np.asarray(a, x.dtype))
    return Curve(
        as_x(share), as_x(mean), as_x(error), as_x(area),
        evaluations=asked_first(called) + int(values.size),
    )  # fmt: skip


def _asked(model: Any, x: Any, map: Any, infill: Any, target: Any) -> tuple[Any, Array, Array, Any]:
    """The classifier, the image, the map and the class, if they fit together."""
    reader = as_classifier(model)
    x = checked_images(x, one=True)
    checked_infill(infill, jax.ShapeDtypeStruct(x.shape, x.dtype))
    map = _checked_map(map)
    if map.shape != x.shape[1:]:
        raise ValueError(
            f"`map` must have the rows and columns of `x`, {list(x.shape[1:])}; got "
            f"{list(map.shape)}."
        )
    called = reader.of(x)
    found = checked_target(target, steady_predictions(called, x[None]))
    return called, x, map, jnp.asarray(found[0])


def _checked_map(map: Any) -> Array:
    if np.ndim(map) != 2:
        raise ValueError(
            f"`map` must be of one image, [H, W]; got the shape {list(np.shape(map))}."
        )
    map = jnp.asarray(map)
    if not jnp.issubdtype(map.dtype, jnp.floating):
        map = map.astype(float)
    if not isinstance(map, jax.core.Tracer) and not np.isfinite(np.asarray(map)).all():
        raise ValueError("`map` must be finite.")
    return map


def _check_threshold(threshold: Any) -> None:
    found = np.asarray(threshold)
    if found.shape or found.dtype.kind not in "iuf" or np.isnan(found):
        raise ValueError(f"`threshold` must be a number, got {threshold!r}.")


def _box(marked: Bool[Array, "H W"]) -> Bool[Array, "H W"]:
    """The least box around what is marked."""
    within = lambda line: jnp.cumsum(line) * jnp.cumsum(line[::-1])[::-1] > 0
    return within(marked.any(axis=1))[:, None] & within(marked.any(axis=0))[None]
