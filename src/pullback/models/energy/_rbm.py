"""A Gaussian-Bernoulli restricted Boltzmann machine: an energy with exact scores and samplers."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from pullback._event import require_event
from pullback._key import checked_key

_MOST_HIDDEN = 20  # whose states can be enumerated


class GaussianBernoulliRBM(eqx.Module):
    r"""Real visible units, and hidden ones in {-1, 1}.

    $$ p(x, h) \propto \exp\big( \tfrac12 x^\top B h + b^\top x + c^\top h - \tfrac12 \|x\|^2
       \big) $$

    Given h, x is normal with mean $B h / 2 + b$ and unit covariance: the density is a mixture of
    $2^{d_h}$ Gaussians, which is known up to a factor, and exactly where $d_h$ is small.

    Args:
        weights: B, `[dim, hidden]`.
        bias: b, `[dim]`.
        hidden_bias: c, `[hidden]`.

    Raises:
        ValueError: the shapes do not fit together.

    Example:
        >>> import jax.numpy as jnp
        >>> rbm = GaussianBernoulliRBM(jnp.zeros((2, 3)), jnp.zeros(2), jnp.zeros(3))
        >>> print(f"{rbm.log_prob(jnp.zeros(2)):.4f}")  # a standard Gaussian
        -1.8379

    Source: Liu, Lee and Jordan, arXiv 1602.03253, section 6; Grathwohl et al., arXiv 2002.05616,
        section 5.1.
    """

    weights: Float[Array, "..."]
    bias: Float[Array, "..."]
    hidden_bias: Float[Array, "..."]

    def __check_init__(self):
        shape = jnp.shape(self.weights)[-2:]
        wanted = jnp.shape(self.bias)[-1:] + jnp.shape(self.hidden_bias)[-1:]
        if len(shape) != 2 or shape != wanted:
            raise ValueError(
                f"`weights` must have shape [dim, hidden]; got {jnp.shape(self.weights)} with "
                f"`bias` of {jnp.shape(self.bias)} and `hidden_bias` of "
                f"{jnp.shape(self.hidden_bias)}."
            )

    def log_density(self, x: Float[Array, "..."]) -> Float[Array, ""]:
        """The log-density of one point `[dim]` up to a constant, the hidden units summed over."""
        require_event(x, self.bias.shape, single=True, name="x")
        field = x @ self.weights / 2 + self.hidden_bias
        quadratic = jnp.vdot(self.bias, x) - jnp.sum(x**2) / 2
        return quadratic + jnp.sum(jnp.logaddexp(field, -field))

    def score(self, x: Float[Array, " dim"]) -> Float[Array, " dim"]:
        """The gradient of `log_density` at one point."""
        field = x @ self.weights / 2 + self.hidden_bias
        return self.weights @ jnp.tanh(field) / 2 + self.bias - x

    def log_normaliser(self) -> Float[Array, ""]:
        r"""$\log Z = \tfrac{d}{2} \log 2\pi + \log \sum_h e^{c^\top h + \|Bh/2 + b\|^2 / 2}$.

        Raises:
            ValueError: there are more than 20 hidden units, whose states are too many.
        """
        dim, hidden = self.weights.shape
        if hidden > _MOST_HIDDEN:
            raise ValueError(
                f"`log_normaliser` sums over all states of the hidden units, and 2^{hidden} are "
                f"too many; it takes {_MOST_HIDDEN} hidden units at most."
            )
        states = np.array(list(itertools.product((-1.0, 1.0), repeat=hidden)))
        h = jnp.asarray(states, self.weights.dtype)
        means = h @ self.weights.T / 2 + self.bias[None]
        terms = h @ self.hidden_bias + jnp.sum(means**2, axis=1) / 2
        return dim / 2 * np.log(2 * np.pi) + jax.nn.logsumexp(terms)

    def log_prob(self, x: Float[Array, "..."]) -> Float[Array, ""]:
        """The normalised log-density of one point; for few hidden units, see `log_normaliser`."""
        return self.log_density(x) - self.log_normaliser()

    def sample(
        self, key: PRNGKeyArray, shape: tuple[int, ...] = (), *, steps: int = 2000
    ) -> Float[Array, "*all"]:
        """Draws of shape `[*shape, dim]`, each the end of a chain of blocked Gibbs sampling.

        Args:
            key: a typed PRNG key.
            shape: of the draws; the chains are independent and run side by side.
            steps: of each chain, from a standard Gaussian on.
        """
        key = checked_key(key)
        dim, hidden = self.weights.shape
        start_key, key = jr.split(key)
        x = jr.normal(start_key, (*shape, dim), self.weights.dtype)

        def step(number: Array, x: Array) -> Array:
            h_key, x_key = jr.split(jr.fold_in(key, number))
            logits = x @ self.weights + 2 * jnp.broadcast_to(self.hidden_bias, (*shape, hidden))
            up = jr.bernoulli(h_key, jax.nn.sigmoid(logits))
            h = jnp.where(up, 1, -1).astype(x.dtype)
            mean = h @ self.weights.T / 2 + jnp.broadcast_to(self.bias, x.shape)
            return mean + jr.normal(x_key, x.shape, x.dtype)

        return jax.lax.fori_loop(0, steps, step, x)
