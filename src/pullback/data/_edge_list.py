"""Graphs from lists of edges and to them."""

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pullback._names import shown
from pullback.data._cells import BadRows
from pullback.data._edge_rows import (
    COMMENT,
    ENDS,
    TABLES,
    Row,
    check_shape,
    check_titles,
    edge_rows,
    is_number,
)
from pullback.data._graphs import Graph
from pullback.data._simple_graphs import Found, simple
from pullback.data._text import decoded

# Of longer ones Python makes no numbers.
_WHOLE = re.compile(r"0|-?[1-9][0-9]{0,4000}")


def edge_list_found(text: bytes, path: Path) -> Found:
    """The graph of a file with an edge a line: two names, and maybe more.

    A line with one name is a node, which may have no edges. Nodes are numbered as they come, or by
    their names where all of these are whole numbers.
    """
    bad = BadRows(path, "line")
    rows, cut = edge_rows(decoded(text, path), path, bad)
    bad.check()
    header, columns = _header(rows)
    if not (header and _named_ends(rows[0][1])):
        check_titles(rows, path)
        check_shape(rows[header:], path)
    places: dict[str, int] = {}
    edges, weights, directions, attributes = [], [], [], {}
    for line, cells in rows[header:]:
        ends = [cells[at] if at < len(cells) else "" for at in columns]
        if not ends[0]:
            bad.add(line, "expected the name of a node first; the cell is empty.")
            continue
        for name in filter(None, ends):
            places.setdefault(name, len(places))
        if not ends[1]:
            continue
        edges.append((ends[0], ends[1], line))
        for at, cell in enumerate(cells):
            if at in columns or not cell:
                continue
            called = rows[0][1][at] if header and at < len(rows[0][1]) else ""
            weight = called.lower() == "weight" if called else at == 2 and is_number(cell)
            if weight or (cell.startswith("{") and "'weight'" in cell):
                weights.append(line)
            elif called.lower() == "type" and cell.lower() in ("directed", "undirected"):
                directions += [line] * (cell.lower() == "directed")  # as Gephi has it
            elif cell != "{}":
                attributes[called or f"column {at + 1}"] = None
    bad.check()
    notes = _notes(rows, cut, path.name, doubtful=not header)
    if all(map(_WHOLE.fullmatch, places)):
        places = {name: place for place, name in enumerate(sorted(places, key=int))}
    pairs = np.array([(places[a], places[b]) for a, b, _ in edges], np.int64).reshape(-1, 2)
    at = [line for _, _, line in edges]
    graph, lost = simple(len(places), pairs, both_ways=True, node_names=tuple(places), lines=at)
    for kind, where in (("directions", directions), ("weights", weights)):
        if where:
            lost[kind] = (len(where), where[0])
    return Found(graph, "", lost, tuple(attributes), notes)


def edge_list_text(graph: Graph, kind: str) -> str:
    """A file of edges: names apart by spaces, or in a table, `.csv` or `.tsv`, under a header.

    Nodes come first, a line each, where their names are no whole numbers, and so keep their order;
    else those alone do that have no edge.
    """
    names = graph.node_names or tuple(map(str, range(graph.nodes)))
    joined = np.zeros(graph.nodes, bool)
    joined[graph.edges.ravel()] = True
    numbers = all(map(_WHOLE.fullmatch, names))
    alone = [names[node] for node in range(graph.nodes) if not (numbers and joined[node])]
    edges = [(names[a], names[b]) for a, b in graph.edges.tolist()]
    for name in names:
        _check_name(name, kind)
    if kind not in TABLES:
        return "".join(f"{' '.join(row)}\n" for row in [*((name,) for name in alone), *edges])
    text = io.StringIO()
    delimiter = "\t" if kind == ".tsv" else ","
    # The readers of some cut off what no quotation mark precedes, or end a line there.
    odd = any(mark in name for name in names for mark in (*COMMENT, "\r", "\n"))
    quoting = csv.QUOTE_ALL if odd else csv.QUOTE_MINIMAL
    writer = csv.writer(text, lineterminator="\n", delimiter=delimiter, quoting=quoting)
    writer.writerows([("source", "target"), *((name, "") for name in alone), *edges])
    return text.getvalue()


def _check_name(name: str, kind: str) -> None:
    """Raise for a name that would come back as another, or as none."""
    table = kind in TABLES
    wrong = not name or name != name.strip() or (not table and len(name.splitlines()) > 1)
    spaces = (
        name.startswith((*COMMENT, "\ufeff")) or len(name.split()) > 1 or "," in name or ";" in name
    )
    if wrong or (spaces and not table):
        to = "GraphML" if wrong else "GraphML or a .csv file"
        raise ValueError(f"a list of edges cannot hold the name {shown(name)}; write {to}.")


def _named_ends(names: Sequence[str]) -> tuple[int, int] | None:
    """The columns of the ends of an edge, by their usual names."""
    lower = [name.lower() for name in names]
    found = [[at for at, name in enumerate(lower) if name in usual] for usual in ENDS]
    return (found[0][0], found[1][0]) if all(found) else None


def _header(rows: Sequence[Row]) -> tuple[int, tuple[int, int]]:
    """How many rows are a header, and the columns of the ends of an edge."""
    if not rows:
        return 0, (0, 1)
    if named := _named_ends(rows[0][1]):
        return 1, named
    ends = [name for _, cells in rows[1:] for name in cells[:2] if name]
    first = [name for name in rows[0][1][:2] if name]
    titles = ends and all(map(_WHOLE.fullmatch, ends)) and not any(map(_WHOLE.fullmatch, first))
    return int(bool(titles) and len(first) == 2), (0, 1)


def _notes(rows: Sequence[Row], cut: list[int], file: str, *, doubtful: bool) -> tuple[str, ...]:
    """On what may have been meant otherwise: comments in a table, and a first row of titles."""
    notes = []
    if cut:
        notes.append(
            f"{file}: comments were not read ({len(cut)} below the first row, from line {cut[0]}); "
            "put a name with # or % in quotation marks."
        )
    first = [name for name in (rows[0][1][:2] if doubtful and rows else []) if name]
    letters = len(first) == 2 and not any(map(is_number, first))
    if letters and len(rows) > 2:
        below = {name for _, cells in rows[1:] for name in cells[:2]}
        if below.isdisjoint(first):
            notes.append(
                f"{file}: the first row, {shown(first[0])} and {shown(first[1])}, was read as an "
                "edge; if these are titles, call them source and target."
            )
    return tuple(notes)
