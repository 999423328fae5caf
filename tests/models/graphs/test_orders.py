"""The orders of a graph's nodes, against their definitions and a walk of one's own."""

import numpy as np
import pytest

from pullback.data import Graph
from pullback.models.graphs import ORDERS, canonical_order


def random_graph(nodes, chance, seed):
    draw = np.random.default_rng(seed)
    return Graph(nodes, np.argwhere(np.triu(draw.uniform(size=(nodes, nodes)) < chance, 1)))


def neighbours_of(graph):
    found: list[list[int]] = [[] for _ in range(graph.nodes)]
    for one, other in graph.edges.tolist():
        found[one].append(other)
        found[other].append(one)
    return [sorted(near) for near in found]


def walked(graph, *, deep):
    """Depth or breadth first by a stack or a queue, from the hub of each piece."""
    near = neighbours_of(graph)
    pieces: list[set[int]] = []
    left = set(range(graph.nodes))
    while left:
        piece, edge = set(), {min(left)}
        while edge:
            piece |= edge
            edge = {two for one in edge for two in near[one]} - piece
        pieces.append(piece)
        left -= piece
    order: list[int] = []
    for piece in sorted(pieces, key=lambda piece: (-len(piece), min(piece))):
        waiting: list[int] = [max(sorted(piece), key=lambda node: len(near[node]))]
        while waiting:
            node = waiting.pop(-1 if deep else 0)
            if node not in order:
                order.append(node)
                inwards = sorted(near[node], key=lambda other: (-len(near[other]), other))
                waiting += reversed(inwards) if deep else near[node]
    return order


def core_numbers(near):
    """The largest k for which each node survives taking away nodes of fewer than k neighbours."""
    core = [0] * len(near)
    for k in range(1, len(near)):
        kept = set(range(len(near)))
        while weak := {node for node in kept if len(kept & set(near[node])) < k}:
            kept -= weak
        for node in kept:
            core[node] = k
    return core


GRAPHS = [
    random_graph(1, 0.5, 0),
    random_graph(7, 0.0, 0),
    *(random_graph(20, chance, seed) for seed, chance in enumerate([0.05, 0.1, 0.2, 0.5])),
]


@pytest.mark.parametrize("graph", GRAPHS)
def test_each_order_is_what_it_says(graph):
    near, nodes = neighbours_of(graph), range(graph.nodes)
    degree, core = [len(found) for found in near], core_numbers(near)
    wanted = {
        "dfs": walked(graph, deep=True),
        "bfs": walked(graph, deep=False),
        "degree": sorted(nodes, key=lambda node: (-degree[node], node)),
        "kcore": sorted(nodes, key=lambda node: (-core[node], -degree[node], node)),
        "default": list(nodes),
    }
    assert {kind: canonical_order(graph, kind).tolist() for kind in ORDERS} == wanted


@pytest.mark.parametrize("kind", ORDERS)
def test_an_order_is_a_permutation_of_int32_even_of_nothing(kind):
    for graph in [Graph(0, np.zeros((0, 2), int)), *GRAPHS]:
        order = canonical_order(graph, kind)
        assert order.dtype == np.int32
        assert sorted(order.tolist()) == list(range(graph.nodes))


def test_a_path_of_many_nodes_is_walked_without_recursion():
    path = Graph(5000, np.stack([np.arange(4999), np.arange(1, 5000)], 1))
    assert canonical_order(path, "dfs").tolist() == [*range(1, 5000), 0]


def test_an_unknown_order_is_refused_with_those_there_are():
    with pytest.raises(ValueError, match=r"`kind` must be one of dfs, bfs, .*; got 'deepest'"):
        canonical_order(GRAPHS[0], "deepest")
