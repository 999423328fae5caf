"""A prior whose mass is not known: an energy over the latent variables."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from pullback._key import checked_key
from pullback.sampling import (
    FixedDistribution,
    draw,
    fixed,
    log_mean_exp,
    log_prob,
    require_distribution,
)


class EnergyPrior(eqx.Module):
    r"""A prior that is known up to its mass, beside a distribution that can be drawn from.

    $$ p(z) = \frac{e^{g(z)}}{Z}, \qquad
       Z = \int e^{g(z)}\, dz = \mathbb{E}_{b(z)}\Big[\frac{e^{g(z)}}{b(z)}\Big] $$

    Whatever takes a `LatentModel` knows that g is no density. Bounds on the evidence subtract an
    estimate of $\log Z$ from `draws` of the base which is too large in expectation, so that they
    stay bounds, and train g by its gradient, too; annealing goes from the base to the posterior,
    and by itself from the base to p for $\log Z$. The estimate is as good as the base covers p: if
    `log_normaliser` is a wide sandwich, take more draws or a closer base.

    Args:
        log_density: g, from one z to a scalar; a module, whose arrays are trained. It must fall off
            faster than the base somewhere far out, or Z is infinite: a bounded network added to
            the base's own `log_prob` is safe.
        base: b, with `log_prob` and `sample`, on the whole support of p. NumPyro's are held fixed.
        draws: of the base, for each estimate of $\log Z$, and candidates for each sample. Few leave
            bounds that are far too low: two halves of them whose means differ are paid for by the
            ratio of the two.

    Raises:
        ValueError: the base is no distribution, or `draws` is below 2.

    Example:
        >>> import equinox as eqx, jax, jax.numpy as jnp, numpyro.distributions as dist
        >>> from pullback.bounds import ELBO, LatentModel
        >>> narrow = EnergyPrior(lambda z: 3.0 - z**2, dist.Normal(0.0, 1.0), draws=4000)
        >>> found = narrow.log_normaliser(key=jax.random.key(0))
        >>> print(f"{found.lower:.2f} {found.upper:.2f}")  # 3 + log(pi) / 2
        3.57 3.57

    Source: Pang et al., Learning Latent Space Energy-Based Prior Model, arXiv 2006.08205 (the
    model); Poole et al., On Variational Bounds of Mutual Information, arXiv 1905.06922, equation 7
    (the tangent of the logarithm, which bounds it from above).
    """

    log_density: Callable[[Any], Float[Array, ""]]
    base: Any
    draws: int = eqx.field(default=256, static=True)

    def __init__(
        self, log_density: Callable[[Any], Float[Array, ""]], base: Any, *, draws: int = 256
    ):
        if draws < 2:
            raise ValueError(f"`draws` must be 2 or more, got {draws}.")
        require_distribution(base, "base")
        self.log_density = log_density
        self.base = fixed(base)
        self.draws = draws

    @property
    def support(self) -> Any:
        """That of the base."""
        return getattr(self.base, "support", None)

    @property
    def has_rsample(self) -> bool:
        """No gradient flows from a sample to the energy."""
        return False

    def log_prob(self, z: Any) -> Array:
        """There is none.

        Raises:
            ValueError: always.
        """
        raise ValueError(
            "an `EnergyPrior` is known up to its mass, so it has no `log_prob`: the bounds of "
            "`pullback.bounds` estimate the mass by themselves; elsewhere take "
            "`LatentModel(...).normalised(key=key)`, or `log_density` where no mass is needed."
        )

    def tilt(self, z: Any) -> Float[Array, ""]:
        r"""$g(z) - \log b(z)$, the log-density with respect to the base."""
        return self.log_density(z) - log_prob(self.base_distribution, z)

    @property
    def base_distribution(self) -> Any:
        """The base, as it may be drawn from."""
        return self.base.distribution if isinstance(self.base, FixedDistribution) else self.base

    def log_normaliser(self, *, key: PRNGKeyArray) -> "LogNormaliser":
        r"""Bounds on $\log Z$ from both sides, each in expectation, by draws of the base."""
        keys = jr.split(checked_key(key), self.draws)
        return log_normaliser_of(
            jax.vmap(lambda key: self.tilt(draw(self.base_distribution, key)))(keys)
        )

    def sample(self, key: PRNGKeyArray, shape: tuple[int, ...] = ()) -> Any:
        """Draws, each picked by its weight out of as many of the base as `draws` says.

        They are of p as that number grows. `annealed_importance_sampling` of
        `LatentModel(prior.tilt, prior.base_distribution)` walks there, which many dimensions need.
        """
        key = checked_key(key)

        def one(key: Array) -> Any:
            candidates, pick = jr.split(key)
            z = jax.vmap(lambda key: draw(self.base_distribution, key))(
                jr.split(candidates, self.draws)
            )
            chosen = jr.categorical(pick, jax.vmap(self.tilt)(z))
            return jax.tree.map(lambda leaf: leaf[chosen], z)

        draws = one
        for _ in shape:
            draws = jax.vmap(draws)
        return draws(jr.split(key, shape) if shape else key)


class LogNormaliser(NamedTuple):
    r"""Bounds on the log of an integral, each in expectation.

    Attributes:
        lower: the log of the mean weight.
        upper: the tangent of the logarithm at one half of the weights, read at the other.
    """

    lower: Float[Array, ""]
    upper: Float[Array, ""]


def log_normaliser_of(log_weights: Float[Array, " draw"]) -> LogNormaliser:
    r"""Bounds on $\log Z$ from independent weights of the mean Z.

    $$ \mathbb{E}\Big[\log \frac1n \sum_i w_i\Big] \le \log Z \le
       \mathbb{E}\Big[\log a + \frac{\bar w}{a} - 1\Big] $$

    for every $a$ that does not depend on $\bar w$: the means of two halves take turns. The upper
    bound is infinite where a half has no weight above 0.

    Raises:
        ValueError: there are fewer than two weights.
    """
    if len(log_weights) < 2:
        raise ValueError(f"`log_weights` must be two or more, got {len(log_weights)}.")
    half = len(log_weights) // 2
    first, second = log_mean_exp(log_weights[:half]), log_mean_exp(log_weights[half:])
    nothing = jnp.isneginf(jnp.minimum(first, second))
    gap = jnp.where(nothing, 0.0, second - first)
    upper = (first + second + jnp.exp(gap) + jnp.exp(-gap)) / 2 - 1
    return LogNormaliser(log_mean_exp(log_weights), jnp.where(nothing, jnp.inf, upper))


class Normalised(eqx.Module):
    """An `EnergyPrior` less an estimate of its log-normaliser."""

    energy: EnergyPrior
    log_normaliser: Float[Array, ""]

    @property
    def support(self) -> Any:
        return self.energy.support

    @property
    def has_rsample(self) -> bool:
        return False

    def log_prob(self, z: Any) -> Float[Array, ""]:
        return self.energy.log_density(z) - self.log_normaliser

    def sample(self, key: PRNGKeyArray, shape: tuple[int, ...] = ()) -> Any:
        return self.energy.sample(key, shape)
