"""Files of graphs, for other programs and for another day."""

import gzip
import io
import os
import re
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pullback._files import atomic_write
from pullback.data._edge_list import edge_list_text
from pullback.data._graphml import graphml_text
from pullback.data._graphs import Graph, Graphs
from pullback.data._networkx import from_networkx, is_networkx
from pullback.data._read_graphs import EDGE_LISTS, GRAPHML

_KNOWN = (*GRAPHML, *EDGE_LISTS, ".npz", ".zip")


def write_graphs(path: str | os.PathLike[str], graphs: Any) -> None:
    """Write graphs so that `read_graphs`, NetworkX and others read them, names and all.

    Args:
        path: appears whole or not at all. Its name says how: `.graphml` or `.xml` for one graph; a
            list of edges, `.edgelist`, `.edges`, `.txt`, `.csv` or `.tsv`, for one; one of these
            gzipped, `.gz`; `.zip` for any number, a GraphML file each; or `.npz` for any number, as
            the arrays of the TU collection. The same graphs make the same bytes.
        graphs: a `Graph`, `Graphs`, a graph of NetworkX, or a list of graphs. A list of edges has
            no place for the graph's name and class, and its nodes are numbered by their names where
            all of these are whole numbers.

    Raises:
        TypeError: `graphs` is none of these.
        ValueError: there is no graph, or more than the file can hold; the name of the path says
            nothing known; a graph of NetworkX is not simple; or a name cannot be written there.

    Example:
        >>> import networkx, pathlib, tempfile
        >>> from pullback.data import four_graphs
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> write_graphs(folder / "one.graphml", four_graphs().graphs[0])
        >>> networkx.read_graphml(folder / "one.graphml").number_of_edges()
        12
        >>> write_graphs(folder / "all.zip", four_graphs())
    """
    path = Path(path)
    suffixes = [suffix.lower() for suffix in path.suffixes]
    zipped = suffixes[-1:] == [".gz"]
    kind = (suffixes[:-1] if zipped else suffixes)[-1:]
    if not kind or kind[0] not in (_KNOWN[:-2] if zipped else _KNOWN):
        raise ValueError(f"`path` must end in one of {', '.join(_KNOWN)}; got {path.name!r}.")
    labels = graphs.labels if isinstance(graphs, Graphs) else ()
    taken = _as_graphs(graphs)
    labels = labels or ("",) * len(taken)
    if kind[0] == ".npz":
        content = _arrays(taken, labels)
    elif kind[0] == ".zip":
        content = _zip(taken, labels)
    elif len(taken) > 1:
        raise ValueError(
            f"`path`: {path.name!r} has room for one graph, got {len(taken)}. Let its name end in "
            ".zip, for a GraphML file each, or in .npz."
        )
    else:
        graph = taken[0]
        graphml = kind[0] in GRAPHML
        text = graphml_text(graph, labels[0]) if graphml else edge_list_text(graph, kind[0])
        content = gzip.compress(text.encode(), mtime=0) if zipped else text.encode()
    with atomic_write(path) as file:
        file.write(content)


def _as_graphs(graphs: Any) -> tuple[Graph, ...]:
    if isinstance(graphs, Graphs):
        found = graphs.graphs
    elif isinstance(graphs, Graph) or is_networkx(graphs):
        found = (graphs,)
    elif isinstance(graphs, list | tuple):
        found = graphs
    else:
        kind = type(graphs).__name__
        raise TypeError(f"`graphs` must be a graph, a list of graphs or Graphs; got {kind}.")
    if not found:
        raise ValueError("`graphs` must hold at least one graph, got none.")
    return tuple(each if isinstance(each, Graph) else from_networkx(each) for each in found)


def _arrays(graphs: Sequence[Graph], labels: Sequence[str]) -> bytes:
    """As the TU collection has them: from 1, each edge both ways; and the names, if there are."""
    sizes = np.array([graph.nodes for graph in graphs])
    starts = np.cumsum(sizes) - sizes + 1
    pairs = [graph.edges + start for graph, start in zip(graphs, starts.tolist(), strict=True)]
    both = np.concatenate([np.concatenate([each, each[:, ::-1]]) for each in pairs])
    arrays = {
        "A": both[np.lexsort((both[:, 1], both[:, 0]))].astype(np.int32),
        "graph_indicator": np.repeat(np.arange(1, len(graphs) + 1, dtype=np.int32), sizes),
    }
    if any(labels) or not sizes[-1]:  # which say too how many graphs there are
        whole = all(re.fullmatch(r"0|-?[1-9]\d{0,8}", label) for label in labels)
        arrays["graph_labels"] = np.array(list(map(int, labels)) if whole else labels)
    if any(graph.name for graph in graphs):
        arrays["graph_names"] = np.array([graph.name for graph in graphs])
    if any(graph.node_names for graph in graphs):
        named = [graph.node_names or map(str, range(graph.nodes)) for graph in graphs]
        arrays["node_names"] = np.array([name for names in named for name in names])
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)  # pyrefly: ignore
    return file.getvalue()


def _zip(graphs: Sequence[Graph], labels: Sequence[str]) -> bytes:
    """A GraphML file a graph, numbered from 1; without the time, so that the bytes are the same."""
    file, width = io.BytesIO(), len(str(len(graphs)))
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for place, (graph, label) in enumerate(zip(graphs, labels, strict=True), 1):
            entry = zipfile.ZipInfo(f"{place:0{width}}.graphml")
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, graphml_text(graph, label))
    return file.getvalue()
