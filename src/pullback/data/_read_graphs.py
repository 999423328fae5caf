"""Graphs from files and objects of a user's own."""

import io
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pullback.data._edge_list import edge_list_found
from pullback.data._edge_rows import NoEdges
from pullback.data._errors import DataError
from pullback.data._graph_sets import tu_found, tu_parts
from pullback.data._graphml import graphml_found
from pullback.data._graphs import Graph, Graphs
from pullback.data._letters import check_choice
from pullback.data._networkx import is_networkx, networkx_found
from pullback.data._simple_graphs import Found, gathered
from pullback.data._unpacked import check_size, member, opened_zip, unpacked

GRAPHML = (".graphml", ".xml")
EDGE_LISTS = (".edgelist", ".edges", ".txt", ".csv", ".tsv")
_ABOUT = ("readme", "license", "licence", "copying", "changelog.", "notes.", "requirements.")
_KINDS = (
    f"GraphML ({', '.join(GRAPHML)}), a list of edges ({', '.join(EDGE_LISTS)}), one of these "
    "gzipped (.gz), arrays (.npz), a .zip or a folder of such files"
)
_NONE = "Files that hold no graph: {}."
_PACKED = "Not read, as they are in a folder or a zip: {}; give such a file by itself."
_TABLE = (
    "Tables that are no lists of edges were passed over: {}; if rows are edges, call two columns "
    "source and target."
)
_WHY = 200  # letters of what NumPy says
_TU_TEXT = ("A", "graph_indicator", "graph_labels")


def read_graphs(source: Any, *, not_simple: str = "drop") -> Graphs:
    """Read simple undirected graphs from a file, a folder, or from NetworkX.

    The names of nodes are kept, weights and other attributes are not. A graph without nodes is left
    out, as `left_out` says.

    Args:
        source: a GraphML file, `.graphml` or `.xml`, whose nodes are called by their ids, or by
            their attribute "name" where ids are n0, n1, ... as igraph writes them; a list of edges,
            `.edgelist`, `.edges`, `.txt`, `.csv` or `.tsv`, of two names a line and maybe numbers,
            where a line with one name is a node, and what follows # or % is not read, unless it is
            within a name, or in a table within quotation marks; a table (`.csv`, `.tsv`) has
            columns called source and target, in a first row, or two names first, and one of four
            columns or more with other titles is refused, in a folder passed over; where names have
            spaces, all lines of a `.txt` may have tabs instead; one of these gzipped; a folder or a
            `.zip` of such files, read in the order of their names; arrays `A`, `graph_indicator`
            and maybe `graph_labels` in an `.npz`, or as `NAME_A.txt` and so on in a folder or a
            zip, as the TU collection has them; a graph of NetworkX; a `Graph`; or a list of graphs.
        not_simple: of what a simple graph has no room for, which is directions, weights, edges
            between nodes that are joined already, and edges from a node to itself: "drop" drops it
            and says so in `notes`; "error" refuses the first such graph.

    Returns:
        The graphs, their classes where the source has them (GraphML as "label" of a graph), and
        what was dropped or may have been meant otherwise. A file's graph has the file's name, if it
        has none of its own.

    Raises:
        TypeError: `source` is none of these.
        ValueError: `not_simple` is not as above, or two nodes of a graph of NetworkX have the same
            name once they are strings.
        DataError: a file is missing, damaged or of another kind, has a document type (which can
            name other files), swells beyond measure as it is unpacked, or holds no graph; a list of
            edges looks like a matrix or a list of neighbours; or an edge names no node. The message
            has the file, and the line where there is one.

    Example:
        >>> import pathlib, tempfile
        >>> file = pathlib.Path(tempfile.mkdtemp()) / "friends.csv"
        >>> _ = file.write_text("source,target,weight\\nann,bob,3\\nbob,cy,1\\ncy,cy,1\\n")
        >>> found = read_graphs(file)
        >>> found.graphs[0].node_names, found.graphs[0].edges.tolist()
        (('ann', 'bob', 'cy'), [[0, 1], [1, 2]])
        >>> found.notes[1]
        '1 edges join a node with itself, and were dropped (1 of 1 graphs).'
    """
    check_choice("not_simple", not_simple, ("drop", "error"))
    if isinstance(source, str | os.PathLike):
        found, passed_over = _files(Path(source))
        graphs = gathered(found, Path(source), not_simple)
        return graphs._replace(notes=(*graphs.notes, *_said(passed_over)))
    if isinstance(source, Graphs):
        labels = source.labels or ("",) * len(source.graphs)
        pairs = zip(source.graphs, labels, strict=True)
        found = gathered((Found(*each, {}) for each in pairs), source.source, not_simple)
        return found._replace(notes=source.notes, left_out=found.left_out or source.left_out)
    if isinstance(source, Graph) or is_networkx(source):
        return gathered([_taken(source, "the graph")], "the graph", not_simple)
    if not isinstance(source, list | tuple):
        raise TypeError(
            "graphs are read from a path, a graph of NetworkX, a Graph, or a list of graphs; got "
            f"{type(source).__name__}."
        )
    taken = (_taken(each, f"number {place}") for place, each in enumerate(source, 1))
    return gathered(taken, "the list", not_simple)


def _taken(graph: Any, where: str) -> Found:
    if isinstance(graph, Graph):
        return Found(graph, "", {})
    if not is_networkx(graph):
        read = " Read each path by itself." if isinstance(graph, str | os.PathLike) else ""
        kind = type(graph).__name__
        raise TypeError(f"a list must hold graphs of NetworkX or Graphs; {where} is {kind}.{read}")
    return networkx_found(graph)


