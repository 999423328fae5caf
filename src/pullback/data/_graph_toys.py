"""Small graphs of known kinds, to try a generator on."""

from collections.abc import Sequence, Sized

import numpy as np

from pullback._sizes import positive
from pullback.data._graphs import Graph, Graphs


def four_graphs() -> Graphs:
    """Four graphs of 12 nodes: a cycle, grids of 2 x 6 and 3 x 4, and a path.

    A model that has learnt them by heart, each in one order, has a loss of log 4 = 1.386 nats.

    Example:
        >>> [(graph.name, len(graph.edges)) for graph in four_graphs().graphs]
        [('cycle', 12), ('grid 2x6', 16), ('grid 3x4', 17), ('path', 11)]
    """
    along = np.arange(12)
    cycle = Graph(12, np.stack([along, (along + 1) % 12], axis=1), "cycle")
    path = Graph(12, cycle.edges[cycle.edges[:, 1] == cycle.edges[:, 0] + 1], "path")
    return Graphs((cycle, _grid(2, 6), _grid(3, 4), path), source="four graphs of 12 nodes")


def grids(
    rows: Sequence[int] = tuple(range(10, 20)), columns: Sequence[int] = tuple(range(10, 20))
) -> Graphs:
    """Grids, each node joined to its up to four neighbours: every number of rows and of columns.

    Args:
        rows: the numbers of rows.
        columns: the numbers of columns.

    Returns:
        A graph for each pair; at the defaults the 100 grids by which papers judge generators, of
        100 to 361 nodes. A grid turned by a quarter is the same graph, and is there twice.

    Raises:
        TypeError: a number is no whole number.
        ValueError: there are none, or one is below 1.

    Example:
        >>> [(graph.name, graph.nodes) for graph in grids([2], [3, 4]).graphs]
        [('grid 2x3', 6), ('grid 2x4', 8)]

    Source: Liao et al., arXiv 1910.00760, section 4.1.
    """
    for name, sizes in (("rows", rows), ("columns", columns)):
        if not isinstance(sizes, Sized):
            raise TypeError(f"`{name}` must be a sequence of whole numbers, got {sizes!r}.")
        if not len(sizes):
            raise ValueError(f"`{name}` must hold at least one number, got none.")
        for size in sizes:
            positive(**{name: size})
    return Graphs(tuple(_grid(a, b) for a in rows for b in columns), source="grids")


def lobsters(
    count: int = 100,
    *,
    backbone: int = 80,
    leg: float = 0.7,
    claw: float = 0.7,
    smallest: int = 10,
    largest: int = 100,
    seed: int = 0,
) -> Graphs:
    """Random lobsters: trees that are a path once their leaves are taken off twice.

    The path has round(2 U backbone) nodes, U uniform in [0, 1], and at least one. Each of them has
    a geometric number of legs, P(k or more) = leg^k, and each leg a geometric number of claws. What
    is too small or too large is drawn again.

    Args:
        count: how many graphs.
        backbone: the mean number of nodes of the path.
        leg: the probability of one leg more, in [0, 1).
        claw: the probability of one claw more, in [0, 1).
        smallest: the fewest nodes of a graph.
        largest: the most nodes of a graph.
        seed: of the draw.

    Raises:
        TypeError: a number is no whole number.
        ValueError: an argument is out of its range, or graphs of such sizes are hardly ever drawn.

    Example:
        >>> drawn = lobsters(20, backbone=5, smallest=6, largest=20).graphs
        >>> {len(graph.edges) - graph.nodes for graph in drawn}
        {-1}

    Source: Liao et al., arXiv 1910.00760, section 4.1; the law is NetworkX's.
    """
    positive(count=count, backbone=backbone, smallest=smallest, largest=largest)
    for name, chance in (("leg", leg), ("claw", claw)):
        if (
            isinstance(chance, bool)
            or not isinstance(chance, float | int | np.number)
            or not 0 <= chance < 1
        ):
            raise ValueError(f"`{name}` must be a probability below 1, got {chance!r}.")
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise ValueError(f"`seed` must be a whole number, 0 or more; got {seed!r}.")
    if smallest > largest:
        raise ValueError(f"`smallest` must not be above `largest`; got {smallest} and {largest}.")
    generator = np.random.default_rng(seed)
    found: list[Graph] = []
    for _ in range(1000 * count):
        drawn = _lobster(generator, backbone, leg, claw, largest)
        if drawn is not None and drawn.nodes >= smallest:
            found.append(drawn)
        if len(found) == count:
            return Graphs(tuple(found), source="lobsters")
    raise ValueError(
        f"`smallest` and `largest` of {smallest} and {largest} nodes are hardly ever drawn with "
        f"backbone={backbone}, leg={leg}, claw={claw}: {len(found)} of {1000 * count} tries."
    )


def _grid(rows: int, columns: int) -> Graph:
    at = np.arange(rows * columns).reshape(rows, columns)
    across = np.stack([at[:, :-1].ravel(), at[:, 1:].ravel()], axis=1)
    down = np.stack([at[:-1].ravel(), at[1:].ravel()], axis=1)
    return Graph(rows * columns, np.concatenate([across, down]), f"grid {rows}x{columns}")


def _lobster(
    generator: np.random.Generator, backbone: int, leg: float, claw: float, largest: int
) -> Graph | None:
    """One lobster, or None where it is too large."""
    parents = list(range(-1, max(1, round(2 * generator.random() * backbone)) - 1))
    start = 0
    for chance in (leg, claw):  # of more below what the last round has grown
        end = len(parents)
        for node in range(start, end):
            while generator.random() < chance and len(parents) <= largest:
                parents.append(node)
        start = end
    if len(parents) > largest:
        return None
    children = np.arange(1, len(parents))
    return Graph(len(parents), np.stack([np.array(parents[1:], int), children], axis=1), "lobster")
