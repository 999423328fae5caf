"""Linear independent component analysis: a model of one matrix whose likelihood is known."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from pullback._event import require_event
from pullback._key import checked_key


class LinearICA(eqx.Module):
    r"""Mixtures of independent logistic sources.

    $$ \log p(x) = \log |\det W| + \sum_i \log p_0\big((x^\top W)_i\big), \qquad
       \log p_0(s) = -s - 2 \log(1 + e^{-s}) $$

    The sources and their order and signs are not told apart by the data; the density is.

    Args:
        unmixing: W, `[dim, dim]`, invertible: the sources of x are $x^\top W$.

    Raises:
        ValueError: the matrix is not square.

    Example:
        >>> import jax.numpy as jnp
        >>> model = LinearICA(2.0 * jnp.eye(2))
        >>> print(f"{model.log_prob(jnp.zeros(2)):.4f}")  # 2 log 2 - 4 log 2
        -1.3863

    Source: Bell and Sejnowski (1995); Grathwohl et al., arXiv 2002.05616, section 5.2.
    """

    unmixing: Float[Array, "..."]

    def __check_init__(self):
        shape = jnp.shape(self.unmixing)
        if len(shape) >= 2 and shape[-1] != shape[-2]:
            raise ValueError(f"`unmixing` must be square, got shape {shape}.")

    def log_prob(self, x: Float[Array, "..."]) -> Float[Array, ""]:
        """The log-density of one point `[dim]`, in nats."""
        require_event(x, self.unmixing.shape[:1], single=True, name="x")
        s = x @ self.unmixing
        return jnp.linalg.slogdet(self.unmixing)[1] - jnp.sum(s + 2 * jax.nn.softplus(-s))

    def score(self, x: Float[Array, " dim"]) -> Float[Array, " dim"]:
        """The gradient of `log_prob` at one point."""
        return -self.unmixing @ jnp.tanh(x @ self.unmixing / 2)

    def sample(self, key: PRNGKeyArray, shape: tuple[int, ...] = ()) -> Float[Array, "*all"]:
        """Draws of shape `[*shape, dim]`."""
        key = checked_key(key)
        dim = self.unmixing.shape[0]
        s = jr.logistic(key, (*shape, dim), self.unmixing.dtype)
        return s @ jnp.linalg.inv(self.unmixing)


def random_unmixing(dim: int, *, key: PRNGKeyArray) -> Float[Array, "dim dim"]:
    r"""A Gaussian matrix, drawn again until its condition number is below the dimension.

    $$ W_{ij} \sim N(0, 1), \qquad \mathrm{cond}(W) < \max(d, 2) $$

    Args:
        dim: d.
        key: a typed PRNG key.

    Returns:
        The matrix, `[dim, dim]`.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> bool(jnp.linalg.cond(random_unmixing(4, key=jax.random.key(0))) < 4)
        True

    Source: Grathwohl et al., arXiv 2002.05616, section 5.2.
    """
    key = checked_key(key)

    def again(carry: tuple[Array, Array]) -> tuple[Array, Array]:
        key, draw = jr.split(carry[0])
        return key, jr.normal(draw, (dim, dim))

    def ill(carry: tuple[Array, Array]) -> Array:
        return jnp.linalg.cond(carry[1]) >= max(dim, 2)

    return jax.lax.while_loop(ill, again, again((key, jnp.zeros((dim, dim)))))[1]
