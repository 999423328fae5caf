"""What is measured of graphs: how far their statistics are from those of held-out ones."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import PRNGKeyArray

from pullback.analysis import graph_report
from pullback.data import Graph, to_networkx

OF_PAPER = ("degree", "clustering", "orbits")
STATISTICS = (*OF_PAPER, "spectrum")
SAMPLES, CHANCE, TRAINING = "samples", "Erdos-Renyi", "training"

Mmd = Mapping[str, Mapping[str, float]]


def split(graphs: Sequence[Graph], share: float, seed: int) -> tuple[list[Graph], list[Graph]]:
    """Graphs to train with, and a share of them that is held out, drawn at random.

    The largest is trained on: no model draws one that is larger than all that it saw.
    """
    largest = int(np.argmax([graph.nodes for graph in graphs]))
    order = np.random.default_rng(seed).permutation(np.delete(np.arange(len(graphs)), largest))
    held_out, training = np.split(order, [max(1, round(share * len(graphs)))])
    return [graphs[at] for at in (largest, *training)], [graphs[at] for at in held_out]


def statistics(
    samples: Sequence[Graph], training: Sequence[Graph], held_out: Sequence[Graph],
    key: PRNGKeyArray,
) -> dict[str, Any]:  # fmt: skip
    """Squared MMD from held-out graphs, of samples and of the two ends; and what samples are."""
    found = graph_report(samples, held_out, train=training, key=key)
    sides = {SAMPLES: found.samples, TRAINING: found.train, CHANCE: found.erdos_renyi}
    mmd = {
        side: {of: float(getattr(distances, f"{of}_mmd2")) for of in STATISTICS}
        for side, distances in sides.items()
    }
    shares = {of: float(getattr(found, of)) for of in ("connected", "unique", "novel")}
    return {"mmd": mmd, "quality": quality(mmd), **shares}


def over_chance(mmd: Mmd) -> dict[str, float]:
    """Samples' squared MMD over Erdos-Renyi's, of each statistic of the paper that varies."""
    return {of: mmd[SAMPLES][of] / mmd[CHANCE][of] for of in OF_PAPER if mmd[CHANCE][of] > 1e-6}


def quality(mmd: Mmd) -> float:
    """One figure for a curve: the mean of these ratios; 0 is perfect, 1 is chance."""
    return float(np.mean([*over_chance(mmd).values()]))


def connected(graphs: Sequence[Graph]) -> bool:
    """Whether every one of them is in one piece."""
    import networkx as nx

    return all(nx.is_connected(to_networkx(graph)) for graph in graphs)
