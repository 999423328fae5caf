"""Uphill in a latent space, and no farther from where it started than one trusts the way back."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, ScalarLike

from pullback._inputs import positive
from pullback._power_method import safe_norm, unit
from pullback._traced import compiled

from ._latent_space import checked_codes


def climb(
    surrogate: Callable[..., Any],
    z0: Float[Array | np.ndarray, "batch latent"],
    *,
    steps: int = 40,
    step: float | int = 0.15,
    trust_radius: float | int = 6.0,
) -> Float[Array, "points batch latent"]:
    r"""Paths uphill on a surrogate, by steps of one length, within a ball around each start.

    $$ z \leftarrow \Pi_{|z - z_0| \le r} \Big(z + \eta \frac{\nabla f(z)}{|\nabla f(z)|}\Big) $$

    A surrogate is right near the data, and a decoder too: the farther a path leads, the higher the
    surrogate and the fewer of the codes decode to anything. Decode along the path and see.

    Args:
        surrogate: from one code `[latent]` to a number: a `GaussianProcess` (its mean), or a
            function that calls one, such as `lambda z: log_expected_improvement(process, z, best)`.
        z0: where the paths start, in the space of the surrogate: whitened codes.
        steps: how many.
        step: $\eta$, in the unit of `z0`, a standard deviation where codes are whitened.
        trust_radius: r, which no point of a path passes; infinity: none.

    Returns:
        The paths, `[steps + 1, batch, latent]`; the first points are `z0`. Where the slope is zero
        a path stays.

    Raises:
        ValueError: `z0` is not finite, a number is not above 0, or the surrogate gives no single
            number, or has no finite slope at some point of a path.

    Example:
        >>> import jax.numpy as jnp
        >>> path = climb(lambda z: -jnp.sum((z - 3) ** 2), jnp.zeros((1, 1)), trust_radius=2.0)
        >>> print(path.shape, f"{path[10, 0, 0]:.2f} {path[-1, 0, 0]:.2f}")
        (41, 1, 1) 1.50 2.00

    Source: Gómez-Bombarelli et al., arXiv 1610.02415.
    """
    positive(steps=steps)
    for name, value in {"step": step, "trust_radius": trust_radius}.items():
        if isinstance(value, str) or not value > 0 or (name == "step" and not math.isfinite(value)):
            raise ValueError(f"`{name}` must be above 0, got {value!r}.")
    if not isinstance(z0, Tracer):
        checked_codes("z0", z0)
    z0 = jnp.asarray(z0)
    told = jax.tree.leaves(jax.eval_shape(lambda z: surrogate(z), z0[0]))
    if [leaf.shape for leaf in told] != [()]:
        raise ValueError(
            "`surrogate` must give one number, an array of the shape (), of one code; got "
            f"{', '.join(str(leaf.shape) for leaf in told) or 'nothing'}."
        )
    find = lambda z0: ascend(surrogate, z0, z0, steps=steps, step=step, radius=trust_radius)[0]
    path = compiled(find)(z0)
    if not isinstance(path, Tracer):
        bad = np.flatnonzero(~np.isfinite(np.asarray(path)).all(axis=(0, 2)))
        if len(bad):
            raise ValueError(
                f"the surrogate has no finite slope on {len(bad)} of {len(z0)} paths, that of row "
                f"{bad[0]} of `z0` first: see what it gives there."
            )
    return path


def ascend(
    surrogate: Callable[..., Any],
    centres: Float[Array, "batch latent"],
    starts: Float[Array, "batch latent"],
    *,
    steps: int,
    step: ScalarLike,
    radius: ScalarLike,
) -> tuple[Float[Array, "points batch latent"], Float[Array, "points batch"]]:
    """Paths within a ball around each centre, and the values along them."""
    slopes = jax.vmap(jax.value_and_grad(surrogate))
    step, radius = (jnp.asarray(value, starts.dtype) for value in (step, radius))
    # Adding the centre rounds; what is kept back is more than that.
    sizes = jax.vmap(safe_norm)(centres)
    reach = radius - 4 * jnp.finfo(starts.dtype).eps * (
        sizes + jnp.where(radius < jnp.inf, radius, 0)
    )
    reach = jnp.maximum(reach, 0)

    def inside(shift: Array, reach: Array) -> Array:
        length = safe_norm(shift)
        return shift * jnp.where(length > reach, reach / jnp.where(length > 0, length, 1), 1)

    def move(shift: Array, _: None) -> tuple[Array, tuple[Array, Array]]:
        value, slope = slopes(centres + shift)
        moved = shift + step * jax.vmap(unit)(slope, jnp.zeros_like(slope))
        # `unit` gives zero for a slope that is no number, and a constant NaN has slope zero.
        known = jnp.isfinite(slope).all(axis=1) & ~jnp.isnan(value)
        moved = jnp.where(known[:, None], moved, jnp.nan)
        return jax.vmap(inside)(moved, reach), (centres + shift, value)

    last, (path, values) = jax.lax.scan(move, starts - centres, length=steps)
    end = centres + last
    value = jax.vmap(surrogate)(end)
    return jnp.concatenate([path, end[None]]), jnp.concatenate([values, value[None]])