def _said(passed_over: Mapping[str, str]) -> list[str]:
    """Sentences on files that were not read."""
    notes = []
    for told in dict.fromkeys(passed_over.values()):
        names = [name for name, why in passed_over.items() if why == told]
        more = f" and {len(names) - 5} more" if len(names) > 5 else ""
        notes.append(told.format(f"{', '.join(names[:5])}{more}"))
    return notes


def _files(path: Path) -> tuple[Iterator[Found] | list[Found], dict[str, str]]:
    """The graphs of a file or folder, and what is said of the files in it that are not read.

    The latter may grow as graphs are taken.
    """
    if not path.exists():
        raise DataError(path, "there is no such file or folder.")
    if path.is_dir():
        names = [each.relative_to(path).as_posix() for each in path.rglob("*") if each.is_file()]
        return _several(path, names, lambda name: unpacked(path / name))
    kind = _kind(path.name)
    if kind == ".zip":
        with opened_zip(path) as archive:
            check_size(path, archive.infolist())
            names = [name for name in dict.fromkeys(archive.namelist()) if name[-1:] != "/"]
            once = [name for name in names if not name.lower().endswith(".gz")]
            found, passed_over = _several(path, once, lambda name: member(archive, name))
            graphs = list(found)
            return graphs, passed_over | {name: _PACKED for name in names if name not in once}
    if kind == ".npz":
        return tu_found(path), {}
    if kind not in GRAPHML + EDGE_LISTS:
        raise DataError(
            path,
            f"expected {_KINDS}. Read other kinds with NetworkX, as by networkx.read_gml, and give "
            "the graphs.",
        )
    return _one(unpacked(path), path), {}


def _several(
    path: Path, names: list[str], read: Callable[[str], bytes]
) -> tuple[Iterator[Found], dict[str, str]]:
    """The graphs of several files, one after another in the order of their names."""
    names = sorted(sorted(name for name in names if not _hidden(name)), key=_natural)
    indicators = [name for name in names if name.endswith("_graph_indicator.txt")]
    if indicators:
        if len(indicators) > 1:
            raise DataError(path, f"holds several sets, such as {indicators[0]}; give one alone.")
        start = indicators[0].removesuffix("graph_indicator.txt")
        files = {name: f"{start}{name}.txt" for name in _TU_TEXT}
        there = {name: file for name, file in files.items() if file in names}
        rest = _not_read(name for name in names if name not in there.values())
        return _tu_text(path, {name: read(file) for name, file in there.items()}, start), rest
    chosen = [name for name in names if _holds_graphs(name)]
    rest = _not_read(name for name in names if not _holds_graphs(name))
    if not chosen:
        there = f" It has {', '.join([*rest][:5])}." if rest else " It is empty."
        raise DataError(path, f"expected {_KINDS}.{there}")

    def graphs() -> Iterator[Found]:
        tables = []
        for name in chosen:
            try:
                found = _one(read(name), path / name)
            except NoEdges as error:
                rest[name] = _TABLE
                tables.append(error)
            else:
                yield from found
        if len(tables) == len(chosen):
            raise tables[0]

    return graphs(), rest


def _not_read(names: Iterable[str]) -> dict[str, str]:
    return {name: _PACKED if _kind(name) in (".zip", ".npz") else _NONE for name in names}


def _holds_graphs(name: str) -> bool:
    return _kind(name) in GRAPHML + EDGE_LISTS and not name.lower().rpartition("/")[2].startswith(
        _ABOUT
    )


def _hidden(name: str) -> bool:
    """Whether it is one of those files that systems put beside those of a user."""
    return any(part.startswith((".", "__MACOSX")) for part in name.split("/"))


def _one(text: bytes, path: Path) -> list[Found]:
    """The graphs of a file of text, with its name where they have none."""
    graphml = _kind(path.name) in GRAPHML
    found = graphml_found(text, path) if graphml else [edge_list_found(text, path)]
    stem = path.name.removesuffix(".gz").rpartition(".")[0]
    named = []
    for place, each in enumerate(found, 1):
        name = each.graph.name or (stem if len(found) == 1 else f"{stem} {place}")
        graph = Graph(each.graph.nodes, each.graph.edges, name, each.graph.node_names)
        named.append(each._replace(graph=graph))
    return named


def _tu_text(path: Path, texts: Mapping[str, bytes], start: str) -> Iterator[Found]:
    """The graphs of a set whose arrays are files of whole numbers."""
    arrays = {}
    for name, text in texts.items():
        shape = (-1, 2) if name == "A" else (-1,)
        if not text.strip():
            raise DataError(path / f"{start}{name}.txt", "expected numbers; the file is empty.")
        try:
            numbers = np.loadtxt(io.BytesIO(text), np.int64, delimiter=",", ndmin=1)
            arrays[name] = numbers.reshape(shape)
        except ValueError as error:
            raise DataError(
                path / f"{start}{name}.txt", f"expected numbers: {str(error)[:_WHY]}"
            ) from error
    if "A" not in arrays:
        raise DataError(path / f"{start}A.txt", "there is no such file.")
    return tu_parts(arrays, path)


def _kind(name: str) -> str:
    name = name.lower()
    if name.endswith(".gz"):
        name = name.removesuffix(".gz")
    return Path(name).suffix


def _natural(name: str) -> list[tuple[int, int, str]]:
    """By which "2" comes before "10"."""
    # By how many digits, as Python makes no numbers of some thousands of them.
    parts = [part.lstrip("0") if part.isdecimal() else part for part in re.split(r"(\d+)", name)]
    return [(place % 2, len(part) if place % 2 else 0, part) for place, part in enumerate(parts)]
