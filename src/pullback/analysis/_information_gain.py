"""What a measurement would tell of a model's weights."""

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float


def information_gain(
    variance: Float[Array | np.ndarray, "*rows"],
    noise: float | Float[Array | np.ndarray, "..."],
) -> Float[Array, "*rows"]:
    r"""How many nats a measurement of each row would tell of the weights.

    $$ I(w; y | x) = \tfrac12 \log\Big(1 + \frac{\mathrm{Var}_q[f(x)]}{\sigma_n^2}\Big) $$

    That is the mutual information of the weights and the number measured, where outputs are normal;
    the row with the most is the next to measure, and a state with much is one to explore.

    Args:
        variance: of the network's output over draws of its weights, at each row: what is not known,
            without the noise.
        noise: the variance of a measurement, one number, or one for each row.

    Returns:
        Nats, 0 or more.

    Raises:
        ValueError: a variance is below 0, a noise is not above it, or one is not finite; where a
            call is being compiled, the answer there is NaN.

    Example:
        >>> import jax.numpy as jnp
        >>> gain = information_gain(jnp.asarray([0.0, 3.0]), 1.0)
        >>> [f"{each:.3f}" for each in gain]
        ['0.000', '0.693']

    Source: MacKay, Information-Based Objective Functions for Active Data Selection (1992); as used
        by Zhang et al., arXiv 1712.02390, section 5.3.
    """
    variance = jnp.asarray(variance)
    if not jnp.issubdtype(variance.dtype, jnp.floating):
        raise ValueError(f"`variance` must be floating, got {variance.dtype}.")
    noise = jnp.asarray(noise, variance.dtype)
    if noise.shape not in ((), variance.shape):
        raise ValueError(
            f"`noise` must be one number, or one for each of {variance.shape}; got {noise.shape}."
        )
    good = (variance >= 0) & jnp.isfinite(variance) & (noise > 0) & jnp.isfinite(noise)
    if not isinstance(good, Tracer) and not bool(jnp.all(good)):
        raise ValueError(
            "`variance` must be 0 or more and `noise` above 0, all finite; got "
            f"{int(jnp.sum(~good))} rows where they are not."
        )
    return jnp.where(good, 0.5 * jnp.log1p(variance / noise), jnp.nan)
