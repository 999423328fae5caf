"""Graphs drawn by a network: one compiled loop, whose cost is of what has been drawn so far."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key, PRNGKeyArray

from pullback.models.graphs._network import BlockLaw, Network
from pullback.models.graphs._ordered import TILE, OrderedGraph, padded_size

# What the loop of one call may take beside its answer, about, and the most graphs in it.
_MEMORY, _MOST = 2**25, 1024

# Nodes that the network takes at a time, where there are up to 512 in all: a quarter of what is
# quick in training, where all blocks are at work at once, and most have many nodes before them.
_FINE = 32


class Growing(eqx.Module):
    """Graphs that are being drawn, in the arrays of `OrderedGraph`.

    Args:
        neighbours: of each node, in the order in which their edges came.
        overflow: the edges beyond the table.
        listed: how many those are.
        degrees: of the nodes so far.
        states: what nodes start from in the network.
        steps: of each graph, while it was not complete.
        start: the nodes so far.
    """

    neighbours: Int[Array, "graphs size width"]
    overflow: Int[Array, "graphs overflow 2"]
    listed: Int[Array, " graphs"]
    degrees: Int[Array, "graphs size"]
    states: Float[Array, "graphs size features"]
    steps: Int[Array, " graphs"]
    start: Int[Array, ""]


class Room(NamedTuple):
    """What arrays are made for: the edges of a block, and the places of the list.

    Of an answer: what the last step asked for.
    """

    edges: Int[Array, ""] | int
    listed: Int[Array, ""] | int


def draw_graphs(
    network: Network,
    nodes: Int[np.ndarray, " graphs"],
    stride: int,
    connected: bool,
    key: PRNGKeyArray,
) -> tuple[list[Int[np.ndarray, "edges 2"]], Int[np.ndarray, " graphs"]]:
    """The edges of graphs of so many nodes each, and the steps that each took."""
    keys = jr.split(key, len(nodes))
    edges: list[np.ndarray] = [np.zeros((0, 2), np.int32)] * len(nodes)
    steps = np.zeros(len(nodes), np.int64)
    for size, of_size in _by_size(nodes, network.block):
        some = _at_once(network, size, len(of_size))
        for first in range(0, len(of_size), some):
            places = of_size[first : first + some]
            # Graphs of no node fill up the last call, so that it is the program of the others.
            filled = np.resize(places, some)
            asked = np.where(np.arange(some) < len(places), nodes[filled], 0)
            drawn = _drawn(network, asked, size, stride, connected, keys[filled])
            for place, found in zip(places, _edges(drawn), strict=False):
                edges[place] = found
            steps[places] = np.asarray(drawn.steps)[: len(places)]
    return edges, steps


def _by_size(nodes: np.ndarray, block: int) -> Iterator[tuple[int, np.ndarray]]:
    """Sizes of arrays, and the graphs drawn in each, small ones first: a program a size.

    Graphs up to a tile share the arrays of the largest of them, which compiling alone is worth.
    """
    sizes = np.array([_size(n + block - 1) for n in nodes.tolist()])
    small = sizes[sizes <= TILE].max(initial=0)
    sizes = np.maximum(sizes, small)
    by_nodes = np.argsort(nodes, kind="stable")
    for size in np.unique(sizes).tolist():
        yield size, by_nodes[sizes[by_nodes] == size]


def _drawn(
    network: Network,
    nodes: np.ndarray,
    size: int,
    stride: int,
    connected: bool,
    keys: Key[Array, " graphs"],
) -> Growing:
    """Graphs until they are complete, in arrays that are made larger where they prove too small."""
    growing = _nothing(network, len(nodes), size)
    edges = max(64, 2 ** (16 * network.block - 1).bit_length())
    while True:
        growing, asked = grow(
            network, growing, jnp.asarray(nodes, jnp.int32), keys, edges=edges, stride=stride,
            connected=connected,
        )  # fmt: skip
        if int(growing.start) >= nodes.max():
            return growing
        edges = max(edges, 2 ** (int(asked.edges) - 1).bit_length())
        growing = _with_room(growing, int(asked.listed))


def _size(rows: int) -> int:
    return max(8, 2 ** (rows - 1).bit_length()) if rows <= 8 * TILE else padded_size(rows)


def _tile(size: int) -> int:
    return _FINE if size <= 4 * TILE else TILE


def _at_once(network: Network, size: int, graphs: int) -> int:
    """How many graphs to draw in one loop, so that memory is bounded: a power of two."""
    width, tile = network.rows.shape[1], _tile(size)
    mixtures = len(network.theta.last.bias)
    of_pairs = 3 * size * network.block * (mixtures + 2 * width * min(1, tile / size))
    of_edges = 4 * min(size, tile) * (16 + 2 * network.block) * 2 * width
    each = network.rows.dtype.itemsize * (of_pairs + of_edges + 8 * size * width)
    fit = int(np.clip(_MEMORY // each, 1, _MOST))
    return min(2 ** (fit.bit_length() - 1), 2 ** (graphs - 1).bit_length())


def _nothing(network: Network, graphs: int, size: int) -> Growing:
    # Up to 16 nodes the table has room for all neighbours, and no list is needed.
    width, overflow = (size, 0) if size <= 16 else (8, max(16, 2 ** (size // 5 - 1).bit_length()))
    return Growing(
        neighbours=jnp.full((graphs, size, width), size, jnp.int32),
        overflow=jnp.full((graphs, overflow, 2), size, jnp.int32),
        listed=jnp.zeros(graphs, jnp.int32),
        degrees=jnp.zeros((graphs, size), jnp.int32),
        states=jnp.zeros((graphs, size, network.rows.shape[1]), network.rows.dtype),
        steps=jnp.zeros(graphs, jnp.int32),
        start=jnp.zeros((), jnp.int32),
    )


def _with_room(growing: Growing, listed: int) -> Growing:
    """A list of so many edges; or a table twice as wide, where that costs less."""
    _, size, width = growing.neighbours.shape
    room = growing.overflow.shape[1]
    if listed <= room:
        return growing
    pad = lambda x, axis, more: jnp.pad(
        x, [(0, more if axis == n else 0) for n in range(3)], constant_values=size
    )
    growing = eqx.tree_at(
        lambda g: g.overflow, growing,
        pad(growing.overflow, 1, 2 ** listed.bit_length() - room),
    )  # fmt: skip
    if width < size and size * width < 4 * listed:
        growing = eqx.tree_at(lambda g: g.neighbours, growing, pad(growing.neighbours, 2, width))
    return growing


@eqx.filter_jit
def grow(
    network: Network,
    growing: Growing,
    nodes: Int[Array, " graphs"],
    keys: Key[Array, " graphs"],
    *,
    edges: int,
    stride: int,
    connected: bool,
) -> tuple[Growing, Room]:
    """Draw block after block until all graphs have their nodes, or the next has no room.

    A step is not taken where it has no room, so that it can be taken again in larger arrays: it
    draws the same, for a step's randomness is of the key and of its first node.
    """
    room = Room(edges, growing.overflow.shape[1])
    last = jnp.max(nodes)

    def step(state: tuple[Growing, Room]) -> tuple[Growing, Room]:
        growing, _ = state
        start = growing.start
        parts = eqx.tree_at(lambda g: g.start, growing, None)
        one = lambda part, nodes, key: _step(
            network, part, nodes, start, key, edges, stride, connected
        )
        taken, asked = jax.vmap(one)(parts, nodes, keys)
        asked = Room(jnp.max(asked.edges), jnp.max(asked.listed))
        taken = eqx.tree_at(
            lambda g: g.start, taken, start + stride, is_leaf=lambda leaf: leaf is None
        )
        return jax.tree.map(lambda x, y: jnp.where(_fits(asked, room), x, y), taken, growing), asked

    def goes_on(state: tuple[Growing, Room]) -> Array:
        return (state[0].start < last) & _fits(state[1], room)

    zero = jnp.zeros((), jnp.int32)
    return jax.lax.while_loop(goes_on, step, (growing, Room(zero, zero)))


def _fits(asked: Room, room: Room) -> Any:
    return (asked.edges <= room.edges) & (asked.listed <= room.listed)


def _step(
    network: Network,
    part: Growing,
    nodes: Array,
    start: Array,
    key: PRNGKeyArray,
    edges: int,
    stride: int,
    connected: bool,
) -> tuple[Growing, Room]:
    """One block of one graph: rows beyond the stride, and beyond the graph, are never written."""
    rows = jnp.arange(network.block, dtype=jnp.int32)
    size = len(part.states)
    law = network.law(
        OrderedGraph(part.neighbours, part.overflow, nodes), part.states, start, _tile(size)
    )
    kept = (start + rows < nodes) & (rows < stride)
    key = jr.fold_in(key, start)
    slab = draw_block(law, start, kept, connected=connected, key=key)
    part, asked = _joined(part, slab, start, edges)
    states = network.states_of_rows(slab, start + rows)
    states = jax.lax.dynamic_update_slice_in_dim(part.states, states, start, 0)
    steps = part.steps + (start < nodes).astype(jnp.int32)
    return eqx.tree_at(lambda g: (g.states, g.steps), part, (states, steps)), asked


def draw_block(
    law: BlockLaw,
    start: Int[Array, ""],
    kept: Bool[Array, " block"],
    *,
    connected: bool,
    key: PRNGKeyArray,
) -> Bool[Array, "block size"]:
    r"""The edges of new nodes to all nodes, drawn from the law of a block.

    With `connected` from its law given that each row has an edge, row 0 of the graph apart. Given a
    component rows are independent, so that its weight is multiplied by the probability of an edge,
    $\prod_i (1 - \prod_j (1 - \theta_{kij}))$; within a row the first edge is drawn by
    $p(j) \propto \theta_{kij} \prod_{l < j} (1 - \theta_{kil})$, and those after it as ever.
    """
    size, block, _ = law.old.shape
    rows = jnp.arange(block, dtype=jnp.int32)
    numbers = jnp.arange(size, dtype=jnp.int32)
    logits = jnp.concatenate([law.old, jnp.swapaxes(law.new, 0, 1)])
    counted = jnp.concatenate(
        [(numbers < start)[:, None] & kept[None], (rows[:, None] < rows[None]) & kept[None]]
    )
    component, first, each = jr.split(key, 3)
    weights, joined = law.log_weights, kept & (start + rows > 0)
    if connected:
        weights = weights + jnp.sum(
            jnp.where(joined[:, None], _log_any(logits, counted), 0), axis=0
        )
    logits = jnp.take(logits, jr.categorical(component, weights), axis=-1)
    # `jr.uniform` is 0 once in 2^23 draws: in float32 edges that never come would.
    uniform = jr.bits(each, logits.shape, jnp.uint32).astype(logits.dtype) * 2.0**-32
    drawn = counted & (uniform < jax.nn.sigmoid(logits))
    if connected:
        none = jnp.where(counted, jax.nn.log_sigmoid(-logits), 0)
        before = jnp.cumsum(none, axis=0) - none
        law_of_first = jnp.where(counted, jax.nn.log_sigmoid(logits) + before, -jnp.inf)
        places = jr.categorical(first, law_of_first, axis=0).astype(jnp.int32)
        here = jnp.arange(size + block, dtype=jnp.int32)[:, None]
        given = (here == places[None]) | (drawn & (here > places[None]))
        drawn = jnp.where(joined[None], given, drawn)
    old, new = drawn[:size], drawn[size:]
    return jax.lax.dynamic_update_slice(old.T, new.T, (jnp.zeros_like(start), start))


def _log_any(logits: Float[Array, "places block mixtures"], counted: Array) -> Array:
    """The log-probability that a row has an edge, of each component."""
    counted = counted[..., None]
    none = jnp.sum(jnp.where(counted, jax.nn.log_sigmoid(-logits), 0), axis=0)
    # Where edges are so unlikely that the sum of their probabilities is lost in float32.
    rare = jax.nn.logsumexp(jnp.where(counted, logits, -jnp.inf), axis=0)
    safe = jnp.where(none < -1e-30, none, -1)
    return jnp.where(none < -1e-30, jnp.log(-jnp.expm1(safe)), rare)


def _joined(
    part: Growing, slab: Bool[Array, "block size"], start: Array, edges: int
) -> tuple[Growing, Room]:
    """The graph with the edges of a block, each written at both of its ends."""
    size = slab.shape[1]
    width, places = part.neighbours.shape[1], len(part.overflow)
    counts = lambda axis: jnp.sum(slab, axis=axis, dtype=jnp.int32)
    of_rows, number = counts(1), jnp.sum(slab, dtype=jnp.int32)
    # The places of a new node hold first its earlier neighbours, and then later ones.
    taken = jax.lax.dynamic_update_slice_in_dim(part.degrees, of_rows, start, 0)
    above = jnp.cumsum(slab, axis=0, dtype=jnp.int32) - slab.astype(jnp.int32)
    row, column = jnp.nonzero(slab, size=edges, fill_value=0)
    row, column = row.astype(jnp.int32), column.astype(jnp.int32)
    each = jnp.arange(edges, dtype=jnp.int32)
    found = each < number
    of_new = each - (jnp.cumsum(of_rows) - of_rows)[row]
    of_old = taken[column] + above[row, column]
    new = start + row
    owners = jnp.where(jnp.concatenate([found, found]), jnp.concatenate([new, column]), size)
    others, slots = jnp.concatenate([column, new]), jnp.concatenate([of_new, of_old])
    over = (owners < size) & (slots >= width)
    neighbours = part.neighbours.at[owners, slots].set(others, mode="drop")
    listed = part.listed + jnp.cumsum(over, dtype=jnp.int32)
    at = jnp.where(over, listed - 1, places)
    overflow = part.overflow.at[at].set(jnp.stack([owners, others], axis=1), mode="drop")
    asked = Room(number, listed[-1])
    change = (neighbours, overflow, listed[-1], taken + counts(0))
    return eqx.tree_at(
        lambda g: (g.neighbours, g.overflow, g.listed, g.degrees), part, change
    ), asked


def _edges(drawn: Growing) -> list[Int[np.ndarray, "edges 2"]]:
    """The edges of each graph, from the tables."""
    table, listed = np.asarray(drawn.neighbours), np.asarray(drawn.overflow)
    numbers = np.arange(table.shape[1], dtype=np.int32)
    found = []
    for neighbours, overflow in zip(table, listed, strict=True):
        owners, places = np.nonzero(neighbours < numbers[:, None])
        beyond = overflow[overflow[:, 1] < overflow[:, 0]]
        one = np.stack([owners, neighbours[owners, places]], axis=1)
        found.append(np.concatenate([one, beyond]).astype(np.int32))
    return found
