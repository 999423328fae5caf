"""Sets of graphs: those of the data folder, toys, and those of NetworkX."""

import os
from pathlib import Path

import jaxtyping
import networkx as nx
import numpy as np
import pytest

from pullback.data import (
    DataError,
    Graph,
    four_graphs,
    from_networkx,
    grids,
    lobsters,
    to_networkx,
    tu_graphs,
)

DATA = Path(os.environ.get("PULLBACK_DATA", "nowhere"))
# A triangle with a loop, a graph of no nodes, a path and one node alone.
ARRAYS = {
    "A": np.array([[4, 5], [1, 2], [2, 1], [2, 3], [3, 2], [3, 1], [1, 3], [3, 3], [5, 4]]),
    "graph_indicator": np.array([1, 1, 1, 3, 3, 3]),
    "graph_labels": np.array([2, 1, -1]),
}


def write(folder, **changes):
    np.savez(folder / "ENZYMES.npz", **(ARRAYS | changes))
    return tu_graphs("ENZYMES", folder=folder)


def test_arrays_are_taken_apart_into_graphs(tmp_path):
    found = write(tmp_path)
    assert [(g.nodes, g.edges.tolist(), g.name) for g in found.graphs] == [
        (3, [[0, 1], [0, 2], [1, 2]], "1"), (3, [[0, 1]], "3"),
    ]  # fmt: skip
    assert found.labels == ("2", "-1")
    assert found.left_out == {2: "it has no nodes."}
    (note,) = found.notes
    assert note == "1 edges join a node with itself, and were dropped (1 of 2 graphs)."
    assert found.source == "ENZYMES"
    names = np.array([*"abcdef"])
    found = write(tmp_path, node_names=names, graph_names=np.array(["x", "y", "z"]))
    assert [(g.name, g.node_names) for g in found.graphs] == [("x", (*"abc",)), ("z", (*"def",))]
    # An edge said one way alone is one all the same; said twice that way it is one too many.
    found = write(tmp_path, A=np.array([[1, 2], [1, 2], [6, 5]]))
    assert [g.edges.tolist() for g in found.graphs] == [[[0, 1]], [[1, 2]]]
    assert found.notes[0].startswith("1 edges join nodes that were joined already")
    found = write(tmp_path, A=np.zeros((0, 2), int))
    assert [len(g.edges) for g in found.graphs] == [0, 0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"A": np.array([[1, 4]])}, "row 1 of A joins nodes of two graphs"),
        ({"A": np.array([[0, 1]])}, "expected A to number nodes from 1 to 6"),
        ({"A": np.array([[1, 7]])}, "expected A to number nodes from 1 to 6"),
        ({"A": np.array([[1.0, 2]])}, "expected whole numbers in A, got float64"),
        ({"A": np.array([1, 2])}, "expected A of shape n x 2"),
        ({"graph_indicator": np.array([1, 1, 2, 1, 3, 3])}, "to count up from 1"),
        ({"graph_indicator": np.array([0, 1, 1, 1, 1, 1])}, "to count up from 1"),
        ({"graph_indicator": np.array([1, 1, 1, 1, 1, 2**40])}, "number the graphs from 1, got 10"),
        ({"A": np.array([[1, 2**63]], np.uint64)}, "expected A to number nodes from 1 to 6"),
        ({"graph_labels": np.array([1j])}, "expected text or whole numbers in graph_labels"),
        ({"graph_labels": np.array([b"\xff"])}, "graph_labels holds text that is not in UTF-8"),
        ({"graph_labels": np.array([1])}, "expected 3 graph_labels, got 1"),
        ({"node_names": np.array(["a"])}, "expected 6 node_names, got 1"),
        ({"A": np.zeros((0, 2), int), "graph_indicator": np.zeros(0, int),
          "graph_labels": np.zeros(0, int)}, "expected graphs; there is none"),
    ],
)  # fmt: skip
def test_damaged_arrays_are_refused(tmp_path, changes, message):
    with pytest.raises(DataError, match=message):
        write(tmp_path, **changes)


def test_a_set_that_is_not_there(tmp_path):
    with pytest.raises(ValueError, match="`name` must be one of DD, ENZYMES"):
        tu_graphs("COLLAB", folder=tmp_path)
    with pytest.raises(DataError, match="not found"):
        tu_graphs("DD", folder=tmp_path)
    (tmp_path / "DD.npz").write_text("no archive")
    with pytest.raises(DataError, match="cannot be read as npz"):
        tu_graphs("DD", folder=tmp_path)
    np.savez(tmp_path / "DD.npz", A=ARRAYS["A"])
    with pytest.raises(DataError, match="has no array graph_indicator; it has A"):
        tu_graphs("DD", folder=tmp_path)


@pytest.mark.skipif(not (DATA / "graphs").exists(), reason="PULLBACK_DATA has no folder graphs")
@pytest.mark.parametrize(
    ("name", "graphs", "nodes", "edges", "loops"),
    [("ENZYMES", 600, 19_580, 37_282, 0), ("FIRSTMM_DB", 41, 56_468, 126_024, 14)],
)
def test_the_published_sets(name, graphs, nodes, edges, loops):
    found = tu_graphs(name)
    sizes = [graph.nodes for graph in found.graphs]
    assert (len(sizes), sum(sizes)) == (graphs, nodes)
    assert sum(len(graph.edges) for graph in found.graphs) == edges
    assert [int(note.split()[0]) for note in found.notes] == ([loops] if loops else [])
    assert len(found.labels) == graphs


