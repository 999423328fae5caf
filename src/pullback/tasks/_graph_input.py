"""Graphs as a generator takes them: read, counted, and some held out."""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from pullback.data import DataError, Graph, Graphs, to_networkx

from ._held_out import split_strings

_FEWEST = 10  # different graphs, of fewer of which none is held out
_HELD_OUT = 0.2
_ROUNDS = 3  # of the refinement by which copies are found


def check(found: Graphs, max_nodes: int | None) -> None:
    """Raise for graphs that teach nothing, or that are too large."""
    if len(found.graphs) < 2:
        raise DataError(
            found.source,
            "there is one graph, and a generator learns from several how they differ; give 2 or "
            "more, better a hundred.",
        )
    if not any(len(graph.edges) for graph in found.graphs):
        raise DataError(found.source, "no graph has an edge, so there is nothing to learn.")
    if max_nodes is not None:
        remedy = "raise it (a fit takes longer), or take such graphs out"
        check_sizes(found, max_nodes, "`max_nodes` is", remedy)


def check_sizes(found: Graphs, max_nodes: int, wanted: str, remedy: str) -> None:
    """Raise where a graph has more nodes than a model can take."""
    sizes = sizes_of(found.graphs)
    if sizes.max(initial=0) <= max_nodes:
        return
    large = int(sizes.argmax())
    raise DataError(
        found.source,
        f"{called(found.graphs[large], large)} has {sizes[large]:,} nodes, and {wanted} "
        f"{max_nodes:,} ({int((sizes > max_nodes).sum())} of {len(sizes)} have more); {remedy}.",
    )


def called(graph: Graph, place: int) -> str:
    """A graph in a message: its number, and its name where it has one."""
    return f"graph {place + 1}" + (f", {graph.name}," if graph.name else "")


def names_of(graphs: Sequence[Graph]) -> list[str]:
    """A name of each graph: its own, or else its number."""
    return [graph.name or str(place) for place, graph in enumerate(graphs, 1)]


def sizes_of(graphs: Sequence[Graph]) -> Int[np.ndarray, " n"]:
    """The numbers of nodes."""
    return np.array([graph.nodes for graph in graphs], int)


def digest(found: Graphs) -> str:
    """Of nodes and edges."""
    hashed = hashlib.sha256()
    for graph in found.graphs:
        hashed.update(np.int64(graph.nodes).tobytes() + graph.edges.astype(np.int32).tobytes())
    return hashed.hexdigest()


def hashes_of(graphs: Sequence[Graph]) -> list[str]:
    """What is the same of graphs that differ in their numbers alone, and rarely of others."""
    import networkx as nx

    found = []
    for graph in graphs:
        made = to_networkx(graph)
        nx.set_node_attributes(made, dict(made.degree), "degree")
        found.append(nx.weisfeiler_lehman_graph_hash(made, node_attr="degree", iterations=_ROUNDS))
    return found


def split(hashes: Sequence[str], seed: int) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " m"]]:
    """Places of graphs to learn from, and of those that judge; copies are all on one side."""
    return split_strings(hashes, seed, share=_HELD_OUT, fewest=_FEWEST)


def components_of(graph: Graph) -> int:
    """How many pieces a graph has."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    ones = np.ones(len(graph.edges), np.int8)
    ends = (graph.edges[:, 0], graph.edges[:, 1])
    matrix = coo_array((ones, ends), shape=(graph.nodes, graph.nodes))
    return int(connected_components(matrix, directed=False, return_labels=False))


def statistics(graphs: Sequence[Graph]) -> dict[str, list[Any]]:
    """A column of each of a few numbers that tell graphs apart."""
    import networkx as nx

    degrees = [np.bincount(g.edges.ravel(), minlength=g.nodes) for g in graphs]
    mean = lambda x: float(np.mean(x)) if len(x) else 0.0
    return {
        "nodes": [graph.nodes for graph in graphs],
        "edges": [len(graph.edges) for graph in graphs],
        "mean_degree": [mean(each) for each in degrees],
        "max_degree": [int(each.max(initial=0)) for each in degrees],
        "clustering": [float(nx.average_clustering(to_networkx(graph))) for graph in graphs],
        "components": [components_of(graph) for graph in graphs],
    }


def described(found: Graphs, hashes: Sequence[str], connected: bool) -> list[str]:
    """What was read, in sentences."""
    sizes = sizes_of(found.graphs)
    edges = [len(graph.edges) for graph in found.graphs]
    notes = [
        *found.notes,
        f"The graphs have {_span(sizes)} nodes and {_span(np.array(edges))} edges, and "
        + ("all are connected." if connected else f"{_apart(found)} are in pieces."),
    ]
    notes += left_out(found, "were left out")
    copies = len(hashes) - len(set(hashes))
    if copies:
        notes.append(
            f"{copies} of {len(hashes)} graphs are copies of others, as far as the "
            "Weisfeiler-Lehman test tells; copies of one are held out together."
        )
    return notes


def left_out(found: Graphs, what: str) -> list[str]:
    """A sentence on the graphs that were not taken, where there are such."""
    if not found.left_out:
        return []
    place, why = next(iter(found.left_out.items()))
    return [f"{len(found.left_out)} graphs {what}. Number {place}: {why}"]


def row_count(found: Graphs) -> int:
    """How many graphs there were, with those that were left out."""
    return len(found.graphs) + len(found.left_out)


def kept_of(found: Graphs) -> Int[np.ndarray, " n"]:
    """The places, from 0, of the graphs that were taken among all that there were."""
    gone = np.array([*found.left_out], int) - 1
    return np.setdiff1d(np.arange(row_count(found)), gone)


def in_places(values: Float[np.ndarray, " n"], found: Graphs) -> Float[np.ndarray, " rows"]:
    """A number of each graph that there was, NaN of those that were left out."""
    rows = np.full(row_count(found), np.nan)
    rows[kept_of(found)] = values
    return rows


def _span(values: np.ndarray) -> str:
    low, high = int(values.min()), int(values.max())
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _apart(found: Graphs) -> str:
    several = sum(components_of(graph) > 1 for graph in found.graphs)
    return f"{several} of {len(found.graphs)}"


def a_node(scores: Float[np.ndarray, " n"], graphs: Sequence[Graph]) -> Float[np.ndarray, " n"]:
    """Log-densities by the number of nodes: a large graph is no less usual for that."""
    return scores / np.maximum(sizes_of(graphs), 1)
