"""`GRAN` against all graphs on a few nodes, and against the paper's equations written densely."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jaxtyping
import networkx as nx
import numpy as np
import pytest

from pullback.data import Graph
from pullback.models.graphs import (
    GRAN,
    _network,
    block_log_prob,
    canonical_order,
    ordered_graph,
    ordered_log_prob,
    ordered_shape,
)
from pullback.models.graphs._tiles import tiled


def tiny(**given):
    settings = {"max_nodes": 12, "mixtures": 3, "width": 6, "layers": 2, "key": jr.key(0), **given}
    model = GRAN(settings.pop("max_nodes"), **settings)
    # Weights of the start are small; these make laws that are far from uniform.
    grow = lambda leaf: 3.0 * leaf if eqx.is_inexact_array(leaf) else leaf
    return eqx.tree_at(lambda m: m.network, model, jax.tree.map(grow, model.network))


def some_graph(nodes, density, seed=0):
    rng = np.random.default_rng(seed)
    pairs = np.array(list(itertools.combinations(range(nodes), 2))).reshape(-1, 2)
    return Graph(nodes, pairs[rng.random(len(pairs)) < density])


def matrix(graph, places):
    found = np.zeros((graph.nodes, graph.nodes))
    ends = places[graph.edges]
    found[ends[:, 0], ends[:, 1]] = found[ends[:, 1], ends[:, 0]] = 1
    return found


def unstacked(tree):
    leaves, structure = jax.tree.flatten(tree)
    return [jax.tree.unflatten(structure, each) for each in zip(*leaves, strict=True)]


def dense_log_prob(model, adjacency):
    """The equations on whole matrices, one pair at a time, in NumPy."""
    net, block = model.network, model.network.block
    sigmoid = lambda x: 1 / (1 + np.exp(-x))
    relu = lambda x: np.maximum(x, 0)
    array = lambda linear: (np.asarray(linear.weight), np.asarray(linear.bias))
    apply = lambda linear, x: x @ array(linear)[0].T + array(linear)[1]
    nodes, total = len(adjacency), 0.0

    def gru(cell, x, h):
        gates_x = x @ np.asarray(cell.weight_ih).T + np.asarray(cell.bias)
        gates_h = h @ np.asarray(cell.weight_hh).T
        (rx, zx, nx), (rh, zh, nh) = np.split(gates_x, 3), np.split(gates_h, 3)
        reset, keep = sigmoid(rx + rh), sigmoid(zx + zh)
        new = np.tanh(nx + reset * (nh + np.asarray(cell.bias_n)))
        return new + keep * (h - new)

    for start in range(0, nodes, block):
        stop = min(start + block, nodes)
        h = np.zeros((stop, len(net.bias)))
        for i in range(start):
            h[i] = np.asarray(net.bias) + np.tril(adjacency, -1)[i] @ np.asarray(net.rows)[:nodes]
        if net.size is not None:
            left = nodes - start
            angles = left * np.pi / 2.0 ** np.arange(8)
            told = np.r_[
                nodes / len(net.rows), left / len(net.rows), np.sin(angles), np.cos(angles)
            ]
            h[start:] += apply(net.size, told)
        if net.position is not None:
            h += np.asarray(net.position)[:stop]
        joined = adjacency[:stop, :stop].copy()
        joined[start:] = joined[:, start:] = 1
        np.fill_diagonal(joined, 0)
        codes = np.eye(block + 1)[[0] * start + list(range(1, stop - start + 1))]
        for number, layer in enumerate(unstacked(net.layers)):
            h = relu(h) if number else h
            told = np.zeros_like(h)
            for i, j in np.argwhere(joined):
                edge = np.r_[h[i] - h[j], codes[i], codes[j]]
                hidden = relu(apply(layer.first, edge))
                message, gate = np.split(hidden, 2)
                told[j] += apply(layer.message, message) * sigmoid(apply(layer.gate, gate))
            h = np.stack([gru(layer.gru, x, s) for x, s in zip(told, h, strict=True)])
        mlp = lambda head, d: apply(head.last, relu(apply(head.second, relu(apply(head.first, d)))))
        pairs = [(i, j) for i in range(start, stop) for j in range(i)]
        if not pairs:
            continue
        theta = np.stack([mlp(net.theta, h[i] - h[j]) for i, j in pairs])
        alpha = np.mean([mlp(net.alpha, h[i] - h[j]) for i, j in pairs], axis=0)
        signs = np.array([2 * adjacency[i, j] - 1 for i, j in pairs])[:, None]
        each = -np.log1p(np.exp(-signs * theta)).sum(0) + alpha - np.log(np.exp(alpha).sum())
        total += np.log(np.exp(each).sum())
    return total


@pytest.mark.parametrize(
    ("block", "extras"),
    [(1, {}), (2, {}), (3, {}), (4, {}), (3, {"position_features": True, "size_input": True})],
)
def test_all_graphs_on_four_nodes_have_a_mass_of_one(block, extras):
    model = tiny(block=block, **extras)
    pairs = np.array(list(itertools.combinations(range(4), 2)))
    graphs = [
        ordered_graph(Graph(4, pairs[np.array(bits, bool)]), range(4), shape=(8, 4, 0))
        for bits in itertools.product([0, 1], repeat=6)
    ]
    stack = jax.tree.map(lambda *leaves: jnp.stack(leaves), *graphs)
    each = eqx.filter_jit(eqx.filter_vmap(ordered_log_prob, in_axes=(None, 0)))(model, stack)
    assert abs(float(jnp.sum(jnp.exp(each))) - 1) < 1e-12
    assert float(jnp.std(each)) > 0.25
    rest = model.log_prob(Graph(4, pairs[np.array([1, 1, 0, 1, 0, 0], bool)]), range(4))
    assert np.isclose(rest, each[0b110100], atol=1e-12)


@pytest.mark.parametrize(
    ("block", "width", "extras"),
    [(1, 16, {}), (3, 16, {"position_features": True}), (3, 2, {"size_input": True}), (14, 2, {})],
)
def test_sparse_is_dense(block, width, extras):
    graph = some_graph(11, 0.4)
    order = np.random.default_rng(1).permutation(11)
    model = tiny(max_nodes=13, block=block, **extras)
    ordered = ordered_graph(graph, order, shape=(16, width, 64))
    assert (int(jnp.sum(ordered.overflow[:, 0] < 16)) > 10) == (width == 2)
    found = eqx.filter_jit(ordered_log_prob)(model, ordered)
    places = np.argsort(order)
    assert np.isclose(found, dense_log_prob(model, matrix(graph, places)), rtol=1e-11)
    assert np.isclose(model.log_prob(graph, order), found, rtol=1e-12)


def logits(model, graph, start):
    return model.network.law(graph, model.network.first_states(graph), jnp.asarray(start))


def test_a_block_reads_nothing_of_its_own_rows_nor_of_later_ones():
    model, start = tiny(block=3), 4
    one, other = some_graph(11, 0.5), some_graph(11, 0.3, seed=5)
    kept = lambda graph, early: graph.edges[(graph.edges[:, 1] < start) == early]
    mixed = Graph(11, np.concatenate([kept(one, True), kept(other, False)]))
    laws = [
        logits(model, ordered_graph(graph, range(11), shape=(16, 4, 64)), start)
        for graph in (one, mixed, other)
    ]
    for now, then in zip(*laws[:2], strict=True):
        now, then = (x[:start] if len(x) == 16 else x for x in (now, then))
        assert np.allclose(now, then, atol=1e-12)
    assert not np.allclose(laws[0].old[:start], laws[2].old[:start], atol=1e-3)


def test_padding_changes_nothing():
    graph, small = some_graph(11, 0.4), tiny(block=3)
    rows = jnp.pad(small.network.rows, ((0, 7), (0, 0)))
    large = eqx.tree_at(lambda model: model.network.rows, small, rows)
    whole = small.log_prob(graph, range(11))
    for shape in ((12, 16, 16), (40, 3, 64)):
        padded = eqx.filter_jit(ordered_log_prob)(
            large, ordered_graph(graph, range(11), shape=shape)
        )
        assert np.isclose(whole, padded, rtol=1e-12)


def test_nodes_that_no_edge_tells_apart_get_equal_probabilities_unless_told_their_number():
    # Nodes 1, 2 and 3 hang at node 0; node 4 comes.
    star = ordered_graph(Graph(5, np.array([[0, 1], [0, 2], [0, 3]])), range(5))
    old = logits(tiny(), star, 4).old
    assert np.allclose(old[1:4], old[1:2], atol=1e-12)
    assert not np.allclose(old[0], old[1], atol=1e-2)
    told = logits(tiny(position_features=True, width=12), star, 4).old
    assert not np.allclose(told[1], told[2], atol=1e-2)


def test_tiles_are_the_whole_forward_and_backward(monkeypatch):
    size, start = 384, 170
    graph = some_graph(300, 0.01)
    ordered = ordered_graph(graph, range(300), shape=(size, 4, 256))
    model = tiny(max_nodes=300, block=20)

    def value_and_grad():
        call = eqx.filter_jit(eqx.filter_value_and_grad(lambda *args: block_log_prob(*args)))
        return call(model, ordered, jnp.asarray(start))

    value, slope = value_and_grad()
    all_at_once = lambda function, floats, ints, count, tile: tiled(
        function, floats, ints, count, size
    )
    monkeypatch.setattr(_network, "tiled", all_at_once)
    whole, of_whole = value_and_grad()
    assert np.isclose(value, whole, rtol=1e-12)
    for now, then in zip(*map(jax.tree.leaves, (slope, of_whole)), strict=True):
        assert np.allclose(now, then, rtol=1e-9, atol=1e-10)


def test_a_graph_of_several_tiles_is_the_sum_of_its_blocks():
    graph = some_graph(300, 0.01)
    model = tiny(max_nodes=300, block=50, layers=1, width=4)
    ordered = ordered_graph(graph, range(300))
    assert ordered.neighbours.shape[0] == 384
    blocks = eqx.filter_jit(eqx.filter_vmap(block_log_prob, in_axes=(None, None, 0)))
    each = blocks(model, ordered, jnp.arange(0, 350, 50))
    assert each[-1] == 0
    assert np.isclose(model.log_prob(graph, range(300)), jnp.sum(each), rtol=1e-12)


def test_the_smallest_graphs():
    model = tiny(block=2)
    for nodes in (0, 1):
        assert model.log_prob(Graph(nodes, np.zeros((0, 2), int))) == 0
    slope = eqx.filter_jit(eqx.filter_grad(ordered_log_prob))(
        model, ordered_graph(Graph(1, np.zeros((0, 2), int)), [0])
    )
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(slope))


def test_float32_is_close(x32):
    model = GRAN(12, block=3, mixtures=2, width=6, layers=2, density=0.3, key=jr.key(0))
    graph = some_graph(11, 0.4)
    found = model.log_prob(graph, range(11))
    assert found.dtype == jnp.float32
    assert np.isclose(found, dense_log_prob(model, matrix(graph, np.arange(11))), rtol=1e-5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: GRAN(0, key=jr.key(0)), "`max_nodes` must be 1 or more"),
        (lambda: GRAN(5, block=0, key=jr.key(0)), "`block` must be 1 or more"),
        (lambda: GRAN(5, density=1.0, key=jr.key(0)), "`density` must be above 0 and below 1"),
        (lambda: tiny().log_prob(some_graph(13, 0.3), range(13)), "has 13 nodes, and this model"),
        (lambda: tiny().log_prob(some_graph(5, 0.3), [0, 1, 2, 3]), "each of the 5 nodes once"),
        (lambda: tiny().log_prob(some_graph(3, 0.3), [0, 1, 1]), "each of the 3 nodes once"),
        (lambda: ordered_graph(some_graph(9, 0.9), range(9), shape=(16, 4, 0)), "room for 9 nodes"),
        (lambda: ordered_graph(some_graph(9, 0.9), range(9), shape=(8, 16, 0)), "room for 9 nodes"),
        (
            lambda: ordered_graph(some_graph(9, 0.1), shape=(150, 8, 0)),
            "a multiple of 128, got 150",
        ),
        (lambda: ordered_shape([]), "must hold one graph or more, got none"),
    ],
)
def test_bad_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    "call",
    [
        lambda graph: tiny().log_prob(graph),
        canonical_order,
        ordered_graph,
        lambda graph: ordered_shape([graph]),
    ],
)
@pytest.mark.parametrize(
    ("graph", "got"), [(nx.path_graph(2), "networkx.Graph"), (None, "NoneType")]
)
def test_what_is_no_graph_is_told_where_one_comes_from(call, graph, got, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(TypeError, match=rf"be a pullback.data.Graph, got {got}: .*from_networkx"):
        call(graph)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"density": "a"}, "`density` must be one number, got 'a'"),
        ({"position_features": "no"}, "`position_features` must be True or False, got 'no'"),
        ({"size_input": 1}, "`size_input` must be True or False, got 1"),
    ],
)
def test_bad_kinds_of_arguments(given, message, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(TypeError, match=message):
        GRAN(5, **given, key=jr.key(0))
