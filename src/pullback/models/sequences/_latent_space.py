"""The codes that a fitted model gives its data, as a space to move about in."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, PRNGKeyArray, ScalarLike

from pullback._inputs import positive
from pullback._key import checked_key
from pullback._power_method import safe_norm, unit


class LatentSpace(eqx.Module):
    r"""Codes at mean 0 and standard deviation 1 on each axis, and the geometry they have there.

    $$ w = (z - m) / s, \qquad
       d_M(z) = \sqrt{w^\top C^{-1} w} $$

    with the mean m and the standard deviation s of the data's codes, and the covariance C of their
    w. Distances are those between w: a step of 1 is a standard deviation. Every method takes the
    model's own codes and gives them back, `whiten` and `unwhiten` apart. Made by `from_data`.

    Attributes:
        mean: m, of each axis.
        scale: s. It is 0 on an axis where the data's codes do not differ, which is not searched: w
            is 0 there, and `unwhiten` gives m.
        precision: the Cholesky factor L of $C^{-1} = L L^\top$, where C is the covariance by Ledoit
            and Wolf, which has an inverse for fewer codes than axes too. Of a few codes, or of many
            that take few places, they do not shrink: C then has no variance below 1e-6, so that a
            standard deviation across what the codes span is a distance of 1,000.

    Example:
        >>> import jax, jax.numpy as jnp, jax.random as jr
        >>> codes = jr.normal(jr.key(0), (500, 2)) @ jnp.diag(jnp.array([2.0, 0.1]))
        >>> space = LatentSpace.from_data(codes)
        >>> near = space.neighbours(codes[0], 0.5, 3, key=jr.key(1))
        >>> print(jnp.linalg.norm(space.whiten(near) - space.whiten(codes[:1]), axis=1).round(4))
        [0.5 0.5 0.5]
        >>> print(space.mahalanobis(jnp.array([[6.0, 0.0], [0.0, 1.0]])).round(0))
        [ 3. 10.]

    Source: Gómez-Bombarelli et al., Automatic chemical design using a data-driven continuous
    representation of molecules, arXiv 1610.02415; C: Ledoit and Wolf, A well-conditioned estimator
    for large-dimensional covariance matrices, 2004.
    """

    mean: Float[Array, " latent"]
    scale: Float[Array, " latent"]
    precision: Float[Array, "latent latent"]

    @classmethod
    def from_data(cls, codes: Float[Array | np.ndarray, "n latent"]) -> "LatentSpace":
        """The space of the codes of a model's data.

        Args:
            codes: of at least two that differ; of a VAE the means, one a row.

        Raises:
            ValueError: a code is not finite, or they do not differ.
            TypeError: it is called within `jax.jit`, `vmap` or a gradient.
        """
        checked_codes("codes", codes)
        from sklearn.covariance import ledoit_wolf

        dtype = jnp.asarray(codes).dtype
        wide = np.asarray(codes, np.float64)
        mean, scale = wide.mean(axis=0), wide.std(axis=0)
        rounding = 4 * float(jnp.finfo(dtype).eps) * np.abs(wide).max(axis=0)
        scale = np.where(scale > rounding, scale, 0.0)
        moves = scale > 0
        if not moves.any():
            raise ValueError(
                f"`codes` must differ, got {len(wide)} that are equal: give the codes of all data."
            )
        precision = np.zeros((len(mean), len(mean)))
        covariance = ledoit_wolf((wide[:, moves] - mean[moves]) / scale[moves])[0]
        values, axes = np.linalg.eigh(covariance)
        if values[0] < 1e-6:
            covariance = (axes * np.maximum(values, 1e-6)) @ axes.T
        precision[np.ix_(moves, moves)] = np.linalg.cholesky(np.linalg.inv(covariance))
        return cls(*(jnp.asarray(part, dtype) for part in (mean, scale, precision)))

    def whiten(self, z: Float[Array, "*batch latent"]) -> Float[Array, "*batch latent"]:
        """Codes in standard deviations from the mean."""
        z = self._checked("z", z)
        moves = self.scale > 0
        found = (z - _like(self.mean, z)) / _like(jnp.where(moves, self.scale, 1), z)
        return jnp.where(_like(moves, z), found, 0)

    def unwhiten(self, w: Float[Array, "*batch latent"]) -> Float[Array, "*batch latent"]:
        """The model's codes of what `whiten` gave."""
        w = self._checked("w", w)
        return _like(self.mean, w) + _like(self.scale, w) * w

    def mahalanobis(self, z: Float[Array, "*batch latent"]) -> Float[Array, "*batch"]:
        """How far codes lie from the mean of the data's, of which most are near sqrt(latent)."""
        return jnp.linalg.norm(self.whiten(z) @ self.precision, axis=-1)

    def slerp(
        self, a: Float[Array, " latent"], b: Float[Array, " latent"], count: int
    ) -> Float[Array, "count latent"]:
        r"""Codes from `a` to `b` along a great circle around the mean.

        $$ w_t = \big((1 - t) |w_a| + t |w_b|\big) \big(\cos(t \theta) u + \sin(t \theta) v\big) $$

        with the direction u of a, the one v across it towards b, and the angle between. Codes
        lie in a shell, and a straight line would leave it. The circle between opposite ends is one
        of many; a way through the mean is a straight line.

        Args:
            a: where it starts, the model's own code.
            b: where it ends.
            count: how many codes, evenly spaced, both ends included.

        Raises:
            ValueError: `count` is below 2, or a code has another length.
        """
        positive(count=count)
        if count < 2:
            raise ValueError("`count` must be 2 or more, to hold both ends; got 1.")
        a, b = self._checked("a", a), self._checked("b", b)
        t = jnp.linspace(0, 1, count, dtype=self.mean.dtype)
        path = self.unwhiten(_great_circle(self.whiten(a), self.whiten(b), t))
        return path.at[0].set(a).at[-1].set(b)

    def neighbours(
        self, z: Float[Array, " latent"], radius: ScalarLike, count: int, *, key: PRNGKeyArray
    ) -> Float[Array, "count latent"]:
        """Codes at one distance of a code, in directions at random.

        Args:
            z: the model's own code.
            radius: the distance, in standard deviations.
            count: how many.
            key: a random key.

        Raises:
            ValueError: `count` is below 1, `radius` is below 0 or not finite, or the code has
                another length.
        """
        key = checked_key(key)
        positive(count=count)
        if not isinstance(radius, Tracer) and not 0 <= radius < np.inf:  # pyrefly: ignore
            raise ValueError(f"`radius` must be 0 or more and finite, got {radius}.")
        z = self._checked("z", z)
        noise = jr.normal(key, (count, len(z)), z.dtype)
        noise = jnp.where((self.scale > 0)[None], noise, 0)
        directions = jax.vmap(unit)(noise, jnp.zeros_like(noise))
        return z[None] + _like(self.scale, directions) * (jnp.asarray(radius, z.dtype) * directions)

    def _checked(self, name: str, z: Array) -> Array:
        z = jnp.asarray(z, self.mean.dtype)
        if z.shape[-1:] != self.mean.shape:
            raise ValueError(
                f"`{name}` must have {len(self.mean)} entries last, as the codes of this space "
                f"have; got the shape {z.shape}."
            )
        return z


