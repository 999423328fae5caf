"""The Fokker-Planck equation: how the density of a diffusion changes, and by how much one fails."""

from collections.abc import Callable
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, ScalarLike

from ._dimensionwise import dimensionwise_derivatives

Penalty = Literal["squared", "absolute"]
Vector = Float[Array, " dim"]


def fokker_planck_rate(
    drift: tuple[Vector, Vector],
    squared_diffusion: tuple[Vector, Vector, Vector],
    score: tuple[Vector, Vector],
) -> Float[Array, ""]:
    r"""The rate at which the log-density of a diffusion changes at a fixed point.

    For the Ito equation $dx = f\,dt + g\,dW$ with diagonal noise, $G_i = g_i^2$ and the score
    $s = \nabla_x \log p$,

    $$ \frac{\partial \log p}{\partial t} = \sum_i \Big[ -\partial_i f_i - f_i s_i + \tfrac12 \big(
       \partial_i^2 G_i + 2\, \partial_i G_i\, s_i + G_i (\partial_i s_i + s_i^2) \big) \Big]. $$

    Only dimension-wise derivatives are in it, so hollow nets have all of them at the cost of a few
    evaluations.

    Args:
        drift: `(f, df_i/dx_i)`.
        squared_diffusion: `(G, dG_i/dx_i, d^2 G_i/dx_i^2)`.
        score: `(s, ds_i/dx_i)`.

    Returns:
        The rate, in nats over time.

    Example:
        Heat spreads a standard Gaussian, whose log-density at the origin falls at the rate 1/2:

        >>> import jax.numpy as jnp
        >>> zero, one = jnp.zeros(1), jnp.ones(1)
        >>> float(fokker_planck_rate((zero, zero), (one, zero, zero), (zero, -one)))
        -0.5

    Source:
        Chen and Duvenaud, "Neural Networks with Cheap Differential Operators", arXiv 1912.03579,
        section 5.
    """
    (f, df), (g, dg, d2g), (s, ds) = drift, squared_diffusion, score
    return jnp.sum(-df - f * s + (d2g + 2 * dg * s + g * (ds + s**2)) / 2)


def fokker_planck_residual(
    log_prob: Callable[[Any, Any], Any],
    drift: Callable[[Any, Any, Any], Any],
    squared_diffusion: Callable[[Any, Any, Any], Any],
    t: ScalarLike,
    x: Vector,
    args: Any = None,
    *,
    score: Callable[[Any, Any, Any], Any] | None = None,
) -> Float[Array, ""]:
    r"""By how much a density fails to be that of a diffusion, at one point and time.

    $$ r(t, x) = \frac{\partial \log p}{\partial t}(t, x) - \text{rate}(t, x), $$

    with the rate of `fokker_planck_rate`. It is zero everywhere if, and only if, the density moves
    as the diffusion says.

    Args:
        log_prob: The log-density `log_prob(t, x)`, in nats; normalised at every time, or with a
            constant that does not depend on the time.
        drift: `f(t, x, args)`, to `[dim]`.
        squared_diffusion: `G(t, x, args)`, to `[dim]`: the square of what multiplies the noise.
        t: Time.
        x: The point, `[dim]`; `jax.vmap` a batch.
        args: For `drift` and `squared_diffusion`.
        score: The gradient of `log_prob` by `x`, as a field `s(t, x, args)`; found by `jax.grad`
            if None.

    Returns:
        The residual, in nats over time. A field that has `with_diagonal`, as hollow nets do, gives
        its derivatives at about the cost of an evaluation, any other at that of `dim`.

    Example:
        >>> import jax.numpy as jnp
        >>> stationary = lambda t, x: -jnp.sum(x**2) / 2
        >>> drift, squared = lambda t, x, args: -x, lambda t, x, args: 2 * jnp.ones_like(x)
        >>> x = jnp.array([0.5, -1.0])
        >>> float(fokker_planck_residual(stationary, drift, squared, 0.0, x))
        0.0

    Source:
        Chen and Duvenaud, "Neural Networks with Cheap Differential Operators", arXiv 1912.03579,
        section 5.
    """
    t = jnp.asarray(t, x.dtype)
    if score is None:
        score = lambda t, x, args: jax.grad(log_prob, argnums=1)(t, x)
    _, change = jax.jvp(lambda t: log_prob(t, x), (t,), (jnp.ones_like(t),))
    f, df = dimensionwise_derivatives(drift, t, x, args)
    g, dg, d2g = dimensionwise_derivatives(squared_diffusion, t, x, args, order=2)
    s, ds = dimensionwise_derivatives(score, t, x, args)
    return change - fokker_planck_rate((f, df), (g, dg, d2g), (s, ds))


def fokker_planck_objective(
    log_prob: Callable[[Any, Any], Any],
    drift: Callable[[Any, Any, Any], Any],
    squared_diffusion: Callable[[Any, Any, Any], Any],
    ts: Float[Array, " n"],
    xs: Float[Array, "n dim"],
    args: Any = None,
    *,
    score: Callable[[Any, Any, Any], Any] | None = None,
    penalty: Penalty = "squared",
) -> Float[Array, ""]:
    r"""The mean squared or absolute Fokker-Planck residual over points: fit a density or a drift.

    $$ L = \frac1n \sum_k |r(t_k, x_k)|^q, \qquad q = 2 \text{ or } 1. $$

    Whatever has the parameters is fitted: the density of a known equation, or the equation of a
    known density. Take the points where the density is, for instance its own samples. In more than
    one dimension a density does not fix the drift: a flow along its level sets leaves it as it is.

    Args:
        log_prob, drift, squared_diffusion, args, score: As in `fokker_planck_residual`.
        ts: The time of each point.
        xs: The points.
        penalty: `"squared"`, or `"absolute"`, which far-off points weigh less in.

    Returns:
        The loss.

    Raises:
        ValueError: If `penalty` is unknown.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> stationary = lambda t, x: -jnp.sum(x**2) / 2
        >>> drift, squared = lambda t, x, rate: -rate * x, lambda t, x, rate: 2 * jnp.ones_like(x)
        >>> ts, xs = jnp.zeros(3), jnp.array([[0.5], [-1.0], [2.0]])
        >>> loss = lambda rate: fokker_planck_objective(stationary, drift, squared, ts, xs, rate)
        >>> float(loss(jnp.array(1.0))), abs(float(jax.grad(loss)(jnp.array(1.0))))
        (0.0, 0.0)

    Source:
        Chen and Duvenaud, "Neural Networks with Cheap Differential Operators", arXiv 1912.03579,
        section 5.
    """
    if penalty not in get_args(Penalty):
        raise ValueError(f"`penalty` must be one of {get_args(Penalty)}; got {penalty!r}.")
    residuals = jax.vmap(
        lambda t, x: fokker_planck_residual(
            log_prob, drift, squared_diffusion, t, x, args, score=score
        )
    )(ts, xs)
    return jnp.mean(residuals**2 if penalty == "squared" else jnp.abs(residuals))
