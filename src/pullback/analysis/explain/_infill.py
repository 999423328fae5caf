"""What stands where pixels are taken away: guesses that need no model."""

import abc
import numbers
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from pullback._key import checked_key

Image = Float[Array, "C H W"]
Keep = Float[Array, "1 H W"]


class AbstractInfill(eqx.Module):
    """What an image could have been where it is not known.

    To write one of your own, define `__call__` and `stochastic`; a function alone is made one by
    `ModelInfill`. It runs inside compiled programs, for one image and one mask.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from pullback.analysis import explain
        >>> class Upside(explain.AbstractInfill):
        ...     stochastic = False
        ...
        ...     def __call__(self, x, keep, *, key):
        ...         return x[:, ::-1]
        >>> print(Upside()(jnp.array([[[1.0], [2.0]]]), jnp.ones((1, 2, 1)), key=jax.random.key(0)))
        [[[2.]
          [1.]]]
    """

    @property
    @abc.abstractmethod
    def stochastic(self) -> bool:
        """Whether two keys give two backgrounds."""

    @abc.abstractmethod
    def __call__(self, x: Image, keep: Keep, *, key: PRNGKeyArray) -> Image:
        """The background everywhere, at kept pixels too: a guess that does not know x there.

        It must not be pasted together with x: where the background equals x, an explanation by
        gradients learns nothing from that pixel, and half of the gradient is lost. Nothing at
        pixels that are not kept may enter.

        Args:
            x: the image, `[C, H, W]`.
            keep: 1 where it is known, 0 where not, `[1, H, W]`.
            key: a random key.
        """


class ConstantInfill(AbstractInfill):
    """One value, everywhere, or one for each channel.

    Args:
        value: a number; a colour, one number a channel, `[C]`; or an array that broadcasts to an
            image `[C, H, W]`.

    Raises:
        TypeError: `value` is no number and no array of numbers.
        ValueError: `value` is not finite; when called, if it fits no image of that shape.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> print(ConstantInfill(0.5)(jnp.ones((1, 1, 2)), jnp.zeros((1, 1, 2)),
        ...                           key=jax.random.key(0)))
        [[[0.5 0.5]]]

    Source: Fong and Vedaldi, Interpretable Explanations of Black Boxes by Meaningful Perturbation,
    arXiv 1704.03296, section 4.1.
    """

    value: Float[Array, "..."]

    def __init__(self, value: Any = 0.0):
        if not isinstance(value, Array):
            value = np.asarray(value)
            if value.dtype.kind not in "fiub":
                raise TypeError(
                    f"`value` must be a number, or an array of one a channel, got {value!r}."
                )
        found = jnp.asarray(value)
        if not isinstance(found, jax.core.Tracer) and not np.isfinite(np.asarray(found)).all():
            raise ValueError("`value` must be finite: what is hidden is filled in with it.")
        found = found if jnp.issubdtype(found.dtype, jnp.floating) else found.astype(float)
        # A number a channel, and not one a column.
        self.value = found[:, None, None] if found.ndim == 1 else found

    @property
    def stochastic(self) -> bool:
        return False

    def __call__(self, x: Image, keep: Keep, *, key: PRNGKeyArray) -> Image:
        checked_key(key)
        value = self.value
        fits = value.ndim <= x.ndim and all(
            have in (1, want) for have, want in zip(value.shape[::-1], x.shape[::-1], strict=False)
        )
        if not fits:
            raise ValueError(
                f"`value` of the infill is {list(value.shape)}, and the image {list(x.shape)}: "
                f"give a number, one for each of {x.shape[0]} channels, or an image."
            )
        return jnp.broadcast_to(value.astype(x.dtype), x.shape)


