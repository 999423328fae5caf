"""How like those of a reference some graphs are, beside what is no model and what is no sample."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.random as jr
import numpy as np
from jaxtyping import PRNGKeyArray

from pullback._inputs import positive
from pullback._key import checked_key
from pullback.analysis._graph_histograms import GraphMMD2, graph_mmd2, histograms_of
from pullback.analysis._graph_input import graphs_of, pieces_of
from pullback.analysis._isomorphism import isomorphism_classes
from pullback.analysis._orbit_counts import orbits_of
from pullback.data import Graph, Graphs


class GraphReport(NamedTuple):
    """How like those of a reference some graphs are. All of `..._mmd2` are squared: no root.

    Attributes:
        count: how many samples there are.
        connected: the share of them of which each node is reached from each.
        reference_connected: the same of the reference.
        unique: the share of the samples that is left when each counts once, whatever the numbers of
            its nodes.
        novel: the share that is none of `train`, whatever the numbers of the nodes; without it,
            none of the reference.
        nodes: the mean number of nodes.
        reference_nodes: the same of the reference.
        edges: the mean number of edges.
        reference_edges: the same of the reference.
        samples: how far the samples are from the reference.
        erdos_renyi: how far as many graphs are whose edges are thrown, of the numbers of nodes and
            the densities of the reference: a model must be nearer.
        train: how far as many graphs of `train` are, or all where there are fewer: a model cannot
            be expected to be nearer. NaN without `train`.
    """

    count: int
    connected: float
    reference_connected: float
    unique: float
    novel: float
    nodes: float
    reference_nodes: float
    edges: float
    reference_edges: float
    samples: GraphMMD2
    erdos_renyi: GraphMMD2
    train: GraphMMD2

    def rows(self) -> list[tuple[str, float]]:
        """Names and numbers, for a table."""
        sides = {"": self.samples, "erdos_renyi_": self.erdos_renyi, "train_": self.train}
        shares = self._fields[1 : self._fields.index("samples")]
        found = [(name, float(getattr(self, name))) for name in shares]
        for name in GraphMMD2._fields:
            found += [(f"{side}{name}", getattr(each, name)) for side, each in sides.items()]
        return found


def graph_report(
    samples: Sequence[Graph | Any] | Graphs,
    reference: Sequence[Graph | Any] | Graphs,
    *,
    train: Sequence[Graph | Any] | Graphs | None = None,
    key: PRNGKeyArray,
) -> GraphReport:
    """How like those of a reference some graphs are, by `graph_mmd2` of `graph_histograms`.

    A distance says little alone: it depends on the number of graphs, and on bins and widths. So it
    stands between that of thrown edges, from which a model must be far, and that of `train`.

    Args:
        samples: what a model drew.
        reference: graphs that were held out.
        train: graphs that the model was fitted to.
        key: throws the edges, and chooses as many graphs of `train` as there are samples.

    Raises:
        TypeError: one of them is one graph, or holds what is none.
        ValueError: one of them is empty, or has a graph without nodes or one of NetworkX with
            directions, second edges or loops.

    Example:
        >>> import jax
        >>> import networkx as nx
        >>> grids = [nx.grid_2d_graph(rows, columns) for rows in (2, 3) for columns in (3, 4, 5)]
        >>> found = graph_report(grids[:2], grids[2:4], train=grids[4:], key=jax.random.key(0))
        >>> found.connected, found.novel, found.samples.degree_mmd2 < found.erdos_renyi.degree_mmd2
        (1.0, 1.0, True)

    Source: Liao et al., Efficient graph generation with graph recurrent attention networks, arXiv
    1910.00760, section 4.1; O'Bray et al., arXiv 2106.01098, section 5 (why it stands between two).
    """
    key = checked_key(key)
    ours, theirs = graphs_of(samples, "samples"), graphs_of(reference, "reference")
    seen = () if train is None else graphs_of(train, "train")
    throw, choose = jr.split(key)
    thrown = erdos_renyi(theirs, len(ours), key=throw).graphs
    chosen = _rng(choose).permutation(len(seen))[: len(ours)]
    known = seen or theirs
    every = (*ours, *theirs, *seen, *thrown)
    orbits = dict(zip(map(id, every), orbits_of(every), strict=True))
    counted = lambda graphs: [orbits[id(each)] for each in graphs]
    histograms = lambda graphs: histograms_of(graphs, counted(graphs))
    beside = histograms(theirs)
    classes = isomorphism_classes((*known, *ours), counted((*known, *ours)))
    old, new = classes[: len(known)], classes[len(known) :]
    nothing = GraphMMD2(*[np.nan] * 4)
    return GraphReport(
        count=len(ours),
        connected=_connected(ours),
        reference_connected=_connected(theirs),
        unique=len(np.unique(new)) / len(ours),
        novel=float(np.mean(~np.isin(new, old))),
        nodes=float(np.mean([each.nodes for each in ours])),
        reference_nodes=float(np.mean([each.nodes for each in theirs])),
        edges=float(np.mean([len(each.edges) for each in ours])),
        reference_edges=float(np.mean([len(each.edges) for each in theirs])),
        samples=graph_mmd2(histograms(ours), beside),
        erdos_renyi=graph_mmd2(histograms(thrown), beside),
        train=graph_mmd2(histograms([seen[at] for at in chosen]), beside) if seen else nothing,
    )


def erdos_renyi(
    graphs: Sequence[Graph | Any] | Graphs, count: int | None = None, *, key: PRNGKeyArray
) -> Graphs:
    r"""Graphs of which each edge is thrown, of the numbers of nodes and the densities of others.

    $$ P\big((i, j) \in E\big) = 2 |E'| \,/\, n' (n' - 1) $$

    Args:
        graphs: those others $(n', E')$, each in its turn.
        count: how many are made; as many as `graphs` by default.
        key: throws.

    Raises:
        TypeError: `graphs` is one graph, or holds what is none.
        ValueError: there is none, one has no nodes, or `count` is not above zero.

    Example:
        >>> import jax
        >>> import networkx as nx
        >>> thrown = erdos_renyi([nx.cycle_graph(50)], 3, key=jax.random.key(0))
        >>> [each.nodes for each in thrown.graphs]
        [50, 50, 50]

    Source: Gilbert, Random graphs, Ann. Math. Statist. 30, 1959.
    """
    import networkx as nx

    key = checked_key(key)
    others = graphs_of(graphs, "graphs")
    count = len(others) if count is None else count
    positive(count=count)
    rng, made = _rng(key), []
    for place in range(count):
        other = others[place % len(others)]
        share = 2 * len(other.edges) / max(other.nodes * (other.nodes - 1), 1)
        edges = nx.fast_gnp_random_graph(other.nodes, share, seed=rng).edges
        made.append(Graph(other.nodes, np.asarray(edges, np.int32).reshape(-1, 2)))
    return Graphs(tuple(made), source="thrown edges")


def _rng(key: PRNGKeyArray) -> np.random.Generator:
    return np.random.default_rng(np.asarray(jr.key_data(key)))


def _connected(graphs: Sequence[Graph]) -> float:
    return sum(pieces_of(graph)[0] == 1 for graph in graphs) / len(graphs)
