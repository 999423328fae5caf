"""Images as data of a density: dequantisation, and bits per dimension."""

import math
from typing import Any

import jax.random as jr
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, PRNGKeyArray

from pullback._floating import require_floating
from pullback._key import checked_key


def dequantise(
    x: Float[Array, "*shape"], *, levels: int = 256, key: PRNGKeyArray
) -> Float[Array, "*shape"]:
    r"""Spread pixels of `levels` values evenly over (0, 1).

    $$ \tilde x = \frac{(L - 1)\, x + u}{L}, \qquad u \sim U(0, 1) $$

    A density of $\tilde x$ bounds the probability of x from below: its mean log, less
    $D \ln L$, which `bits_per_dimension` subtracts.

    Args:
        x: pixels in [0, 1], multiples of `1 / (levels - 1)`.
        levels: L.
        key: for the noise.

    Raises:
        ValueError: a pixel is not in [0, 1], or `levels` is below 2.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> noisy = dequantise(jnp.ones(1000), key=jax.random.key(0))
        >>> bool((noisy >= 255 / 256).all() & (noisy <= 1).all())
        True

    Source: Theis et al., A Note on the Evaluation of Generative Models, arXiv 1511.01844, section
        3.1.
    """
    key = checked_key(key)
    if levels < 2:
        raise ValueError(f"`levels` must be 2 or more, got {levels}.")
    require_floating("x", x, "pixels are multiples of 1 / (levels - 1)")
    if not isinstance(x, Tracer):
        _require_pixels(x)
    return ((levels - 1) * x + jr.uniform(key, x.shape, x.dtype)) / levels


def _require_pixels(x: Any) -> None:
    x = np.asarray(x)
    if x.size and not 0 <= x.min() <= x.max() <= 1:
        raise ValueError(
            f"`x` must be pixels in [0, 1], got {x.min():g} to {x.max():g}: divide by the largest "
            "level."
        )


def bits_per_dimension(
    log_prob: Float[Array, "*batch"], size: int, *, levels: int = 256
) -> Float[Array, "*batch"]:
    r"""Bits per pixel and channel of images with so many levels.

    $$ \mathrm{bpd} = \frac{-\ln p(\tilde x) / D + \ln L}{\ln 2} $$

    Args:
        log_prob: log-densities of images that are dequantised to (0, 1), in nats.
        size: D, entries of an image.
        levels: L.

    Example:
        >>> import jax.numpy as jnp
        >>> float(bits_per_dimension(jnp.asarray(0.0), 784))  # the uniform density
        8.0

    Source: Theis et al., arXiv 1511.01844, section 3.1.
    """
    if levels < 2 or size < 1:
        raise ValueError(
            f"`levels` must be 2 or more and `size` 1 or more, got {levels} and {size}."
        )
    return (math.log(levels) - log_prob / size) / math.log(2)
