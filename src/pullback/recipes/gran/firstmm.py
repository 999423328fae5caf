"""GRAN on FIRSTMM_DB: point clouds of household objects, graphs of up to 5,037 nodes.

Prefixes are trained on, one a graph and step; whole graphs are drawn, as large as held-out ones
are, and one as large as the largest of all.
"""

from dataclasses import dataclass

import jax.random as jr

from pullback.data import tu_graphs
from pullback.recipes.gran import claims, measure, models, show
from pullback.recipes.gran.sets import SetConfig, table
from pullback.runs import Claim, Context


@dataclass(frozen=True)
class Config(SetConfig):
    most: int = 6000
    """Nodes that a graph has at most."""


def run(config: Config, context: Context) -> list[Claim]:
    """A model, samples of the sizes of held-out graphs, and a last one of the largest size."""
    graphs = tu_graphs("FIRSTMM_DB", folder=context.data).graphs
    used = [graph for graph in graphs if graph.nodes <= config.most]
    training, held_out = measure.split(used, config.held_out, context.seed)
    fit_key, draw_key, large_key, chance_key = jr.split(jr.key(context.seed), 4)
    [block] = config.blocks
    model, history = context.stage(
        "fit", models.fitted, config, context, "fit", training, fit_key, {"block": block}
    )
    sizes = [graph.nodes for graph in held_out]
    whole = measure.connected(training)
    drawn = lambda name, sizes, key: context.stage(
        name, models.drawn, model, len(sizes), key, {"sizes": sizes, "connected": whole}, False
    )
    made = drawn("draw", sizes, draw_key)
    large = drawn("draw-largest", [max(graph.nodes for graph in training)], large_key)
    found = made | context.stage(
        "look", measure.statistics, made["graphs"], training, held_out, chance_key
    )
    sheet = {"held out": held_out, "samples": made["graphs"], "the largest": large["graphs"]}
    show.draw_graphs(context, sheet)
    show.draw_statistics(context, found["mmd"])
    show.draw_training(context, {f"block {block}": history})
    table(context, {(block, block): found})
    [graph] = large["graphs"]
    return [
        *claims.between("FIRSTMM_DB", found),
        claims.steps({(block, block): found, (0, block): large}),
        Claim(
            f"A graph of {graph.nodes:,} nodes is drawn whole (seconds of one core, compiling "
            "included)",
            value=large["seconds"], at_most=120.0,
            reference=f"it has {len(graph.edges):,} edges; the paper is the first to draw graphs "
            "of up to 5,000 nodes",
        ),
        claims.when_not(found),
    ]  # fmt: skip


PRESETS = {
    "smoke": Config(
        most=300, blocks=(16,), strides=(16,), steps=3, mixtures=2, width=4, layers=1,
        batch_size=1, prefixes=1,
    ),
    "desk": Config(blocks=(10,), strides=(10,), steps=1200, batch_size=1, prefixes=1),
    "paper": Config(
        blocks=(1,), strides=(1,), steps=660_000, rate=1e-4, mixtures=20, width=256, layers=7,
        batch_size=1, prefixes=1,
    ),
}  # fmt: skip
