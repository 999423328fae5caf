"""How a classifier stands up to inputs that were moved on purpose."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, Int, PRNGKeyArray, ScalarLike

from pullback._floating import at_least_float32, require_floating
from pullback._key import checked_key
from pullback._power_method import safe_norm, unit
from pullback.analysis._chunks import over_chunks

Norm = Literal["l2", "linf"]
Clip = tuple[ScalarLike, ScalarLike]
_HALVINGS = 40


def pgd_attack(
    logits: Callable[..., Any],
    x: Float[Array | np.ndarray, "n ..."],
    y: Int[Array | np.ndarray, " n"],
    *,
    radius: ScalarLike,
    norm: Norm = "l2",
    steps: int = 20,
    step_size: ScalarLike | None = None,
    clip: Clip | None = None,
    key: PRNGKeyArray,
) -> Float[Array, "n ..."]:
    r"""Inputs nearby that the classifier gets wrong, by projected gradient ascent.

    $$ x' \leftarrow \Pi_{\|x' - x\| \le r} \big( x' + \eta\, d(\nabla_{x'} m) \big), \quad
       m = \log \sum_{k \ne y} e^{f_k(x')} - f_y(x'), \quad
       d_2(g) = \frac{g}{\|g\|_2}, \quad d_\infty(g) = \mathrm{sign}(g) $$

    With `clip` the projection is onto the part of the ball that lies in the box, exactly.

    The cross entropy is $\log(1 + e^m)$, which grows with m and has the same maximum; but where a
    classifier is sure its slope is rounded to 0, and the slope of m is not. It starts at a random
    point of the ball. Of each path the point with the largest m is kept.
    The classifier's gradient is what it is: logits that a sampler has had a hand in are
    differentiated through the sampler. A classifier that draws noise should draw it from a key of
    its own, the same in each call; else the attack chases noise.

    Args:
        logits: from one input to its logits `[K]`.
        x: inputs, floating, `[n, ...]`.
        y: their classes, from 0, `[n]`.
        radius: r, of the ball, in the units of `x`.
        norm: "l2" or "linf", each over all entries of an input.
        steps: of the ascent.
        step_size: $\eta$; None: $2.5\, r$ over the steps.
        clip: the least and the largest number that an input may hold, such as `(0.0, 1.0)` of
            images; None: any.
        key: a typed PRNG key.

    Returns:
        Moved inputs, `[n, ...]`, inside of `clip`. NaN for a class out of range, a radius that is
        none, or an input outside of `clip`, where it could not be refused because the call is being
        compiled.

    Raises:
        ValueError: `norm` is unknown, `steps` is below 1, `radius` is negative or infinite,
            `step_size` is not above 0, `clip` is no range or `x` lies outside of it, `x` holds
            whole numbers or `y` others, `logits` gives fewer than two, or a class is not one of
            them.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> logits = lambda x: jnp.stack([x[0], -x[0]])  # classes right and left of 0
        >>> x = jnp.array([[0.5, 0.0], [2.0, 0.0]])
        >>> moved = pgd_attack(logits, x, jnp.zeros(2, int), radius=1.0, key=jax.random.key(0))
        >>> print(moved[:, 0].round(1))
        [-0.5  1. ]

    Source: Madry et al., Towards Deep Learning Models Resistant to Adversarial Attacks, arXiv
    1706.06083.
    """
    key = checked_key(key)
    if norm not in get_args(Norm):
        raise ValueError(f"`norm` must be one of {', '.join(get_args(Norm))}, got {norm!r}.")
    if steps < 1:
        raise ValueError(f"`steps` must be at least 1, got {steps}.")
    _check_radii("radius", radius)
    if not isinstance(step_size, Tracer | None) and not np.asarray(step_size) > 0:
        raise ValueError(f"`step_size` must be above 0, got {step_size}.")
    x, y = jnp.asarray(x), jnp.asarray(y)
    classes = _checked(logits, x, y)
    box = _checked_clip(clip, x)
    radius = jnp.asarray(radius, x.dtype)
    rate = 2.5 * radius / steps if step_size is None else jnp.asarray(step_size, x.dtype)

    def margin(x: Array, y: Array) -> Array:
        found = logits(x)
        own = jnp.arange(classes) == y
        others = jax.nn.logsumexp(jnp.where(own, -jnp.inf, found))
        return others - jnp.sum(jnp.where(own, found, 0))

    def one(x: Array, y: Array, key: Array) -> Array:
        def step(carry: tuple, _: None) -> tuple[tuple, None]:
            shift, best, worst = carry
            value, slope = jax.value_and_grad(margin)(x + shift, y)
            better = value > worst
            best, worst = jnp.where(better, shift, best), jnp.where(better, value, worst)
            return (project(shift + rate * _direction(slope, norm)), best, worst), None

        room = None if box is None else (box[0] - x, box[1] - x)
        project = lambda shift: _project(shift, radius, norm, room)
        first = radius * _first(key, x, norm)
        first = first if room is None else project(first)
        start = (first, jnp.zeros_like(x), margin(x, y))
        (shift, best, worst), _ = jax.lax.scan(step, start, length=steps)
        moved = x + jnp.where(margin(x + shift, y) > worst, shift, best)
        known = (y >= 0) & (y < classes) & (radius >= 0) & jnp.isfinite(radius)
        if box is not None:
            moved = jnp.clip(moved, *box)
            known = known & jnp.all((x >= box[0]) & (x <= box[1])) & (box[0] < box[1])
        return jnp.where(known, moved, jnp.nan)

    return jax.vmap(one)(x, y, jr.split(key, len(x)))


def accuracy_under_attack(
    logits: Callable[..., Any],
    x: Float[Array | np.ndarray, "n ..."],
    y: Int[Array | np.ndarray, " n"],
    *,
    radii: Float[Array | np.ndarray, " radii"] | Sequence[float],
    norm: Norm = "l2",
    steps: int = 20,
    clip: Clip | None = None,
    batch_size: int | None = None,
    progress: bool | None = False,
    key: PRNGKeyArray,
) -> Float[Array, " radii"]:
    r"""The share of inputs that is still classified rightly after `pgd_attack`, by radius.

    An upper bound of the true robust accuracy: another attack may find more.

    Args:
        logits: from one input to its logits `[K]`.
        x: inputs, floating, `[n, ...]`.
        y: their classes, from 0, `[n]`.
        radii: of the balls, in the units of `x`.
        norm: "l2" or "linf".
        steps: of the attack.
        clip: as `pgd_attack`: without it an input may be moved to where no image can be.
        batch_size: how many inputs at a time; None: all.
        progress: show a bar on stderr. None: where stderr is a terminal.
        key: a typed PRNG key.

    Returns:
        `[radii]`.

    Raises:
        ValueError: as `pgd_attack`, or there are no inputs, not as many labels, a radius below 0
            or infinite, or an input at which the logits are NaN (where the call is being compiled,
            the answer is NaN).

    Example:
        >>> import jax, jax.numpy as jnp
        >>> logits = lambda x: jnp.stack([x[0], -x[0]])
        >>> x = jnp.array([[0.5], [1.5], [2.5]])
        >>> found = accuracy_under_attack(
        ...     logits, x, jnp.zeros(3, int), radii=[0.0, 1.0, 2.0], key=jax.random.key(0))
        >>> print(found.round(2))
        [1. 0.67 0.33]
    """
    key = checked_key(key)
    x, y = jnp.asarray(x), jnp.asarray(y)
    _checked(logits, x, y)
    sizes = jnp.asarray(radii, x.dtype)
    _check_radii("radii", sizes)
    _checked_clip(clip, x)

    found = over_chunks(
        _right, logits, sizes, norm, steps, clip, data=(x, y, jr.split(key, len(x))),
        batch_size=batch_size, progress=progress, what="attack",
    )  # fmt: skip
    if isinstance(found, Tracer):
        return jnp.mean(found.astype(at_least_float32(found.dtype)), axis=0).astype(x.dtype)
    bad = np.flatnonzero(np.isnan(np.asarray(found)).any(axis=1))
    if len(bad):
        raise ValueError(
            f"the logits of {len(bad)} of the {len(x)} inputs, as they are or attacked, are NaN; "
            f"the first of them is row {bad[0]}."
        )
    # The host has float64: a sum of many ones stops growing in a short dtype.
    return jnp.asarray(np.asarray(found, np.float64).mean(axis=0), x.dtype)


def _right(
    logits: Callable[..., Any],
    radii: Array,
    norm: Norm,
    steps: int,
    clip: Clip | None,
    x: Array,
    y: Array,
    keys: Array,
) -> Float[Array, "n radii"]:
    """One where an input is classified rightly after the attack, NaN where there is no saying."""

    def one(x: Array, y: Array, key: Array) -> Array:
        def at(radius: Array) -> Array:
            moved = pgd_attack(
                logits, x[None], y[None], radius=radius, norm=norm, steps=steps, clip=clip,
                key=key,
            )  # fmt: skip
            found = logits(moved[0])
            share = (jnp.argmax(found) == y).astype(x.dtype)
            return jnp.where(jnp.isnan(found).any(), jnp.nan, share)

        return jax.vmap(at)(radii)

    return jax.vmap(one)(x, y, keys)


def _checked(logits: Callable[..., Any], x: Array, y: Array) -> int:
    """How many classes there are."""
    require_floating("x", x, "scale images to [0, 1] or [-1, 1], and the radius with them")
    if y.shape != x.shape[:1] or not len(y):
        raise ValueError(
            "`x` must have shape [n, ...] and `y` shape [n], with n at least 1; got "
            f"{list(x.shape)} and {list(y.shape)}."
        )
    if not jnp.issubdtype(y.dtype, jnp.integer):
        raise ValueError(f"`y` must be whole numbers, the classes; got {y.dtype}.")
    shape = jax.eval_shape(logits, jax.ShapeDtypeStruct(x.shape[1:], x.dtype)).shape
    if len(shape) != 1 or shape[0] < 2:
        raise ValueError(
            "`logits` must map one input to [K] numbers, K at least 2; from an input "
            f"{list(x.shape[1:])} it makes {list(shape)}."
        )
    if not isinstance(y, Tracer):
        low, high = (int(f(np.asarray(y))) for f in (np.min, np.max))
        if low < 0 or high >= shape[0]:
            raise ValueError(f"`y` must lie between 0 and {shape[0] - 1}, got {low} to {high}.")
    return shape[0]


def _check_radii(name: str, radii: Any) -> None:
    if isinstance(radii, Tracer):
        return
    sizes = np.asarray(radii)
    if not np.all((sizes >= 0) & (sizes < np.inf)):
        raise ValueError(f"`{name}` must be 0 or more, and finite; got {radii}.")


def _checked_clip(clip: Clip | None, x: Array) -> tuple[Array, Array] | None:
    if clip is None:
        return None
    low, high = clip
    known = not (isinstance(low, Tracer) or isinstance(high, Tracer))
    if known and not np.asarray(low) < np.asarray(high):
        raise ValueError(f"`clip` must be a lower end and a higher one, got {clip}.")
    low, high = jnp.asarray(low, x.dtype), jnp.asarray(high, x.dtype)
    outside = (x < low) | (x > high)
    if not isinstance(outside, Tracer) and bool(outside.any()):
        row = int(np.flatnonzero(np.asarray(outside).reshape(len(x), -1).any(axis=1))[0])
        raise ValueError(
            f"`x` must lie in `clip`, from {low} to {high}; row {row} goes from {jnp.min(x[row])} "
            f"to {jnp.max(x[row])}. Give the ends of the scale that the inputs have now."
        )
    return low, high


def _direction(slope: Array, norm: str) -> Array:
    if norm == "linf":
        return jnp.sign(slope)
    wide = slope.astype(at_least_float32(slope.dtype))
    return unit(wide, jnp.zeros_like(wide)).astype(slope.dtype)


def _project(
    shift: Array, radius: Array, norm: str, room: tuple[Array, Array] | None = None
) -> Array:
    """The nearest shift in the ball, and in the room that the box leaves, which holds 0."""
    if norm == "linf":
        shift = jnp.clip(shift, -radius, radius)
        return shift if room is None else jnp.clip(shift, *room)
    # In radii: squares of what is tiny or huge are no numbers.
    size = lambda shift: safe_norm(shift / jnp.where(radius > 0, radius, 1))
    if room is None:
        return jnp.where(radius > 0, shift / jnp.maximum(1, size(shift)), 0)

    # The nearest point is clip(c shift) with the largest c in [0, 1] whose size is within the ball.
    def halve(_: int, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = ends
        middle = (low + high) / 2
        within = size(jnp.clip(middle * shift, *room)) <= 1
        return jnp.where(within, middle, low), jnp.where(within, high, middle)

    one = jnp.ones((), shift.dtype)
    low, _ = jax.lax.fori_loop(0, _HALVINGS, halve, (0 * one, one))
    held = jnp.where(size(jnp.clip(shift, *room)) <= 1, one, low)
    return jnp.where(radius > 0, jnp.clip(held * shift, *room), 0)


def _first(key: Array, x: Array, norm: str) -> Array:
    """A uniform point of the unit ball."""
    if norm == "linf":
        return jr.uniform(key, x.shape, x.dtype, -1, 1)
    direction, depth = jr.split(key)
    normal = jr.normal(direction, x.shape, x.dtype)
    return unit(normal, normal) * jr.uniform(depth, (), x.dtype) ** (1 / x.size)
