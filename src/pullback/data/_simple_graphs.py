"""Simple graphs out of what files and libraries hold, and what is said of the rest."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pullback.data._errors import DataError
from pullback.data._graphs import Graph, Graphs

# What a simple graph has no room for, and what became of it.
_TOLD = {
    "directions": "edges have a direction, which was dropped",
    "weights": "edges have a weight, which was dropped",
    "second edges": "edges join nodes that were joined already, and were dropped",
    "loops": "edges join a node with itself, and were dropped",
}
_SHOWN = 8


class Found(NamedTuple):
    """A graph as it was found: the simple part of it, and what was dropped.

    Attributes:
        graph: the simple part.
        label: its class, if it has one.
        lost: how many edges had each of "directions", "weights", "second edges" and "loops", and
            the line of the first of them, if there are lines.
        attributes: the names of what was known of nodes and edges besides.
        notes: sentences on what may have been meant otherwise.
    """

    graph: Graph
    label: str
    lost: dict[str, tuple[int, int | None]]
    attributes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def simple(
    nodes: int,
    pairs: np.ndarray,
    *,
    both_ways: bool,
    name: str = "",
    node_names: Sequence[str] = (),
    lines: Sequence[int] = (),
) -> tuple[Graph, dict[str, tuple[int, int | None]]]:
    """A graph without the loops and the second edges of `pairs`, and how many those were.

    Args:
        nodes: how many there are.
        pairs: the ends of the edges, by number from 0.
        both_ways: whether (1, 0) after (0, 1) is the same edge said again, and so none too many.
        name: of the graph.
        node_names: kept unless they are the numbers from 0.
        lines: of each pair, where it is in its file.
    """
    loop = pairs[:, 0] == pairs[:, 1]
    kept = np.flatnonzero(~loop)
    ends = pairs[kept].astype(np.int64)
    ends = ends if both_ways else np.sort(ends, axis=1)
    _, first = np.unique(ends[:, 0] * max(nodes, 1) + ends[:, 1], return_index=True)
    again = np.ones(len(kept), bool)
    again[first] = False
    lost = {}
    for kind, at in (("second edges", kept[again]), ("loops", np.flatnonzero(loop))):
        if len(at):
            lost[kind] = (len(at), int(lines[at[0]]) if len(lines) else None)
    numbers = all(each == str(place) for place, each in enumerate(node_names))
    names = () if numbers else tuple(node_names)
    return Graph(nodes, pairs[kept], name, names), lost


def gathered(found: Iterable[Found], source: str | Path, not_simple: str) -> Graphs:
    """The graphs with a node or more, and sentences on what was dropped of them."""
    kept, left_out, lost, attributes, said = [], {}, {}, {}, []
    for place, each in enumerate(found, 1):
        if not_simple == "error" and each.lost:
            _refuse(each, place, source)
        if not each.graph.nodes:
            left_out[place] = "it has no nodes."
            continue
        kept.append(each)
        for kind, (count, _) in each.lost.items():
            edges, graphs = lost.get(kind, (0, 0))
            lost[kind] = (edges + count, graphs + 1)
        said += each.notes
        attributes |= dict.fromkeys(each.attributes)
    if not kept:
        raise DataError(source, f"expected graphs; there is none{' with a node' * bool(left_out)}.")
    notes = [
        f"{lost[kind][0]} {told} ({lost[kind][1]} of {len(kept)} graphs)."
        for kind, told in _TOLD.items()
        if kind in lost
    ]
    if attributes:
        more = f" and {len(attributes) - _SHOWN} more" if len(attributes) > _SHOWN else ""
        notes.append(f"Attributes were dropped: {', '.join([*attributes][:_SHOWN])}{more}.")
    notes += said[:_SHOWN]
    if len(said) > _SHOWN:
        notes.append(f"There are {len(said) - _SHOWN} more such notes on files.")
    labels = tuple(each.label for each in kept)
    graphs = tuple(each.graph for each in kept)
    return Graphs(graphs, labels if any(labels) else (), str(source), tuple(notes), left_out)


def _refuse(found: Found, place: int, source: str | Path) -> None:
    kind = next(kind for kind in _TOLD if kind in found.lost)
    count, line = found.lost[kind]
    called = f" ({found.graph.name!r})" if found.graph.name else ""
    raise DataError(
        source,
        f"graph {place}{called} is not simple: {count} {_TOLD[kind].partition(',')[0]}. "
        "not_simple='drop' drops that, and says so in `notes`.",
        line=line,
    )
