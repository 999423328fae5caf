"""How a classifier stands up to inputs that were moved on purpose."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray, ScalarLike

from pullback.analysis._chunks import over_chunks

Norm = Literal["l2", "linf"]


def pgd_attack(
    logits: Callable[..., Any],
    x: Float[Array, "n ..."],
    y: Int[Array, " n"],
    *,
    radius: ScalarLike,
    norm: Norm = "l2",
    steps: int = 20,
    step_size: ScalarLike | None = None,
    key: PRNGKeyArray,
) -> Float[Array, "n ..."]:
    r"""Inputs nearby that the classifier gets wrong, by projected gradient ascent.

    $$ x' \leftarrow \Pi_{\|x' - x\| \le r} \big( x' + \eta\, d(\nabla_{x'} -\log p(y | x')) \big),
       \qquad d_2(g) = \frac{g}{\|g\|_2}, \quad d_\infty(g) = \mathrm{sign}(g) $$

    It starts at a random point of the ball. Of each path the point with the largest loss is kept.
    The classifier's gradient is what it is: logits that a sampler has had a hand in are
    differentiated through the sampler. A classifier that draws noise should draw it from a key of
    its own, the same in each call; else the attack chases noise.

    Args:
        logits: from one input to its logits `[K]`.
        x: inputs, `[n, ...]`.
        y: their classes, `[n]`.
        radius: r, of the ball.
        norm: "l2" or "linf", each over all entries of an input.
        steps: of the ascent.
        step_size: $\eta$; None: $2.5\, r$ over the steps.
        key: a typed PRNG key.

    Returns:
        Moved inputs, `[n, ...]`. They are not clamped to any box.

    Raises:
        ValueError: `norm` is unknown, `steps` is below 1, or `radius` is negative.

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
    if norm not in get_args(Norm):
        raise ValueError(f"`norm` must be one of {', '.join(get_args(Norm))}, got {norm!r}.")
    if steps < 1:
        raise ValueError(f"`steps` must be at least 1, got {steps}.")
    if isinstance(radius, int | float) and not radius >= 0:
        raise ValueError(f"`radius` must be 0 or more, got {radius}.")
    radius = jnp.asarray(radius, x.dtype)
    rate = 2.5 * radius / steps if step_size is None else jnp.asarray(step_size, x.dtype)

    def loss(x: Array, y: Array) -> Array:
        return optax.softmax_cross_entropy_with_integer_labels(logits(x), y)

    def one(x: Array, y: Array, key: Array) -> Array:
        def step(carry: tuple, _: None) -> tuple[tuple, None]:
            shift, best, worst = carry
            value, slope = jax.value_and_grad(loss)(x + shift, y)
            better = value > worst
            best, worst = jnp.where(better, shift, best), jnp.where(better, value, worst)
            return (
                _project(shift + rate * _direction(slope, norm), radius, norm),
                best,
                worst,
            ), None

        first = radius * _project(_first(key, x, norm), jnp.ones_like(radius), norm)
        start = (first, jnp.zeros_like(x), loss(x, y))
        (shift, best, worst), _ = jax.lax.scan(step, start, length=steps)
        return x + jnp.where(loss(x + shift, y) > worst, shift, best)

    return jax.vmap(one)(x, y, jr.split(key, len(x)))


def accuracy_under_attack(
    logits: Callable[..., Any],
    x: Float[Array | np.ndarray, "n ..."],
    y: Int[Array | np.ndarray, " n"],
    *,
    radii: Float[Array | np.ndarray, " radii"] | Sequence[float],
    norm: Norm = "l2",
    steps: int = 20,
    batch_size: int | None = None,
    progress: bool | None = False,
    key: PRNGKeyArray,
) -> Float[Array, " radii"]:
    r"""The share of inputs that is still classified rightly after `pgd_attack`, by radius.

    An upper bound of the true robust accuracy: another attack may find more.

    Args:
        logits: from one input to its logits `[K]`.
        x: inputs, `[n, ...]`.
        y: their classes, `[n]`.
        radii: of the balls.
        norm: "l2" or "linf".
        steps: of the attack.
        batch_size: how many inputs at a time; None: all.
        progress: show a bar on stderr. None: where stderr is a terminal.
        key: a typed PRNG key.

    Returns:
        `[radii]`.

    Raises:
        ValueError: as `pgd_attack`, or there are no inputs, or not as many labels.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> logits = lambda x: jnp.stack([x[0], -x[0]])
        >>> x = jnp.array([[0.5], [1.5], [2.5]])
        >>> found = accuracy_under_attack(
        ...     logits, x, jnp.zeros(3, int), radii=[0.0, 1.0, 2.0], key=jax.random.key(0))
        >>> print(found.round(2))
        [1. 0.67 0.33]
    """
    x, y = jnp.asarray(x), jnp.asarray(y)
    sizes = jnp.asarray(radii, x.dtype)

    def right(inputs: tuple) -> Array:
        x, y, key = inputs

        def at(radius: Array) -> Array:
            moved = pgd_attack(
                logits, x[None], y[None], radius=radius, norm=norm, steps=steps, key=key
            )
            return jnp.argmax(logits(moved[0])) == y

        return jax.vmap(at)(sizes)

    found = over_chunks(
        jax.jit(jax.vmap(right)), (x, y, jr.split(key, len(x))), batch_size=batch_size,
        progress=progress, what="attack",
    )  # fmt: skip
    return jnp.mean(found, axis=0, dtype=x.dtype)


def _norm(x: Array) -> Array:
    # An all-zero gradient stays zero.
    square = jnp.sum(jnp.square(x))
    return jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1)), 1)


def _direction(slope: Array, norm: str) -> Array:
    return slope / _norm(slope) if norm == "l2" else jnp.sign(slope)


def _project(shift: Array, radius: Array, norm: str) -> Array:
    if norm == "linf":
        return jnp.clip(shift, -radius, radius)
    return shift * jnp.minimum(1, radius / _norm(shift))


def _first(key: Array, x: Array, norm: str) -> Array:
    """A uniform point of the unit ball."""
    if norm == "linf":
        return jr.uniform(key, x.shape, x.dtype, -1, 1)
    direction, depth = jr.split(key)
    normal = jr.normal(direction, x.shape, x.dtype)
    return normal / _norm(normal) * jr.uniform(depth, (), x.dtype) ** (1 / x.size)
