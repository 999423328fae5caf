"""Categorical distributions relaxed to the inside of the simplex."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax.core import Tracer
from jax.scipy.special import gammaln
from jaxtyping import Array, Float, PRNGKeyArray
from numpyro.distributions import constraints

from pullback._event import require_event
from pullback._key import checked_key

from ._noise import gumbel, wide
from ._one_hot import LOGITS, finite, logits_of


class RelaxedOneHotCategorical(dist.Distribution):
    r"""The Gumbel-softmax, or concrete, distribution on the simplex.

    $$ y = \mathrm{softmax}\big((\text{logits} + g) / \tau\big), \quad g_i \sim \mathrm{Gumbel},
       \qquad p(y) = \Gamma(K)\, \tau^{K-1} \Big(\sum_i \pi_i y_i^{-\tau}\Big)^{-K}
       \prod_i \pi_i y_i^{-\tau - 1} $$

    Gradients flow through its samples. As $\tau \to 0$ they become those of `OneHotCategorical`;
    for $\tau \le 1/(K-1)$ the density has its modes in the corners alone. The log-density grows
    without bound towards the faces of the simplex, where float32 has no numbers left: for KL
    terms take `ExpRelaxedOneHotCategorical`, whose samples are logarithms.

    Args:
        temperature: $\tau$, positive, a scalar or `[*batch]`.
        logits: of any normalisation, `[*batch, K]`; -inf is a class that never comes; or
        probs: probabilities that sum to one, `[*batch, K]`.

    Raises:
        ValueError: the temperature is not positive, both or neither of the others are given, or
            what is given has no axis.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> q = RelaxedOneHotCategorical(1.0, logits=jnp.zeros(3))
        >>> print(f"{q.log_prob(jnp.array([0.2, 0.5, 0.3])):.3f}")
        0.700
        >>> print(f"{q.sample(jax.random.key(0)).sum():.3f}")
        1.000

    Source: Jang, Gu and Poole, arXiv 1611.01144, equations 1 to 3 and appendix B; Maddison, Mnih
    and Teh, The Concrete Distribution, arXiv 1611.00712.
    """

    arg_constraints = {"temperature": constraints.positive, "logits": LOGITS}  # noqa: RUF012
    reparametrized_params = ["temperature", "logits"]  # noqa: RUF012
    support: Any = constraints.simplex

    def __init__(
        self,
        temperature: Any,
        logits: Any = None,
        probs: Any = None,
        *,
        validate_args: bool | None = None,
    ):
        self.temperature, self.logits = _matched(temperature, logits_of(logits, probs))
        shape = self.logits.shape
        super().__init__(shape[:-1], shape[-1:], validate_args=validate_args)

    def sample(
        self, key: PRNGKeyArray | None, sample_shape: tuple[int, ...] = ()
    ) -> Float[Array, "..."]:
        """Points of the simplex, `[*sample_shape, *batch, K]`."""
        key = checked_key(key)
        return jnp.exp(_log_sample(self.temperature, self.logits, key, sample_shape))

    def log_prob(self, value: Any, intermediates: Any = None) -> Float[Array, "..."]:
        """The log-density on the simplex of points `[..., *batch, K]`."""
        del intermediates
        require_event(value, self.event_shape, name="value")
        value = jnp.asarray(value, self.logits.dtype)
        shape = jnp.broadcast_shapes(value.shape, self.logits.shape)
        value = jnp.broadcast_to(value, shape)
        possible = jnp.broadcast_to(self.logits > -jnp.inf, shape)
        # A sample can round to zero, where the density has no value and the logarithm no slope.
        tiny = jnp.finfo(value.dtype).tiny
        r = jnp.log(jnp.where(value > tiny, value, tiny))
        measured = jnp.sum(jnp.where(possible, r, 0), axis=-1)
        at = jnp.where(possible | (value > 0), r, -jnp.inf)
        return _log_density(self.temperature, self.logits, at) - measured


class ExpRelaxedOneHotCategorical(dist.Distribution):
    r"""The logarithm of a Gumbel-softmax sample, whose density is safe to evaluate.

    $$ r = \log y, \qquad \log p(r) = \log \Gamma(K) + (K - 1) \log \tau
       + \sum_i (l_i - \tau r_i) - K \log \sum_i e^{l_i - \tau r_i} $$

    with respect to the measure $\prod_{i<K} dr_i / y_K$, which does not matter in the difference of
    two log-densities: the divergence between relaxed distributions has no closed form, and its
    estimate from a sample is `q.log_prob(r) - p.log_prob(r)`, for any two temperatures.

    Args:
        temperature: $\tau$, positive, a scalar or `[*batch]`.
        logits: of any normalisation, `[*batch, K]`; -inf is a class that never comes; or
        probs: probabilities that sum to one, `[*batch, K]`.

    Raises:
        ValueError: the temperature is not positive, both or neither of the others are given, or
            what is given has no axis.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> q = ExpRelaxedOneHotCategorical(0.5, logits=jnp.array([2.0, 0.0, -2.0]))
        >>> p = ExpRelaxedOneHotCategorical(0.5, logits=jnp.zeros(3))
        >>> r = q.sample(jax.random.key(0), (10_000,))
        >>> print(f"{jnp.mean(q.log_prob(r) - p.log_prob(r)):.0f}")  # a KL, by Monte Carlo
        3

    Source: Maddison, Mnih and Teh, arXiv 1611.00712, appendix C.3.
    """

    arg_constraints = {"temperature": constraints.positive, "logits": LOGITS}  # noqa: RUF012
    reparametrized_params = ["temperature", "logits"]  # noqa: RUF012
    support: Any = constraints.real_vector

    def __init__(
        self,
        temperature: Any,
        logits: Any = None,
        probs: Any = None,
        *,
        validate_args: bool | None = None,
    ):
        self.temperature, self.logits = _matched(temperature, logits_of(logits, probs))
        shape = self.logits.shape
        super().__init__(shape[:-1], shape[-1:], validate_args=validate_args)

    def sample(
        self, key: PRNGKeyArray | None, sample_shape: tuple[int, ...] = ()
    ) -> Float[Array, "..."]:
        """Logarithms of points of the simplex, `[*sample_shape, *batch, K]`."""
        key = checked_key(key)
        return _log_sample(self.temperature, self.logits, key, sample_shape)

    def log_prob(self, value: Any, intermediates: Any = None) -> Float[Array, "..."]:
        """The log-density at logarithms `[..., *batch, K]` of points of the simplex."""
        del intermediates
        require_event(value, self.event_shape, name="value")
        return _log_density(self.temperature, self.logits, jnp.asarray(value, self.logits.dtype))


def require_positive(temperature: Any) -> None:
    """Refuse a temperature that is known, as a traced one is not, and is not positive."""
    if isinstance(temperature, Tracer) or np.all(np.asarray(temperature) > 0):
        return
    raise ValueError(
        f"`temperature` must be positive, got {temperature}; for samples that are exactly one-hot "
        "take `OneHotCategorical(...).sample`, or the estimator `StraightThrough`."
    )


def _matched(temperature: Any, logits: Array) -> tuple[Array, Array]:
    require_positive(temperature)
    temperature = jnp.asarray(temperature, logits.dtype)
    batch = jnp.broadcast_shapes(temperature.shape, logits.shape[:-1])
    logits = jnp.broadcast_to(logits, (*batch, logits.shape[-1]))
    return jnp.broadcast_to(temperature, batch), logits


def _log_sample(
    temperature: Array, logits: Array, key: PRNGKeyArray, sample_shape: tuple[int, ...]
) -> Array:
    shape, dtype = sample_shape + logits.shape, wide(logits.dtype)
    lifted = jnp.broadcast_to(finite(logits.astype(dtype)), shape)
    scale = jnp.broadcast_to(temperature.astype(dtype)[..., None], shape)
    r = jax.nn.log_softmax((lifted + gumbel(key, shape, dtype)) / scale)
    never = jnp.broadcast_to(logits == -jnp.inf, shape) & ~jnp.isnan(r)
    return jnp.where(never, -jnp.inf, r).astype(logits.dtype)


def _log_density(temperature: Array, logits: Array, r: Array) -> Array:
    """Over the classes that are possible; the others have the logarithm -inf, or the density 0."""
    shape = jnp.broadcast_shapes(r.shape, logits.shape)
    logits, r = jnp.broadcast_to(logits, shape), jnp.broadcast_to(r, shape)
    scale = jnp.broadcast_to(temperature[..., None], shape)
    possible, inside = logits > -jnp.inf, r != -jnp.inf
    both = possible & inside
    k = jnp.sum(possible, axis=-1).astype(logits.dtype)
    terms = jnp.where(both, logits, 0) - scale * jnp.where(both, r, 0)
    top = jax.nn.logsumexp(terms, axis=-1, where=both, keepdims=True)
    # The sum less K times the logsumexp, term by term: each is small where both are large.
    found = (
        gammaln(k)
        + (k - 1) * jnp.log(scale[..., 0])
        + jnp.sum(jnp.where(both, terms - top, 0), axis=-1)
    )
    found = jnp.where(jnp.any(possible, axis=-1), found, jnp.nan)
    return jnp.where(jnp.any(possible != inside, axis=-1), -jnp.inf, found)
