"""In how many small subgraphs of each kind, and where in them, each node of a graph lies."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int
from scipy.sparse import csr_array

from pullback.analysis._graph_input import graph_of
from pullback.data import Graph

# So many paths of two edges, or ends of triangles, are held at once; and edges of small graphs.
_TOGETHER, _EDGES = 2_000_000, 100_000

# How often a subgraph with the place of the row, induced or not, lies in the induced one with the
# place of the column, for a node that has both places. Places are those of `orbit_counts`.
_WITHIN = np.array(
    [  # 4  5  6  7  8  9 10 11 12 13 14
        [1, 0, 0, 0, 2, 2, 1, 0, 4, 2, 6],
        [0, 1, 0, 0, 2, 0, 1, 2, 2, 4, 6],
        [0, 0, 1, 0, 0, 1, 1, 0, 2, 1, 3],
        [0, 0, 0, 1, 0, 0, 0, 1, 0, 1, 1],
        [0, 0, 0, 0, 1, 0, 0, 0, 1, 1, 3],
        [0, 0, 0, 0, 0, 1, 0, 0, 2, 0, 3],
        [0, 0, 0, 0, 0, 0, 1, 0, 2, 2, 6],
        [0, 0, 0, 0, 0, 0, 0, 1, 0, 2, 3],
        [0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 3],
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 3],
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
    ]
)


def orbit_counts(graph: Graph | Any) -> Int[np.ndarray, "nodes 15"]:
    r"""How many induced subgraphs of two, three and four nodes each node lies in, by its place.

    Column $j$ counts the connected induced subgraphs in which the node has place $j$: 0 is its
    degree; 1 and 2 the end and the middle of a path of three; 3 a triangle; 4 and 5 the end and the
    middle of a path of four; 6 and 7 a leaf and the centre of a star; 8 a cycle of four; 9, 10 and
    11 the tail, the far corners and the near corner of a triangle with a tail; 12 and 13 the outer
    nodes and the shared edge of two triangles; 14 four nodes that are all joined.

    Args:
        graph: a `pullback.data.Graph`, or one of NetworkX, whose nodes keep their order.

    Raises:
        TypeError: `graph` is no graph.
        ValueError: it is one of NetworkX with directions, second edges or loops.

    Example:
        >>> import numpy as np
        >>> from pullback.data import Graph
        >>> path = Graph(4, np.array([[0, 1], [1, 2], [2, 3]]))
        >>> orbit_counts(path)[:2, :6].tolist()
        [[1, 1, 0, 0, 1, 0], [2, 1, 1, 0, 0, 1]]

    Source: Przulj, Biological network comparison using graphlet degree distribution,
    Bioinformatics 23, 2007 (the numbers of the places); Hocevar and Demsar, A combinatorial
    approach to graphlet counting, Bioinformatics 30, 2014 (equations instead of enumeration).
    """
    graph = graph_of(graph)
    nodes, (a, b) = graph.nodes, graph.edges.T.astype(np.int64)
    at = lambda places, values: np.bincount(places, values, minlength=nodes).astype(np.int64)
    along = lambda values: at(a, values) + at(b, values)
    around = lambda values: at(a, values[b]) + at(b, values[a])
    degree = along(np.ones(len(a)))
    corners, fours = _triangles(nodes, a, b, degree)
    # The edge that faces each corner, and in how many triangles it is.
    facing = np.sort(corners[:, [[1, 2], [0, 2], [0, 1]]], axis=2)
    side = np.searchsorted(a * nodes + b, facing[..., 0] * nodes + facing[..., 1])
    shared = np.bincount(side.ravel(), minlength=len(a))
    triangles = at(corners.ravel(), np.ones(corners.size))
    pairs = degree * (degree - 1) // 2
    second = around(degree - 1)
    tails = degree - 2
    loose = np.stack(
        [
            around(second) - degree * (degree - 1) - 2 * triangles,
            (degree - 1) * second - 2 * triangles,
            around((degree - 1) * (degree - 2) // 2),
            pairs * tails // 3,
            _squares(nodes, a, b, degree),
            around(triangles) - along(shared),
            at(a, shared * tails[b]) + at(b, shared * tails[a]),
            triangles * tails,
            at(corners.ravel(), shared[side].ravel() - 1),
            along(shared * (shared - 1) // 2),
            fours,
        ],
        axis=1,
    )
    for row in range(9, -1, -1):  # from those that are in no other to those that are in many
        loose[:, row] -= loose[:, row + 1 :] @ _WITHIN[row, row + 1 :]
    three = np.stack([degree, second - 2 * triangles, pairs - triangles, triangles], axis=1)
    return np.concatenate([three, loose], axis=1)


def orbits_of(graphs: Sequence[Graph]) -> list[Int[np.ndarray, "_ 15"]]:
    """The same of several graphs, of which many are counted as the pieces of one."""
    found = []
    for some in _parts(np.array([len(graph.edges) for graph in graphs]), _EDGES):
        starts = np.cumsum([0] + [graph.nodes for graph in graphs[some]])
        moved = [graph.edges + start for graph, start in zip(graphs[some], starts, strict=False)]
        whole = orbit_counts(Graph(int(starts[-1]), np.concatenate(moved)))
        found += np.split(whole, starts[1:-1])
    return found


def _triangles(
    nodes: int, a: np.ndarray, b: np.ndarray, degree: np.ndarray
) -> tuple[Int[np.ndarray, "triangles 3"], Int[np.ndarray, " nodes"]]:
    """The corners of each triangle, and how many sets of four nodes, all joined, each node is in.

    Edges lead from the node of lower degree to that of higher, so that a hub has few that lead on,
    and each triangle, and each four, is found once, from its first edge.
    """
    swap = (degree[a] > degree[b])[:, None]
    tails, heads = np.where(swap, np.stack([b, a], 1), np.stack([a, b], 1)).T
    onward = csr_array((np.ones(len(a), np.int64), (tails, heads)), (nodes, nodes))
    reach = np.diff(onward.indptr)
    found, fours = [np.zeros((0, 3), np.int64)], np.zeros(nodes, np.int64)
    for some in _parts(reach[tails] + reach[heads]):
        both = _common(onward, tails[some], onward, heads[some])
        each = np.diff(both.indptr)
        edge, tip = np.repeat(np.arange(len(each)), each), both.indices
        corners = np.stack([tails[some][edge], heads[some][edge], tip], axis=1)
        found.append(corners)
        for part in _parts(each[edge] + reach[tip]):
            four = _common(both, edge[part], onward, tip[part])
            fours += np.bincount(four.indices, minlength=nodes)
            for corner in corners[part].T:
                weights = np.diff(four.indptr)
                fours += np.bincount(corner, weights, minlength=nodes).astype(np.int64)
    return np.concatenate(found), fours


def _common(one: csr_array, rows: np.ndarray, other: csr_array, others: np.ndarray) -> csr_array:
    """Where rows of the one and of the other both lead, pair by pair."""
    return csr_array(csr_array(one[rows]).multiply(csr_array(other[others])))


def _squares(
    nodes: int, a: np.ndarray, b: np.ndarray, degree: np.ndarray
) -> Int[np.ndarray, " nodes"]:
    """In how many cycles of four each node lies: two ways of two edges to the opposite node."""
    ends = np.concatenate([a, b]), np.concatenate([b, a])
    joined = csr_array((np.ones(2 * len(a), np.int64), ends), (nodes, nodes))
    found = np.zeros(nodes, np.int64)
    for some in _parts(joined @ degree):
        ways = joined[some] @ joined
        ways.data = ways.data * (ways.data - 1) // 2
        found[some] = ways.sum(axis=1)
    return found - degree * (degree - 1) // 2  # to itself


def _parts(cost: Int[np.ndarray, " n"], most: int | None = None) -> Iterator[slice]:
    """All of n in parts that cost no more than is held at once, or are of one."""
    most = _TOGETHER if most is None else most
    total = np.concatenate([[0], np.cumsum(cost)])
    start = 0
    while start < len(cost):
        stop = int(np.searchsorted(total, total[start] + most, side="right")) - 1
        stop = max(stop, start + 1)
        yield slice(start, stop)
        start = stop
