"""Graph recurrent attention networks (arXiv 1910.00760): graphs, a block of rows at a time.

Four graphs of 12 nodes, whose best likelihood is known: what the order of the nodes decides. Two
graphs that one Bernoulli an edge cannot tell apart and a mixture can. And lobsters, random trees,
whose samples after so short a training are no trees yet.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax.random as jr
import numpy as np

from pullback.data import Graph, four_graphs, lobsters
from pullback.recipes.gran import measure, models
from pullback.recipes.gran.measure import CHANCE, SAMPLES
from pullback.recipes.gran.sets import SetConfig, of_set
from pullback.runs import Claim, Context, Headline

_SIZE, _BLOCK = 12, 4
# Nodes without edges, and a star whose centre comes last: all that the fifth row can say.
_PAIR = (Graph(5, np.zeros((0, 2), np.int32)), Graph(5, np.array([[i, 4] for i in range(4)])))


@dataclass(frozen=True)
class Config(SetConfig):
    blocks: tuple[int, ...] = (1,)
    held_out: float = 0.1
    lobsters: int = 1000
    """Lobsters that are made, of 8 nodes or more."""
    largest: int = 24
    """Nodes that a lobster has at most."""
    small_steps: int = 1500
    """Steps of a training on the four graphs."""
    pair_steps: int = 500
    """Steps of a training on the two graphs."""


def run(config: Config, context: Context) -> list[Claim]:
    """Lobsters, the four graphs by two orders, and the two graphs by one component and by two."""
    made = lobsters(
        config.lobsters, backbone=6, smallest=8, largest=config.largest, seed=context.seed
    )
    curve = of_set(config, context, made.graphs)
    four = {order: _of_four(config, context, order, 1) for order in ("dfs", "bfs")}
    blocks = _of_four(config, context, "dfs", _BLOCK)
    pair = {
        count: context.stage(f"pair-{count}", _of_pair, config, context, count)
        for count in (1, config.mixtures)
    }
    found = curve[min(curve)]
    _table(context, {**four, f"dfs, blocks of {_BLOCK}": blocks})
    mmd = found["mmd"]
    return [
        *_of_blocks(blocks, four["dfs"]),
        *_of_small(four, pair),
        Claim(
            f"When not to: random trees ask for far more than {config.steps} steps: samples have "
            "triangles, which no tree has (squared MMD of clustering, over that of Erdos-Renyi "
            "graphs)",
            value=mmd[SAMPLES]["clustering"] / mmd[CHANCE]["clustering"], at_least=1.0,
            reference="0: trees; 1: as many as by chance. One edge a row, and not more, is what a "
            "mixture of independent edges says last",
        ),
    ]  # fmt: skip


def _of_four(config: Config, context: Context, order: str, block: int) -> dict[str, Any]:
    """A model of the four graphs in one order: nats of a graph, and what samples are."""
    graphs, key, name = four_graphs().graphs, jr.key(context.seed), f"{order}-{block}"
    settings = {
        "orders": (order,), "steps": config.small_steps, "batch_size": 4, "prefixes": 6,
        "block": block,
    }  # fmt: skip
    model, _ = context.stage(
        f"four-{name}", models.fitted, config, context, f"four-{name}", graphs, key, settings
    )
    made = context.stage(f"draw-{name}", models.drawn, model, 64, key, {}, order == "dfs")
    looks = context.stage(f"look-{name}", measure.statistics, made["graphs"], graphs, graphs, key)
    return {
        **made,
        **looks,
        "nats": context.stage(f"nats-{name}", models.nats, model, graphs, order),
    }


def _of_pair(config: Config, context: Context, mixtures: int) -> float:
    """Nats of a graph of the pair, by a mixture of so many components."""
    settings = {
        "orders": ("default",), "mixtures": mixtures, "steps": config.pair_steps, "batch_size": 2,
        "prefixes": 5,
    }  # fmt: skip
    model, _ = models.fitted(
        config, context, f"pair-{mixtures}", _PAIR, jr.key(context.seed), settings
    )
    return models.nats(model, _PAIR, "default")


def _table(context: Context, four: Mapping[str, Mapping[str, Any]]) -> None:
    """What was found of the four graphs."""
    context.table(
        "four", ["order", "nats of a graph", "exactly a training graph", "degree, squared MMD"],
        [
            [order, row["nats"], 1 - row["novel"], row["mmd"][SAMPLES]["degree"]]
            for order, row in four.items()
        ],
        f"A cycle, a path and two grids of {_SIZE} nodes: -log p of a graph in its order, which is "
        f"at best log 4 = {np.log(4):.3f}, and what 64 samples are.",
    )  # fmt: skip


def _of_blocks(blocks: Mapping[str, Any], rows: Mapping[str, Any]) -> list[Claim]:
    """What rows written at once cost, and what they save."""
    start = f"Four graphs of {_SIZE} nodes, blocks of {_BLOCK} rows"
    return [
        Claim(
            f"{start}: samples are drawn faster than by single rows (seconds of a sample by rows, "
            "over their own)",
            value=rows["seconds"] / blocks["seconds"], at_least=1.5,
            reference=f"1: as fast; {blocks['steps']} passes of the network and {rows['steps']}; "
            "paper: several times as fast as one row at a time",
            headline=Headline(no_effect=1.0),
        ),
        Claim(
            f"{start}: samples are exactly one of these graphs (share of 64)",
            value=1 - blocks["novel"], at_least=0.95,
            reference=f"1: all; {1 - rows['novel']:.2f} by single rows",
            headline=Headline(no_effect=0.0),
        ),
    ]  # fmt: skip


def _of_small(four: Mapping[str, Mapping[str, Any]], pair: Mapping[int, float]) -> list[Claim]:
    dfs, bfs = four["dfs"], four["bfs"]
    ratio = dfs["mmd"][CHANCE]["degree"] / max(dfs["mmd"][SAMPLES]["degree"], 1e-9)
    most = max(pair)
    return [
        Claim(
            f"Four graphs of {_SIZE} nodes, in depth-first order: the likelihood reaches its best "
            "(-log p of a graph, nats)",
            value=dfs["nats"], at_most=1.45, reference=f"log 4 = {np.log(4):.4f}: no model is "
            "better",
        ),
        Claim(
            "Samples are exactly one of these graphs (share of 64)",
            value=1 - dfs["novel"], at_least=0.95, reference="1: all",
        ),
        Claim(
            "When not to: in breadth-first order nodes that are alike cannot be told apart (nats "
            "above those in depth-first order)",
            value=bfs["nats"] - dfs["nats"], at_least=2.0,
            reference=f"0: the order does not matter; {1 - bfs['novel']:.2f} of its samples are "
            "one of the graphs",
        ),
        Claim(
            "Degrees of Erdos-Renyi graphs are further off than those of samples (ratio of squared "
            "MMD, of the four graphs)",
            value=ratio, at_least=3.0, reference="1: no better than chance",
        ),
        Claim(
            "A mixture draws edges together: of two graphs that differ in four edges at once, "
            f"-log p falls from one component to {most} (nats)",
            value=pair[1] - pair[most], at_least=2.0,
            reference=f"4 log 2 - log 2 = {3 * np.log(2):.3f}; found {pair[1]:.3f} and "
            f"{pair[most]:.3f}",
        ),
    ]  # fmt: skip


PRESETS = {
    "smoke": Config(
        blocks=(2,), strides=(2,), steps=3, mixtures=2, width=4, layers=1, batch_size=2, prefixes=2,
        lobsters=12, small_steps=3, pair_steps=3,
    ),
    "desk": Config(),
    "paper": Config(
        blocks=(1, 4, 16), strides=(1, 4, 16), steps=100_000, rate=1e-4, mixtures=20,
        width=128, layers=7, batch_size=20, largest=100, small_steps=3000,
    ),
}  # fmt: skip
