"""GRAN's mathematics as one bare program of exact shapes: nothing padded, nothing kept."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from pullback.models.graphs import GRAN


class Bare(NamedTuple):
    """A graph before a block, with the block joined to all of it.

    Attributes:
        rows: the edges among nodes so far, a node and an earlier one.
        senders: of the messages.
        receivers: of the messages, sorted.
        marks: 0 of nodes so far, and 1, 2, ... of new ones.
        edges: whether a node so far, and a new one, is joined to each of the block.
    """

    rows: jax.Array
    senders: jax.Array
    receivers: jax.Array
    marks: jax.Array
    edges: jax.Array


def bare_prefix(edges: np.ndarray, start: int, block: int) -> Bare:
    end = start + block
    among = edges[edges[:, 1] < start]
    to_new = np.array([(j, i) for i in range(start, end) for j in range(i)]).reshape(-1, 2)
    both = np.concatenate([among, among[:, ::-1], to_new, to_new[:, ::-1]])
    both = both[np.argsort(both[:, 1], kind="stable")]
    slab = np.zeros((end, block), bool)
    inside = edges[(edges[:, 1] >= start) & (edges[:, 1] < end)]
    slab[inside[:, 0], inside[:, 1] - start] = True
    marks = np.concatenate([np.zeros(start), np.arange(1, block + 1)])
    whole = lambda x: jnp.asarray(x, jnp.int32)
    return Bare(whole(among), whole(both[:, 0]), whole(both[:, 1]), whole(marks), jnp.asarray(slab))


def layers_of(network) -> list:
    """The layers, one by one, of arrays that hold them all."""
    number = len(network.layers.first.bias)
    return [
        jax.tree.map(lambda leaf, at=at: leaf[at] if eqx.is_array(leaf) else leaf, network.layers)
        for at in range(number)
    ]


def _law(network, bare: Bare):
    nodes, block = bare.edges.shape
    start, width = nodes - block, network.rows.shape[1]
    sums = lambda values, into, count: jax.ops.segment_sum(values, into, count)
    states = sums(network.rows[bare.rows[:, 0]], bare.rows[:, 1], start) + network.bias[None]
    states = jnp.concatenate([states, jnp.zeros((block, width))])
    for number, layer in enumerate(layers_of(network)):
        states = jax.nn.relu(states) if number else states
        weight = layer.first.weight
        mapped = states @ weight[:, :width].T
        codes = weight[:, width:].T
        sent = mapped + codes[: block + 1][bare.marks]
        received = codes[block + 1 :][bare.marks] + layer.first.bias[None] - mapped
        told = jax.nn.relu(sent[bare.senders] + received[bare.receivers])
        message, gate = jnp.split(told, 2, axis=-1)
        message = layer.message(message) * jax.nn.sigmoid(layer.gate(gate))
        taken = jax.ops.segment_sum(message, bare.receivers, nodes, indices_are_sorted=True)
        states = jax.vmap(layer.gru)(taken, states)
    ends = lambda head: states @ head.first.weight.T
    found = []
    for head in (network.theta, network.alpha):
        mapped = ends(head)
        first = mapped[None, start:] - mapped[:, None] + head.first.bias[None, None]
        found.append(head.last(jax.nn.relu(head.second(jax.nn.relu(first)))))
    earlier = jnp.arange(nodes)[:, None] < jnp.arange(start, nodes)[None]
    theta, alpha = found
    pooled = jnp.sum(jnp.where(earlier[..., None], alpha, 0), axis=(0, 1)) / jnp.sum(earlier)
    return theta, jax.nn.log_softmax(pooled), earlier


def bare_drawn(network, bare: Bare, *, key) -> tuple[jax.Array, jax.Array]:
    """The edges of a block, drawn, and the logits to nodes so far."""
    theta, weights, earlier = _law(network, bare)
    keys = jr.split(key)
    logits = jnp.take(theta, jr.categorical(keys[0], weights), axis=-1)
    drawn = earlier & (jr.uniform(keys[1], logits.shape) < jax.nn.sigmoid(logits))
    return drawn, theta[: len(theta) - network.block]


def bare_gradient(model: GRAN, bare: list[Bare]) -> GRAN:
    def objective(model):
        total = jnp.zeros(())
        for each in bare:
            theta, weights, earlier = _law(model.network, each)
            one = jax.nn.log_sigmoid(jnp.where(each.edges[..., None], theta, -theta))
            one = jnp.sum(jnp.where(earlier[..., None], one, 0), axis=(0, 1))
            total -= jax.nn.logsumexp(weights + one)
        return total

    return eqx.filter_grad(objective)(model)
