"""The layered pass: every chain of evidence at once, without a recursion."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from pullback.models.recommenders._generators import AbstractGenerator

# Ratings whose terms are held at once: bounds the memory of a pass over many.
_AT_ONCE = 2**20


class Side(eqx.Module):
    """Of the users, or of the items: the prototypes, and what makes the others.

    Attributes:
        table: a row for each prototype.
        codes: which users or items the prototypes are.
        generator: from the evidence to a vector.
        log_shrinkage: a computed bias is the sum of n rests, over n plus the exponential of this.
    """

    table: Float[Array, "P K"]
    codes: Int[Array, " P"]
    generator: AbstractGenerator
    log_shrinkage: Float[Array, ""]


class Evidence(NamedTuple):
    """Ratings, sorted by users, and which of them count: for the users, and for the items.

    Attributes:
        levels: the ratings that occur, where they are few, or None; then `at` says which each is.
    """

    users: Int[Array, " n"]
    items: Int[Array, " n"]
    values: Float[Array, " n"]
    for_users: Float[Array, " n"]
    for_items: Float[Array, " n"]
    levels: Float[Array, " L"] | None = None
    at: Int[Array, " n"] | None = None


class Biases(NamedTuple):
    users: Float[Array, " M"]
    items: Float[Array, " N"]


class Vectors(NamedTuple):
    """Of one side: the vectors of the last layer, and those of the layer below."""

    vectors: Float[Array, "n K"]
    hops: Int[Array, " n"]
    below: Float[Array, "n K"]
    known_below: Float[Array, " n"]


def levelled(evidence: Evidence, levels: Float[Array, " L"] | None) -> Evidence:
    """The evidence with the level of each rating; `levels` rise, and every rating is one."""
    if levels is None:
        return evidence
    at = jnp.searchsorted(levels, evidence.values).astype(evidence.items.dtype)
    return evidence._replace(levels=levels, at=at)


def rests(chains: Any, values: Array) -> Array:
    """The ratings less their mean; of implicit feedback 1 for one use, rising with the log."""
    return values - chains.offset if chains.feedback == "explicit" else jnp.log2(1 + values)


def biases(chains: Any, evidence: Evidence, shape: tuple[int, int]) -> Biases:
    r"""The shrunk means $b_j = \sum_i (r - \mu) / (n_j + \lambda_V)$, and so on for the users.

    Of implicit feedback an item's is its number of users, by the log and a learned scale, and a
    user's is none.
    """
    users, items = shape
    total = lambda rows, to, size: jax.ops.segment_sum(rows, to, size)
    item_count = total(evidence.for_items, evidence.items, items)
    if chains.feedback == "implicit":
        return Biases(
            jnp.zeros(users, chains.offset.dtype), chains.popularity * jnp.log1p(item_count)
        )
    x = rests(chains, evidence.values)
    item_sum = total(evidence.for_items * x, evidence.items, items)
    item_bias = item_sum / (item_count + jnp.exp(chains.items.log_shrinkage))
    x = x - item_bias[evidence.items]
    user_count = total(evidence.for_users, evidence.users, users)
    user_sum = total(evidence.for_users * x, evidence.users, users)
    return Biases(user_sum / (user_count + jnp.exp(chains.users.log_shrinkage)), item_bias)


def layers(
    chains: Any, evidence: Evidence, bias: Biases, shape: tuple[int, int]
) -> tuple[Vectors, Vectors]:
    """Both sides of the last layer."""
    users, items = (
        _start(side, size) for side, size in zip((chains.users, chains.items), shape, strict=True)
    )
    to_users = evidence._replace(for_items=evidence.for_users)
    to_items = Evidence(
        evidence.items, evidence.users, evidence.values, evidence.for_items, evidence.for_items,
        evidence.levels, evidence.at,
    )  # fmt: skip

    # One program for every depth, however deep.
    def layer(sides: tuple[Vectors, Vectors], depth: Array) -> tuple[tuple[Vectors, Vectors], None]:
        users, items = sides
        return (
            _layer(chains, chains.users, users, items, to_users, bias.users, bias.items, depth),
            _layer(chains, chains.items, items, users, to_items, bias.items, bias.users, depth),
        ), None

    depths = jnp.arange(1, chains.depth + 1, dtype=users.hops.dtype)
    return jax.lax.scan(layer, (users, items), depths)[0]


def _start(side: Side, size: int) -> Vectors:
    vectors = (
        jnp.zeros((size, side.table.shape[1]), side.table.dtype).at[side.codes].set(side.table)
    )
    hops = jnp.full(size, -1).at[side.codes].set(0)
    return Vectors(vectors, hops, vectors, (hops >= 0).astype(vectors.dtype))


def _layer(
    chains: Any, side: Side, own: Vectors, other: Vectors, evidence: Evidence,
    bias: Array, other_bias: Array, depth: Array,
) -> Vectors:  # fmt: skip
    """One side of a layer from the other side of the layer below. `evidence.users` is one's own."""
    known = (other.hops >= 0).astype(bias.dtype)
    sums, count = _sums(
        chains, side.generator, other.vectors, known, evidence, other_bias, len(bias)
    )
    made = jax.vmap(side.generator.vector)(sums, count, bias)
    reached = count > 0
    hops = jnp.where((own.hops < 0) & reached, depth, own.hops)
    # Rows whose evidence has no weight are zero, whatever the generator says of no evidence.
    made = jnp.where(reached[:, None], made, 0).at[side.codes].set(side.table)
    return Vectors(made, hops, own.vectors, (own.hops >= 0).astype(bias.dtype))


def _sums(
    chains: Any, generator: AbstractGenerator, vectors: Array, known: Array, evidence: Evidence,
    other_bias: Array, size: int,
) -> tuple[Array, Array]:  # fmt: skip
    """The sums of the terms over each one's evidence, and how much there is of it."""
    bias = other_bias if chains.feedback == "explicit" else jnp.zeros_like(other_bias)
    count = len(evidence.values)
    if evidence.levels is not None and len(evidence.levels) * len(vectors) < count:
        x = rests(chains, evidence.levels)
        levels = len(x)
        table = generator.terms(
            jnp.repeat(vectors, levels, axis=0), (x[None] - bias[:, None]).reshape(-1)
        )
        terms = lambda part: table[part.items * levels + part.at]
    else:
        terms = lambda part: generator.terms(
            vectors[part.items], rests(chains, part.values) - bias[part.items]
        )

    def added(part: Evidence) -> tuple[Array, Array]:
        weights = part.for_users * known[part.items]
        # Not told which side is sorted: a step of MovieLens-100K takes as long on a CPU.
        total = lambda rows: jax.ops.segment_sum(rows, part.users, size)
        return total(weights[:, None] * terms(part)), total(weights)

    part = evidence._replace(levels=None)
    if count <= _AT_ONCE:
        return added(part)
    chunks = -(-count // _AT_ONCE)
    pad = chunks * _AT_ONCE - count
    # Padding has no weight.
    parts = jax.tree.map(lambda x: jnp.pad(x, (0, pad)).reshape(chunks, _AT_ONCE), part)
    start = jax.eval_shape(added, jax.tree.map(lambda x: x[0], parts))
    start = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), start)
    add = jax.checkpoint(lambda sums, part: (jax.tree.map(jnp.add, sums, added(part)), None))
    return jax.lax.scan(add, start, parts)[0]
