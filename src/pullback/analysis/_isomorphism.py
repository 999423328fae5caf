"""Which graphs are one graph under other numbers."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
from jaxtyping import Int, UInt64

from pullback.analysis._graph_input import pieces_of
from pullback.data import Graph


def isomorphism_classes(
    graphs: Sequence[Graph], orbits: Sequence[Int[np.ndarray, "_ 15"]]
) -> Int[np.ndarray, " graphs"]:
    """The class of each graph: two have the same one where a new numbering makes them equal.

    They are compared piece by piece, and pieces by NetworkX (VF2++) where Weisfeiler and Lehman's
    colours agree. Of whole graphs it would try every way in which like pieces can be paired.
    """
    pieces, rows, owners = [], [], []
    for place, graph in enumerate(graphs):
        for piece, nodes in _pieces(graph):
            pieces.append(piece)
            rows.append(orbits[place][nodes])
            owners.append(place)
    held: list[list[int]] = [[] for _ in graphs]
    for owner, piece in zip(owners, _classes(pieces, rows), strict=True):
        held[owner].append(piece)
    known: dict[tuple[int, ...], int] = {}
    return np.array([known.setdefault(tuple(sorted(each)), len(known)) for each in held])


def _classes(graphs: Sequence[Graph], orbits: Sequence[np.ndarray]) -> list[int]:
    """The same of connected graphs."""
    found = []
    equal: dict[tuple[int, bytes], int] = {}
    alike: dict[bytes, list[tuple[int, Graph, np.ndarray]]] = {}
    for place, (graph, rows) in enumerate(zip(graphs, orbits, strict=True)):
        written = graph.nodes, graph.edges.tobytes()
        if written not in equal:
            colours = _colours(graph, rows)
            first = alike.setdefault(np.sort(colours).tobytes(), [])
            same = (at for at, one, its in first if _isomorphic(one, its, graph, colours))
            equal[written] = next(same, place)
            if equal[written] == place:
                first.append((place, graph, colours))
        found.append(equal[written])
    return found


def _colours(graph: Graph, orbits: Int[np.ndarray, "nodes 15"]) -> UInt64[np.ndarray, " nodes"]:
    """What each node sees, a step further each time, until no more nodes are told apart by it."""
    a, b = graph.edges.T
    colour = _mixed(orbits.astype(np.uint64) @ _mixed(np.arange(1, 16, dtype=np.uint64)))
    count = 0
    while (now := len(np.unique(colour))) > count:
        count, around = now, np.zeros_like(colour)
        np.add.at(around, a, colour[b])
        np.add.at(around, b, colour[a])
        colour = _mixed(colour + _mixed(around))
    return colour


def _mixed(x: UInt64[np.ndarray, " n"]) -> UInt64[np.ndarray, " n"]:
    """Numbers that differ become numbers with nothing in common: the end of SplitMix64."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _pieces(graph: Graph) -> Iterator[tuple[Graph, Int[np.ndarray, " nodes"]]]:
    """What is joined, numbered anew, and its nodes in the whole."""
    count, label = pieces_of(graph)
    if count == 1:
        yield graph, np.arange(graph.nodes)
        return
    nodes, owner = np.argsort(label, kind="stable"), label[graph.edges[:, 0]]
    starts = np.searchsorted(label[nodes], np.arange(count + 1))
    number = np.argsort(nodes) - starts[label]
    edges = number[graph.edges][np.argsort(owner, kind="stable")]
    bounds = np.searchsorted(np.sort(owner), np.arange(count + 1))
    for (start, stop), (low, high) in zip(pairwise(starts), pairwise(bounds), strict=True):
        yield Graph(int(stop - start), edges[low:high]), nodes[start:stop]


def _isomorphic(one: Graph, its: np.ndarray, other: Graph, others: np.ndarray) -> bool:
    import networkx as nx

    pair = []
    for graph, colours in ((one, its), (other, others)):
        made = nx.Graph()
        made.add_nodes_from((node, {"colour": each}) for node, each in enumerate(colours.tolist()))
        made.add_edges_from(map(tuple, graph.edges.tolist()))
        pair.append(made)
    return nx.vf2pp_is_isomorphic(*pair, node_label="colour")
