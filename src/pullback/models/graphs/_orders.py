"""Orders in which the nodes of a graph are written down."""

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Int

from pullback.data import Graph, Graphs

if TYPE_CHECKING:
    import networkx as nx

ORDERS = ("dfs", "bfs", "degree", "kcore", "default")


def checked_graph(graph: Any, name: str = "graph") -> Graph:
    """`graph`, if it is a record of one."""
    if isinstance(graph, Graph):
        return graph
    got = f"{type(graph).__module__.split('.')[0]}.{type(graph).__qualname__}"
    raise TypeError(
        f"`{name}` must be a pullback.data.Graph, got {got.removeprefix('builtins.')}: "
        "pullback.data.from_networkx makes one of a graph of NetworkX, and read_graphs of a file."
    )


def checked_graphs(name: str, graphs: Any) -> list[Graph]:
    """Records of several graphs, of which there is one at least."""
    if isinstance(graphs, Graph) or hasattr(graphs, "is_directed"):
        raise TypeError(f"`{name}` must be several graphs, got one: write [graph].")
    if not isinstance(graphs, Iterable):
        raise TypeError(f"`{name}` must be several graphs, got {graphs!r}.")
    some = list(graphs.graphs if isinstance(graphs, Graphs) else graphs)
    if not some:
        raise ValueError(f"`{name}` must hold one graph or more, got none.")
    return [checked_graph(graph, f"{name}[{place}]") for place, graph in enumerate(some)]


def canonical_order(graph: Graph, kind: str = "dfs") -> Int[np.ndarray, " nodes"]:
    """The nodes of a graph in one of five orders, the first to be drawn first.

    - `"dfs"`: depth first, from a node of the largest degree, on to the neighbour of the largest
      degree. Ends of branches come late, so that fewer nodes look alike to the next one.
    - `"bfs"`: breadth first, from a node of the largest degree. In either, of a graph in pieces the
      largest piece is first.
    - `"degree"`: the largest degree first.
    - `"kcore"`: the largest core number first, and within one core the largest degree.
    - `"default"`: as they are numbered.

    Whatever is equal is settled by the node's number, the smaller first. So two graphs that differ
    in their numbers alone may have other orders.

    Args:
        graph: any.
        kind: one of `ORDERS`.

    Returns:
        A permutation: at place k the number of the node that is the k-th to be drawn.

    Raises:
        TypeError: `graph` is no `Graph`.
        ValueError: `kind` is none of `ORDERS`.

    Example:
        >>> import numpy as np
        >>> from pullback.data import Graph, Graphs
        >>> star_with_a_tail = Graph(5, np.array([[0, 1], [1, 2], [1, 3], [3, 4]]))
        >>> canonical_order(star_with_a_tail, "dfs").tolist()
        [1, 3, 4, 0, 2]
        >>> canonical_order(star_with_a_tail, "degree").tolist()
        [1, 3, 0, 2, 4]

    Source: Liao et al., Efficient Graph Generation with Graph Recurrent Attention Networks, arXiv
    1910.00760, section 2.4 (the family of orders); the order of the pieces is the official code's,
    which goes on to the neighbour of the lowest number.
    """
    graph = checked_graph(graph)
    if kind not in ORDERS:
        raise ValueError(f"`kind` must be one of {', '.join(ORDERS)}; got {kind!r}.")
    if kind == "default":
        order: list[int] = list(range(graph.nodes))
    else:
        order = _FROM_NETWORKX[kind](_networkx(graph))
    return np.asarray(order, np.int32)


def _networkx(graph: Graph) -> "nx.Graph":
    """The same, with the nodes, and the neighbours of each, sorted by number."""
    import networkx as nx

    found = nx.Graph()
    found.add_nodes_from(range(graph.nodes))
    found.add_edges_from(graph.edges.tolist())
    return found


def _from_hubs(found: "nx.Graph") -> Iterator[int]:
    """Where to start in each piece: its first node of the largest degree; large pieces first."""
    import networkx as nx

    pieces = sorted(nx.connected_components(found), key=lambda piece: (-len(piece), min(piece)))
    for piece in pieces:
        yield min(piece, key=lambda node: (-found.degree(node), node))


def _dfs(found: "nx.Graph") -> list[int]:
    import networkx as nx

    inwards = lambda near: sorted(near, key=lambda node: (-found.degree(node), node))
    walk = lambda hub: nx.dfs_preorder_nodes(found, hub, sort_neighbors=inwards)
    return [node for hub in _from_hubs(found) for node in walk(hub)]


def _bfs(found: "nx.Graph") -> list[int]:
    import networkx as nx

    walk = lambda hub: [hub, *(node for _, node in nx.bfs_edges(found, hub))]
    return [node for hub in _from_hubs(found) for node in walk(hub)]


def _degree(found: "nx.Graph") -> list[int]:
    return sorted(found, key=lambda node: (-found.degree(node), node))


def _kcore(found: "nx.Graph") -> list[int]:
    import networkx as nx

    core = nx.core_number(found)
    return sorted(found, key=lambda node: (-core[node], -found.degree(node), node))


_FROM_NETWORKX: dict[str, Callable[["nx.Graph"], list[int]]] = {
    "dfs": _dfs,
    "bfs": _bfs,
    "degree": _degree,
    "kcore": _kcore,
}
