"""How near to a row a generator can come, by the best of all its inputs."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optimistix as optx
from jax.core import Tracer
from jaxtyping import Array, Float, PRNGKeyArray

from pullback._floating import require_floating
from pullback._inputs import positive
from pullback._key import checked_key
from pullback.analysis._chunks import over_chunks

_DRAWS = 64  # for the units


class LatentRecovery(NamedTuple):
    """What was found for each target.

    Attributes:
        errors: mean squares of what is left over.
        latents: the best inputs.
    """

    errors: Float[Array, " n"]
    latents: Float[Array, "n ..."]


def latent_recovery(
    generator: Callable[[Array], Array],
    targets: Float[Array | np.ndarray, "n ..."],
    latent: int | Callable[[PRNGKeyArray], Array],
    *,
    restarts: int = 3,
    max_steps: int = 256,
    batch_size: int | None = None,
    progress: bool | None = False,
    key: PRNGKeyArray,
) -> LatentRecovery:
    r"""The distance of rows from all that a generator can make: what it has left out.

    $$ \min_z \; \frac1d \| G(z) - x \|^2 $$

    by BFGS from several draws of z, of which the best counts. It works in units of the spread of
    draws and of what the generator makes of them, whatever their scales. It does not say that
    samples of the row are likely: a generator that passes near by on its way between two modes
    recovers it too.

    Args:
        generator: from an input to one sample.
        targets: rows of data, best not those of training, `[n, ...]`.
        latent: how many standard normal numbers the generator is given, or a function of a key that
            draws its input.
        restarts: how many draws to start from.
        max_steps: of BFGS, at most.
        batch_size: targets at a time; None: all.
        progress: show a bar on stderr. None: where stderr is a terminal.
        key: for the draws.

    Returns:
        A `LatentRecovery`. An error is infinite where no start led to numbers.

    Raises:
        ValueError: shapes do not fit, targets are not floating and finite, or a count is below 1.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> line = lambda z: jnp.stack([z[0], 2 * z[0]])
        >>> found = latent_recovery(line, jnp.asarray([[1.0, 2.0], [2.0, -1.0]]), 1,
        ...                         key=jax.random.key(0))
        >>> print([f"{error:.3f}" for error in found.errors])
        ['0.000', '2.500']

    Source: Metz et al., Unrolled Generative Adversarial Networks, arXiv 1611.02163, section 3.4,
        inference via optimisation.
    """
    key = checked_key(key)
    positive(restarts=restarts, max_steps=max_steps)
    if not callable(latent):
        positive(latent=latent)
    targets = jnp.asarray(targets)
    require_floating("targets", targets, "the distance of whole numbers is measured as well")
    # By NumPy: while a call is being compiled JAX gives no number, of an array at hand either.
    bad = 0 if isinstance(targets, Tracer) else np.sum(~np.isfinite(np.asarray(targets, float)))
    if targets.ndim < 1 or not targets.size or bad:
        raise ValueError(
            "`targets` must be finite rows along a leading axis, at least one; got the shape "
            f"{targets.shape} with {bad} numbers that are not finite."
        )
    draw = latent if callable(latent) else lambda key: jr.normal(key, (latent,), targets.dtype)
    key, key_of_units = jr.split(key)
    keys = jr.split(key, (len(targets), restarts))
    starts = jax.vmap(jax.vmap(draw))(keys)
    made = jax.eval_shape(generator, jax.ShapeDtypeStruct(starts.shape[2:], starts.dtype))
    if made.shape != targets.shape[1:]:
        raise ValueError(
            f"`targets` must be rows of the shape that `generator` makes, {made.shape}; got "
            f"{targets.shape[1:]}."
        )
    drawn = jax.vmap(draw)(jr.split(key_of_units, _DRAWS))
    units = _spread(drawn), _spread(jax.vmap(generator)(drawn))
    return over_chunks(
        _recover(max_steps), generator, units, data=(targets, starts), batch_size=batch_size,
        progress=progress, what="recovers",
    )  # fmt: skip


def _spread(rows: Array) -> Float[Array, ""]:
    """Of numbers about their column's mean; 1 where there is none to go by."""
    flat = np.asarray(rows, np.float64).reshape(len(rows), -1)
    flat = flat[np.isfinite(flat).all(axis=1)]
    found = np.sqrt(np.mean(np.var(flat, axis=0))) if len(flat) else 0.0
    limits = jnp.finfo(rows.dtype)
    usual = float(limits.tiny) <= found <= float(limits.max)
    return jnp.asarray(found if usual else 1.0, rows.dtype)


def _recover(max_steps: int) -> Callable[..., LatentRecovery]:
    def recover(
        generator: Any, units: tuple[Array, Array], targets: Array, starts: Array
    ) -> LatentRecovery:
        of_latent, of_sample = units
        tolerance = float(np.sqrt(jnp.finfo(starts.dtype).eps))
        solver = optx.BFGS(tolerance, tolerance)

        def off(z: Array, target: Array) -> Array:
            return generator(z) - target

        def error(u: Array, target: Array) -> Array:
            return jnp.mean(jnp.square(off(u * of_latent, target) / of_sample))

        def from_one(target: Array, start: Array) -> tuple[Array, Array]:
            found = optx.minimise(
                error, solver, start / of_latent, target, max_steps=max_steps, throw=False
            )
            z = found.value * of_latent
            left = jnp.mean(jnp.square(off(z, target)))
            return jnp.where(jnp.isfinite(left), left, jnp.inf), z

        def one(target: Array, starts: Array) -> LatentRecovery:
            errors, latents = jax.vmap(lambda start: from_one(target, start))(starts)
            best = jnp.argmin(errors)
            return LatentRecovery(errors[best], latents[best])

        return jax.vmap(one)(targets, starts)

    return recover
