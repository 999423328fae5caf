r"""The aggregate posterior of a data set, from samples of it or from a batch.

$$ q(z) = \frac1N \sum_{n=1}^N q(z \mid x_n) $$

A batch estimates it with weights, here by their logs. Each latent by itself needs the density of
that latent given x, so a posterior must factorise.
"""

import math
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import jax.random as jr
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from pullback._in_batches import over_rows
from pullback._key import checked_key
from pullback._promotion import standard_promotion
from pullback.bounds._mutual_information_known import pairwise_log_prob
from pullback.sampling import draw, independent_parts, log_prob_of_parts

Weights = Literal["symmetric", "stratified", "weighted", "exact"]


def aggregate_log_weights(
    batch: int, size: int, kind: Weights = "symmetric"
) -> Float[Array, "batch batch"]:
    r"""The logs of the weights with which a batch estimates the aggregate posterior.

    $$ \hat q(z_i) = \sum_j W_{ij}\, q(z_i \mid x_j) \approx q(z_i) = \frac1N \sum_n q(z_i | x_n) $$

    The batch is B of N examples, drawn without replacement, and z_i is drawn from q(z | x_i): so
    its own term is there always, and any other one with the probability (B - 1) / (N - 1).

    - "symmetric": 1/N on the diagonal, and the rest shared by the others. Unbiased for q(z_i).
    - "stratified": 1/N on the diagonal, 1/(B - 1) for all others but one, which has what is left.
      Unbiased too, and it varies more. (Code that strides a flat matrix by B and not by B + 1 puts
      these weights into the first two columns, and is then a plain mean over the batch.)
    - "weighted": 1/(N B) everywhere, as published. Its gradient is that of a plain mean over the
      batch; its values are off by log N, and say nothing: TC by (D - 1) log N for D latents.
    - "exact": 1/N everywhere, for a batch that is the whole data set.

    The log of an unbiased estimate is biased, less so for larger batches: a total correlation
    near zero can come out negative.

    Args:
        batch: B, of 2 or more.
        size: N, of B or more.
        kind: which weights.

    Raises:
        ValueError: the sizes do not fit, or there is no such kind.

    Example:
        >>> import numpy as np
        >>> print(np.exp(np.asarray(aggregate_log_weights(3, 100), float)).round(3))
        [[0.01  0.495 0.495]
         [0.495 0.01  0.495]
         [0.495 0.495 0.01 ]]

    Source: Chen et al., Isolating Sources of Disentanglement in VAEs, arXiv 1802.04942, appendix C
    (weighted and stratified).
    """
    if kind not in get_args(Weights):
        raise ValueError(
            f"`kind` must be one of {', '.join(map(repr, get_args(Weights)))}; got {kind!r}."
        )
    if batch < 2:
        raise ValueError(f"`batch` must be 2 or more, got {batch}: one example has no others.")
    if size < batch:
        raise ValueError(
            f"`size` is that of the data set, and no less than the batch of {batch}; got {size}."
        )
    if kind == "exact" and batch != size:
        raise ValueError(
            f'`kind` "exact" needs the whole data set as its batch, got {batch} of {size}: take '
            '"symmetric", which estimates it.'
        )
    own, others, last = {
        "symmetric": (1 / size, *[(size - 1) / (size * (batch - 1))] * 2),
        "stratified": (1 / size, 1 / (batch - 1), (size - batch + 1) / (size * (batch - 1))),
        "weighted": (1 / (size * batch),) * 3,
        "exact": (1 / size,) * 3,
    }[kind]
    # How far the column is right of the diagonal, cyclically.
    places = jnp.arange(batch)
    apart = (places[None] - places[:, None]) % batch
    logs = jnp.asarray([math.log(own), math.log(last), math.log(others)])
    return logs[jnp.minimum(apart, 2)]


class AggregateLogProb(NamedTuple):
    r"""An estimate of the aggregate posterior's log-density at samples.

    Attributes:
        joint: $\log q(z_i)$.
        marginals: $\log q(z_{id})$, of each latent by itself.
    """

    joint: Float[Array, " n"]
    marginals: Float[Array, "n d"]


def pairwise_marginal_log_prob(posterior: Any, z: Float[Array, "n ..."]) -> Float[Array, "n b d"]:
    r"""Each latent of every sample, under the posterior of every example.

    $$ L_{ijd} = \log q(z_{id} \mid x_j) $$

    Args:
        posterior: of b examples, a distribution whose leaves have a leading axis b, as
            `jax.vmap(encode)(x)` gives it. Its latents must be independent of each other given x.
        z: samples, `[n, ...]`; what follows the first axis is one sample, and is flattened.

    Raises:
        ValueError: the posterior does not factorise: no density of a latent by itself is known.

    Example:
        >>> import jax, jax.numpy as jnp, numpyro.distributions as dist
        >>> encode = lambda x: dist.Normal(x, 1.0).to_event(1)
        >>> posterior = jax.vmap(encode)(jnp.zeros((4, 3)))
        >>> pairwise_marginal_log_prob(posterior, jnp.zeros((2, 3))).shape
        (2, 4, 3)
    """
    parts = independent_parts(posterior)
    _require_factorised(parts, z)
    with standard_promotion():
        table = pairwise_log_prob(lambda one: one, parts, z)
    return table.reshape(*table.shape[:2], -1)


