"""What is gained, on average, by asking at a code."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
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

    Raises:
        ValueError: `best` or `margin` is not finite, and not traced.

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

    Raises:
        ValueError: `best` or `margin` is not finite, and not traced.

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
    for name, value in {"best": best, "margin": margin}.items():
        if not isinstance(value, Tracer) and not np.isfinite(value):
            raise ValueError(f"`{name}` must be finite, got {value}.")
    mean, sd = process.predict(z)
    above = mean - jnp.asarray(best, mean.dtype) - jnp.asarray(margin, mean.dtype)
    return jnp.log(sd) + _log_hope(above / sd)


_SEAM = -3.0  # Above it few digits cancel, and below it the fraction needs few terms.
_TERMS = 40


@jax.custom_jvp
@jax.jit
def _log_hope(u: Float[Array, ""]) -> Float[Array, ""]:
    r"""$\log(\varphi(u) + u \Phi(u))$.

    In the tail the logarithm of $\varphi(u)\, r / (r - u)$, with the fraction of Laplace, `_rest`,
    as r; the slope is 1 / r.
    """
    near = jnp.where(u > _SEAM, u, 0)
    phi = jnp.exp(-near * near / 2) / math.sqrt(2 * math.pi)
    plain = jnp.log(phi + near * jax.scipy.special.ndtr(near))
    t = -jnp.where(u > _SEAM, _SEAM, u)
    rest = _rest(t)
    tail = -t * t / 2 - math.log(2 * math.pi) / 2 + jnp.log(rest) - jnp.log(t + rest)
    return jnp.where(u > _SEAM, plain, tail)


@_log_hope.defjvp  # pyrefly: ignore
def _log_hope_slope(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    (u,), (du,) = primals, tangents
    value = _log_hope(u)
    near = jnp.where(u > _SEAM, u, 0)
    plain = jnp.exp(jax.scipy.special.log_ndtr(near) - _log_hope(near))
    tail = 1 / _rest(-jnp.where(u > _SEAM, _SEAM, u))
    return value, jnp.where(u > _SEAM, plain, tail) * du


def _rest(t: Float[Array, ""]) -> Float[Array, ""]:
    """1 / (t + 2 / (t + 3 / (t + ...))), of t above 3: no term is negative, so no digit cancels."""
    # The rest of the fraction is near the number that would repeat itself.
    value = t / 2 + jnp.sqrt(jnp.square(t / 2) + _TERMS)
    for n in range(_TERMS - 1, 1, -1):
        value = t + n / value
    return 1 / value
