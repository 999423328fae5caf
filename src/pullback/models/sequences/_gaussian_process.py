"""A Gaussian process on codes: what a property is expected to be, and how sure that is."""

import warnings
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
import scipy.spatial
from jaxtyping import Array, Float, Real, ScalarLike

from pullback._inputs import positive

from ._latent_space import checked_codes


class GaussianProcess(eqx.Module):
    r"""A smooth function of a code, known at some codes up to noise.

    $$ k(x, x') = v\, e^{-|x - x'|^2 / 2 l^2}, \quad
       m(z) = k_z^\top (K + \sigma^2 I)^{-1} y, \quad
       s(z)^2 = v - k_z^\top (K + \sigma^2 I)^{-1} k_z $$

    of targets y that are brought to mean 0 and standard deviation 1, and back again. s is the
    deviation of the function, without the noise of a target. It is called on one code and gives
    m(z), which has a gradient: `jax.vmap` it over many. `GaussianProcess.fit` finds the three
    numbers. What is solved is solved once, in double precision, on the host.

    Args:
        x: codes, `[n, latent]`, in a space where distances mean something: whitened ones.
        y: the targets, `[n]`, in any unit.
        length_scale: l, in the unit of `x`.
        variance: v, over the variance of the targets.
        noise: $\sigma^2$, over the variance of the targets.

    Raises:
        ValueError: a code or a target is not finite, or a number is not above 0.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> x = jnp.linspace(0.0, 6.0, 20)[:, None]
        >>> process = GaussianProcess.fit(x, 10 + jnp.sin(x[:, 0]))
        >>> print(round(float(process(jnp.array([1.0]))), 2))
        10.84
        >>> at, far = process.predict(x[3])[1], process.predict(jnp.array([60.0]))[1]
        >>> bool(at < 0.05 < far)
        True

    Source: Rasmussen and Williams, Gaussian Processes for Machine Learning, algorithm 2.1.
    """

    points: Float[Array, "rows latent"]
    present: Float[Array, " rows"]
    weights: Float[Array, " rows"]
    factor: Float[Array, "rows rows"]
    centre: Float[Array, " latent"]
    offset: Float[Array, ""]
    scale: Float[Array, ""]
    length_scale: Float[Array, ""]
    variance: Float[Array, ""]
    noise: Float[Array, ""]
    log_marginal_likelihood: Float[Array, ""]
    """Of the scaled targets, as scikit-learn's."""

    def __init__(
        self,
        x: Float[Array | np.ndarray, "n latent"],
        y: Real[Array | np.ndarray, " n"],
        *,
        length_scale: ScalarLike,
        variance: ScalarLike = 1.0,
        noise: ScalarLike = 1e-2,
    ) -> None:
        numbers = {"length_scale": length_scale, "variance": variance, "noise": noise}
        length, variance, noise = (_above_zero(*each) for each in numbers.items())
        x, scaled, offset, scale, dtype = _prepared(x, y)
        centre = x.mean(axis=0)
        squares = np.square(scipy.spatial.distance.cdist(x, x))
        kernel = variance * np.exp(squares / (-2 * length**2))
        factor = np.linalg.cholesky(kernel + noise * np.eye(len(x)))
        weights = scipy.linalg.cho_solve((factor, True), scaled)
        likelihood = (
            -(scaled @ weights) / 2
            - np.log(np.diag(factor)).sum()
            - len(x) / 2 * np.log(2 * np.pi)
        )  # fmt: skip
        as_array = lambda value: jnp.asarray(value, dtype)
        self.points, self.centre = as_array(x - centre), as_array(centre)
        self.present = jnp.ones(len(x), dtype)
        self.weights, self.factor = as_array(weights), as_array(factor)
        self.offset, self.scale = as_array(offset), as_array(scale)
        self.length_scale, self.variance = as_array(length), as_array(variance)
        self.noise, self.log_marginal_likelihood = as_array(noise), as_array(likelihood)

    @classmethod
    def fit(
        cls,
        x: Float[Array | np.ndarray, "n latent"],
        y: Real[Array | np.ndarray, " n"],
        *,
        most: int = 500,
    ) -> "GaussianProcess":
        """The process whose three numbers make the targets likeliest, by scikit-learn.

        Targets that are all equal say nothing of them: the length scale is then the median distance
        between codes, the variance 1 in the unit of the targets, and the noise 0.01.

        Args:
            x: codes, `[n, latent]`; repeated ones may have targets that differ.
            y: the targets, `[n]`.
            most: codes that the three numbers are fitted to, evenly spaced among the rows, for that
                takes the cube of their number; the process itself knows all rows.

        Raises:
            ValueError: a code or a target is not finite.
        """
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.gaussian_process import GaussianProcessRegressor
        from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

        positive(most=most)
        wide, scaled, _, _, _ = _prepared(x, y)
        rows = np.linspace(0, len(wide) - 1, min(most, len(wide))).round().astype(int)
        distances = scipy.spatial.distance.pdist(wide[rows])
        distances = distances[distances > 0]
        length = float(np.median(distances)) if len(distances) else float(wide.shape[1] ** 0.5)
        if not scaled.any():
            return cls(x, y, length_scale=length)
        kernel = ConstantKernel(1.0, (1e-2, 1e2)) * RBF(length, (length / 30, length * 30))
        # Less noise than this, and single precision has no digits left.
        process = GaussianProcessRegressor(kernel + WhiteKernel(0.1, (1e-4, 10.0)), alpha=0.0)
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", ConvergenceWarning
            )  # a number at its bound is an answer
            process.fit(wide[rows], scaled[rows])
        variance, length, noise = np.exp(process.kernel_.theta)
        return cls(x, y, length_scale=length, variance=variance, noise=noise)

    def __call__(self, z: Float[Array, " latent"]) -> Float[Array, ""]:
        """The mean at a code, in the unit of the targets."""
        return self.offset + self.scale * jnp.sum(self._covariances(z) * self.weights)

    def predict(self, z: Float[Array, " latent"]) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """The mean at a code and the standard deviation, in the unit of the targets."""
        across = self._covariances(z)
        rest = self.variance - jnp.sum(jnp.square(_solved(self.factor, across)))
        # All rows at one code leave this much, and no rows leave less: rounding would.
        least = self.variance * self.noise
        least = least / (jnp.sum(self.present) * self.variance + self.noise)
        mean = self.offset + self.scale * jnp.sum(across * self.weights)
        return mean, self.scale * jnp.sqrt(jnp.maximum(rest, least))

    def _covariances(self, z: Float[Array, " latent"]) -> Float[Array, " rows"]:
        """With each row; by a matrix product, so that many codes and rows need no third axis."""
        z = jnp.asarray(z, self.points.dtype) - self.centre
        squares = jnp.sum(jnp.square(self.points), axis=1) - 2 * (self.points @ z) + jnp.sum(z * z)
        return self.present * self.variance * jnp.exp(squares / (-2 * self.length_scale**2))


