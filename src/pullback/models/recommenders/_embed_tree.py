"""Chains of evidence by recursion: slow, and free of cycles."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from pullback.data import Ratings
from pullback.models.recommenders._chains import EvidenceChains
from pullback.models.recommenders._codes import rows_of
from pullback.models.recommenders._layers import Biases, Evidence, Side, biases, rests


def embed_tree(
    chains: EvidenceChains,
    ratings: Ratings,
    *,
    user: int | None = None,
    item: int | None = None,
) -> Float[Array, " K"] | None:
    """The vector of one user or item by recursion, where no node is its own evidence.

    `EvidenceChains.embed` leaves out that rule, which needs a tree for each root: up to depth 2, or
    where ratings have no cycle, both are equal. This one is for tests and small cases: it takes as
    many calls as there are chains.

    Args:
        chains: the recommender.
        ratings: the evidence; from them all the biases are computed.
        user: the code of the user, or
        item: the code of the item.

    Returns:
        The vector, without the bias; None where no chain reaches a prototype.

    Raises:
        ValueError: neither or both are given, or there is no such row; or ratings as by
            `Ratings.well_formed`.

    Example:
        >>> import jax, numpy as np
        >>> from pullback.data import Ratings
        >>> from pullback.models.recommenders import fit_evidence_chains
        >>> users, items = np.divmod(np.arange(30), 5)
        >>> values = (users + items) % 3 + 1.0
        >>> ratings = Ratings(users, items, values, tuple("abcdef"), tuple("vwxyz"))
        >>> chains, _ = fit_evidence_chains(
        ...     ratings, latent=2, prototypes=2, generator="ridge", steps=2, progress=False,
        ...     key=jax.random.key(0))
        >>> tree, fast = embed_tree(chains, ratings, user=5), chains.embed(ratings).users[5, :2]
        >>> bool(abs(tree - fast).max() < 1e-5)
        True

    Source: arXiv 1807.02150 (the recursion, as in its code without the cache).
    """
    if (user is None) == (item is None):
        raise ValueError("give either `user` or `item`: the one whose vector is wanted.")
    dtype = chains.offset.dtype
    ratings = ratings.well_formed(chains.feedback)
    shape = (len(ratings.user_names), len(ratings.item_names))
    for name, code, size in zip(("user", "item"), (user, item), shape, strict=True):
        if code is not None:
            rows_of(name, [code], size)
    ones = jnp.ones(len(ratings.values), dtype)
    values = jnp.asarray(ratings.values, dtype)
    evidence = Evidence(jnp.asarray(ratings.users), jnp.asarray(ratings.items), values, ones, ones)
    bias = biases(chains, evidence, shape)
    x = np.asarray(rests(chains, values))
    start = ("user", user) if item is None else ("item", item)
    return _node(chains, ratings, x, bias, *start, chains.depth, frozenset())


def _node(
    chains: EvidenceChains, ratings: Ratings, x: np.ndarray, bias: Biases, kind: str, code: Any,
    left: int, above: frozenset[tuple[str, int]],
) -> Array | None:  # fmt: skip
    side: Side
    side, own, other, others, own_bias, other_bias = (
        (chains.users, ratings.users, ratings.items, "item", bias.users, bias.items)
        if kind == "user"
        else (chains.items, ratings.items, ratings.users, "user", bias.items, bias.users)
    )
    found = np.flatnonzero(np.asarray(side.codes) == code)
    if len(found):
        return side.table[found[0]]
    if left == 0:
        return None
    above = above | {(kind, int(code))}
    rows, vectors = [], []
    for row in np.flatnonzero(own == code):
        if (others, int(other[row])) in above:
            continue
        vector = _node(chains, ratings, x, bias, others, other[row], left - 1, above)
        if vector is not None:
            rows.append(row)
            vectors.append(vector)
    if not rows:
        return None
    values = jnp.asarray(x[rows], chains.offset.dtype)
    if chains.feedback == "explicit":
        values = values - other_bias[other[rows]]
    sums = jnp.sum(side.generator.terms(jnp.stack(vectors), values), axis=0)
    return side.generator.vector(sums, jnp.asarray(len(rows), values.dtype), own_bias[code])