class LocalMeanInfill(AbstractInfill):
    """The mean of the kept pixels in a square around each pixel.

    Where there is none, the mean of all that are kept; 0 if none is.

    Args:
        window: pixels along the square, odd.

    Raises:
        ValueError: `window` is even or below 1.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> keep = jnp.array([[[1.0, 0.0, 1.0]]])
        >>> print(LocalMeanInfill(3)(jnp.array([[[1.0, 9.0, 2.0]]]), keep, key=jax.random.key(0)))
        [[[1.  1.5 2. ]]]

    Source: Chang et al., arXiv 1807.08024, section 3 (Local).
    """

    window: int = eqx.field(default=15, static=True)

    def __check_init__(self):
        window = self.window
        if not isinstance(window, numbers.Integral) or window < 1 or window % 2 == 0:
            raise ValueError(f"`window` must be odd and 1 or more, got {window!r}.")

    @property
    def stochastic(self) -> bool:
        return False

    def __call__(self, x: Image, keep: Keep, *, key: PRNGKeyArray) -> Image:
        checked_key(key)
        near = [jnp.asarray(_near(n, self.window // 2), x.dtype) for n in x.shape[1:]]
        keep = keep.astype(x.dtype)
        around = lambda image: jnp.einsum("ih,chw,jw->cij", near[0], image, near[1])
        total, count = around(x * keep), around(keep)
        overall = jnp.sum(x * keep, (1, 2), keepdims=True) / jnp.maximum(jnp.sum(keep), 1)
        return jnp.where(count > 0, total / jnp.where(count > 0, count, 1), overall)


class BlurInfill(AbstractInfill):
    """The image itself, blurred by a Gaussian.

    What is not kept still shines through: a blurred digit can be read.

    Args:
        sigma: of the Gaussian, in pixels.

    Raises:
        ValueError: `sigma` is not above 0.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> blurred = BlurInfill(0.7)(jnp.array([[[0.0, 1.0, 0.0]]]), jnp.ones((1, 1, 3)),
        ...                           key=jax.random.key(0))
        >>> print(blurred.round(2))
        [[[0.26 0.58 0.26]]]

    Source: Fong and Vedaldi, arXiv 1704.03296, section 4.1; sigma: Chang et al., arXiv 1807.08024.
    """

    sigma: float = eqx.field(default=10.0, static=True)

    def __check_init__(self):
        if not isinstance(self.sigma, numbers.Real) or not self.sigma > 0:
            raise ValueError(f"`sigma` must be above 0, got {self.sigma!r}.")

    @property
    def stochastic(self) -> bool:
        return False

    def __call__(self, x: Image, keep: Keep, *, key: PRNGKeyArray) -> Image:
        checked_key(key)
        down, across = (_gaussian(size, self.sigma).astype(x.dtype) for size in x.shape[1:])
        return jnp.einsum("ih,chw,jw->cij", down, x, across)


class NoiseInfill(AbstractInfill):
    """One colour, drawn uniformly, with Gaussian noise on it.

    Args:
        low: the least that a pixel can be.
        high: the most.
        deviation: of the noise, as a share of `high - low`.

    Raises:
        ValueError: `low` is not below `high`, `deviation` is below 0, or one is not finite.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> noise = NoiseInfill()(jnp.ones((3, 4, 4)), jnp.zeros((1, 4, 4)), key=jax.random.key(0))
        >>> noise.shape, bool(((noise >= 0) & (noise <= 1)).all())
        ((3, 4, 4), True)

    Source: Chang et al., arXiv 1807.08024, section 3 (Random).
    """

    low: float = eqx.field(default=0.0, static=True)
    high: float = eqx.field(default=1.0, static=True)
    deviation: float = eqx.field(default=0.2, static=True)

    def __check_init__(self):
        for name in ("low", "high", "deviation"):
            value = getattr(self, name)
            if not isinstance(value, numbers.Real) or not np.isfinite(float(value)):
                raise ValueError(f"`{name}` must be a finite number, got {value!r}.")
        if not self.low < self.high:
            raise ValueError(f"`low` must be below `high`, got {self.low} and {self.high}.")
        if not self.deviation >= 0:
            raise ValueError(f"`deviation` must be 0 or more, got {self.deviation}.")

    @property
    def stochastic(self) -> bool:
        return True

    def __call__(self, x: Image, keep: Keep, *, key: PRNGKeyArray) -> Image:
        colour, noise = jr.split(checked_key(key))
        level = jr.uniform(colour, (len(x),), x.dtype)[:, None, None]
        # Flat, for random bits of several axes take longer to compile.
        drawn = level + self.deviation * jr.normal(noise, (x.size,), x.dtype).reshape(x.shape)
        return self.low + (self.high - self.low) * jnp.clip(drawn, 0, 1)


class EmpiricalInfill(AbstractInfill):
    """Another image, drawn from a set whatever is kept of this one.

    What is kept and what is filled in need not fit each other; it is the reference that Shapley
    values of a background set have, and for rows of a table the usual one.

    Args:
        images: the set, `[n, C, H, W]`.

    Raises:
        ValueError: `images` has another number of axes, no rows, or is not finite; when called,
            if its images have another shape than x.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> other = EmpiricalInfill(jnp.array([[[[1.0]]], [[[2.0]]]]))
        >>> nothing = jnp.zeros((1, 1, 1))
        >>> other(nothing, nothing, key=jax.random.key(0)).item() in (1, 2)
        True

    Source: Lundberg and Lee, A Unified Approach to Interpreting Model Predictions, arXiv
    1705.07874, equation 11.
    """

    images: Float[Array, "n C H W"]

    def __init__(self, images: Float[Array | np.ndarray, "n C H W"]):
        self.images = checked_set(images)

    @property
    def stochastic(self) -> bool:
        return True

    def __call__(self, x: Image, keep: Keep, *, key: PRNGKeyArray) -> Image:
        key = checked_key(key)
        require_image(x, self.images.shape[1:])
        return self.images[jr.randint(key, (), 0, len(self.images))].astype(x.dtype)


def require_image(x: Array, shape: tuple[int, ...]) -> None:
    """Refuse an image of another shape than what an infill was made for."""
    if x.shape != shape:
        raise ValueError(
            f"`infill` was made for images {list(shape)}, and `x` is one of {list(x.shape)}."
        )


def checked_set(images: Any) -> Array:
    """Images to learn an infill from."""
    shape = np.shape(images)
    if len(shape) != 4 or 0 in shape:
        raise ValueError(
            f"`images` must be a set of images [n, C, H, W], got the shape {list(shape)}: grey "
            "ones [n, H, W] are `images[:, None]`, rows of a table [n, F] are "
            "`images[:, None, None]`."
        )
    images = jnp.asarray(images)
    if not jnp.issubdtype(images.dtype, jnp.floating):
        raise ValueError(f"`images` must be floating, got {images.dtype}: scale them as `x` is.")
    if not np.isfinite(np.asarray(images)).all():
        raise ValueError("`images` must be finite: leave out those with holes.")
    return images


def checked_infill(infill: Any, x: Any) -> AbstractInfill:
    """`infill`, if it is one, and makes backgrounds of the shape of `x`."""
    if not isinstance(infill, AbstractInfill):
        got = f"the class {infill.__name__}" if isinstance(infill, type) else repr(infill)
        raise TypeError(
            f"`infill` must be one, such as `ConstantInfill(0.0)`, got {got}: a function "
            "`fill(x, keep, *, key)` is made one by `ModelInfill(fill)`."
        )
    keep, key = jax.ShapeDtypeStruct((1, *x.shape[1:]), x.dtype), jr.key(0)
    found = eqx.filter_eval_shape(lambda x, keep: infill(x, keep, key=key), x, keep)
    if found.shape != x.shape or found.dtype != x.dtype:
        raise ValueError(
            f"`infill` must give a background {list(x.shape)} {x.dtype}, as the image is; it gives "
            f"{list(found.shape)} {found.dtype}."
        )
    return infill


def _near(size: int, reach: int) -> np.ndarray:
    """Which indices are within reach of which."""
    at = np.arange(size)
    return np.abs(at[:, None] - at) <= reach


def _gaussian(size: int, sigma: float) -> Array:
    """Weights of each index for each, which sum to 1 so that the border is not dark."""
    at = np.arange(size)
    weights = np.exp(-0.5 * ((at[:, None] - at) / sigma) ** 2)
    return jnp.asarray(weights / weights.sum(axis=1, keepdims=True))
