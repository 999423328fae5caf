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

from ._latent_space import checked_codes, refuse_traced


class GaussianProcess(eqx.Module):
    r"""A smooth function of a code, known at some codes up to noise.

    $$ k(x, x') = v\, e^{-|x - x'|^2 / 2 l^2}, \quad
       m(z) = k_z^\top (K + \sigma^2 I)^{-1} y, \quad
       s(z)^2 = v - k_z^\top (K + \sigma^2 I)^{-1} k_z $$

    of targets y that are brought to mean 0 and standard deviation 1, and back again. s is the
    deviation of the function, without the noise of a target. It is called on one code and gives
    m(z), which has a gradient: `jax.vmap` it over many. `GaussianProcess.fit` finds the three
    numbers. What is solved is solved once, in double precision, on the host; what it is asked has
    the precision of `x`. Single precision knows no mean to less than 6e-8 of the targets' own size,
    so take the mean off targets that differ in their last digits, and no s below about
    $10^{-3} \sqrt v$: `fit` takes no less noise than fits that, and a process whose mean would be
    lost in rounding is refused. With codes in float64 neither holds.

    Args:
        x: codes, `[n, latent]`, in a space where distances mean something: whitened ones.
        y: the targets, `[n]`, in any unit.
        length_scale: l, in the unit of `x`.
        variance: v, over the variance of the targets.
        noise: $\sigma^2$, over the variance of the targets.

    Raises:
        ValueError: a code or a target is not finite, or beyond the range of the dtype of `x`; a
            number is not above 0; there is too little noise for the codes or for their dtype.
        TypeError: it is called within `jax.jit`, `vmap` or a gradient.

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
    unit: Float[Array, ""]
    """Of `points`: a power of two near l, so that no square leaves the range of numbers."""
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
        try:
            factor = np.linalg.cholesky(kernel + noise * np.eye(len(x)))
        except np.linalg.LinAlgError as error:
            raise ValueError(
                f"`noise` {noise:.3g} is too little beside `variance` {variance:.3g} for codes "
                "that lie so near each other: give more."
            ) from error
        weights = np.asarray(scipy.linalg.cho_solve((factor, True), scaled))
        likelihood = (
            -(scaled @ weights) / 2
            - np.log(np.diag(factor)).sum()
            - len(x) / 2 * np.log(2 * np.pi)
        )  # fmt: skip
        _check_digits(variance, noise, weights, dtype)
        unit = _unit(length, np.abs(x - centre).max(), dtype)
        as_array = lambda value: jnp.asarray(value, dtype)
        self.points, self.centre = as_array((x - centre) / unit), as_array(centre)
        self.unit = as_array(unit)
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

        Targets that are all equal, but for rounding in their own dtype, say nothing of them: the
        length scale is then the median distance between codes, the variance 1 in the unit of the
        targets, and the noise 0.01.

        The variance is within 0.01 and 100, the length scale within a thirtieth and thirty times
        that median, the noise within 1e-4 and 10, and no less than the variance times 300 times
        the rounding of the codes' dtype: 3.6e-5 in single precision.

        Args:
            x: codes, `[n, latent]`; repeated ones may have targets that differ.
            y: the targets, `[n]`.
            most: codes that the three numbers are fitted to, evenly spaced among the rows, for that
                takes the cube of their number; the process itself knows all rows.

        Raises:
            ValueError: a code or a target is not finite, or beyond the range of the dtype of `x`.
            TypeError: it is called within `jax.jit`, `vmap` or a gradient.
        """
        from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

        positive(most=most)
        wide, scaled, _, _, dtype = _prepared(x, y)
        rows = np.linspace(0, len(wide) - 1, min(most, len(wide))).round().astype(int)
        distances = scipy.spatial.distance.pdist(wide[rows])
        distances = distances[distances > 0]
        length = float(np.median(distances)) if len(distances) else float(wide.shape[1] ** 0.5)
        if not scaled.any():
            return cls(x, y, length_scale=length)
        kernel = ConstantKernel(1.0, (1e-2, 1e2)) * RBF(length, (length / 30, length * 30))
        variance, length, noise = _likeliest(
            kernel + WhiteKernel(0.1, (1e-4, 10.0)), wide[rows], scaled[rows]
        )
        # With less, what is left of the variance where codes are known is rounding.
        least = 300 * float(jnp.finfo(dtype).eps)
        if noise < least * variance:
            both = RBF(length, kernel.k2.length_scale_bounds) + WhiteKernel(least, "fixed")
            kernel = ConstantKernel(variance, (1e-2, 1e2)) * both
            variance, length = _likeliest(kernel, wide[rows], scaled[rows])
            noise = least * variance
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
        z = self._placed(z)
        squares = jnp.sum(jnp.square(self.points), axis=1) - 2 * (self.points @ z) + jnp.sum(z * z)
        length = self.length_scale / self.unit
        return self.present * self.variance * jnp.exp(squares / (-2 * length**2))

    def _placed(self, z: Float[Array, " latent"]) -> Float[Array, " latent"]:
        """A code beside `points`."""
        z = jnp.asarray(z, self.points.dtype)
        if z.shape != self.centre.shape:
            raise ValueError(
                f"`z` must be one code of {len(self.centre)} entries, got the shape {z.shape}: "
                "`jax.vmap` over many."
            )
        # So far away nothing is known, and squares are still numbers.
        far = float(jnp.finfo(z.dtype).max) ** 0.4
        return jnp.clip((z - self.centre) / self.unit, -far, far)


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
        process.points.at[row].set(process._placed(z)),
        process.present.at[row].set(1),
        process.factor.at[row].set(new),
    )
    return eqx.tree_at(parts, process, values)