def aggregate_log_prob(
    posterior: Any,
    z: Float[Array, "n ..."],
    log_weights: Float[Array, "n b"] | Float[Array, ""],
    *,
    batch_size: int | None = None,
) -> AggregateLogProb:
    r"""The aggregate posterior's log-density, of all latents together and of each by itself.

    $$ \log \hat q(z_i) = \log \sum_j W_{ij} \prod_d q(z_{id} | x_j), \qquad
       \log \hat q(z_{id}) = \log \sum_j W_{ij}\, q(z_{id} | x_j) $$

    Args:
        posterior: as in `pairwise_marginal_log_prob`.
        z: samples, `[n, ...]`.
        log_weights: $\log W$, as `aggregate_log_weights` gives it, or one for all pairs.
        batch_size: the most samples whose row of `[b, d]` is held in memory at once; all of them
            when None. The others' rows are computed again in the backward pass.

    Raises:
        ValueError: the posterior does not factorise, or `batch_size` is below 1.

    Example:
        >>> import jax, jax.numpy as jnp, numpyro.distributions as dist
        >>> encode = lambda x: dist.Normal(x, 1.0).to_event(1)
        >>> posterior = jax.vmap(encode)(jnp.array([[-3.0, -3.0], [3.0, 3.0]]))
        >>> joint, marginals = aggregate_log_prob(
        ...     posterior, jnp.array([[3.0, 3.0]]), jnp.asarray(-0.6931))
        >>> print(f"{joint[0] - marginals.sum():.3f}")  # one tells the other
        0.693
    """

    def of_one(one: Array, weights: Array) -> AggregateLogProb:
        table = pairwise_marginal_log_prob(posterior, one[None])[0]
        weights = weights.astype(table.dtype)
        joint = logsumexp(jnp.sum(table, axis=1) + weights)
        column = jnp.broadcast_to(weights, len(table))[:, None]
        return AggregateLogProb(joint, logsumexp(table + column, axis=0))

    if log_weights.ndim == 0:
        row = lambda one: of_one(one[0], log_weights)
        rows = (z,)
    else:
        row = lambda one: of_one(*one)
        rows = (z, log_weights)
    return over_rows(row, rows, batch_size, recompute=True)


class AggregateSamples(NamedTuple):
    """Samples of the aggregate posterior.

    Attributes:
        places: of which example's posterior each is.
        z: the samples.
    """

    places: Int[Array, " s"]
    z: Float[Array, "s ..."]


def aggregate_samples(
    posterior: Any, num_samples: int | None = None, *, key: PRNGKeyArray
) -> AggregateSamples:
    r"""Draw from the aggregate posterior, from every example's part as often as from any other's.

    Args:
        posterior: of N examples; see `pairwise_marginal_log_prob`.
        num_samples: how many; None: one of each of the N. The places of permutations of the N laid
            end to end are gone through.
        key: a typed PRNG key.

    Raises:
        ValueError: the posterior does not factorise, or its leaves do not have one leading axis,
            or `num_samples` is below 1.

    Example:
        >>> import jax, jax.numpy as jnp, numpyro.distributions as dist
        >>> posterior = jax.vmap(lambda m: dist.Normal(m, 0.01))(jnp.arange(3.0))
        >>> places, z = aggregate_samples(posterior, 6, key=jax.random.key(0))
        >>> print(jnp.sort(places), z.shape)
        [0 0 1 1 2 2] (6,)
    """
    key = checked_key(key)
    leaves = [jnp.shape(leaf) for leaf in jax.tree.leaves(posterior)]
    if len({shape[:1] for shape in leaves}) != 1 or not leaves[0]:
        raise ValueError(
            "`posterior` must have one leading axis on all its leaves, as `jax.vmap(encode)(x)` "
            f"gives it; got leaves of shapes {leaves}."
        )
    size = leaves[0][0]
    count = size if num_samples is None else num_samples
    if count < 1:
        raise ValueError(f"`num_samples` must be 1 or more, got {num_samples}.")
    order_key, draw_key = jr.split(key)
    orders = jax.vmap(lambda key: jr.permutation(key, size))(jr.split(order_key, -(-count // size)))
    places = orders.ravel()[:count]
    chosen = jax.tree.map(lambda leaf: leaf[places], posterior)
    z = jax.vmap(draw)(chosen, jr.split(draw_key, count))
    _require_factorised(independent_parts(posterior), z)
    if z.shape[1:] != jnp.broadcast_shapes(*(shape[1:] for shape in leaves)):
        raise ValueError(
            f"`posterior` gives one example a sample of shape {z.shape[1:]} where its leaves have "
            f"the shapes {leaves}: make it under `jax.vmap`, as in "
            "`jax.vmap(lambda m, s: Normal(m, s).to_event(1))(means, stds)`."
        )
    return AggregateSamples(places, z)


def _require_factorised(parts: Any, z: Array) -> None:
    """Refuse a posterior whose log-density of one sample is not a number for each latent."""

    def of_first(parts: Any, one: Array) -> Array:
        with standard_promotion():
            return jax.vmap(lambda q: log_prob_of_parts(q, one))(parts)

    try:
        shape = jax.eval_shape(of_first, parts, jax.eval_shape(lambda z: z[0], z)).shape[1:]
    except TypeError:  # leaves that are no arrays, as the functions of a flow
        shape = ()
    if shape != z.shape[1:]:
        raise ValueError(
            f"`posterior` is of {type(parts).__name__}, whose latents are not known to be "
            f"independent given x: it gives a sample of shape {z.shape[1:]} log-densities of shape "
            f"{shape}. The total correlation needs that of each latent by itself: take a diagonal "
            "normal, not a full covariance, a flow or a mixture."
        )
