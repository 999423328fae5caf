"""Graphs from lists of edges and to them."""

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pullback.data._cells import BadRows
from pullback.data._csv import to_number
from pullback.data._errors import DataError
from pullback.data._graphs import Graph
from pullback.data._simple_graphs import Found, simple

_ENDS = (
    set("source from u node1 node_1 node_a tail src start".split()),
    set("target to v node2 node_2 node_b head dst end".split()),
)
_COMMENT = ("#", "%")
_WHOLE = re.compile(r"0|-?[1-9]\d*")


def edge_list_found(text: bytes, path: Path) -> Found:
    """The graph of a file with an edge a line: two names, and maybe more.

    A line with one name is a node, which may have no edges. Nodes are numbered as they come, or by
    their names where all of these are whole numbers.
    """
    try:
        lines = text.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(path, f"expected text in UTF-8: {error}.") from error
    bad = BadRows(path, "line")
    rows = list(_rows(lines, path, bad))
    bad.check()
    header, columns = _header(rows)
    places: dict[str, int] = {}
    edges, weights, attributes = [], [], {}
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
            weight = called.lower() == "weight" if called else at == 2 and _is_number(cell)
            if weight or (cell.startswith("{") and "'weight'" in cell):
                weights.append(line)
            elif cell != "{}":
                attributes[called or f"column {at + 1}"] = None
    bad.check()
    if all(map(_WHOLE.fullmatch, places)):
        places = {name: place for place, name in enumerate(sorted(places, key=int))}
    pairs = np.array([(places[a], places[b]) for a, b, _ in edges], np.int64).reshape(-1, 2)
    at = [line for _, _, line in edges]
    graph, lost = simple(len(places), pairs, both_ways=True, node_names=tuple(places), lines=at)
    if weights:
        lost["weights"] = (len(weights), weights[0])
    return Found(graph, "", lost, tuple(attributes))


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
    if kind not in (".csv", ".tsv"):
        return "".join(f"{' '.join(row)}\n" for row in [*((name,) for name in alone), *edges])
    text = io.StringIO()
    delimiter = "\t" if kind == ".tsv" else ","
    writer = csv.writer(text, lineterminator="\n", delimiter=delimiter)
    writer.writerows([("source", "target"), *((name, "") for name in alone), *edges])
    return text.getvalue()


def _check_name(name: str, kind: str) -> None:
    """Raise for a name that would come back as another, or as none."""
    table = kind in (".csv", ".tsv")
    wrong = not name or name != name.strip() or len(name.splitlines()) > 1
    spaces = name.startswith(_COMMENT) or len(name.split()) > 1 or "," in name or ";" in name
    if wrong or (spaces and not table):
        to = "GraphML" if wrong else "GraphML or a .csv file"
        raise ValueError(f"a list of edges cannot hold the name {name!r}; write {to}.")


def _rows(lines: list[str], path: Path, bad: BadRows) -> Iterator[tuple[int, list[str]]]:
    """The cells of the lines that are neither blank nor comments, with their numbers from 1."""
    content = [n for n, line in enumerate(lines) if line.strip() and line.strip()[0] not in "#%"]
    if not content:
        return
    first = lines[content[0]]
    delimiter = _delimiter(first, path)
    if delimiter is not None:
        head = [""] * content[0]  # so that below them a name may begin with the sign of a comment
        reader = csv.reader([*head, *lines[content[0] :]], delimiter=delimiter, strict=True)
        try:
            for cells in reader:
                if any(map(str.strip, cells)):
                    yield reader.line_num, [cell.strip() for cell in cells]
        except csv.Error as error:
            raise DataError(path, f"not a table: {error}.", line=reader.line_num) from error
        return
    for number in content:
        words = lines[number].split(maxsplit=2)
        rest = words[2] if len(words) > 2 else ""
        if rest.startswith("{"):
            words = [*words[:2], rest]
        elif rest and not rest.startswith("#"):
            words = [*words[:2], *rest.partition("#")[0].split()]
            title = number == content[0] and words[0].lower() in _ENDS[0]
            if not title and any(not _is_number(word) for word in words[2:]):
                bad.add(number + 1, "expected two names, and maybe numbers; there are more words.")
        else:
            words = words[:2]
        yield number + 1, words


def _is_number(cell: str) -> bool:
    return to_number(cell) is not None


def _delimiter(first: str, path: Path) -> str | None:
    """What separates the cells, told by the first line; None for spaces."""
    if {".csv", ".tsv"} & {suffix.lower() for suffix in path.suffixes}:
        return max(",;\t", key=first.count)
    names = first.split(maxsplit=2)[:2]
    return next((each for each in ",;" if any(each in name for name in names)), None)


def _header(rows: list[tuple[int, list[str]]]) -> tuple[int, tuple[int, int]]:
    """How many rows are a header, and the columns of the ends of an edge."""
    if not rows:
        return 0, (0, 1)
    names = [cell.lower() for cell in rows[0][1]]
    found = [[at for at, name in enumerate(names) if name in usual] for usual in _ENDS]
    if all(found):
        return 1, (found[0][0], found[1][0])
    ends = [name for _, cells in rows[1:] for name in cells[:2] if name]
    first = [name for name in names[:2] if name]
    titles = ends and all(map(_WHOLE.fullmatch, ends)) and not any(map(_WHOLE.fullmatch, first))
    return int(bool(titles) and len(first) == 2), (0, 1)
