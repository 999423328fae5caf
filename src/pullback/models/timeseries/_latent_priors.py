"""Priors over latent paths: an Ornstein-Uhlenbeck process, and a learned SDE."""

import abc
import math
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray, ScalarLike

from pullback._inputs import positive
from pullback._key import checked_key


class AbstractLatentPrior(eqx.Module):
    r"""A prior over latent paths, $dz = h(t, z)\,dt + \sigma(t, z)\,dW$ from a Gaussian start."""

    latent: eqx.AbstractVar[int]

    @abc.abstractmethod
    def start(self) -> tuple[Float[Array, " latent"], Float[Array, " latent"]]:
        """Mean and standard deviation of the state at the start."""

    @abc.abstractmethod
    def drift(self, t: ScalarLike, z: Float[Array, " latent"]) -> Float[Array, " latent"]:
        """The drift at one state."""

    @abc.abstractmethod
    def diffusion(self, t: ScalarLike, z: Float[Array, " latent"]) -> Float[Array, " latent"]:
        """The diffusion: entry i is positive and reads entry i of the state alone."""


class GaussianMarginals(NamedTuple):
    """A Gaussian at each of some times.

    Attributes:
        mean: `[query]`.
        std: `[query]`.
    """

    mean: Float[Array, " query"]
    std: Float[Array, " query"]


class OrnsteinUhlenbeck(AbstractLatentPrior):
    r"""Independent stationary processes $dz = -\theta z\,dt + \sigma\,dW$, which are not learned.

    $$ z(t_0) \sim N\Big(0, \frac{\sigma^2}{2\theta}\Big), \qquad
       \mathrm{cov}(z(s), z(t)) = \frac{\sigma^2}{2\theta} e^{-\theta |s - t|} $$

    Seen with Gaussian noise, it is a Gaussian process, so the evidence and the posterior of one
    such series are known: what a latent SDE finds can be compared with them.

    Attributes:
        latent: the number of processes.
        rate: theta, per unit of time.
        sigma: the diffusion, in units of the state by the root of time.

    Raises:
        ValueError: a size, `rate` or `sigma` is not positive.

    Example:
        >>> import jax.numpy as jnp
        >>> prior = OrnsteinUhlenbeck(1, rate=1.0, sigma=0.5)
        >>> times, values = jnp.array([0.5, 1.0]), jnp.array([0.2, -0.1])
        >>> print(prior.log_evidence(times, values, noise=0.1).round(4))
        -0.038
        >>> found = prior.posterior(times, values, jnp.array([0.5, 3.0]), noise=0.1)
        >>> bool(found.std[0] < 0.1 < found.std[1])
        True

    Source: Rasmussen and Williams, Gaussian Processes for Machine Learning, sections 2.2 and B.2.
    """

    latent: int = eqx.field(static=True, default=1)
    rate: float = eqx.field(static=True, default=1.0)
    sigma: float = eqx.field(static=True, default=1.0)

    def __check_init__(self) -> None:
        positive(latent=self.latent)
        for name in ("rate", "sigma"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"`{name}` must be positive, got {getattr(self, name)}.")

    def start(self) -> tuple[Float[Array, " latent"], Float[Array, " latent"]]:
        """The stationary distribution."""
        return jnp.zeros(self.latent), jnp.full(self.latent, self.sigma / math.sqrt(2 * self.rate))

    def drift(self, t: ScalarLike, z: Float[Array, " latent"]) -> Float[Array, " latent"]:
        """`-rate * z`."""
        return -self.rate * z

    def diffusion(self, t: ScalarLike, z: Float[Array, " latent"]) -> Float[Array, " latent"]:
        """`sigma`."""
        return jnp.full_like(z, self.sigma)

    def log_evidence(
        self, times: Float[Array, " time"], values: Float[Array, " time"], *, noise: float
    ) -> Float[Array, ""]:
        """The log-density of a series of one process, seen with noise of this deviation."""
        cov = self._seen(times, noise)
        zero = jnp.zeros_like(values)
        return jnp.asarray(jax.scipy.stats.multivariate_normal.logpdf(values, zero, cov))

    def posterior(
        self,
        times: Float[Array, " time"],
        values: Float[Array, " time"],
        query: Float[Array, " query"],
        *,
        noise: float,
    ) -> GaussianMarginals:
        """The process at the times `query`, given a noisy series of it."""
        weights = jnp.linalg.solve(self._seen(times, noise), self._cov(times, query)).T
        explained = jnp.sum(weights * self._cov(query, times), axis=1)
        return GaussianMarginals(
            weights @ values, jnp.sqrt(self.sigma**2 / (2 * self.rate) - explained)
        )

    def control(
        self,
        t: Float[Array, ""],
        z: Float[Array, " latent"],
        times: Float[Array, " time"],
        values: Float[Array, "time latent"],
        *,
        noise: float,
    ) -> Float[Array, " latent"]:
        r"""The control that steers the prior into the posterior, given a noisy series of each.

        $$ u(t, z) = \sigma\, \partial_z \log p(\text{values after } t \mid z(t) = z) $$

        Source: Dai Pra, Applied Mathematics and Optimization 23 (1991): Doob's h-transform.
        """
        later = times > t
        decay = jnp.where(later, jnp.exp(-self.rate * (times - t)), 0.0)
        variance = self.sigma**2 / (2 * self.rate)
        cov = self._seen(times, noise) - variance * decay[:, None] * decay[None, :]
        eye = jnp.eye(times.shape[0], dtype=times.dtype)
        cov = jnp.where(later[:, None] & later[None, :], cov, eye)
        error = jnp.where(later[:, None], values - decay[:, None] * z[None, :], 0.0)
        # The solve does not see z, so that for many paths it is done once.
        return self.sigma * (jnp.linalg.solve(cov, decay) @ error)

    def _cov(self, s: Array, t: Array) -> Array:
        gaps = jnp.abs(s[:, None] - t[None, :])
        return self.sigma**2 / (2 * self.rate) * jnp.exp(-self.rate * gaps)

    def _seen(self, times: Array, noise: float) -> Array:
        return self._cov(times, times) + noise**2 * jnp.eye(times.shape[0], dtype=times.dtype)


