"""A prior of correlated sequences, which no posterior of independent entries can meet."""

import math
from collections.abc import Iterable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpyro.distributions as dist
from jaxtyping import Array, Float, PRNGKeyArray
from scipy.optimize import brentq

from pullback._key import checked_key
from pullback.sampling import independent_parts


class AR1Prior(eqx.Module):
    r"""Channels that each follow a stationary autoregression of order one, with unit variance.

    $$ z_1 \sim N(0, 1), \qquad z_t = \alpha z_{t-1} + \epsilon_t, \quad
       \epsilon_t \sim N(0, 1 - \alpha^2) $$

    A mean-field normal posterior cannot follow the correlations, so its divergence from this prior
    never falls below the committed rate, whatever x and the weights are:

    $$ \min_{\mu, \sigma} \mathrm{KL} = \delta = \tfrac12 \sum_k \big[
       (n - 2) \log(1 + \alpha_k^2) - \log(1 - \alpha_k^2) \big] $$

    A delta-VAE is a VAE with this prior, a `DiagonalNormal` posterior and the plain ELBO. The
    posterior has to be mean-field: one with correlations along the sequence may meet the prior.
    And $\alpha$ is fixed: if it were learned, it would go to zero to save the rate.

    That the rate is above $\delta$ does not say that z tells anything of x: at $\mu = 0$ the whole
    rate is waste. Bound the mutual information too (`pullback.bounds.tnce`).

    Args:
        alpha: the correlation of neighbours, one for each channel, in [0, 1).
        steps: n, the length of the sequence.

    Raises:
        ValueError: there is no channel, a correlation is outside of [0, 1), or `steps` is below 2.

    Example:
        >>> import jax, jax.numpy as jnp, numpyro.distributions as dist
        >>> prior = AR1Prior((0.9, 0.5), steps=8)
        >>> prior.sample(jax.random.key(0)).shape
        (8, 2)
        >>> q = dist.Normal(jnp.zeros((8, 2)), 0.5).to_event(2)
        >>> print(f"{prior.committed_rate:.3f} {prior.kl_from(q):.3f}")
        3.424 6.315

    Source: Razavi, van den Oord, Poole and Vinyals, Preventing Posterior Collapse with delta-VAEs,
    arXiv 1901.03416, section 2.2.
    """

    alpha: tuple[float, ...] = eqx.field(static=True, converter=lambda a: tuple(map(float, a)))
    steps: int = eqx.field(static=True)

    def __check_init__(self):
        if not self.alpha or not all(0 <= a < 1 for a in self.alpha):
            raise ValueError(
                f"`alpha` must hold correlations from 0 up to 1, 1 left out, got {self.alpha}: one "
                "for each channel."
            )
        if self.steps < 2:
            raise ValueError(
                f"`steps` must be 2 or more, got {self.steps}: a sequence of one step has no "
                "correlation, and no committed rate."
            )

    @classmethod
    def from_committed_rate(cls, delta: float | int, steps: int, channels: int) -> "AR1Prior":
        r"""The prior that commits a posterior to a rate, the same in every channel.

        Args:
            delta: the committed rate $\delta$ of the whole sequence, in nats. Choose it well below
                what there is to know of x.
            steps: n.
            channels: the size of each $z_t$.

        Raises:
            ValueError: `delta` is negative, or so large that the correlation would round to one; or
                `steps` is below 2, or `channels` below 1.

        Example:
            >>> prior = AR1Prior.from_committed_rate(9.73, steps=32, channels=1)
            >>> print(f"{prior.alpha[0]:.3f} {prior.committed_rate:.3f}")
            0.900 9.730
        """
        if channels < 1:
            raise ValueError(f"`channels` must be 1 or more, got {channels}.")
        cls((0.0,), steps)  # its own checks
        if not delta >= 0:
            raise ValueError(f"`delta` must be 0 or more, got {delta}.")
        wanted = 2 * delta / channels
        # In v = -log(1 - alpha^2) both terms are sums, and the root lies between 0 and `wanted`.
        short = lambda v: (steps - 2) * math.log1p(-math.expm1(-v)) + v - wanted
        root: Any = brentq(short, 0.0, wanted, xtol=1e-14)
        alpha = math.sqrt(-math.expm1(-root))
        if alpha >= 1:
            raise ValueError(
                f"`delta` must be smaller, got {delta}: with {steps} steps and {channels} channels "
                "it needs a correlation that rounds to 1. Take more steps or channels."
            )
        return cls((alpha,) * channels, steps)

    @property
    def committed_rate(self) -> float:
        r"""$\delta$ in nats: the least divergence of a mean-field normal from this prior."""
        return (
            sum(
                (self.steps - 2) * math.log1p(a * a) - math.log1p(-a) - math.log1p(a)
                for a in self.alpha
            )
            / 2
        )

    @property
    def shape(self) -> tuple[int, int]:
        """Of a draw: steps and channels."""
        return self.steps, len(self.alpha)

    @property
    def has_rsample(self) -> bool:
        """Whether gradients flow through a sample."""
        return True

    def sample(
        self, key: PRNGKeyArray, sample_shape: tuple[int, ...] = ()
    ) -> Float[Array, "*sample steps channels"]:
        """Draws of shape `[*sample_shape, steps, channels]`."""
        key = checked_key(key)
        noise = jr.normal(key, (self.steps, *sample_shape, len(self.alpha)))
        alpha = self._row(noise[0], self.alpha)
        scale = self._row(noise[0], map(math.sqrt, self._innovation))

        def step(z: Array, noise: Array) -> tuple[Array, Array]:
            z = alpha * z + scale * noise
            return z, z

        _, rest = jax.lax.scan(step, noise[0], noise[1:])
        return jnp.moveaxis(jnp.concatenate([noise[:1], rest]), 0, -2)

    def log_prob(self, z: Float[Array, "*batch steps channels"]) -> Float[Array, "*batch"]:
        """The log-density of whole sequences, in nats."""
        self._check_shape(z.shape, "z")
        first = jnp.sum(jnp.square(z[..., 0, :]), axis=-1)
        moved = jnp.sum(jnp.square(self._innovations(z)), axis=(-2, -1))
        return -(first + moved) / 2 - self._log_normaliser

    def kl_from(self, q: Any) -> Float[Array, "*batch"]:
        r"""The divergence of a mean-field normal from this prior, in closed form.

        $$ \mathrm{KL} = \tfrac12 \sum_k \Big[ \sigma_1^2 + \mu_1^2 - 1 - \log \sigma_1^2
           + \sum_{t \ge 2} \Big( \log \tfrac{c}{\sigma_t^2} - 1 + \tfrac1c \big(
           \sigma_t^2 + \alpha^2 \sigma_{t-1}^2 + (\mu_t - \alpha \mu_{t-1})^2 \big) \Big) \Big],
           \qquad c = 1 - \alpha^2 $$

        Args:
            q: a `numpyro.distributions.Normal`, its axes declared as the event's or not, that ends
                in steps and channels: as `DiagonalNormal(prior.shape)` gives it.

        Raises:
            ValueError: it is another distribution, or of another shape.
        """
        parts: Any = independent_parts(q)
        if not isinstance(parts, dist.Normal):
            raise ValueError(
                f"`q` must be a Normal of independent entries, got {type(parts).__name__}: for "
                'another posterior there is no committed rate; its divergence is `kl="sampled"`.'
            )
        loc: Any = parts.loc
        scale: Any = parts.scale
        shape = jnp.broadcast_shapes(jnp.shape(loc), jnp.shape(scale))
        self._check_shape(shape, "q")
        mean, scale = jnp.broadcast_to(loc, shape), jnp.broadcast_to(scale, shape)
        spread = jnp.square(scale)
        first = spread[..., 0, :] + jnp.square(mean[..., 0, :])
        inverse = self._row(mean, (1 / c for c in self._innovation))
        decayed = self._row(
            mean, (a * a / c for a, c in zip(self.alpha, self._innovation, strict=True))
        )
        later = inverse * spread[..., 1:, :] + decayed * spread[..., :-1, :]
        later = later + jnp.square(self._innovations(mean))
        total = jnp.sum(first, axis=-1) + jnp.sum(later, axis=(-2, -1))
        entropy = jnp.sum(jnp.log(scale), axis=(-2, -1))
        log_det = (self.steps - 1) * sum(math.log(c) for c in self._innovation)
        return (total - self.steps * len(self.alpha) + log_det) / 2 - entropy

    def _innovations(self, z: Array) -> Array:
        """The scaled innovations, each standard normal under this prior."""
        slow = self._row(z, (1 - a for a in self.alpha))
        # z_t - alpha z_{t-1}, in a form that keeps its digits as alpha nears one.
        moved = z[..., 1:, :] - z[..., :-1, :] + slow * z[..., :-1, :]
        return moved * self._row(z, (c**-0.5 for c in self._innovation))

    @property
    def _innovation(self) -> tuple[float, ...]:
        return tuple((1 - a) * (1 + a) for a in self.alpha)

    @property
    def _log_normaliser(self) -> float:
        spread = (self.steps - 1) * sum(math.log(c) for c in self._innovation)
        return (spread + self.steps * len(self.alpha) * math.log(2 * math.pi)) / 2

    def _row(self, like: Array, values: Iterable[float]) -> Array:
        """A number for each channel, computed in double precision on the host."""
        row = jnp.asarray(list(values), like.dtype)
        return row.reshape((1,) * (like.ndim - 1) + row.shape)

    def _check_shape(self, shape: tuple[int, ...], name: str) -> None:
        if tuple(shape[-2:]) != self.shape:
            raise ValueError(
                f"`{name}` must end in {self.shape}, steps and channels, got the shape "
                f"{tuple(shape)}."
            )
