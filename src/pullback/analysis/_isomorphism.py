"""Which graphs are one graph under other numbers."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from pullback.data import Graph


def isomorphism_classes(
    graphs: Sequence[Graph], orbits: Sequence[Int[np.ndarray, "_ 15"]]
) -> Int[np.ndarray, " graphs"]:
    """The class of each graph: two have the same one where a new numbering makes them equal.

    Only graphs whose rows of `orbits` agree, in some order, are compared by NetworkX (VF2++).
    """
    found = np.zeros(len(graphs), np.int64)
    equal: dict[tuple[int, bytes], int] = {}
    alike: dict[tuple[int, bytes], list[int]] = {}
    for place, (graph, rows) in enumerate(zip(graphs, orbits, strict=True)):
        written = graph.nodes, graph.edges.tobytes()
        if written not in equal:
            ordered = rows[np.lexsort(rows.T)]
            first = alike.setdefault((graph.nodes, ordered.tobytes()), [])
            same = (one for one in first if _isomorphic(graphs, orbits, one, place))
            equal[written] = next(same, place)
            if equal[written] == place:
                first.append(place)
        found[place] = equal[written]
    return found


def _isomorphic(
    graphs: Sequence[Graph], orbits: Sequence[np.ndarray], one: int, other: int
) -> bool:
    import networkx as nx

    pair = []
    for place in (one, other):
        made = nx.Graph()
        made.add_nodes_from(
            (node, {"colour": row.tobytes().hex()}) for node, row in enumerate(orbits[place])
        )
        made.add_edges_from(graphs[place].edges.tolist())
        hashes = nx.weisfeiler_lehman_subgraph_hashes(made, node_attr="colour")
        nx.set_node_attributes(made, {node: each[-1] for node, each in hashes.items()}, "colour")
        pair.append(made)
    return nx.vf2pp_is_isomorphic(*pair, node_label="colour")
