"""How well single latents of a model agree with single known factors of the data."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float, Int, PRNGKeyArray, Shaped

from pullback._key import checked_key
from pullback.bounds import aggregate_samples, pairwise_marginal_log_prob


class MIGResult(NamedTuple):
    """A mutual information gap, and what it is made of.

    Attributes:
        mig: the mean of `per_factor`, from 0 to 1.
        per_factor: by how much the latent that tells most of a factor exceeds the next, as a share
            of the factor's entropy.
        mutual_information: of each factor with each latent, in nats, from 0 to the entropy.
        entropy: of each factor, in nats.
    """

    mig: Float[Array, ""]
    per_factor: Float[Array, " factor"]
    mutual_information: Float[Array, "factor latent"]
    entropy: Float[Array, " factor"]


def mig(
    posterior: Any,
    factors: Shaped[Array | np.ndarray, "..."],
    *,
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

    Factors should vary independently over the examples, as on a grid of all combinations. One that
    no single latent can follow, such as the kind of a shape, only lowers the mean: leave it out.

    Args:
        posterior: of all N examples, a distribution whose leaves have a leading axis N, as
            `jax.vmap(encode)(x)` gives it. Its latents must be independent given x, and two or
            more.
        factors: the known factors of each example, whole numbers, `[N, factors]`.
        num_samples: samples of z, from all examples alike.
        batch_size: the most samples whose densities under all N posteriors are held in memory.
        key: a typed PRNG key.

    Returns:
        A `MIGResult`.

    Raises:
        ValueError: the posterior does not factorise or has one latent; the factors are not whole
            numbers, not one row an example, or one of them never varies.

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
    places, z = aggregate_samples(posterior, num_samples, key=key)
    classes, entropy = _checked(factors, len(jax.tree.leaves(posterior)[0]))
    if z.ndim < 2 or z[0].size < 2:
        raise ValueError(
            f"`posterior` must have 2 latents or more, for a gap between them; got a sample of "
            f"shape {list(z.shape[1:])} of each example."
        )
    found = _mutual_information(posterior, places, z, classes, batch_size)
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
    batch_size: int,
) -> Float[Array, "factor latent"]:
    def of_one(pair: tuple[Array, Array]) -> Array:
        place, one = pair
        table = pairwise_marginal_log_prob(posterior, one[None])[0]
        # Of examples with the same value; factor by factor, for the table is large.
        own = classes[place]

        def of_factor(column: Array, value: Array) -> Array:
            alike = column == value
            log_count = jnp.log(jnp.sum(alike).astype(table.dtype))
            inside = jnp.where(alike[:, None], table, -jnp.inf)
            return logsumexp(inside, axis=0) - log_count

        given = jax.lax.map(lambda pair: of_factor(*pair), (classes.T, own))
        log_size = jnp.log(jnp.asarray(len(table), table.dtype))
        return given - (logsumexp(table, axis=0) - log_size)[None]

    return jnp.mean(jax.lax.map(of_one, (places, z), batch_size=batch_size), axis=0)


def _checked(factors: Any, size: int) -> tuple[Int[Array, "n factor"], np.ndarray]:
    """The factors as numbers from 0, and the entropy of each over the examples."""
    table = np.asarray(factors)
    if table.ndim != 2 or len(table) != size:
        raise ValueError(
            f"`factors` must have a row for each of the {size} examples of `posterior`, [n, "
            f"factors]; got the shape {list(table.shape)}."
        )
    if not np.issubdtype(table.dtype, np.integer):
        raise ValueError(
            f"`factors` must be whole numbers, got {table.dtype}: number the values of each "
            "factor, as `np.unique(..., return_inverse=True)` does."
        )
    classes, entropy = np.empty(table.shape, np.int32), np.empty(table.shape[1])
    for column, values in enumerate(table.T):
        kinds, classes[:, column], counts = np.unique(
            values, return_inverse=True, return_counts=True
        )
        if len(kinds) < 2:
            raise ValueError(
                f"`factors` has the value {kinds[0]} for every example in column {column}: a "
                "factor that never varies cannot be told. Leave that column out."
            )
        share = counts / size
        entropy[column] = -np.sum(share * np.log(share))
    return jnp.asarray(classes), entropy
