"""Graphs whose nodes come in an order: as a network reads them, padded to a few shapes."""

from collections.abc import Sequence

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from pullback.data import Graph
from pullback.models.graphs._orders import canonical_order, checked_graph, checked_graphs

# Up to so many nodes a network takes them all at once; beyond, so many at a time.
TILE = 128

# What an edge in the list costs, in places of the table: it is added to its end one by one.
_LISTED = 4


class OrderedGraph(eqx.Module):
    """A graph whose nodes are numbered as they come, by the neighbours of each.

    An edge stands at both of its ends. A node with more neighbours than the table is wide has the
    rest of them in a list, so that one hub does not make the table as wide as itself.

    Args:
        neighbours: of each node, from the lowest, filled up with `size`, which is no node.
        overflow: the edges that found no room in the table: a node and its neighbour, sorted by
            node, filled up with `size`.
        nodes: how many there are, of `size` rows.
    """

    neighbours: Int[Array, "size width"]
    overflow: Int[Array, "overflow 2"]
    nodes: Int[Array, ""]


def ordered_graph(
    graph: Graph,
    order: Sequence[int] | np.ndarray | str = "dfs",
    *,
    shape: tuple[int, int, int] | None = None,
) -> OrderedGraph:
    """A graph in one order of its nodes.

    Args:
        graph: the graph.
        order: one of `ORDERS`; or which node comes first, second and so on.
        shape: rows, width of the table and length of the list, as of `ordered_shape`. None: the
            smallest of a few that programs are compiled for.

    Raises:
        TypeError: `graph` is no `Graph`.
        ValueError: `order` does not have each node once, or the graph does not fit into `shape`,
            whose rows beyond 128 must be a multiple of it.

    Example:
        >>> import numpy as np
        >>> from pullback.data import Graph
        >>> star = Graph(4, np.array([[0, 3], [1, 3], [2, 3]]))
        >>> ordered_graph(star, [3, 0, 1, 2]).neighbours[0].tolist()
        [1, 2, 3, 8]
    """
    places = places_of(checked_graph(graph), order)
    owners, others, ranks = _ends(graph, places)
    size, width, listed = ordered_shape([graph]) if shape is None else shape
    if size > TILE and size % TILE:
        raise ValueError(
            f"`shape` must have up to {TILE} rows or a multiple of {TILE}, got {size}: use "
            "`ordered_shape`."
        )
    over = ranks >= width
    if graph.nodes > size or over.sum() > listed:
        raise ValueError(
            f"`shape` must have room for {graph.nodes} nodes and {over.sum()} edges beyond a table "
            f"{width} wide, got {(size, width, listed)}: use `ordered_shape` of all the graphs."
        )
    table = np.full((size, width), size, np.int32)
    table[owners[~over], ranks[~over]] = others[~over]
    overflow = np.full((listed, 2), size, np.int32)
    overflow[: over.sum()] = np.stack([owners[over], others[over]], axis=1)
    nodes = jnp.asarray(graph.nodes, jnp.int32)
    return OrderedGraph(jnp.asarray(table), jnp.asarray(overflow), nodes)


def ordered_shape(graphs: Sequence[Graph]) -> tuple[int, int, int]:
    """The smallest shape that all of these graphs fit into: rows, width, length of the list.

    The shapes are few, so that graphs of about one size share a program. It does not depend on the
    order of the nodes.

    Raises:
        TypeError: it is one graph, or holds what is none.
        ValueError: there is no graph.

    Example:
        >>> import numpy as np
        >>> from pullback.data import Graph
        >>> ordered_shape([Graph(5, np.array([[0, 1], [1, 2]])), Graph(70, np.zeros((0, 2), int))])
        (80, 4, 0)
    """
    graphs = checked_graphs("graphs", graphs)
    size = padded_size(max(graph.nodes for graph in graphs))
    degrees = [np.bincount(graph.edges.ravel(), minlength=1) for graph in graphs]
    return (size, *table_shape(size, degrees))


def table_shape(size: int, degrees: Sequence[np.ndarray]) -> tuple[int, int]:
    """The width of the table and the length of the list at which a step costs least."""
    highest = max(int(degree.max(initial=1)) for degree in degrees)

    def listed(width: int) -> int:
        return max(int(np.maximum(degree - width, 0).sum()) for degree in degrees)

    widths = [4]
    while widths[-1] < min(highest, 256):
        widths.append(2 * widths[-1])
    width = min(widths, key=lambda width: size * width + _LISTED * listed(width))
    return width, _listed_size(listed(width))


def padded_size(nodes: int) -> int:
    """The next of a few sizes: four an octave, and whole tiles where there are several."""
    step = max(8, 2 ** (max(nodes - 1, 1).bit_length() - 3))
    step = step if nodes <= TILE else max(step, TILE)
    return max(-(-nodes // step) * step, 8)


def _listed_size(number: int) -> int:
    return 0 if number == 0 else max(16, 2 ** (number - 1).bit_length())


def places_of(graph: Graph, order: Sequence[int] | np.ndarray | str) -> Int[np.ndarray, " nodes"]:
    """The place of each node in an order."""
    found = canonical_order(graph, order) if isinstance(order, str) else np.asarray(order)
    proper = found.shape == (graph.nodes,) and (found.dtype.kind in "iu" or graph.nodes == 0)
    if not proper or not np.array_equal(np.sort(found), np.arange(graph.nodes)):
        raise ValueError(
            f"`order` must have each of the {graph.nodes} nodes once, by its number from 0; got "
            f"{order!r}."
        )
    places = np.empty(graph.nodes, np.int64)
    places[found.astype(np.int64)] = np.arange(graph.nodes)
    return places


def _ends(graph: Graph, places: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Each edge from both of its ends: the node, its neighbour, and which of them it is."""
    edges = places[graph.edges]
    ends = np.concatenate([edges, edges[:, ::-1]])
    ends = ends[np.lexsort((ends[:, 1], ends[:, 0]))]
    owners, others = ends[:, 0], ends[:, 1]
    ranks = np.arange(len(owners)) - np.searchsorted(owners, owners)
    return owners, others, ranks
