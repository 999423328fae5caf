"""Distances of sets of graphs beside polygraph-benchmark: do they agree, and how long they take.

`polygraph.metrics` itself also loads a classifier of tables; its parts for this distance are those
used here, at the settings that it has for them.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any

import networkx as nx
import numpy as np
import orbit_count
from polygraph.utils.descriptors import (
    ClusteringHistogram,
    EigenvalueHistogram,
    OrbitCounts,
    SparseDegreeHistogram,
)
from polygraph.utils.kernels import GaussianTV
from polygraph.utils.mmd_utils import mmd_from_gram

from _harness import markdown_table
from pullback.analysis import GraphMMD2, graph_histograms, graph_mmd2, orbit_counts
from pullback.analysis._orbit_counts import orbits_of
from pullback.data import Graph, to_networkx, tu_graphs

PACKAGES = ("pullback", "networkx", "scipy", "numpy", "polygraph-benchmark", "orbit-count")
THEIRS: dict[str, Any] = {
    "degree_mmd2": (SparseDegreeHistogram(), 1.0),
    "clustering_mmd2": (ClusteringHistogram(bins=100, sparse=True), 0.1),
    "orbits_mmd2": (OrbitCounts(), 30.0),
    "spectrum_mmd2": (EigenvalueHistogram(n_bins=200, sparse=True), 1.0),
}


def measure(rounds: int) -> dict[str, Any]:
    """Seconds of the processor for the four distances of two sets, and what these are."""
    rng = np.random.default_rng(0)
    found = {}
    for name, graphs, count in _sets():
        chosen = [graphs[at] for at in rng.permutation(len(graphs))[: 2 * count]]
        sides = chosen[:count], chosen[count:]
        named = [[to_networkx(graph) for graph in side] for side in sides]
        row: dict[str, Any] = {"graphs": count, "nodes": max(graph.nodes for graph in chosen)}
        rivals = {"pullback": lambda s=sides: _ours(*s), "polygraph": lambda s=named: _theirs(*s)}
        row |= {rival: _timed(call, rounds) for rival, call in rivals.items()}
        both = [*named[0], *named[1]]
        rivals = {
            "alone": lambda c=chosen: [orbit_counts(graph) for graph in c],
            "together": lambda c=chosen: orbits_of(c),
            "orca": lambda b=both: orbit_count.batched_node_orbit_counts(b, graphlet_size=4),
        }
        orbits = {rival: _timed(call, rounds) for rival, call in rivals.items()}
        for all_counts in zip(*(each.pop("found") for each in orbits.values()), strict=True):
            for counts in all_counts[:2]:
                np.testing.assert_array_equal(counts, all_counts[2])
        row["orbits"] = orbits
        found[name] = row
    return {"metrics": found}


def _sets() -> list[tuple[str, Sequence[Graph], int]]:
    proteins, clouds = tu_graphs("DD").graphs, tu_graphs("FIRSTMM_DB").graphs
    middling = [graph for graph in proteins if 100 <= graph.nodes <= 500]
    large = [graph for graph in clouds if graph.nodes <= 2000]
    return [
        ("ENZYMES", tu_graphs("ENZYMES").graphs, 100),
        ("DD, 100 to 500 nodes", middling, 50),
        ("FIRSTMM_DB, up to 2,000 nodes", large, 6),
    ]


def _ours(one: Sequence[Graph], other: Sequence[Graph]) -> dict[str, float]:
    return graph_mmd2(graph_histograms(one), graph_histograms(other))._asdict()


def _theirs(one: Sequence[nx.Graph], other: Sequence[nx.Graph]) -> dict[str, float]:
    found = {}
    for name, (describe, width) in THEIRS.items():
        kernel = GaussianTV(describe, width)
        grams = kernel(kernel.featurize(other), kernel.featurize(one))
        found[name] = float(mmd_from_gram(grams[0], grams[2], grams[1], variant="biased"))
    return found


def _timed(call: Callable[[], Any], rounds: int) -> dict[str, Any]:
    """What a call gives, and the least seconds of several after it."""
    found, seconds = call(), []
    for _ in range(rounds):
        start = time.process_time()
        call()
        seconds.append(time.process_time() - start)
    return {"seconds": min(seconds), "found": found}


def tables(record: dict[str, Any]) -> list[str]:
    """What was measured, in words and in Markdown."""
    rows, orbits = [], []
    for name, row in record["metrics"].items():
        ours, theirs = row["pullback"], row["polygraph"]
        for rival, each in (("pullback", ours), ("polygraph", theirs)):
            values = [f"{each['found'][field]:.4f}" for field in GraphMMD2._fields]
            share = f"{each['seconds'] / ours['seconds']:.1f}"
            rows.append([f"{name}, {rival}", f"{each['seconds']:.2f}", share, *values])
        by = row["orbits"]
        ratio = f"{by['orca']['seconds'] / by['together']['seconds']:.2f}"
        cells = [f"{by[rival]['seconds']:.3f}" for rival in ("alone", "together", "orca")]
        orbits.append([name, str(2 * row["graphs"]), f"{row['nodes']:,}", *cells, ratio])
    sizes = ", ".join(
        f"{row['graphs']} against {row['graphs']}" for row in record["metrics"].values()
    )
    return [
        "### Distances of sets of graphs",
        f"The four squared distances of two sets ({sizes} graphs), from graphs to numbers: least "
        "seconds of the processor. Both take the same kernels and bins. Of a graph of more than "
        "500 nodes polygraph takes the 200 largest eigenvalues alone, we all of them, and what "
        "rounding puts above 2 it leaves out: so spectra differ.",
        markdown_table(
            ["sets", "s", "for one of ours", "degree", "clustering", "orbits", "spectrum"], rows
        ),
        "Orbits alone, of both sets, beside orbit-count, which is ORCA in C++ and takes graphs of "
        "NetworkX; the counts are the same, every one. `orbit_counts` takes a graph a call, and a "
        "report counts many as the pieces of one; for one of those seconds ORCA takes the last.",
        markdown_table(
            ["sets", "graphs", "largest", "one by one, s", "together, s", "ORCA, s", "for one"],
            orbits,
        ),
    ]
