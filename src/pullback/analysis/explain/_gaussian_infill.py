"""What a Gaussian law of images expects where pixels are taken away."""

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.core import Tracer
from jax.scipy.linalg import cholesky, solve_triangular
from jaxtyping import Array, Float, PRNGKeyArray

from pullback._inputs import positive
from pullback._key import checked_key
from pullback.analysis.explain._infill import (
    AbstractInfill,
    Image,
    Keep,
    checked_set,
    require_image,
)

# Of the mean variance: pixels of less are taken to have this, for none may be known beforehand.
_LEAST_NOISE = 1e-4
# Of a pixel's variance, once what it says of itself is taken away.
_LEAST_LEFT = 1e-6


class GaussianInfill(AbstractInfill):
    r"""Each pixel, given all others that are kept, under a Gaussian of low rank and noise.

    $$ x \sim N(\mu, L^\top L + \mathrm{diag}(\psi)), \qquad
       b_u \sim p\big(x_u \mid x_v : v \ne u \text{ kept}\big) $$

    By the Woodbury identity a mask costs one Cholesky factor of rank by rank numbers. At a kept
    pixel the background is what the other kept ones say of it, and not the pixel itself: a pixel is
    all of its channels, and none of them says what the others are.

    Args:
        mean: $\mu$, `[C, H, W]`.
        factors: L, `[rank, C, H, W]`.
        noise: $\psi$, `[C, H, W]`, above 0: the variance of each pixel apart from the factors.
        draw: draw from that law, as the paper does; False: its mean, always the same and smooth.

    Raises:
        ValueError: the shapes do not fit, or `noise` is not above 0.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> one = jnp.ones((1, 1, 2))  # two pixels, of correlation 0.8
        >>> infill = GaussianInfill(0 * one, jnp.sqrt(0.8) * one[None], 0.2 * one, draw=False)
        >>> keep = jnp.array([[[1.0, 0.0]]])
        >>> print(infill(2 * one, keep, key=jax.random.key(0)).round(3))
        [[[0.  1.6]]]

    Source: Chang et al., arXiv 1807.08024, section 2.2 (a conditional generative model); Tipping
    and Bishop, Probabilistic Principal Component Analysis (1999).
    """

    mean: Float[Array, "C H W"]
    factors: Float[Array, "rank C H W"]
    noise: Float[Array, "C H W"]
    draw: bool = eqx.field(default=True, static=True)

    def __check_init__(self):
        shape = self.mean.shape
        if self.factors.shape[1:] != shape or self.noise.shape != shape:
            raise ValueError(
                f"`factors` and `noise` must be [rank, *] and [*] of `mean`, {list(shape)}; got "
                f"{list(self.factors.shape)} and {list(self.noise.shape)}."
            )
        if not isinstance(self.noise, Tracer) and not np.all(np.asarray(self.noise) > 0):
            raise ValueError("`noise` must be above 0: no pixel may be known beforehand.")

    @classmethod
    def fit(
        cls, images: Float[Array | np.ndarray, "n C H W"], rank: int = 32, *, draw: bool = True
    ) -> "GaussianInfill":
        """The law of a set of images: its principal components, and what they leave as noise.

        Args:
            images: to learn from, `[n, C, H, W]`, scaled as the images that are explained.
            rank: the most components; no more are kept than the images have.
            draw: as above.

        Raises:
            ValueError: there are fewer than two images, all are the same, their squares are too
                small or too large for their dtype, or `rank` is below 1.

        Example:
            >>> import numpy as np
            >>> images = np.random.default_rng(0).normal(size=(50, 1, 4, 4)).astype(np.float32)
            >>> GaussianInfill.fit(images, rank=3).factors.shape
            (3, 1, 4, 4)
        """
        images = checked_set(images)
        positive(rank=rank)
        rows = np.asarray(images, np.float64).reshape(len(images), -1)
        mean = rows.mean(axis=0)
        variance = rows.var(axis=0)
        if not variance.max() > 0:
            raise ValueError(
                f"`images` must be two or more that differ, got {len(images)} all the same: there "
                "is no law to learn."
            )
        factors = _components(rows - mean, rank)
        left = variance - np.sum(factors**2, axis=0)
        noise = np.maximum(left, _LEAST_NOISE * variance.mean())
        limits = np.finfo(images.dtype)
        if not limits.tiny <= noise.min() <= noise.max() <= limits.max:
            raise ValueError(
                f"`images` have a deviation of {variance.max() ** 0.5:.2g}, whose square "
                f"{images.dtype} does not hold: scale them, such as to 0 to 1, and what is "
                "explained with them."
            )
        as_image = lambda a: jnp.asarray(a.reshape(*a.shape[:-1], *images.shape[1:]), images.dtype)
        return cls(as_image(mean), as_image(factors), as_image(noise), draw)

    @property
    def stochastic(self) -> bool:
        return self.draw

    def __call__(self, x: Image, keep: Keep, *, key: PRNGKeyArray) -> Image:
        of_factors, of_pixels = jr.split(checked_key(key))
        require_image(x, self.mean.shape)
        flat = lambda image: image.astype(x.dtype).ravel()
        mean, noise = flat(self.mean), flat(self.noise)
        factors = self.factors.astype(x.dtype).reshape(len(self.factors), -1)
        kept = flat(jnp.broadcast_to(keep, x.shape))
        off, precision = flat(x) - mean, kept / noise
        # The law of the factors given what is kept has this precision.
        root = cholesky(
            (factors * precision[None]) @ factors.T + jnp.eye(len(factors), dtype=x.dtype)
        )
        whitened = solve_triangular(root, factors, trans="T")
        fitted = whitened.T @ (whitened @ (precision * off))
        latent = jr.normal(of_factors, (len(factors),), x.dtype) @ whitened if self.draw else None
        if len(x) == 1:
            # One channel, which is nearly all there is, needs no blocks.
            share = jnp.sum(whitened**2, axis=0)
            others = jnp.maximum(1 - precision * share, _LEAST_LEFT)
            fitted = (fitted - precision * share * off) / others
            latent = None if latent is None else latent / jnp.sqrt(others)
        else:
            fitted, latent = _without_own(whitened, precision, off, fitted, latent, len(x))
        background = mean + fitted
        if latent is not None:
            background += latent
            background += jnp.sqrt(noise) * jr.normal(of_pixels, noise.shape, x.dtype)
        return background.reshape(x.shape)


