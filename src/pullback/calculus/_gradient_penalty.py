"""How far the slopes of a critic are from 1 between data and samples."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, ScalarLike

from pullback._floating import require_floating
from pullback._key import checked_key
from pullback._numbers import check_number
from pullback._power_method import row_norms


def gradient_penalty(
    critic: Callable[[Array], Array],
    real: Float[Array, "batch ..."],
    fake: Float[Array, "batch ..."],
    *,
    centre: ScalarLike = 1.0,
    key: PRNGKeyArray,
) -> Float[Array, ""]:
    r"""The penalty on a critic's slopes between each row of data and a sample.

    $$ \frac{1}{B} \sum_i \big( \|\nabla D(\tilde x_i)\|_2 - c \big)^2, \qquad
       \tilde x_i = \epsilon_i x_i + (1 - \epsilon_i) y_i, \quad \epsilon_i \sim U(0, 1) $$

    The norm is over all axes of an example. Where the slope is zero, as that of a critic whose
    last layer is zero, so is the penalty's gradient, and not NaN. Times 10 it is what the critic
    of a Wasserstein GAN pays. It has gradients by the critic, through the slopes, and by both
    sides.

    Args:
        critic: a function of one example to a number. It must have no batch normalisation, with
            which an example has no slope of its own; to one with dropout give its key before.
        real: x, rows of data.
        fake: y, as many samples.
        centre: c. With 0, slopes are made small.
        key: for $\epsilon$, one number for each pair.

    Raises:
        ValueError: shapes or dtypes differ, there are no rows, they are whole numbers, `centre` is
            not finite, or `critic` gives more than a number.
        TypeError: `real` or `fake` is no array, `centre` no number, `critic` cannot be called or
            gives no floating number.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> real, fake = jnp.ones((4, 2)), jnp.zeros((4, 2))
        >>> slope = jnp.asarray([3.0, 4.0])
        >>> float(gradient_penalty(lambda x: slope @ x, real, fake, key=jax.random.key(0)))
        16.0

    Source: Gulrajani et al., Improved Training of Wasserstein GANs, arXiv 1704.00028, equation 3.
    """
    key = checked_key(key)
    if not callable(critic):
        raise TypeError(f"`critic` must be a function of one example, got {critic!r}.")
    check_number("centre", centre)
    _check(real, fake)
    share = jr.uniform(key, (len(real), *[1] * (real.ndim - 1)), real.dtype)
    slopes = jax.vmap(jax.grad(lambda x: _number(critic(x))))(share * real + (1 - share) * fake)
    return jnp.mean(jnp.square(row_norms(slopes) - jnp.asarray(centre, slopes.dtype)))


def _check(real: Array, fake: Array) -> None:
    for name, rows in (("real", real), ("fake", fake)):
        if not isinstance(rows, np.ndarray | Array):
            raise TypeError(f"`{name}` must be an array of rows, got {type(rows).__name__}.")
    if real.shape != fake.shape or real.dtype != fake.dtype or real.ndim == 0 or len(real) == 0:
        raise ValueError(
            "`real` and `fake` must be rows of the same shape and dtype, one or more; got "
            f"{real.dtype}{list(real.shape)} and {fake.dtype}{list(fake.shape)}."
        )
    require_floating("real", real, "between whole numbers a critic has no slope")


def _number(value: Array) -> Array:
    if not isinstance(value, Array) or not jnp.issubdtype(value.dtype, jnp.floating):
        got = value.dtype if isinstance(value, Array) else type(value).__name__
        raise TypeError(
            f"`critic` must give a floating number for one example, that it has a slope; got {got}."
        )
    if value.size != 1:
        raise ValueError(
            f"`critic` must give one number for one example, got the shape {value.shape}."
        )
    return jnp.reshape(value, ())
