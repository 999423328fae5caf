"""The posterior that importance weighting implies."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from pullback._key import checked_key
from pullback.sampling import draw, log_mean_exp, log_prob


class Estimate(NamedTuple):
    """A Monte Carlo estimate.

    Attributes:
        value: the mean.
        standard_error: of the mean.
    """

    value: Float[Array, ""]
    standard_error: Float[Array, ""]


class ImportanceWeightedPosterior(eqx.Module):
    r"""The distribution $q_{EW}$ whose ELBO is above the importance-weighted bound.

    With the other $k - 1$ samples given, and after averaging over them,

    $$ \tilde q(z | z_{2..k}) = \frac{p(x, z)}{\frac1k \big(w(z) + \sum_{j \ge 2} w(z_j)\big)},
       \qquad q_{EW}(z) = \mathbb{E}_{z_{2..k} \sim q}\big[\tilde q(z | z_{2..k})\big] $$

    $\mathcal{L}_k[q] \le \mathrm{ELBO}[q_{EW}] \le \log p(x)$. At k = 1 it is q; as k grows it
    becomes the exact posterior. A model trained with the importance-weighted bound fits this
    distribution and not q: draw from it, and judge by it.

    Args:
        log_joint: from z to $\log p(x, z)$; a `LatentModel` is one.
        base: q, the distribution of the proposals.
        samples: k.

    Raises:
        ValueError: `samples` is below 1.

    Example:
        >>> import jax, numpyro.distributions as dist
        >>> log_joint = dist.Normal(1.0, 0.5).log_prob
        >>> implied = ImportanceWeightedPosterior(log_joint, dist.Normal(0.0, 1.0), 50)
        >>> z = implied.sample(jax.random.key(0), (2000,))
        >>> print(f"{z.mean():.1f} {z.std():.1f}")
        1.0 0.5

    Source: Cremer, Morris and Duvenaud, Reinterpreting Importance-Weighted Autoencoders, arXiv
    1704.02916.
    """

    log_joint: Callable[[Any], Float[Array, ""]]
    base: Any
    samples: int = eqx.field(static=True)

    def __check_init__(self):
        if self.samples < 1:
            raise ValueError(f"`samples` must be 1 or more, got {self.samples}.")

    def log_weight(self, z: Any) -> Float[Array, ""]:
        r"""$\log w(z) = \log p(x, z) - \log q(z)$."""
        return self.log_joint(z) - log_prob(self.base, z)

    def log_prob_given(self, z: Any, others: Any) -> Float[Array, ""]:
        r"""$\log \tilde q(z | z_{2..k})$, which is unnormalised: only its mean is a density.

        Args:
            z: where.
            others: the other $k - 1$ proposals, along the first axis of the leaves; fresh ones, not
                those that z was chosen from.
        """
        weights = jax.vmap(self.log_weight)(others)
        return self.log_joint(z) - log_mean_exp(jnp.append(weights, self.log_weight(z)))

    def sample(self, key: PRNGKeyArray, sample_shape: tuple[int, ...] = ()) -> Any:
        """Exact draws, each one of k proposals, taken with the probability of its weight."""

        key = checked_key(key)

        def one(key: Array) -> Any:
            propose, choose = jr.split(key)
            z = draw(self.base, propose, (self.samples,))
            chosen = jr.categorical(choose, jax.vmap(self.log_weight)(z))
            return jax.tree.map(lambda leaf: leaf[chosen], z)

        count = 1
        for length in sample_shape:
            count *= length
        flat = jax.vmap(one)(jr.split(key, count))
        return jax.tree.map(lambda leaf: leaf.reshape(*sample_shape, *leaf.shape[1:]), flat)

    def log_prob_estimate(self, z: Any, *, num_sets: int, key: PRNGKeyArray) -> Float[Array, ""]:
        r"""Estimate $\log q_{EW}(z)$ from `num_sets` fresh sets of $k - 1$ proposals.

        The density's estimate is unbiased, so its log is biased low: at most by the relative
        variance over twice the number of sets. Raise `num_sets` until nothing changes.
        """
        key = checked_key(key)
        if num_sets < 1:
            raise ValueError(f"`num_sets` must be 1 or more, got {num_sets}.")
        given = lambda key: self.log_prob_given(z, draw(self.base, key, (self.samples - 1,)))
        return log_mean_exp(jax.vmap(given)(jr.split(key, num_sets)))

    def elbo(
        self,
        *,
        num_samples: int,
        num_sets: int,
        batch_size: int | None = None,
        key: PRNGKeyArray,
    ) -> Estimate:
        r"""Estimate $\mathbb{E}_{q_{EW}}[\log p(x, z) - \log q_{EW}(z)]$.

        The density is estimated from fresh sets, and its log is biased low, so this is biased high:
        it is no bound unless `num_sets` is large (1,000 or more). The cost is
        `num_samples * num_sets * k` evaluations of the model.

        Args:
            num_samples: draws of z, at least 2.
            num_sets: sets of proposals for the density at each.
            batch_size: the most draws held in memory at once.
            key: a typed PRNG key.

        Raises:
            ValueError: `num_samples` is below 2, or `num_sets` is below 1.
        """
        key = checked_key(key)
        if num_samples < 2:
            raise ValueError(f"`num_samples` must be 2 or more, got {num_samples}.")

        def one(key: Array) -> Array:
            draws, sets = jr.split(key)
            z = self.sample(draws)
            return self.log_joint(z) - self.log_prob_estimate(z, num_sets=num_sets, key=sets)

        values = jax.lax.map(one, jr.split(key, num_samples), batch_size=batch_size or num_samples)
        return Estimate(jnp.mean(values), jnp.std(values, ddof=1) / jnp.sqrt(num_samples * 1.0))


def implied_posterior_density(
    posterior: ImportanceWeightedPosterior,
    points: Any,
    *,
    num_sets: int,
    batch_size: int | None = None,
    key: PRNGKeyArray,
) -> Float[Array, " point"]:
    r"""The density $q_{EW}$ at many points, all on the same sets of proposals: for a picture.

    Args:
        posterior: whose density it is.
        points: along the first axis.
        num_sets: sets of $k - 1$ proposals that are averaged.
        batch_size: the most sets held in memory at once, beside all points.
        key: a typed PRNG key.

    Returns:
        The density, not its log; unbiased.

    Source: Cremer, Morris and Duvenaud, arXiv 1704.02916.
    """
    key = checked_key(key)
    k = posterior.samples
    base = jnp.exp(jax.vmap(lambda z: log_prob(posterior.base, z))(points))
    if k == 1:
        return base
    own = jax.vmap(posterior.log_weight)(points)

    # k q(z) w(z) / (w(z) + sum of the others): one exponential for each point and set.
    def given(key: Array) -> Array:
        others = draw(posterior.base, key, (k - 1,))
        total = jax.nn.logsumexp(jax.vmap(posterior.log_weight)(others))
        return jnp.where(own > -jnp.inf, jax.nn.sigmoid(own - total), 0.0)

    shares = jax.lax.map(given, jr.split(key, num_sets), batch_size=batch_size or num_sets)
    return k * base * jnp.mean(shares, axis=0)
