"""Drawings of graphs: each in its own place, with all of its nodes and edges."""

import jaxtyping
import networkx as nx
import numpy as np
import pytest

from pullback.data import Graph, Graphs, from_networkx
from pullback.plots import figure, graph_sheet

RING = from_networkx(nx.cycle_graph(12))
PIECES = from_networkx(
    nx.disjoint_union_all([nx.path_graph(5), nx.cycle_graph(4), nx.path_graph(1)])
)


def drawn(graphs, **options):
    _, ax = figure()
    graph_sheet(ax, graphs, **options)
    lines, dots = ax.collections
    return ax, np.asarray(dots.get_offsets()), lines.get_segments()


def test_each_graph_has_a_place_of_its_own():
    ax, dots, lines = drawn([[RING, PIECES], [RING]], rows=["data", "drawn"], title="rings")
    cells = np.round(dots).astype(int).tolist()
    assert cells == [[0, 0]] * 12 + [[1, 0]] * 10 + [[0, -1]] * 12
    assert np.abs(dots - cells).max() < 0.5
    assert len(lines) == 12 + 8 + 12
    for one, (start, end) in zip(RING.edges, lines, strict=False):
        np.testing.assert_allclose(dots[one], [start, end])
    assert [label.get_text() for label in ax.get_yticklabels()] == ["data", "drawn"]
    assert ax.get_title() == "rings"


def test_a_row_may_be_a_record_of_graphs():
    records = Graphs((RING, PIECES)), Graphs((RING,))
    np.testing.assert_array_equal(drawn(records)[1], drawn([[RING, PIECES], [RING]])[1])


def test_edges_of_a_ring_are_equally_long():
    _, _, lines = drawn([[RING]])
    long = [np.linalg.norm(end - start) for start, end in lines]
    np.testing.assert_allclose(long, long[0], rtol=0.02)


def test_pieces_do_not_overlap():
    _, dots, _ = drawn([[PIECES]])
    path, ring, alone = dots[:5], dots[5:9], dots[9:]
    box = lambda some: (some.min(axis=0), some.max(axis=0))
    for one, other in [(path, ring), (path, alone), (ring, alone)]:
        (low, high), (least, most) = box(one), box(other)
        assert (high < least).any() or (most < low).any()


@pytest.mark.parametrize("nodes", [0, 1, 2, 150, 1500])
def test_of_any_size(nodes):
    graph = (
        from_networkx(nx.cycle_graph(nodes)) if nodes > 2 else Graph(nodes, np.zeros((0, 2), int))
    )
    _, dots, _ = drawn([[graph, RING]], seed=1)
    assert len(dots) == nodes + 12
    assert np.isfinite(dots).all()
    assert len(np.unique(np.round(dots, 6), axis=0)) == nodes + 12
    np.testing.assert_array_equal(drawn([[graph, RING]], seed=1)[1], dots)


@pytest.mark.parametrize(
    ("graphs", "rows", "kind", "match"),
    [
        ([RING, RING], (), TypeError, r"for one row write \[graphs\]"),
        (Graphs((RING,)), (), TypeError, "rows of graphs"),
        ([[nx.cycle_graph(3)]], (), TypeError, "from_networkx"),
        ([[], []], (), ValueError, "0 graphs in 2 rows"),
        ([[RING]], ("a", "b"), ValueError, "1 graphs in 1 rows, and 2 labels"),
    ],
)
def test_what_is_no_sheet(graphs, rows, kind, match, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    _, ax = figure()
    with pytest.raises(kind, match=match):
        graph_sheet(ax, graphs, rows=rows)
