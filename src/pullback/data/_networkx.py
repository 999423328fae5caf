"""Graphs to NetworkX and back."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from pullback.data._graphs import Graph
from pullback.data._simple_graphs import Found, simple


def to_networkx(graph: Graph) -> Any:
    """The same graph as a `networkx.Graph`, whose nodes are the names of the nodes, or numbers.

    Raises:
        TypeError: `graph` is no `Graph`.

    Example:
        >>> import numpy as np
        >>> path = to_networkx(Graph(3, np.array([[0, 1], [1, 2]]), "path", ("a", "b", "c")))
        >>> list(path.nodes), list(path.edges), path.name
        (['a', 'b', 'c'], [('a', 'b'), ('b', 'c')], 'path')
    """
    import networkx as nx

    if not isinstance(graph, Graph):
        got = f"{type(graph).__name__} of {type(graph).__module__.split('.')[0]}"
        raise TypeError(f"`graph` must be a pullback.data.Graph, got {got}.")
    names: Sequence[Any] = graph.node_names or range(graph.nodes)
    built = nx.Graph(name=graph.name) if graph.name else nx.Graph()
    built.add_nodes_from(names)
    built.add_edges_from((names[a], names[b]) for a, b in graph.edges.tolist())
    return built


def from_networkx(graph: Any) -> Graph:
    """The graph of NetworkX, numbered in the order of its nodes, whose names are kept.

    Weights and other attributes are not kept.

    Args:
        graph: a `networkx.Graph`, undirected and without loops. `read_graphs` takes the others too,
            and says what it dropped.

    Raises:
        TypeError: it is no graph of NetworkX.
        ValueError: it is directed, has several edges between two nodes, or a loop; or two nodes
            have the same name once they are strings, such as 1 and "1".

    Example:
        >>> import networkx as nx
        >>> from_networkx(nx.path_graph(["a", "b", "c"])).node_names
        ('a', 'b', 'c')
    """
    if not is_networkx(graph):
        raise TypeError(f"`graph` must be a graph of NetworkX, got {type(graph).__name__}.")
    found = networkx_found(graph)
    for kind in ("directions", "second edges", "loops"):
        if kind in found.lost:
            raise ValueError(
                f"`graph` must be a simple undirected graph; it has {kind}. "
                "`read_graphs([graph])` drops what such a graph has no room for, and says so."
            )
    return found.graph


def is_networkx(graph: Any) -> bool:
    """Whether it is a graph of NetworkX, told without importing that."""
    return all(hasattr(graph, name) for name in ("is_directed", "is_multigraph", "nodes", "edges"))


def networkx_found(graph: Any) -> Found:
    """The simple part of a graph of NetworkX, and what it has besides."""
    names = list(map(str, graph.nodes))
    if len(set(names)) < len(names):
        seen: set[str] = set()
        twice = next(each for each in names if each in seen or seen.add(each))
        raise ValueError(f"two nodes have the name {twice!r} once they are strings; rename one.")
    place = {node: number for number, node in enumerate(graph.nodes)}
    pairs = np.array([(place[a], place[b]) for a, b in graph.edges()], np.int64).reshape(-1, 2)
    directed = graph.is_directed()
    kept, lost = simple(
        len(names),
        pairs,
        both_ways=directed,
        name=_text(graph.graph.get("name")),
        node_names=names,
    )
    known = dict.fromkeys(str(key) for _, data in graph.nodes(data=True) for key in data)
    weights = 0
    for _, _, data in graph.edges(data=True):
        weights += "weight" in data
        known |= dict.fromkeys(str(key) for key in data)
    known.pop("weight", None)
    if directed and len(pairs):
        lost["directions"] = (len(pairs), None)
    if weights:
        lost["weights"] = (weights, None)
    return Found(kept, _text(graph.graph.get("label")), lost, tuple(known))


def _text(value: Any) -> str:
    return "" if value is None else str(value)
