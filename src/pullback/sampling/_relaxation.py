"""Relaxed samples of discrete variables, with and without knowing the hard ones."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from pullback._key import checked_key

from ._discrete import Discrete, discrete


class RelaxedSample(NamedTuple):
    """A discrete sample and two relaxed ones that it belongs to.

    Attributes:
        b: the discrete sample, zeros and ones of the logits' dtype. No gradient flows through it.
        z: the scores that b was made from.
        z_tilde: other scores, drawn from their distribution given b.
    """

    b: Float[Array, "..."]
    z: Float[Array, "..."]
    z_tilde: Float[Array, "..."]


def relaxed_sample(q: Any, *, key: PRNGKeyArray) -> RelaxedSample:
    r"""Draw a discrete sample b with relaxed scores $z \sim p(z)$ and $\tilde z \sim p(z \mid b)$.

    Binary, with the logit l and logistic noise: $z = l + \epsilon$, $b = 1\{z > 0\}$,

    $$ \tilde z = \begin{cases} \log(1 + v e^l) - \log(1 - v) & b = 1 \\
       \log v - \log(1 + (1 - v) e^{-l}) & b = 0 \end{cases}, \qquad v \sim U(0, 1) $$

    One-hot, with $\theta = \mathrm{softmax}(\text{logits})$ and Gumbel noise:
    $z = \log \theta + g$, $b = e_{\arg\max z}$,

    $$ \tilde z_b = -\log E_b, \qquad \tilde z_i = -\log(E_i / \theta_i + E_b), \qquad
       E \sim \mathrm{Exponential} $$

    Both relaxed samples have gradients with respect to the parameters of q, those of $\tilde z$ at
    the given b; without the latter an estimator is biased. All is computed from logarithms.

    Args:
        q: `numpyro.distributions.Bernoulli`, `OneHotCategorical`, or a `Replicated` one.
        key: a typed PRNG key.

    Returns:
        The three, each of the shape of a sample.

    Raises:
        ValueError: `q` is another distribution; the message says what takes it.

    Example:
        >>> import jax, numpyro.distributions as dist
        >>> b, z, z_tilde = relaxed_sample(dist.Bernoulli(logits=2.0), key=jax.random.key(0))
        >>> bool((b > 0) == (z > 0)), bool((b > 0) == (z_tilde > 0))
        (True, True)

    Source: Tucker et al., REBAR, arXiv 1703.07370, appendix; Grathwohl et al., arXiv 1711.00123,
    appendix B.
    """
    key = checked_key(key)
    distribution = discrete(q, "relaxed_sample")
    return relaxed_from(distribution, *relaxation_noise(distribution, key))


def relaxation_noise(distribution: Discrete, key: PRNGKeyArray) -> tuple[Array, Array]:
    """The noise of both relaxed samples."""
    first, second = jr.split(key)
    return distribution.noise(first), distribution.noise(second)


def relaxed_from(distribution: Discrete, first: Array, second: Array) -> RelaxedSample:
    """The sample as a function of the logits, at given noise."""
    if not distribution.one_hot:
        z = distribution.logits + first
        b = distribution.harden(jax.lax.stop_gradient(z))
        return RelaxedSample(b, z, _binary_given(b, distribution.logits, second))
    log_theta = jax.nn.log_softmax(distribution.logits)
    z = log_theta + first
    b = distribution.harden(jax.lax.stop_gradient(z))
    return RelaxedSample(b, z, _one_hot_given(b, log_theta, second))


def _binary_given(b: Array, logits: Array, noise: Array) -> Array:
    # Minus the logarithms of v and of 1 - v, where the noise is the logit of v.
    log_v, log_rest = -jax.nn.softplus(-noise), -jax.nn.softplus(noise)
    above = jax.nn.softplus(logits + log_v) - log_rest
    below = log_v - jax.nn.softplus(log_rest - logits)
    return jnp.where(b == 1, above, below)


def _one_hot_given(b: Array, log_theta: Array, noise: Array) -> Array:
    # The noise is Gumbel's, minus the logarithm of an exponential variable.
    largest = jnp.sum(b * noise, axis=-1, keepdims=True)
    largest = jnp.broadcast_to(largest, noise.shape)
    return jnp.where(b == 1, largest, -jnp.logaddexp(-noise - log_theta, -largest))