class NeuralPrior(AbstractLatentPrior):
    r"""A prior SDE with a learned start, a learned drift and a learned diffusion.

    The drift is a softplus MLP of the state. The diffusion has a net of its own for every entry, of
    that entry alone (so the noise is diagonal in the strict sense), and a sigmoid at its end, so it
    stays below `most` and does not vanish.

    Args:
        latent: size of the state.
        width: of the hidden layers of the drift, and of each diffusion's.
        depth: hidden layers of the drift.
        most: the largest diffusion.
        dtype: of the weights; JAX's default float if None.
        key: for the weights.

    Raises:
        ValueError: a size is below 1.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> prior = NeuralPrior(3, width=8, key=jax.random.key(0))
        >>> prior.diffusion(0.0, jnp.zeros(3)).shape
        (3,)

    Source: Li et al., arXiv 2001.01328, section 5 and appendix 9.
    """

    mean: Float[Array, " latent"]
    log_std: Float[Array, " latent"]
    net: eqx.nn.MLP
    weights: tuple[Float[Array, "latent width"], ...]
    bias: Float[Array, " latent"]
    latent: int = eqx.field(static=True)
    most: float = eqx.field(static=True)

    def __init__(
        self,
        latent: int,
        *,
        width: int = 100,
        depth: int = 1,
        most: float = 1.0,
        dtype: Any = None,
        key: PRNGKeyArray,
    ):
        key = checked_key(key)
        positive(latent=latent, width=width, depth=depth)
        net_key, first, second = jr.split(key, 3)
        self.net = eqx.nn.MLP(
            latent, latent, width, depth, jax.nn.softplus, dtype=dtype, key=net_key
        )
        zeros = jnp.zeros((latent, width), dtype)
        self.weights = (
            jr.normal(first, (latent, width), zeros.dtype),
            zeros,
            jr.normal(second, (latent, width), zeros.dtype) / math.sqrt(width),
        )
        self.bias = jnp.full(latent, -1.0, dtype)
        self.mean, self.log_std = jnp.zeros(latent, dtype), jnp.zeros(latent, dtype)
        self.latent, self.most = latent, most

    def start(self) -> tuple[Float[Array, " latent"], Float[Array, " latent"]]:
        """The learned Gaussian."""
        return self.mean, jnp.exp(self.log_std)

    def drift(self, t: ScalarLike, z: Float[Array, " latent"]) -> Float[Array, " latent"]:
        """The net, which does not see the time."""
        return self.net(z)

    def diffusion(self, t: ScalarLike, z: Float[Array, " latent"]) -> Float[Array, " latent"]:
        """One net for each entry."""
        scale, shift, out = self.weights
        hidden = jax.nn.softplus(scale * z[:, None] + shift)
        return self.most * jax.nn.sigmoid(jnp.sum(out * hidden, axis=1) + self.bias)
