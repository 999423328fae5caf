"""The network of GRAN: from a graph so far to the law of the next rows of its matrix."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from pullback.models.graphs._ordered import TILE, OrderedGraph
from pullback.models.graphs._tiles import tiled

# Waves that tell the number of nodes still to come, from 2 to 256 nodes long.
_WAVES = 8


class BlockLaw(NamedTuple):
    """A mixture of laws of the edges of a block of new nodes.

    Attributes:
        old: logits of an edge between each node so far and each new one, of each component.
        new: the same between new nodes: a row is a new node, a column an earlier one.
        log_weights: of the components.
    """

    old: Float[Array, "size block mixtures"]
    new: Float[Array, "block block mixtures"]
    log_weights: Float[Array, " mixtures"]


class _Linear(eqx.Module):
    """`eqx.nn.Linear` for any axes in front."""

    weight: Float[Array, "outputs inputs"]
    bias: Float[Array, " outputs"]

    def __init__(self, inputs: int, outputs: int, *, key: PRNGKeyArray):
        bound, keys = inputs**-0.5, jr.split(key)
        self.weight = jr.uniform(keys[0], (outputs, inputs), minval=-bound, maxval=bound)
        self.bias = jr.uniform(keys[1], (outputs,), minval=-bound, maxval=bound)

    def __call__(self, x: Float[Array, "*several inputs"]) -> Float[Array, "*several outputs"]:
        flat = x.reshape(-1, x.shape[-1]) @ self.weight.T + self.bias[None]
        return flat.reshape(*x.shape[:-1], -1)


class _Layer(eqx.Module):
    """Messages along edges, each weighed by itself, and a state that takes them up."""

    first: _Linear
    message: _Linear
    gate: _Linear
    gru: eqx.nn.GRUCell

    def __init__(self, width: int, block: int, *, key: PRNGKeyArray):
        keys = jr.split(key, 4)
        self.first = _Linear(width + 2 * (block + 1), 2 * width, key=keys[0])
        self.message = _Linear(width, width, key=keys[1])
        self.gate = _Linear(width, width, key=keys[2])
        self.gru = eqx.nn.GRUCell(width, width, key=keys[3])


class _Head(eqx.Module):
    """Three layers on a difference of two states."""

    first: _Linear
    second: _Linear
    last: _Linear

    def __init__(self, width: int, mixtures: int, *, key: PRNGKeyArray):
        keys = jr.split(key, 3)
        self.first = _Linear(width, width, key=keys[0])
        self.second = _Linear(width, width, key=keys[1])
        self.last = _Linear(width, mixtures, key=keys[2])


class Network(eqx.Module):
    """States of nodes from rows of the matrix, messages among them, and two heads on pairs."""

    rows: Float[Array, "max_nodes width"]
    bias: Float[Array, " width"]
    position: Float[Array, "max_nodes width"] | None
    size: _Linear | None
    layers: _Layer
    theta: _Head
    alpha: _Head
    block: int = eqx.field(static=True)

    def __init__(
        self,
        max_nodes: int,
        block: int,
        mixtures: int,
        width: int,
        layers: int,
        position_features: bool,
        size_input: bool,
        density: float,
        key: PRNGKeyArray,
    ):
        keys = jr.split(key, 5 + layers)
        self.rows = 0.3 * jr.normal(keys[0], (max_nodes, width))
        self.bias = jnp.zeros(width)
        self.position = 0.3 * jr.normal(keys[1], (max_nodes, width)) if position_features else None
        self.size = _Linear(2 + 2 * _WAVES, width, key=keys[2]) if size_input else None
        self.layers = eqx.filter_vmap(lambda key: _Layer(width, block, key=key))(keys[5:])
        theta = _Head(width, mixtures, key=keys[3])
        logit = jnp.full(mixtures, np.log(density) - np.log1p(-density), theta.last.bias.dtype)
        self.theta = eqx.tree_at(lambda head: head.last.bias, theta, logit)
        self.alpha = _Head(width, mixtures, key=keys[4])
        self.block = block

    def first_states(self, graph: OrderedGraph) -> Float[Array, "size width"]:
        """The states that nodes start from: their rows of the matrix, which is their edges to
        earlier nodes."""
        size = graph.neighbours.shape[0]
        numbers = jnp.arange(size, dtype=jnp.int32)
        earlier = graph.neighbours < numbers[:, None]
        of_rows = lambda places: self.rows[jnp.minimum(places, len(self.rows) - 1)]
        states = jnp.sum(jnp.where(earlier[..., None], of_rows(graph.neighbours), 0), axis=1)
        if len(graph.overflow):
            owners, others = graph.overflow.T
            more = jnp.where((others < owners)[:, None], of_rows(others), 0)
            states = states.at[owners].add(more, mode="drop")
        return self._placed(states + self.bias[None], numbers)

    def states_of_rows(
        self, rows: Bool[Array, "new size"], numbers: Int[Array, " new"]
    ) -> Float[Array, "new width"]:
        """The same of some nodes, by their rows of the matrix up to themselves."""
        known = min(rows.shape[1], len(self.rows))
        states = rows[:, :known].astype(self.rows.dtype) @ self.rows[:known]
        return self._placed(states + self.bias[None], numbers)

    def law(
        self,
        graph: OrderedGraph,
        states: Float[Array, "size width"],
        start: Int[Array, ""],
        tile: int = TILE,
    ) -> BlockLaw:
        """The law of the edges of the nodes `start`, ..., `start + block - 1` to earlier ones.

        Of the graph it reads the edges among nodes before `start`, and how many nodes there will
        be: those beyond are not there. `tile` is how many nodes it takes at a time, where there are
        more.
        """
        start = start.astype(jnp.int32)
        numbers = start + jnp.arange(self.block, dtype=jnp.int32)
        live = numbers < graph.nodes
        new = self._new_states(numbers, start, graph.nodes)
        arrays, rest = eqx.partition(self.layers, eqx.is_array)

        def layer(carried: tuple[Array, Array], given: tuple[Any, Array]) -> tuple[Any, None]:
            arrays, later = given
            states, new = (jnp.where(later, jax.nn.relu(x), x) for x in carried)
            one = eqx.combine(arrays, rest)
            return _pass(one, graph, states, new, start, live, tile), None

        # A loop, and not one layer after another, so that there is one layer to compile.
        later = jnp.arange(len(self.layers.first.bias)) > 0
        (states, new), _ = jax.lax.scan(layer, (states, new), (arrays, later))
        return self._read(states, new, start, live, tile)

    def _placed(self, states: Array, numbers: Array) -> Array:
        if self.position is None:
            return states
        return states + self.position[jnp.minimum(numbers, len(self.position) - 1)]

    def _new_states(self, numbers: Array, start: Array, nodes: Array) -> Array:
        width, dtype = self.rows.shape[1], self.rows.dtype
        states = jnp.zeros((self.block, width), dtype)
        if self.size is not None:
            left = (nodes - start).astype(dtype)
            angles = left * jnp.pi / 2.0 ** jnp.arange(_WAVES, dtype=dtype)
            whole = jnp.stack([nodes.astype(dtype), left]) / len(self.rows)
            told = jnp.concatenate([whole, jnp.sin(angles), jnp.cos(angles)])
            states = states + self.size(told)[None]
        return self._placed(states, numbers)

    def _read(self, states: Array, new: Array, start: Array, live: Array, tile: int) -> BlockLaw:
        heads = (self.theta, self.alpha)
        weight = jnp.concatenate([head.first.weight for head in heads])
        bias = jnp.concatenate([head.first.bias for head in heads])
        of_new = new @ weight.T + bias[None]
        old, pooled = tiled(
            _pairs, ((heads, of_new), states @ weight.T), ((start, live), ()), start, tile
        )
        among, of_pairs = _heads(heads, of_new[:, None] - (new @ weight.T)[None])
        earlier = jnp.tri(self.block, k=-1, dtype=bool) & live[:, None] & live[None]
        pooled = pooled + jnp.sum(jnp.where(earlier[..., None], of_pairs, 0), axis=(0, 1))
        pairs = jnp.sum(earlier, dtype=jnp.int32) + start * jnp.sum(live, dtype=jnp.int32)
        mean = pooled / jnp.maximum(pairs, 1).astype(pooled.dtype)
        return BlockLaw(old, among, jax.nn.log_softmax(mean))


def _pass(
    layer: _Layer,
    graph: OrderedGraph,
    states: Array,
    new: Array,
    start: Array,
    live: Array,
    tile: int,
) -> tuple[Array, Array]:
    """One layer. A new node is joined to all that are there and to the other new ones.

    The first map of a message is linear in the difference of two states: it is applied to each
    node once, and differences are taken of what it gives.
    """
    width, block = states.shape[1], len(new)
    of_state, marks = layer.first.weight[:, :width], layer.first.weight[:, width:].T
    sender, receiver = marks[: block + 1], marks[block + 1 :] + layer.first.bias[None]
    mapped, mapped_new = states @ of_state.T, new @ of_state.T
    sent, received = mapped + sender[:1], receiver[:1] - mapped
    new_sent, new_received = mapped_new + sender[1:], receiver[1:] - mapped_new

    to_old, to_new = tiled(
        _messages,
        ((layer, sent, new_sent, new_received), (sent, received)),
        ((start, live), graph.neighbours),
        start,
        tile,
    )
    if len(graph.overflow):
        owners, others = graph.overflow.T
        last = len(states) - 1
        found = _message(
            layer, sent[jnp.minimum(others, last)] + received[jnp.minimum(owners, last)]
        )
        linked = (owners < start) & (others < start)
        to_old = to_old.at[owners].add(jnp.where(linked[:, None], found, 0), mode="drop")
    among = _message(layer, new_sent[None] + new_received[:, None])
    others = ~jnp.eye(block, dtype=bool) & live[:, None] & live[None]
    to_new = to_new + jnp.sum(jnp.where(others[..., None], among, 0), axis=1)
    return jax.vmap(layer.gru)(to_old, states), jax.vmap(layer.gru)(to_new, new)


def _messages(floats: tuple, ints: tuple, first: Array) -> tuple[Array, Array]:
    """What nodes so far are told by their neighbours and by the new nodes, and tell these."""
    (layer, sent, new_sent, new_received), (own, received) = floats
    (start, live), neighbours = ints
    width = neighbours.shape[1]
    there = first + jnp.arange(len(neighbours), dtype=jnp.int32) < start
    told = jnp.concatenate(
        [
            sent[jnp.minimum(neighbours, len(sent) - 1)] + received[:, None],
            new_sent[None] + received[:, None],
            own[:, None] + new_received[None],
        ],
        axis=1,
    )
    found = _message(layer, told)
    joined = there[:, None] & live[None]
    linked = jnp.concatenate([there[:, None] & (neighbours < start), joined, joined], axis=1)
    found = jnp.where(linked[..., None], found, 0)
    cut = width + len(live)
    return jnp.sum(found[:, :cut], axis=1), jnp.sum(found[:, cut:], axis=0)


def _message(layer: _Layer, told: Float[Array, "*edges twice"]) -> Float[Array, "*edges width"]:
    message, gate = jnp.split(jax.nn.relu(told), 2, axis=-1)
    return layer.message(message) * jax.nn.sigmoid(layer.gate(gate))


def _pairs(floats: tuple, ints: tuple, first: Array) -> tuple[Array, Array]:
    """Logits of edges to nodes so far, and the sum over pairs that the weights are made of."""
    (heads, of_new), of_old = floats
    (start, live), _ = ints
    theta, alpha = _heads(heads, of_new[None] - of_old[:, None])
    there = first + jnp.arange(len(of_old), dtype=jnp.int32) < start
    joined = there[:, None] & live[None]
    return theta, jnp.sum(jnp.where(joined[..., None], alpha, 0), axis=(0, 1))


def _heads(heads: tuple[_Head, _Head], first: Array) -> list[Array]:
    parts = jnp.split(jax.nn.relu(first), 2, axis=-1)
    return [
        head.last(jax.nn.relu(head.second(part))) for head, part in zip(heads, parts, strict=True)
    ]


def block_edges(
    graph: OrderedGraph, start: Int[Array, ""], block: int
) -> tuple[Bool[Array, "size block"], Bool[Array, "block block"]]:
    """Whether nodes before `start`, and new ones, are joined to each new node."""
    size = len(graph.neighbours)
    numbers = start + jnp.arange(block, dtype=jnp.int32)
    old = jnp.any(graph.neighbours[..., None] == numbers[None, None], axis=1)
    rows = graph.neighbours[jnp.minimum(numbers, size - 1)]
    new = jnp.any(rows[..., None] == numbers[None, None], axis=1)
    if len(graph.overflow):
        owners, others = graph.overflow.T
        inside = lambda places: (places >= start) & (places < numbers[-1] + 1)
        at = lambda owners, found: jnp.where(found, owners, size)
        old = old.at[at(owners, inside(others)), others - start].set(True, mode="drop")
        both = inside(owners) & inside(others)
        new = new.at[at(owners - start, both), others - start].set(True, mode="drop")
    return old, new
