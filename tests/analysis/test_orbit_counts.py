"""Orbits of small subgraphs against all sets of four nodes, and against what is known."""

import itertools
import tracemalloc
from math import comb

import jaxtyping
import networkx as nx
import numpy as np
import pytest

from pullback.analysis import _orbit_counts, orbit_counts
from pullback.data import Graph

# By the degrees within a connected set of nodes: the place of a node of each degree.
PLACES = {
    (1, 1): {1: 0},
    (1, 1, 2): {1: 1, 2: 2},
    (2, 2, 2): {2: 3},
    (1, 1, 2, 2): {1: 4, 2: 5},
    (1, 1, 1, 3): {1: 6, 3: 7},
    (2, 2, 2, 2): {2: 8},
    (1, 2, 2, 3): {1: 9, 2: 10, 3: 11},
    (2, 2, 3, 3): {2: 12, 3: 13},
    (3, 3, 3, 3): {3: 14},
}


def by_hand(graph):
    joined = np.zeros((graph.nodes,) * 2, int)
    joined[tuple(graph.edges.T)] = 1
    joined += joined.T
    found = np.zeros((graph.nodes, 15), int)
    for size in (2, 3, 4):
        for some in itertools.combinations(range(graph.nodes), size):
            degrees = joined[np.ix_(some, some)].sum(axis=1)
            for node, degree in zip(some, degrees, strict=True):
                place = PLACES.get(tuple(sorted(degrees)), {}).get(degree)
                if place is not None:
                    found[node, place] += 1
    return found


def drawn(nodes, share, seed):
    lot = np.random.default_rng(seed).random((nodes, nodes))
    return Graph(nodes, np.argwhere(np.triu(lot < share, 1)))


@pytest.mark.parametrize("together", [1, 12, 10**6])
@pytest.mark.parametrize("share", [0.0, 0.2, 0.4, 0.6, 0.8, 1.0])
def test_orbits_are_those_of_all_sets_of_four(share, together, monkeypatch):
    monkeypatch.setattr(_orbit_counts, "_TOGETHER", together)
    for nodes in (9, 8):
        graph = drawn(nodes, share, seed=nodes)
        np.testing.assert_array_equal(orbit_counts(graph), by_hand(graph))


@pytest.mark.parametrize("nodes", [0, 1, 2, 3])
def test_few_nodes(nodes):
    for share in (0.0, 1.0):
        graph = drawn(nodes, share, 0)
        found = orbit_counts(graph)
        assert found.shape == (nodes, 15)
        np.testing.assert_array_equal(found, by_hand(graph))


@pytest.mark.parametrize("edges", [1, 30, 10**6])
def test_several_graphs_are_counted_together(edges, monkeypatch):
    monkeypatch.setattr(_orbit_counts, "_EDGES", edges)
    graphs = [drawn(nodes, 0.4, seed=nodes) for nodes in (9, 1, 0, 12, 3, 9)]
    found = _orbit_counts.orbits_of(graphs)
    assert len(found) == len(graphs)
    for rows, graph in zip(found, graphs, strict=True):
        np.testing.assert_array_equal(rows, orbit_counts(graph))


def test_a_hub_of_five_thousand_takes_little_memory():
    leaves = 4999
    ends = np.stack([np.zeros(leaves, int), np.arange(1, leaves + 1)], axis=1)
    tracemalloc.start()
    found = orbit_counts(Graph(leaves + 1, ends))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    want = np.zeros((leaves + 1, 15), int)
    want[0, [0, 2, 7]] = [leaves, comb(leaves, 2), comb(leaves, 3)]
    want[1:, [0, 1, 6]] = [1, leaves - 1, comb(leaves - 1, 2)]
    np.testing.assert_array_equal(found, want)
    assert peak < 160e6  # all pairs of nodes take 200 MB and more


def test_all_joined():
    found = orbit_counts(nx.complete_graph(40))
    assert set(found[:, 14]) == {comb(39, 3)}
    assert set(found[:, 3]) == {comb(39, 2)}
    assert not found[:, [1, 2, *range(4, 14)]].any()


def test_of_five_thousand_nodes_triangles_are_those_of_networkx():
    graph = nx.gnm_random_graph(5000, 40_000, seed=0)
    found = orbit_counts(graph)
    assert found[:, 3].tolist() == list(nx.triangles(graph).values())
    assert found[:, 7].sum() > 0
    # Of each subgraph, as many nodes have one place as the other, once for each that has it.
    for one, other, ratio in [
        (1, 2, 2),
        (4, 5, 1),
        (6, 7, 3),
        (9, 11, 1),
        (10, 11, 2),
        (12, 13, 1),
    ]:
        assert found[:, one].sum() == ratio * found[:, other].sum()


def test_names_and_numbers_do_not_matter():
    grid = nx.grid_2d_graph(3, 4)
    numbered = nx.convert_node_labels_to_integers(grid)
    np.testing.assert_array_equal(orbit_counts(grid), orbit_counts(numbered))


@pytest.mark.parametrize(
    ("graph", "kind", "match"),
    [
        (np.eye(3), TypeError, "graph of NetworkX, got ndarray"),
        (nx.DiGraph([(0, 1)]), ValueError, "directions"),
        (nx.MultiGraph([(0, 1), (0, 1)]), ValueError, "second edges"),
        (nx.Graph([(0, 0)]), ValueError, "loops"),
    ],
)
def test_what_has_no_orbits(graph, kind, match, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(kind, match=match):
        orbit_counts(graph)
