"""Sets of graphs of the data folder, in the format of the TU Dortmund collection."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pullback.data._arrays import read_arrays
from pullback.data._errors import DataError
from pullback.data._graphs import Graphs
from pullback.data._letters import check_choice
from pullback.data._npy import LABELS, WHOLE
from pullback.data._places import TU_GRAPHS, locate
from pullback.data._simple_graphs import Found, gathered, simple

# How many graphs without nodes there may be where neither labels nor names tell their number.
_EMPTY = 1000
_OPTIONAL = ("graph_labels", "graph_names", "node_names")


def tu_graphs(name: str, *, folder: str | os.PathLike[str] | None = None) -> Graphs:
    """Graphs of the TU Dortmund collection: proteins, and objects as clouds of points.

    Args:
        name: "DD", 1,178 proteins of 30 to 5,748 amino acids, joined where they are near each
            other; "PROTEINS", 1,113 of them as 4 to 620 pieces; "ENZYMES", 600 as 2 to 126 pieces,
            of six classes; "FIRSTMM_DB", 41 objects of a household as 134 to 5,037 points.
        folder: where `NAME.npz` lies, or the folder above `graphs`. None: the folder that the
            environment variable `PULLBACK_DATA` names, then the cache of this user.

    Returns:
        The graphs in the order of the set, named by their numbers from "1", with their classes.

    Raises:
        ValueError: there is no set of this name.
        DataError: the file is missing or damaged.

    Example:
        >>> found = tu_graphs("ENZYMES", folder="data")  # doctest: +SKIP
        >>> len(found.graphs), found.graphs[0].nodes, len(found.graphs[0].edges)  # doctest: +SKIP
        (600, 37, 84)

    Source: Morris et al., TUDataset, arXiv 2007.08663.
    """
    check_choice("name", name, TU_GRAPHS)
    (path,) = locate(f"tu-{name}", folder)
    return gathered(tu_found(path), path, "drop")._replace(source=name)


def tu_found(path: Path) -> Iterator[Found]:
    """The graphs of an npz file with arrays as the files of a set are called, without its name.

    `A` has the ends of each edge, both ways, and `graph_indicator` the graph of each node, all
    counted from 1. What was learnt of nodes besides is not read.
    """
    wanted = {"A": (WHOLE, (None, 2)), "graph_indicator": (WHOLE, (None,))}
    optional = {each: (LABELS, (None,)) for each in _OPTIONAL}
    return tu_parts(read_arrays(path, wanted, optional), path)


def tu_parts(arrays: dict[str, np.ndarray], path: Path) -> Iterator[Found]:
    """The graphs of such arrays, which must agree with each other."""
    pairs, graph = arrays["A"].astype(np.int64), arrays["graph_indicator"].astype(np.int64)
    labels, names = (arrays.get(each, np.zeros(0)) for each in ("graph_labels", "graph_names"))
    count = max(int(graph.max(initial=0)), len(labels), len(names))
    _check(path, pairs, graph, count, arrays)
    starts = np.searchsorted(graph, np.arange(1, count + 2))
    order = np.argsort(graph[pairs[:, 0] - 1], kind="stable") if len(pairs) else np.zeros(0, int)
    pairs = pairs[order]
    ends = np.searchsorted(graph[pairs[:, 0] - 1], np.arange(1, count + 2))
    called = arrays["node_names"].astype(str).tolist() if "node_names" in arrays else []
    for place in range(count):
        first, last = starts[place : place + 2].tolist()
        if len(set(called[first:last])) < len(called[first:last]):
            raise DataError(path, f"graph {place + 1} has a name of a node twice.")
        graph_, lost = simple(
            last - first,
            pairs[ends[place] : ends[place + 1]] - 1 - first,
            both_ways=True,
            name=str(names[place]) if len(names) else str(place + 1),
            node_names=called[first:last],
        )
        yield Found(graph_, str(labels[place]) if len(labels) else "", lost)


def _check(
    path: Path, pairs: np.ndarray, graph: np.ndarray, count: int, arrays: dict[str, np.ndarray]
) -> None:
    """Raise where numbers are no nodes or graphs, or there are not enough of them."""
    if (graph < 1).any() or (np.diff(graph) < 0).any():
        raise DataError(path, "expected graph_indicator to count up from 1, a number a node.")
    listed = max(len(arrays.get(name, ())) for name in ("graph_labels", "graph_names"))
    if count > max(listed, len(graph) + _EMPTY):
        raise DataError(
            path,
            f"expected graph_indicator to number the graphs from 1, got {count} of {len(graph)} "
            "nodes.",
        )
    if ((pairs < 1) | (pairs > len(graph))).any():
        raise DataError(path, f"expected A to number nodes from 1 to {len(graph)}.")
    across = graph[pairs[:, 0] - 1] != graph[pairs[:, 1] - 1] if len(pairs) else np.zeros(0, bool)
    if across.any():
        row = int(np.flatnonzero(across)[0])
        raise DataError(path, f"row {row + 1} of A joins nodes of two graphs.")
    for name, wanted in (("graph_labels", count), ("graph_names", count), ("node_names", None)):
        wanted = len(graph) if wanted is None else wanted
        if name in arrays and len(arrays[name]) != wanted:
            raise DataError(path, f"expected {wanted} {name}, got {len(arrays[name])}.")
