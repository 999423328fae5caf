"""What graphs are compared by, and how far two sets of them are apart."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.linalg import eigvalsh
from scipy.spatial.distance import cdist

from pullback.analysis._graph_input import graphs_of
from pullback.analysis._orbit_counts import orbits_of
from pullback.data import Graph, Graphs

_SCALES = {"degree": 1.0, "clustering": 0.1, "orbits": 30.0, "spectrum": 1.0}
_CLUSTERING, _SPECTRUM = 100, 200


class GraphHistograms(NamedTuple):
    """What graphs are compared by, one row a graph.

    Attributes:
        degree: the share of nodes of each degree, from 0.
        clustering: the share of nodes in each of 100 bins of the clustering coefficient.
        orbits: the mean over nodes of `orbit_counts`.
        spectrum: the share in each of 200 bins of the eigenvalues of the normalised Laplacian.
    """

    degree: Float[np.ndarray, "graphs degrees"]
    clustering: Float[np.ndarray, "graphs 100"]
    orbits: Float[np.ndarray, "graphs 15"]
    spectrum: Float[np.ndarray, "graphs 200"]


class GraphMMD2(NamedTuple):
    """Squared maximum mean discrepancies between two sets of graphs: no root is taken."""

    degree_mmd2: float
    clustering_mmd2: float
    orbits_mmd2: float
    spectrum_mmd2: float


def graph_histograms(graphs: Sequence[Graph | Any] | Graphs) -> GraphHistograms:
    r"""What graphs are compared by: degrees, clustering, orbits and the Laplacian's spectrum.

    All eigenvalues of $I - D^{-1/2} A D^{-1/2}$ are found, of a node without edges 0: of 5,000
    nodes in some 12 s of one core and 400 MB; the rest takes some 10 ms.

    Args:
        graphs: records of `pullback.data`, or graphs of NetworkX.

    Raises:
        TypeError: it is one graph, or holds what is none.
        ValueError: there is none, or one has no nodes, or directions, second edges or loops.

    Example:
        >>> import networkx as nx
        >>> found = graph_histograms([nx.cycle_graph(4), nx.star_graph(3)])
        >>> found.degree.tolist()
        [[0.0, 0.0, 1.0, 0.0], [0.0, 0.75, 0.0, 0.25]]

    Source: Liao et al., Efficient graph generation with graph recurrent attention networks, arXiv
    1910.00760, section 4.1, with the bins of its code, but that an eigenvalue that rounding puts
    above 2 is counted.
    """
    records = graphs_of(graphs, "graphs")
    return histograms_of(records, orbits_of(records))


def histograms_of(
    graphs: Sequence[Graph], orbits: Sequence[Int[np.ndarray, "_ 15"]]
) -> GraphHistograms:
    """The same, where orbits are counted already: the first is the degree, the fourth triangles."""
    degrees = [rows[:, 0] for rows in orbits]
    widest = max(int(each.max()) for each in degrees)
    return GraphHistograms(
        degree=np.stack([np.bincount(d, minlength=widest + 1) / len(d) for d in degrees]),
        clustering=np.stack([_shares(_clustering(rows), _CLUSTERING, 0.0, 1.0) for rows in orbits]),
        orbits=np.stack([rows.mean(axis=0) for rows in orbits]),
        spectrum=np.stack([_shares(_spectrum(each), _SPECTRUM, -1e-5, 2.0) for each in graphs]),
    )


def graph_mmd2(ours: GraphHistograms, theirs: GraphHistograms) -> GraphMMD2:
    r"""Squared maximum mean discrepancy of each histogram, with a Gaussian kernel of distances.

    $$ \overline{k(x, x')} + \overline{k(y, y')} - 2\, \overline{k(x, y)}, \qquad
       k(x, y) = e^{-TV(x, y)^2 / 2 \sigma^2}, \quad TV(x, y) = \tfrac12 \sum_b |x_b - y_b| $$

    Means are over all pairs, a graph with itself too, so that it is zero between equal lists; and
    it is larger, the fewer graphs there are: compare values of equal numbers of graphs alone. The
    width $\sigma$ is 1 for degrees and spectra, 0.1 for clustering and 30 for orbits. The kernel is
    not positive definite, and so the value may lie below zero.

    Args:
        ours: of one set of graphs, by `graph_histograms`.
        theirs: of the other.

    Raises:
        TypeError: one of them is no `GraphHistograms`.

    Example:
        >>> import networkx as nx
        >>> cycles = graph_histograms([nx.cycle_graph(5), nx.cycle_graph(6)])
        >>> full = graph_histograms([nx.complete_graph(5)])
        >>> graph_mmd2(cycles, cycles).degree_mmd2, round(graph_mmd2(cycles, full).degree_mmd2, 2)
        (0.0, 0.79)

    Source: Liao et al., arXiv 1910.00760, section 4.1 (the kernel), and its code (the widths);
    O'Bray et al., Evaluation metrics for graph generative models, arXiv 2106.01098 (what the kernel
    is not).
    """
    for side, given in (("ours", ours), ("theirs", theirs)):
        if not isinstance(given, GraphHistograms):
            raise TypeError(
                f"`{side}` must be what `graph_histograms` makes of graphs, got "
                f"{type(given).__name__}."
            )
    found = {
        f"{name}_mmd2": _mmd2(getattr(ours, name), getattr(theirs, name), scale)
        for name, scale in _SCALES.items()
    }
    return GraphMMD2(**found)


def _mmd2(x: Float[np.ndarray, "n a"], y: Float[np.ndarray, "m b"], scale: float) -> float:
    bins = max(x.shape[1], y.shape[1])
    x, y = (np.pad(each, ((0, 0), (0, bins - each.shape[1]))) for each in (x, y))
    kernel = lambda a, b: np.exp(-((cdist(a, b, "cityblock") / 2) ** 2) / (2 * scale**2)).mean()
    return float(kernel(x, x) + kernel(y, y) - 2 * kernel(x, y))


def _shares(
    values: Float[np.ndarray, " n"], bins: int, low: float, high: float
) -> Float[np.ndarray, " bins"]:
    return np.histogram(values, bins, (low, high))[0] / len(values)


def _clustering(orbits: Int[np.ndarray, "nodes 15"]) -> Float[np.ndarray, " nodes"]:
    degree, triangles = orbits[:, 0], orbits[:, 3]
    return 2 * triangles / np.maximum(degree * (degree - 1), 1)


def _spectrum(graph: Graph) -> Float[np.ndarray, " nodes"]:
    degree = np.bincount(graph.edges.ravel(), minlength=graph.nodes)
    root, (a, b) = np.sqrt(np.maximum(degree, 1)), graph.edges.T
    laplacian = np.diag((degree > 0).astype(float)).T  # by columns, which LAPACK overwrites
    laplacian[a, b] = laplacian[b, a] = -1 / (root[a] * root[b])
    found = eigvalsh(laplacian, overwrite_a=True, check_finite=False)
    return np.clip(found, 0.0, 2.0)