def test_four_graphs_and_grids_are_those_of_networkx():
    wanted = [nx.cycle_graph(12), nx.grid_2d_graph(2, 6), nx.grid_2d_graph(3, 4), nx.path_graph(12)]
    for graph, other in zip(four_graphs().graphs, wanted, strict=True):
        assert nx.is_isomorphic(to_networkx(graph), other)
    for graph, shape in zip(grids([1, 3], (2, 4)).graphs, [(1, 2), (1, 4), (3, 2), (3, 4)],
                            strict=True):  # fmt: skip
        other = nx.convert_node_labels_to_integers(nx.grid_2d_graph(*shape))
        assert nx.utils.graphs_equal(nx.Graph(to_networkx(graph).edges), nx.Graph(other.edges))
    sizes = [graph.nodes for graph in grids().graphs]
    assert (len(sizes), min(sizes), max(sizes)) == (100, 100, 361)
    with pytest.raises(ValueError, match="`rows` must hold at least one number"):
        grids([])
    with pytest.raises(ValueError, match="`columns` must be 1 or more, got 0"):
        grids([1], [0])


def without_leaves(graph):
    return graph.subgraph([node for node in graph if graph.degree[node] > 1])


def test_lobsters_are_paths_without_their_leaves():
    drawn = [to_networkx(graph) for graph in lobsters(50, largest=60, seed=3).graphs]
    for graph in drawn:
        assert nx.is_tree(graph)
        assert 10 <= len(graph) <= 60
        path = without_leaves(without_leaves(graph))
        assert max((degree for _, degree in path.degree), default=0) <= 2
    assert len({len(graph) for graph in drawn}) > 20
    again = [to_networkx(graph) for graph in lobsters(50, largest=60, seed=3).graphs]
    assert all(nx.utils.graphs_equal(*pair) for pair in zip(drawn, again, strict=True))


def test_lobsters_have_as_many_nodes_as_their_law_says():
    # A path of mean 10, with p / (1 - p) legs a node and as many claws a leg.
    p, q, n = 0.5, 0.4, 1500
    sizes = [
        graph.nodes
        for graph in lobsters(n, backbone=10, leg=p, claw=q, smallest=1, largest=10_000).graphs
    ]
    mean = 10 * (1 + p / (1 - p) * (1 + q / (1 - q)))
    assert abs(np.mean(sizes) - mean) < 4 * np.std(sizes) / np.sqrt(n)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"count": 0}, ValueError, "`count` must be 1 or more"),
        ({"leg": 1.0}, ValueError, "`leg` must be a probability below 1"),
        ({"claw": -0.1}, ValueError, "`claw` must be a probability below 1"),
        ({"seed": -1}, ValueError, "`seed` must be a whole number"),
        ({"smallest": 20, "largest": 10}, ValueError, "`smallest` must not be above `largest`"),
        ({"count": 1, "backbone": 1, "leg": 0.0, "claw": 0.0}, ValueError, "hardly ever drawn"),
    ],
)
def test_lobsters_that_cannot_be(settings, error, message):
    with pytest.raises(error, match=message):
        lobsters(**settings)


def test_networkx_there_and_back():
    graph = Graph(4, np.array([[0, 2], [1, 2]]), "v", ("a", "b b", "c", "d"))
    there = to_networkx(graph)
    assert (list(there), there.name) == (["a", "b b", "c", "d"], "v")
    back = from_networkx(there)
    assert (back.nodes, back.name, back.node_names) == (4, "v", graph.node_names)
    np.testing.assert_array_equal(back.edges, graph.edges)
    # Names that are the numbers of the nodes say nothing; others do, in the order of the nodes.
    assert from_networkx(nx.path_graph(3)).node_names == ()
    swapped = nx.Graph([(1, 0), (0, 2)])
    assert from_networkx(swapped).node_names == ("1", "0", "2")
    np.testing.assert_array_equal(from_networkx(swapped).edges, [[0, 1], [1, 2]])
    alone = from_networkx(nx.empty_graph(2))
    assert (alone.nodes, alone.edges.shape) == (2, (0, 2))
    assert list(to_networkx(alone)) == [0, 1]


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        (nx.DiGraph([(0, 1)]), "it has directions"),
        (nx.MultiGraph([(0, 1), (1, 0)]), "it has second edges"),
        (nx.Graph([(0, 1), (1, 1)]), "it has loops"),
        (nx.Graph([(1, "1")]), "two nodes have the name '1'"),
    ],
)
def test_what_is_no_simple_graph_is_refused(graph, message):
    with pytest.raises(ValueError, match=message):
        from_networkx(graph)
    with pytest.raises(TypeError, match="must be a graph of NetworkX, got list"):
        from_networkx([graph])


def test_what_is_no_record_and_no_sequence_is_refused(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(TypeError, match=r"must be a pullback.data.Graph, got Graph of networkx"):
        to_networkx(nx.Graph())
    with pytest.raises(TypeError, match="`rows` must be a sequence of whole numbers, got 3"):
        grids(3)
