"""Batches of blocks of graphs, each padded to what is there before it and little more."""

from collections.abc import Sequence
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from pullback._buckets import bucket_sizes
from pullback.data import Graph

from ._ordered import OrderedGraph, padded_size, table_shape
from ._orders import canonical_order


class Blocks(NamedTuple):
    """Blocks of one padded size, each of a graph in each of its orders.

    Attributes:
        graphs: as far as the block needs them, `[blocks, orders, ...]`.
        starts: the first row of each.
        weights: by which its log-probability is counted in that of its graph.
        owners: the place of its graph in the batch.
    """

    graphs: OrderedGraph
    starts: Int[Array, " blocks"]
    weights: Float[Array, " blocks"]
    owners: Int[Array, " blocks"]


class GraphBatch(NamedTuple):
    """Some graphs, by some or all of their blocks.

    Attributes:
        blocks: by their padded size.
        distinct: which orders of each graph count: the first of those that give one matrix.
        weights: of the graphs, with the sum 1.
    """

    blocks: tuple[Blocks, ...]
    distinct: Bool[Array, "graphs orders"]
    weights: Float[Array, " graphs"]


class BlockDraws(eqx.Module):
    """Draws batches of graphs of about as many of each size as there are, and blocks of them.

    The mean over draws of the weighted sum of any numbers of graphs is their mean over all graphs;
    and of the weighted sum of any numbers of blocks, their sum over the blocks of a graph, times
    stride / block: as often as a row is in a block.

    Attributes:
        tables: all graphs in all orders, up to a node, for each padded size.
        nodes: of each graph.
        distinct: as of `GraphBatch`.
        members: which graphs are of about one size, for each such group.
        slots: how many graphs a batch has of each group.
        sizes: which of `tables` each part of a graph needs, for each group.
        whole: whether every block is taken; else one of each part, at random.
        block: rows of a block.
        stride: rows from one block to the next.
    """

    tables: tuple[OrderedGraph, ...]
    nodes: Int[Array, " all"]
    distinct: Bool[Array, "all orders"]
    members: tuple[Int[Array, " _"], ...]
    slots: tuple[int, ...] = eqx.field(static=True)
    sizes: tuple[tuple[int, ...], ...] = eqx.field(static=True)
    whole: tuple[bool, ...] = eqx.field(static=True)
    block: int = eqx.field(static=True)
    stride: int = eqx.field(static=True)

    def __call__(self, key: PRNGKeyArray) -> GraphBatch:
        """A batch."""
        found: dict[int, list[Blocks]] = {}
        chosen, weights, first = [], [], 0
        groups = zip(self.members, self.slots, self.sizes, self.whole, strict=True)
        for number, (members, slots, sizes, whole) in enumerate(groups):
            which, where = jr.split(jr.fold_in(key, number))
            order = jr.permutation(which, len(members))
            graphs = members[order[jnp.arange(slots) % len(members)]]
            blocks, scales = self._blocks(self.nodes[graphs], len(sizes), whole, where)
            for size in sorted(set(sizes)):
                parts = np.flatnonzero(np.asarray(sizes) == size)
                rows = jnp.repeat(graphs, len(parts))
                owners = first + jnp.repeat(jnp.arange(slots, dtype=jnp.int32), len(parts))
                starts, scale = blocks[:, parts].ravel() * self.stride, scales[:, parts].ravel()
                table = jax.tree.map(lambda leaf, rows=rows: leaf[rows], self.tables[size])
                found.setdefault(size, []).append(Blocks(table, starts, scale, owners))
            share = len(members) / len(self.nodes) / slots
            weights.append(jnp.full(slots, share, jnp.result_type(float)))
            chosen.append(graphs)
            first += slots
        together = lambda *leaves: jnp.concatenate(leaves)
        return GraphBatch(
            tuple(jax.tree.map(together, *found[size]) for size in sorted(found)),
            self.distinct[jnp.concatenate(chosen)],
            jnp.concatenate(weights),
        )

    def _blocks(
        self, nodes: Int[Array, " graphs"], parts: int, whole: bool, key: PRNGKeyArray
    ) -> tuple[Int[Array, "graphs parts"], Float[Array, "graphs parts"]]:
        """The number of a block for each part of each graph, and its weight."""
        dtype = jnp.result_type(float)
        count = (-(-nodes // self.stride))[:, None]
        share = self.stride / self.block
        part = jnp.arange(parts, dtype=jnp.int32)[None]
        if whole:
            return jnp.broadcast_to(part, (len(nodes), parts)), share * (part < count).astype(dtype)
        moved = part.astype(dtype) + jr.uniform(key, (len(nodes), parts), dtype)
        drawn = jnp.floor(moved * count.astype(dtype) / parts).astype(jnp.int32)
        ends = -(-(part + 1) * count // parts)
        weights = jnp.broadcast_to(share * count.astype(dtype) / parts, drawn.shape)
        return jnp.minimum(drawn, ends - 1), weights


def block_draws(
    graphs: Sequence[Graph],
    kinds: Sequence[str],
    *,
    block: int,
    stride: int,
    prefixes: int | None,
    steps: int,
    batch_size: int,
) -> BlockDraws:
    """What draws batches of these graphs.

    Args:
        graphs: of one node at least.
        kinds: the orders that each is taken in.
        block: rows of a block.
        stride: rows from one block to the next.
        prefixes: blocks a graph; None: all. All too where there are no more.
        steps: of the training: the more, the more sizes are worth their compilation.
        batch_size: graphs.
    """
    nodes = np.array([graph.nodes for graph in graphs])
    groups = bucket_sizes(nodes, steps)[-batch_size:]
    counts = [-(-largest // stride) for largest in groups]
    parts = [count if prefixes is None else min(prefixes, count) for count in counts]
    needs = [_needs(*each, block, stride) for each in zip(groups, parts, strict=True)]
    group = np.searchsorted(groups, nodes)
    members = [np.flatnonzero(group == number) for number in range(len(groups))]
    slots = _slots(np.array([len(each) for each in members]), batch_size)
    every = [np.tile(need, number) for need, number in zip(needs, slots, strict=True)]
    ladder = bucket_sizes(np.concatenate(every), steps)
    ordered = [[_renumbered(graph, kind) for kind in kinds] for graph in graphs]
    return BlockDraws(
        tuple(_table(ordered, size) for size in ladder),
        jnp.asarray(nodes, jnp.int32),
        jnp.asarray([_first_of_each(each) for each in ordered]),
        tuple(jnp.asarray(each, jnp.int32) for each in members),
        slots,
        tuple(tuple(np.searchsorted(ladder, need).tolist()) for need in needs),
        tuple(part == count for part, count in zip(parts, counts, strict=True)),
        block,
        stride,
    )


def _needs(nodes: int, parts: int, block: int, stride: int) -> Int[np.ndarray, " parts"]:
    """The padded size that a block of each part of a graph may need."""
    count = -(-nodes // stride)
    last = [(-(-(part + 1) * count // parts) - 1) * stride for part in range(parts)]
    ends = [min(start + block, nodes) for start in last]
    return np.array([padded_size(end) for end in ends])


def _slots(counts: Int[np.ndarray, " groups"], batch_size: int) -> tuple[int, ...]:
    """A batch shared out among groups by how many graphs they have, one or more to each."""
    wanted, slots = counts * (batch_size / counts.sum()), np.ones(len(counts), int)
    for _ in range(batch_size - len(counts)):
        slots[np.argmax(wanted - slots)] += 1
    return tuple(slots.tolist())


def _renumbered(graph: Graph, kind: str) -> Graph:
    places = np.argsort(canonical_order(graph, kind))
    return Graph(graph.nodes, places[graph.edges])


def _first_of_each(ordered: Sequence[Graph]) -> list[bool]:
    """Whether none before has the same edges."""
    seen = [graph.edges.tobytes() for graph in ordered]
    return [edges not in seen[:number] for number, edges in enumerate(seen)]


def _table(ordered: Sequence[Sequence[Graph]], size: int) -> OrderedGraph:
    """All graphs in all orders, `[graphs, orders, ...]`, as far as the node before `size`."""
    each = [graph for orders in ordered for graph in orders]
    of = np.repeat(np.arange(len(each)), [len(graph.edges) for graph in each])
    edges = np.concatenate([graph.edges for graph in each])
    inside = edges[:, 1] < size
    of, edges = np.tile(of[inside], 2), edges[inside]
    owners, others = np.concatenate([edges, edges[:, ::-1]]).T
    sort = np.lexsort((others, owners, of))
    of, owners, others = of[sort], owners[sort], others[sort]
    degrees = np.bincount(of * size + owners, minlength=len(each) * size).reshape(-1, size)
    width, listed = table_shape(size, list(degrees))
    table = np.full((len(each), size, width), size, np.int32)
    overflow = np.full((len(each), listed, 2), size, np.int32)
    ranks = _ranks(of * size + owners)
    held, over = ranks < width, ranks >= width
    table[of[held], owners[held], ranks[held]] = others[held]
    overflow[of[over], _ranks(of[over])] = np.stack([owners, others], axis=1)[over]
    nodes = np.array([graph.nodes for graph in each], np.int32)
    counts = len(ordered), len(ordered[0])
    fold = lambda rows: jnp.asarray(rows.reshape(*counts, *rows.shape[1:]))
    each_of = jax.vmap(jax.vmap(OrderedGraph))
    return each_of(fold(table), fold(overflow), fold(nodes))


def _ranks(sorted_values: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """Of each value how many of the same come before it."""
    return np.arange(len(sorted_values)) - np.searchsorted(sorted_values, sorted_values)