def _without_own(
    whitened: Float[Array, "rank size"], precision: Float[Array, " size"],
    off: Float[Array, " size"], fitted: Float[Array, " size"],
    latent: Float[Array, " size"] | None, channels: int,
) -> tuple[Float[Array, " size"], Float[Array, " size"] | None]:  # fmt: skip
    """What all but the pixel itself say of it, and a draw around that.

    By the formula of Sherman and Morrison a channel at a time: each leaves the block of all
    channels of its pixel, and the next leaves what then stands there.
    """
    by_pixel = lambda flat: flat.reshape(channels, -1)
    of_pixel = whitened.reshape(len(whitened), channels, -1)
    share = jnp.einsum("rcp,rdp->cdp", of_pixel, of_pixel)
    precision, off, fitted = by_pixel(precision), by_pixel(off), by_pixel(fitted)
    latent = None if latent is None else by_pixel(latent)
    for c in range(channels):
        others = jnp.maximum(1 - precision[c] * share[c, c], _LEAST_LEFT)
        gain = (precision[c] / others)[None] * share[:, c]
        fitted = fitted + gain * (fitted[c] - off[c])[None]
        if latent is not None:
            # The gain of the root of the covariance, written so that nothing cancels.
            root = precision[c] / (others + jnp.sqrt(others))
            latent = latent + (root * latent[c])[None] * share[:, c]
        share = share + gain[:, None] * share[c][None]
    return fitted.ravel(), None if latent is None else latent.ravel()


def _components(rows: np.ndarray, rank: int) -> np.ndarray:
    """The principal components of centred rows, each of the length of its deviation."""
    n, size = rows.shape
    if n >= size:
        variances, axes = np.linalg.eigh(rows.T @ rows / n)
        found = axes.T * np.sqrt(np.maximum(variances, 0))[:, None]
    else:
        # As many as there are rows: the axes are sums of those.
        variances, sums = np.linalg.eigh(rows @ rows.T / n)
        found = sums.T @ rows / np.sqrt(n)
    order = np.argsort(variances)[::-1][:rank]
    order = order[variances[order] > 1e-12 * variances.max()]
    return found[order]
