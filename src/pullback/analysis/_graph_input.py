"""Graphs of users, as records."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from pullback.data import Graph, Graphs, from_networkx


def graph_of(graph: Graph | Any) -> Graph:
    """A record of one graph, of the library's or of NetworkX."""
    return graph if isinstance(graph, Graph) else from_networkx(graph)


def graphs_of(graphs: Sequence[Graph | Any] | Graphs, name: str) -> tuple[Graph, ...]:
    """Records of several graphs, none of which is without nodes."""
    if isinstance(graphs, Graph) or hasattr(graphs, "is_directed"):
        raise TypeError(f"`{name}` must be several graphs, got one: write [graph].")
    if not isinstance(graphs, Iterable):
        raise TypeError(f"`{name}` must be several graphs, got {graphs!r}.")
    found = []
    for place, each in enumerate(graphs.graphs if isinstance(graphs, Graphs) else graphs):
        try:
            found.append(graph_of(each))
        except (TypeError, ValueError) as fault:
            raise type(fault)(f"`{name}`, place {place}: {fault}") from None
        if not found[-1].nodes:
            raise ValueError(f"`{name}`, place {place}: a graph without nodes; leave it out.")
    if not found:
        raise ValueError(f"`{name}` must hold at least one graph, got none.")
    return tuple(found)


def pieces_of(graph: Graph) -> tuple[int, Int[np.ndarray, " nodes"]]:
    """How many pieces there are that nothing joins, and in which each node lies."""
    joined = csr_array((np.ones(len(graph.edges)), tuple(graph.edges.T)), (graph.nodes,) * 2)
    count, label = connected_components(joined, directed=False)
    return int(count), label
