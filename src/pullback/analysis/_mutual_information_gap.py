"""How well single latents of a model agree with single known factors of the data."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import logsumexp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, Shaped

from pullback._key import checked_key
from pullback.bounds import aggregate_samples, pairwise_marginal_log_prob


class MIGResult(NamedTuple):
    """A mutual information gap, and what it is made of.

    Attributes:
        mig: the mean of `per_factor`, from 0 to 1.
        per_factor: by how much the latent that tells most of a factor exceeds the next, as a share
            of the factor's entropy.
        mutual_information: of each factor with each latent, in nats, from 0 to the entropy.
        entropy: of each factor, in nats; of a continuous one that of its bins.
    """

    mig: Float[Array, ""]
    per_factor: Float[Array, " factor"]
    mutual_information: Float[Array, "factor latent"]
    entropy: Float[Array, " factor"]


def mig(
    posterior: Any,
    factors: Shaped[Array | np.ndarray, "..."],
    *,
    bins: int | None = None,
    num_samples: int = 10_000,
    batch_size: int = 100,
    key: PRNGKeyArray,
) -> MIGResult:
    r"""The mutual information gap: is there, for each factor, one latent that tells it alone?

    $$ \frac1K \sum_k \frac{1}{H(v_k)} \Big( I(z_{j(k)}; v_k) - \max_{j \ne j(k)} I(z_j; v_k) \Big),
       \qquad j(k) = \arg\max_j I(z_j; v_k) $$

    $$ I(z_j; v_k) = \mathrm{E}_{n,\, z \sim q(z|x_n)}
       \log \frac{q(z_j \mid v_k = v_k(n))}{q(z_j)} $$

    with both densities as exact mixtures over the data: of all examples, and of those that share
    n's value of the factor. The same samples are in both, and no sample's ratio exceeds what the
    factor can tell. Latents are sampled, for a mean is told apart however wide its posterior is.
    It does not change when latents are scaled, shifted or put in another order; it does when they
    are turned. (The number of that name in disentanglement_lib is another: of posterior means, in
    20 bins.)

    A continuous factor is cut into `bins` of as many examples each, and the gap is that of its
    bins: the entropy of a density has no use as a divisor, for it moves with the factor's units and
    may be negative. What a latent tells of the bins is at most what it tells of the factor, and
    comes up to it as they become more, $I(z_j; \mathrm{bin}(v_k)) \le I(z_j; v_k)$. No two
    examples have the same value then, so each is left out of both densities at its own sample: with
    it in, a latent that tells examples apart would tell every factor. The estimate errs to the low
    side, by more the fewer examples a bin has: a hundred or more serve. Compare models by the same
    bins.

    Factors should vary independently over the examples, as on a grid of all combinations. One that
    no single latent can follow, such as the kind of a shape, only lowers the mean: leave it out.

    Args:
        posterior: of all N examples, a distribution whose leaves have a leading axis N, as
            `jax.vmap(encode)(x)` gives it. Its latents must be independent given x, and two or
            more.
        factors: the known factors of each example, `[N, factors]`: whole numbers, or with `bins`
            any.
        bins: for continuous factors, into how many bins of equal shares a column is cut that has
            more values than that; one of fewer is taken by its values. None: all columns are.
        num_samples: samples of z, from all examples alike.
        batch_size: the most samples whose densities under all N posteriors are held in memory.
        key: a typed PRNG key.

    Returns:
        A `MIGResult`.

    Raises:
        ValueError: the posterior does not factorise or has one latent; the factors are not whole
            numbers and there are no bins, not finite, not one row an example, or one of them never
            varies; `bins` is below 2 or leaves a bin with one example.

    Example:
        >>> import jax, jax.numpy as jnp, numpyro.distributions as dist
        >>> factors = jnp.stack(jnp.meshgrid(jnp.arange(4), jnp.arange(3)), axis=-1).reshape(-1, 2)
        >>> encode = lambda v: dist.Normal(v, 0.1).to_event(1)
        >>> found = mig(jax.vmap(encode)(factors.astype(float)), factors, key=jax.random.key(0))
        >>> print(f"{found.mig:.2f}")  # one latent a factor
        1.00

    Source: Chen et al., Isolating Sources of Disentanglement in VAEs, arXiv 1802.04942, section 4.
    """
    key = checked_key(key)
    if batch_size < 1:
        raise ValueError(f"`batch_size` must be 1 or more, got {batch_size}.")
    if bins is not None and bins < 2:
        raise ValueError(f"`bins` must be 2 or more, got {bins}.")
    places, z = aggregate_samples(posterior, num_samples, key=key)
    classes, entropy, binned = _checked(factors, len(jax.tree.leaves(posterior)[0]), bins)
    if z.ndim < 2 or z[0].size < 2:
        raise ValueError(
            f"`posterior` must have 2 latents or more, for a gap between them; got a sample of "
            f"shape {list(z.shape[1:])} of each example."
        )
    left_out = jnp.asarray(binned) if any(binned) else None
    found = _mutual_information(posterior, places, z, classes, left_out, batch_size)
    information = jnp.clip(found, 0, jnp.asarray(entropy, found.dtype)[:, None])
    first, second = jax.lax.top_k(information, 2)[0].T
    entropy = jnp.asarray(entropy, found.dtype)
    per_factor = (first - second) / entropy
    return MIGResult(jnp.mean(per_factor), per_factor, information, entropy)


@eqx.filter_jit
def _mutual_information(
    posterior: Any,
    places: Int[Array, " s"],
    z: Float[Array, "s ..."],
    classes: Int[Array, "n factor"],
    left_out: Bool[Array, " factor"] | None,
    batch_size: int,
) -> Float[Array, "factor latent"]:
    """Of each factor; where `left_out` says so, without the example that a sample is from."""

    def of_one(pair: tuple[Array, Array]) -> Array:
        place, one = pair
        table = pairwise_marginal_log_prob(posterior, one[None])[0]
        others = jnp.arange(len(table)) != place

        def of_factor(given: tuple[Array, Array, Array | None]) -> Array:
            # Of examples with the same value; factor by factor, for the table is large.
            column, value, without = given
            alike = column == value
            if without is None:
                return _log_mean(table, alike) - _log_mean(table, None)
            there = others | ~without
            return _log_mean(table, alike & there) - _log_mean(table, there)

        return jax.lax.map(of_factor, (classes.T, classes[place], left_out))

    return jnp.mean(jax.lax.map(of_one, (places, z), batch_size=batch_size), axis=0)


def _log_mean(
    table: Float[Array, "n latent"], rows: Bool[Array, " n"] | None
) -> Float[Array, " latent"]:
    """The log of the mean density of the rows."""
    if rows is None:
        return logsumexp(table, axis=0) - jnp.log(jnp.asarray(len(table), table.dtype))
    inside = jnp.where(rows[:, None], table, -jnp.inf)
    return logsumexp(inside, axis=0) - jnp.log(jnp.sum(rows).astype(table.dtype))


def _checked(
    factors: Any, size: int, bins: int | None
) -> tuple[Int[Array, "n factor"], np.ndarray, list[bool]]:
    """The factors as numbers from 0, the entropy of each over the examples, and which are cut."""
    table = np.asarray(factors)
    if table.ndim != 2 or len(table) != size:
        raise ValueError(
            f"`factors` must have a row for each of the {size} examples of `posterior`, [n, "
            f"factors]; got the shape {list(table.shape)}."
        )
    whole = np.issubdtype(table.dtype, np.integer)
    if bins is None and not whole:
        raise ValueError(
            f"`factors` must be whole numbers, got {table.dtype}: number the values of each "
            "factor, as `np.unique(..., return_inverse=True)` does, or give `bins` for continuous "
            "ones."
        )
    if not whole and not np.all(np.isfinite(table)):
        raise ValueError("`factors` must be finite: leave out the examples of which one is not.")
    classes, entropy, binned = np.empty(table.shape, np.int32), np.empty(table.shape[1]), []
    for column, values in enumerate(table.T):
        binned.append(bins is not None and len(np.unique(values)) > bins)
        if bins is not None and binned[-1]:
            edges = np.quantile(values, np.arange(1, bins) / bins)
            values = np.searchsorted(edges, values, side="right")
        kinds, classes[:, column], counts = np.unique(
            values, return_inverse=True, return_counts=True
        )
        if len(kinds) < 2:
            raise ValueError(
                f"`factors` has the value {kinds[0]} for every example in column {column}: a "
                "factor that never varies cannot be told. Leave that column out."
            )
        if binned[-1] and counts.min() < 2:
            raise ValueError(
                f"`bins` leaves a bin of column {column} with one example, which is left out of "
                f"its own: take fewer than {bins}."
            )
        share = counts / size
        entropy[column] = -np.sum(share * np.log(share))
    return jnp.asarray(classes), entropy, binned
