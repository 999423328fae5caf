"""Simple undirected graphs, as they are read and drawn."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from pullback.data._take import places_of

_MOST = 2**31 - 1  # of which int32 holds the number of each
_NONE: Mapping[int, str] = MappingProxyType({})


@dataclass(frozen=True, eq=False)
class Graph:
    """A simple undirected graph: no loops, no edge twice, no weights.

    Args:
        nodes: How many there are, below 2^31; they are numbered from 0.
        edges: The two ends of each edge, in any order. Kept once each, as (smaller, larger) and
            sorted, in int32.
        name: Of the graph.
        node_names: Of each node, as its file has it; empty where it has none.

    Raises:
        TypeError: `nodes` or `edges` are no integers, or names no strings.
        ValueError: there are too many nodes; an edge has an end that is no node, or joins a node
            with itself; or there is not one name a node, or one twice.

    Example:
        >>> import numpy as np
        >>> Graph(3, np.array([[2, 0], [0, 1], [1, 0]])).edges.tolist()
        [[0, 1], [0, 2]]
    """

    nodes: int
    edges: Int[np.ndarray, "edges 2"]
    name: str = ""
    node_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        nodes, edges = self.nodes, np.asarray(self.edges)
        if isinstance(nodes, bool) or not isinstance(nodes, int | np.integer) or nodes < 0:
            raise TypeError(f"`nodes` must be a whole number, 0 or more, got {nodes!r}.")
        if nodes > _MOST:
            raise ValueError(f"`nodes` must be at most {_MOST}, got {nodes}.")
        if edges.size == 0:
            edges = np.zeros((0, 2), np.int32)
        if edges.dtype.kind not in "iu" or edges.ndim != 2 or edges.shape[1] != 2:
            got = f"{edges.dtype} of shape {edges.shape}"
            raise TypeError(f"`edges` must be integers of shape (edges, 2), got {got}.")
        outside = (edges < 0) | (edges >= nodes)
        if outside.any():
            bad = edges[outside.any(axis=1)][0].tolist()
            raise ValueError(f"`edges` has {bad}, but nodes are numbered from 0 to {nodes - 1}.")
        loops = edges[:, 0] == edges[:, 1]
        if loops.any():
            node = int(edges[loops][0, 0])
            raise ValueError(f"`edges` joins node {node} with itself; leave loops out.")
        if not isinstance(self.name, str):
            raise TypeError(f"`name` must be a string, got {self.name!r}.")
        names = self.node_names
        if not isinstance(names, tuple) or not all(isinstance(name, str) for name in names):
            raise TypeError(f"`node_names` must be a tuple of strings, got {names!r:.60}.")
        if self.node_names and len(self.node_names) != nodes:
            named = len(self.node_names)
            raise ValueError(f"`node_names` must be one a node: {nodes} nodes, {named} names.")
        if len(set(self.node_names)) < len(self.node_names):
            raise ValueError("`node_names` has a name twice; each node needs its own.")
        edges = np.unique(np.sort(edges, axis=1), axis=0).astype(np.int32).reshape(-1, 2)
        edges.flags.writeable = False
        object.__setattr__(self, "nodes", int(nodes))
        object.__setattr__(self, "edges", edges)


class Graphs(NamedTuple):
    """Several graphs, with a class each where known.

    Args:
        graphs: The graphs.
        labels: The class of each; empty where there is none.
        source: Where they came from, for messages.
        notes: What was dropped in reading (loops, weights, directions, second edges), in sentences.
        left_out: What was left out on request, by its place from 1, and why.
    """

    graphs: tuple[Graph, ...]
    labels: tuple[str, ...] = ()
    source: str = "the graphs"
    notes: tuple[str, ...] = ()
    left_out: Mapping[int, str] = _NONE

    def take(self, places: Sequence[int] | np.ndarray) -> "Graphs":
        """Some of them, by their places from 0, or where a mask is true.

        Raises:
            TypeError: `places` are no whole numbers and no mask.
            ValueError: the mask is not one of them each.
            IndexError: there is no such place.
        """
        at = places_of(places, len(self.graphs))
        labels = tuple(self.labels[place] for place in at.tolist()) if self.labels else ()
        graphs = tuple(self.graphs[place] for place in at.tolist())
        return self._replace(graphs=graphs, labels=labels)