def _solved(factor: Float[Array, "rows rows"], right: Float[Array, " rows"]) -> Array:
    return jax.scipy.linalg.solve_triangular(factor, right, lower=True)


def _likeliest(kernel: Any, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The numbers of a kernel of scikit-learn that make the targets likeliest."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.gaussian_process import GaussianProcessRegressor

    process = GaussianProcessRegressor(kernel, alpha=0.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a number at its bound is an answer
        process.fit(x, y)
    return np.exp(process.kernel_.theta)


def _above_zero(name: str, value: Any) -> float:
    refuse_traced(name, value)
    try:
        number = float(value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"`{name}` must be a number, got {value!r}.") from error
    if not (np.isfinite(number) and number > 0):
        raise ValueError(f"`{name}` must be above 0 and finite, got {value}.")
    return number


def _check_digits(variance: float, noise: float, weights: np.ndarray, dtype: np.dtype) -> None:
    """Refuse a mean that is the difference of numbers too large for the digits of the dtype."""
    rounding = float(jnp.finfo(dtype).eps) * variance * np.linalg.norm(weights)
    if rounding > 0.02:
        raise ValueError(
            f"`noise` {noise:.3g} is too little beside `variance` {variance:.3g} for these targets "
            f"in {np.dtype(dtype).name}: the mean would be off by about {rounding:.2g} of their "
            "standard deviation. Give more noise, or codes in float64."
        )


def _unit(length: float, farthest: float, dtype: np.dtype) -> float:
    info = jnp.finfo(dtype)
    within = 4 * float(info.tiny) < length < float(info.max) / 4
    if not within or farthest > length * float(info.max) ** 0.25:
        raise ValueError(
            f"`length_scale` {length:.3g} is beyond what {np.dtype(dtype).name} can hold beside "
            f"codes {farthest:.3g} from their mean: rescale the codes."
        )
    return 2.0 ** (np.frexp(length)[1] - 1)


def _prepared(
    x: Array | np.ndarray, y: Array | np.ndarray
) -> tuple[np.ndarray, np.ndarray, float, float, np.dtype]:
    """Codes, scaled targets, and their mean and deviation, in double precision; and the dtype."""
    checked_codes("x", x)
    refuse_traced("y", y)
    dtype = jnp.asarray(x).dtype
    try:
        wide, targets = np.asarray(x, np.float64), np.asarray(y, np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"`y` must be numbers, one a row of `x`: {error}.") from error
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
    # A power of two, for the square of a deviation may be no number.
    largest = np.abs(targets).max()
    size = 2.0 ** (np.frexp(largest)[1] - 1) if largest > 0 else 1.0
    info = jnp.finfo(dtype)
    offset, scale = (targets / size).mean() * size, (targets / size).std() * size
    own = np.asarray(y).dtype
    rounding = float(jnp.finfo(own if jnp.issubdtype(own, jnp.floating) else np.float64).eps)
    equal = scale <= 4 * rounding * largest
    # Some powers of ten are left for what is told of codes where nothing is known, or much.
    low, high = float(info.tiny) / float(info.eps), float(info.max) / 1e3
    if largest > high or (not equal and scale < low):
        raise ValueError(
            f"`y` of the size {largest:.3g} and the standard deviation {scale:.3g} is beyond the "
            f"range of {np.dtype(dtype).name}, the dtype of `x`: rescale the targets."
        )
    offset, scale = (float(targets[0]), 1.0) if equal else (float(offset), float(scale))
    scaled = np.zeros_like(targets) if equal else (targets - offset) / scale
    return wide, scaled, offset, scale, dtype
