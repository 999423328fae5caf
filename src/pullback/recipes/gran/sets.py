"""A set of graphs: a model for each size of block, samples at each stride, and their statistics."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax.random as jr

from pullback.data import Graph
from pullback.recipes._kit.checks import check_between, check_rising
from pullback.recipes.gran import measure, models, show
from pullback.recipes.gran.measure import STATISTICS
from pullback.runs import Context


@dataclass(frozen=True)
class SetConfig(models.FitConfig):
    blocks: tuple[int, ...] = (1, 4)
    """Rows that a step writes, a model each."""
    strides: tuple[int, ...] = (1, 4)
    """Rows that a step keeps, each for the models of blocks that are no smaller."""
    held_out: float = 0.2
    """Share of the graphs that no model sees; as many are drawn from a model."""

    def __post_init__(self):
        super().__post_init__()
        check_rising(self, "blocks", least=1)
        check_rising(self, "strides", least=1)
        check_between(self, 0, 1, "held_out")


def of_set(
    config: SetConfig, context: Context, graphs: Sequence[Graph], *, timed: bool = True
) -> dict[tuple[int, int], dict[str, Any]]:
    """What was found of samples at each block and stride; the pictures and the table are shown."""
    training, held_out = measure.split(graphs, config.held_out, context.seed)
    fit_key, draw_key, chance_key = jr.split(jr.key(context.seed), 3)
    whole = measure.connected(training)
    curve, histories = {}, {}
    for block in config.blocks:
        model, histories[f"block {block}"] = context.stage(
            f"fit-{block}", models.fitted, config, context, f"block-{block}", training, fit_key,
            {"block": block, "stride": min(block, *config.strides)},
        )  # fmt: skip
        for stride in (each for each in config.strides if each <= block):
            settings = {"stride": stride, "connected": whole}
            made = context.stage(
                f"draw-{block}-{stride}", models.drawn, model, len(held_out), draw_key, settings,
                timed,
            )  # fmt: skip
            looks = context.stage(
                f"look-{block}-{stride}", measure.statistics, made["graphs"], training, held_out,
                chance_key,
            )  # fmt: skip
            curve[block, stride] = made | looks
    first = curve[min(curve)]
    show.draw_graphs(context, {"training": training, "samples": first["graphs"]})
    show.draw_statistics(context, first["mmd"])
    if len(curve) > 1:
        show.draw_curve(context, curve)
    show.draw_training(context, histories)
    table(context, curve)
    return curve


def table(context: Context, curve: dict[tuple[int, int], dict[str, Any]]) -> None:
    """Squared MMD of everything, the two ends last."""
    look = ("connected", "unique", "novel")
    rows = [
        [
            f"block {block}, stride {stride}", row["seconds"],
            *(row["mmd"][measure.SAMPLES][of] for of in STATISTICS), *(row[of] for of in look),
        ]
        for (block, stride), row in curve.items()
    ]  # fmt: skip
    ends = curve[min(curve)]["mmd"]
    rows += [
        [name, None, *(ends[name][of] for of in STATISTICS), None, None, None]
        for name in (measure.TRAINING, measure.CHANCE)
    ]
    context.table(
        "graphs", ["graphs", "seconds a graph", *STATISTICS, *look], rows,
        "Squared MMD to held-out graphs of degree, clustering, 4-node orbits and spectrum, and "
        "shares of samples that are connected, unlike each other, and unlike every training graph. "
        "Below: training graphs, and Erdos-Renyi graphs of held-out sizes and densities.",
    )  # fmt: skip
