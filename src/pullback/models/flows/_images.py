"""Images as data of a density: dequantisation, and bits per dimension."""

import math

import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray


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

    Example:
        >>> import jax, jax.numpy as jnp
        >>> noisy = dequantise(jnp.ones(1000), key=jax.random.key(0))
        >>> bool((noisy >= 255 / 256).all() & (noisy <= 1).all())
        True

    Source: Theis et al., A Note on the Evaluation of Generative Models, arXiv 1511.01844, section
        3.1.
    """
    return ((levels - 1) * x + jr.uniform(key, x.shape, x.dtype)) / levels


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
    return (math.log(levels) - log_prob / size) / math.log(2)
