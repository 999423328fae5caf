"""GRAN on protein graphs (ENZYMES): statistics of samples, and the curve of block and stride.

Graphs of the secondary structure of enzymes, of 10 to 60 nodes; a fifth is held out. Blocks of a
training start at every row, as in the paper, so that samples may be drawn at any stride.
"""

from dataclasses import dataclass

from pullback.data import tu_graphs
from pullback.recipes.gran import claims
from pullback.recipes.gran.sets import SetConfig, of_set
from pullback.runs import Claim, Context


@dataclass(frozen=True)
class Config(SetConfig):
    least: int = 10
    """Nodes that a graph has at least."""
    most: int = 60
    """Nodes that it has at most."""


def run(config: Config, context: Context) -> list[Claim]:
    """Models of several blocks, their samples at several strides, and held-out graphs."""
    graphs = tu_graphs("ENZYMES", folder=context.data).graphs
    used = [graph for graph in graphs if config.least <= graph.nodes <= config.most]
    curve = of_set(config, context, used)
    found = curve[min(curve)]
    return [
        *claims.between("ENZYMES", found),
        claims.steps(curve),
        *claims.trade(curve),
        claims.copies(found),
        claims.when_not(found),
    ]


PRESETS = {
    "smoke": Config(
        least=10, most=14, blocks=(2,), strides=(1, 2), steps=3, mixtures=2, width=4, layers=1,
        batch_size=2, prefixes=2,
    ),
    "desk": Config(),
    "paper": Config(
        most=126, blocks=(1,), strides=(1,), steps=50_000, rate=1e-4, mixtures=20, width=128,
        layers=7, batch_size=16,
    ),
}  # fmt: skip
