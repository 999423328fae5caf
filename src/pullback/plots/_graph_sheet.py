"""Drawings of graphs, side by side."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pullback.plots._style import PALETTE

if TYPE_CHECKING:
    import matplotlib.axes

# Up to so many nodes distances on the page follow those along edges; beyond, springs are quicker.
_BY_DISTANCE = 100
_BY_SPRINGS = 1000


def graph_sheet(
    ax: "matplotlib.axes.Axes",
    graphs: Sequence[Sequence[Any]],
    *,
    rows: Sequence[str] = (),
    title: str = "",
    seed: int = 0,
) -> None:
    """Draw graphs side by side, each row with its label: dots for nodes, lines for edges.

    NetworkX finds places of what is joined: of up to 100 nodes such that distances follow those
    along edges, of up to 1,000 by springs, beyond that from eigenvectors of the Laplacian. Pieces
    that nothing joins stand side by side, the largest first.

    Args:
        ax: Where to draw.
        graphs: Rows of graphs, each with `nodes`, a number, and `edges`, pairs of nodes from 0: a
            `pullback.data.Graph`. A row may be a `pullback.data.Graphs`; rows may differ in length.
        rows: A label for each row, or none at all.
        title: The title of the axes.
        seed: Where springs start; the same one gives the same drawing.

    Raises:
        TypeError: `graphs` has no rows, but graphs.
        ValueError: There is no graph, or there are not as many labels as rows.

    Example:
        >>> import numpy as np
        >>> from pullback.data import Graph
        >>> from pullback.plots import figure, house_style
        >>> path = Graph(3, np.array([[0, 1], [1, 2]]))
        >>> with house_style():
        ...     fig, ax = figure(width=3, height=3)
        ...     graph_sheet(ax, [[path, path], [path]], rows=["data", "drawn"])
    """
    import numpy as np
    from matplotlib.collections import LineCollection

    sheet = [
        list(getattr(row, "graphs", row)) if isinstance(row, Sequence) else [0] for row in graphs
    ]
    if not all(isinstance(getattr(each, "nodes", None), int) for row in sheet for each in row):
        raise TypeError(
            "`graphs` must be rows of graphs such as pullback.data.Graph: for one row write "
            "[graphs], and of a graph of NetworkX make one by pullback.data.from_networkx"
        )
    if not any(sheet) or len(rows) not in (0, len(sheet)):
        found = f"{sum(map(len, sheet))} graphs in {len(sheet)} rows, and {len(rows)} labels"
        raise ValueError(f"there are {found}; give one graph or more, and a label a row or none")
    lines, dots, sizes, widths = [], [], [], []
    for down, row in enumerate(sheet):
        for right, graph in enumerate(row):
            at = _places(graph, seed) * 0.42 + [right, -down]
            edges = np.asarray(graph.edges, int).reshape(-1, 2)
            lines.append(at[edges])
            dots.append(at)
            sizes.append(np.full(len(at), 60 / max(len(at), 4)))
            widths.append(np.full(len(edges), max(0.2, min(0.6, 6 / np.sqrt(max(len(at), 1))))))
    columns = max(map(len, sheet))
    ax.set(xlim=(-0.5, columns - 0.5), ylim=(0.5 - len(sheet), 0.5), xticks=[], title=title)
    drawn = LineCollection(list(np.concatenate(lines)), colors="#7b8794")
    drawn.set_linewidth(np.concatenate(widths).tolist())
    ax.add_collection(drawn)
    x, y = np.concatenate(dots).T
    ax.scatter(x, y, s=np.concatenate(sizes), color=PALETTE[0], linewidths=0, zorder=2)
    ax.set_yticks([-place for place in range(len(rows))], list(rows))
    ax.tick_params(left=False)
    ax.spines[:].set_visible(False)
    ax.grid(False)
    ax.set_aspect("equal")


def _places(graph: Any, seed: int) -> Any:
    """Where each node lies, from -1 to 1: what is joined by itself, and the pieces in rows."""
    import networkx as nx
    import numpy as np

    made = nx.Graph()
    made.add_nodes_from(range(graph.nodes))
    made.add_edges_from(map(tuple, np.asarray(graph.edges, int).reshape(-1, 2).tolist()))
    pieces = sorted(map(sorted, nx.connected_components(made)), key=lambda piece: -len(piece))
    at = np.zeros((graph.nodes, 2))
    # Each in a square as wide as the root of its nodes, so that all are about as dense.
    left, top, high, width = 0.0, 0.0, 0.0, np.sqrt(1.5 * graph.nodes)
    for piece in pieces:
        side = np.sqrt(len(piece))
        if left and left + side > width:
            left, top, high = 0.0, top - 1.2 * high, 0.0
        found = _centred(_layout(made.subgraph(piece), seed))
        at[piece] = np.add(found, [1, -1]) * side / 2 + [left, top]
        left, high = left + 1.2 * side, max(high, side)
    return _centred(at)


def _layout(piece: Any, seed: int) -> Any:
    import networkx as nx
    import numpy as np
    from scipy.sparse.linalg import eigsh

    if len(piece) > _BY_SPRINGS:
        # Of NetworkX's own the start is left to chance, and it is slow.
        laplacian = nx.laplacian_matrix(piece, sorted(piece)).astype(float)
        start = np.random.default_rng(seed).normal(size=len(piece))
        found = eigsh(laplacian, 3, sigma=-1e-5, v0=start)[1][:, 1:]
        # A few nodes at the end of a thread may lie far outside, and leave the others no room.
        return np.tanh(found / (2 * np.quantile(np.abs(found), 0.9, axis=0)))
    if len(piece) > _BY_DISTANCE:
        found = nx.spring_layout(piece, method="energy", seed=seed)
    else:
        found = nx.kamada_kawai_layout(piece)
    return np.stack([found[node] for node in sorted(piece)])


def _centred(at: Any) -> Any:
    import numpy as np

    if not len(at):
        return at
    at = at - (at.max(axis=0) + at.min(axis=0)) / 2
    return at / max(float(np.abs(at).max()), 1e-9)