def checked_codes(name: str, codes: Array | np.ndarray) -> None:
    """Refuse what are no rows of finite floating numbers."""
    refuse_traced(name, codes)
    values = np.asarray(codes)
    shape, dtype = values.shape, values.dtype
    if len(shape) != 2 or 0 in shape or not jnp.issubdtype(dtype, jnp.floating):
        raise ValueError(
            f"`{name}` must be floating codes, [n, latent], n and latent at least 1; got {dtype} "
            f"of the shape {shape}."
        )
    bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if len(bad):
        raise ValueError(
            f"`{name}` must be finite, and {len(bad)} of {shape[0]} rows are not, row {bad[0]} "
            "first: leave them out, or see why the model gave them."
        )
    info, largest = jnp.finfo(jnp.asarray(values[:0]).dtype), np.abs(values).max()
    if largest > info.max / 4:
        raise ValueError(
            f"`{name}` must lie within the range of {info.dtype.name}, got {largest:.3g}: rescale "
            "them."
        )


def refuse_traced(name: str, value: object) -> None:
    if isinstance(value, Tracer):
        raise TypeError(
            f"`{name}` came from within `jax.jit`, `vmap` or a gradient, and is looked at on the "
            "host: call this outside of them."
        )


def _great_circle(
    a: Float[Array, " latent"], b: Float[Array, " latent"], t: Float[Array, " count"]
) -> Float[Array, "count latent"]:
    """Points at parts `t` of the way."""
    from_a, to_b = safe_norm(a), safe_norm(b)
    u, v = unit(a, unit(b, b)), unit(b, unit(a, a))
    angle = 2 * jnp.arctan2(safe_norm(u - v), safe_norm(u + v))
    # Of opposite ends: an axis across, the same whichever end it starts from.
    axis = jnp.zeros_like(u).at[jnp.argmin(jnp.abs(u))].set(1)
    other = unit(_across(axis, u), jnp.zeros_like(u))
    rest = _across(v, u)
    some = safe_norm(rest) > 8 * jnp.finfo(u.dtype).eps
    # Twice, for the first leaves a rounding error, which is much of a short rest.
    side = jnp.where(some, unit(_across(unit(rest, other), u), other), other)
    norm = (1 - t) * from_a + t * to_b
    return jnp.outer(norm * jnp.cos(t * angle), u) + jnp.outer(norm * jnp.sin(t * angle), side)


def _across(x: Float[Array, " latent"], u: Float[Array, " latent"]) -> Float[Array, " latent"]:
    """What of `x` is perpendicular to the unit vector `u`."""
    return x - jnp.sum(x * u) * u


def _like(x: Array, z: Array) -> Array:
    """With as many axes as `z`."""
    return x.reshape((1,) * (z.ndim - 1) + x.shape)
