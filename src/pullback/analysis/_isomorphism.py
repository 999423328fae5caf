"""Which graphs are one graph under other numbers."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
from jaxtyping import Int

from pullback.analysis._graph_input import pieces_of
from pullback.data import Graph


def isomorphism_classes(
    graphs: Sequence[Graph], orbits: Sequence[Int[np.ndarray, "_ 15"]]
) -> Int[np.ndarray, " graphs"]:
    """The class of each graph: two have the same one where a new numbering makes them equal.

    They are compared piece by piece, and pieces by NetworkX (VF2++) where their rows of `orbits`
    agree in some order. Of whole graphs it would try every way in which like pieces can be paired.
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
    alike: dict[tuple[int, bytes], list[int]] = {}
    for place, (graph, rows) in enumerate(zip(graphs, orbits, strict=True)):
        written = graph.nodes, graph.edges.tobytes()
        if written not in equal:
            ordered = rows[np.lexsort(rows.T)]
            first = alike.setdefault((graph.nodes, ordered.tobytes()), [])
            same = (one for one in first if _isomorphic(graphs, orbits, one, place))
            equal[written] = next(same, place)
            if equal[written] == place:
                first.append(place)
        found.append(equal[written])
    return found


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


def _isomorphic(
    graphs: Sequence[Graph], orbits: Sequence[np.ndarray], one: int, other: int
) -> bool:
    import networkx as nx

    pair = []
    for place in (one, other):
        made = nx.Graph()
        made.add_nodes_from(
            (node, {"colour": row.tobytes().hex()}) for node, row in enumerate(orbits[place])
        )
        made.add_edges_from(graphs[place].edges.tolist())
        hashes = nx.weisfeiler_lehman_subgraph_hashes(made, node_attr="colour")
        nx.set_node_attributes(made, {node: each[-1] for node, each in hashes.items()}, "colour")
        pair.append(made)
    return nx.vf2pp_is_isomorphic(*pair, node_label="colour")
