"""Clusters of an example's gradients, and batches with one example of each."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jax.core import Tracer
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from pullback._inputs import positive
from pullback._key import checked_key
from pullback.nn import Factors

from ._gradient_spaces import AbstractSpace, FactorSpace, GramSpace

# Up to so many rows the Gram matrix, of 64 MB in single precision, tells all distances exactly.
_EXACT_ROWS = 4096


class Clustering(eqx.Module):
    """Examples in clusters of like gradients.

    Attributes:
        assignment: the cluster of each example, [n].
        sizes: how many examples each cluster has, one or more, [k].
        members: the examples, cluster by cluster, [n].
        objective: the sum over clusters of their size times the squared distances of their examples
            from the centre that was found. Of exact centres it is n squared times the variance of
            a batch with an example of each cluster; of those of rank one it is above that.
    """

    assignment: Int[Array, " n"]
    sizes: Int[Array, " k"]
    members: Int[Array, " n"]
    objective: Float[Array, ""]


def cluster_gradients(
    factors: Factors | PyTree,
    clusters: int,
    *,
    weighted: bool = True,
    iterations: int = 10,
    key: PRNGKeyArray,
) -> Clustering:
    r"""Clusters of examples such that one of each is an estimate of the gradient with little noise.

    $$ \min \sum_k N_k \sum_{i \in k} \| g_i - C_k \|^2, \qquad
       a_i \leftarrow \arg\min_k N_k \| g_i - C_k \|^2, \qquad
       C_k \leftarrow \frac{1}{N_k} \sum_{i \in k} g_i $$

    Up to 4,096 examples distances are exact, for the scalar products of all pairs are enough, and
    the minimum is a local one, as that of k-means: from a start by k-means++ each example in turn
    goes to the cluster where the objective is least, until a sweep over them no longer lowers it by
    a hundredth. Beyond, each layer's centre has rank one, and distances from it are cheap: from the
    same start the two rules above take turns, without the
    weights $N_k$ and then with them, and the best that was seen is kept; a cluster that falls empty
    takes a part of the one with the most distortion. No gradient of an example is formed.

    Args:
        factors: of `pullback.nn.layer_factors`; or the gradients themselves, a PyTree of arrays
            with a leading axis n.
        clusters: how many, k.
        weighted: False leaves the weights out: the clusters of k-means, for batches that take as
            many of each cluster as its size says, in turns of centres and rows.
        iterations: the most sweeps; or the turns of each kind.
        key: where it starts.

    Raises:
        ValueError: there are more clusters than examples, less than one cluster or iteration, or a
            gradient is not finite; where the call is being compiled, the objective is then NaN.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> gradients = jnp.asarray([[0.0, 1.0], [5.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
        >>> found = cluster_gradients(gradients, 2, key=jax.random.key(0))
        >>> sorted(found.sizes.tolist()), found.objective.item()
        ([1, 3], 0.0)

    Source: Faghri et al., A Study of Gradient Variance in Deep Learning, arXiv 2007.04532,
        gradient clustering.
    """
    key = checked_key(key)
    positive(clusters=clusters, iterations=iterations)
    factors = Factors.of(factors)
    n = factors.losses.shape[0]
    if clusters > n:
        raise ValueError(
            f"`clusters` must be at most the number of examples, {n}; got {clusters}. With one "
            "cluster an example the whole gradient is cheaper."
        )
    found = _clustered(factors, clusters, weighted, iterations, n <= _EXACT_ROWS, key)
    if not isinstance(found.objective, Tracer) and not bool(jnp.isfinite(found.objective)):
        raise ValueError("gradients of some examples are not finite: look at `factors.norms()`.")
    return found


class _Search(NamedTuple):
    """Clusters, their centres, and the best that was seen, with its distortions."""

    assignment: Int[Array, " n"]
    centres: Any
    best: Int[Array, " n"]
    weighted: Float[Array, ""]
    plain: Float[Array, ""]


@eqx.filter_jit
def _clustered(
    factors: Factors,
    clusters: int,
    weighted: bool,
    iterations: int,
    exact: bool,
    key: PRNGKeyArray,
) -> Clustering:
    space = GramSpace(factors) if exact else FactorSpace(factors)
    rows, nearest = _seeds(space, clusters, key)
    start = _filled(space, nearest, space.start(rows), jnp.zeros_like(space.squares), clusters)
    if weighted and isinstance(space, GramSpace):
        best = space.moved(start[0], clusters, iterations)
        centres = space.means(start[1], best)
        objective = _distortions(space.distances(centres), best, clusters)[1]
    else:
        search = _iterated(space, *start, clusters, iterations, weighted=weighted)
        best, objective = search.best, search.weighted
    good = jnp.all(jnp.isfinite(space.squares))
    return Clustering(
        best,
        jnp.bincount(best, length=clusters),
        jnp.argsort(best),
        jnp.where(good, objective, jnp.nan),
    )


def _seeds(
    space: AbstractSpace, clusters: int, key: PRNGKeyArray
) -> tuple[Int[Array, " k"], Int[Array, " n"]]:
    """Rows drawn with chances that rise with their distance to those drawn, and the nearest one."""
    n = space.squares.shape[0]
    keys = jr.split(key, clusters)

    def one(
        carry: tuple[Array, Array], numbered: tuple[Array, Array]
    ) -> tuple[tuple[Array, Array], Array]:
        far, nearest = carry
        place, key = numbered
        row = jr.categorical(key, jnp.log(far)).astype(jnp.int32)
        here = space.to_row(row)
        nearest = jnp.where(here < far, place, nearest)
        return (jnp.minimum(far, here), nearest), row

    # The first is drawn of all alike, and all are then nearest to it.
    start = (jnp.full_like(space.squares, jnp.finfo(space.squares.dtype).max), jnp.zeros(n, int))
    (_, nearest), rows = jax.lax.scan(one, start, (jnp.arange(clusters), keys))
    return rows, nearest


def _iterated(
    space: AbstractSpace,
    assignment: Int[Array, " n"],
    centres: Any,
    clusters: int,
    iterations: int,
    *,
    weighted: bool,
) -> _Search:
    """Centres and nearest rows in turns, without the weights and then with them."""

    def step(search: _Search, with_weights: Array) -> tuple[_Search, None]:
        centres = space.means(search.centres, search.assignment)
        distances = space.distances(centres)
        sizes, objective, plain = _distortions(distances, search.assignment, clusters)
        better = objective < search.weighted if weighted else plain < search.plain
        kept = jax.tree.map(
            lambda new, old: jnp.where(better, new, old),
            (search.assignment, objective, plain),
            (search.best, search.weighted, search.plain),
        )
        nearest = jnp.argmin(jnp.where(with_weights, sizes, 1)[None] * distances, axis=1)
        own = jnp.take_along_axis(distances, nearest[:, None], axis=1)[:, 0]
        return _Search(*_filled(space, nearest, centres, own, clusters), *kept), None

    infinity = jnp.full((), jnp.inf, space.squares.dtype)
    start = _Search(assignment, centres, assignment, infinity, infinity)
    steps = jnp.arange(2 * iterations + 1 if weighted else iterations + 1)
    return jax.lax.scan(step, start, steps >= iterations)[0]


def _distortions(
    distances: Float[Array, "n k"], assignment: Int[Array, " n"], clusters: int
) -> tuple[Float[Array, " k"], Float[Array, ""], Float[Array, ""]]:
    """The clusters' sizes, and the distortion with them as weights and without."""
    own = jnp.take_along_axis(distances, assignment[:, None], axis=1)[:, 0]
    sizes = jnp.bincount(assignment, length=clusters).astype(own.dtype)
    return sizes, (sizes[assignment] * own).sum(), own.sum()


def _filled(
    space: AbstractSpace,
    assignment: Int[Array, " n"],
    centres: Any,
    own: Float[Array, " n"],
    clusters: int,
) -> tuple[Int[Array, " n"], Any]:
    """Without empty clusters: each takes of the cluster with the most distortion those rows that
    are nearer to its farthest one than to its centre, from which they are `own` away."""

    def empty(state: tuple[Array, Any, Array]) -> Array:
        return jnp.any(jnp.bincount(state[0], length=clusters) == 0)

    def fill(state: tuple[Array, Any, Array]) -> tuple[Array, Any, Array]:
        assignment, centres, own = state
        sizes = jnp.bincount(assignment, length=clusters)
        summed = jax.ops.segment_sum(own, assignment, clusters)
        giver = jnp.argmax(jnp.where(sizes > 1, sizes.astype(own.dtype) * summed, -1))
        taker = jnp.argmin(sizes)
        row = jnp.argmax(jnp.where(assignment == giver, own, -1))
        near = space.to_row(row)
        # A centre of rank one may be farther from all than one of them: the nearest stays.
        others = (assignment == giver).at[row].set(False)
        stays = jnp.argmin(jnp.where(others, own, jnp.inf))
        moves = (others & (near < own)).at[stays].set(False).at[row].set(True)
        return (
            jnp.where(moves, taker, assignment),
            space.place(centres, taker, row),
            jnp.where(moves, near, own),
        )

    return jax.lax.while_loop(empty, fill, (assignment, centres, own))[:2]


def stratified_batch(
    clustering: Clustering, *, per_cluster: int = 1, key: PRNGKeyArray
) -> tuple[Int[Array, " b"], Float[Array, " b"]]:
    r"""Examples drawn from each cluster, and weights that make their gradient unbiased.

    $$ \hat g = \sum_b w_b g_{i_b}, \qquad w_b = \frac{N_k}{N m}, \qquad
       \mathrm E[\hat g] = \frac1N \sum_i g_i $$

    for any clusters, also those of gradients that have changed since; only the variance is then
    another.

    Args:
        clustering: of `cluster_gradients`.
        per_cluster: m, how many of each cluster; with more than one an example may come twice.
        key: which.

    Returns:
        Indices of `k * per_cluster` examples, cluster by cluster, and their weights, of sum 1.

    Raises:
        ValueError: `per_cluster` is below 1.

    Example:
        Training by clusters that are made anew every 50 steps:

        >>> import equinox as eqx, jax, jax.numpy as jnp, jax.random as jr, optax
        >>> from pullback.nn import layer_factors
        >>> from pullback.train import fit
        >>> def loss(net, batch, *, key):
        ...     x, y, weights = batch
        ...     return jnp.sum(weights * (jax.vmap(net)(x) - y) ** 2), {}
        >>> x = jr.normal(jr.key(0), (40, 3))
        >>> y = jnp.sin(x[:, 0])
        >>> net = eqx.nn.MLP(3, "scalar", 8, 1, key=jr.key(1))
        >>> state = None
        >>> for phase, key in enumerate(jr.split(jr.key(2), 2)):
        ...     factors = layer_factors(loss, net, (x, y, jnp.ones(40)), key=key)
        ...     found = cluster_gradients(factors, 8, key=key)
        ...     def draw(key):
        ...         rows, weights = stratified_batch(found, key=key)
        ...         return x[rows], y[rows], weights
        ...     net, info = fit(net, loss, draw, steps=50, optimiser=optax.sgd(0.1),
        ...                     optimiser_state=state, key=key)
        ...     state = info.optimiser_state
        >>> info.step
        50

    Source: Faghri et al., A Study of Gradient Variance in Deep Learning, arXiv 2007.04532,
        gradient clustering.
    """
    key = checked_key(key)
    positive(per_cluster=per_cluster)
    sizes = clustering.sizes
    starts = jnp.cumsum(sizes) - sizes
    drawn = jr.randint(key, (len(sizes), per_cluster), 0, sizes[:, None])
    weights = sizes / (len(clustering.members) * per_cluster)
    weights = jnp.repeat(weights.astype(clustering.objective.dtype), per_cluster)
    return clustering.members[(starts[:, None] + drawn).ravel()], weights
