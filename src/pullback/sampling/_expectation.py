"""An expectation over a distribution, whose gradient is that of a chosen estimator."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from pullback._key import checked_key

from ._contract import require_distribution
from ._distribution import Distribution
from ._estimator import AbstractEstimator
from ._pathwise import LogMeanExp, scalar


def expectation(
    f: Callable[[Any, Any], Float[Array, ""]],
    q: Distribution,
    *,
    estimator: AbstractEstimator,
    num_samples: int = 1,
    batch_size: int | None = None,
    key: PRNGKeyArray,
) -> Float[Array, ""]:
    r"""Estimate an expectation so that `jax.grad` of it is the estimator's gradient.

    $$ \frac1n \sum_{i=1}^n f(z_i; q), \quad z_i \sim q, \qquad
       \nabla \, \mathbb{E}_q[f(z; q)] = \mathbb{E}_q\big[
           f \, \nabla \log q(z) + \nabla_{|z} f(z; q) \big] $$

    The gradient reaches whatever `q` and `f` were made of: parameters of an encoder, of a decoder
    that `f` closes over, and of the estimator itself (a control variate, a baseline), which has
    the gradient of its own objective. Further derivatives are those of the expectation, too, or
    raise; the docs have a table of them. This is for one example: `jax.vmap` it over a batch,
    with a key for each.

    Args:
        f: `f(z, q)`, a scalar. `q` is the distribution as the estimator wants it seen: write
            `q.log_prob(z)` with this one and not with one from outside.
        q: one of `numpyro.distributions`, or anything with `sample(key, shape)` and `log_prob(z)`.
            Its whole batch shape is one draw.
        estimator: of the gradient.
        num_samples: n.
        batch_size: the most samples held in memory at once; all of them when None. The others are
            computed again in the backward pass.
        key: a typed PRNG key.

    Returns:
        The estimate, a scalar.

    Raises:
        ValueError: `num_samples` or `batch_size` is below 1, `q` is no distribution, `f` gives no
            scalar, or the estimator does not fit `q` or `f`; the message says what does.
        TypeError: `estimator` is none, or the class of one.

    Example:
        >>> import jax, jax.numpy as jnp, numpyro.distributions as dist
        >>> from pullback.sampling import Reparameterised
        >>> def loss(mean, key):
        ...     q = dist.Normal(mean, 1.0)
        ...     return expectation(
        ...         lambda z, q: z**2, q, estimator=Reparameterised(), num_samples=10_000, key=key
        ...     )
        >>> print(f"{jax.grad(loss)(1.0, jax.random.key(0)):.1f}")  # of mean^2 + 1
        2.0

    Source: Mohamed et al., Monte Carlo Gradient Estimation in Machine Learning, arXiv 1906.10652.
    """
    key = checked_key(key)
    require_distribution(q, "q")
    if not isinstance(estimator, AbstractEstimator):
        got = f"the class {estimator.__name__}" if isinstance(estimator, type) else repr(estimator)
        raise TypeError(f"`estimator` must be one, such as `Reparameterised()`, got {got}.")
    for name, value in (("num_samples", num_samples), ("batch_size", batch_size)):
        if value is not None and value < 1:
            raise ValueError(f"`{name}` must be 1 or more, got {value}.")

    # A weighted bound is told by its type, and has floating values.
    integrand = f if isinstance(f, LogMeanExp) else _floating(f)
    return estimator(integrand, q, jr.split(key, num_samples), batch_size)


def _floating(f: Callable[[Any, Any], Array]) -> Callable[[Any, Any], Array]:
    """`f`, whose whole numbers, as of a Bernoulli's, have no tangent to be weighted."""

    def floating(z: Any, q: Any) -> Array:
        value = scalar("f", jnp.asarray(f(z, q)))
        return value if jnp.issubdtype(value.dtype, jnp.inexact) else value.astype(float)

    return floating


class ValueAndGrad(NamedTuple):
    """An expectation and its gradients.

    Attributes:
        value: the estimate of the expectation.
        params: its gradient, in the structure of the parameters.
        estimator: what the estimator's own parameters are to be moved against, in its structure:
            of the variance for a control variate, of the squared error for a baseline. None where
            it has no parameters.
    """

    value: Float[Array, ""]
    params: PyTree
    estimator: PyTree


def value_and_grad(
    f: Callable[[Any, Any], Float[Array, ""]],
    family: Callable[[Any], Distribution],
    *,
    estimator: AbstractEstimator,
    num_samples: int = 1,
    batch_size: int | None = None,
) -> Callable[..., ValueAndGrad]:
    r"""The value and the gradient of $\mathbb{E}_{q_\phi(z)}[f(z)]$ as a function of $\phi$.

    Args:
        f: `f(z, q)`, a scalar, as in `expectation`.
        family: from the parameters, any PyTree, to the distribution.
        estimator: of the gradient; see `expectation`.
        num_samples: samples of each call.
        batch_size: the most samples held in memory at once.

    Returns:
        A function `(params, *, key) -> ValueAndGrad`.

    Example:
        >>> import jax, jax.numpy as jnp, numpyro.distributions as dist
        >>> from pullback.sampling import ScoreFunction
        >>> family = lambda logits: dist.Bernoulli(logits=logits)
        >>> estimator = ScoreFunction("leave_one_out")
        >>> f = lambda z, q: (z.astype(float) - 0.4) ** 2
        >>> run = value_and_grad(f, family, estimator=estimator, num_samples=20_000)
        >>> found = run(jnp.asarray(0.0), key=jax.random.key(0))
        >>> print(f"{found.value:.2f} {found.params:.3f}")  # exact: 0.26 and 0.05
        0.26 0.050

    Source: Mohamed et al., arXiv 1906.10652.
    """

    def run(params: PyTree, *, key: PRNGKeyArray) -> ValueAndGrad:
        @eqx.filter_value_and_grad
        def of(both: tuple) -> Array:
            params, estimator = both
            return expectation(
                f,
                family(params),
                estimator=estimator,
                num_samples=num_samples,
                batch_size=batch_size,
                key=key,
            )

        value, grads = of((params, estimator))
        return ValueAndGrad(value, *grads)

    return run