def with_room(process: GaussianProcess, rows: int) -> GaussianProcess:
    """The same process, with so many rows in all, of which the new ones know nothing yet."""
    more = rows - len(process.points)
    factor = jnp.pad(process.factor, (0, more))
    new = jnp.arange(rows) >= len(process.points)
    parts = lambda p: (p.points, p.present, p.weights, p.factor)
    padded = (
        jnp.pad(process.points, ((0, more), (0, 0))),
        jnp.pad(process.present, (0, more)),
        jnp.pad(process.weights, (0, more)),
        factor + jnp.diag(new.astype(factor.dtype)),
    )
    return eqx.tree_at(parts, process, padded)


def believing(
    process: GaussianProcess, z: Float[Array, " latent"], row: ScalarLike
) -> GaussianProcess:
    """The process if the target at `z` were the mean there, kept in an empty row.

    The mean is the same everywhere, so the weights are too: the new one is 0.
    """
    across = _solved(process.factor, process._covariances(z))
    rest = process.variance + process.noise - jnp.sum(jnp.square(across))
    new = across.at[row].set(jnp.sqrt(jnp.maximum(rest, process.noise)))
    parts = lambda p: (p.points, p.present, p.factor)
    values = (
        process.points.at[row].set(z - process.centre),
        process.present.at[row].set(1),
        process.factor.at[row].set(new),
    )
    return eqx.tree_at(parts, process, values)


def _solved(factor: Float[Array, "rows rows"], right: Float[Array, " rows"]) -> Array:
    return jax.scipy.linalg.solve_triangular(factor, right, lower=True)


def _above_zero(name: str, value: Any) -> float:
    if not (np.isfinite(value) and value > 0):
        raise ValueError(f"`{name}` must be above 0 and finite, got {value}.")
    return float(value)


def _prepared(
    x: Array | np.ndarray, y: Array | np.ndarray
) -> tuple[np.ndarray, np.ndarray, float, float, np.dtype]:
    """Codes, scaled targets, and their mean and deviation, in double precision; and the dtype."""
    checked_codes("x", x)
    wide, targets = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if targets.shape != wide.shape[:1]:
        raise ValueError(
            f"`y` must be one target a row of `x`, of which there are {len(wide)}; got the shape "
            f"{targets.shape}."
        )
    bad = np.flatnonzero(~np.isfinite(targets))
    if len(bad):
        raise ValueError(
            f"`y` must be finite, and {len(bad)} of {len(targets)} targets are not, row {bad[0]} "
            "first: leave those rows out."
        )
    offset, scale = targets.mean(), targets.std()
    equal = scale <= 1e-7 * np.abs(targets).max()
    offset, scale = (float(targets[0]), 1.0) if equal else (float(offset), float(scale))
    scaled = np.zeros_like(targets) if equal else (targets - offset) / scale
    return wide, scaled, offset, scale, jnp.asarray(x).dtype
