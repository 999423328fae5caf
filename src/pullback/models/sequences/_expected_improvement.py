"""What is gained, on average, by asking at a code."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, ScalarLike

from ._gaussian_process import GaussianProcess


def expected_improvement(
    process: GaussianProcess,
    z: Float[Array, " latent"],
    best: ScalarLike,
    *,
    margin: ScalarLike = 0.0,
) -> Float[Array, ""]:
    r"""How far the function is expected to lie above the best target so far, below it counting 0.

    $$ E[\max(f(z) - y^* - \xi, 0)] = s \big(\varphi(u) + u \Phi(u)\big), \qquad
       u = (m - y^* - \xi) / s $$

    It keeps its digits where there is next to no hope. To climb it, take
    `log_expected_improvement`, whose slope does not vanish there.

    Args:
        process: what is known of the function.
        z: one code; `jax.vmap` over many.
        best: $y^*$, the best target so far.
        margin: $\xi$, in the unit of the targets; a larger one explores more.

    Example:
        >>> import jax.numpy as jnp
        >>> x = jnp.array([[0.0], [1.0], [2.0]])
        >>> process = GaussianProcess(x, jnp.array([0.0, 1.0, 0.0]), length_scale=1.0)
        >>> at = lambda x: round(float(expected_improvement(process, jnp.array([x]), 1.0)), 3)
        >>> at(1.0), at(50.0)
        (0.008, 0.017)

    Source: Jones, Schonlau and Welch, Efficient global optimization of expensive black-box
    functions, 1998, equation 15.
    """
    return jnp.exp(log_expected_improvement(process, z, best, margin=margin))


def log_expected_improvement(
    process: GaussianProcess,
    z: Float[Array, " latent"],
    best: ScalarLike,
    *,
    margin: ScalarLike = 0.0,
) -> Float[Array, ""]:
    r"""The logarithm of `expected_improvement`, which has a slope wherever there is little hope.

    $$ \log s + \log\big(\varphi(u) + u \Phi(u)\big) $$

    Args:
        process: what is known of the function.
        z: one code; `jax.vmap` over many.
        best: $y^*$, the best target so far.
        margin: $\xi$, in the unit of the targets.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> x = jnp.array([[0.0], [1.0]])
        >>> process = GaussianProcess(x, jnp.array([0.0, 1.0]), length_scale=1.0)
        >>> value = lambda z: log_expected_improvement(process, z, 1e3)
        >>> bool(jax.grad(value)(jnp.array([0.5]))[0] > 0)
        True

    Source: Ament et al., Unexpected improvements to expected improvement for Bayesian optimization,
    arXiv 2310.20708, section 4.1.
    """
    mean, sd = process.predict(z)
    above = mean - jnp.asarray(best, mean.dtype) - jnp.asarray(margin, mean.dtype)
    return jnp.log(sd) + _log_hope(above / sd)


@jax.jit
def _log_hope(u: Float[Array, ""]) -> Float[Array, ""]:
    r"""$\log(\varphi(u) + u \Phi(u))$, in three pieces, each where it loses no digits."""
    log_phi = -u * u / 2 - math.log(2 * math.pi) / 2
    high = jnp.maximum(u, -1)
    phi = jnp.exp(-high * high / 2) / math.sqrt(2 * math.pi)
    plain = jnp.log(phi + high * jax.scipy.special.ndtr(high))
    middle = jnp.clip(u, -10, -1)
    ratio = jnp.log(-middle) + jax.scipy.special.log_ndtr(middle)
    ratio = ratio + middle * middle / 2 + math.log(2 * math.pi) / 2
    less = jnp.log(-jnp.expm1(ratio))
    inverse = 1 / jnp.square(jnp.minimum(u, -10))
    series = 1 + inverse * (-3 + inverse * (15 + inverse * (-105 + inverse * 945)))
    tail = jnp.log(inverse) + jnp.log(series)
    return jnp.where(u > -1, plain, log_phi + jnp.where(u > -10, less, tail))
